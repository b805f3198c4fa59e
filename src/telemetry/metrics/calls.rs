//! What happens to calls, and what is decided in them.

use std::{sync::atomic::Ordering, time::Duration};

use prometheus::IntGauge;

use super::{Metrics, UNAVAILABLE};
use crate::telemetry::{
    labels::{CreditsKind, Decision},
    trace::Exemplar,
};

/// Calls and decisions.
impl Metrics {
    /// A call that begins; answers how many were in progress before it.
    pub fn call_began(&self) -> usize {
        self.levels.calls_in_flight.fetch_add(1, Ordering::Relaxed)
    }

    /// A call that was counted by [`Metrics::call_began`] ends.
    pub fn call_ended(&self) {
        self.levels.calls_in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many calls have begun and not ended.
    pub fn calls_in_progress(&self) -> usize {
        self.levels.calls_in_flight.load(Ordering::Relaxed)
    }

    /// A call that was answered: its fully qualified method, e.g.
    /// `tollgate.v1.QuotaService/Reserve`, the name of its status, e.g. `OK`, how long it took,
    /// and its trace where it was sampled. A method that is not served must be given as `_OTHER`.
    pub fn call(
        &self,
        method: &'static str,
        status: &'static str,
        took: Duration,
        exemplar: Option<Exemplar>,
    ) {
        self.calls.observe(method, status, took, exemplar);
    }

    /// A call that was refused because too many are in progress.
    pub fn too_many_calls(&self) {
        self.calls_refused.add(["too_many_calls"], 1);
    }

    /// A connection that came in, until the answer is dropped.
    pub fn connected(&self, listener: &'static str) -> Connected {
        self.connections_accepted.add([listener], 1);
        let open = self.connections.handle([listener]).ok();
        open.iter().for_each(IntGauge::inc);
        Connected(open)
    }

    /// A connection that could not be accepted.
    pub fn accept_error(&self, listener: &'static str) {
        self.accept_errors.add([listener], 1);
    }

    /// A call that the failure policy answered with `UNAVAILABLE`, since a store failed.
    pub fn degraded(&self, rpc: &'static str) {
        self.degraded.add([rpc, UNAVAILABLE], 1);
    }

    /// A decision about credits that was not a replay.
    pub fn decision(&self, decision: Decision<'_>) {
        self.decisions.count(decision);
    }

    /// Credits that moved.
    pub fn credits(&self, kind: CreditsKind, credits: u64) {
        self.credits[kind as usize].inc_by(credits);
    }

    /// Holds that passed their deadline.
    pub fn reservations_expired(&self, count: u64) {
        self.expired.inc_by(count);
    }

    /// A commit to a reservation that had expired or is not known.
    pub fn late_commit(&self) {
        self.late_commits.inc();
    }

    /// A repeated request that got the stored answer.
    pub fn replay(&self, rpc: &'static str) {
        self.replays.add([rpc], 1);
    }

    /// A request whose id was taken by another payload.
    pub fn id_conflict(&self, rpc: &'static str) {
        self.id_conflicts.add([rpc], 1);
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected(Option<IntGauge>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.iter().for_each(IntGauge::dec);
    }
}
