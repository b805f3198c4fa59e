//! The sections: what each part of Tollgate can be told. Fields are named as their keys.

use std::net::SocketAddr;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::reader::Reader;

/// The longest time that any key accepts, in milliseconds: 30 days.
const TIME_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// The longest pause between two rounds of a worker, in milliseconds: one hour.
const PAUSE_MS_MAX: u64 = 3_600_000;
/// The largest batch that any worker may take.
const BATCH_MAX: u64 = 100_000;

/// `[http]`: health, readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The TCP address. Port 0: any free one.
    pub listen: SocketAddr,
}

impl HttpConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(HttpConfig {
            listen: reader.address("http.listen")?,
        })
    }
}

/// `[reserve]`: how long things are remembered. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveConfig {
    /// How long a hold stands where the caller names no time.
    pub default_ttl_ms: u64,
    /// The shortest time that a caller may name.
    pub ttl_min_ms: u64,
    /// The longest time that a caller may name.
    pub ttl_max_ms: u64,
    /// How long after its deadline a hold is still remembered.
    pub late_window_ms: u64,
    /// How long answers are kept for retries.
    pub replay_window_ms: u64,
}

impl ReserveConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let default_ttl_ms = reader.int("reserve.default_ttl_ms", 1..=TIME_MS_MAX);
        let ttl_min_ms = reader.int("reserve.ttl_min_ms", 1..=TIME_MS_MAX);
        let ttl_max_ms = reader.int("reserve.ttl_max_ms", 1..=TIME_MS_MAX);
        let late_window_ms = reader.int("reserve.late_window_ms", 0..=TIME_MS_MAX);
        let replay_window_ms = reader.int("reserve.replay_window_ms", 1..=2 * TIME_MS_MAX);
        let config = ReserveConfig {
            default_ttl_ms: default_ttl_ms?,
            ttl_min_ms: ttl_min_ms?,
            ttl_max_ms: ttl_max_ms?,
            late_window_ms: late_window_ms?,
            replay_window_ms: replay_window_ms?,
        };
        config.check(reader);
        Some(config)
    }

    fn check(&self, reader: &mut Reader<'_>) {
        let Self {
            default_ttl_ms,
            ttl_min_ms,
            ttl_max_ms,
            late_window_ms,
            replay_window_ms,
        } = self;
        if ttl_min_ms > ttl_max_ms {
            reader.conflict(
                format!("reserve.ttl_min_ms = {ttl_min_ms}"),
                format_args!("must be at most reserve.ttl_max_ms, {ttl_max_ms}"),
            );
        } else if !(ttl_min_ms..=ttl_max_ms).contains(&default_ttl_ms) {
            reader.conflict(
                format!("reserve.default_ttl_ms = {default_ttl_ms}"),
                format_args!(
                    "must be from reserve.ttl_min_ms, {ttl_min_ms}, to reserve.ttl_max_ms, \
                     {ttl_max_ms}"
                ),
            );
        }
        // An answer that is forgotten while its hold can still be committed would be given twice.
        let needed_ms = ttl_max_ms + late_window_ms;
        if *replay_window_ms < needed_ms {
            reader.conflict(
                format!("reserve.replay_window_ms = {replay_window_ms}"),
                format_args!(
                    "must be at least {needed_ms}: reserve.ttl_max_ms, {ttl_max_ms}, and \
                     reserve.late_window_ms, {late_window_ms}"
                ),
            );
        }
    }
}

/// When a commit is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleAck {
    /// Once the ledger has it: nothing that was answered is ever lost.
    Ledger,
    /// Once the hot store has it.
    Hot,
}

/// `[settle]`: from the hot store to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleConfig {
    /// When a commit is answered.
    pub ack: SettleAck,
    /// How often open holds are written to disk, in milliseconds.
    pub flush_interval_ms: u64,
    /// From how many entries on a transaction takes no further shards; it takes some at once, whole.
    pub batch_max: usize,
}

impl SettleConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let acks = [("ledger", SettleAck::Ledger), ("hot", SettleAck::Hot)];
        let ack = reader.choice("settle.ack", &acks);
        let flush_interval_ms = reader.int("settle.flush_interval_ms", 1..=PAUSE_MS_MAX);
        let batch_max = reader.int("settle.batch_max", 1..=BATCH_MAX);
        Some(SettleConfig {
            ack: ack?,
            flush_interval_ms: flush_interval_ms?,
            batch_max: usize::try_from(batch_max?).ok()?,
        })
    }
}

/// `[sweep]` and `[renew]`: a worker that looks for what is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// The pause between two rounds, in milliseconds.
    pub interval_ms: u64,
    /// The most that one round does.
    pub batch_max: usize,
}

impl WorkerConfig {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        interval_ms: &'static str,
        batch_max: &'static str,
    ) -> Option<Self> {
        let interval_ms = reader.int(interval_ms, 1..=PAUSE_MS_MAX);
        let batch_max = reader.int(batch_max, 1..=BATCH_MAX);
        Some(WorkerConfig {
            interval_ms: interval_ms?,
            batch_max: usize::try_from(batch_max?).ok()?,
        })
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// A level, or directives by target.
    pub filter: String,
    /// Whether lines and spans name the account that they are about.
    pub account_ids: bool,
    /// From how long on a call is logged as slow, in milliseconds; zero: never.
    pub slow_call_ms: u64,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = reader.choice("log.format", &formats);
        let accepted = "a level (error, warn, info, debug, trace, off) or directives such as \
                        \"info,tollgate=debug\"";
        let filter = reader.text("log.filter", accepted, |text| {
            let is_meant = text.split(',').all(is_meant);
            let filter = EnvFilter::try_new(text).ok().filter(|_| is_meant);
            filter.map(|_| text.to_owned())
        });
        let account_ids = reader.switch("log.account_ids");
        let slow_call_ms = reader.int("log.slow_call_ms", 0..=60_000);
        Some(LogConfig {
            format: format?,
            filter: filter?,
            account_ids: account_ids?,
            slow_call_ms: slow_call_ms?,
        })
    }
}

/// Whether a directive is what somebody meant. A word alone that is no level is the name of a target,
/// and shows nothing of any other: most likely it is a level that is called otherwise elsewhere.
fn is_meant(directive: &str) -> bool {
    let word = directive.trim();
    let is_target = word.starts_with("tollgate") || word.contains(['=', ':', '[']);
    word.is_empty() || is_target || word.parse::<LevelFilter>().is_ok()
}

/// What this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers QuotaService.
    Gateway,
    /// Answers AdminService.
    Admin,
    /// Runs the workers.
    Settler,
}

/// The roles of this process: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let roles = [
            ("gateway", Role::Gateway),
            ("admin", Role::Admin),
            ("settler", Role::Settler),
        ];
        reader.choices("roles", &roles).map(Roles)
    }

    /// Whether this process needs a ledger: all but `gateway` do.
    pub fn need_ledger(&self) -> bool {
        self.has(Role::Admin) || self.has(Role::Settler)
    }

    /// Whether this process has the role.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}
