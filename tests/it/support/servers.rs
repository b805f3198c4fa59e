//! Real servers for tests: each a process with its own port and folder, killed when it is dropped.

use std::{
    net::TcpListener,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use redis::{Cmd, Connection, FromRedisValue};
use tempfile::TempDir;

/// How long a server may take to do what it was asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long between two looks at it.
const LOOK: Duration = Duration::from_millis(5);
/// The highest port that is used: a cluster's nodes talk to each other 10,000 above.
const PORT_MAX: u16 = 55_000;

/// Linux gives away ports from 32768 on.
const OURS: Range<u16> = 20_000..32_000;

/// How often a server is started until one finds its ports free.
const STARTS_MAX: usize = 5;

/// What is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's Redis, alone.
    Redis,
    /// Valkey, alone.
    Valkey,
    /// Redis as a cluster of one node: what a cluster refuses, at the price of one server.
    Cluster,
}

impl Kind {
    /// How a failed test calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Valkey => "valkey",
            Kind::Cluster => "redis cluster of one",
        }
    }

    /// The binary that is started.
    pub fn binary(self) -> String {
        let (variable, known) = match self {
            Kind::Redis | Kind::Cluster => ("TOLLGATE_TEST_REDIS", "redis-server"),
            Kind::Valkey => ("TOLLGATE_TEST_VALKEY", "valkey-server"),
        };
        std::env::var(variable).unwrap_or_else(|_| known.to_owned())
    }
}

/// A server that runs.
pub struct Server {
    child: Child,
    folder: TempDir,
    pub port: u16,
}

impl Server {
    /// Starts one and waits until it answers.
    pub fn start(kind: Kind) -> Self {
        let args: &[&str] = match kind {
            Kind::Redis | Kind::Valkey => &[],
            Kind::Cluster => &["--cluster-enabled", "yes"],
        };
        let server = Server::start_with(&kind.binary(), args);
        if kind == Kind::Cluster {
            server.own_all_slots();
        }
        server
    }

    /// Makes it all of a cluster.
    pub fn own_all_slots(&self) {
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("ADDSLOTSRANGE").arg(0).arg(16383);
        self.ask::<()>(&slots);
        self.wait("the cluster's state", |server| {
            let info: String = server.ask(redis::cmd("CLUSTER").arg("INFO"));
            info.contains("cluster_state:ok")
        });
    }

    /// Starts a Sentinel that watches the master on `port`, which is gone once it was silent for
    /// so long.
    pub fn start_sentinel(port: u16, patience_ms: &str) -> Self {
        Server::start_sentinel_with(port, patience_ms, &[])
    }

    /// The same with further lines of configuration.
    pub fn start_sentinel_with(port: u16, patience_ms: &str, lines: &[String]) -> Self {
        let (folder, own) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = folder.path().join("sentinel.conf");
        let config = format!(
            "port {own}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds main {patience_ms}\nsentinel failover-timeout main 3000\n{}\n",
            folder.path().display(),
            lines.join("\n")
        );
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new(Kind::Redis.binary());
        command.arg(&file).arg("--sentinel");
        let server = Server {
            child: run(command),
            folder,
            port: own,
        };
        server.wait("an answer", Server::is_up);
        server
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.try_ask::<String>(&redis::cmd("PING")).is_ok()
    }

    /// Starts a binary with further arguments, on a port that is free: where somebody else was
    /// faster, on another one.
    pub fn start_with(binary: &str, args: &[&str]) -> Self {
        let mut tries =
            (0..STARTS_MAX).filter_map(|_| Server::try_start(free_port(), binary, args));
        let server = tries.next();
        server.unwrap_or_else(|| panic!("{binary} {args:?} ends at once, {STARTS_MAX} times"))
    }

    /// Starts a binary on a port.
    pub fn start_on(port: u16, binary: &str, args: &[&str]) -> Self {
        let server = Server::try_start(port, binary, args);
        server.unwrap_or_else(|| panic!("{binary} {args:?} ends at once on port {port}"))
    }

    /// `None`: it has ended at once.
    fn try_start(port: u16, binary: &str, args: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(binary, port, folder.path(), args);
        let mut server = Server {
            child,
            folder,
            port,
        };
        let mut has_ended = false;
        wait(&format!("an answer of the server on port {port}"), || {
            has_ended = matches!(server.child.try_wait(), Ok(Some(_)));
            has_ended || server.is_up()
        });
        (!has_ended).then_some(server)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a store finds it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Asks it something, on a connection of its own.
    pub fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let answer = self.try_ask(command);
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.address()))
    }

    /// Asks it something that it may refuse.
    pub fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query(&mut self.connection()?)
    }

    /// A connection of the test's own.
    pub fn connection(&self) -> redis::RedisResult<Connection> {
        let client = redis::Client::open(format!("redis://{}", self.address()))?;
        client.get_connection_with_timeout(Duration::from_secs(5))
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        wait(
            &format!("{what} of the server on port {}", self.port),
            || is_so(self),
        );
    }

    /// Sends the process a signal, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it and starts it again where it was, with what its folder has.
    pub fn respawn(&mut self, binary: &str, args: &[&str]) {
        self.kill();
        self.child = spawn(binary, self.port, self.folder.path(), args);
    }

    /// The same, and waits until it answers.
    pub fn restart(&mut self, binary: &str, args: &[&str]) {
        self.respawn(binary, args);
        self.wait("an answer", Server::is_up);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(binary: &str, port: u16, folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(binary);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(folder)
        .args(args);
    run(command)
}

fn run(mut command: Command) -> Child {
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.unwrap_or_else(|error| {
        panic!("{command:?}: {error}: tests/run installs and names the servers")
    })
}

/// Waits until something is so, and fails the test where it takes too long.
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}

/// Waits until something is so, and lets everything else go on meanwhile.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real server is waited for in real time"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// A port that nobody had a moment ago.
pub fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        if port < PORT_MAX {
            return port;
        }
    }
}

/// A port for what is started later, or again: below those that the kernel gives to anybody who
/// asks for none, and to nobody else of this run.
pub fn port_of_ours() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id()
            .wrapping_mul(61)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = OURS.start + (number % OURS.len() as u32) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
