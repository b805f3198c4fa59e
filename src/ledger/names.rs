//! The names under which stored records keep what the domain enumerates.

use crate::domain::{
    account::{OveragePolicy, Status},
    grant::{Grant, GrantKind},
    ids::GrantId,
};

/// Every status.
pub(super) const STATUSES: [Status; 3] = [Status::Active, Status::Suspended, Status::Closed];
/// Every overage policy.
pub(super) const OVERAGES: [OveragePolicy; 2] = [OveragePolicy::Debt, OveragePolicy::Absorb];
/// Every kind of grant.
pub(super) const KINDS: [GrantKind; 4] = [
    GrantKind::Plan,
    GrantKind::Pack,
    GrantKind::Promo,
    GrantKind::Adjustment,
];

/// The stored name of a grant's kind.
pub(super) fn kind_name(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Plan => "plan",
        GrantKind::Pack => "pack",
        GrantKind::Promo => "promo",
        GrantKind::Adjustment => "adjustment",
    }
}

/// Whether an account has a grant that the backend has picked: of the plan grants that have nothing
/// left only the present cycle's.
pub(super) fn is_live(grant: &Grant, cycle_index: u32) -> bool {
    match grant.kind {
        GrantKind::Plan => grant.remaining() > 0 || grant.id == GrantId::plan(cycle_index),
        GrantKind::Pack | GrantKind::Promo | GrantKind::Adjustment => true,
    }
}
