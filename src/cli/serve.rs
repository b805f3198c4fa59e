//! `tollgate serve`: the sidecar itself.

use std::{future::poll_fn, io, path::PathBuf, pin::pin, sync::Arc, task::Poll};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    exit::Exit,
    output::{Failure, Output},
};
use crate::{
    app::{self, Running, StartError, Stopped},
    clock::SystemClock,
    config::{self, Config, Flags, LedgerUrl, Role, Roles},
    telemetry::{self, procfs::Process},
};

/// What a process gets that writes more to a file than it may, on Linux.
const SIGXFSZ: i32 = 25;
/// How many files it has open besides its gRPC connections, generously.
const OWN_FILES: u64 = 256;

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
    let internal = |error: io::Error| Failure::new(Exit::Internal, error.to_string());
    let mut signals = Signals::listen().map_err(internal)?;
    // A file that may grow no more is as a full disk, where nobody is killed for it.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ)).map_err(internal)?;
    raise_files(&config);
    let running = tokio::select! {
        started = app::start(config.clone(), Arc::new(SystemClock::new())) => started?,
        // Nobody was answered yet, and the next start finds what this one found.
        () = signals.told() => {
            let _ = output.progress("tollgate: told to stop before it served");
            return Ok(Exit::Ok);
        }
    };
    let greeting = Greeting::new(&config, &running);
    // A full disk under it must not end what serves already.
    if let Err(failure) = output.result(&greeting, Greeting::text) {
        tracing::warn!(error = %failure.message, "what is served where can't be written");
    }
    let broken = tokio::select! {
        () = signals.told() => None,
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
    let stopped = stop(running, &mut signals, output).await;
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

/// Stops; told so again, it cuts the calls that are open, and still flushes.
async fn stop(running: Running, signals: &mut Signals, output: Output) -> Stopped {
    let cut = CancellationToken::new();
    let mut stopping = pin!(running.stop(&cut));
    loop {
        tokio::select! {
            stopped = stopping.as_mut() => return stopped,
            () = signals.told(), if !cut.is_cancelled() => {
                cut.cancel();
                let _ = output.progress("tollgate: open calls are cut, everything is flushed");
            }
        }
    }
}

/// The signals that tell it to stop.
struct Signals(Vec<Signal>);

impl Signals {
    fn listen() -> io::Result<Signals> {
        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
        // The terminal is gone. Under `nohup` that is nothing.
        if !Process::Own.ignores_hangup() {
            kinds.push(SignalKind::hangup());
        }
        let signals: io::Result<Vec<Signal>> = kinds.into_iter().map(signal).collect();
        signals.map(Signals)
    }

    /// Returns when one comes.
    async fn told(&mut self) {
        poll_fn(|cx| {
            let mut signals = self.0.iter_mut();
            match signals.any(|signal| signal.poll_recv(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Takes as many open files as there may be: every connection is one, and shells and service
/// managers begin with 1,024 of them for the sake of programs that can't have more.
fn raise_files(config: &Config) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let connections = u64::from(config.grpc.connections_max);
    let files = getrlimit(Resource::Nofile).current;
    if let Some(files) = files.filter(|files| *files < connections + OWN_FILES) {
        tracing::warn!(
            files,
            connections,
            "fewer files may be open than grpc.connections_max needs: raise the limit (ulimit -n, \
             LimitNOFILE), or lower the key"
        );
    }
}

/// What it serves, where its data is, and what to try next.
#[derive(Debug, Serialize)]
struct Greeting {
    version: &'static str,
    grpc: String,
    unix_socket: Option<String>,
    admin: Option<String>,
    admin_socket: Option<String>,
    tls: bool,
    http: String,
    ledger: Option<String>,
    hot: String,
    #[serde(flatten)]
    restored: Option<Restored>,
    #[serde(skip)]
    roles: Roles,
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
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        Greeting {
            version: env!("CARGO_PKG_VERSION"),
            grpc: running.grpc_addr.to_string(),
            unix_socket: shown(&running.unix_socket),
            admin: running.admin_addr.map(|address| address.to_string()),
            admin_socket: shown(&config.admin.unix_socket),
            tls: config.tls.files.is_some(),
            http: running.http_addr.to_string(),
            ledger: config.ledger.as_ref().map(LedgerUrl::to_string),
            hot: config.hot.to_string(),
            restored: running.restored.map(|restored| Restored {
                accounts: restored.accounts,
                open_holds: restored.holds,
                restored_ms: restored.took.as_millis(),
            }),
            roles: config.roles.clone(),
        }
    }

    fn text(&self) -> String {
        let socket = self.unix_socket.as_ref();
        let socket = socket.map_or_else(String::new, |path| format!(" and unix:{path}"));
        let admin: Vec<String> = self.admin_endpoints().collect();
        let admin = match admin.is_empty() {
            true => String::new(),
            false => format!(", AdminService on {}", admin.join(" and ")),
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
        let tries = self.proposals().join("\n      ");
        let tries = match tries.is_empty() {
            true => String::new(),
            false => format!("\ntry:  {tries}"),
        };
        format!("{head}\nledger {ledger}: {hot}{tries}")
    }

    /// Where AdminService is, where that is not where everything is.
    fn admin_endpoints(&self) -> impl Iterator<Item = String> {
        let socket = self.admin_socket.as_ref();
        let socket = socket.map(|path| format!("unix:{path}"));
        self.admin.clone().into_iter().chain(socket)
    }

    /// What to try of what is served.
    fn proposals(&self) -> Vec<String> {
        let at = |address: &str| match self.tls && !address.starts_with("unix:") {
            true => format!("--endpoint https://{address}"),
            false => format!("--endpoint {address}"),
        };
        let mut proposals = Vec::new();
        if self.roles.has(Role::Admin) {
            let apart = self.admin_endpoints().next();
            let endpoint = at(apart.as_ref().unwrap_or(&self.grpc));
            let words = "tollgate account create acme --plan starter";
            proposals.push(format!("{words} {endpoint}"));
        }
        if self.roles.has(Role::Gateway) {
            let words = "tollgate reserve acme --mode agent --credits 60";
            proposals.push(format!("{words} {}", at(&self.grpc)));
        }
        proposals
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
