//! `[reconcile]`: the worker that holds what is loaded against the ledger.

use super::{WorkerConfig, reader::Reader};

/// `[reconcile]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileConfig {
    /// How often, and about how many accounts at once.
    pub rounds: WorkerConfig,
    /// When what differs is put right.
    pub repair: RepairWhen,
}

/// When what differs from the ledger is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairWhen {
    /// When it is found.
    Auto,
    /// By `tollgate reconcile --repair` only.
    Never,
}

impl ReconcileConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let rounds = WorkerConfig::read(reader, "reconcile.interval_ms", "reconcile.batch_max");
        let choices = [("auto", RepairWhen::Auto), ("never", RepairWhen::Never)];
        let repair = reader.choice("reconcile.repair", &choices);
        Some(ReconcileConfig {
            rounds: rounds?,
            repair: repair?,
        })
    }
}
