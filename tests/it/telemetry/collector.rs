//! A collector that nobody here wrote the protocol of: `python/otlp_receiver.py`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::support::servers::wait;

/// A collector that runs, and what came to it.
pub struct Collector {
    child: Child,
    port: u16,
    came: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    /// Starts one on a port of its own.
    pub fn start() -> Self {
        Collector::start_with(&["0"])
    }

    /// The same with its arguments: how many spans of a request it says it rejects; then the files
    /// of a key and its certificate, for TLS.
    pub fn start_with(args: &[&str]) -> Self {
        let python = std::env::var("TOLLGATE_TEST_PYTHON")
            .unwrap_or_else(|_| panic!("run the tests with tests/run: it installs what they need"));
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/python/otlp_receiver.py"
        );
        let mut child = Command::new(python)
            .arg(script)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&came);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let one = serde_json::from_str(&line).unwrap();
                kept.lock().unwrap().push(one);
            }
        });
        Collector { child, port, came }
    }

    /// Its port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it is with TLS.
    pub fn tls_endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What came so far and is chosen.
    pub fn came(&self, is_chosen: impl Fn(&Value) -> bool) -> Vec<Value> {
        let came = self.came.lock().unwrap();
        came.iter().filter(|one| is_chosen(one)).cloned().collect()
    }

    /// Waits for the first that is chosen.
    pub fn first(&self, what: &str, is_chosen: impl Fn(&Value) -> bool) -> Value {
        let mut first = None;
        wait(what, || {
            first = self.came(&is_chosen).into_iter().next();
            first.is_some()
        });
        first.unwrap()
    }

    /// The metrics of a name so far.
    pub fn metric(&self, name: &str) -> Vec<Value> {
        self.came(|one| one["metric"] == name)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
