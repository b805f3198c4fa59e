use std::collections::BTreeSet;

use super::*;

/// Every metric, each touched once.
fn touched() -> Metrics {
    let metrics = Metrics::new().unwrap();
    let denied = Decision {
        rpc: "Reserve",
        verdict: Verdict::Denied,
        reason: "insufficient_credits",
        mode: "agent",
        tier: "standard",
    };
    metrics.decision(denied);
    metrics.call(
        "tollgate.v1.QuotaService/Reserve",
        "OK",
        Duration::from_micros(70),
    );
    metrics.credits(CreditsKind::WrittenOff, 7);
    metrics.reservations_expired(2);
    metrics.late_commit();
    metrics.replay("Commit");
    metrics.id_conflict("Reserve");
    metrics.settled_batch(3, Duration::from_millis(2));
    metrics.set_outbox_entries(9);
    metrics.catalog_reload(Reload::Refused);
    metrics.set_catalog_version("old");
    metrics.set_catalog_version("new");
    metrics.recovered(1, 2, 3);
    metrics.drift();
    metrics.repaired();
    metrics.worker_error("settler");
    metrics
}

#[test]
fn every_metric_is_named_by_the_rules_and_has_a_help() {
    let text = touched().render().unwrap();
    let names = |prefix: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        lines
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    };
    let typed = names("# TYPE ");
    assert_eq!(typed.len(), 21, "{typed:?}");
    assert_eq!(typed, names("# HELP "));
    for name in &typed {
        let by_convention = name == "rpc_server_call_duration_seconds";
        assert!(name.starts_with("tollgate_") || by_convention, "{name}");
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let counts = line.ends_with(" counter");
        assert_eq!(counts, line.contains("_total "), "{line}");
        assert_eq!(
            line.ends_with(" histogram"),
            line.contains("_seconds "),
            "{line}"
        );
    }
}

#[test]
fn values_and_labels_come_out() {
    let text = touched().render().unwrap();
    for line in [
        "tollgate_decisions_total{mode=\"agent\",reason=\"insufficient_credits\",\
         result=\"denied\",rpc=\"Reserve\",tier=\"standard\"} 1",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"0.0001\"} 1",
        "rpc_server_call_duration_seconds_bucket{rpc_method=\"tollgate.v1.QuotaService/Reserve\",\
         rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\",le=\"0.00005\"} 0",
        "tollgate_credits_total{kind=\"written_off\"} 7",
        "tollgate_credits_total{kind=\"held\"} 0",
        "tollgate_reservations_expired_total 2",
        "tollgate_late_commits_total 1",
        "tollgate_replays_total{rpc=\"Commit\"} 1",
        "tollgate_id_conflicts_total{rpc=\"Reserve\"} 1",
        "tollgate_settler_batches_total 1",
        "tollgate_settler_entries_total 3",
        "tollgate_ledger_write_seconds_count 1",
        "tollgate_outbox_entries 9",
        "tollgate_catalog_reloads_total{result=\"loaded\"} 0",
        "tollgate_catalog_reloads_total{result=\"refused\"} 1",
        "tollgate_catalog_info{version=\"new\"} 1",
        "tollgate_invariant_violations_total 0",
        "tollgate_worker_errors_total{worker=\"settler\"} 1",
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
}

#[test]
fn what_alerts_watch_is_there_from_the_start() {
    let text = Metrics::new().unwrap().render().unwrap();
    for name in [
        "invariant_violations_total 0",
        "late_commits_total 0",
        "outbox_entries 0",
    ] {
        assert!(text.contains(&format!("\ntollgate_{name}\n")), "{name}");
    }
}
