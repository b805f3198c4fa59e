//! The values of the labels, as types: there are no others than these.

/// What a decision was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for.
    Granted,
    /// Less than was asked for, but no less than the caller's minimum.
    Reduced,
    /// Nothing.
    Denied,
}

/// One decision about credits, as the labels of `tollgate_decisions_total`.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The method's short name, e.g. `Reserve`.
    pub rpc: &'static str,
    /// What was decided.
    pub verdict: Verdict,
    /// Why it was denied, e.g. `insufficient_credits`; `none` where it was not.
    pub reason: &'static str,
    /// A mode of the catalogue. Never a text that the catalogue has not confirmed.
    pub mode: &'a str,
    /// A tier of the catalogue, or `none` for an action without a model.
    pub tier: &'a str,
}

/// What happened to credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditsKind {
    /// Set aside by a hold.
    Held,
    /// Charged.
    Settled,
    /// Given back from a hold to its grants.
    Returned,
    /// Given back by a refund.
    Refunded,
    /// Used above the hold, covered by no grant, and waived.
    WrittenOff,
    /// Used above the hold, covered by no grant, and owed.
    Debt,
}

/// How reading a catalogue anew ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new one is in force.
    Loaded,
    /// It is wrong; the old one stays in force.
    Refused,
}
