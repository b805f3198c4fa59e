use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    clock::ManualClock,
    domain::timestamp::Timestamp,
    telemetry::{
        Decision, Ended, Format, HotOperation, LedgerOperation, RedoLevels, Reload, SpanId,
        TraceId, Verdict, names::Kind,
    },
};

const NOW_MS: i64 = 1_795_000_000_000;
const RESERVE: &str = "tollgate.v1.QuotaService/Reserve";

fn exemplar() -> Exemplar {
    Exemplar {
        trace_id: TraceId::of(0xab),
        span_id: SpanId::of(0xcd),
        seconds: 0.000_07,
        at_ns: 1_795_000_000_123_000_000,
    }
}

/// Every metric, each touched once.
fn touched() -> Metrics {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW_MS)));
    let metrics = Metrics::with_clock(clock).unwrap();
    metrics.call_began();
    let (short, long) = (Duration::from_micros(70), Duration::from_millis(2));
    metrics.call(RESERVE, "OK", short, Some(exemplar()));
    metrics.call(RESERVE, "OK", short, None);
    metrics.too_many_calls();
    std::mem::forget(metrics.connected("tcp"));
    drop(metrics.connected("unix"));
    metrics.accept_error("tcp");
    metrics.connection_refused("unix_peer");
    metrics.admin_refusal(true);
    metrics.file_reload("tls", Reload::Refused);
    metrics.set_file_refused("tls", true);
    metrics.set_certificate(1_700_000_000, 4_102_444_800);
    for _ in 0..3 {
        metrics.decision(Decision {
            rpc: "Reserve",
            verdict: Verdict::Denied,
            reason: "insufficient_credits",
            mode: "agent",
            tier: "standard",
        });
    }
    metrics.credits(CreditsKind::WrittenOff, 7);
    metrics.reservations_expired(2);
    metrics.late_commit();
    metrics.replay("Commit");
    metrics.id_conflict("Reserve");
    metrics.hot_step(HotOperation::Load, short, Ended::Well);
    metrics.hot_step(HotOperation::Reserve, short, Ended::GivenUp);
    metrics.hot_step(
        HotOperation::Reserve,
        short,
        Ended::Failed("did_not_happen"),
    );
    metrics.ledger_operation(LedgerOperation::Settle, long, Ended::Failed("failed"));
    metrics.ledger_operation(LedgerOperation::Settle, long, Ended::Well);
    metrics.set_ready("stores", true);
    metrics.set_hot_levels(3, 4, 9);
    metrics.set_earliest_deadline(Some(NOW_MS - 1500));
    metrics.set_oldest_hold(Some(NOW_MS - 61_000));
    metrics.accounts_unloaded(1);
    metrics.set_oldest_unsettled(Some(NOW_MS - 250));
    metrics.settled_batch(3);
    metrics.cursor_conflict();
    let redo = RedoLevels {
        records: 12,
        bytes: 3_400,
        commits: 56,
        age_ms: 1_250,
    };
    metrics.watch_redo(move || redo).unwrap();
    metrics.watch_breaker(|| true).unwrap();
    metrics.degraded("Reserve");
    metrics.catalog_reload(Reload::Refused);
    metrics.set_catalog_version("old");
    metrics.set_catalog_version("new");
    metrics.recovered(1, 2, 3);
    metrics.drift();
    metrics.repaired();
    metrics.worker_error("settler");
    metrics.worker_success("settler");
    metrics.spans_exported(5);
    metrics.spans_dropped("queue_full", 2);
    metrics.exported("traces", true);
    metrics
}

fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    lines
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_of_the_table_is_there_and_no_other() {
    let text = touched().render().unwrap();
    let listed: BTreeSet<String> = names::ALL.iter().map(|spec| spec.name.to_owned()).collect();
    assert_eq!(listed.len(), names::ALL.len(), "a name stands twice");
    assert_eq!(named(&text, "# TYPE "), listed);
    assert_eq!(named(&text, "# HELP "), listed);
    for spec in names::ALL {
        let line = format!("# TYPE {} {}", spec.name, spec.kind.name());
        assert!(text.contains(&line), "{line}");
        let own: BTreeSet<String> = spec.labels.iter().map(|&label| label.to_owned()).collect();
        for sample in text.lines().filter(|line| line.starts_with(spec.name)) {
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest);
            let found: BTreeSet<String> = labels
                .split("=\"")
                .filter_map(|part| part.rsplit(['"', ',', '{']).next())
                .filter(|name| !name.is_empty() && *name != "le" && !name.starts_with('}'))
                .map(str::to_owned)
                .collect();
            if sample
                .strip_prefix(spec.name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
            {
                assert_eq!(found, own, "{sample}");
            }
        }
    }
}

#[test]
fn names_follow_the_rules() {
    for spec in names::ALL {
        let foreign = spec.name.starts_with("rpc_server_") || spec.name.starts_with("process_");
        assert!(
            spec.name.starts_with("tollgate_") || foreign,
            "{}",
            spec.name
        );
        let counts = spec.kind == Kind::Counter;
        assert_eq!(counts, spec.name.ends_with("_total"), "{}", spec.name);
        let unit = match spec.unit {
            "s" => Some("_seconds"),
            "By" => Some("_bytes"),
            _ => None,
        };
        if let Some(unit) = unit {
            let name = spec.name.trim_end_matches("_total");
            assert!(name.ends_with(unit), "{}", spec.name);
        }
        assert!(!spec.otlp.contains("_total") && !spec.otlp.ends_with("seconds"));
        assert!(spec.help.ends_with('.'), "{}", spec.name);
    }
}

#[test]
fn values_and_labels_come_out() {
    let text = touched().render().unwrap();
    for line in [
        "tollgate_calls_in_flight 1",
        "tollgate_calls_refused_total{reason=\"too_many_calls\"} 1",
        "tollgate_connections{listener=\"tcp\"} 1",
        "tollgate_connections{listener=\"unix\"} 0",
        "tollgate_connections_accepted_total{listener=\"unix\"} 1",
        "tollgate_decisions_total{mode=\"agent\",reason=\"insufficient_credits\",\
         result=\"denied\",rpc=\"Reserve\",tier=\"standard\"} 3",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"0.0001\"} 2",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"0.00005\"} 0",
        "tollgate_credits_total{kind=\"written_off\"} 7",
        "tollgate_credits_total{kind=\"held\"} 0",
        "tollgate_account_loads_total 1",
        "tollgate_hot_operation_duration_seconds_count{operation=\"reserve\"} 2",
        "tollgate_hot_faults_total{certainty=\"did_not_happen\",operation=\"reserve\"} 1",
        "tollgate_ledger_operation_duration_seconds_count{operation=\"settle\"} 2",
        "tollgate_ledger_faults_total{operation=\"settle\"} 1",
        "tollgate_store_up{store=\"hot\"} 0",
        "tollgate_store_up{store=\"ledger\"} 1",
        "tollgate_open_holds 4",
        "tollgate_loaded_accounts 3",
        "tollgate_outbox_entries 9",
        "tollgate_outbox_lag_seconds 0.25",
        "tollgate_expiry_lag_seconds 1.5",
        "tollgate_oldest_hold_age_seconds 61",
        "tollgate_redo_backlog_records 12",
        "tollgate_redo_backlog_bytes 3400",
        "tollgate_redo_backlog_age_seconds 1.25",
        "tollgate_buffered_commits_total{log=\"redo\"} 56",
        "tollgate_breaker_open{store=\"hot\"} 1",
        "tollgate_degraded_answers_total{answer=\"unavailable\",rpc=\"Reserve\"} 1",
        "tollgate_catalog_reloads_total{result=\"loaded\"} 0",
        "tollgate_catalog_reloads_total{result=\"refused\"} 1",
        "tollgate_catalog_info{version=\"new\"} 1",
        "tollgate_worker_last_success_timestamp_seconds{worker=\"settler\"} 1795000000",
        "tollgate_spans_dropped_total{reason=\"queue_full\"} 2",
        "tollgate_otlp_exports_total{result=\"ok\",signal=\"traces\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nis not in\n{text}"
        );
    }
    assert!(
        !text.contains("version=\"old\""),
        "only the catalogue in force is shown"
    );
    assert!(!text.contains("operation=\"audit\""), "it never ran");
}

#[test]
fn openmetrics_carries_the_traces_of_sampled_calls() {
    let text = touched().render_as(Format::OpenMetrics).unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "# TYPE tollgate_decisions counter",
        "tollgate_late_commits_total 1.0",
        "# TYPE rpc_server_call_duration_seconds histogram",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"0.0001\"} 2 \
         # {trace_id=\"000000000000000000000000000000ab\",span_id=\"00000000000000cd\"} 0.00007 \
         1795000000.123",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"10.0\"} 2",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nis not in\n{text}"
        );
    }
}

#[test]
fn what_alerts_watch_is_there_from_the_start() {
    let text = Metrics::new().unwrap().render().unwrap();
    for name in [
        "invariant_violations_total 0",
        "drift_accounts_total 0",
        "late_commits_total 0",
        "outbox_entries 0",
        "outbox_lag_seconds 0",
        "expiry_lag_seconds 0",
        "oldest_hold_age_seconds 0",
        "calls_refused_total{reason=\"too_many_calls\"} 0",
        "settler_cursor_conflicts_total 0",
        "degraded_answers_total{answer=\"unavailable\",rpc=\"Reserve\"} 0",
        "id_conflicts_total{rpc=\"Commit\"} 0",
        "replays_total{rpc=\"Charge\"} 0",
    ] {
        assert!(text.contains(&format!("\ntollgate_{name}\n")), "{name}");
    }
}

#[test]
fn what_a_store_is_asked_for_has_its_faults_from_then_on() {
    let metrics = Metrics::new().unwrap();
    let faults = || -> Vec<String> {
        let text = metrics.render().unwrap();
        let lines = text.lines().filter(|line| line.contains("_faults_total{"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(faults(), [""; 0]);
    let took = Duration::from_micros(70);
    metrics.hot_step(HotOperation::Commit, took, Ended::Well);
    metrics.ledger_operation(LedgerOperation::Settle, took, Ended::Well);
    assert_eq!(
        faults(),
        [
            "tollgate_hot_faults_total{certainty=\"did_not_happen\",operation=\"commit\"} 0",
            "tollgate_hot_faults_total{certainty=\"may_have_happened\",operation=\"commit\"} 0",
            "tollgate_ledger_faults_total{operation=\"settle\"} 0",
        ]
    );
}
