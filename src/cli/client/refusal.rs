//! What a server's error means on the command line: the exit code, the fields that are wrong,
//! the stable reason, and what to do. No error is made up here.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::cli::{exit::Exit, output::Failure};

/// The stable reason of a call for an account that is not there.
const NO_ACCOUNT: &str = "ACCOUNT_NOT_FOUND";
/// What the client's own timer says.
const TIMED_OUT: &str = "Timeout expired";
/// The most fields that are listed.
const VIOLATIONS_MAX: usize = 32;

/// The failure that an error of a call is.
pub(crate) fn failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    let mut lines = Vec::new();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice());
    let violations = violations.unwrap_or_default();
    let said = |text: &str| status.message().contains(text);
    let repeats = !violations.is_empty() && violations.iter().all(|one| said(&one.description));
    if !repeats {
        lines.push(headline(status));
    }
    let listed = violations.iter().take(VIOLATIONS_MAX);
    lines.extend(listed.map(|one| match one.field.is_empty() {
        true => one.description.clone(),
        false => format!("{}: {}", one.field, one.description),
    }));
    if let Some(more) = violations
        .len()
        .checked_sub(VIOLATIONS_MAX)
        .filter(|more| *more > 0)
    {
        lines.push(format!("and {more} more fields"));
    }
    if let Some(info) = details.error_info().filter(|info| !info.reason.is_empty()) {
        lines.push(format!("reason: {}", info.reason));
    }
    // All errors of Tollgate's own have their reason.
    let is_a_strangers = details.error_info().is_none();
    let is_no_answer = matches!(status.code(), Code::Internal | Code::Unknown) || is_cut(status);
    if is_a_strangers && is_no_answer {
        let failure = Failure::new(Exit::Unavailable, lines.join("\n"));
        return failure.hint("is that a gRPC port of Tollgate? `serve` says which one is");
    }
    let failure = Failure::new(exit(status.code()), lines.join("\n"));
    let failure = match details.error_info() {
        Some(info) if info.reason == NO_ACCOUNT => failure.hint(
            "`tollgate account create ID --plan PLAN` makes one, `tollgate account list` shows all",
        ),
        Some(_) | None => failure,
    };
    let wait = details.retry_info().and_then(|retry| retry.retry_delay);
    let failure = match wait {
        Some(wait) => failure.hint(format!("wait {wait:?} before the next try")),
        None => failure,
    };
    match hint(status.code()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whether the server, or whatever is there, has closed the connection: what else cancels a call here is
/// the client's own timer.
fn is_cut(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() != TIMED_OUT
}

fn headline(status: &Status) -> String {
    match status.message() {
        "" => format!("the server answered {:?} and no more", status.code()),
        TIMED_OUT => "no answer in time: it may have happened all the same".to_owned(),
        _ if is_cut(status) => {
            "the connection was closed before there was an answer: it may have happened all the same"
                .to_owned()
        },
        message => message.to_owned(),
    }
}

/// The client's own timer ends a call as cancelled: nobody else cancels it. An aborted call, or one
/// too many, can be sent again, as one that found the server out of reach.
fn exit(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::BadRequest,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition => Exit::Conflict,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::ResourceExhausted => Exit::Unavailable,
        Code::PermissionDenied | Code::Unauthenticated => Exit::NotAllowed,
        // Another server is to be named.
        Code::Unimplemented => Exit::Usage,
        Code::Unknown | Code::Internal | Code::DataLoss => Exit::Internal,
    }
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Unimplemented => Some(
            "this server does not have that service: see its --roles, or name another --endpoint",
        ),
        Code::DeadlineExceeded | Code::Cancelled => Some("--timeout gives it longer"),
        Code::Unauthenticated => Some("--token-file, or --tls-cert and --tls-key, say who calls"),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unavailable
        | Code::Unknown
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(code: Code, message: &str, details: ErrorDetails) -> Failure {
        failure(&Status::with_error_details(code, message, details))
    }

    #[test]
    fn fields_are_listed_one_per_line_with_the_reason() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("account_id", "must not be empty");
        details.add_bad_request_violation("action.mode", "unknown mode \"chat\": discuss, edit");
        details.set_error_info("BAD_REQUEST", "tollgate", std::collections::HashMap::new());
        let message =
            "account_id: must not be empty; action.mode: unknown mode \"chat\": discuss, edit";
        let expected = "account_id: must not be empty\n\
            action.mode: unknown mode \"chat\": discuss, edit\n\
            reason: BAD_REQUEST";
        let failure = refused(Code::InvalidArgument, message, details.clone());
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::BadRequest, expected)
        );

        let failure = refused(Code::InvalidArgument, "the request is wrong", details);
        assert_eq!(failure.message, format!("the request is wrong\n{expected}"));
    }

    #[test]
    fn codes_become_exits_that_scripts_can_use() {
        for (code, expected) in [
            (Code::NotFound, Exit::NotFound),
            (Code::AlreadyExists, Exit::Conflict),
            (Code::FailedPrecondition, Exit::Conflict),
            (Code::Unavailable, Exit::Unavailable),
            (Code::DeadlineExceeded, Exit::Unavailable),
            (Code::Internal, Exit::Internal),
            (Code::Unimplemented, Exit::Usage),
            (Code::Unauthenticated, Exit::NotAllowed),
            (Code::PermissionDenied, Exit::NotAllowed),
        ] {
            let details = ErrorDetails::with_error_info("WHY", "tollgate", []);
            let failure = refused(code, "so it is", details);
            assert_eq!(failure.exit, expected, "{code:?}");
            assert_eq!(failure.message, "so it is\nreason: WHY", "{code:?}");
        }
    }

    #[test]
    fn who_answers_without_a_reason_is_not_tollgate() {
        for code in [Code::Internal, Code::Unknown] {
            let failure = refused(code, "h2 protocol error", ErrorDetails::new());
            assert_eq!(failure.exit, Exit::Unavailable, "{code:?}");
            assert_eq!(failure.message, "h2 protocol error", "{code:?}");
        }
    }

    #[test]
    fn the_clients_own_timer_is_told_apart() {
        let failure = failure(&Status::cancelled("Timeout expired"));
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.starts_with("no answer in time"));
        assert_eq!(failure.hints, ["--timeout gives it longer"]);
    }
}
