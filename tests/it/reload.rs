//! A catalogue that changes under a running sidecar: a good file is taken into use, a bad one is
//! not, and a reservation stays on the version that it was made with.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tollgate::{
    catalogs::BUILTIN_YAML,
    pb::{
        Action, ChangePlanRequest, ChargeRequest, CommitRequest, CreateAccountRequest,
        GetCatalogRequest, GrantCreditsRequest, GrantKind, ReserveRequest, Usage, charge_request,
        commit_request, grant_credits_request, reserve_request, reserve_response,
    },
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::process::Sidecar;

/// How often the sidecar is asked whether it has seen the change, and how long in between.
const LOOKS_MAX: usize = 200;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

pub fn catalog(version: &str, tool_call: &str) -> String {
    BUILTIN_YAML
        .replace("version: default-1", &format!("version: {version}"))
        .replace(
            "tool_calls: { credits: 0.2 }",
            &format!("tool_calls: {{ credits: {tool_call} }}"),
        )
}

/// Swaps the file as a deployment does: the new one is written beside it and renamed over it.
pub fn swap(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

async fn version(sidecar: &Sidecar) -> String {
    let answer = sidecar
        .admin()
        .await
        .get_catalog(GetCatalogRequest {})
        .await;
    answer.unwrap().into_inner().rate_card_version
}

pub fn metrics(sidecar: &Sidecar) -> String {
    let mut stream = TcpStream::connect(&sidecar.http).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

async fn until(what: &str, mut seen: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if seen().await {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    panic!("{what} was never seen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_used_a_bad_one_is_not_and_old_holds_keep_their_rates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let args = ["--catalog", path.to_str().unwrap()];
    let sidecar = Sidecar::start(&folder.path().join("data"), &args);
    assert_eq!(version(&sidecar).await, "one");
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    sidecar.admin().await.create_account(create).await.unwrap();
    let reserve = |id: &str| ReserveRequest {
        account_id: "acme".into(),
        reservation_id: id.into(),
        action: Some(Action {
            mode: "discuss".into(),
            ..Action::default()
        }),
        amount: Some(reserve_request::Amount::Estimate(Usage {
            tool_calls: 50,
            ..Usage::default()
        })),
        ..ReserveRequest::default()
    };
    let held = |answer: tollgate::pb::ReserveResponse| match answer.result {
        Some(reserve_response::Result::Reservation(reservation)) => reservation.held,
        other => panic!("{other:?}"),
    };
    let mut quota = sidecar.quota().await;
    assert_eq!(
        held(quota.reserve(reserve("old")).await.unwrap().into_inner()),
        10
    );

    swap(&path, &catalog("two", "0.4"));
    until("version two", async || version(&sidecar).await == "two").await;
    assert_eq!(
        held(quota.reserve(reserve("new")).await.unwrap().into_inner()),
        20
    );
    let commit = CommitRequest {
        account_id: "acme".into(),
        reservation_id: "old".into(),
        amount: Some(commit_request::Amount::Usage(Usage {
            tool_calls: 50,
            ..Usage::default()
        })),
        ..CommitRequest::default()
    };
    let receipt = quota
        .commit(commit)
        .await
        .unwrap()
        .into_inner()
        .receipt
        .unwrap();
    assert_eq!(
        (
            receipt.credits,
            receipt.price.unwrap().rate_card_version.as_str()
        ),
        (10, "one")
    );

    for bad in [
        "version: three\nplans: [".to_owned(),
        catalog("two", "0.8"),
        catalog("four", "0.2").replace("  starter: { allowance: 500 }\n", ""),
    ] {
        let refused = "tollgate_catalog_reloads_total{result=\"refused\"} ";
        let count = |text: String| {
            text.split(refused)
                .nth(1)
                .unwrap()
                .lines()
                .next()
                .unwrap()
                .to_owned()
        };
        let before = count(metrics(&sidecar));
        swap(&path, &bad);
        until("the refusal", async || count(metrics(&sidecar)) != before).await;
        assert_eq!(version(&sidecar).await, "two");
        assert!(metrics(&sidecar).contains("tollgate_file_refused{file=\"catalog\"} 1"));
    }
    swap(&path, &catalog("five", "0.1"));
    until("version five", async || version(&sidecar).await == "five").await;
    assert!(metrics(&sidecar).contains("tollgate_file_refused{file=\"catalog\"} 0"));
}

/// The ledger can't be asked just when the file changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_that_the_ledger_can_not_take_yet_is_used_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let args = ["--catalog", path.to_str().unwrap()];
    let data = folder.path().join("data");
    let sidecar = Sidecar::start(&data, &args);
    let options = SqliteConnectOptions::new().filename(data.join("ledger.db"));
    let mut connection = options.connect().await.unwrap();
    let mut lock = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    swap(&path, &catalog("two", "0.4"));
    // Longer than SQLite waits for somebody else's lock.
    tokio::time::sleep(Duration::from_secs(7)).await;
    sqlx::query("ROLLBACK").execute(&mut *lock).await.unwrap();
    drop(lock);
    until("version two", async || version(&sidecar).await == "two").await;
    let text = metrics(&sidecar);
    let refused = "tollgate_catalog_reloads_total{result=\"refused\"} 0";
    assert!(text.contains(refused), "{text}");
}

/// A caller who did not hear that his change was done asks again, maybe days later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_answered_again_though_the_catalogue_has_lost_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let args = ["--catalog", path.to_str().unwrap()];
    let sidecar = Sidecar::start(&folder.path().join("data"), &args);
    let mut admin = sidecar.admin().await;
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "free".into(),
        ..CreateAccountRequest::default()
    };
    let plan = |change_id: &str, plan_id: &str| ChangePlanRequest {
        account_id: "acme".into(),
        change_id: change_id.into(),
        plan_id: plan_id.into(),
        at_renewal: None,
    };
    let pack = |grant_id: &str| GrantCreditsRequest {
        account_id: "acme".into(),
        grant_id: grant_id.into(),
        kind: GrantKind::Pack.into(),
        amount: Some(grant_credits_request::Amount::PackId("small".into())),
        ..GrantCreditsRequest::default()
    };
    admin.create_account(create.clone()).await.unwrap();
    admin.grant_credits(pack("p1")).await.unwrap();
    admin.change_plan(plan("up", "starter")).await.unwrap();
    let last = admin.change_plan(plan("higher", "pro")).await.unwrap();
    let last = last.into_inner().account.unwrap();

    let smaller: String = catalog("two", "0.2")
        .lines()
        .filter(|line| !["free:", "starter:", "small:"].contains(&first_word(line)))
        .flat_map(|line| [line, "\n"])
        .collect();
    swap(&path, &smaller);
    until("version two", async || version(&sidecar).await == "two").await;
    let again = admin.create_account(create).await.unwrap().into_inner();
    assert_eq!(again.account.unwrap().grants, last.grants);
    let again = admin.change_plan(plan("up", "starter")).await.unwrap();
    assert_eq!(again.into_inner().account.unwrap().plan_id, "pro");
    let again = admin.grant_credits(pack("p1")).await.unwrap().into_inner();
    assert_eq!(again.grant.unwrap().amount, 500);
    // What was not done before can't be done any more.
    let refused = admin.grant_credits(pack("p2")).await.unwrap_err();
    assert!(
        refused.message().contains("no pack of the catalogue"),
        "{refused:?}"
    );
    let refused = admin.change_plan(plan("down", "free")).await.unwrap_err();
    assert!(
        refused.message().contains("no plan of the catalogue"),
        "{refused:?}"
    );
}

/// The same of a caller who did not hear what was held or charged: whatever the rate card has by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_answered_again_though_the_rate_card_has_no_price_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, catalog("one", "0.2")).unwrap();
    let args = ["--catalog", path.to_str().unwrap()];
    let sidecar = Sidecar::start(&folder.path().join("data"), &args);
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "pro".into(),
        ..CreateAccountRequest::default()
    };
    sidecar.admin().await.create_account(create).await.unwrap();
    let mut quota = sidecar.quota().await;
    let action = |mode: &str| {
        Some(Action {
            mode: mode.into(),
            model: "claude-opus-4".into(),
            ..Action::default()
        })
    };
    let usage = || Usage {
        output_tokens: 1_000,
        ..Usage::default()
    };
    let reserve = |id: &str| ReserveRequest {
        account_id: "acme".into(),
        reservation_id: id.into(),
        action: action("discuss"),
        amount: Some(reserve_request::Amount::Estimate(usage())),
        ..ReserveRequest::default()
    };
    let charge = |id: &str, amount: charge_request::Amount| ChargeRequest {
        account_id: "acme".into(),
        charge_id: id.into(),
        action: action("edit"),
        amount: Some(amount),
        force: false,
    };
    let used = |id: &str| charge(id, charge_request::Amount::Usage(usage()));
    let credits = |id: &str, credits| charge(id, charge_request::Amount::Credits(credits));
    let held = quota.reserve(reserve("held")).await.unwrap().into_inner();
    let first = quota.charge(used("used")).await.unwrap().into_inner();
    let flat = quota.charge(credits("flat", 7)).await.unwrap().into_inner();

    let smaller: String = catalog("two", "0.2")
        .lines()
        .filter(|line| first_word(line) != "edit:" && !line.contains("opus"))
        .flat_map(|line| [line, "\n"])
        .collect();
    swap(&path, &smaller);
    until("version two", async || version(&sidecar).await == "two").await;
    let again = quota.reserve(reserve("held")).await.unwrap().into_inner();
    assert_eq!((again.result, again.replayed), (held.result, true));
    let again = quota.charge(used("used")).await.unwrap().into_inner();
    assert_eq!((again.result, again.replayed), (first.result, true));
    let again = quota.charge(credits("flat", 7)).await.unwrap().into_inner();
    assert_eq!((again.result, again.replayed), (flat.result, true));
    let other = quota.charge(credits("flat", 8)).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");

    // What was not done before has no price any more, and all of why is told.
    let fields = |status: tonic::Status| -> Vec<String> {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let request = status.get_details_bad_request().unwrap();
        let violations = request.field_violations.into_iter();
        violations.map(|violation| violation.field).collect()
    };
    let refused = quota.charge(used("new")).await.unwrap_err();
    assert_eq!(fields(refused), ["action.mode", "action.model"]);
    let refused = quota.reserve(reserve("new")).await.unwrap_err();
    assert_eq!(fields(refused), ["action.model"]);
    // Nor where the id is known, and was for something else.
    let refused = quota.reserve(reserve("used")).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}
