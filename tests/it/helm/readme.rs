//! The values that the chart's README shows, rendered as they stand there.

use serde_json::Value;

use super::{
    manifests::egress_ports,
    render::{What, file, parse_yaml, problems, render_one},
};

/// A section of the README, without its heading.
fn section(heading: &str) -> String {
    let text = file("helm/tollgate/README.md");
    let (_, from) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let end = from.find("\n## ").unwrap_or(from.len());
    from[..end].to_owned()
}

/// The first block of a language that has these words.
fn block<'a>(text: &'a str, language: &str, words: &str) -> &'a str {
    let start = format!("```{language}\n");
    let blocks = text.split(&start).skip(1);
    let mut blocks = blocks.map(|from| from.split_once("```").unwrap().0);
    let found = blocks.find(|block| block.contains(words));
    found.unwrap_or_else(|| panic!("no block has {words}"))
}

/// The ports that the stores' URLs name, or mean.
fn ports_of_urls(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| c.is_whitespace() || "'\"".contains(c));
    let urls = words.filter_map(|word| word.split_once("://"));
    urls.filter_map(|(scheme, rest)| {
        let usual = match scheme.rsplit('=').next().unwrap() {
            "redis" | "rediss" => 6379,
            "postgres" => 5432,
            _ => return None,
        };
        let place = rest.split(['/', '?']).next().unwrap();
        let port = place.rsplit('@').next().unwrap().rsplit_once(':');
        Some(port.map_or(usual, |(_, port)| port.parse().unwrap()))
    })
    .collect()
}

#[test]
fn the_example_lets_the_control_plane_reach_its_stores() {
    let install = section("Install");
    let secret = block(&install, "sh", "secret generic tollgate-stores");
    let values = block(&install, "yaml", "postgres:");
    let rendered = render_one(What::Tollgate, values);
    let allowed = egress_ports(&rendered.named("NetworkPolicy", "tollgate")["spec"]);
    let wanted = ports_of_urls(&format!("{secret}\n{values}"));
    assert_eq!(wanted.len(), 2, "Redis and Postgres: {wanted:?}");
    for port in wanted {
        assert!(
            allowed.contains(&port),
            "{port} is not let out: {allowed:?}"
        );
    }
    let text = Value::Array(rendered.manifests).to_string();
    for key in ["redis-url", "postgres-password"] {
        assert!(secret.contains(&format!("--from-literal={key}=")), "{key}");
        assert!(text.contains(&reference("tollgate-stores", key)), "{key}");
    }
    let links = text.matches("https://wiki.example.com/tollgate/runbook#");
    assert!(links.count() > 10, "the alerts do not link to the runbook");
}

#[test]
fn the_example_gateway_uses_the_secret_of_its_own_namespace() {
    let install = section("Install");
    let secret = block(&install, "sh", "secret generic tollgate-redis");
    assert!(secret.contains("-n gateways ") && secret.contains("--from-literal=url="));
    let rendered = render_one(What::Gateway, block(&install, "yaml", "tollgate:\n"));
    let sidecar = &rendered.pods()[0]["initContainers"][0];
    let wanted = reference("tollgate-redis", "url");
    assert!(sidecar.to_string().contains(&wanted), "{sidecar}");
}

/// The helper pod has the claim of the one pod, may read and write there what that wrote, and has
/// nothing to load but the image that is there already.
#[test]
fn the_pod_that_copies_the_ledger_has_the_claim_and_the_user_of_the_one_that_writes_it() {
    let section = section("Back up and restore");
    let copies = parse_yaml(block(&section, "yaml", "tollgate-copy"));
    assert_eq!(problems(&copies), Vec::<String>::new());
    let values = "embedded: {enabled: true}\ntls: {insecure: true}";
    let rendered = render_one(What::Tollgate, values);
    let (pod, copy) = (rendered.pods()[0], &copies["spec"]);
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(pod["securityContext"][key], copy["securityContext"][key]);
    }
    let [image, other] = [pod, copy].map(|pod| &pod["containers"][0]["image"]);
    assert_eq!(image, other);
    let volumes = pod["volumes"].as_array().unwrap();
    let data = volumes.iter().find(|one| one["name"] == "data").unwrap();
    assert_eq!(*data, copy["volumes"][0]);
    assert_eq!(
        copy["containers"][0]["volumeMounts"][0]["mountPath"],
        "/data"
    );
}

/// How a manifest names a key of a Secret.
fn reference(secret: &str, key: &str) -> String {
    format!("{{\"key\":\"{key}\",\"name\":\"{secret}\"}}")
}
