//! One Prometheus over some processes, and the runbook at hand: an alert fires, its section is
//! followed, and it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::task::{JoinHandle, block_in_place};

use super::{
    super::{
        alerts::{panels, sections},
        prometheus::Prometheus,
    },
    rules::shortened,
};
use crate::{
    process::{Sidecar, binary},
    support::{
        servers::{now, port_of_ours},
        texts::command_of,
    },
};

/// So long that a busy machine fails no call.
pub const PATIENT: &str = "grpc.request_timeout_ms=15000";
/// How often everything is scraped and judged.
const EVERY: &str = "500ms";
/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What a caller does between two calls.
const PAUSE: Duration = Duration::from_millis(10);

/// Incidents of some processes.
pub struct Drill {
    pub prometheus: Prometheus,
    sections: BTreeMap<String, String>,
    panels: Vec<(String, Vec<String>)>,
    fired: Mutex<BTreeSet<String>>,
    /// The variables that a command finds in a pod of the control plane.
    pub pod: Vec<(&'static str, String)>,
}

/// A place for a process: what it is called, and where it is scraped however often it is started.
pub struct Place {
    name: String,
    folder: PathBuf,
    pub http: String,
}

/// Processes and their Prometheus have their files here.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn place(&self, name: &str) -> Place {
        Place {
            name: name.to_owned(),
            folder: self.0.path().join(name),
            http: format!("127.0.0.1:{}", port_of_ours()),
        }
    }
}

impl Place {
    /// Starts it. Its log is one file, whoever wrote to it.
    pub fn start(&self, args: &[&str]) -> Sidecar {
        fs::create_dir_all(&self.folder).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = Stdio::from(log.unwrap());
        let data = self.folder.join("data");
        block_in_place(|| Sidecar::start_at(&self.http, log, &data, args))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Waits for a line of its log that has all of these.
    pub async fn logs(&self, parts: &[&str]) {
        let wait = Wait::for_it();
        loop {
            let log = fs::read_to_string(self.log_path()).unwrap();
            let has = |line: &str| parts.iter().all(|part| line.contains(part));
            if log.lines().any(has) {
                return;
            }
            let what = format!("a line of {} with {parts:?}:\n{log}", self.name);
            wait.look_again(&what).await;
        }
    }
}

impl Drill {
    /// Scrapes these places from now on; `more` is added to the job of each that is named there.
    pub fn start(folder: &Folder, places: &[&Place], more: &[(&str, &str)]) -> Self {
        let jobs = places.iter().map(|place| {
            let more = more.iter().find(|(name, _)| *name == place.name);
            let job = format!(
                "- job_name: {}\n  static_configs: [{{targets: ['{}']}}]\n",
                place.name, place.http
            );
            job + more.map_or("", |(_, more)| more)
        });
        let jobs: String = jobs.collect();
        let prometheus =
            block_in_place(|| Prometheus::start(folder.path(), &shortened(), EVERY, &jobs));
        Drill {
            prometheus,
            sections: sections(),
            panels: panels(),
            fired: Mutex::default(),
            pod: Vec::new(),
        }
    }

    /// Waits until so many processes were scraped, and none of these alerts fires: what a counter
    /// does before its first scrape no rate shows.
    pub async fn is_quiet(&self, processes: usize, alerts: &[&str]) {
        let seen = format!("count(count_over_time(tollgate_build_info[1m]) > 1) == {processes}");
        let sees = || !self.prometheus.query(&seen).is_empty();
        until("the first scrapes", sees).await;
        for alert in alerts {
            self.ends(alert).await;
        }
    }

    /// Waits until an alert fires. Then every panel that its section names must have a curve, and
    /// those that are named here one of which this is so.
    pub async fn fires(&self, alert: &str, shows: &[(&str, &str)]) {
        let is_first = self.fired.lock().unwrap().insert(alert.to_owned());
        // Some fire for as long as a range is only, which is short, and may be over already.
        let range = if is_first { "1m" } else { "5s" };
        let fired = format!(
            "last_over_time(ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}[{range}])"
        );
        let fires = || !self.prometheus.query(&fired).is_empty();
        self.until(&format!("{alert} to fire"), fires).await;
        let (_, look) = self.section(alert).split_once("**Look.**").unwrap();
        let look = look.split("**Do.**").next().unwrap();
        for panel in emphasised(look) {
            match look.contains(&format!("*{panel}* is empty")) {
                true => self.is_empty(alert, panel).await,
                false => self.shows(alert, panel, "").await,
            }
        }
        for (panel, condition) in shows {
            let named = emphasised(self.section(alert));
            assert!(named.contains(panel), "{alert} does not name {panel}");
            self.shows(alert, panel, condition).await;
        }
    }

    fn expressions(&self, alert: &str, panel: &str) -> &[String] {
        let found = self.panels.iter().find(|(title, _)| title == panel);
        let (_, expressions) = found.unwrap_or_else(|| panic!("{alert}: no panel {panel}"));
        expressions
    }

    async fn is_empty(&self, alert: &str, panel: &str) {
        for expression in self.expressions(alert, panel) {
            let is_so = || self.prometheus.query(expression).is_empty();
            self.until(&format!("{alert}: {panel} to be empty"), is_so)
                .await;
        }
    }

    async fn shows(&self, alert: &str, panel: &str, condition: &str) {
        let expressions = self.expressions(alert, panel);
        let is_so = |expression: &String| {
            let asked = format!("({expression}) {condition}");
            !self.prometheus.query(&asked).is_empty()
        };
        let what = format!("{alert}: {panel} {condition}");
        self.until(&what, || expressions.iter().any(is_so)).await;
    }

    /// Waits until an alert is over.
    pub async fn ends(&self, alert: &str) {
        let ends = || !self.prometheus.firing().contains(alert);
        self.until(&format!("{alert} to end"), ends).await;
    }

    /// Waits until something is so that is scraped.
    async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let wait = Wait::for_it();
        while !block_in_place(&mut is_so) {
            if wait.is_over() {
                let up = self.prometheus.query("avg_over_time(up[2m])");
                let up: Vec<String> = up.iter().map(|one| one["value"][1].to_string()).collect();
                panic!(
                    "waited in vain for {what}; of the scrapes of each process were answered {up:?}"
                );
            }
            wait.look_again(what).await;
        }
    }

    fn section(&self, alert: &str) -> &str {
        &self.sections[alert]
    }

    /// The command of an alert's section that starts so, as it stands there.
    pub fn command(&self, alert: &str, starts: &str) -> String {
        command_of(self.section(alert), starts)
    }

    /// Runs that command, with the names of the runbook's examples replaced by this test's:
    /// how it ended, and what it said.
    pub fn run(&self, alert: &str, starts: &str, swaps: &[(&str, &str)]) -> (Option<i32>, String) {
        self.run_line(&self.command(alert, starts), swaps)
    }

    /// Runs a command.
    pub fn run_line(&self, line: &str, swaps: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut line = line.to_owned();
        for (is, becomes) in swaps {
            assert!(line.contains(is), "{line} has no {is}");
            line = line.replace(is, becomes);
        }
        let mut words = line.split_whitespace();
        let mut command = match words.next().unwrap() {
            "tollgate" => binary(),
            other => Command::new(other),
        };
        let pod = self.pod.iter().map(|(name, value)| (name, value));
        let output = command.args(words).envs(pod).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = [output.stdout, output.stderr].concat();
        // Redis' slow log has the bytes of what was sent.
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }

    /// Every alert that this drill is about was played.
    pub fn done(self, alerts: &[&str]) {
        let fired = self.fired.into_inner().unwrap();
        let fired: Vec<&str> = fired.iter().map(String::as_str).collect();
        let mut wanted = alerts.to_vec();
        wanted.sort_unstable();
        assert_eq!(fired, wanted);
    }
}

/// What a text sets in italics.
fn emphasised(text: &str) -> BTreeSet<&str> {
    // Bold is two of them: it starts a part of nothing.
    let mut found = BTreeSet::new();
    for part in text.split("**").step_by(2) {
        found.extend(part.split('*').skip(1).step_by(2));
    }
    found
}

/// Waits until something is so, and lets everything else go on meanwhile: a thread that asks and is
/// not given up keeps the calls of the other plays.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = Wait::for_it();
    while !block_in_place(&mut is_so) {
        wait.look_again(what).await;
    }
}

/// A wait for what has to be asked.
pub struct Wait(Instant);

impl Wait {
    pub fn for_it() -> Self {
        Wait(now())
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() >= PATIENCE
    }

    /// A moment later; fails the test where it was waited for too long.
    pub async fn look_again(&self, what: &str) {
        assert!(!self.is_over(), "waited in vain for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A caller that makes one call after the other until it is dropped.
pub struct Caller(JoinHandle<()>);

impl Caller {
    /// `call` gets the call's number.
    pub fn start<F>(call: impl Fn(u64) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        Caller(tokio::spawn(async move {
            for number in 0.. {
                call(number).await;
                tokio::time::sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // It never ends by itself.
        let has_panicked = self.0.is_finished();
        self.0.abort();
        assert!(!has_panicked || thread::panicking(), "a caller panicked");
    }
}
