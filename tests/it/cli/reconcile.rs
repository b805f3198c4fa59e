//! `reconcile` against a server: what its memory has, held against a ledger that somebody has
//! written to behind its back. And which ledger it looks at.

use std::collections::BTreeMap;

use super::{json, session::Session, stderr, stdout};
use crate::{process::run, support::sqlite};

/// One account each, what is done to it, and what is said then.
const TAMPERED: &[(&str, &str, &str)] = &[
    (
        "status",
        "UPDATE accounts SET status = 'suspended' WHERE account_id = 'status'",
        "in memory: status is active, not suspended",
    ),
    (
        "plan",
        "UPDATE accounts SET allowance = 50 WHERE account_id = 'plan'",
        "in memory: plan, cycle or policy is another one",
    ),
    (
        "debt",
        "UPDATE accounts SET debt = 7 WHERE account_id = 'debt'",
        "in memory: debt is 0, not 7",
    ),
    (
        "used",
        "UPDATE grants SET used = 41 WHERE account_id = 'used' AND kind = 'plan'",
        "in memory: grant plan:0: used is 40, not 41",
    ),
    (
        "terms",
        "UPDATE grants SET priority = 1 WHERE account_id = 'terms' AND kind = 'pack'",
        "in memory: grant pack: its terms are others",
    ),
    (
        "lost",
        "DELETE FROM grants WHERE account_id = 'lost' AND kind = 'pack'",
        "in memory: grant pack is not in the ledger",
    ),
    (
        "forged",
        "INSERT INTO grants SELECT account_id, 'forged', kind, 9000, used, expired, priority,
             effective_at, expires_at, voided_at, due_at, source
         FROM grants WHERE account_id = 'forged' AND kind = 'pack'",
        "in memory: grant forged is missing",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_of_a_live_balance_is_named() {
    let session = Session::with(&["--set", "reconcile.repair=never"]);
    for (account, _, _) in TAMPERED {
        session.done(&format!("account create {account} --plan starter"));
        session.done(&format!("grant {account} --pack small --id pack"));
        session.done(&format!(
            "charge {account} --id c1 --mode discuss --credits 40"
        ));
        session.done(&format!(
            "reserve {account} --id open --mode discuss --credits 60"
        ));
    }
    // The plan's grant was made for another plan then, and is answered as the present one's.
    session.done("account plan terms pro");
    let reconcile = format!("reconcile --data-dir {}", session.data_dir().display());
    let sound = session.json(&reconcile, 0);
    assert_eq!(sound["compared"]["accounts"], TAMPERED.len());

    let ledger = session.data_dir().join("ledger.db");
    for (_, sql, _) in TAMPERED {
        sqlite::tamper(&ledger, sql).await;
    }
    let report = session.json(&reconcile, 1);
    let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap() {
        let account = finding["account"].as_str().unwrap_or("-");
        let detail = finding["detail"].as_str().unwrap();
        if detail.starts_with("in memory") {
            said.entry(account).or_default().push(detail);
        }
    }
    let expected: BTreeMap<&str, Vec<&str>> = TAMPERED
        .iter()
        .map(|(account, _, detail)| (*account, vec![*detail]))
        .collect();
    assert_eq!(said, expected);
}

/// With a limit of none, every ledger would add up.
#[test]
fn a_limit_of_none_is_refused() {
    let output = run(&["reconcile", "--limit", "0"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(stderr(&output).contains("1..=65535"), "{output:?}");
}

#[test]
fn the_ledger_that_set_names_is_the_one_that_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    assert!(run(&["migrate", "--data-dir", &data]).status.success());
    let url = format!("sqlite://{data}/ledger.db");
    for named in [format!("data_dir={data}"), format!("ledger={url}")] {
        let output = run(&["reconcile", "--json", "--set", &named]);
        assert_eq!(output.status.code(), Some(0), "{named}: {output:?}");
        assert_eq!(json(stdout(&output))["ledger"], url, "{named}");
    }
    // It is opened before a Redis is called.
    let nowhere = format!("ledger=sqlite://{data}/nowhere.db");
    let hot = ["reconcile", "--hot", "redis://127.0.0.1:1"];
    let output = run(&[&hot[..], &["--data-dir", &data, "--set", &nowhere]].concat());
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert!(stderr(&output).contains("nowhere.db"), "{output:?}");
}

#[test]
fn a_flag_that_would_change_nothing_is_refused() {
    let cases: [(&[&str], &str); 4] = [
        (&["--set", "nope=1"], "nope"),
        (&["--set", "hot=redis://127.0.0.1:1"], "--hot"),
        (&["--token-file", "token"], "--endpoint"),
        (&["--tls-ca", "ca.crt"], "--endpoint"),
    ];
    for (flags, expected) in cases {
        let output = run(&[&["reconcile"], flags].concat());
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{flags:?}: {output:?}");
    }
}
