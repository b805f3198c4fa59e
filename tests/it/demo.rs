//! `tollgate demo`, run as anyone runs it: it passes, it says so, it leaves nothing behind; and
//! it fails, and says where, as soon as an answer is not what it should be.

use std::{fs, path::Path, process::Command};

/// A viewer should be able to read all of it.
const LINES_MAX: usize = 125;

struct Played {
    code: Option<i32>,
    text: String,
    errors: String,
}

fn play(temporary: &Path, arguments: &[&str]) -> Played {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", temporary)
        // The demo is the same for everybody, whatever is configured.
        .env("TOLLGATE_RESERVE_DEFAULT_TTL_MS", "1000")
        .output()
        .unwrap();
    Played {
        code: output.status.code(),
        text: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn every_check_holds_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let played = play(temporary.path(), &[]);
    assert_eq!(played.code, Some(0), "{}{}", played.text, played.errors);
    assert_eq!(played.errors, "");
    let last = played.text.lines().last().unwrap();
    assert!(
        last.starts_with("All ") && last.ends_with(" checks held."),
        "{last}"
    );
    assert!(played.text.lines().count() <= LINES_MAX, "{}", played.text);
    assert_eq!(
        fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "the folder is still there"
    );
}

/// A day of one account, act by act.
const ACTS: &[&str] = &[
    "What does it cost? 2,000 tokens in and 800 out, on three tiers; then an agent",
    "An account on plan starter, subscribed on the 31st",
    "A chat: hold the estimate, cap the stream, pay what it was",
    "The answer to a commit is lost: send it again, pay once",
    "An agent run commits in steps: usage is cumulative, rounding is once",
    "Not every action succeeds",
    "20 chats at once ask for 75 each, of 500 (on an account of their own)",
    "A client holds 100 for a minute, and vanishes",
    "A long stream on a short balance: it is cut where its hold ends",
    "At zero, actions are blocked, and the denial says what helps",
    "Used is used: what an action takes above its hold becomes debt",
    "A pack is bought: it pays the debt first, and unblocks",
    "The renewal: the 31st in a month of 28 days",
    "An upgrade in mid-cycle keeps what was used",
    "The next renewal is on the 31st again: plan credits expire, packs stay",
    "A dispute: support looks the conversation up, and refunds it, once",
    "What was answered is in the ledger, and adds up",
];

#[test]
fn the_document_has_every_step_and_the_ledger() {
    let temporary = tempfile::tempdir().unwrap();
    let played = play(temporary.path(), &["--json"]);
    assert_eq!(played.code, Some(0), "{}{}", played.text, played.errors);
    let document: serde_json::Value = serde_json::from_str(&played.text).unwrap();
    assert_eq!(document["passed"], true);
    assert_eq!(document["differences"], 0);
    let steps = document["steps"].as_array().unwrap();
    let checks = steps
        .iter()
        .flat_map(|step| step["checks"].as_array().unwrap());
    assert_eq!(
        checks.clone().count(),
        document["checks"].as_u64().unwrap() as usize
    );
    assert!(
        checks
            .clone()
            .all(|check| check["expected"] == check["got"])
    );
    let mut acts: Vec<&str> = steps
        .iter()
        .map(|step| step["act"].as_str().unwrap())
        .collect();
    acts.dedup();
    assert_eq!(acts, ACTS);
    assert!(checks.count() > 200);
    let ledger = document["ledger"].as_array().unwrap();
    let sum: i64 = ledger
        .iter()
        .map(|entry| entry["credits"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 5_510);
}

#[test]
fn a_planted_difference_fails_and_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let builtin = include_str!("../../src/catalogs/default.yaml");
    let dearer = builtin.replace("credits: 10.00", "credits: 11.00");
    assert_ne!(dearer, builtin);
    let catalog = temporary.path().join("dearer.yaml");
    fs::write(
        &catalog,
        dearer.replace("version: default-1", "version: dearer-1"),
    )
    .unwrap();
    let played = play(temporary.path(), &["--catalog", catalog.to_str().unwrap()]);
    assert_eq!(played.code, Some(1), "{}{}", played.text, played.errors);
    assert!(
        played.text.contains("! credits: expected 12, got 13"),
        "{}",
        played.text
    );
    let last = played.text.lines().last().unwrap();
    assert!(last.contains("checks did not hold"), "{last}");
}
