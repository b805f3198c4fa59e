//! What the real binary refuses to start with: which code it exits with, what it says, and that it
//! leaves everything as it was.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::{
    process::{Sidecar, binary, run, send},
    support::{postgres, sqlite},
};

const FREE_PORTS: [&str; 4] = [
    "--grpc-listen",
    "127.0.0.1:0",
    "--http-listen",
    "127.0.0.1:0",
];

/// What whoever migrates a Postgres ledger holds.
const MIGRATION_LOCK: i64 = 0x746f_6c6c_6761_7465;

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
        thread::sleep(PAUSE);
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
    // It has a ledger in it: nobody else's business.
    let mode = folder.path().join("data").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
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

/// What is said over HTTP on this port.
fn ask(http: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Starts one whose greeting is not looked at, and waits until it answers over HTTP, where that is.
fn started(args: &[&str], stdout: Stdio) -> (Child, String) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = free.local_addr().unwrap().to_string();
    drop(free);
    let ports = ["--grpc-listen", "127.0.0.1:0", "--http-listen", &http];
    let mut starting = binary()
        .arg("serve")
        .args(ports)
        .args(args)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while TcpStream::connect(&http).is_err() {
        assert!(starting.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(PAUSE);
    }
    (starting, http)
}

/// Another process migrates the same ledger meanwhile, or so it seems.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_lives_and_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = postgres::shared().empty().await;
    let mut migrates = database.connect().await;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut migrates)
        .await
        .unwrap();
    let (url, data_dir) = (database.url(), folder.path().to_str().unwrap());
    let args = ["--hot", "memory:", "--ledger", &url, "--data-dir", data_dir];
    let (starting, http) = started(&args, Stdio::piped());
    assert!(ask(&http, "/healthz").starts_with("HTTP/1.1 200"));
    let ready = ask(&http, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("serving: not ready: starting"), "{ready}");
    send(starting.id(), "TERM");
    let output = starting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_greeting_that_can_not_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let args = ["--data-dir", folder.path().to_str().unwrap()];
    let (serving, http) = started(&args, full.into());
    while !ask(&http, "/readyz").starts_with("HTTP/1.1 200") {
        thread::sleep(PAUSE);
    }
    send(serving.id(), "TERM");
    let output = serving.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
