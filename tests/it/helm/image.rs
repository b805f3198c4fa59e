//! helm/Dockerfile without Docker: its steps are run in a folder of their own, and what comes out
//! is started as the image would start it.
//!
//! One thing differs, for the time that it takes: the steps build the profile `dev` and take the
//! dependencies that this test binary was built with. So the flags that `ENV` gives the compiler
//! are shown to it, and not built with.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::render::{What, containers, file, path, render_one};
use crate::process::binary;

/// The Dockerfile's instructions, in order.
fn instructions() -> Vec<(String, String)> {
    let text = file("helm/Dockerfile");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (word, rest) = line.split_once(' ').unwrap();
            (word.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

/// What an instruction says, wherever it stands; it must stand once.
fn only(word: &str) -> String {
    let all = instructions();
    let mut found = all.iter().filter(|(name, _)| name == word);
    let (_, rest) = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert!(found.next().is_none(), "{word} twice");
    rest.clone()
}

/// The instructions of the first stage, which builds.
fn build_stage() -> Vec<(String, String)> {
    let all = instructions();
    let second = all.iter().skip(1).position(|(word, _)| word == "FROM");
    all[..=second.unwrap()].to_vec()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `["a", "b"]`.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}

/// COPY, from the repository as .dockerignore leaves it.
fn copy_step(rest: &str, folder: &Path) {
    let sent = file(".dockerignore");
    let mut items = words(rest);
    let to = items.pop().unwrap();
    for item in items {
        assert!(
            sent.lines().any(|line| line == format!("!{item}")),
            ".dockerignore keeps {item} back"
        );
        let place = if to == "./" { item.clone() } else { to.clone() };
        copy(&path(&item), &folder.join(place));
    }
}

/// The dependencies of this test binary, linked to where the steps build.
fn lend_dependencies(folder: &Path) {
    let built = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap();
    let target = folder.join("target/debug");
    fs::create_dir_all(&target).unwrap();
    for part in ["deps", "build", ".fingerprint"] {
        let linked = Command::new("cp")
            .arg("-al")
            .arg(built.join(part))
            .arg(&target)
            .status();
        assert!(linked.unwrap().success());
    }
}

fn run_step(rest: &str, folder: &Path) {
    let command = rest
        .replace(" --release", "")
        .replace("target/release", "target/debug");
    // Compiling takes all processors for a minute, beside tests that wait for something to happen.
    let mut shell = Command::new("nice");
    shell.args(["sh", "-ec", &command]).current_dir(folder);
    // What `cargo test` sets for its tests is not for the builds that they start.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            shell.env_remove(name);
        }
    }
    let status = shell.status().unwrap();
    assert!(status.success(), "RUN {command}: {status}");
}

#[test]
fn its_steps_make_a_program_that_serves() {
    let beside = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap();
    let scratch = tempfile::tempdir_in(beside).unwrap();
    let folder = scratch.path().join("src");
    fs::create_dir(&folder).unwrap();
    lend_dependencies(&folder);
    for (word, rest) in build_stage() {
        match word.as_str() {
            "COPY" => copy_step(&rest, &folder),
            "RUN" => run_step(&rest, &folder),
            "FROM" | "WORKDIR" | "ENV" => {}
            other => panic!("{other}: a step that this test does not know"),
        }
    }
    let program = image_program(scratch.path());
    let mut start: Vec<String> = exec_form(&only("CMD"));
    let host = [
        "--grpc-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ];
    start.extend(host.map(str::to_owned));
    let mut child = Command::new(&program)
        .args(&start)
        .current_dir(scratch.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        said.contains(&format!("tollgate {version}: gRPC on ")),
        "{said}"
    );
}

/// Puts what the last stage takes from the build into an image's root, and answers where the
/// entry point is in it.
fn image_program(scratch: &Path) -> PathBuf {
    let root = scratch.join("image");
    let all = instructions();
    let from_build = "--from=build /src/";
    let taken: Vec<&str> = all
        .iter()
        .filter(|(word, _)| word == "COPY")
        .filter_map(|(_, rest)| rest.strip_prefix(from_build))
        .collect();
    assert_eq!(taken.len(), 1, "one program, and nothing else of the build");
    let (from, to) = taken[0].split_once(' ').unwrap();
    let from = scratch.join("src").join(from.replace("release", "debug"));
    let place = root.join(to.trim_start_matches('/'));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(from, &place).unwrap();
    let entry = exec_form(&only("ENTRYPOINT"));
    assert_eq!(entry, [to], "what is copied is what is started");
    place
}

#[test]
fn the_compiler_takes_the_flags_of_the_release() {
    let flags = only("ENV");
    let flags = flags.split("RUSTFLAGS=\"").nth(1).unwrap();
    let flags = words(flags.trim_end_matches('"'));
    assert!(!flags.is_empty());
    let taken = Command::new("rustc")
        .args(&flags)
        .args(["--print", "cfg"])
        .output();
    let taken = taken.unwrap();
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
}

/// The image, the chart and the manifest of the crate say the same.
#[test]
fn it_fits_the_chart_and_the_crate() {
    let rendered = render_one(What::Tollgate, &file("tests/it/helm/values/minimal.yaml"));
    let pod = rendered.one("Deployment")["spec"]["template"]["spec"].clone();
    let context = &pod["securityContext"];
    let user = format!("{}:{}", context["runAsUser"], context["runAsGroup"]);
    assert_eq!(only("USER"), user);
    let ports = containers(&pod)[0]["ports"].as_array().unwrap();
    let ports: Vec<String> = ports
        .iter()
        .map(|port| port["containerPort"].to_string())
        .collect();
    assert_eq!(words(&only("EXPOSE")), ports);
    let args = containers(&pod)[0]["args"].as_array().unwrap();
    assert_eq!(
        args[0].as_str(),
        exec_form(&only("CMD")).first().map(String::as_str)
    );

    let rust = format!("rust:{}-bookworm AS build", env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(build_stage()[0], ("FROM".to_owned(), rust));
    let last = instructions()
        .into_iter()
        .rfind(|(word, _)| word == "FROM")
        .unwrap()
        .1;
    assert_eq!(
        last, "debian:bookworm-slim",
        "the C library that it was built with"
    );
    let chart = file("helm/tollgate/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        chart.contains(&format!("\nappVersion: {version}\n")),
        "{chart}"
    );
    let said = binary().arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8(said.stdout).unwrap(),
        format!("tollgate {version}\n")
    );
}
