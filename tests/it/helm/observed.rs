//! The dashboard and the alerts on a real Prometheus that scrapes a real Tollgate under load: every
//! expression is evaluated, what a healthy process shows is there, and what is broken on purpose
//! is seen by its alert.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate::pb::{
    Action, CommitRequest, CreateAccountRequest, RefundRequest, ReserveRequest, commit_request,
    reserve_request,
};

use super::{
    alerts::{RULES, alerts, panels, rule_expressions},
    prometheus::Prometheus,
    render::file,
};
use crate::{
    process::Sidecar,
    support::{
        postgres::shared,
        servers::{Kind, Server},
    },
};

/// So long that a busy machine is no fault.
const PATIENT: [&str; 4] = [
    "--set",
    "redis.call_timeout_ms=1500",
    "--set",
    "grpc.request_timeout_ms=20000",
];
/// How many reservations make the load.
const ROUNDS: u32 = 100;

/// Expressions of the dashboard that a healthy process has nothing for: their labels come into being
/// with the first fault, the redo log is SQLite's, the certificate one of TLS, and this one has no
/// files.
const EMPTY_WHEN_HEALTHY: &[&str] = &[
    "max(tollgate_redo_backlog_records)",
    "max(tollgate_redo_backlog_bytes)",
    "max(tollgate_redo_backlog_age_seconds)",
    "sum(rate(tollgate_buffered_commits_total[$__rate_interval]))",
    "sum by (rpc, answer) (rate(tollgate_degraded_answers_total[$__rate_interval]))",
    "min by (pod, instance) (tollgate_tls_certificate_not_after_seconds > 0) - time()",
    "max by (pod, instance, file) (tollgate_file_refused)",
    "sum by (operation) (rate(tollgate_hot_faults_total[$__rate_interval]))",
    "sum by (operation) (rate(tollgate_ledger_faults_total[$__rate_interval]))",
    "sum by (worker) (rate(tollgate_worker_errors_total[$__rate_interval]))",
    "sum by (signal) (rate(tollgate_otlp_exports_total{result=\"failed\"}[$__rate_interval]))",
];

fn reserve(id: &str, credits: u64) -> ReserveRequest {
    ReserveRequest {
        account_id: "acme".into(),
        reservation_id: id.into(),
        action: Some(Action {
            mode: "agent".into(),
            model: "claude-sonnet-4-5".into(),
            ..Action::default()
        }),
        amount: Some(reserve_request::Amount::Credits(credits)),
        ..ReserveRequest::default()
    }
}

fn commit(id: &str, credits: u64) -> CommitRequest {
    CommitRequest {
        account_id: "acme".into(),
        reservation_id: id.into(),
        amount: Some(commit_request::Amount::Credits(credits)),
        ..CommitRequest::default()
    }
}

/// A bit of everything: grants, denials, replays, conflicts, late commits, refunds, bad requests.
async fn load(sidecar: &Sidecar, prefix: &str) {
    let (mut quota, mut admin) = (sidecar.quota().await, sidecar.admin().await);
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "pro".into(),
        ..CreateAccountRequest::default()
    };
    // The account of an earlier round is there already.
    let made = admin.create_account(create).await;
    assert!(made.is_ok() || prefix != "a", "{made:?}");
    for round in 0..ROUNDS {
        let id = format!("{prefix}-{round}");
        quota.reserve(reserve(&id, 10)).await.unwrap();
        quota.commit(commit(&id, 5)).await.unwrap();
        if round % 20 == 0 {
            quota.commit(commit(&id, 5)).await.unwrap();
            quota.reserve(reserve(&id, 11)).await.unwrap_err();
            quota
                .reserve(reserve(&format!("{id}-denied"), 1_000_000))
                .await
                .unwrap();
            quota
                .commit(commit(&format!("{id}-late"), 1))
                .await
                .unwrap();
            let refund = RefundRequest {
                account_id: "acme".into(),
                reservation_id: id.clone(),
                refund_id: id.clone(),
                credits: 1,
                reason: "test".into(),
                ..RefundRequest::default()
            };
            // A commit is answered once the ledger has it.
            admin.refund(refund).await.unwrap();
        }
    }
}

/// The expressions of the dashboard that have none, and should.
fn without_data(prometheus: &Prometheus) -> Vec<String> {
    let mut empty = Vec::new();
    for (title, expressions) in panels() {
        for expression in expressions {
            let is_excused = EMPTY_WHEN_HEALTHY.contains(&expression.as_str());
            if prometheus.query(&expression).is_empty() && !is_excused {
                empty.push(format!("{title}: {expression}"));
            }
        }
    }
    empty
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_has_data_and_every_fault_is_seen() {
    let mut redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let hot = format!("redis://{}", redis.address());
    let url = database.url();
    let args = [&["--hot", &hot, "--ledger", &url][..], &PATIENT].concat();
    let sidecar = Sidecar::start(&folder.path().join("data"), &args);
    let job = format!(
        "- job_name: tollgate\n  static_configs: [{{targets: ['{}']}}]\n",
        sidecar.http
    );
    let prometheus = Prometheus::start(folder.path(), &file(RULES), "1s", &job);
    prometheus.wait_for("min(tollgate_ready) == 1");
    // A rate needs two scrapes with load between them.
    let mut empty = Vec::new();
    for prefix in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        load(&sidecar, prefix).await;
        empty = without_data(&prometheus);
        if empty.is_empty() {
            break;
        }
    }
    assert!(empty.is_empty(), "no data:\n{}", empty.join("\n"));
    for expression in rule_expressions() {
        prometheus.query(&expression);
    }

    let alerts: BTreeMap<String, Value> = alerts();
    let expression = |name: &str| alerts[name]["expr"].as_str().unwrap().to_owned();
    for name in [
        "TollgateHotStoreDown",
        "TollgateNotReady",
        "TollgateInvariantViolated",
    ] {
        assert!(
            prometheus.query(&expression(name)).is_empty(),
            "{name} on a healthy process"
        );
    }
    redis.kill();
    for name in ["TollgateHotStoreDown", "TollgateNotReady"] {
        prometheus.wait_for(&expression(name));
    }
}
