//! The short names of the contract's enums, as the JSON has them too.

use crate::pb;

macro_rules! names {
    ($($(#[$doc:meta])* $function:ident: $kind:ident without $prefix:literal;)*) => {$(
        $(#[$doc])*
        pub(super) fn $function(number: i32) -> String {
            match pb::$kind::try_from(number) {
                Ok(kind) => {
                    let name = kind.as_str_name();
                    name.strip_prefix($prefix).unwrap_or(name).to_ascii_lowercase()
                }
                Err(_) => number.to_string(),
            }
        }
    )*};
}

names! {
    /// `active`, `suspended`, `closed`.
    account_status: AccountStatus without "ACCOUNT_STATUS_";
    /// `plan`, `pack`, `promo`, `adjustment`.
    grant_kind: GrantKind without "GRANT_KIND_";
    /// `grant`, `usage`, `refund`, …
    entry_kind: EntryKind without "ENTRY_KIND_";
    /// `open`, `committed`, `released`, `expired`.
    reservation_state: ReservationState without "RESERVATION_STATE_";
    /// `insufficient_credits`, …
    denial_reason: DenialReason without "DENIAL_REASON_";
    /// `succeeded`, `failed`, `cancelled`.
    outcome: Outcome without "OUTCOME_";
}

/// The name of an outcome that is worth saying: none where the action succeeded.
pub(super) fn notable_outcome(number: i32) -> Option<String> {
    match pb::Outcome::try_from(number) {
        Ok(pb::Outcome::Unspecified | pb::Outcome::Succeeded) => None,
        Ok(pb::Outcome::Failed | pb::Outcome::Cancelled) | Err(_) => Some(outcome(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(
            account_status(pb::AccountStatus::Suspended.into()),
            "suspended"
        );
        assert_eq!(entry_kind(pb::EntryKind::DebtRepaid.into()), "debt_repaid");
        assert_eq!(grant_kind(99), "99");
        assert_eq!(notable_outcome(pb::Outcome::Succeeded.into()), None);
        assert_eq!(
            notable_outcome(pb::Outcome::Failed.into()).as_deref(),
            Some("failed")
        );
    }
}
