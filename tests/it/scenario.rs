//! The promises as scenario files: `scenarios/*.txt`, which read as documentation and run on every
//! pair of stores in [`stores::backends`].
//!
//! A file opens with a comment that says what it shows. `== title` starts a scenario in a world of
//! its own: an empty store, the built-in catalogue, a clock that stands still. It stands at the
//! first account's subscription, unless an `at` comes before.
//!
//! ```text
//! account acme plan=starter subscribed=2026-01-31T10:00Z
//! reserve r1 acme 60  ttl=60s   -> granted  available=440
//! commit  r1 45                 -> charged  45 returned=15 available=455
//! entries acme kind=usage       -> count=1
//!   | usage -45 draws=plan:0:45
//! at 2026-02-28T10:00Z
//! balance acme                  -> available=500 renews=2026-03-31T10:00Z
//! ```
//!
//! Right of the arrow stands what must be so: leading words, then `key=value` or `key~part of the
//! value`, only as far as the line cares. `replayed` and `late` are named exactly where they are
//! so. A line without an arrow must do what it asks for. `|` lines are the whole list below them.
//! A word that nobody knows is a mistake, left and right.
//!
//! | line | meaning |
//! |---|---|
//! | `at INSTANT`, `wait 60s` | moves the clock |
//! | `account ID plan= [subscribed=] [overage=absorb]` | `grant ID ACCOUNT pack=small` or `promo=N`, `adjustment=N` `[priority=] [from=] [expires=]`, `void GRANT ACCOUNT`, `plan ACCOUNT PLAN [id=] [now] [at_renewal]`, `status ACCOUNT STATUS`, `refund ID RESERVATION [N]`; each with `[unapplied]`: the caller dies after the ledger has it |
//! | `reserve ID ACCOUNT AMOUNT [min=] [ttl=] [dry]` | `charge ID ACCOUNT AMOUNT [force]`, `commit ID [ACCOUNT] AMOUNT [outcome=] [open] [next=]`, `extend ID EXTENSION [N] [ttl=]`, `release ID [ACCOUNT]`, `quote AMOUNT` |
//! | AMOUNT | credits, or `input= cached= output= tools= files= build= meter.NAME=`; with `mode= model= conversation=` |
//! | `balance ACCOUNT`, `show account ID`, `show reservation ID`, `grants ACCOUNT` | what is there |
//! | `entries ACCOUNT [kind=] [reservation=]`, `conversation ID`, `show grant ID ACCOUNT` | what the ledger has, once it has everything |
//! | `crowd N REQUEST` | the request N times at once, `{n}` being 1 to N |
//! | `settle`, `sweep`, `renew`, `apply`, `reload NAME` | one step of a worker; `scenarios/catalogs/NAME.yaml` |
//! | `restart` | the process is killed and starts again from its ledger |
//!
//! A title that ends with `[embedded]` or `[shared]` is a scenario only of hot balances in the process,
//! or in a server that outlives it.
//!
//! After every line no invariant may be broken in the hot store; after every scenario the ledger's
//! audit finds nothing, and the entries of each account add up to what it has.

mod actions;
mod answer;
mod changes;
mod file;
mod reads;
mod render;
mod runner;
mod stores;
mod words;
mod world;

use std::{collections::BTreeSet, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios")
}

/// Runs one file on every pair of stores.
async fn run(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let shown = format!("tests/it/scenarios/{name}.txt");
    let mut failures = Vec::new();
    for backend in stores::backends() {
        for failure in runner::run(backend.as_ref(), &shown, &text).await {
            failures.push(format!("[{}] {failure}", backend.name()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Makes a test of each file, named like it.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        const FILES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                run(stringify!($name)).await;
            }
        )+
    };
}

scenarios! {
    catalogue_versions,
    corrections,
    debt,
    due_holds_reclaimed,
    field_big_numbers,
    field_check_then_increment,
    field_clipped_usage,
    field_denials_that_burn,
    field_disconnected_client,
    field_hold_without_record,
    field_retries,
    field_stale_snapshot,
    field_two_calendars,
    field_whole_balance_held,
    field_wiped_packs,
    grant_expires_while_held,
    lazy_renewal,
    many_grants,
    month_ends,
    plan_changes_and_holds,
    precedence,
    price_of_zero,
    refunds,
    replay_window,
    restarts,
    rule_01_whole_credits,
    rule_02_tiers,
    rule_03_modes,
    rule_04_quote,
    rule_05_billing_cycle,
    rule_06_no_rollover,
    rule_07_plan_changes,
    rule_08_packs,
    rule_09_order_of_spending,
    rule_10_blocked_at_zero,
    rule_11_outcomes,
    rule_12_used_is_used,
    rule_13_disputes,
    state_table,
    suspended_and_closed,
    unfinished_changes,
}

#[test]
fn every_file_is_run() {
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let listed: BTreeSet<String> = FILES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(there, listed);
}

/// What the runner says of a scenario that is wrong.
async fn complaints(text: &str) -> String {
    let backends = stores::backends();
    runner::run(backends[0].as_ref(), "a.txt", &format!("# A file.\n{text}"))
        .await
        .join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_fails_says_where_and_what() {
    let told = complaints(
        "account acme plan=starter subscribed=2026-01-31T10:00Z
         reserve r1 acme 60 -> granted available=441",
    )
    .await;
    assert!(told.starts_with("a.txt:3: reserve r1 acme 60\n"), "{told}");
    assert!(told.contains("expected: granted available=441\n"), "{told}");
    assert!(told.contains("got:      granted held=60"), "{told}");
    assert!(told.contains("available=440"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_nobody_knows_is_a_mistake() {
    let account = "account acme plan=starter";
    for (line, wrong) in [
        ("resreve r1 acme 60", "no such verb: resreve"),
        ("reserve r1 acme 60 tll=60s", "unknown word: tll=60s"),
        ("reserve r1 acme 60 please", "unknown word: please"),
        (
            "reserve r1 acme 60 -> granted avialable=440",
            "no such fact: avialable",
        ),
        ("reserve r1 acme 60 -> denied", "got:      granted"),
        (
            "reserve r1 acme 60 -> granted replayed",
            "got:      granted",
        ),
        (
            "reserve r1 acme 600",
            "got:      denied insufficient_credits",
        ),
        ("commit r1 45 -> charged 45", "nobody reserved r1"),
        (
            "grants acme\n| plan:0 left=500\n| more left=1",
            "expected: 2 lines",
        ),
        ("balance nobody", "got:      error account_not_found"),
    ] {
        let told = complaints(&format!("{account}\n{line}")).await;
        assert!(told.contains(wrong), "{line}: {told}");
    }
}
