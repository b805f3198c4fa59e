//! A real Prometheus that scrapes real processes by the chart's rules.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::servers::{port_of_ours, wait};

/// What a panel's interval is, where scrapes come each second or more often.
const RATE_INTERVAL: &str = "20s";

/// One that runs.
pub struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    /// With rules, which it evaluates as often as it scrapes, and the jobs of its configuration.
    pub fn start(folder: &Path, rules: &str, every: &str, jobs: &str) -> Self {
        let file = folder.join("rules.yaml");
        fs::write(&file, rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n{jobs}",
            file.display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let port = port_of_ours();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/run installs Prometheus");
        let mut started = Prometheus { child, port };
        wait("Prometheus", || {
            let ended = started.child.try_wait().unwrap();
            assert!(ended.is_none(), "Prometheus ended: {ended:?}");
            let ready = started.get("/-/ready");
            ready.is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
        });
        started
    }

    /// Answers whole: HTTP/1.0 knows no chunks.
    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn data(&self, path: &str) -> Value {
        let answer = self.get(path).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// The samples of an expression, each as its labels and its value.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let expression = expression.replace("$__rate_interval", RATE_INTERVAL);
        let data = self.data(&format!("/api/v1/query?query={}", encode(&expression)));
        data["result"].as_array().unwrap().clone()
    }

    /// The alerts that fire at this moment.
    pub fn firing(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/alerts");
        let alerts = data["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let names = firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned());
        names.collect()
    }

    pub fn wait_for(&self, expression: &str) {
        wait(expression, || !self.query(expression).is_empty());
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Percent-encodes what a query string may not have.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
