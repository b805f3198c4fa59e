//! The one place where a gRPC status is made: every reason that a call has no answer, as a code,
//! a short text that says what to do, and details that machines read.
//!
//! A denial is an answer and never comes here. What a store said when it failed goes to the log;
//! the caller learns only that it failed, and whether the step may have happened.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    domain::decision::Refusal,
    enforcer::error::{EnforceError, Violation},
    hot::Certainty,
    ledger::{LedgerFault, SubmitRefusal},
};

mod strangers;
#[cfg(test)]
mod tests;

pub use self::strangers::{not_a_token, out_of_scope, role_missing, unknown_caller, unknown_token};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tollgate";
/// What a caller is told to wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The most bytes that violations take in the details. Clients refuse headers of about 8 KiB.
const VIOLATIONS_BYTES_MAX: usize = 3072;
/// The longest text of one violation, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 512;
/// The longest status text, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// A status in the making.
struct Draft {
    code: Code,
    reason: &'static str,
    text: String,
    metadata: HashMap<String, String>,
    retry: bool,
}

impl Draft {
    fn new(code: Code, reason: &'static str, text: impl Into<String>) -> Self {
        Draft {
            code,
            reason,
            text: text.into(),
            metadata: HashMap::new(),
            retry: false,
        }
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// The same request may be sent again.
    fn retry(mut self, certainty: Certainty) -> Self {
        self.retry = true;
        self.with("certainty", certainty.name())
    }

    fn finish(self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason, DOMAIN, self.metadata);
        if self.retry {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Status::with_error_details(self.code, clipped(self.text, TEXT_BYTES_MAX), details)
    }
}

/// Why the enforcer has no answer.
pub fn of(error: &EnforceError) -> Status {
    of_step(error, error.certainty())
}

/// The same for a change, whose first step may have happened whatever failed after it.
pub fn of_change(error: &EnforceError) -> Status {
    of_step(error, Certainty::Indeterminate)
}

fn of_step(error: &EnforceError, certainty: Certainty) -> Status {
    let draft = match error {
        EnforceError::BadRequest(violations) => return bad_request(violations),
        EnforceError::AccountNotFound { account_id } => {
            let text = format!("account_id: no account {account_id}; CreateAccount makes one");
            Draft::new(Code::NotFound, "ACCOUNT_NOT_FOUND", text).with("account_id", account_id)
        }
        EnforceError::Refused(refusal) => refused(refusal, certainty),
        EnforceError::ChangeRefused(refusal) => change_refused(refusal),
        EnforceError::ChangeConflict { field } => conflict(field),
        EnforceError::UnknownVersion { version } => {
            tracing::error!(version, "a reservation's rate card version is not loaded");
            let text = format!("rate card version {version} is not loaded here: tell the operator");
            Draft::new(Code::Internal, "RATE_CARD_NOT_LOADED", text).with("version", version)
        }
        EnforceError::Hot(fault) => {
            tracing::error!(error = %fault, "the hot store failed");
            store_unavailable("hot").retry(certainty)
        }
        EnforceError::Ledger(fault) => {
            tracing::error!(error = %fault, "the ledger failed");
            store_unavailable("ledger").retry(certainty)
        }
        EnforceError::NotSettledInTime => {
            let text = "it is done, and not confirmed by the ledger yet: send the same request \
                        again, its id makes that safe";
            Draft::new(Code::Unavailable, "NOT_SETTLED_YET", text).retry(certainty)
        }
        EnforceError::Unfinished(why) => return of_step(why, certainty),
        EnforceError::NotLoadedInTime { account_id } => {
            let text = "the account was not loaded in time, and nothing was done: send the same \
                        request again";
            Draft::new(Code::Unavailable, "ACCOUNT_NOT_LOADED", text)
                .with("account_id", account_id)
                .retry(certainty)
        }
        EnforceError::NoCatalog => {
            let text = "no catalogue was published yet, so nothing can be priced: try again";
            Draft::new(Code::Unavailable, "NO_CATALOG", text).retry(certainty)
        }
        EnforceError::Busy { account_id } => busy(certainty).with("account_id", account_id),
    };
    draft.finish()
}

fn refused(refusal: &Refusal, certainty: Certainty) -> Draft {
    match refusal {
        // The enforcer answers these itself; they get here when it gave up.
        Refusal::NotLoaded
        | Refusal::Absent
        | Refusal::CycleEnded(_)
        | Refusal::Reprice
        | Refusal::ChangeGap { .. } => busy(certainty),
        Refusal::ReservationNotFound => {
            let text = "reservation_id: no such reservation of this account; it may have been \
                        settled too long ago";
            Draft::new(Code::NotFound, "RESERVATION_NOT_FOUND", text)
        }
        Refusal::Unreadable => {
            let text = format!("reservation_id: {refusal}: tell the operator");
            Draft::new(Code::Internal, "RESERVATION_UNREADABLE", text)
        }
        Refusal::Conflict { field } => conflict(field),
        Refusal::NotOpen { state } => {
            let text = format!("reservation_id: {refusal}; make a new reservation");
            Draft::new(Code::FailedPrecondition, "RESERVATION_NOT_OPEN", text)
                .with("state", state.name())
        }
        Refusal::OutOfRange { field } => {
            Draft::new(Code::OutOfRange, "AMOUNT_OUT_OF_RANGE", refusal.to_string())
                .with("field", field)
        }
        Refusal::TooMany { max, .. } => {
            let text = format!("reservation_id: {refusal}; make a new reservation");
            Draft::new(Code::FailedPrecondition, "TOO_MANY", text).with("max", max)
        }
    }
}

fn change_refused(refusal: &SubmitRefusal) -> Draft {
    match refusal {
        SubmitRefusal::AccountNotFound => {
            let text = "account_id: no such account; CreateAccount makes one";
            Draft::new(Code::NotFound, "ACCOUNT_NOT_FOUND", text)
        }
        SubmitRefusal::GrantNotFound => {
            let text = "grant_id: the account never had such a grant; GetAccount lists the live \
                        ones, ListEntries all";
            Draft::new(Code::NotFound, "GRANT_NOT_FOUND", text)
        }
        SubmitRefusal::NotSubmitted => {
            Draft::new(Code::NotFound, "CHANGE_NOT_FOUND", refusal.to_string())
        }
        SubmitRefusal::NothingSettled => {
            let text = format!("reservation_id: {refusal}, so there is nothing to refund");
            Draft::new(Code::FailedPrecondition, "NOTHING_SETTLED", text)
        }
        SubmitRefusal::RefundTooMuch { refundable } => {
            let text = format!("credits: {refusal}: ask for at most that, or for 0, which is all");
            Draft::new(Code::FailedPrecondition, "REFUND_TOO_MUCH", text)
                .with("refundable", refundable)
        }
        SubmitRefusal::OutOfRange => {
            let text = format!("credits: {refusal}");
            Draft::new(Code::OutOfRange, "AMOUNT_OUT_OF_RANGE", text).with("field", "credits")
        }
        SubmitRefusal::TooManyGrants { max } => {
            let text = format!("account_id: {refusal}: void one first");
            Draft::new(Code::FailedPrecondition, "TOO_MANY_GRANTS", text).with("max", max)
        }
    }
}

fn conflict(field: &str) -> Draft {
    let text = format!(
        "{field}: the id was used before with another value; repeat that request unchanged, or \
         give a new id"
    );
    Draft::new(Code::AlreadyExists, "ID_CONFLICT", text).with("field", field)
}

fn busy(certainty: Certainty) -> Draft {
    let text = "the account kept changing under the request: send it again";
    Draft::new(Code::Aborted, "BUSY", text).retry(certainty)
}

fn store_unavailable(store: &str) -> Draft {
    let text = "a store is out of reach: send the same request again, its id makes that safe";
    Draft::new(Code::Unavailable, "STORE_UNAVAILABLE", text).with("store", store)
}

/// Every field that is wrong, as far as a header holds them.
fn bad_request(violations: &[Violation]) -> Status {
    let mut details = ErrorDetails::new();
    let mut bytes = 0;
    let mut left_out = 0;
    for Violation { field, description } in violations {
        let description = clipped(description.clone(), DESCRIPTION_BYTES_MAX);
        bytes += field.len() + description.len();
        if bytes > VIOLATIONS_BYTES_MAX {
            left_out += 1;
        } else {
            details.add_bad_request_violation(field, description);
        }
    }
    let mut metadata = HashMap::new();
    if left_out > 0 {
        metadata.insert("left_out".to_owned(), left_out.to_string());
    }
    details.set_error_info("BAD_REQUEST", DOMAIN, metadata);
    let mut text = match violations.first() {
        Some(first) => format!("{}: {}", first.field, first.description),
        None => "the request can't be accepted".to_owned(),
    };
    text = clipped(text, TEXT_BYTES_MAX);
    if violations.len() > 1 {
        text.push_str(&format!(" (and {} more)", violations.len() - 1));
    }
    Status::with_error_details(Code::InvalidArgument, text, details)
}

/// No entry has this conversation.
pub fn conversation_not_found(conversation_id: &str) -> Status {
    let text = format!(
        "conversation_id: nothing was charged to {conversation_id:?}; it is the one that the \
         actions were given, letter by letter"
    );
    Draft::new(Code::NotFound, "CONVERSATION_NOT_FOUND", text).finish()
}

/// The ledger lacks what it has confirmed: `what` is logged and stays here.
pub fn broken(account_id: &str, what: &'static str) -> Status {
    tracing::error!(account_id, what, "an invariant is broken");
    let text = "something is wrong with this account: tell the operator, nothing was lost";
    Draft::new(Code::Internal, "INVARIANT_BROKEN", text).finish()
}

/// The call took too long.
pub fn deadline_exceeded(limit: Duration) -> Status {
    let text = format!(
        "the call took longer than {} ms: send the same request again, its id makes that safe",
        limit.as_millis()
    );
    Draft::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", text)
        .retry(Certainty::Indeterminate)
        .finish()
}

/// Too many calls are in progress.
pub fn too_many_calls(max: usize) -> Status {
    let text = format!("{max} calls are in progress, which is the most: try again");
    Draft::new(Code::ResourceExhausted, "TOO_MANY_CALLS", text)
        .with("max", max)
        .retry(Certainty::Determinate)
        .finish()
}

/// No such method here.
pub fn not_served(path: &str, served: &[&str]) -> Status {
    let path: String = path.chars().take(TEXT_BYTES_MAX / 4).collect();
    let text = format!(
        "{path:?} is not served here; there are {}",
        served.join(", ")
    );
    Draft::new(Code::Unimplemented, "METHOD_NOT_SERVED", text).finish()
}

/// The contract has the method, and what serves it is elsewhere: in another process, or on an
/// address of its own.
pub fn process_lacks(method: &str, role: &str, served: &[&str]) -> Status {
    let text = format!(
        "{method} is not served here: ask a process that has the role {role:?}, or this one where \
         it serves that apart (admin.listen, admin.unix_socket); here there are {}",
        served.join(", ")
    );
    Draft::new(Code::Unimplemented, "METHOD_NOT_SERVED", text)
        .with("role", role)
        .finish()
}

/// No service of this name to ask the health of.
pub fn no_such_service(known: &[&str]) -> Status {
    let text = format!(
        "service: is not served here: empty, or one of {}",
        known.join(", ")
    );
    Draft::new(Code::NotFound, "SERVICE_NOT_FOUND", text).finish()
}

/// The audit log could not take the call's line.
pub fn not_audited(fault: &LedgerFault) -> Status {
    tracing::error!(error = %fault, "a call of AdminService has no line in the audit log");
    store_unavailable("ledger")
        .retry(Certainty::Indeterminate)
        .finish()
}

/// A handler panicked; the log has where.
pub fn panicked() -> Status {
    let text = "the call failed here, which is a mistake of Tollgate: tell the operator";
    Draft::new(Code::Internal, "PANIC", text)
        .with("certainty", Certainty::Indeterminate.name())
        .finish()
}

/// What the transport refused before a handler saw it, with the details that it lacks.
pub fn of_transport(status: &Status, message_bytes_max: usize) -> Status {
    let said = status.message();
    let draft = match status.code() {
        // A message that can't be read is the caller's mistake, not this process's.
        Code::Internal | Code::InvalidArgument => {
            let text = format!("the request is no message of this method: {said}");
            Draft::new(Code::InvalidArgument, "NOT_A_MESSAGE", text)
        }
        Code::OutOfRange | Code::ResourceExhausted => {
            let text = format!("the request is too large: at most {message_bytes_max} bytes");
            Draft::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", text)
                .with("max_bytes", message_bytes_max)
        }
        other @ (Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated) => Draft::new(other, "TRANSPORT", said),
    };
    draft.finish()
}

/// The same status, with the id that the call goes by in the log among its details.
pub fn with_request(status: &Status, request_id: &str) -> Status {
    let mut details = status.get_error_details();
    // What there is to be known of the call is in the log, and no caller's to see.
    let serving_data = "";
    details.set_request_info(request_id, serving_data);
    let metadata = status.metadata().clone();
    let (code, text) = (status.code(), status.message());
    Status::with_error_details_and_metadata(code, text, details, metadata)
}

/// Whether a code says that the request itself is wrong.
pub fn is_of_the_request(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented | Code::AlreadyExists
    )
}

/// Why a request was refused, and the fields that are wrong: what the log may say of it. What was
/// in them stays out, it is the caller's.
pub fn refusal(status: &Status) -> (String, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    let violations = details.bad_request().map(|bad| &bad.field_violations);
    let info = details.error_info();
    // What an id conflict is about, or an amount that is too large.
    let named = info.and_then(|info| info.metadata.get("field"));
    let fields = violations.into_iter().flatten();
    let fields = fields.map(|violation| &violation.field).chain(named);
    // A key in brackets is the caller's too.
    let fields: Vec<&str> = fields
        .map(|field| field.split('[').next().unwrap_or_default())
        .collect();
    (reason.unwrap_or_default(), fields.join(","))
}

/// The code's name, as metrics have it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// At most so many bytes, whole characters, with a sign that something was cut.
fn clipped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let sign = "…";
        text.truncate(text.floor_char_boundary(bytes_max - sign.len()));
        text.push_str(sign);
    }
    text
}
