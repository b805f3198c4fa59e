//! The values that the chart's README shows, rendered as they stand there.

use serde_json::Value;

use super::{
    manifests::egress_ports,
    render::{What, file, render_one},
};

/// A section of the README, without its heading.
fn section(heading: &str) -> String {
    let text = file("helm/tollgate/README.md");
    let (_, from) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let end = from.find("\n## ").unwrap_or(from.len());
    from[..end].to_owned()
}

/// The first block of a language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, from) = text.split_once(&format!("```{language}\n")).unwrap();
    from.split_once("```").unwrap().0
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
    let (secret, values) = (block(&install, "sh"), block(&install, "yaml"));
    let rendered = render_one(What::Tollgate, values);
    let allowed = egress_ports(&rendered.one("NetworkPolicy")["spec"]);
    let wanted = ports_of_urls(&format!("{secret}\n{values}"));
    assert_eq!(wanted.len(), 2, "Redis and Postgres: {wanted:?}");
    for port in wanted {
        assert!(
            allowed.contains(&port),
            "{port} is not let out: {allowed:?}"
        );
    }
    uses_the_secret_that_it_makes(secret, &rendered.manifests);
}

fn uses_the_secret_that_it_makes(secret: &str, manifests: &[Value]) {
    let text = Value::Array(manifests.to_vec()).to_string();
    for key in ["redis-url", "postgres-password"] {
        assert!(secret.contains(&format!("--from-literal={key}=")), "{key}");
        let used = format!("{{\"key\":\"{key}\",\"name\":\"tollgate-stores\"}}");
        assert!(text.contains(&used), "{key}");
    }
}
