//! The configuration: default < file < `TOLLGATE_…` variable < flag, whole and checked before
//! anything is opened or bound.
//!
//! Every key stands in `config.default.toml`, with its default and one comment. Unknown keys and
//! wrong values are errors wherever they are given, also where a higher layer overrides them, and
//! every wrong value is reported with what is accepted. It never logs, and no user or password of a
//! URL reaches an error or `Debug`.

mod defaults;
mod error;
mod flags;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod grpc;
mod layers;
mod nearest;
mod postgres;
mod printed;
mod reader;
mod reconcile;
mod redis;
mod sections;
mod security;
mod stores;
mod telemetry;
#[cfg(test)]
mod tests;
mod variables;

use std::path::PathBuf;

pub use self::{
    error::{ConfigError, Problem},
    flags::Flags,
    grpc::{AdminConfig, GrpcConfig, UnixPeers},
    layers::Source,
    postgres::{Migrate, PostgresConfig},
    printed::Printed,
    reconcile::{ReconcileConfig, RepairWhen},
    redis::RedisConfig,
    sections::{
        HttpConfig, LogConfig, LogFormat, ReserveConfig, Role, Roles, SettleAck, SettleConfig,
        WorkerConfig,
    },
    security::{AccessConfig, ClientCert, TlsConfig, TlsFiles},
    stores::{HotUrl, LedgerUrl, SecretUrl},
    telemetry::TelemetryConfig,
};
use self::{layers::Layers, reader::Reader};

/// The name of the ledger's file in the data folder, where no other is configured.
const LEDGER_FILE: &str = "ledger.db";
/// The most shards: each has an outbox and a deadline queue of its own.
const SHARDS_MAX: u32 = 4096;
/// The longest drain, in milliseconds: ten minutes.
const DRAIN_MS_MAX: u64 = 600_000;

/// The whole configuration, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The gRPC services.
    pub grpc: GrpcConfig,
    /// Where AdminService is served.
    pub admin: AdminConfig,
    /// TLS.
    pub tls: TlsConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// Health, readiness and metrics.
    pub http: HttpConfig,
    /// Where the ledger, the open holds and the lock on them are kept.
    pub data_dir: PathBuf,
    /// The catalogue's file; `None` is the one that is built in.
    pub catalog: Option<PathBuf>,
    /// The store of hot balances.
    pub hot: HotUrl,
    /// The ledger; where none is configured, a file in `data_dir`. `None`: this process has only
    /// the role `gateway`, and knows Redis and nothing else.
    pub ledger: Option<LedgerUrl>,
    /// What this process does.
    pub roles: Roles,
    /// How long holds and answers are remembered.
    pub reserve: ReserveConfig,
    /// From the hot store to the ledger.
    pub settle: SettleConfig,
    /// The bounds of a Redis store's use.
    pub redis: RedisConfig,
    /// The bounds of a Postgres ledger's use.
    pub postgres: PostgresConfig,
    /// The worker that returns holds past their deadline.
    pub sweep: WorkerConfig,
    /// The worker that renews idle accounts.
    pub renew: WorkerConfig,
    /// The worker that compares what is loaded with the ledger.
    pub reconcile: ReconcileConfig,
    /// Where traces and metrics are pushed to.
    pub telemetry: TelemetryConfig,
    /// The log.
    pub log: LogConfig,
    /// How long open calls may take to finish after SIGTERM, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How many parts the accounts are divided into.
    pub shards: u32,
}

impl Config {
    /// Puts the layers together. `environment` is usually [`environment`]; of it only names that
    /// start with `TOLLGATE_` are looked at.
    pub fn load(
        flags: &Flags,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut layers = Layers::collect(flags, environment)?;
        let names = std::mem::take(&mut layers.problems);
        let mut reader = Reader::new(&layers);
        let config = Config::read(&mut reader);
        let problems: Vec<Problem> = names.into_iter().chain(reader.problems).collect();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigError::Invalid(problems)),
        }
    }

    /// All dotted keys, in the order of the defaults.
    pub fn keys() -> Vec<String> {
        defaults::keys()
    }

    /// The variable that sets a key.
    pub fn variable(key: &str) -> String {
        variables::name(key)
    }

    /// The defaults, with their comments, as a file that `--config` reads.
    pub fn default_toml() -> &'static str {
        defaults::TEXT
    }

    /// What the layers come to, whether it is valid or not.
    pub fn printed(
        flags: &Flags,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Printed, ConfigError> {
        Layers::collect(flags, environment).map(Printed)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Config> {
        let data_dir = reader.path("data_dir");
        let catalog = reader.optional_path("catalog");
        let hot = reader.text("hot", HotUrl::ACCEPTED, HotUrl::parse);
        let ledger = reader.text("ledger", LedgerUrl::ACCEPTED, LedgerUrl::parse);
        let roles = Roles::read(reader);
        let shards = reader.small_int("shards", 1..=SHARDS_MAX);
        let drain_timeout_ms = reader.int("drain_timeout_ms", 0..=DRAIN_MS_MAX);
        let grpc = GrpcConfig::read(reader);
        let admin = AdminConfig::read(reader);
        let tls = TlsConfig::read(reader);
        let access = AccessConfig::read(reader);
        let http = HttpConfig::read(reader);
        let reserve = ReserveConfig::read(reader);
        let settle = SettleConfig::read(reader);
        let redis = RedisConfig::read(reader);
        let postgres = PostgresConfig::read(reader);
        let sweep = WorkerConfig::read(reader, "sweep.interval_ms", "sweep.batch_max");
        let renew = WorkerConfig::read(reader, "renew.interval_ms", "renew.batch_max");
        let reconcile = ReconcileConfig::read(reader);
        let telemetry = TelemetryConfig::read(reader);
        let log = LogConfig::read(reader);

        let (data_dir, roles) = (data_dir?, roles?);
        let own_ledger = roles
            .need_ledger()
            .then(|| LedgerUrl::Sqlite(data_dir.join(LEDGER_FILE)));
        let config = Config {
            grpc: grpc?,
            admin: admin?,
            tls: tls?,
            access: access?,
            http: http?,
            catalog: catalog?,
            hot: hot?,
            ledger: ledger?.or(own_ledger),
            data_dir,
            roles,
            reserve: reserve?,
            settle: settle?,
            redis: redis?,
            postgres: postgres?,
            sweep: sweep?,
            renew: renew?,
            reconcile: reconcile?,
            telemetry: telemetry?,
            log: log?,
            drain_timeout_ms: drain_timeout_ms?,
            shards: shards?,
        };
        config.check(reader);
        Some(config)
    }

    /// What no section can check alone.
    fn check(&self, reader: &mut Reader<'_>) {
        security::check_listeners(self, reader);
        match &self.hot {
            HotUrl::Memory if !self.roles.has(Role::Settler) => reader.conflict(
                "hot = \"memory:\" and roles".to_owned(),
                "must include \"settler\": no other process can settle what this one holds",
            ),
            HotUrl::Memory => {}
            HotUrl::Redis(_) => self.check_redis(reader),
        }
    }

    fn check_redis(&self, reader: &mut Reader<'_>) {
        if !self.roles.need_ledger() {
            self.check_sidecar(reader);
        }
        let call_ms = self.grpc.request_timeout_ms;
        for (key, step_ms) in [
            ("redis.call_timeout_ms", self.redis.call_timeout_ms),
            ("redis.load_timeout_ms", self.redis.load_timeout_ms),
        ] {
            if step_ms > call_ms {
                reader.conflict(
                    format!("{key} = {step_ms}"),
                    format_args!("must be at most grpc.request_timeout_ms, {call_ms}"),
                );
            }
        }
    }

    /// What a process that knows Redis only can't follow is refused, not left out: a database's
    /// password has no business here, and prices come from what the control plane publishes.
    fn check_sidecar(&self, reader: &mut Reader<'_>) {
        let why = "must be left out where roles = [\"gateway\"]: such a process knows Redis only";
        if let Some(ledger) = &self.ledger {
            reader.conflict(format!("ledger = \"{ledger}\""), why);
        }
        if let Some(catalog) = &self.catalog {
            reader.conflict(
                format!("catalog = \"{}\"", catalog.display()),
                format_args!("{why}, and prices by what a process with the role admin publishes"),
            );
        }
    }
}

/// The variables of this process that [`Config::load`] looks at.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    variables::of_process()
}
