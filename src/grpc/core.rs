//! What the two services have in common: whom they ask, and what they count.

use std::sync::Arc;

use tonic::Status;

use super::{convert::Limits, convert::action::Labels, status};
use crate::{
    domain::{
        decision::{Committed, Denial, Refusal},
        entry::Receipt,
    },
    enforcer::{Enforcer, error::EnforceError},
    telemetry::{CreditsKind, Decision, Metrics, Verdict},
};

/// What a service needs. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    /// Whom it asks.
    pub enforcer: Arc<Enforcer>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The bounds of requests.
    pub limits: Limits,
}

impl Core {
    /// An error as it is answered, counted where it is an id's second use.
    pub(super) fn failed(&self, rpc: &'static str, error: &EnforceError) -> Status {
        self.count_conflict(rpc, error);
        status::of(error)
    }

    /// The same for a change.
    pub(super) fn change_failed(&self, rpc: &'static str, error: &EnforceError) -> Status {
        self.count_conflict(rpc, error);
        status::of_change(error)
    }

    fn count_conflict(&self, rpc: &'static str, error: &EnforceError) {
        match error {
            EnforceError::Refused(Refusal::Conflict { .. })
            | EnforceError::ChangeConflict { .. } => self.metrics.id_conflict(rpc),
            EnforceError::BadRequest(_)
            | EnforceError::AccountNotFound { .. }
            | EnforceError::Refused(_)
            | EnforceError::ChangeRefused(_)
            | EnforceError::UnknownVersion { .. }
            | EnforceError::Hot(_)
            | EnforceError::Ledger(_)
            | EnforceError::NotSettledInTime
            | EnforceError::NotLoadedInTime { .. }
            | EnforceError::NoCatalog
            | EnforceError::Busy { .. } => {}
        }
    }

    /// A decision that was made for the first time.
    pub(super) fn decided(
        &self,
        rpc: &'static str,
        denial: Option<&Denial>,
        reduced: bool,
        labels: Labels<'_>,
    ) {
        let (verdict, reason) = match denial {
            Some(denial) => (Verdict::Denied, denial.reason.name()),
            None if reduced => (Verdict::Reduced, "none"),
            None => (Verdict::Granted, "none"),
        };
        let Labels { mode, tier } = labels;
        self.metrics.decision(Decision {
            rpc,
            verdict,
            reason,
            mode,
            tier,
        });
    }

    /// Credits that a settlement moved.
    pub(super) fn settled(&self, receipt: &Receipt) {
        let moved = [
            (CreditsKind::Settled, receipt.credits),
            (CreditsKind::Returned, receipt.returned),
            (CreditsKind::WrittenOff, receipt.written_off),
            (CreditsKind::Debt, receipt.debt_added),
        ];
        for (kind, credits) in moved {
            self.moved(kind, credits);
        }
    }

    /// What a commit did that was done for the first time.
    pub(super) fn committed(&self, committed: &Committed, next_hold: u64) {
        self.settled(&committed.receipt);
        if committed.receipt.late {
            self.metrics.late_commit();
        }
        if committed.next_hold_denial.is_none() {
            self.moved(CreditsKind::Held, next_hold);
        }
    }

    /// Credits that moved, if any did.
    pub(super) fn moved(&self, kind: CreditsKind, credits: u64) {
        if credits > 0 {
            self.metrics.credits(kind, credits);
        }
    }
}
