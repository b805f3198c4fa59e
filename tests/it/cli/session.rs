//! A server, and commands that are run against it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{json, stderr, stdout};
use crate::process::{Sidecar, run};

/// A server with empty data, reached over its Unix socket.
pub struct Session {
    sidecar: Sidecar,
    folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Session {
    /// Starts a server.
    pub fn start() -> Self {
        Session::with(&[])
    }

    /// Starts a server with further arguments.
    pub fn with(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tollgate.sock");
        let args = [&["--unix-socket", socket.to_str().unwrap()], args].concat();
        let sidecar = Sidecar::start(&folder.path().join("data"), &args);
        Session {
            sidecar,
            folder,
            socket,
        }
    }

    /// The server.
    pub fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where a test may put files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command, its words parted by blanks; answers its exit code, what it printed, and
    /// what it complained about.
    pub fn run(&self, words: &str) -> (i32, String, String) {
        let endpoint = format!("unix:{}", self.socket.display());
        let mut args: Vec<&str> = words.split(' ').collect();
        args.extend(["--endpoint", &endpoint]);
        let output = run(&args);
        let code = output.status.code().unwrap();
        (code, stdout(&output).to_owned(), stderr(&output).to_owned())
    }

    /// Runs a command that must succeed, and answers what it printed.
    pub fn done(&self, words: &str) -> String {
        let (code, printed, complained) = self.run(words);
        assert_eq!((code, complained.as_str()), (0, ""), "{words}: {printed}");
        printed
    }

    /// Runs a command with `--json` that must end so, and answers the document.
    pub fn json(&self, words: &str, exit: i32) -> Value {
        let (code, printed, complained) = self.run(&format!("{words} --json"));
        assert_eq!(code, exit, "{words}: {printed}{complained}");
        json(if printed.is_empty() {
            &complained
        } else {
            &printed
        })
    }
}
