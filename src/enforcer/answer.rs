//! What the enforcer answers: the hot store's decision, with what the caller can do with it.

use super::remedies::Remedy;
use crate::domain::decision::{Charged, Committed, Reserved};

/// The answer to a reserve or an extension, with what the caller can do with it.
#[derive(Clone, Debug)]
pub struct ReserveAnswer {
    /// The decision.
    pub reserved: Reserved,
    /// How many output tokens the hold still pays for.
    pub max_output_tokens: Option<u64>,
    /// What the account's owner can do about a denial.
    pub remedies: Vec<Remedy>,
}

/// The answer to a commit.
#[derive(Clone, Debug)]
pub struct CommitAnswer {
    /// What it did.
    pub committed: Committed,
    /// How many output tokens the hold still pays for.
    pub max_output_tokens: Option<u64>,
    /// What can be done where `next_hold` was denied.
    pub remedies: Vec<Remedy>,
}

/// The answer to a charge.
#[derive(Clone, Debug)]
pub struct ChargeAnswer {
    /// What it did.
    pub charged: Charged,
    /// What can be done about a denial.
    pub remedies: Vec<Remedy>,
}
