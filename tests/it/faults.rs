//! The real binary, killed and stopped: what was answered is in the ledger, once.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tollgate::pb::{
    Action, CommitRequest, CreateAccountRequest, Entry, EntryKind, GetAccountRequest,
    GrantCreditsRequest, GrantKind, ListEntriesRequest, ReserveRequest, commit_request,
    grant_credits_request, reserve_request,
};

use crate::process::{Sidecar, run};

const ACCOUNTS: usize = 4;
const CLIENTS: usize = 16;
const ROUNDS: usize = 6;

/// What the clients know: which commits were answered, with how many credits, and which were
/// sent and never answered.
#[derive(Default)]
struct Known {
    answered: HashMap<String, u64>,
    unanswered: HashMap<String, CommitRequest>,
}

fn account(number: usize) -> String {
    format!("acct-{number}")
}

fn action() -> Option<Action> {
    Some(Action {
        mode: "discuss".into(),
        conversation_id: "c".into(),
        ..Action::default()
    })
}

async fn create_accounts(sidecar: &Sidecar) {
    let mut admin = sidecar.admin().await;
    for number in 0..ACCOUNTS {
        let create = CreateAccountRequest {
            account_id: account(number),
            plan_id: "starter".into(),
            ..CreateAccountRequest::default()
        };
        admin.create_account(create).await.unwrap();
        let grant = GrantCreditsRequest {
            account_id: account(number),
            grant_id: "plenty".into(),
            kind: GrantKind::Adjustment as i32,
            amount: Some(grant_credits_request::Amount::Credits(10_000_000)),
            ..GrantCreditsRequest::default()
        };
        admin.grant_credits(grant).await.unwrap();
    }
}

/// Reserves and commits until the sidecar is gone.
async fn client(sidecar: Arc<Sidecar>, id: String, seed: u64, known: Arc<Mutex<Known>>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut quota = sidecar.quota().await;
    for call in 0.. {
        let account_id = account(rng.random_range(0..ACCOUNTS));
        let reservation_id = format!("{id}-{call}");
        let reserve = ReserveRequest {
            account_id: account_id.clone(),
            reservation_id: reservation_id.clone(),
            action: action(),
            amount: Some(reserve_request::Amount::Credits(50)),
            ..ReserveRequest::default()
        };
        if quota.reserve(reserve).await.is_err() {
            return;
        }
        let commit = CommitRequest {
            account_id,
            reservation_id: reservation_id.clone(),
            amount: Some(commit_request::Amount::Credits(rng.random_range(1..80))),
            action: action(),
            ..CommitRequest::default()
        };
        let answer = quota.commit(commit.clone()).await;
        let mut known = known.lock().unwrap();
        match answer {
            Ok(answer) => {
                let receipt = answer.into_inner().receipt.unwrap();
                known.answered.insert(reservation_id, receipt.credits);
            }
            Err(_) => {
                known.unanswered.insert(reservation_id, commit);
                return;
            }
        }
    }
}

/// Every unanswered commit is sent again, twice: once it counts, then it is replayed.
async fn retry_unanswered(sidecar: &Sidecar, known: &Mutex<Known>) {
    let mut quota = sidecar.quota().await;
    let unanswered = std::mem::take(&mut known.lock().unwrap().unanswered);
    for (id, commit) in unanswered {
        let first = quota
            .commit(commit.clone())
            .await
            .unwrap()
            .into_inner()
            .receipt
            .unwrap();
        let again = quota.commit(commit).await.unwrap().into_inner();
        assert!(again.replayed, "{id}");
        assert_eq!(again.receipt.unwrap(), first, "{id}");
        known.lock().unwrap().answered.insert(id, first.credits);
    }
}

async fn entries(sidecar: &Sidecar, account_id: &str) -> Vec<Entry> {
    let mut admin = sidecar.admin().await;
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEntriesRequest {
            account_id: account_id.to_owned(),
            page_size: 1000,
            page_token,
            ..ListEntriesRequest::default()
        };
        let page = admin.list_entries(request).await.unwrap().into_inner();
        all.extend(page.entries);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}

/// The ledger has every answered commit once, with what was answered, and nothing else; its
/// sequences have no gaps and add up to the balance.
async fn check_ledger(sidecar: &Sidecar, known: &Mutex<Known>) {
    let mut found = HashMap::new();
    for number in 0..ACCOUNTS {
        let account_id = account(number);
        let entries = entries(sidecar, &account_id).await;
        let sequences: Vec<u64> = entries.iter().rev().map(|entry| entry.sequence).collect();
        assert_eq!(
            sequences,
            (1..=entries.len() as u64).collect::<Vec<_>>(),
            "{account_id}"
        );
        let worth: i64 = entries.iter().map(|entry| entry.credits).sum();
        let request = GetAccountRequest {
            account_id: account_id.clone(),
        };
        let account = sidecar
            .admin()
            .await
            .get_account(request)
            .await
            .unwrap()
            .into_inner();
        let balance = account.account.unwrap().balance.unwrap();
        assert_eq!(
            worth,
            (balance.available + balance.held) as i64 - balance.debt as i64
        );
        for entry in entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Usage as i32)
        {
            let credits = entry.receipt.as_ref().unwrap().credits;
            let twice = found.insert(entry.reservation_id.clone(), credits);
            assert!(
                twice.is_none(),
                "{} is in the ledger twice",
                entry.reservation_id
            );
        }
    }
    assert_eq!(found, known.lock().unwrap().answered);
}

fn reconcile(data_dir: &Path) {
    let output = run(&["reconcile", "--data-dir", data_dir.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_at_random_moments_it_loses_and_doubles_nothing() {
    let seed = std::env::var("TOLLGATE_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("TOLLGATE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let known = Arc::new(Mutex::new(Known::default()));
    for round in 0..ROUNDS {
        let sidecar = Sidecar::start(folder.path(), &[]);
        if round == 0 {
            create_accounts(&sidecar).await;
        }
        retry_unanswered(&sidecar, &known).await;
        check_ledger(&sidecar, &known).await;
        let sidecar = Arc::new(sidecar);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let id = format!("r{round}-c{number}");
                tokio::spawn(client(
                    Arc::clone(&sidecar),
                    id,
                    rng.random(),
                    Arc::clone(&known),
                ))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..600))).await;
        // The clients hold it too: it is killed by its number, as anybody else would.
        sidecar.signal("KILL");
        for client in clients {
            client.await.unwrap();
        }
        drop(sidecar);
        reconcile(folder.path());
    }
    let sidecar = Sidecar::start(folder.path(), &[]);
    retry_unanswered(&sidecar, &known).await;
    check_ledger(&sidecar, &known).await;
    assert!(
        known.lock().unwrap().answered.len() > ROUNDS * CLIENTS,
        "hardly any load"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_holds_survive_a_kill_after_the_flush_interval() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(folder.path(), &["--set", "settle.flush_interval_ms=10"]);
    create_accounts(&sidecar).await;
    let reserve = ReserveRequest {
        account_id: account(0),
        reservation_id: "held".into(),
        action: action(),
        amount: Some(reserve_request::Amount::Credits(70)),
        ..ReserveRequest::default()
    };
    sidecar
        .quota()
        .await
        .reserve(reserve.clone())
        .await
        .unwrap();
    // A commit that the ledger has acknowledged takes every earlier hold of its shard along.
    let commit = CommitRequest {
        account_id: account(0),
        reservation_id: "other".into(),
        amount: Some(commit_request::Amount::Credits(1)),
        ..CommitRequest::default()
    };
    sidecar.quota().await.commit(commit).await.unwrap();
    sidecar.kill();
    let sidecar = Sidecar::start(folder.path(), &[]);
    let again = sidecar
        .quota()
        .await
        .reserve(reserve)
        .await
        .unwrap()
        .into_inner();
    assert!(again.replayed);
    assert_eq!(again.balance.unwrap().held, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_signal_ends_it_cleanly_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let slow_flush = ["--set", "settle.flush_interval_ms=3600000"];
    let mut sidecar = Sidecar::start(folder.path(), &slow_flush);
    create_accounts(&sidecar).await;
    let reserve = ReserveRequest {
        account_id: account(1),
        reservation_id: "held".into(),
        action: action(),
        amount: Some(reserve_request::Amount::Credits(70)),
        ..ReserveRequest::default()
    };
    sidecar
        .quota()
        .await
        .reserve(reserve.clone())
        .await
        .unwrap();
    let (status, said) = sidecar.terminate();
    assert!(status.success(), "{status}: {said}");
    reconcile(folder.path());
    let sidecar = Sidecar::start(folder.path(), &[]);
    let again = sidecar
        .quota()
        .await
        .reserve(reserve)
        .await
        .unwrap()
        .into_inner();
    assert!(again.replayed, "the hold was flushed");
}
