//! What must hold of the manifests, whatever the values.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::render::{NAMESPACE, What, containers, file, path, render, render_one};

/// Every file of values, by its name.
fn all_values() -> Vec<(String, String)> {
    let folder = path("tests/it/helm/values");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let text = file(&format!("tests/it/helm/values/{name}"));
            (name, text)
        })
        .collect();
    found.sort();
    assert!(found.len() >= 6, "hardly any values: {found:?}");
    found
}

/// The file of values that has this name.
pub fn values(name: &str) -> String {
    file(&format!("tests/it/helm/values/{name}.yaml"))
}

#[test]
fn every_file_of_values_makes_manifests_that_kubernetes_takes() {
    let all = all_values();
    let texts: Vec<String> = all.iter().map(|(_, text)| text.clone()).collect();
    for ((name, _), rendered) in all.iter().zip(render(What::Tollgate, &texts)) {
        let rendered = rendered.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            rendered.problems.is_empty(),
            "{name}: {:#?}",
            rendered.problems
        );
        let names = rendered.names();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "{name}: {names:?}");
        assert!(!rendered.pods().is_empty(), "{name}");
        for pod in rendered.pods() {
            has_no_rights(name, pod);
            mounts_what_there_is(name, pod);
        }
        says_what_to_run_next(name, &rendered.notes);
    }
}

/// Where alerts are off the notes say how to have them, sidecars and all, where there are any.
#[test]
fn the_notes_name_the_namespaces_of_the_gateways() {
    let monitored = "podMonitor: {enabled: true}\nprometheusRule: {enabled: true}\n";
    let elsewhere =
        "podMonitor: {enabled: true, namespaces: [gateways]}\nprometheusRule: {enabled: true}\n";
    let all = [
        (values("minimal"), true),
        (values("minimal") + monitored, true),
        (values("minimal") + elsewhere, false),
        (values("embedded"), false),
    ];
    for (values, says_so) in all {
        let notes = render_one(What::Tollgate, &values).notes;
        assert_eq!(notes.contains("podMonitor.namespaces"), says_so, "{notes}");
    }
}

fn has_no_rights(name: &str, pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
    let profile = &pod["securityContext"]["seccompProfile"]["type"];
    assert_eq!(profile, "RuntimeDefault", "{name}");
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[key].is_null(), "{name}: {key}");
    }
    for container in containers(pod) {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            assert!(volume["hostPath"].is_null(), "{name}: {volume}");
        }
    }
}

/// A mount without its volume is refused by the API server only, which is too late; a mount of a
/// single file never sees a ConfigMap's change.
fn mounts_what_there_is(name: &str, pod: &Value) {
    let texts = |list: &Value| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let volumes = texts(&pod["volumes"]);
    let mut mounted = BTreeSet::new();
    for container in containers(pod) {
        mounted.extend(texts(&container["volumeMounts"]));
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            assert!(mount["subPath"].is_null(), "{name}: {mount}");
        }
    }
    assert_eq!(volumes, mounted, "{name}");
}

fn says_what_to_run_next(name: &str, notes: &str) {
    for words in [
        "rollout status",
        "account create",
        "tollgate reconcile",
        NAMESPACE,
    ] {
        assert!(notes.contains(words), "{name} lacks {words}: {notes}");
    }
}

#[test]
fn the_release_of_the_least_values_is_this() {
    let rendered = render_one(What::Tollgate, &values("minimal"));
    assert_eq!(
        rendered.names(),
        [
            "ConfigMap tollgate",
            "Deployment tollgate",
            "Job tollgate-migrate",
            "NetworkPolicy tollgate",
            "NetworkPolicy tollgate-migrate",
            "PodDisruptionBudget tollgate",
            "Service tollgate",
            "ServiceAccount tollgate",
        ]
    );
    let deployment = rendered.one("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let rolls = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*rolls, json!({"maxUnavailable": 0, "maxSurge": 1}));
    let apart = &rendered.pods()[0]["affinity"]["podAntiAffinity"];
    let preferred = &apart["preferredDuringSchedulingIgnoredDuringExecution"][0];
    let node = &preferred["podAffinityTerm"]["topologyKey"];
    assert_eq!(node, "kubernetes.io/hostname");
    let disruption = &rendered.one("PodDisruptionBudget")["spec"];
    assert_eq!(disruption["maxUnavailable"], 1);
    let job = rendered.one("Job");
    let hooks = &job["metadata"]["annotations"]["helm.sh/hook"];
    assert_eq!(hooks, "pre-install,pre-upgrade");
    selects_its_own_pods(&rendered);
}

#[test]
fn the_network_policy_lets_in_and_out_what_is_named_and_nothing_else() {
    let policy = |name: &str, values: &str| {
        let rendered = render_one(What::Tollgate, values);
        rendered.named("NetworkPolicy", name)["spec"].clone()
    };
    let least = policy("tollgate", &values("minimal"));
    assert_eq!(least["policyTypes"], json!(["Ingress", "Egress"]));
    let administration = &least["ingress"][0];
    assert_eq!(administration["ports"], json!([{"port": "grpc"}]));
    // Of the release's namespace.
    assert_eq!(administration["from"], json!([{"podSelector": {}}]));
    assert_eq!(egress_ports(&least), BTreeSet::from([53, 5432, 6379]));
    let asked = policy("credits", &values("everything"));
    let support = json!([{"namespaceSelector": {"matchLabels": {"team": "support"}}}]);
    assert_eq!(asked["ingress"][0]["from"], support);
    assert_eq!(
        egress_ports(&asked),
        BTreeSet::from([53, 4317, 5432, 6379, 6380])
    );
    assert!(asked["egress"][2]["to"].is_array(), "{asked}");
    // One that needs no store reaches none.
    assert_eq!(
        egress_ports(&policy("tollgate", &values("embedded"))),
        BTreeSet::from([53])
    );
    // The migration reaches the ledger, as far as the pods do, and nobody reaches it.
    let migration = policy("credits-migrate", &values("everything"));
    assert_eq!(migration["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(migration["ingress"].is_null(), "{migration}");
    assert_eq!(egress_ports(&migration), BTreeSet::from([53, 4317, 5432]));
    assert_eq!(migration["egress"][1], asked["egress"][2]);
}

/// The ports that the specification of a NetworkPolicy lets out to.
pub fn egress_ports(policy: &Value) -> BTreeSet<u64> {
    let rules = policy["egress"].as_array().unwrap().iter();
    let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap());
    ports.map(|port| port["port"].as_u64().unwrap()).collect()
}

/// What selects pods selects those of the control plane, and no others.
fn selects_its_own_pods(rendered: &super::render::Rendered) {
    let labels_of = |kind: &str| {
        let template = &rendered.one(kind)["spec"]["template"]["metadata"]["labels"];
        template.as_object().unwrap().clone()
    };
    let (own, other) = (labels_of("Deployment"), labels_of("Job"));
    for (kind, pointer) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
    ] {
        let selector = rendered.named(kind, "tollgate").pointer(pointer).unwrap();
        let selector = selector.as_object().unwrap();
        let chosen = |labels: &serde_json::Map<String, Value>| {
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        };
        assert!(chosen(&own), "{kind} misses its own pods: {selector:?}");
        assert!(
            !chosen(&other),
            "{kind} takes the migration's pod: {selector:?}"
        );
    }
    let policy = rendered.named("NetworkPolicy", "tollgate-migrate");
    let selector = policy.pointer("/spec/podSelector/matchLabels").unwrap();
    let chosen = |labels: &serde_json::Map<String, Value>| {
        let wanted = selector.as_object().unwrap();
        wanted
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(chosen(&other) && !chosen(&own), "{selector}");
}

#[test]
fn everything_that_can_be_asked_for_is_there() {
    let rendered = render_one(What::Tollgate, &values("everything"));
    assert_eq!(
        rendered.names(),
        [
            "ConfigMap credits",
            "ConfigMap credits-dashboard",
            "Deployment credits",
            "HorizontalPodAutoscaler credits",
            "Job credits-migrate",
            "NetworkPolicy credits",
            "NetworkPolicy credits-migrate",
            "PodDisruptionBudget credits",
            "PodMonitor credits-sidecars",
            "PrometheusRule credits",
            "Service credits",
            "ServiceAccount credits",
            "ServiceMonitor credits",
        ]
    );
    let replicas = &rendered.one("Deployment")["spec"]["replicas"];
    assert!(replicas.is_null(), "the autoscaler's business: {replicas}");
    let scaler = &rendered.one("HorizontalPodAutoscaler")["spec"];
    assert_eq!(scaler["scaleTargetRef"]["name"], "credits");
    assert_eq!(
        (&scaler["minReplicas"], &scaler["maxReplicas"]),
        (&json!(3), &json!(9))
    );
    let apart = &rendered.pods()[0]["affinity"]["podAntiAffinity"];
    let required = &apart["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(required["topologyKey"], "kubernetes.io/hostname");
    // There may be as many nodes as replicas.
    let rolls = &rendered.one("Deployment")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*rolls, json!({"maxUnavailable": 1, "maxSurge": 0}));
    monitors_scrape_ports_that_exist(&rendered);
    let rules = rendered.one("PrometheusRule")["spec"].to_string();
    let alerts = rules.matches("\"alert\"").count();
    let links = rules
        .matches("https://runbooks.example.com/tollgate#")
        .count();
    assert_eq!(
        alerts, links,
        "an alert whose link is not where the values say"
    );
    let text = rendered.all("ConfigMap")[1]["data"]["tollgate.json"]
        .as_str()
        .unwrap();
    let shown: Value = serde_json::from_str(text).unwrap();
    let kept: Value =
        serde_json::from_str(&file("helm/tollgate/dashboards/tollgate.json")).unwrap();
    assert_eq!(shown, kept);
}

fn monitors_scrape_ports_that_exist(rendered: &super::render::Rendered) {
    let service = rendered.one("Service");
    let monitor = rendered.one("ServiceMonitor");
    let endpoint = &monitor["spec"]["endpoints"][0];
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert!(
        ports.iter().any(|port| port["name"] == endpoint["port"]),
        "{endpoint}"
    );
    let labels = &service["metadata"]["labels"];
    let wanted = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    for (key, value) in wanted {
        assert_eq!(labels[key], *value, "the monitor does not find the Service");
    }
    let gateway = render_one(What::Gateway, "tollgate: {redis: {url: 'redis://r'}}");
    let template = &gateway.one("Deployment")["spec"]["template"];
    let monitor = rendered.one("PodMonitor");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let ports = &template["spec"]["initContainers"][0]["ports"];
    let ports = ports.as_array().unwrap();
    assert!(
        ports.iter().any(|port| port["name"] == endpoint["port"]),
        "{endpoint}"
    );
    let wanted = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    assert!(!wanted.is_empty(), "every pod would be scraped");
    for (key, value) in wanted {
        let labels = &template["metadata"]["labels"];
        assert_eq!(labels[key], *value, "the monitor does not find the sidecar");
    }
    let namespaces = &monitor["spec"]["namespaceSelector"]["matchNames"];
    assert_eq!(*namespaces, json!(["gateways", "agents"]));
}

#[test]
fn what_is_left_out_is_not_there() {
    let rendered = render_one(What::Tollgate, &values("plain"));
    let names = [
        "ConfigMap tollgate",
        "Deployment tollgate",
        "Service tollgate",
    ];
    assert_eq!(rendered.names(), names);
    let pod = rendered.pods()[0];
    assert!(pod["affinity"].is_null());
    assert!(pod["topologySpreadConstraints"].is_null());
    assert_eq!(pod["serviceAccountName"], "default");
    let config = rendered.one("ConfigMap")["data"]["tollgate.toml"]
        .as_str()
        .unwrap();
    assert!(config.contains("migrate = \"auto\""), "{config}");
}

#[test]
fn secrets_are_taken_from_where_they_are() {
    let rendered = render_one(What::Tollgate, &values("secrets"));
    let text = Value::Array(rendered.manifests.clone()).to_string();
    for key in ["redis-url", "postgres-password"] {
        assert!(
            text.contains(&format!("{{\"key\":\"{key}\",\"name\":\"stores\"}}")),
            "{key}"
        );
    }
    let image = &containers(rendered.pods()[0])[0]["image"];
    let digest = "0".repeat(64);
    assert_eq!(
        image,
        &format!("registry.internal:5000/tollgate@sha256:{digest}")
    );
    let config = rendered.one("ConfigMap")["data"]["tollgate.toml"]
        .as_str()
        .unwrap();
    for line in [
        "tls_ca = \"/etc/tollgate/redis-ca/ca.crt\"",
        "otlp_headers_file = \"/etc/tollgate/otlp-headers/headers\"",
        "trace_ratio = 0.001",
        "account_ids = true",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn embedded_is_one_pod_that_keeps_its_ledger() {
    let rendered = render_one(What::Tollgate, &values("embedded"));
    let deployment = rendered.one("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    assert!(rendered.all("PodDisruptionBudget").is_empty());
    assert!(rendered.all("Job").is_empty());
    let claim = rendered.one("PersistentVolumeClaim");
    let kept = &claim["metadata"]["annotations"]["helm.sh/resource-policy"];
    assert_eq!(kept, "keep");
    let volumes = rendered.pods()[0]["volumes"].as_array().unwrap();
    let data = volumes
        .iter()
        .find(|volume| volume["name"] == "data")
        .unwrap();
    let named = &data["persistentVolumeClaim"]["claimName"];
    assert_eq!(named, &claim["metadata"]["name"]);

    // It has more to remember than a control plane has.
    let memory = |kind: &str| {
        let rendered = render_one(What::Tollgate, &values(kind));
        rendered.pods()[0]["containers"][0]["resources"]["limits"]["memory"].clone()
    };
    assert_eq!(memory("embedded"), "2Gi");
    assert_eq!(memory("minimal"), "512Mi");

    let thrown = render_one(What::Tollgate, &values("embedded-throwaway"));
    assert!(thrown.all("PersistentVolumeClaim").is_empty());
}

#[test]
fn a_change_of_the_configuration_restarts_and_one_of_the_catalogue_does_not() {
    let base = values("minimal");
    let variants = [
        base.clone(),
        format!("{base}config: {{reserve: {{default_ttl_ms: 60000}}}}\n"),
        format!("{base}catalog: {{yaml: 'version: one'}}\n"),
        format!("{base}catalog: {{yaml: 'version: two'}}\n"),
    ];
    let checksums: Vec<String> = render(What::Tollgate, &variants)
        .into_iter()
        .map(|rendered| {
            let rendered = rendered.unwrap();
            let template = &rendered.one("Deployment")["spec"]["template"];
            let sum = &template["metadata"]["annotations"]["checksum/config"];
            sum.as_str().unwrap().to_owned()
        })
        .collect();
    assert_ne!(checksums[0], checksums[1]);
    assert_eq!(checksums[2], checksums[3]);
}
