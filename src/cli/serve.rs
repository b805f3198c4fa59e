//! `tollgate serve`: the sidecar itself.

use std::sync::Arc;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    exit::Exit,
    output::{Failure, Output},
};
use crate::{
    app::{self, Running, StartError},
    clock::SystemClock,
    config::{self, Config, Flags, LedgerUrl},
    telemetry,
};

/// What a process gets that writes more to a file than it may, on Linux.
const SIGXFSZ: i32 = 25;

/// Run the sidecar: gRPC on TCP and on a Unix socket, health and metrics over HTTP
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    flags: Flags,

    /// Print every key with its value, its meaning and where it comes from, and exit
    #[arg(long)]
    print_config: bool,
}

/// Loads the configuration, and serves until it is told to stop.
pub async fn run(args: ServeArgs, output: Output) -> Result<Exit, Failure> {
    if args.print_config {
        let printed = Config::printed(&args.flags, config::environment())?;
        output.result(&printed, |printed| printed.text().trim_end().to_owned())?;
    }
    // A configuration that is wrong is printed too, and then refused.
    let config = Config::load(&args.flags, config::environment())?;
    if args.print_config {
        return Ok(Exit::Ok);
    }
    telemetry::init_log(&config.log)
        .map_err(|error| Failure::new(Exit::Internal, format!("starting the log: {error}")))?;
    // Before anything is bound: a signal that comes early is not lost.
    let internal = |error: std::io::Error| Failure::new(Exit::Internal, error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    // A file that may grow no more is as a full disk, where nobody is killed for it.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ)).map_err(internal)?;
    let running = app::start(config.clone(), Arc::new(SystemClock::new())).await?;
    let greeting = Greeting::new(&config, &running);
    output.result(&greeting, Greeting::text)?;
    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        thread = running.broken() => Some(thread),
    };
    if let Some(thread) = broken {
        tracing::error!(
            thread,
            "a thread has panicked without which nothing is settled"
        );
    }
    // Nothing about stopping may depend on whether this can be written.
    let _ = output
        .progress("tollgate: stopping: no new calls, open calls finish, everything is flushed");
    let stopped = running.stop().await;
    if !stopped.drained {
        tracing::warn!(
            drain_timeout_ms = config.drain_timeout_ms,
            "connections were still open at the end of the drain and were cut"
        );
    }
    if let Some(thread) = broken {
        let why = format!("stopped, since the thread {thread} has panicked");
        return Err(Failure::new(Exit::Internal, why)
            .hint("what was answered is on disk: start it again; the log says where it panicked"));
    }
    if stopped.flushed {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(
        Exit::Internal,
        "stopped, but the ledger could not take everything in time",
    )
    .hint("what was answered with settle.ack = \"ledger\" is safe; the log says what failed"))
}

/// What it serves, where its data is, and what to try next.
#[derive(Debug, Serialize)]
struct Greeting {
    version: &'static str,
    grpc: String,
    unix_socket: Option<String>,
    admin: Option<String>,
    tls: bool,
    http: String,
    ledger: Option<String>,
    hot: String,
    #[serde(flatten)]
    restored: Option<Restored>,
}

/// What was put back into memory.
#[derive(Debug, Serialize)]
struct Restored {
    accounts: usize,
    open_holds: usize,
    restored_ms: u128,
}

impl Greeting {
    fn new(config: &Config, running: &Running) -> Self {
        let socket = running.unix_socket.as_ref();
        Greeting {
            version: env!("CARGO_PKG_VERSION"),
            grpc: running.grpc_addr.to_string(),
            unix_socket: socket.map(|path| path.display().to_string()),
            admin: running.admin_addr.map(|address| address.to_string()),
            tls: config.tls.files.is_some(),
            http: running.http_addr.to_string(),
            ledger: config.ledger.as_ref().map(LedgerUrl::to_string),
            hot: config.hot.to_string(),
            restored: running.restored.map(|restored| Restored {
                accounts: restored.accounts,
                open_holds: restored.holds,
                restored_ms: restored.took.as_millis(),
            }),
        }
    }

    fn text(&self) -> String {
        let socket = match &self.unix_socket {
            Some(path) => format!(" and unix:{path}"),
            None => String::new(),
        };
        let admin = match &self.admin {
            Some(address) => format!(", AdminService on {address}"),
            None => String::new(),
        };
        let hot = match &self.restored {
            Some(restored) => format!(
                "{} accounts, {} open holds, restored in {} ms",
                restored.accounts, restored.open_holds, restored.restored_ms
            ),
            None => format!("hot balances in {}", self.hot),
        };
        let head = format!(
            "tollgate {}: gRPC on {}{socket}{admin}, health and metrics on http://{}",
            self.version, self.grpc, self.http
        );
        let Some(ledger) = &self.ledger else {
            return format!("{head}\nno ledger, which the control plane has: {hot}");
        };
        let scheme = if self.tls { "https://" } else { "" };
        let endpoint = format!("--endpoint {scheme}{}", self.grpc);
        let admin_at = self.admin.as_ref().unwrap_or(&self.grpc);
        let admin_endpoint = format!("--endpoint {scheme}{admin_at}");
        format!(
            "{head}\n\
             ledger {ledger}: {hot}\n\
             try:  tollgate account create acme --plan starter {admin_endpoint}\n      \
             tollgate reserve acme --mode agent --credits 60 {endpoint}",
        )
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match error {
            StartError::OpenPostgres(error) => return error.into(),
            StartError::Catalog(_)
            | StartError::Tls(_)
            | StartError::Access(_)
            | StartError::Shards { .. }
            | StartError::Export(_)
            | StartError::RedisUrl { .. }
            | StartError::RedisCa { .. } => Exit::Usage,
            StartError::DataDir { .. }
            | StartError::DataDirInUse { .. }
            | StartError::OpenLedger(_)
            | StartError::LedgerInUse { .. }
            | StartError::Redo(_)
            | StartError::Bind(_)
            | StartError::BindHttp { .. } => Exit::CantCreate,
            StartError::Ledger(_)
            | StartError::StoredCatalog { .. }
            | StartError::BrokenInvariant { .. }
            | StartError::Internal(_) => Exit::Internal,
        };
        Failure::new(exit, error.to_string())
    }
}
