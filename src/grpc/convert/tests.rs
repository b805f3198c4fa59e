//! Every field that can be wrong, named with what is accepted; and all of them at once.

mod calls;
mod changes;
mod lists;

use prost_types::{Duration, Timestamp as ProtoTimestamp};

use super::{Limits, action, admin, entry, fields::Problems, list, quota};
use crate::{
    catalogs,
    domain::{
        account::{AccountHead, OveragePolicy, PlanTerm, Status},
        credits::MAX_CREDITS,
        cycle::Cycle,
        entry::{Entry, EntryKind, Receipt, Settlement},
        grant::GrantKind,
        ids::{AccountId, PlanId, ReservationId},
        timestamp::Timestamp,
        usage::{Action, Amount, Outcome, Usage},
    },
    enforcer::error::EnforceError,
    ledger::{PageToken, Recorded, Wanted},
    pb,
};

const LIMITS: Limits = Limits {
    ttl_min_ms: 1000,
    ttl_max_ms: 60_000,
};
/// 2026-05-16T10:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_778_925_600_000);

fn at(offset_s: i64) -> Option<ProtoTimestamp> {
    Some(ProtoTimestamp {
        seconds: NOW.millis() / 1000 + offset_s,
        nanos: 0,
    })
}

fn action() -> pb::Action {
    pb::Action {
        mode: "agent".to_owned(),
        model: "claude-sonnet-4-5".to_owned(),
        ..pb::Action::default()
    }
}

fn violations<T>(result: Result<T, EnforceError>) -> Vec<(String, String)> {
    match result {
        Ok(_) => Vec::new(),
        Err(EnforceError::BadRequest(found)) => found
            .into_iter()
            .map(|one| (one.field, one.description))
            .collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn fields<T>(result: Result<T, EnforceError>) -> Vec<String> {
    violations(result)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}

/// Just one field is wrong, and the text says so.
fn check(found: &[(String, String)], field: &str, text: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, field);
    assert!(found[0].1.contains(text), "{found:?}");
}
