//! Why a request has no answer. Denials are answers and are not here.

use crate::{
    domain::{decision::Refusal, ids::AccountId, rate_card::PriceError},
    hot::{Certainty, HotFault},
    ledger::{LedgerFault, SubmitRefusal},
};

/// One field of a request that can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path, e.g. `action.mode`.
    pub field: String,
    /// What is wrong, and what would be accepted.
    pub description: String,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The request itself is wrong.
    #[error("{}", list(.0))]
    BadRequest(Vec<Violation>),
    /// No such account. The text does not name it, since logs do not unless they are told to.
    #[error("account_id: no such account; CreateAccount makes one")]
    AccountNotFound {
        /// Which.
        account_id: AccountId,
    },
    /// The account's state does not allow it.
    #[error("{0}")]
    Refused(Refusal),
    /// The ledger does not allow the change.
    #[error("{0}")]
    ChangeRefused(SubmitRefusal),
    /// The change's idempotency key was used before.
    #[error("the idempotency key was used before with another {field}")]
    ChangeConflict {
        /// The first field that differs.
        field: String,
    },
    /// A rate card version that nobody knows any more.
    #[error("rate card version {version} is not loaded")]
    UnknownVersion {
        /// Which.
        version: String,
    },
    /// The hot store failed.
    #[error(transparent)]
    Hot(#[from] HotFault),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// The hot store has the settlement, the ledger has not confirmed it in time.
    #[error("the settlement is not confirmed by the ledger yet: send the same request again")]
    NotSettledInTime,
    /// This process has no ledger, and nobody who has one has loaded the account in time.
    #[error("account {account_id} is not loaded yet: send the same request again")]
    NotLoadedInTime {
        /// Which.
        account_id: AccountId,
    },
    /// It has happened, and what its answer says besides could not be found out.
    #[error("it is done, and its answer can't be made yet: send the same request again: {0}")]
    Unfinished(Box<EnforceError>),
    /// No catalogue was published yet.
    #[error("there is no catalogue to price by yet: send the same request again")]
    NoCatalog,
    /// The account kept changing under the request.
    #[error("the account is busy: send the same request again")]
    Busy {
        /// Which.
        account_id: AccountId,
    },
}

impl EnforceError {
    /// One field is wrong.
    pub fn field(field: &str, description: impl Into<String>) -> Self {
        EnforceError::BadRequest(vec![Violation {
            field: field.to_owned(),
            description: description.into(),
        }])
    }

    /// Usage can't be priced without knowing of what.
    pub fn action_needed() -> Self {
        EnforceError::field(
            "action",
            "the reservation is not known: usage is priced by its action, so give mode and model",
        )
    }

    /// Whether the step may have happened all the same.
    pub fn certainty(&self) -> Certainty {
        match self {
            EnforceError::Hot(fault) => fault.certainty,
            EnforceError::NotSettledInTime | EnforceError::Unfinished(_) => {
                Certainty::Indeterminate
            }
            EnforceError::BadRequest(_)
            | EnforceError::AccountNotFound { .. }
            | EnforceError::Refused(_)
            | EnforceError::ChangeRefused(_)
            | EnforceError::ChangeConflict { .. }
            | EnforceError::UnknownVersion { .. }
            | EnforceError::Ledger(_)
            | EnforceError::NotLoadedInTime { .. }
            | EnforceError::NoCatalog
            | EnforceError::Busy { .. } => Certainty::Determinate,
        }
    }
}

impl From<PriceError> for EnforceError {
    fn from(error: PriceError) -> Self {
        EnforceError::field(&error.field(), error.to_string())
    }
}

fn list(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations
        .iter()
        .map(|one| format!("{}: {}", one.field, one.description))
        .collect();
    lines.join("; ")
}
