//! The load generator, played for real but shortly: that it counts right and notices what does
//! not add up. Never how fast anything is.

use std::{
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::{
    process::Sidecar,
    reload::metrics,
    support::{
        postgres::shared,
        servers::{Kind, Server, until},
    },
};

/// A run of every operation, closed loop, with a busy account, holds that stay open and a
/// restart, next to the limit.
#[test]
fn every_operation_adds_up_across_a_kill() {
    let report = bench(&[
        "--in-flight=16",
        "--accounts=20",
        "--pack",
        "--hot-share=0.5",
        "--open-holds=50",
        "--mix=reserve=4,commit=3,release=1,charge=1,balance=1",
        "--limit",
        "--restart",
        // Longer than a busy disk keeps everybody waiting.
        "--duration=3s",
    ]);
    let called: Vec<&str> = list(&report["tollgate"]["operations"])
        .map(|row| text(&row["operation"]))
        .collect();
    assert_eq!(
        called,
        ["reserve", "commit", "release", "charge", "balance"]
    );
    let compared: Vec<&str> = list(&report["ratios"])
        .map(|row| text(&row["operation"]))
        .collect();
    assert_eq!(
        compared,
        ["reserve", "commit", "release", "charge", "balance", "all"]
    );
    assert!(number(&report["restart_seconds"]) > 0.0);
    adds_up(&report, 20);
}

/// Open loop over the Unix socket: all that was due was called, and nothing else.
#[test]
fn an_open_loop_makes_every_call_that_is_due() {
    let report = bench(&[
        "--rate=200",
        "--accounts=5",
        "--unix-socket",
        "--duration=1s",
        "--limit",
    ]);
    // What was set is no measure of a server.
    for ratio in list(&report["ratios"]) {
        assert_eq!(ratio["throughput"], Value::Null, "{ratio}");
        assert!(number(&ratio["p50"]) > 0.0, "{ratio}");
    }
    let all = &report["tollgate"]["all"];
    let made = number(&all["answers"]) + number(&report["tollgate"]["unsent"]);
    assert_eq!(made, 200.0, "{all}");
    adds_up(&report, 5);
}

/// A mix that only settles ends when what was reserved before it is used up, each once.
#[test]
fn a_stock_is_settled_once() {
    let report = bench(&[
        "--mix=commit=1",
        "--stock=64",
        "--in-flight=4",
        "--accounts=3",
        "--warm-up=0s",
        "--duration=1m",
    ]);
    let rows: Vec<&Value> = list(&report["tollgate"]["operations"]).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(text(&rows[0]["operation"]), "commit");
    let answers = number(&rows[0]["answers"]);
    assert!(
        (32.0..=64.0).contains(&answers),
        "it ends with the first half of it: {answers}"
    );
    assert_eq!(number(&report["check"]["receipts_answered"]), answers);
    adds_up(&report, 3);
}

/// Hot balances in Redis, the ledger in Postgres: beside the bare scripts, which leave nothing
/// behind. What somebody has put something into is not filled by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_postgres_are_measured_beside_the_bare_scripts() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let hot = format!("--hot=redis://{}", redis.address());
    let ledger = format!("--ledger={}", database.url());
    let stores = [hot.as_str(), &ledger, "--set=redis.call_timeout_ms=2000"];
    let report = bench(
        &[
            &stores[..],
            &["--in-flight=8", "--accounts=10", "--limit"],
            &["--mix=reserve=3,commit=2,release=1,charge=1,balance=1"],
        ]
        .concat(),
    );
    adds_up(&report, 10);
    let allowed = &report["allowed"];
    let scripts: Vec<&str> = list(&allowed["scripts"]["operations"])
        .map(|row| text(&row["operation"]))
        .collect();
    assert_eq!(
        scripts,
        ["reserve", "commit", "release", "charge", "balance"]
    );
    assert_eq!(allowed["scripts"]["all"]["errors"], serde_json::json!({}));
    assert!(number(&allowed["alone"]["ratio"]) > 0.0, "{allowed}");
    assert!(number(&allowed["together"]["ratio"]) > 0.0, "{allowed}");
    let keys: Vec<String> = redis.ask(redis::cmd("KEYS").arg("{tg-bench*"));
    assert_eq!(keys, Vec::<String>::new());

    let again = run(&stores);
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(64), "{said}");
    assert!(
        said.contains("keys") && said.contains("--fill-anyway"),
        "{said}"
    );
    let again = run(&[&ledger]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(64), "{said}");
    assert!(said.contains("has accounts"), "{said}");
}

/// What somebody has put into a SQLite ledger is not filled by mistake, however it is named. One that
/// is not there yet, or has no account, may be.
#[test]
fn a_sqlite_ledger_that_has_accounts_is_not_filled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let url = format!("sqlite://{}", path.display());
    let named = [format!("--ledger={url}"), format!("--set=ledger={url}")];
    let load = ["--accounts=3", "--mix=charge=1"];
    let report = bench(&[&load[..], &[named[0].as_str()]].concat());
    adds_up(&report, 3);
    for ledger in &named {
        let output = run(&[ledger]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{ledger}: {said}");
        assert!(
            said.contains("has accounts") && said.contains("--fill-anyway"),
            "{ledger}: {said}"
        );
    }
    let report = bench(&[&load[..], &[named[1].as_str(), "--fill-anyway"]].concat());
    adds_up(&report, 3);
}

/// A load that does nothing proves nothing, though the ledger adds up to it.
#[test]
fn a_load_that_settles_nothing_is_not_well() {
    let load = ["--accounts=3", "--duration=500ms", "--warm-up=100ms"];
    let failed = |argument: &str| -> Value {
        let output = run(&[&load[..], &[argument]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{argument}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = &report["check"];
        assert_eq!(
            (&check["ok"], &check["adds_up"]),
            (&Value::Bool(false), &Value::Bool(true)),
            "{check}"
        );
        report
    };
    let report = failed("--model=nope");
    let check = &report["check"];
    assert!(number(&check["refused"]) > 0.0, "{check}");
    let fault = text(&check["faults"][0]);
    assert!(
        fault.contains("calls were refused, the first: reserve: InvalidArgument"),
        "{fault}"
    );

    let report = failed("--credits=9007199254740991");
    let all = &report["tollgate"]["all"];
    assert!(number(&all["denials"]) > 0.0, "{all}");
    assert_eq!(number(&all["per_second"]), 0.0, "{all}");
    assert!(number(&all["denials_per_second"]) > 0.0, "{all}");
    let fault = text(&report["check"]["faults"][0]);
    assert!(fault.starts_with("nothing was settled; "), "{fault}");
}

/// The settler beside a bare COPY: the ledger adds up, and the tables for the COPY are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settler_is_measured_beside_a_copy() {
    let database = shared().empty().await;
    let ledger = format!("--ledger={}", database.url());
    let output = run(&[
        "--settler",
        &ledger,
        "--accounts=20",
        "--duration=200ms",
        "--set=settle.batch_max=64",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&report["entries"]) >= 64.0, "{report}");
    assert!(number(&report["ratio"]) > 0.0, "{report}");
    let count = "SELECT count(*)::text FROM";
    let settled = database
        .texts(&format!("{count} entries WHERE kind = 'usage'"))
        .await;
    let warm_up = 2.0 * 64.0;
    let settled: f64 = settled[0].parse().unwrap();
    assert_eq!(settled, number(&report["entries"]) + warm_up);
    let left = database
        .texts("SELECT relname::text FROM pg_class WHERE relname LIKE 'bench_%'")
        .await;
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_wrong_argument_is_named_with_what_is_accepted() {
    for (argument, expected) in [
        (
            "--mix=reserves=1",
            "accepted are reserve, commit, release, charge and balance",
        ),
        ("--hot-share=2", "a share from 0 to 1"),
        ("--duration=10", "a whole number and a unit"),
        ("--usage=output_tokens", "output_tokens"),
        ("--duration=0s", "a whole number and a unit"),
        ("--hot=localhost", "redis://HOST:PORT"),
        ("--settler", "--ledger"),
        (
            "--token-file=token",
            "--token-file: the own server asks nobody",
        ),
        ("--tls-ca=ca.crt", "--endpoint names another"),
    ] {
        let output = run(&[argument]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{argument}: {said}");
        assert!(said.contains(expected), "{argument}: {said}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let output = run(&["--endpoint=127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}

/// One that goes away in the middle leaves thousands of calls without an answer. Asking for each of
/// them again would take an hour.
#[tokio::test]
async fn a_server_that_goes_away_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(folder.path(), &[]);
    // A run that does not end is ended.
    let mut bench = Command::new("timeout");
    bench.args(["60", env!("CARGO_BIN_EXE_tollgate"), "bench"]);
    bench.args(["--accounts=5", "--pack", "--duration=1m", "--endpoint"]);
    bench.arg(&sidecar.grpc);
    let bench = tokio::task::spawn_blocking(move || bench.output().unwrap());
    until("decisions", || decides(&sidecar)).await;
    sidecar.kill();
    let output = bench.await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}

/// A server that stands still for a second makes every call late that was due in it, not only those
/// that it had.
#[tokio::test]
async fn a_standstill_counts_for_every_call_that_was_due() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &[]);
    let endpoint = format!("--endpoint={}", sidecar.grpc);
    let load = [
        "--rate=200",
        "--accounts=5",
        "--mix=reserve=1",
        "--duration=4s",
    ];
    let all: Vec<String> = load
        .map(str::to_owned)
        .into_iter()
        .chain([endpoint])
        .collect();
    let bench = tokio::task::spawn_blocking(move || {
        bench(&all.iter().map(String::as_str).collect::<Vec<_>>())
    });
    until("decisions", || decides(&sidecar)).await;
    sidecar.signal("STOP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    sidecar.signal("CONT");
    let report = bench.await.unwrap();
    // A quarter of the calls, a tenth by more than 600 ms.
    let p90_us = number(&report["tollgate"]["all"]["latency"]["p90_us"]);
    assert!(p90_us >= 300_000.0, "{}", report["tollgate"]["all"]);
}

/// Whether a sidecar has decided anything.
fn decides(sidecar: &Sidecar) -> bool {
    let is_decision = |line: &str| line.starts_with("tollgate_decisions_total{");
    let metrics = metrics(sidecar);
    let mut counts = metrics.lines().filter(|line| is_decision(line));
    counts.any(|line| !line.ends_with(" 0"))
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["bench", "--json"])
        .args(arguments)
        .output()
        .unwrap()
}

/// A short run that must end well, and its report.
fn bench(arguments: &[&str]) -> Value {
    let has = |name: &str| arguments.iter().any(|argument| argument.starts_with(name));
    let mut all = arguments.to_vec();
    if !has("--duration") {
        all.push("--duration=500ms");
    }
    if !has("--warm-up") {
        all.push("--warm-up=100ms");
    }
    let output = run(&all);
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{shown}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The audit found the ledger right, and had something to look at.
fn adds_up(report: &Value, accounts: u32) {
    let check = &report["check"];
    assert_eq!(check["ok"], true, "{check}");
    assert_eq!(
        number(&check["accounts_checked"]),
        f64::from(accounts),
        "{check}"
    );
    assert_eq!(number(&check["problems"]), 0.0, "{check}");
    assert!(number(&check["receipts_answered"]) > 0.0, "{check}");
    let answered = number(&check["credits_answered"]);
    assert!(answered > 0.0, "{check}");
    assert_eq!(number(&check["credits_in_ledger"]), answered, "{check}");
    let all = &report["tollgate"]["all"];
    assert_eq!(number(&all["denials"]), 0.0, "{all}");
    assert_eq!(all["errors"], serde_json::json!({}), "{all}");
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}
