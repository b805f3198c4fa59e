//! What values.schema.json and the templates refuse, each with words that name it.

use super::render::{What, file, render};

/// Values that are wrong, and what the refusal must name.
const REFUSED: &[(&str, &str)] = &[
    (
        "tls: {insecure: true}\npostgres: {url: 'postgres://db/t'}",
        "redis: set url",
    ),
    (
        "tls: {insecure: true}\nredis: {url: 'redis://r'}",
        "postgres: set url",
    ),
    ("nope: 1", "'nope' not allowed"),
    ("image: {repositori: x}", "'repositori' not allowed"),
    ("image: {tag: 1}", "/image/tag"),
    ("image: {digest: latest}", "/image/digest"),
    ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
    ("image: {pullSecrets: pull}", "/image/pullSecrets"),
    ("redis: {url: 'http://r'}", "/redis/url"),
    ("redis: {url: 'redis://:hunter2@r'}", "/redis/url"),
    (
        "tls: {insecure: true}\npostgres: {url: 'postgres://db/t'}\nredis: {url: 'redis://r', existingSecret: {name: x}}",
        "exclude each other",
    ),
    (
        "redis: {existingSecret: {name: Not_A_Name}}",
        "/redis/existingSecret/name",
    ),
    ("redis: {existingSecret: x}", "/redis/existingSecret"),
    ("redis: {password: hunter2}", "'password' not allowed"),
    (
        "postgres: {url: 'postgres://u:hunter2@db/t'}",
        "/postgres/url",
    ),
    ("postgres: {url: 'mysql://db'}", "/postgres/url"),
    (
        "tls: {insecure: true}\nredis: {url: 'redis://r'}\npostgres: {url: 'postgres://db/t', existingSecret: {name: x}}",
        "exclude each other",
    ),
    ("embedded: {enabled: true}", "tls: set existingSecret.name"),
    (
        "embedded: {enabled: true}\ntls: {insecure: true, existingSecret: {name: x}}",
        "exclude each other",
    ),
    (
        "tls: {clientCertificates: maybe}",
        "/tls/clientCertificates",
    ),
    ("access: {file: x}", "'file' not allowed"),
    ("sidecar: {access: {file: x}}", "'file' not allowed"),
    (
        "config: {grpc: {insecure_listen: []}}",
        "'insecure_listen' not allowed",
    ),
    ("embedded: {enabled: 'yes'}", "/embedded/enabled"),
    (
        "embedded: {persistence: {size: big}}",
        "/embedded/persistence/size",
    ),
    ("catalog: {yaml: {version: 1}}", "/catalog/yaml"),
    ("catalog: catalog.yaml", "/catalog"),
    ("config: {hot: 'memory:'}", "'hot' not allowed"),
    ("config: {ledger: 'sqlite://x'}", "'ledger' not allowed"),
    ("config: {roles: [gateway]}", "'roles' not allowed"),
    ("config: {data_dir: /x}", "'data_dir' not allowed"),
    (
        "config: {grpc: {listen: '0.0.0.0:1'}}",
        "'listen' not allowed",
    ),
    (
        "config: {postgres: {migrate: auto}}",
        "'migrate' not allowed",
    ),
    ("config: {shards: 0}", "/config/shards"),
    ("config: {shards: many}", "/config/shards"),
    ("config: {shards: 1.5}", "/config/shards"),
    ("config: {settle: {ack: never}}", "/config/settle/ack"),
    (
        "config: {reserve: {default_ttl: 5}}",
        "'default_ttl' not allowed",
    ),
    ("config: {log: {format: xml}}", "/config/log/format"),
    (
        "config: {log: {filter: 'tollgate=loud'}}",
        "/config/log/filter",
    ),
    (
        "config: {telemetry: {resource_attributes: a}}",
        "/config/telemetry/resource_attributes",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\ncontrolPlane: {config: {reserve: {default_ttl_ms: 50000000}}}",
        "config.reserve.default_ttl_ms: 50000000 must be from ttl_min_ms, 1000, to ttl_max_ms, 43200000",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\ncontrolPlane: {terminationGracePeriodSeconds: 10}",
        "controlPlane.terminationGracePeriodSeconds: 10 must be more than preStopSeconds, 0, and drain_timeout_ms, 10000, together",
    ),
    (
        "tls: {insecure: true}\nredis: {url: 'redis://r'}\npostgres: {url: 'postgres://db/t'}\ncontrolPlane: {terminationGracePeriodSeconds: 15}",
        "controlPlane.terminationGracePeriodSeconds: 15 must be more than preStopSeconds, 5, and drain_timeout_ms, 10000, together",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\nredis: {url: 'redis://r'}",
        "embedded.enabled and redis.url exclude each other",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\nredis: {caSecret: {name: x}}",
        "embedded.enabled and redis.caSecret.name exclude each other",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\npostgres: {existingSecret: {name: x}}",
        "embedded.enabled and postgres.existingSecret.name exclude each other",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\npostgres: {passwordSecret: {name: x}}",
        "embedded.enabled and postgres.passwordSecret.name exclude each other",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\ncontrolPlane: {autoscaling: {enabled: true}}",
        "embedded.enabled and controlPlane.autoscaling.enabled exclude each other",
    ),
    (
        "embedded: {enabled: true}\ntls: {insecure: true}\ncontrolPlane: {resources: {limits: {memory: 1Gi}}}",
        "embedded.enabled and controlPlane.resources exclude each other",
    ),
    (
        "controlPlane: {enabled: false}\nimage: {pullSecrets: [pull]}",
        "controlPlane.enabled=false and image.pullSecrets exclude each other",
    ),
    (
        "tls: {insecure: true}\nredis: {url: 'redis://r'}\npostgres: {url: 'postgres://db/t'}\ncontrolPlane: {autoscaling: {enabled: true, minReplicas: 7}}",
        "controlPlane.autoscaling.minReplicas: 7 must be at most maxReplicas, 6",
    ),
    ("controlPlane: {replicas: 0}", "/controlPlane/replicas"),
    (
        "controlPlane: {startupSeconds: 0}",
        "/controlPlane/startupSeconds",
    ),
    (
        "controlPlane: {preStopSeconds: -1}",
        "/controlPlane/preStopSeconds",
    ),
    (
        "embedded: {resources: {limits: {memory: lots}}}",
        "/embedded/resources/limits/memory",
    ),
    (
        "migration: {podLabels: {team: 1}}",
        "/migration/podLabels/team",
    ),
    ("controlPlane: {replicas: '2'}", "/controlPlane/replicas"),
    ("controlPlane: {config: {hot: x}}", "'hot' not allowed"),
    (
        "controlPlane: {resources: {request: {}}}",
        "'request' not allowed",
    ),
    (
        "controlPlane: {resources: {limits: {memory: lots}}}",
        "/resources/limits/memory",
    ),
    (
        "controlPlane: {podDisruptionBudget: {maxUnavailable: all}}",
        "maxUnavailable",
    ),
    (
        "controlPlane: {autoscaling: {targetCPUUtilizationPercentage: 700}}",
        "targetCPU",
    ),
    (
        "controlPlane: {antiAffinity: strong}",
        "/controlPlane/antiAffinity",
    ),
    ("controlPlane: {extraEnv: [{value: x}]}", "'name'"),
    ("controlPlane: {podLabels: {team: 1}}", "/podLabels/team"),
    ("service: {type: External}", "/service/type"),
    ("service: {grpcPort: 70000}", "/service/grpcPort"),
    ("migration: {backoffLimit: -1}", "/migration/backoffLimit"),
    ("sidecar: {socketDir: run}", "/sidecar/socketDir"),
    ("sidecar: {gatesPod: maybe}", "/sidecar/gatesPod"),
    ("sidecar: {config: {roles: [admin]}}", "'roles' not allowed"),
    ("listenHost: localhost", "/listenHost"),
    (
        "networkPolicy: {adminFrom: [{}]}",
        "/networkPolicy/adminFrom/0",
    ),
    (
        "networkPolicy: {adminFrom: [{pods: {}}]}",
        "'pods' not allowed",
    ),
    (
        "networkPolicy: {redis: {ports: []}}",
        "/networkPolicy/redis/ports",
    ),
    (
        "tls: {insecure: true}\nredis: {url: 'redis+cluster://a:6379,b:6390'}\npostgres: {url: 'postgres://db/t'}",
        "networkPolicy.redis.ports: has 6379, and redis.url the port 6390",
    ),
    (
        "tls: {insecure: true}\nredis: {url: 'redis://r'}\npostgres: {url: 'postgres://t@db:6432/t'}",
        "networkPolicy.postgres.ports: has 5432, and postgres.url the port 6432",
    ),
    (
        "serviceMonitor: {interval: often}",
        "/serviceMonitor/interval",
    ),
    (
        "podMonitor: {namespaces: gateways}",
        "/podMonitor/namespaces",
    ),
    (
        "prometheusRule: {runbookUrl: ''}",
        "/prometheusRule/runbookUrl",
    ),
    ("dashboard: {labels: [x]}", "/dashboard/labels"),
];

#[test]
fn every_wrong_value_is_refused_by_name() {
    let values: Vec<String> = REFUSED
        .iter()
        .map(|(values, _)| (*values).to_owned())
        .collect();
    let mut wrong = Vec::new();
    for ((values, named), rendered) in REFUSED.iter().zip(render(What::Tollgate, &values)) {
        match rendered {
            Ok(_) => wrong.push(format!("{values}: taken")),
            Err(error) if !error.contains(named) => {
                wrong.push(format!("{values}: {error} does not name {named}"));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every object of the schema names what it has, and refuses the rest: else a mistyped name is
/// taken in silence. What Kubernetes defines is left to Kubernetes.
#[test]
fn no_object_of_the_schema_takes_unknown_names() {
    let schema: serde_json::Value =
        serde_json::from_str(&file("helm/tollgate/values.schema.json")).unwrap();
    let mut open = Vec::new();
    find_open(&schema, "", &mut open);
    let allowed = [
        "global",
        "tolerations",
        "extraEgress",
        "claims",
        "valueFrom",
    ];
    let peers = ["podSelector", "namespaceSelector", "ipBlock"];
    let stray: Vec<&String> = open
        .iter()
        .filter(|path| {
            let known = allowed.iter().chain(&peers);
            !known.clone().any(|name| path.contains(&format!("/{name}")))
        })
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
}

fn find_open(schema: &serde_json::Value, path: &str, open: &mut Vec<String>) {
    if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
        open.push(path.to_owned());
    }
    if let Some(members) = schema.as_object() {
        for (name, member) in members {
            find_open(member, &format!("{path}/{name}"), open);
        }
    }
}
