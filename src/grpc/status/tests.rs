//! Every error that there is, as its caller sees it.

use std::{error::Error, io};

use super::*;
use crate::{
    domain::{
        cycle::Cycle,
        decision::CycleEnded,
        ids::{AccountId, PlanId},
        reservation::State,
        timestamp::Timestamp,
    },
    hot::HotFault,
    ledger::LedgerFault,
};

/// What a store says that no caller may see.
const SECRET: &str = "password=hunter2";

fn source() -> Box<dyn Error + Send + Sync> {
    Box::new(io::Error::other(SECRET))
}

fn acme() -> AccountId {
    AccountId::new("acme").unwrap()
}

fn hot(certainty: Certainty) -> EnforceError {
    EnforceError::Hot(HotFault {
        certainty,
        operation: "reserve",
        source: source(),
    })
}

fn cycle_ended() -> Refusal {
    let now = Timestamp::from_millis(0);
    Refusal::CycleEnded(CycleEnded {
        anchor: now,
        ended: Cycle::at(now, now),
        plan_id: PlanId::new("free").unwrap(),
        allowance: 50,
        now,
    })
}

/// Every variant, with the code and the reason it is answered with, and one pair of its metadata.
#[allow(clippy::type_complexity, reason = "a table reads best as a table")]
fn table() -> Vec<(
    EnforceError,
    Code,
    &'static str,
    Option<(&'static str, &'static str)>,
)> {
    use EnforceError::{ChangeRefused, Refused};
    let conflict = |field| Refused(Refusal::Conflict { field });
    vec![
        (
            EnforceError::field("x", "is wrong"),
            Code::InvalidArgument,
            "BAD_REQUEST",
            None,
        ),
        (
            EnforceError::AccountNotFound { account_id: acme() },
            Code::NotFound,
            "ACCOUNT_NOT_FOUND",
            Some(("account_id", "acme")),
        ),
        (Refused(Refusal::NotLoaded), Code::Aborted, "BUSY", None),
        (Refused(Refusal::Absent), Code::Aborted, "BUSY", None),
        (
            EnforceError::NotLoadedInTime { account_id: acme() },
            Code::Unavailable,
            "ACCOUNT_NOT_LOADED",
            Some(("account_id", "acme")),
        ),
        (
            EnforceError::NoCatalog,
            Code::Unavailable,
            "NO_CATALOG",
            Some(("certainty", "did_not_happen")),
        ),
        (Refused(cycle_ended()), Code::Aborted, "BUSY", None),
        (Refused(Refusal::Reprice), Code::Aborted, "BUSY", None),
        (
            Refused(Refusal::ChangeGap { next: 2 }),
            Code::Aborted,
            "BUSY",
            None,
        ),
        (
            Refused(Refusal::ReservationNotFound),
            Code::NotFound,
            "RESERVATION_NOT_FOUND",
            None,
        ),
        (
            conflict("ttl"),
            Code::AlreadyExists,
            "ID_CONFLICT",
            Some(("field", "ttl")),
        ),
        (
            Refused(Refusal::NotOpen {
                state: State::Released,
            }),
            Code::FailedPrecondition,
            "RESERVATION_NOT_OPEN",
            Some(("state", "released")),
        ),
        (
            Refused(Refusal::OutOfRange { field: "debt" }),
            Code::OutOfRange,
            "AMOUNT_OUT_OF_RANGE",
            Some(("field", "debt")),
        ),
        (
            Refused(Refusal::TooMany {
                what: "extensions",
                max: 1024,
            }),
            Code::FailedPrecondition,
            "TOO_MANY",
            Some(("max", "1024")),
        ),
        (
            ChangeRefused(SubmitRefusal::AccountNotFound),
            Code::NotFound,
            "ACCOUNT_NOT_FOUND",
            None,
        ),
        (
            ChangeRefused(SubmitRefusal::GrantNotFound),
            Code::NotFound,
            "GRANT_NOT_FOUND",
            None,
        ),
        (
            ChangeRefused(SubmitRefusal::NotSubmitted),
            Code::NotFound,
            "CHANGE_NOT_FOUND",
            None,
        ),
        (
            ChangeRefused(SubmitRefusal::NothingSettled),
            Code::FailedPrecondition,
            "NOTHING_SETTLED",
            None,
        ),
        (
            ChangeRefused(SubmitRefusal::RefundTooMuch { refundable: 7 }),
            Code::FailedPrecondition,
            "REFUND_TOO_MUCH",
            Some(("refundable", "7")),
        ),
        (
            ChangeRefused(SubmitRefusal::OutOfRange),
            Code::OutOfRange,
            "AMOUNT_OUT_OF_RANGE",
            None,
        ),
        (
            ChangeRefused(SubmitRefusal::TooManyGrants { max: 256 }),
            Code::FailedPrecondition,
            "TOO_MANY_GRANTS",
            Some(("max", "256")),
        ),
        (
            EnforceError::ChangeConflict {
                field: "credits".to_owned(),
            },
            Code::AlreadyExists,
            "ID_CONFLICT",
            Some(("field", "credits")),
        ),
        (
            Refused(Refusal::Unreadable),
            Code::Internal,
            "RESERVATION_UNREADABLE",
            None,
        ),
        (
            EnforceError::UnknownVersion {
                version: "v7".to_owned(),
            },
            Code::Internal,
            "RATE_CARD_NOT_LOADED",
            Some(("version", "v7")),
        ),
        (
            hot(Certainty::Determinate),
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            Some(("certainty", "did_not_happen")),
        ),
        (
            hot(Certainty::Indeterminate),
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            Some(("certainty", "may_have_happened")),
        ),
        (
            EnforceError::Ledger(LedgerFault {
                operation: "submit",
                source: source(),
            }),
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            Some(("certainty", "did_not_happen")),
        ),
        (
            EnforceError::NotSettledInTime,
            Code::Unavailable,
            "NOT_SETTLED_YET",
            Some(("certainty", "may_have_happened")),
        ),
        (
            EnforceError::Unfinished(Box::new(hot(Certainty::Determinate))),
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            Some(("certainty", "may_have_happened")),
        ),
        (
            EnforceError::Busy { account_id: acme() },
            Code::Aborted,
            "BUSY",
            None,
        ),
    ]
}

#[test]
fn every_error_has_a_code_a_reason_and_a_text_that_gives_nothing_away() {
    for (error, code, reason, pair) in table() {
        let status = of(&error);
        assert_eq!(status.code(), code, "{error:?}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (reason, DOMAIN),
            "{error:?}"
        );
        if let Some((key, value)) = pair {
            assert_eq!(
                info.metadata.get(key).map(String::as_str),
                Some(value),
                "{error:?}"
            );
        }
        let again = matches!(code, Code::Unavailable | Code::Aborted);
        assert_eq!(details.retry_info().is_some(), again, "{error:?}");
        assert!(!status.message().is_empty(), "{error:?}");
        assert!(!status.message().contains(SECRET), "{error:?}");
        assert!(
            !String::from_utf8_lossy(status.details()).contains(SECRET),
            "{error:?}"
        );
    }
}

#[test]
fn a_change_that_failed_may_have_happened() {
    let fault = EnforceError::Ledger(LedgerFault {
        operation: "submit",
        source: source(),
    });
    for error in [
        fault,
        hot(Certainty::Determinate),
        EnforceError::Busy { account_id: acme() },
    ] {
        let details = of_change(&error).get_error_details();
        let certainty = details
            .error_info()
            .unwrap()
            .metadata
            .get("certainty")
            .unwrap();
        assert_eq!(certainty, "may_have_happened", "{error:?}");
    }
}

#[test]
fn violations_are_listed_as_far_as_a_header_holds_them() {
    let violation = |number: usize| Violation {
        field: format!("labels[{number}]"),
        description: "ü".repeat(2000),
    };
    let violations: Vec<Violation> = (0..64).map(violation).collect();
    let status = bad_request(&violations);
    let details = status.get_error_details();
    let listed = details.bad_request().unwrap().field_violations.len();
    assert!(listed >= 5, "{listed}");
    let left_out = &details.error_info().unwrap().metadata["left_out"];
    assert_eq!(left_out, &(64 - listed).to_string());
    assert!(
        status.message().ends_with("(and 63 more)"),
        "{}",
        status.message()
    );
    let response = status.into_http::<()>();
    let bytes: usize = response
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(bytes < 8 * 1024, "{bytes} bytes of headers");
}

#[test]
fn what_the_transport_refuses_gets_details_too() {
    let cases = [
        (Code::Internal, Code::InvalidArgument, "NOT_A_MESSAGE"),
        (
            Code::OutOfRange,
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
        ),
        (Code::Unimplemented, Code::Unimplemented, "TRANSPORT"),
    ];
    for (said, code, reason) in cases {
        let status = of_transport(&Status::new(said, "as the transport says it"), 1024);
        assert_eq!(status.code(), code);
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            reason
        );
    }
}

#[test]
fn every_code_has_its_own_name() {
    let names: std::collections::BTreeSet<&str> = (0..=16)
        .map(|code| code_name(Code::from_i32(code)))
        .collect();
    assert_eq!(names.len(), 17);
}
