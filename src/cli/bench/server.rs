//! The server that is measured: a child process of this same program, on free ports, with its
//! data in a temporary folder; or the one that answers a constant, in its place. Both end, and
//! the folder goes, with the value that stands for them.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tonic::Code;

use super::{
    args::BenchArgs,
    wire::{AnyAnswer, BalanceCall, Wire},
};
use crate::{
    catalogs::BUILTIN_YAML,
    cli::{
        client::{Address, Remote},
        exit::Exit,
        output::Failure,
    },
    clock::{Clock, SystemClock},
};

/// How long a server may take to answer for the first time: it may have a million accounts to
/// restore.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// The pause between two looks whether it answers.
const START_POLL: Duration = Duration::from_millis(5);
/// The most lines of a server's log that are shown when it fails.
const LOG_LINES_MAX: usize = 10;
/// The allowance of the plan that the catalogue here adds: more than any run uses.
const ALLOWANCE: &str = "1000000000000";

/// A folder that is gone with the value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder under `parent`.
    pub(super) fn new(parent: &Path, clock: &SystemClock) -> Result<Self, Failure> {
        let name = format!(
            "tollgate-bench-{}-{}",
            std::process::id(),
            clock.now().millis()
        );
        let path = parent.join(name);
        fs::create_dir_all(parent)
            .and_then(|()| fs::create_dir(&path))
            .map_err(|error| cannot("creating the folder", &path, &error))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `tollgate serve`.
    Tollgate,
    /// The same transport, answering a constant.
    Constant,
}

/// How servers are started here: always on the same port.
#[derive(Debug)]
pub(super) struct Stand {
    folder: Folder,
    port: u16,
    unix_socket: Option<PathBuf>,
    hot: Option<String>,
    ledger: Option<String>,
    set: Vec<String>,
    clock: Arc<SystemClock>,
}

impl Stand {
    /// Finds a free port and makes the folder, where `args` want it.
    pub(super) fn new(args: &BenchArgs, clock: Arc<SystemClock>) -> Result<Self, Failure> {
        let parent = args.data_dir.clone().unwrap_or_else(std::env::temp_dir);
        let folder = Folder::new(&parent, &clock)?;
        let catalog = folder.0.join("catalog.yaml");
        fs::write(&catalog, catalog_yaml())
            .map_err(|error| cannot("writing the catalogue", &catalog, &error))?;
        let port = free_port().map_err(|error| {
            Failure::new(Exit::CantCreate, format!("finding a free port: {error}"))
        })?;
        let unix_socket = args.unix_socket.then(|| folder.0.join("socket"));
        Ok(Stand {
            folder,
            port,
            unix_socket,
            hot: args.hot.clone(),
            ledger: args.ledger.clone(),
            set: args.set.clone(),
            clock,
        })
    }

    /// Starts a server and waits until it answers. A Tollgate that was here before left its data
    /// behind, and goes on with them.
    pub(super) async fn start(&self, kind: Kind) -> Result<Server, Failure> {
        let began = self.clock.monotonic();
        let log = self.folder.0.join("log");
        let stderr = File::create(&log).map_err(|error| cannot("creating", &log, &error))?;
        let child = self
            .command(kind)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|error| Failure::new(Exit::Internal, format!("starting a server: {error}")))?;
        let address = match &self.unix_socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(format!("127.0.0.1:{}", self.port)),
        };
        let mut server = Server {
            child,
            remote: Remote::in_the_clear(address),
            start_up: Duration::ZERO,
        };
        while !is_ready(&server.remote).await {
            let status = server.child.try_wait();
            let took = self.clock.monotonic().saturating_sub(began);
            let ended = match status {
                Ok(Some(status)) => Some(format!("the server ended with {status}")),
                Ok(None) if took < START_TIMEOUT => None,
                Ok(None) => Some(format!("the server gave no answer in {} s", took.as_secs())),
                Err(error) => Some(format!("the server: {error}")),
            };
            if let Some(message) = ended {
                let message = format!("{message}\n{}", tail(&log));
                return Err(Failure::new(Exit::CantCreate, message.trim_end()));
            }
            tokio::time::sleep(START_POLL).await;
        }
        server.start_up = self.clock.monotonic().saturating_sub(began);
        Ok(server)
    }

    fn command(&self, kind: Kind) -> Result<Command, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Internal, format!("finding myself: {error}")))?;
        let mut command = Command::new(program);
        // The measured configuration is the default one, and what the command line says.
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.to_string_lossy().starts_with("TOLLGATE_")) {
            command.env_remove(name);
        }
        command.arg(match kind {
            Kind::Tollgate => "serve",
            Kind::Constant => "bench-constant",
        });
        command.args(["--grpc-listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--http-listen", "127.0.0.1:0", "--set", "log.filter=warn"]);
        command.arg("--data-dir").arg(self.folder.0.join("data"));
        command
            .arg("--catalog")
            .arg(self.folder.0.join("catalog.yaml"));
        if let Some(path) = &self.unix_socket {
            command.arg("--unix-socket").arg(path);
        }
        for (flag, url) in [("--hot", &self.hot), ("--ledger", &self.ledger)] {
            if let Some(url) = url {
                command.args([flag, url]);
            }
        }
        for pair in &self.set {
            command.args(["--set", pair]);
        }
        Ok(command)
    }
}

/// A server that runs. It is killed when the value goes.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Where it answers.
    pub(super) remote: Remote,
    /// From its start to its first answer.
    pub(super) start_up: Duration,
}

impl Server {
    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The built-in catalogue with one plan more, `bench`, that nothing exhausts.
fn catalog_yaml() -> String {
    BUILTIN_YAML
        .replacen("\nversion: ", "\nversion: bench-", 1)
        .replacen(
            "\nplans:\n",
            &format!("\nplans:\n  bench: {{ allowance: {ALLOWANCE} }}\n"),
            1,
        )
}

/// Any answer will do, but that there is nobody or that it is not ready.
async fn is_ready(remote: &Remote) -> bool {
    let Ok(mut wire) = Wire::connect(remote).await else {
        return false;
    };
    let message = BalanceCall {
        account_id: "bench-is-it-ready".to_owned(),
    };
    let answer: Result<AnyAnswer, _> = wire
        .call("/tollgate.v1.QuotaService/GetBalance", message)
        .await;
    answer.map_or_else(|fault| fault.code == Code::NotFound, |_| true)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.get(first..).unwrap_or_default().join("\n")
}

fn cannot(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::CantCreate,
        format!("{doing} {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogs;

    #[test]
    fn the_catalogue_has_a_plan_that_nothing_exhausts() {
        let catalog = catalogs::parse(&catalog_yaml()).unwrap();
        assert!(catalog.version.starts_with("bench-"), "{}", catalog.version);
        let largest = catalog
            .plans
            .iter()
            .max_by_key(|plan| plan.allowance)
            .unwrap();
        assert_eq!(largest.id.to_string(), "bench");
        assert_eq!(largest.allowance.to_string(), ALLOWANCE);
    }

    #[test]
    fn a_folder_goes_with_its_value() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::new(parent.path(), &SystemClock::new()).unwrap();
        let path = folder.0.clone();
        fs::write(path.join("file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
