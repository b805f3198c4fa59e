//! `/metrics` of the real binary, under load of every kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use tollgate::{
    hot::Certainty,
    pb,
    telemetry::{HotOperation, LedgerOperation, names},
};
use tonic::Code;

use super::{commit, create, get, metrics, reserve, value};
use crate::{
    process::Sidecar,
    support::{
        postgres::shared,
        proxy::{Network, Proxy},
        servers::{Kind, Server, now, wait},
    },
};

/// Every kind of answer that there is, over both listeners.
async fn load(sidecar: &Sidecar) {
    create(sidecar, "load-account", "starter").await;
    let quota = sidecar.quota().await;
    let calls = (0..60).map(|number| {
        let mut quota = quota.clone();
        tokio::spawn(async move {
            let id = format!("load-{number}");
            quota.reserve(reserve("load-account", &id)).await.unwrap();
            if number % 3 > 0 {
                quota.commit(commit("load-account", &id)).await.unwrap();
                quota.commit(commit("load-account", &id)).await.unwrap();
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let mut quota = quota;
    let other = pb::CommitRequest {
        reservation_id: "load-1".into(),
        amount: Some(pb::commit_request::Amount::Credits(99)),
        ..commit("load-account", "load-1")
    };
    assert!(quota.commit(other).await.is_err(), "a conflict");
    let dear = pb::ReserveRequest {
        amount: Some(pb::reserve_request::Amount::Credits(1_000_000)),
        ..reserve("load-account", "dear")
    };
    quota.reserve(dear).await.unwrap();
    quota
        .reserve(reserve("load-account", "steps"))
        .await
        .unwrap();
    let step = pb::CommitRequest {
        keep_open: true,
        next_hold: 1_000_000,
        ..commit("load-account", "steps")
    };
    quota.commit(step.clone()).await.unwrap();
    quota.commit(step).await.unwrap();
    let odd = pb::ReserveRequest {
        account_id: "load account".into(),
        ..reserve("x", "odd")
    };
    assert!(quota.reserve(odd).await.is_err());
    assert!(quota.commit(commit("nobody", "r")).await.is_err());
    let release = pb::ReleaseRequest {
        account_id: "load-account".into(),
        reservation_id: "load-3".into(),
        ..pb::ReleaseRequest::default()
    };
    quota.release(release).await.unwrap();
}

/// Every value that a label has, by label.
fn labels(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, rest)) = line.split_once('{') else {
            continue;
        };
        let (pairs, _) = rest.rsplit_once("} ").unwrap();
        for pair in pairs.split("\",") {
            let (name, value) = pair.split_once("=\"").unwrap();
            let values = found.entry(name.to_owned()).or_default();
            values.insert(value.trim_end_matches('"').to_owned());
        }
    }
    found
}

fn allowed(label: &str) -> Option<Vec<&'static str>> {
    let of_hot = HotOperation::ALL.iter().map(|operation| operation.name());
    let of_ledger = LedgerOperation::ALL
        .iter()
        .map(|operation| operation.name());
    Some(match label {
        "rpc_system_name" => vec!["grpc"],
        "mode" => vec!["discuss", "edit", "agent", "build", "none"],
        "tier" => vec!["lightweight", "standard", "premium", "none"],
        "result" => vec![
            "granted", "reduced", "denied", "loaded", "refused", "ok", "failed",
        ],
        "reason" => vec![
            "none",
            "insufficient_credits",
            "balance_exhausted",
            "debt_outstanding",
            "account_suspended",
            "account_closed",
            "too_many_calls",
            "queue_full",
            "export_failed",
            "rejected",
            "handshake_failed",
            "handshake_timeout",
            "preface_timeout",
            "unix_peer",
        ],
        "kind" => vec![
            "held",
            "settled",
            "returned",
            "refunded",
            "written_off",
            "debt",
        ],
        "listener" => vec!["tcp", "unix"],
        "operation" => of_hot.chain(of_ledger).collect(),
        "certainty" => vec!["did_not_happen", "may_have_happened"],
        "store" => vec!["hot", "ledger"],
        "log" => vec!["redo"],
        "answer" => vec!["unavailable"],
        "check" => vec!["stores", "serving", "settling", "catalog", "ledger"],
        "worker" => vec![
            "applier",
            "bell",
            "catalog_probe",
            "follower",
            "ledger_probe",
            "loader",
            "partitioner",
            "probe",
            "publisher",
            "reconciler",
            "refresher",
            "reloader",
            "renewer",
            "settler",
            "settling_probe",
            "sharer",
            "subscriber",
            "substitute",
            "sweeper",
            "tally",
        ],
        "signal" => vec!["traces", "metrics"],
        _ => return None,
    })
}

/// Whether calls to Redis fail at once.
const BREAKER: &str = "tollgate_breaker_open{store=\"hot\"}";

/// The calls of a method that were answered by the failure policy.
fn degraded(rpc: &str) -> String {
    format!("tollgate_degraded_answers_total{{answer=\"unavailable\",rpc=\"{rpc}\"}}")
}

fn promtool_accepts(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: tests/run installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let judged = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success() && said.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_there_under_load_and_says_nothing_of_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &[]);
    load(&sidecar).await;
    // The sweeper's round tells how much there is.
    wait("the open holds", || {
        value(&metrics(&sidecar), "tollgate_open_holds") == 20.0
    });
    let text = metrics(&sidecar);
    promtool_accepts(&text);
    // What needs a collector, a Redis, trouble or an overload has no line yet; what alerts watch has.
    let absent = BTreeSet::from([
        "tollgate_breaker_open",
        "tollgate_file_refused",
        "tollgate_accept_errors_total",
        "tollgate_worker_errors_total",
        "tollgate_otlp_exports_total",
    ]);
    for spec in names::ALL {
        let typed = format!("# TYPE {} {}\n", spec.name, spec.kind.name());
        let helped = format!("# HELP {} {}\n", spec.name, spec.help);
        let is_there = text.contains(&typed) && text.contains(&helped);
        assert_eq!(is_there, !absent.contains(spec.name), "{}", spec.name);
    }
    for (label, values) in labels(&text) {
        if let Some(allowed) = allowed(&label) {
            for value in &values {
                assert!(allowed.contains(&value.as_str()), "{label}={value}");
            }
        }
        assert!(values.len() <= 64, "{label} has {} values", values.len());
    }
    for secret in ["load-account", "conv-7", "load-1", "nobody", "claude"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for (sample, expected) in [
        ("tollgate_replays_total{rpc=\"Commit\"}", 41.0),
        ("tollgate_id_conflicts_total{rpc=\"Commit\"}", 1.0),
        ("tollgate_credits_total{kind=\"held\"}", 183.0),
        ("tollgate_credits_total{kind=\"settled\"}", 123.0),
        (
            "tollgate_decisions_total{mode=\"agent\",reason=\"insufficient_credits\",\
             result=\"denied\",rpc=\"Reserve\",tier=\"standard\"}",
            1.0,
        ),
        (
            "tollgate_decisions_total{mode=\"agent\",reason=\"insufficient_credits\",\
             result=\"denied\",rpc=\"Commit\",tier=\"standard\"}",
            1.0,
        ),
        (
            "rpc_server_call_duration_seconds_count{\
             rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
             rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\"}",
            62.0,
        ),
        ("tollgate_buffered_commits_total{log=\"redo\"}", 41.0),
        ("tollgate_loaded_accounts", 1.0),
        ("tollgate_store_up{store=\"hot\"}", 1.0),
        ("tollgate_store_up{store=\"ledger\"}", 1.0),
        ("tollgate_ready{check=\"serving\"}", 1.0),
        ("tollgate_ready{check=\"stores\"}", 1.0),
        ("tollgate_invariant_violations_total", 0.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert!(value(&text, "process_cpu_seconds_total") > 0.0);
    wait("an empty redo log", || {
        let text = metrics(&sidecar);
        value(&text, "tollgate_redo_backlog_records") == 0.0
            && value(&text, "tollgate_redo_backlog_bytes") == 0.0
            && value(&text, "tollgate_redo_backlog_age_seconds") == 0.0
    });
    wait("an empty outbox", || {
        let text = metrics(&sidecar);
        value(&text, "tollgate_outbox_entries") == 0.0
            && value(&text, "tollgate_outbox_lag_seconds") == 0.0
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_dies_is_seen() {
    let mut server = Server::start(Kind::Redis);
    let hot = format!("redis://{}", server.address());
    let folder = tempfile::tempdir().unwrap();
    let patient = "redis.call_timeout_ms=2000";
    let sidecar = Sidecar::start(folder.path(), &["--hot", &hot, "--set", patient]);
    let seen = |sample: &str, expected: f64| {
        let what = format!("{sample} {expected}");
        wait(&what, || value(&metrics(&sidecar), sample) == expected);
    };
    seen("tollgate_ready{check=\"stores\"}", 1.0);
    create(&sidecar, "acme", "starter").await;
    let mut quota = sidecar.quota().await;
    quota.reserve(reserve("acme", "r1")).await.unwrap();
    seen("tollgate_store_up{store=\"hot\"}", 1.0);
    seen("tollgate_open_holds", 1.0);
    seen("tollgate_loaded_accounts", 1.0);
    seen(BREAKER, 0.0);
    // From the first step on, so that the first fault counts in a rate.
    for certainty in [Certainty::Determinate, Certainty::Indeterminate] {
        let (name, certainty) = ("tollgate_hot_faults_total", certainty.name());
        let faults = format!("{name}{{certainty=\"{certainty}\",operation=\"reserve\"}}");
        assert_eq!(value(&metrics(&sidecar), &faults), 0.0, "{faults}");
    }
    assert_eq!(value(&metrics(&sidecar), &degraded("Reserve")), 0.0);
    server.kill();
    seen("tollgate_ready{check=\"stores\"}", 0.0);
    seen(BREAKER, 1.0);
    seen("tollgate_store_up{store=\"hot\"}", 0.0);
    seen("tollgate_store_up{store=\"ledger\"}", 1.0);
    for _ in 0..2 {
        let failed = quota.reserve(reserve("acme", "r2")).await;
        assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    }
    let failed = quota.commit(commit("acme", "r1")).await;
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    let text = metrics(&sidecar);
    assert_eq!(value(&text, &degraded("Reserve")), 2.0);
    assert_eq!(value(&text, &degraded("Commit")), 1.0);
    let mut faults = text
        .lines()
        .filter(|line| line.starts_with("tollgate_hot_faults_total{"));
    assert!(faults.any(|line| !line.ends_with(" 0")), "{text}");
    assert!(text.contains("tollgate_worker_errors_total{worker=\"settler\"}"));
    promtool_accepts(&text);
    tokio::task::block_in_place(|| server.restart(&Kind::Redis.binary(), &[]));
    seen(BREAKER, 0.0);
    seen("tollgate_store_up{store=\"hot\"}", 1.0);
    seen(&degraded("Reserve"), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_the_ledger_fails_is_counted_once() {
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let ledger = database.url_at(proxy.port);
    let folder = tempfile::tempdir().unwrap();
    let short = "postgres.acquire_timeout_ms=500";
    let sidecar = Sidecar::start(folder.path(), &["--ledger", &ledger, "--set", short]);
    create(&sidecar, "acme", "starter").await;
    let mut admin = sidecar.admin().await;
    proxy.set(Network::Cuts);
    // Of this one its line in the audit log is all that fails; of that one both do.
    let get = pb::GetAccountRequest {
        account_id: "acme".into(),
    };
    let failed = admin.get_account(get).await;
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    let failed = admin.list_accounts(pb::ListAccountsRequest::default());
    assert_eq!(failed.await.unwrap_err().code(), Code::Unavailable);
    let text = metrics(&sidecar);
    assert_eq!(value(&text, &degraded("GetAccount")), 1.0);
    assert_eq!(value(&text, &degraded("ListAccounts")), 1.0);
    assert!(!text.contains("tollgate_breaker_open"), "there is none");
}

/// The oldest hold gets older while it is open, and is none when it is settled.
async fn a_hold_that_stays_open_is_seen(args: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), args);
    let age = || value(&metrics(&sidecar), "tollgate_oldest_hold_age_seconds");
    create(&sidecar, "acme", "starter").await;
    create(&sidecar, "other", "starter").await;
    let mut quota = sidecar.quota().await;
    assert_eq!(age(), 0.0);
    let held = now();
    quota.reserve(reserve("acme", "r1")).await.unwrap();
    wait("a hold", || age() > 0.0);
    wait("an older hold", || age() > 2.0);
    quota.reserve(reserve("other", "r2")).await.unwrap();
    quota.commit(commit("acme", "r1")).await.unwrap();
    wait("the hold that came two seconds later", || {
        let age = age();
        age > 0.0 && age + 1.0 < held.elapsed().as_secs_f64()
    });
    quota.commit(commit("other", "r2")).await.unwrap();
    wait("no hold", || age() == 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_stays_open_in_memory_is_seen() {
    a_hold_that_stays_open_is_seen(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_stays_open_in_redis_is_seen() {
    let server = Server::start(Kind::Redis);
    let hot = format!("redis://{}", server.address());
    let patient = "redis.call_timeout_ms=2000";
    a_hold_that_stays_open_is_seen(&["--hot", &hot, "--set", patient]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_openmetrics_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &[]);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let answer = get(&sidecar, "/metrics", accept);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert!(body.ends_with("# EOF\n"));
    let plain = get(&sidecar, "/metrics", "text/plain");
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4"),
        "{plain}"
    );
}
