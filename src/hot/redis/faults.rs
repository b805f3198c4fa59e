//! What a failed call means: whether the step may have happened, and whether its connection is
//! still of use.

use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::hot::{Certainty, HotFault};

/// The error of a script on a shard that is not verified for its server.
const UNVERIFIED: &str = "NOTBEGUN";
/// The error of a step on a server that another one has replaced, as this process knows.
const REPLACED: &str = "REPLACED";

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub certainty: Certainty,
    /// Whether the connection must be made anew.
    pub is_lost: bool,
    /// Whether the server does not know the script.
    pub is_unknown_script: bool,
    /// Whether the shard must be verified first.
    pub is_unverified: bool,
    /// Whether another server has replaced the one that answered.
    pub is_replaced: bool,
    pub source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Nothing was sent.
    pub fn not_sent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure {
            certainty: Certainty::Determinate,
            is_lost: false,
            is_unknown_script: false,
            is_unverified: false,
            is_replaced: false,
            source: source.into(),
        }
    }

    /// It was sent, and nobody knows.
    pub fn unknown(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure {
            certainty: Certainty::Indeterminate,
            ..Failure::not_sent(source)
        }
    }

    /// What a server's or a connection's error means. A cluster client may have sent the call
    /// before, to a node that is gone, so that its last error proves nothing.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum, which grows"
    )]
    pub fn from_redis(error: RedisError, is_cluster: bool) -> Self {
        let (certainty, is_lost) = match error.kind() {
            ErrorKind::Server(kind) => of_server(kind),
            ErrorKind::Extension => of_code(error.code().unwrap_or_default()),
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::EmptySentinelList
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::RESP3NotSupported => (Certainty::Determinate, true),
            ErrorKind::Io if error.is_connection_refusal() => (Certainty::Determinate, true),
            // What is not known may have happened.
            _ => (Certainty::Indeterminate, true),
        };
        let is_unknown_script = error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        let is_unverified = error.code() == Some(UNVERIFIED);
        let is_replaced = error.code() == Some(REPLACED);
        let proves_nothing = is_cluster && !is_unknown_script;
        Failure {
            certainty: if proves_nothing {
                Certainty::Indeterminate
            } else {
                certainty
            },
            // A cluster client mends itself.
            is_lost: is_lost && !is_cluster,
            is_unknown_script,
            is_unverified,
            is_replaced,
            source: Box::new(error),
        }
    }

    /// As the hot store says it.
    pub fn of(self, operation: &'static str) -> HotFault {
        HotFault {
            certainty: self.certainty,
            operation,
            source: self.source,
        }
    }
}

/// What a server refuses before it runs anything, and whether it is the wrong one to ask.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum, which grows"
)]
fn of_server(kind: ServerErrorKind) -> (Certainty, bool) {
    match kind {
        ServerErrorKind::NoScript
        | ServerErrorKind::BusyLoading
        | ServerErrorKind::TryAgain
        | ServerErrorKind::CrossSlot
        | ServerErrorKind::NoPerm
        | ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::ClusterDown => (Certainty::Determinate, false),
        // It became a replica: somebody else is the master now.
        ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown => (Certainty::Determinate, true),
        // What is not known may have happened.
        _ => (Certainty::Indeterminate, false),
    }
}

fn of_code(code: &str) -> (Certainty, bool) {
    match code {
        "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "TOLLGATE" | UNVERIFIED => {
            (Certainty::Determinate, false)
        }
        // The way to it may be an old one: it is looked for anew.
        "NOAUTH" | "WRONGPASS" | REPLACED => (Certainty::Determinate, true),
        _ => (Certainty::Indeterminate, false),
    }
}
