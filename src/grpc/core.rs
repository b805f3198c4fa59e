//! What the two services have in common: whom they ask, and what they count.

use std::sync::Arc;

use tonic::Status;

use super::{convert::Limits, convert::action::Labels, status};
use crate::{
    domain::{
        decision::{Committed, Denial, Refusal},
        entry::Receipt,
        ids::AccountId,
        usage::{Action, Amount, OUTPUT_TOKENS},
    },
    enforcer::{Enforcer, error::EnforceError},
    telemetry::{CreditsKind, Decision, Metrics, Verdict, present},
};

/// What a service needs. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    /// Whom it asks.
    pub enforcer: Arc<Enforcer>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Whether spans name the account.
    pub account_ids: bool,
    /// The bounds of requests.
    pub limits: Limits,
}

impl Core {
    /// An error as it is answered; counted where it is an id's second use, or a store's failure.
    pub(super) fn failed(&self, rpc: &'static str, error: &EnforceError) -> Status {
        self.count(rpc, error);
        status::of(error)
    }

    /// The same for a change.
    pub(super) fn change_failed(&self, rpc: &'static str, error: &EnforceError) -> Status {
        self.count(rpc, error);
        status::of_change(error)
    }

    fn count(&self, rpc: &'static str, error: &EnforceError) {
        match error {
            EnforceError::Refused(Refusal::Conflict { .. })
            | EnforceError::ChangeConflict { .. } => self.metrics.id_conflict(rpc),
            // Of the last two it is the ledger that could not be reached in time, by this process
            // or by the one that it waits for.
            EnforceError::Hot(_)
            | EnforceError::Ledger(_)
            | EnforceError::NotSettledInTime
            | EnforceError::NotLoadedInTime { .. } => self.metrics.degraded(rpc),
            EnforceError::Unfinished(why) => self.count(rpc, why),
            EnforceError::BadRequest(_)
            | EnforceError::AccountNotFound { .. }
            | EnforceError::Refused(_)
            | EnforceError::ChangeRefused(_)
            | EnforceError::UnknownVersion { .. }
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
        present::describe(|span| {
            span.set("tollgate.result", verdict.name());
            span.set("tollgate.reason", reason);
        });
        self.metrics.decision(Decision {
            rpc,
            verdict,
            reason,
            mode,
            tier,
        });
    }

    /// A request that was answered before.
    pub(super) fn replayed(&self, rpc: &'static str) {
        present::describe(|span| span.set("tollgate.replayed", true));
        self.metrics.replay(rpc);
    }

    /// Says in the call's span whom it is about.
    pub(super) fn describe_account(&self, account_id: &AccountId) {
        if self.account_ids {
            present::describe(|span| span.set("tollgate.account_id", account_id.as_str()));
        }
    }

    /// Credits that a settlement moved.
    pub(super) fn settled(&self, receipt: &Receipt) {
        present::describe(|span| span.set("tollgate.credits.charged", receipt.credits));
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

/// Says in the call's span what is done. Conversations are named as OpenTelemetry's conventions
/// for generative AI do.
pub(super) fn describe_action(action: &Action, labels: Labels<'_>) {
    present::describe(|span| {
        span.set("tollgate.mode", labels.mode);
        span.set("tollgate.tier", labels.tier);
        if !action.model.is_empty() {
            span.set("gen_ai.request.model", &*action.model);
        }
        if !action.conversation_id.is_empty() {
            span.set("gen_ai.conversation.id", &*action.conversation_id);
        }
    });
}

/// Says in the call's span how much of it is expected.
pub(super) fn describe_estimate(amount: &Amount) {
    present::describe(|span| match amount {
        Amount::Usage(usage) => {
            let output = usage.get(OUTPUT_TOKENS);
            span.set("tollgate.estimate.input_tokens", usage.get("input_tokens"));
            span.set("tollgate.estimate.output_tokens", output);
        }
        Amount::Credits(_) => {}
    });
}

/// Says in the call's span how much of it was used in the end. Whoever adds spans up must meet each
/// token once, so neither what is expected nor what was used so far is said under these names.
pub(super) fn describe_usage(amount: &Amount) {
    present::describe(|span| match amount {
        Amount::Usage(usage) => {
            span.set("gen_ai.usage.input_tokens", usage.get("input_tokens"));
            span.set("gen_ai.usage.output_tokens", usage.get(OUTPUT_TOKENS));
            let cached = usage.get("cached_input_tokens");
            span.set("gen_ai.usage.cache_read.input_tokens", cached);
        }
        Amount::Credits(_) => {}
    });
}
