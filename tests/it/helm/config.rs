//! The values that are the program's own keys, held to the program: the same names, the same
//! bounds, the same words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollgate::config::{Config, ConfigError, Flags, Problem};

use super::render::{What, file, render};

/// What the chart sets itself, from values of its own. `config` refuses these.
const OWN: &[&str] = &[
    "data_dir",
    "catalog",
    "hot",
    "ledger",
    "roles",
    "grpc.listen",
    "grpc.unix_socket",
    "grpc.insecure_listen",
    "admin.listen",
    "admin.unix_socket",
    "tls.cert",
    "tls.key",
    "tls.client_ca",
    "tls.client_cert",
    "access.file",
    "http.listen",
    "redis.tls_ca",
    "postgres.migrate",
    "telemetry.otlp_ca",
    "telemetry.otlp_headers_file",
];

/// The keys of the schema's `config`, each with what it says of it.
fn in_schema() -> BTreeMap<String, Value> {
    let schema: Value = serde_json::from_str(&file("helm/tollgate/values.schema.json")).unwrap();
    let mut keys = BTreeMap::new();
    let top = schema["definitions"]["config"]["properties"]
        .as_object()
        .unwrap();
    for (name, found) in top {
        match found["properties"].as_object() {
            Some(section) => {
                let inner = section.iter();
                keys.extend(inner.map(|(key, found)| (format!("{name}.{key}"), found.clone())));
            }
            None => {
                keys.insert(name.clone(), found.clone());
            }
        }
    }
    keys
}

/// Whether the program accepts the value as such; that it may not fit another key is no matter.
fn accepts(key: &str, value: &str) -> bool {
    let flags = Flags {
        set: vec![format!("{key}={value}")],
        ..Flags::default()
    };
    match Config::load(&flags, std::iter::empty()) {
        Ok(_) => true,
        Err(ConfigError::Invalid(problems)) => problems
            .iter()
            .all(|problem| matches!(problem, Problem::Conflict { .. })),
        Err(error) => panic!("{key}={value}: {error}"),
    }
}

#[test]
fn the_chart_knows_every_key_and_no_others() {
    let own: BTreeSet<String> = OWN.iter().map(|key| (*key).to_owned()).collect();
    let offered: BTreeSet<String> = in_schema().into_keys().collect();
    let program: BTreeSet<String> = Config::keys().into_iter().collect();
    let both: Vec<_> = own.intersection(&offered).collect();
    assert!(both.is_empty(), "set by the chart and offered: {both:?}");
    let known: BTreeSet<String> = own.union(&offered).cloned().collect();
    let missing: Vec<_> = program.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "add to definitions.config of helm/tollgate/values.schema.json: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&program).collect();
    assert!(gone.is_empty(), "the program has no such key: {gone:?}");
}

#[test]
fn the_chart_has_the_bounds_of_the_program() {
    let mut wrong = Vec::new();
    let mut check = |key: &str, value: String, taken: bool| {
        if accepts(key, &value) != taken {
            let verb = if taken { "refuses" } else { "takes" };
            wrong.push(format!("{key}: the program {verb} {value}"));
        }
    };
    for (key, schema) in in_schema() {
        if schema["type"] == "integer" {
            let bound = |name: &str| {
                let bound = schema[name].as_i64();
                bound.unwrap_or_else(|| panic!("{key} has no {name}"))
            };
            let (least, most) = (bound("minimum"), bound("maximum"));
            check(&key, least.to_string(), true);
            check(&key, (least - 1).to_string(), false);
            check(&key, most.to_string(), true);
            check(&key, (most + 1).to_string(), false);
        } else if let Some(words) = schema["enum"].as_array() {
            for word in words {
                check(&key, word.as_str().unwrap().to_owned(), true);
            }
            check(&key, "neither-of-them".to_owned(), false);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Keys on both sides of what the program takes, where that hangs on other keys' defaults or on more
/// than a bound.
const AT_THE_EDGE: &[(&str, &str)] = &[
    ("reserve.default_ttl_ms", "999"),
    ("reserve.default_ttl_ms", "1000"),
    ("reserve.default_ttl_ms", "43200000"),
    ("reserve.default_ttl_ms", "43200001"),
    ("reserve.ttl_min_ms", "600000"),
    ("reserve.ttl_min_ms", "600001"),
    ("reserve.ttl_min_ms", "43200001"),
    ("reserve.ttl_max_ms", "599999"),
    ("reserve.ttl_max_ms", "600000"),
    ("reserve.ttl_max_ms", "43200001"),
    ("reserve.late_window_ms", "43200001"),
    ("reserve.replay_window_ms", "86399999"),
    ("reserve.replay_window_ms", "86400000"),
    ("log.filter", "'OFF'"),
    ("log.filter", "'info,'"),
    ("log.filter", "'tollgate'"),
    ("log.filter", "'warn,tollgate::hot=trace'"),
    ("log.filter", "'warn, tollgate=trace'"),
    ("log.filter", "'tollgate[call{id=1}]=info,2'"),
    ("log.filter", "'=info'"),
    ("log.filter", "'a=b=c'"),
    ("log.filter", "'info,tollgate=loud'"),
    ("telemetry.resource_attributes", "''"),
    ("telemetry.resource_attributes", "'a=, b.c=d=e,'"),
    ("telemetry.resource_attributes", "'a=b,c'"),
    ("telemetry.resource_attributes", "'=b'"),
];

#[test]
fn the_chart_refuses_what_the_program_refuses() {
    let values: Vec<String> = AT_THE_EDGE
        .iter()
        .map(|(key, value)| {
            let (section, key) = key.split_once('.').unwrap();
            format!(
                "embedded: {{enabled: true}}\ntls: {{insecure: true}}\n\
                 config: {{{section}: {{{key}: {value}}}}}"
            )
        })
        .collect();
    let mut wrong = Vec::new();
    let rendered = render(What::Tollgate, &values);
    for ((key, value), rendered) in AT_THE_EDGE.iter().zip(rendered) {
        let flags = Flags {
            set: vec![format!("{key}={}", value.trim_matches('\''))],
            ..Flags::default()
        };
        let taken = Config::load(&flags, std::iter::empty());
        if taken.is_ok() != rendered.is_ok() {
            let (program, chart) = (taken.err(), rendered.err());
            wrong.push(format!("{key}={value}: {program:?} and {chart:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
