//! The log of the real binary: what it says of a call, and what it never says.

use std::{fs::File, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tollgate::pb;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{commit, create, metrics, reserve, value};
use crate::{
    process::Sidecar,
    support::{
        postgres::shared,
        proxy::{Network, Proxy},
    },
};

/// Starts a sidecar whose log goes to a file.
fn start(folder: &Path, settings: &[&str]) -> (Sidecar, impl Fn() -> Vec<Value> + use<>) {
    let path = folder.join("log");
    let file = File::create(&path).unwrap();
    let json = ["log.format=json"];
    let settings = json.iter().chain(settings);
    let args: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
    let sidecar = Sidecar::start_logging_to(Stdio::from(file), &folder.join("data"), &args);
    let lines = move || {
        let text = std::fs::read_to_string(&path).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(line).collect()
    };
    (sidecar, lines)
}

fn named<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-request-id", id.parse().unwrap());
    request
}

/// The id that the details of an error say its call goes by.
fn request_info(refused: &Status) -> String {
    let details = refused.get_error_details();
    details.request_info().unwrap().request_id.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_leave_a_few_lines_that_can_be_found_again() {
    const CALLS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let (mut sidecar, lines) = start(folder.path(), &[]);
    let mut quota = sidecar.quota().await;
    let bad = || pb::ReserveRequest {
        account_id: "no spaces: secret-account".into(),
        ..reserve("x", "r1")
    };
    let refused = quota.reserve(named(bad(), "req-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "req-1");
    assert_eq!(request_info(&refused), "req-1");
    let mut made = None;
    for _ in 1..CALLS {
        // One that can't stand in a log: another is made.
        let refused = quota.reserve(named(bad(), "a \"b\" c")).await.unwrap_err();
        made = refused.metadata().get("x-request-id").cloned();
        assert_eq!(made.clone().unwrap(), request_info(&refused));
    }
    assert_eq!(made.unwrap().len(), 16);
    let suppressed = value(&metrics(&sidecar), "tollgate_log_lines_suppressed_total");
    sidecar.terminate();
    let lines = lines();
    let of_refusals: Vec<&Value> = lines
        .iter()
        .filter(|line| line["message"] == "refused a bad request")
        .collect();
    let first = of_refusals[0];
    assert_eq!(first["method"], "tollgate.v1.QuotaService/Reserve");
    assert_eq!(first["status"], "INVALID_ARGUMENT");
    assert_eq!(first["reason"], "BAD_REQUEST");
    assert_eq!(first["fields"], "account_id");
    assert_eq!(first["request_id"], "req-1");
    assert_eq!(first["level"], "INFO");
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(of_refusals.len() + suppressed as usize, CALLS);
    assert!(suppressed > 0.0, "{} lines", of_refusals.len());
    let all = serde_json::to_string(&lines).unwrap();
    assert!(!all.contains("secret-account"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_call_says_what_its_time_went_to() {
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let ledger = format!("ledger={}", database.url_at(proxy.port));
    let folder = tempfile::tempdir().unwrap();
    let settings = ["log.slow_call_ms=20", "log.filter=debug", &ledger];
    let (mut sidecar, lines) = start(folder.path(), &settings);
    create(&sidecar, "acme", "starter").await;
    let mut quota = sidecar.quota().await;
    quota.reserve(reserve("acme", "r1")).await.unwrap();
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-00");
    let mut request = named(commit("acme", "r1"), "slow-1");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    proxy.set(Network::Holds);
    let held = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.set(Network::Works);
    };
    let (committed, ()) = tokio::join!(quota.commit(request), held);
    committed.unwrap();
    sidecar.terminate();
    let lines = lines();
    let slow: Vec<&Value> = lines
        .iter()
        .filter(|line| {
            line["message"] == "slow call" && line["method"] == "tollgate.v1.QuotaService/Commit"
        })
        .collect();
    let slow = slow.first().expect("a slow commit");
    assert_eq!(slow["request_id"], "slow-1");
    assert_eq!(slow["trace_id"], trace_id, "sampled or not");
    assert_eq!(slow["status"], "OK");
    assert_eq!(slow["hot_steps"], 2);
    let ms = |name: &str| {
        slow[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {slow}"))
    };
    assert!(ms("took_ms") > 20.0, "{slow}");
    assert!(ms("ledger_wait_ms") > 20.0, "{slow}");
    let parts = [
        "queue_ms",
        "hot_ms",
        "ledger_ms",
        "ledger_wait_ms",
        "own_ms",
    ];
    let sum: f64 = parts.iter().map(|part| ms(part)).sum();
    assert!((sum - ms("took_ms")).abs() < 0.1, "{slow}");
    let all = serde_json::to_string(&lines).unwrap();
    assert!(
        !all.contains("acme"),
        "no account unless it is wanted: {all}"
    );
}
