//! What is said to a caller that is not known, or may not do what it asks for.

use tonic::{Code, Status};

use super::Draft;
use crate::access::{Principal, table::Role};

/// The `authorization` header is no bearer token.
pub fn not_a_token() -> Status {
    let text = "authorization: must be \"Bearer TOKEN\", of a token that `tollgate token` made";
    Draft::new(Code::Unauthenticated, "NOT_A_TOKEN", text).finish()
}

/// The access file has no such token.
pub fn unknown_token() -> Status {
    let text = "authorization: this token is not known here, or not any more: ask for a new one";
    Draft::new(Code::Unauthenticated, "TOKEN_UNKNOWN", text).finish()
}

/// The call has no token, and the access file does not know who is at the other end.
pub fn unknown_caller(shown: &str) -> Status {
    let text = format!(
        "the caller is not known: it showed {shown}; what would do is a bearer token, a client \
         certificate or a Unix user that the access file lists"
    );
    Draft::new(Code::Unauthenticated, "CALLER_UNKNOWN", text).finish()
}

/// The caller has none of the roles that the method needs.
pub fn role_missing(principal: &Principal, method: &str, needed: &[Role]) -> Status {
    let names = |roles: &[Role]| roles.iter().map(|role| role.name()).collect::<Vec<_>>();
    let needed = names(needed).join(", ");
    let text = format!(
        "{method} needs one of the roles {needed}, and {} has {}",
        principal.name,
        names(&principal.roles).join(", ")
    );
    Draft::new(Code::PermissionDenied, "ROLE_MISSING", text)
        .with("principal", &principal.name)
        .with("needed", needed)
        .finish()
}

/// The caller may not act for this account, whether there is one or not.
pub fn out_of_scope(principal: &Principal, names_none: bool) -> Status {
    let prefixes = principal.accounts.join(", ");
    let what = match names_none {
        true => "name one such account: what is asked for is about all of them",
        false => "this is not one",
    };
    let text = format!(
        "account_id: {} may act for accounts that start with {prefixes}, and {what}",
        principal.name
    );
    Draft::new(Code::PermissionDenied, "ACCOUNT_OUT_OF_SCOPE", text)
        .with("principal", &principal.name)
        .with("accounts", prefixes)
        .finish()
}
