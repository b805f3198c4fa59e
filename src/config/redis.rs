//! `[redis]`: how a Redis store is used.

use std::path::PathBuf;

use super::reader::Reader;

/// The longest that one call or one connection may take, in milliseconds: 10 seconds.
const CALL_MS_MAX: u64 = 10_000;
/// The longest that an idle account stays loaded, in milliseconds: 30 days.
const IDLE_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// The most records that one shard's outbox may be allowed to have.
const OUTBOX_MAX: u64 = 1_000_000_000;

/// `[redis]`: the bounds of a Redis store's use. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// The connections of this process to one server.
    pub connections: usize,
    /// The longest that one step may take, resending included.
    pub call_timeout_ms: u64,
    /// The longest that making a connection may take.
    pub connect_timeout_ms: u64,
    /// The longest that a call waits for an account that a settler has to load.
    pub load_timeout_ms: u64,
    /// The root certificates for TLS, a PEM file; `None`: the machine's.
    pub tls_ca: Option<PathBuf>,
    /// The most records that one shard keeps for a ledger that takes none.
    pub outbox_max: u64,
    /// After how long without a change an account is unloaded; zero: never.
    pub unload_idle_ms: u64,
}

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let connections = reader.small_int("redis.connections", 1..=64);
        let call_timeout_ms = reader.int("redis.call_timeout_ms", 1..=CALL_MS_MAX);
        let connect_timeout_ms = reader.int("redis.connect_timeout_ms", 1..=CALL_MS_MAX);
        let load_timeout_ms = reader.int("redis.load_timeout_ms", 1..=CALL_MS_MAX);
        let tls_ca = reader.optional_path("redis.tls_ca");
        let outbox_max = reader.int("redis.outbox_max", 1_000..=OUTBOX_MAX);
        let unload_idle_ms = reader.int("redis.unload_idle_ms", 0..=IDLE_MS_MAX);
        Some(RedisConfig {
            connections: usize::try_from(connections?).ok()?,
            call_timeout_ms: call_timeout_ms?,
            connect_timeout_ms: connect_timeout_ms?,
            load_timeout_ms: load_timeout_ms?,
            tls_ca: tls_ca?,
            outbox_max: outbox_max?,
            unload_idle_ms: unload_idle_ms?,
        })
    }
}
