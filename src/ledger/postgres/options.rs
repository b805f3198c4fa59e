//! How a Postgres ledger is reached, and within which bounds it is used.

use std::{fmt, str::FromStr, time::Duration};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use super::OpenError;

/// The parameters that a URL may have.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// What the server's list of sessions calls this program where the URL does not.
const APPLICATION_NAME: &str = "tollgate";

/// Where the ledger is, and the bounds of its use. Never shows the password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) connect: PgConnectOptions,
    /// The most connections at once, 1 or more. Lists, conversations, the audit log and the audit
    /// take half of them at most, and one where there is one.
    pub connections_max: u32,
    /// The longest wait for a connection, new or free.
    pub acquire_timeout: Duration,
    /// The longest that one statement may run on the server. The audit, migrations and the
    /// look for what a catalogue must have are not bound by it.
    pub statement_timeout: Duration,
    /// The longest that a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long the server lets a transaction sit idle whose client has gone silent, before it
    /// ends it and frees its locks.
    pub idle_in_transaction_timeout: Duration,
    /// Whether opening brings the schema up to date.
    pub migrate: bool,
    /// For how many months after the present one partitions are made ahead.
    pub months_ahead: u32,
    /// Whether a standby will do: for whoever only reads, and may read what is a little old.
    pub may_be_standby: bool,
}

impl PostgresOptions {
    /// From `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=…`, with
    /// the default bounds. Unknown parameters are refused; the error never shows the URL.
    pub fn new(url: &str) -> Result<Self, OpenError> {
        let wrong = |detail: String| OpenError::Url { detail };
        let is_ours = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        if !is_ours {
            return Err(wrong("must start with postgres://".to_owned()));
        }
        let query = url.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let is_setting = name.starts_with("options[") || name.starts_with("options%5B");
            // What follows a '?' in a password is no name, and must not be shown.
            if name.contains(['@', '/', ':']) {
                return Err(wrong(
                    "has a user or password with a '?', which must be percent-encoded (%3F)"
                        .to_owned(),
                ));
            }
            if !PARAMETERS.contains(&name) && !is_setting {
                return Err(wrong(format!("has the unknown parameter {name:?}")));
            }
        }
        let mut connect =
            PgConnectOptions::from_str(url).map_err(|error| wrong(error.to_string()))?;
        if connect.get_application_name().is_none() {
            connect = connect.application_name(APPLICATION_NAME);
        }
        Ok(PostgresOptions {
            connect: connect.disable_statement_logging(),
            connections_max: 16,
            acquire_timeout: Duration::from_millis(1_500),
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(15),
            migrate: true,
            months_ahead: 3,
            may_be_standby: false,
        })
    }

    /// The server, as an error may name it: `host:port/database`, or the folder of its socket.
    pub fn place(&self) -> String {
        let connect = &self.connect;
        let host = match connect.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => connect.get_host().to_owned(),
        };
        let database = connect.get_database().unwrap_or(connect.get_username());
        format!("{host}:{}/{database}", connect.get_port())
    }

    /// With the bounds as settings of each session. The server's own defaults for a role or a
    /// database give way to them.
    pub(super) fn session(&self) -> PgConnectOptions {
        let millis = |time: Duration| time.as_millis().to_string();
        self.connect.clone().options([
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            (
                "idle_in_transaction_session_timeout",
                millis(self.idle_in_transaction_timeout),
            ),
        ])
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("place", &self.place())
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field(
                "idle_in_transaction_timeout",
                &self.idle_in_transaction_timeout,
            )
            .field("migrate", &self.migrate)
            .field("months_ahead", &self.months_ahead)
            .field("may_be_standby", &self.may_be_standby)
            .finish_non_exhaustive()
    }
}
