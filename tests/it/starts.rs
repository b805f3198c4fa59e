//! What the real binary refuses to start with: which code it exits with, what it says, and that it
//! leaves everything as it was.

use std::{path::Path, process::Stdio, time::Duration};

use crate::{
    process::{Sidecar, binary, run},
    support::sqlite,
};

const FREE_PORTS: [&str; 4] = [
    "--grpc-listen",
    "127.0.0.1:0",
    "--http-listen",
    "127.0.0.1:0",
];

/// How often, and after which pause, it is looked whether a start has failed: 30 seconds.
const LOOKS_MAX: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a sidecar that must not start, and answers its exit code and what it said.
fn refused(args: &[&str]) -> (i32, String) {
    let mut starting = binary()
        .arg("serve")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut looks = 0;
    while starting.try_wait().unwrap().is_none() {
        looks += 1;
        if looks > LOOKS_MAX {
            starting.kill().unwrap();
            panic!("it serves: {:?}", starting.wait_with_output());
        }
        std::thread::sleep(PAUSE);
    }
    let output = starting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    (output.status.code().unwrap(), said)
}

#[tokio::test]
async fn what_it_can_not_use_is_said_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let sidecar = Sidecar::start(&folder.path().join("data"), &[]);
    let folders = ["data", "b", "c", "d"].map(path);
    let [data, b, c, d] = &folders;
    let cases: &[(&str, Vec<&str>, i32, &str)] = &[
        (
            "a second process",
            vec!["--data-dir", data],
            73,
            "in use by another",
        ),
        (
            "a file for a folder",
            vec!["--data-dir", "/dev/null/x"],
            73,
            "data_dir",
        ),
        // Not even root makes files there.
        (
            "a folder that is not writable",
            vec!["--data-dir", "/sys/kernel"],
            73,
            "data_dir",
        ),
        (
            "a port in use",
            vec!["--data-dir", b, "--grpc-listen", &sidecar.grpc],
            73,
            "grpc.listen",
        ),
        (
            "an http port in use",
            vec!["--data-dir", c, "--http-listen", &sidecar.http],
            73,
            "http.listen",
        ),
        (
            "no catalogue",
            vec!["--data-dir", d, "--catalog", "/nowhere.yaml"],
            64,
            "/nowhere.yaml",
        ),
        (
            "an unknown key",
            vec!["--set", "grpc.lissen=1"],
            64,
            "grpc.listen",
        ),
        (
            "an unknown store",
            vec!["--hot", "memcached://x"],
            64,
            "memory:",
        ),
    ];
    for (what, args, code, words) in cases {
        // The last of a repeated flag counts, so the case's own flags come last.
        let mut all: Vec<&str> = FREE_PORTS.to_vec();
        for pair in args.chunks(2) {
            if let Some(place) = all.iter().position(|word| *word == pair[0]) {
                all[place + 1] = pair[1];
            } else {
                all.extend(pair);
            }
        }
        let (exit, said) = refused(&all);
        assert_eq!(exit, *code, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
    }
    let made = [b, c, d].map(Path::new).map(Path::exists);
    assert_eq!(made, [false; 3], "a refused start leaves nothing behind");
}

/// Runs a statement on a ledger that no process has.
async fn tamper(data_dir: &Path, sql: &'static str) {
    sqlite::tamper(&data_dir.join("ledger.db"), sql).await;
}

/// Starts on this folder, which must fail with this code and these words; answers what was said.
fn refuses(data_dir: &Path, code: i32, words: &[&str]) {
    let args = [&FREE_PORTS[..], &["--data-dir", data_dir.to_str().unwrap()]].concat();
    let (exit, said) = refused(&args);
    assert_eq!(exit, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_ledger_that_it_does_not_know_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rubbish = folder.path().join("rubbish");
    std::fs::create_dir(&rubbish).unwrap();
    let text = "this is no database, and it is long enough";
    std::fs::write(rubbish.join("ledger.db"), text).unwrap();
    refuses(&rubbish, 73, &["ledger.db"]);
    let kept = std::fs::read_to_string(rubbish.join("ledger.db")).unwrap();
    assert_eq!(kept, text);

    let newer = folder.path().join("newer");
    drop(Sidecar::start(&newer, &[]));
    tamper(&newer, "PRAGMA user_version = 999").await;
    refuses(&newer, 73, &["ledger.db", "999"]);
    let kept = std::fs::read(newer.join("ledger.db")).unwrap();
    // Where SQLite has it, in the file's header.
    assert_eq!(kept[60..64], 999_u32.to_be_bytes());
}

#[tokio::test]
async fn balances_that_do_not_add_up_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut sidecar = Sidecar::start(&data, &[]);
    let endpoint = ["--endpoint", sidecar.grpc.as_str()];
    let create = ["account", "create", "acme", "--plan", "starter"];
    let done = run(&[&create[..], &endpoint].concat());
    assert!(done.status.success(), "{done:?}");
    // So that the ledger has it all.
    sidecar.terminate();
    tamper(&data, "UPDATE grants SET used = amount + 1").await;
    refuses(&data, 70, &["acme", "plan:0", "tollgate reconcile"]);
}
