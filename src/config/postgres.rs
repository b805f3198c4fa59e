//! `[postgres]`: how a Postgres ledger is used.

use super::reader::Reader;

/// The longest time that any of these keys accepts, in milliseconds: 10 minutes.
const TIME_MS_MAX: u64 = 600_000;

/// `[postgres]`: the bounds of a Postgres ledger's use. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// The most connections of this process.
    pub connections_max: u32,
    /// The longest wait for a connection.
    pub acquire_timeout_ms: u64,
    /// The longest that one statement may run.
    pub statement_timeout_ms: u64,
    /// The longest that a statement may wait for a lock.
    pub lock_timeout_ms: u64,
    /// How long a transaction may sit idle before the server ends it.
    pub idle_in_transaction_timeout_ms: u64,
    /// When the schema is brought up to date.
    pub migrate: Migrate,
    /// For how many months after the present one partitions are made ahead.
    pub months_ahead: u32,
}

/// When the schema is brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// At every start.
    Auto,
    /// By `tollgate migrate` only.
    Never,
}

impl PostgresConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let connections_max = reader.small_int("postgres.connections_max", 1..=1000);
        let mut time = |key| reader.int(key, 1..=TIME_MS_MAX);
        let acquire_timeout_ms = time("postgres.acquire_timeout_ms");
        let statement_timeout_ms = time("postgres.statement_timeout_ms");
        let lock_timeout_ms = time("postgres.lock_timeout_ms");
        let idle_in_transaction_timeout_ms = time("postgres.idle_in_transaction_timeout_ms");
        let choices = [("auto", Migrate::Auto), ("never", Migrate::Never)];
        let migrate = reader.choice("postgres.migrate", &choices);
        let months_ahead = reader.small_int("postgres.months_ahead", 1..=120);
        Some(PostgresConfig {
            connections_max: connections_max?,
            acquire_timeout_ms: acquire_timeout_ms?,
            statement_timeout_ms: statement_timeout_ms?,
            lock_timeout_ms: lock_timeout_ms?,
            idle_in_transaction_timeout_ms: idle_in_transaction_timeout_ms?,
            migrate: migrate?,
            months_ahead: months_ahead?,
        })
    }
}
