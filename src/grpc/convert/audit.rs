//! The audit log: which calls are asked for, and a call as it is written out.

use super::{
    fields::{Problems, timestamp},
    list::{self, check, page_size, page_token},
};
use crate::{
    access::table,
    domain::ids::AccountId,
    enforcer::error::EnforceError,
    ledger::{AdminCall, CallFilter},
    pb,
};

/// What the number in a token starts with, so that another list's token is told apart.
const PLACE_PREFIX: &str = "a";
/// What the methods of the log belong to.
const SERVICE: &str = "tollgate.v1.AdminService/";

/// A page of the log.
#[derive(Debug)]
pub struct AuditQuery {
    /// Which calls.
    pub filter: CallFilter,
    /// The number of the call that the page starts after.
    pub after: Option<u64>,
    /// How many it has.
    pub size: usize,
    /// Stands for the filter.
    check: u64,
}

impl AuditQuery {
    /// The token for the page that follows.
    pub fn token(&self, next: u64) -> String {
        list::token(self.check, &format!("{PLACE_PREFIX}{next:x}"))
    }
}

/// Which calls to list.
pub fn query(request: &pb::ListAuditRequest) -> Result<AuditQuery, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.optional_id("account_id", &request.account_id, AccountId::new);
    let principal = problems.text("principal", request.principal.clone());
    let method = method(&request.method, &mut problems);
    let range = problems.range(request.from, request.until);
    let size = page_size(request.page_size, &mut problems);
    let filter = check_of(request);
    let read = |token: &str| read_token(token, filter);
    let after = page_token(&request.page_token, read, &mut problems);
    let parsed = || {
        let given = |text: Option<String>| text.map(|text| (!text.is_empty()).then_some(text));
        let (from, until) = range?;
        Some(AuditQuery {
            filter: CallFilter {
                account_id: account_id?,
                principal: given(principal)?,
                method: given(method)?,
                from,
                until,
            },
            after: after?,
            size: size?,
            check: filter,
        })
    };
    problems.finish(parsed())
}

/// One line of the log.
pub fn entry(call: &AdminCall) -> pb::AuditEntry {
    let call = call.clone();
    pb::AuditEntry {
        at: Some(timestamp(call.at)),
        principal: call.principal,
        peer: call.peer,
        method: call.method,
        account_id: call.account_id,
        key: call.key,
        outcome: call.outcome,
        reason: call.reason,
        request_id: call.request_id,
    }
}

fn method(name: &str, problems: &mut Problems) -> Option<String> {
    let methods = table::TABLE.iter().map(|(method, _)| *method);
    let known: Vec<&str> = methods
        .filter_map(|method| method.strip_prefix(SERVICE))
        .collect();
    if name.is_empty() || known.contains(&name) {
        return Some(name.to_owned());
    }
    problems.add(
        "method",
        format!("is none of AdminService: one of {}", known.join(", ")),
    );
    None
}

fn read_token(token: &str, filter: u64) -> Option<u64> {
    let digits = list::place(token, filter)?.strip_prefix(PLACE_PREFIX)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Stands for everything that decides what a list has.
fn check_of(request: &pb::ListAuditRequest) -> u64 {
    let pb::ListAuditRequest {
        account_id,
        principal,
        method,
        from,
        until,
        page_size: _,
        page_token: _,
    } = request;
    check(
        0,
        &format!("{account_id}\n{principal}\n{method}\n{from:?}\n{until:?}"),
    )
}
