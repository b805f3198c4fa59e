//! The commands as a script sees them: exit codes, standard output, standard error, of the real
//! binary. What needs no server is here, what calls one is below `cli/`.

mod admin;
mod greeting;
mod quota;
mod reconcile;
mod session;

use std::{collections::BTreeSet, path::Path, process::Output};

use serde_json::Value;

use crate::process::run;

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn builtin() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("src/catalogs/default.yaml").display().to_string()
}

#[test]
fn a_server_that_is_not_there_is_69_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unix:{}", folder.path().join("none.sock").display());
    let verbs: [&[&str]; 19] = [
        &["quote", "--mode", "discuss"],
        &["reserve", "acme", "--mode", "discuss", "--credits", "5"],
        &["extend", "acme", "r1", "--add", "5"],
        &["commit", "acme", "r1", "--credits", "5"],
        &["release", "acme", "r1"],
        &["charge", "acme", "--mode", "discuss", "--credits", "5"],
        &["balance", "acme"],
        &["account", "create", "acme", "--plan", "free"],
        &["account", "show", "acme"],
        &["account", "list"],
        &["account", "close", "acme", "--yes"],
        &["grant", "acme", "--pack", "small"],
        &["void", "acme", "g1", "--reason", "mistake"],
        &[
            "refund", "acme", "r1", "--reason", "broken", "--actor", "ann",
        ],
        &["ledger", "acme"],
        &["conversation", "conv-1"],
        &["audit"],
        &["catalog"],
        &["reservation", "acme", "r1"],
    ];
    for verb in verbs {
        let output = run(&[verb, &["--endpoint", &endpoint]].concat());
        assert_eq!(output.status.code(), Some(69), "{verb:?}: {output:?}");
        assert_eq!(stdout(&output), "", "{verb:?}");
        let hint = format!("is `tollgate serve` running at {endpoint}?");
        assert!(stderr(&output).contains(&hint), "{verb:?}: {output:?}");
    }
    let output = run(&["balance", "acme", "--json", "--endpoint", &endpoint]);
    let error = json(stderr(&output));
    assert_eq!(error["error"]["code"], 69);
    assert_eq!(error["error"]["reason"], "unavailable");
}

#[test]
fn a_wrong_command_line_is_64_before_a_server_is_called() {
    let verbs: [&[&str]; 8] = [
        &["quote"],
        &["reserve", "acme", "--mode", "discuss"],
        &["commit", "acme", "r1"],
        &["commit", "acme", "r1", "--credits", "5", "--next-hold", "5"],
        &["account", "close", "acme"],
        &["ledger"],
        &["balance", "acme", "--endpoint", "localhost"],
        &["balance", "acme", "--timeout", "5"],
    ];
    for verb in verbs {
        let output = run(verb);
        assert_eq!(output.status.code(), Some(64), "{verb:?}: {output:?}");
        assert_ne!(stderr(&output), "", "{verb:?}");
    }
}

#[test]
fn check_says_whether_a_catalogue_can_be_put_in_use() {
    let output = run(&["check", &builtin()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("can be put in use: version default-1"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml").display().to_string();
    let wrong = std::fs::read_to_string(builtin()).unwrap();
    let wrong = wrong.replacen("multiplier: 1.25", "multiplier: -1", 1);
    std::fs::write(&file, wrong).unwrap();
    let output = run(&["check", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).trim_end().ends_with('^'), "{output:?}");

    let output = run(&["check", &file, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let document = json(stdout(&output));
    assert_eq!(document["ok"], false);
    assert!(
        document["problems"][0]["line"].as_u64().unwrap() > 1,
        "{document}"
    );
}

/// What the README starts, with the configuration that it gives: nobody copies a line that is
/// refused.
#[test]
fn the_servers_of_the_readme_may_be_started() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let readme = readme.replace("\\\n", " ");
    let spans = readme.split('`').skip(1).step_by(2);
    let commands: BTreeSet<&str> = readme
        .lines()
        .chain(spans)
        .filter(|code| code.starts_with("tollgate serve --") && !code.contains('\n'))
        .filter(|code| !code.contains("--print-config"))
        .collect();
    for command in &commands {
        let code = command.split(" #").next().unwrap();
        let args = code
            .split_whitespace()
            .skip(1)
            .map(|arg| arg.trim_matches('\''));
        let output = run(&args.chain(["--print-config"]).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
    }
    assert!(commands.len() >= 5, "{commands:?}");
}

#[test]
fn the_configuration_is_printed_for_scripts() {
    let output = run(&["serve", "--set", "shards=8", "--print-config", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let keys = json(stdout(&output));
    assert_eq!(
        keys["shards"],
        serde_json::json!({"value": 8, "source": "--set"})
    );
    assert_eq!(keys["data_dir"]["source"], "default");
}

#[test]
fn a_server_of_another_kind_is_told_from_a_fault_of_tollgates() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = crate::process::Sidecar::start(folder.path(), &[]);
    let output = run(&["balance", "acme", "--endpoint", &sidecar.http]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(
        stderr(&output).contains("a gRPC port of Tollgate"),
        "{output:?}"
    );
}

#[test]
fn migrate_makes_a_ledger_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data").display().to_string();
    for _ in 0..2 {
        let output = run(&["migrate", "--data-dir", &data]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let output = run(&["reconcile", "--data-dir", &data]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
