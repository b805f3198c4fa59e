//! A client whose stack nobody here wrote: Python's grpcio, over TCP and over the Unix socket.

use std::process::Command;

use crate::process::{Sidecar, proto_dir};

/// `tests/run` puts a Python with grpcio there.
const PYTHON: &str = "TOLLGATE_TEST_PYTHON";

#[test]
fn grpcio_plays_reserve_commit_denial_and_error_details() {
    let python = std::env::var(PYTHON)
        .unwrap_or_else(|_| panic!("{PYTHON} is not set: run the tests with tests/run"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("tollgate.sock");
    let args = ["--unix-socket", socket.to_str().unwrap()];
    let sidecar = Sidecar::start(&folder.path().join("data"), &args);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/client.py");
    let unix = format!("unix:{}", socket.display());
    for (target, account) in [(sidecar.grpc.as_str(), "tcp"), (unix.as_str(), "uds")] {
        let stubs = folder.path().join(account);
        std::fs::create_dir(&stubs).unwrap();
        let played = Command::new(&python)
            .arg(script)
            .args([proto_dir(), stubs])
            .args([target, account])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&played.stdout).into_owned();
        let failed = String::from_utf8_lossy(&played.stderr);
        assert!(
            played.status.success() && said.contains("played"),
            "{target}: {said}{failed}"
        );
    }
}
