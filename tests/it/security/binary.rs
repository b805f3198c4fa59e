//! The real binary, secured, with the command line and grpcio as its callers.

use std::{fs, process::Command};

use tollgate::config::ClientCert;

use super::{Files, principal};
use crate::process::{Sidecar, proto_dir, run};

/// What a command ended with, and what it said.
fn ran(args: &[&str]) -> (Option<i32>, String) {
    let output = run(args);
    let mut said = String::from_utf8(output.stdout).unwrap();
    said.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.code(), said)
}

struct Secured {
    files: Files,
    sidecar: Sidecar,
    /// Roles are in their names.
    tokens: Vec<(&'static str, String)>,
}

fn secured() -> Secured {
    let files = Files::new(ClientCert::Optional);
    let folder = files.folder.path();
    let mut access = String::new();
    let mut tokens = Vec::new();
    for role in ["billing", "support", "gateway"] {
        let (text, token) = principal(role, &format!("\"{role}\""), "");
        access.push_str(&text);
        fs::write(folder.join(role), &token).unwrap();
        tokens.push((role, token));
    }
    let (text, token) = principal("load", "\"gateway\", \"billing\"", "");
    access.push_str(&text);
    fs::write(folder.join("load"), &token).unwrap();
    tokens.push(("load", token));
    access.push_str(
        "[[principal]]\nname = \"runner\"\nroles = [\"runner\"]\nspiffe = [\"spiffe://test/runner\"]\n",
    );
    fs::write(folder.join("access.toml"), access).unwrap();
    let set = |key: &str, path: &std::path::Path| format!("{key}={}", path.display());
    let mut args = Vec::new();
    for pair in [
        set("tls.cert", &files.files.cert),
        set("tls.key", &files.files.key),
        set("tls.client_ca", files.files.client_ca.as_ref().unwrap()),
        "tls.client_cert=optional".to_owned(),
        set("access.file", &folder.join("access.toml")),
    ] {
        args.extend(["--set".to_owned(), pair]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let sidecar = Sidecar::start(&folder.join("data"), &args);
    Secured {
        files,
        sidecar,
        tokens,
    }
}

#[test]
fn the_command_line_calls_a_secured_server() {
    let Secured {
        files,
        sidecar,
        tokens,
    } = secured();
    let folder = files.folder.path();
    let in_folder = |name: &str| folder.join(name).display().to_string();
    let (ca, endpoint) = (in_folder("ca.crt"), format!("https://{}", sidecar.grpc));
    let server = [
        "--endpoint",
        &endpoint,
        "--tls-ca",
        &ca,
        "--tls-server-name",
        "localhost",
    ];
    let with = |words: &str, more: &[&str]| {
        let mut args: Vec<&str> = words.split(' ').collect();
        args.extend(server);
        args.extend(more);
        ran(&args)
    };
    let (billing, support) = (in_folder("billing"), in_folder("support"));
    let create = "account create acme --plan starter";
    let (code, said) = with(create, &[]);
    assert_eq!(code, Some(77), "{said}");
    assert!(
        said.contains("CALLER_UNKNOWN") && said.contains("--token-file"),
        "{said}"
    );
    let (code, said) = with(create, &["--token-file", &support]);
    assert_eq!(code, Some(77), "{said}");
    assert!(
        said.contains("ROLE_MISSING") && said.contains("billing"),
        "{said}"
    );
    let (code, said) = with(create, &["--token-file", &billing]);
    assert_eq!(code, Some(0), "{said}");

    let pair = files.authority.caller("spiffe://test/runner");
    let (cert, key) = pair.write(folder, "runner");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let runner = ["--tls-cert", &cert, "--tls-key", &key];
    let (code, said) = with("balance acme", &runner);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = with("balance acme", &runner[..2]);
    assert_eq!(
        (code, said.contains("go together")),
        (Some(64), true),
        "{said}"
    );

    let (code, said) = with("audit acme", &["--token-file", &support]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("CreateAccount") && said.contains("billing"),
        "{said}"
    );
    assert!(
        tokens.iter().all(|(_, token)| !said.contains(token)),
        "{said}"
    );
    let reconcile = format!("reconcile --data-dir {}", in_folder("data"));
    let (code, said) = with(&reconcile, &[]);
    assert_eq!(code, Some(77), "{said}");
    let (code, said) = with(&reconcile, &["--token-file", &support]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("1 accounts compared"), "{said}");
    let (code, said) = ran(&[
        "balance",
        "acme",
        "--endpoint",
        &endpoint,
        "--token-file",
        &support,
    ]);
    assert_eq!(
        code,
        Some(69),
        "its authority is not known to this machine: {said}"
    );
    let (code, said) = ran(&[
        "balance",
        "acme",
        "--endpoint",
        "gate.example:1",
        "--token-file",
        &support,
    ]);
    assert_eq!(
        (code, said.contains("could read the token")),
        (Some(64), true),
        "{said}"
    );
}

/// A secured server is measured as it is served: over TLS, each call with its token.
#[test]
fn bench_loads_a_secured_server() {
    let Secured {
        files,
        sidecar,
        tokens,
    } = secured();
    let in_folder = |name: &str| files.folder.path().join(name).display().to_string();
    let (ca, load, billing) = (in_folder("ca.crt"), in_folder("load"), in_folder("billing"));
    let (tls, clear) = (format!("https://{}", sidecar.grpc), sidecar.grpc.clone());
    let bench = |endpoint: &str, more: &[&str]| {
        let mut args = vec!["bench", "--json", "--endpoint", endpoint, "--accounts=3"];
        args.extend(["--duration=500ms", "--warm-up=100ms", "--tls-ca", &ca]);
        args.extend(more);
        ran(&args)
    };
    let name = "--tls-server-name=localhost";
    let (code, said) = bench(&tls, &[name, "--token-file", &load]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\"adds_up\": true") && said.contains("\"refused\": 0"),
        "{said}"
    );
    assert!(
        tokens.iter().all(|(_, token)| !said.contains(token)),
        "{said}"
    );

    let (code, said) = bench(&tls, &[name]);
    assert_eq!(code, Some(77), "{said}");
    assert!(
        said.contains("GetCatalog: Unauthenticated") && said.contains("roles gateway and billing"),
        "{said}"
    );
    // It may make the accounts, and nothing else.
    let (code, said) = bench(&tls, &[name, "--open-holds=1", "--token-file", &billing]);
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("Reserve: PermissionDenied"), "{said}");
    let (code, said) = bench(&clear, &["--token-file", &load]);
    assert_eq!(
        (
            code,
            said.contains("--tls-ca") && said.contains("without TLS")
        ),
        (Some(64), true),
        "{said}"
    );
}

#[test]
fn grpcio_calls_over_mutual_tls() {
    let python = std::env::var("TOLLGATE_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("TOLLGATE_TEST_PYTHON is not set: run the tests with tests/run")
    });
    let Secured { files, sidecar, .. } = secured();
    let folder = files.folder.path();
    files
        .authority
        .caller("spiffe://test/runner")
        .write(folder, "runner");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/security/secure.py");
    let stubs = folder.join("stubs");
    fs::create_dir(&stubs).unwrap();
    let played = Command::new(python)
        .arg(script)
        .args([proto_dir(), stubs, folder.to_owned()])
        .arg(&sidecar.grpc)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&played.stdout).into_owned();
    let failed = String::from_utf8_lossy(&played.stderr);
    assert!(
        played.status.success() && said.contains("played"),
        "{said}{failed}"
    );
}

#[test]
fn a_token_is_made_with_the_line_that_knows_it() {
    let (code, said) = ran(&["token"]);
    assert_eq!(code, Some(0), "{said}");
    let (token, line) = said.trim().split_once('\n').unwrap();
    let text = format!("[[principal]]\nname = \"a\"\nroles = [\"viewer\"]\n{line}\n");
    let access = tollgate::access::Access::parse(&text).unwrap();
    assert_eq!(access.by_token(token).unwrap().name, "a");
}

#[test]
fn a_port_that_others_reach_is_not_opened_by_oversight() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let serve = |more: &[&str]| {
        let mut args = vec!["serve", "--grpc-listen", "0.0.0.0:0", "--data-dir", &data];
        args.extend(more);
        ran(&args)
    };
    let (code, said) = serve(&[]);
    assert_eq!(code, Some(64), "{said}");
    let says = "grpc.insecure_listen = [\"0.0.0.0:0\"]";
    assert!(
        said.contains("there is no TLS") && said.contains(says),
        "{said}"
    );
    let (code, said) = serve(&["--set", "tls.cert=/nowhere", "--set", "tls.key=/nowhere"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("tls.cert /nowhere: No such file"), "{said}");
    let (code, said) = serve(&["--set", "access.file=/nowhere"]);
    assert_eq!((code, said.contains("no TLS")), (Some(64), true), "{said}");

    let args = [
        "--set",
        "admin.listen=0.0.0.0:0",
        "--set",
        "grpc.insecure_listen=0.0.0.0:0",
    ];
    let mut sidecar = Sidecar::start(&folder.path().join("data"), &args);
    assert!(sidecar.terminate().0.success());
}
