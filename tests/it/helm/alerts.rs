//! Alerts, their tests, the runbook and the dashboard: promtool runs every alert firing and quiet,
//! and none of the four knows something that the others, or the program, do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;
use tollgate::telemetry::names::{ALL, Kind};

use super::render::{file, path, read_yaml};
use crate::process::binary;

pub const RULES: &str = "helm/tollgate/alerts/tollgate.yaml";
const DASHBOARD: &str = "helm/tollgate/dashboards/tollgate.json";
const RUNBOOK: &str = "helm/tollgate/runbook.md";
const TESTS: [&str; 2] = ["alerts.test.yaml", "alerts_days.test.yaml"];
/// Labels that scraping adds.
const SCRAPED: [&str; 5] = ["namespace", "pod", "instance", "job", "le"];
/// Metrics that no alert and no panel needs; whoever looks into one process finds them there.
const UNSHOWN: [&str; 3] = [
    "tollgate_connections_accepted_total",
    "tollgate_accept_errors_total",
    "tollgate_spans_exported_total",
];

/// Every alert with its rule.
pub fn alerts() -> BTreeMap<String, Value> {
    let rules = read_yaml(RULES);
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let alerts = rules.filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())));
    let alerts: BTreeMap<String, Value> = alerts.collect();
    assert!(alerts.len() > 20, "hardly any alerts");
    alerts
}

/// Every expression of the rules, recording rules too.
pub fn rule_expressions() -> Vec<String> {
    let rules = read_yaml(RULES);
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .map(|rule| rule["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// Each panel's title with its expressions.
pub fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&file(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    panels
        .map(|panel| {
            let targets = panel["targets"].as_array().unwrap().iter();
            let expressions = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
            (
                panel["title"].as_str().unwrap().to_owned(),
                expressions.collect(),
            )
        })
        .collect()
}

/// The sections of the runbook that are about an alert.
pub fn sections() -> BTreeMap<String, String> {
    let text = file(RUNBOOK);
    let mut sections = BTreeMap::new();
    for part in text.split("\n### ").skip(1) {
        let (name, body) = part.split_once('\n').unwrap();
        let body = body.split("\n## ").next().unwrap();
        let twice = sections.insert(name.to_owned(), body.to_owned());
        assert!(twice.is_none(), "{name} has two sections");
    }
    sections
}

/// The words of an expression, texts between quotes left out.
fn words(expression: &str) -> BTreeSet<String> {
    let open: String = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let words = open.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.map(str::to_owned).collect()
}

/// The metrics that an expression asks for, by the names of the table; what looks like one of the
/// program's and is none stops the test.
fn metrics(expression: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for word in words(expression) {
        let known = ALL.iter().find(|spec| match spec.kind {
            Kind::Histogram => ["_bucket", "_count", "_sum"]
                .iter()
                .any(|part| word.strip_suffix(part) == Some(spec.name)),
            Kind::Counter | Kind::Gauge => word == spec.name,
        });
        let ours = ["tollgate_", "process_", "rpc_server_"];
        match known {
            Some(spec) => _ = found.insert(spec.name),
            None if ours.iter().any(|start| word.starts_with(start)) => {
                panic!("{expression}: there is no metric {word}")
            }
            None => {}
        }
    }
    found
}

/// The labels that an expression selects or groups by.
fn labels(expression: &str) -> BTreeSet<String> {
    let open: Vec<&str> = expression.split('"').step_by(2).collect();
    let selected = open.iter().filter_map(|part| {
        let before = part.trim_end_matches(['=', '~', '!']);
        (before.len() < part.len()).then(|| before.rsplit([',', '{', ' ']).next().unwrap())
    });
    let mut labels: BTreeSet<String> = selected.map(str::to_owned).collect();
    for keyword in ["by (", "on (", "ignoring ("] {
        for after in open.join(" ").split(keyword).skip(1) {
            let list = after.split(')').next().unwrap();
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

fn all_expressions() -> Vec<String> {
    let panels = panels()
        .into_iter()
        .flat_map(|(_, expressions)| expressions);
    rule_expressions().into_iter().chain(panels).collect()
}

#[test]
fn promtool_runs_every_alert_firing_and_quiet() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(path(RULES), folder.path().join("tollgate.yaml")).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.current_dir(folder.path()).args(["test", "rules"]);
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for name in TESTS {
        fs::copy(
            path(&format!("tests/it/helm/{name}")),
            folder.path().join(name),
        )
        .unwrap();
        promtool.arg(name);
        let tests = read_yaml(&format!("tests/it/helm/{name}"));
        for test in tests["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().unwrap() {
                let alert = case["alertname"].as_str().unwrap().to_owned();
                match case["exp_alerts"].as_array().unwrap().is_empty() {
                    true => quiet.insert(alert),
                    false => fires.insert(alert),
                };
            }
        }
    }
    let known: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(fires, known, "each alert is seen firing");
    assert_eq!(quiet, known, "each alert is seen quiet");
    let mut check = Command::new("promtool");
    check
        .current_dir(folder.path())
        .args(["check", "rules", "tollgate.yaml"]);
    for mut command in [check, promtool] {
        let output = command.output().expect("tests/run installs promtool");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}{failed}");
    }
}

#[test]
fn each_alert_has_its_section_of_the_runbook_and_each_section_its_alert() {
    let sections = sections();
    let known: BTreeSet<String> = alerts().into_keys().collect();
    let written: BTreeSet<String> = sections.keys().cloned().collect();
    assert_eq!(written, known);
    for (name, rule) in alerts() {
        let link = format!("runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], link, "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity}"
        );
        for part in ["**Means.**", "**Look.**", "**Do.**"] {
            assert!(sections[&name].contains(part), "{name} lacks {part}");
        }
    }
    for (name, body) in &sections {
        for word in body.split(|c: char| !c.is_ascii_alphanumeric()) {
            let is_alert = word.starts_with("Tollgate") && word.len() > "Tollgate".len();
            assert!(!is_alert || known.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn the_runbook_sends_to_panels_that_show_what_the_alert_is_about() {
    let panels = panels();
    let titles: BTreeSet<&str> = panels.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles.len(), panels.len(), "two panels of one title");
    let alerts = alerts();
    for (name, body) in sections() {
        let body = body.replace("**", "");
        let named: BTreeSet<&str> = body.split('*').skip(1).step_by(2).collect();
        let unknown: Vec<_> = named.difference(&titles).collect();
        assert!(unknown.is_empty(), "{name}: no such panel: {unknown:?}");
        let shown = panels
            .iter()
            .filter(|(title, _)| named.contains(title.as_str()));
        let shown = shown.flat_map(|(_, expressions)| expressions);
        let shown: BTreeSet<_> = shown.flat_map(|expression| metrics(expression)).collect();
        let recorded = alerts[&name]["expr"].as_str().unwrap();
        let asked = metrics(recorded);
        // An objective's alert asks for what was recorded: its panels show the calls.
        let about = asked.is_empty() || asked.intersection(&shown).next().is_some();
        assert!(
            about && !named.is_empty(),
            "{name}: no panel shows any of {asked:?}"
        );
    }
}

#[test]
fn expressions_ask_for_metrics_and_labels_that_there_are() {
    let mut asked = BTreeSet::new();
    for expression in all_expressions() {
        let found = metrics(&expression);
        let specs = ALL.iter().filter(|spec| found.contains(spec.name));
        let known: BTreeSet<&str> = specs.flat_map(|spec| spec.labels).copied().collect();
        for label in labels(&expression) {
            let is_known = known.contains(label.as_str()) || SCRAPED.contains(&label.as_str());
            assert!(is_known, "{expression}: {label} is no label of {found:?}");
        }
        asked.extend(found);
    }
    let forgotten: Vec<&str> = ALL
        .iter()
        .map(|spec| spec.name)
        .filter(|name| !asked.contains(name) && !UNSHOWN.contains(name))
        .collect();
    assert!(
        forgotten.is_empty(),
        "neither shown nor watched: {forgotten:?}"
    );
}

/// Commands that are wrong would be found out at the worst time.
#[test]
fn the_commands_of_the_texts_are_understood() {
    let mut tried = 0;
    for name in [RUNBOOK, "helm/tollgate/README.md"] {
        for line in file(name).lines() {
            let line = line.trim();
            let Some(command) = line.strip_prefix("tollgate ") else {
                continue;
            };
            if command.starts_with("serve") || command.contains('…') {
                continue;
            }
            // The pod's shell puts the URL there.
            let command = command.replace("\"$TOLLGATE_HOT\"", "redis://127.0.0.1:1");
            let args: Vec<&str> = command
                .split(" #")
                .next()
                .unwrap()
                .split_whitespace()
                .collect();
            let folder = tempfile::tempdir().unwrap();
            let catalog = folder.path().join("catalog.yaml");
            fs::copy(path("src/catalogs/default.yaml"), catalog).unwrap();
            let output = binary()
                .args(&args)
                .current_dir(folder.path())
                .env("TOLLGATE_ENDPOINT", "127.0.0.1:1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_ne!(output.status.code(), Some(64), "{name}: {line}: {said}");
            tried += 1;
        }
    }
    assert!(tried > 5, "hardly any command was found");
}
