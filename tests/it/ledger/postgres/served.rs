//! The real binary on a Postgres ledger: migrated, served, killed, restarted, reconciled.

use crate::{
    process::{Sidecar, run},
    support::postgres::shared,
};

fn told(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_keeps_its_ledger_in_postgres() {
    let database = shared().empty().await;
    let url = database.url().replace("tollgate@", "tollgate:hunter2@");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("none");
    let named = ["--ledger", &url];

    // Nothing is migrated by itself where that is not wanted.
    let never = ["--set", "postgres.migrate=never"];
    let output = run(&[&["serve"], &named[..], &never].concat());
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    assert!(told(&output).contains("`tollgate migrate`"), "{output:?}");
    let output = run(&[&["migrate"], &named[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(told(&output).contains("from version 0 to 6"), "{output:?}");
    assert!(!told(&output).contains("hunter2"), "{output:?}");
    let output = run(&[&["migrate", "--json"], &named[..]].concat());
    assert!(told(&output).contains("\"from\": 6"), "{output:?}");

    let mut sidecar = Sidecar::start(&data, &[&named[..], &never].concat());
    for verb in [
        &["account", "create", "acme", "--plan", "starter"][..],
        &[
            "reserve",
            "acme",
            "--mode",
            "agent",
            "--credits",
            "60",
            "--id",
            "r1",
        ],
        &["commit", "acme", "r1", "--credits", "45"],
    ] {
        let output = run(&[verb, &["--endpoint", &sidecar.grpc]].concat());
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {output:?}");
    }
    // The balances are in that process's memory: no other one may have them too.
    let other = run(&[
        &[
            "serve",
            "--grpc-listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
        ],
        &named[..],
    ]
    .concat());
    assert_eq!(other.status.code(), Some(73), "{other:?}");
    assert!(told(&other).contains("in use by another"), "{other:?}");
    assert!(!told(&other).contains("hunter2"), "{other:?}");
    sidecar.kill();

    let mut sidecar = Sidecar::start(&data, &named);
    let output = run(&["balance", "acme", "--json", "--endpoint", &sidecar.grpc]);
    assert!(told(&output).contains("\"available\": 455"), "{output:?}");
    let output = run(&[&["reconcile", "--endpoint", &sidecar.grpc], &named[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(told(&output).contains("everything adds up"), "{output:?}");
    let (status, _) = sidecar.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(!data.exists(), "Postgres needs no data folder");
}

#[test]
fn a_server_that_is_away_is_69_and_a_wrong_url_64() {
    let start = |url: &str| run(&["serve", "--ledger", url]);
    let output = start("postgres://tollgate:hunter2@127.0.0.1:1/books");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(told(&output).contains("127.0.0.1:1/books"), "{output:?}");
    let wrong = start("postgres://tollgate:hunter2@127.0.0.1:1/books?sslmod=x");
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    for output in [output, wrong] {
        assert!(!told(&output).contains("hunter2"), "{output:?}");
    }
}
