//! The real binary as a process of its own: started on free ports, asked, stopped, killed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use tollgate::pb::{
    admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
};
use tonic::transport::{Channel, Endpoint};

/// How long a call of a test may take before the test fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    // The environment of whoever runs the tests must not configure them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Output {
    binary().args(args).output().unwrap()
}

/// A sidecar that runs. It is killed where a test forgets it.
pub struct Sidecar {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where gRPC listens.
    pub grpc: String,
    /// Where HTTP listens.
    pub http: String,
}

impl Sidecar {
    /// Starts one on free ports, with its data in a folder.
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        Sidecar::start_logging_to(Stdio::inherit(), data_dir, args)
    }

    /// The same with its log somewhere else than the test's.
    pub fn start_logging_to(log: Stdio, data_dir: &Path, args: &[&str]) -> Self {
        Sidecar::start_at("127.0.0.1:0", log, data_dir, args)
    }

    /// The same with HTTP on an address of its own, which it keeps when it is started again.
    pub fn start_at(http: &str, log: Stdio, data_dir: &Path, args: &[&str]) -> Self {
        let mut child = binary()
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen"])
            .arg(http)
            .arg("--data-dir")
            .arg(data_dir)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).unwrap();
        let between = |from: &str, to: char| {
            let rest = greeting.split(from).nth(1)?;
            rest.split([to, ' '])
                .next()
                .map(str::trim)
                .map(str::to_owned)
        };
        let addresses = between("gRPC on ", ',').zip(between("http://", '\n'));
        let (grpc, http) = addresses.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("tollgate serve said {greeting:?}: {:?}", child.wait())
        });
        Sidecar {
            child,
            stdout,
            grpc,
            http,
        }
    }

    /// What `/readyz` answers, whole.
    pub fn readyz(&self) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Whether it may be asked.
    pub fn is_ready(&self) -> bool {
        self.readyz().starts_with("HTTP/1.1 200")
    }

    /// A connection that is lazy: it comes back after a restart on the same port.
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .timeout(CALL_TIMEOUT)
            .connect()
            .await
            .unwrap()
    }

    /// A client of the hot path.
    pub async fn quota(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(self.channel().await)
    }

    /// A client of the control plane.
    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel().await)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        send(self.id(), name);
    }

    /// Kills it as the kernel would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and answers how it did and what it said meanwhile.
    pub fn terminate(&mut self) -> (ExitStatus, String) {
        self.stop_by("TERM")
    }

    /// The same by another signal.
    pub fn stop_by(&mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal.
pub fn send(id: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), id.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// The contract's folder.
pub fn proto_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto")
}
