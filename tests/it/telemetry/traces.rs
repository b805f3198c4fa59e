//! Traces and metrics as a real collector gets them.

use std::{collections::BTreeSet, net::TcpListener, path::Path};

use serde_json::{Value, json};
use tollgate::{pb, telemetry::names};
use tonic::Request;

use super::{collector::Collector, commit, create, get, metrics, reserve, value};
use crate::{process::Sidecar, support::servers::wait};

const RESERVE: &str = "tollgate.v1.QuotaService/Reserve";
const COMMIT: &str = "tollgate.v1.QuotaService/Commit";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const UNSAMPLED: &str = "a3ce929d0e0e47364bf92f3577b34da6";
const SPAN: &str = "00f067aa0ba902b7";

fn traced<T>(message: T, trace_id: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{trace_id}-{SPAN}-{flags}").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    let state = "vendor=opaque".parse().unwrap();
    request.metadata_mut().insert("tracestate", state);
    let id = "req-42".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    request
}

fn children<'s>(spans: &'s [Value], parent: &Value) -> Vec<&'s Value> {
    let of = |span: &&Value| span["parent"] == parent["span_id"];
    spans.iter().filter(of).collect()
}

fn names_of(spans: &[&Value]) -> BTreeSet<String> {
    let names = spans.iter().map(|span| span["span"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_callers_trace_and_every_metric() {
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "authorization=Bearer not-so-secret\n").unwrap();
    let settings = [
        format!("telemetry.otlp_endpoint={}", collector.endpoint()),
        format!("telemetry.otlp_headers_file={}", headers.display()),
        "telemetry.resource_attributes=deployment.environment.name=test".to_owned(),
        "telemetry.metrics_push_interval_ms=200".to_owned(),
        "telemetry.trace_ratio=0".to_owned(),
        "log.account_ids=true".to_owned(),
    ];
    let args: Vec<&str> = settings.iter().flat_map(|one| ["--set", one]).collect();
    let mut sidecar = Sidecar::start(&folder.path().join("data"), &args);
    create(&sidecar, "acme", "starter").await;
    let mut quota = sidecar.quota().await;
    let untraced = reserve("acme", "r0");
    quota.reserve(untraced).await.unwrap();
    let unsampled = traced(reserve("acme", "r1"), UNSAMPLED, "00");
    quota.reserve(unsampled).await.unwrap();
    quota
        .reserve(traced(reserve("acme", "r2"), TRACE, "01"))
        .await
        .unwrap();
    quota
        .commit(traced(commit("acme", "r2"), TRACE, "01"))
        .await
        .unwrap();

    let is_commit = |one: &Value| one["span"] == COMMIT;
    collector.first("the commit's span", is_commit);
    let openmetrics = get(&sidecar, "/metrics", "application/openmetrics-text");
    assert!(openmetrics.contains(&format!("# {{trace_id=\"{TRACE}\"")));
    collector.first("an exemplar", |one| {
        one["metric"] == "rpc.server.call.duration" && one["exemplars"] == json!([TRACE])
    });
    wait("two pushes", || {
        collector.metric("tollgate.build.info").len() >= 2
    });
    check_metrics(&collector, &sidecar);
    let (status, said) = sidecar.terminate();
    assert!(status.success(), "{said}");
    check_spans(&collector);
}

fn check_spans(collector: &Collector) {
    let spans = collector.came(|one| one["span"].is_string());
    let traces: BTreeSet<&str> = spans
        .iter()
        .map(|span| span["trace_id"].as_str().unwrap())
        .collect();
    assert_eq!(traces, BTreeSet::from([TRACE]), "only what was sampled");
    let calls: Vec<&Value> = spans.iter().filter(|span| span["parent"] == SPAN).collect();
    assert_eq!(
        names_of(&calls),
        BTreeSet::from([RESERVE, COMMIT].map(str::to_owned))
    );
    for call in &calls {
        assert_eq!(call["kind"], 2, "a server's");
        assert_eq!(call["state"], "vendor=opaque");
        assert_eq!(call["scope"], "tollgate");
        assert_eq!(call["headers"]["authorization"], "Bearer not-so-secret");
        assert_eq!(call["resource"]["service.name"], "tollgate");
        assert_eq!(call["resource"]["deployment.environment.name"], "test");
        assert!(call["start"].as_u64() < call["end"].as_u64());
        for (name, expected) in [
            ("rpc.system.name", json!("grpc")),
            ("rpc.response.status_code", json!("OK")),
            ("rpc.method", call["span"].clone()),
            ("gen_ai.request.model", json!("claude-sonnet-4-5")),
            ("gen_ai.conversation.id", json!("conv-7")),
            ("tollgate.mode", json!("agent")),
            ("tollgate.tier", json!("standard")),
            ("tollgate.account_id", json!("acme")),
            ("tollgate.request_id", json!("req-42")),
        ] {
            assert_eq!(call["attributes"][name], expected, "{name}: {call}");
        }
    }
    let call = |name: &str| *calls.iter().find(|call| call["span"] == name).unwrap();
    let reserved = &call(RESERVE)["attributes"];
    assert_eq!(reserved["tollgate.result"], "granted");
    assert_eq!(reserved["tollgate.credits.held"], 3);
    assert_eq!(reserved["tollgate.estimate.input_tokens"], 2_000);
    assert!(reserved["gen_ai.usage.input_tokens"].is_null(), "not used");
    let committed = &call(COMMIT)["attributes"];
    assert_eq!(committed["tollgate.credits.charged"], 3);
    assert_eq!(committed["gen_ai.usage.output_tokens"], 400);
    let of_reserve = children(&spans, call(RESERVE));
    assert_eq!(
        names_of(&of_reserve),
        BTreeSet::from(["hot.reserve".to_owned()])
    );
    let of_commit = children(&spans, call(COMMIT));
    let expected = ["hot.reservation", "hot.commit", "ledger.wait"];
    assert_eq!(
        names_of(&of_commit),
        BTreeSet::from(expected.map(str::to_owned))
    );
    for child in of_reserve.iter().chain(&of_commit) {
        assert_eq!(child["kind"], 1, "internal");
    }
    let step = of_reserve[0];
    assert!(step["start"].as_u64() >= call(RESERVE)["start"].as_u64());
    assert!(step["end"].as_u64() <= call(RESERVE)["end"].as_u64());
}

fn check_metrics(collector: &Collector, sidecar: &Sidecar) {
    let shown = metrics(sidecar);
    for spec in names::ALL {
        if !shown.contains(&format!("# TYPE {} ", spec.name)) {
            continue;
        }
        let pushed = collector.metric(spec.otlp);
        let first = pushed.first().unwrap_or_else(|| panic!("{}", spec.otlp));
        assert_eq!(first["unit"], spec.unit);
        assert_eq!(first["help"], spec.help);
        let (kind, temporality) = match spec.kind {
            names::Kind::Counter => ("sum", json!(2)),
            names::Kind::Gauge => ("gauge", Value::Null),
            names::Kind::Histogram => ("histogram", json!(2)),
        };
        assert_eq!(first["kind"], kind, "{}", spec.otlp);
        assert_eq!(first["temporality"], temporality, "cumulative");
        let starts: BTreeSet<u64> = pushed
            .iter()
            .map(|one| one["start"].as_u64().unwrap())
            .collect();
        assert_eq!(starts.len(), 1, "the start does not move");
        assert!(first["start"].as_u64() < first["at"].as_u64());
    }
    let reserves = collector.came(|one| {
        one["metric"] == "rpc.server.call.duration" && one["attributes"]["rpc.method"] == RESERVE
    });
    let last = reserves.last().unwrap();
    assert_eq!(last["attributes"]["rpc.system.name"], "grpc");
    assert_eq!(last["attributes"]["rpc.response.status_code"], "OK");
    assert_eq!(last["count"], 3);
    let buckets = last["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), last["bounds"].as_array().unwrap().len() + 1);
    let counted: u64 = buckets.iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, 3);
    let held = collector
        .came(|one| one["metric"] == "tollgate.credits" && one["attributes"]["kind"] == "held");
    assert_eq!(held.last().unwrap()["value"], 9.0);
    assert_eq!(held.last().unwrap()["monotonic"], true);
}

/// A collector that takes connections and never answers: the worst there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_collector_costs_no_call_anything() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        format!("telemetry.otlp_endpoint=http://{address}"),
        "telemetry.export_timeout_ms=60000".to_owned(),
        "telemetry.metrics_push_interval_ms=100".to_owned(),
        "telemetry.trace_ratio=1".to_owned(),
    ];
    let args: Vec<&str> = settings.iter().flat_map(|one| ["--set", one]).collect();
    let mut sidecar = Sidecar::start(folder.path(), &args);
    create(&sidecar, "acme", "starter").await;
    let quota = sidecar.quota().await;
    let balance = |account_id: &str| pb::GetBalanceRequest {
        account_id: account_id.into(),
    };
    let dropped = "tollgate_spans_dropped_total{reason=\"queue_full\"}";
    let mut rounds = 0;
    // More calls than the queue and a batch have room for.
    while value(&metrics(&sidecar), dropped) == 0.0 {
        rounds += 1;
        assert!(rounds <= 40, "nothing was dropped");
        let calls = (0..500).map(|_| {
            let mut quota = quota.clone();
            tokio::spawn(async move { quota.get_balance(balance("acme")).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(
        value(&metrics(&sidecar), "tollgate_spans_exported_total"),
        0.0
    );
    let (status, said) = sidecar.terminate();
    assert!(status.success(), "the end does not wait for it: {said}");
}

/// A sidecar that traces every call to this collector, and pushes its metrics at the end only.
fn traces_to(endpoint: &str, folder: &Path, more: &[String]) -> Sidecar {
    let settings = [
        format!("telemetry.otlp_endpoint={endpoint}"),
        "telemetry.metrics_push_interval_ms=3600000".to_owned(),
        "telemetry.trace_ratio=1".to_owned(),
    ];
    let settings = settings.iter().chain(more);
    let args: Vec<&str> = settings.flat_map(|one| ["--set", one]).collect();
    Sidecar::start(folder, &args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let files = [key.to_str().unwrap(), certificate.to_str().unwrap()];
    let collector = Collector::start_with(&["0", files[0], files[1]]);
    let ca = format!("telemetry.otlp_ca={}", certificate.display());
    let mut known = traces_to(&collector.tls_endpoint(), &folder.path().join("a"), &[ca]);
    create(&known, "acme", "starter").await;
    collector.first("a span over TLS", |one| one["span"].is_string());
    known.terminate();
    collector.first("the metrics, at the end", |one| one["metric"].is_string());

    // The machine's roots know nothing of it.
    let unknown = traces_to(&collector.tls_endpoint(), &folder.path().join("b"), &[]);
    create(&unknown, "acme", "starter").await;
    let failed = "tollgate_spans_dropped_total{reason=\"export_failed\"}";
    wait("spans that are given up", || {
        value(&metrics(&unknown), failed) > 0.0
    });
    assert_eq!(
        value(&metrics(&unknown), "tollgate_spans_exported_total"),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_the_collector_rejects_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start_with(&["1"]);
    let sidecar = traces_to(&collector.endpoint(), folder.path(), &[]);
    create(&sidecar, "acme", "starter").await;
    wait("a rejected span", || {
        let text = metrics(&sidecar);
        value(&text, "tollgate_spans_dropped_total{reason=\"rejected\"}") == 1.0
            && value(&text, "tollgate_spans_exported_total") > 0.0
    });
}

#[test]
fn a_configuration_that_cannot_be_pushed_by_is_refused() {
    for (setting, told) in [
        (
            "telemetry.otlp_endpoint=collector:4317",
            "telemetry.otlp_endpoint",
        ),
        (
            "telemetry.otlp_endpoint=http://me:pw@collector:4317",
            "telemetry.otlp_endpoint",
        ),
        ("telemetry.trace_ratio=1.5", "a number from 0 to 1"),
        ("telemetry.resource_attributes=a", "NAME=VALUE"),
        ("log.account_ids=maybe", "true or false"),
    ] {
        let refused = crate::process::run(&["serve", "--set", setting]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(64), "{setting}: {said}");
        assert!(said.contains(told), "{said}");
    }
}
