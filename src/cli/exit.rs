//! The exit codes, which scripts can rely on.

use std::process::ExitCode;

/// How a command ended. The codes from 64 up are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to.
    Ok,
    /// A check, demo, bench or reconcile ran and found something wrong.
    Failed,
    /// The server denied: there are not enough credits, or the account is not active.
    Denied,
    /// The server knows no such account, reservation, grant, …
    NotFound,
    /// The id is taken by another request, or the state does not allow the change. Of a reserve or
    /// an extend that was answered before: the reservation has ended since, and nothing is held.
    Conflict,
    /// The command line or the configuration is wrong; nothing was opened or called.
    Usage,
    /// The server refused the input.
    BadRequest,
    /// The server is out of reach, not ready, or did not answer in time.
    Unavailable,
    /// A fault of Tollgate's own.
    Internal,
    /// A port in use, or a folder that is not usable or in use.
    CantCreate,
    /// The server does not know the caller, or does not let it do that.
    NotAllowed,
}

impl Exit {
    /// All, for the help text and for tests.
    pub const ALL: [Exit; 11] = [
        Exit::Ok,
        Exit::Failed,
        Exit::Denied,
        Exit::NotFound,
        Exit::Conflict,
        Exit::Usage,
        Exit::BadRequest,
        Exit::Unavailable,
        Exit::Internal,
        Exit::CantCreate,
        Exit::NotAllowed,
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Denied => 3,
            Exit::NotFound => 4,
            Exit::Conflict => 5,
            Exit::Usage => 64,
            Exit::BadRequest => 65,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::CantCreate => 73,
            Exit::NotAllowed => 77,
        }
    }

    /// A stable name, for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Failed => "failed",
            Exit::Denied => "denied",
            Exit::NotFound => "not_found",
            Exit::Conflict => "conflict",
            Exit::Usage => "usage",
            Exit::BadRequest => "bad_request",
            Exit::Unavailable => "unavailable",
            Exit::Internal => "internal",
            Exit::CantCreate => "cant_create",
            Exit::NotAllowed => "not_allowed",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
