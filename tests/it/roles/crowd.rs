//! Many callers through several sidecars on one account, while one control plane of two is
//! killed: what was answered is what is there, entry by entry.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tollgate::pb::{EntryKind, ListEntriesRequest, reserve_response};

use super::*;

const SIDECARS: usize = 4;
const CALLERS: usize = 64;
const ROUNDS: usize = 5;
/// What the account's plan gives.
const GRANTED: u64 = 500;

/// What the callers were answered.
#[derive(Debug, Default)]
struct Told {
    /// Credits that a commit charged, by reservation.
    charged: BTreeMap<String, u64>,
    /// Credits that are still held, by reservation.
    held: BTreeMap<String, u64>,
    denials: usize,
}

/// One caller's day. Every request is sent again until it is answered, as a caller should.
async fn call(caller: usize, mut quotas: Vec<QuotaServiceClient<Channel>>, told: Arc<Mutex<Told>>) {
    for round in 0..ROUNDS {
        let id = format!("c{caller}-{round}");
        let credits = 1 + ((caller * 7 + round * 5) % 20) as u64;
        // The hold and its commit go through different sidecars.
        let from = (caller + round) % SIDECARS;
        let answer = loop {
            match quotas[from].reserve(reserve("acme", &id, credits)).await {
                Ok(answer) => break answer.into_inner().result.unwrap(),
                Err(status) => again(&status).await,
            }
        };
        let reserve_response::Result::Reservation(held) = answer else {
            told.lock().unwrap().denials += 1;
            continue;
        };
        assert_eq!(held.held, credits);
        if caller.is_multiple_of(16) {
            told.lock().unwrap().held.insert(id, credits);
            continue;
        }
        let used = credits / 2;
        let to = (from + 1) % SIDECARS;
        let receipt = loop {
            match quotas[to].commit(commit("acme", &id, used)).await {
                Ok(answer) => break answer.into_inner().receipt.unwrap(),
                Err(status) => again(&status).await,
            }
        };
        assert_eq!((receipt.credits, receipt.returned), (used, credits - used));
        told.lock().unwrap().charged.insert(id, used);
    }
}

/// Only what may be sent again is.
async fn again(status: &tonic::Status) {
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_overspent_and_the_ledger_has_what_was_answered() {
    let stage = Stage::new().await;
    let mut first = stage.control(&[]);
    let second = stage.control(&[]);
    create(&second, "acme").await;
    let gateways: Vec<_> = (0..SIDECARS).map(|_| stage.gateway(&[])).collect();
    let mut quotas = Vec::new();
    for gateway in &gateways {
        wait_ready(gateway);
        quotas.push(gateway.quota().await);
    }
    let told = Arc::new(Mutex::new(Told::default()));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(caller, quotas.clone(), told.clone())))
        .collect();
    first.kill();
    for caller in callers {
        caller.await.unwrap();
    }
    let told = std::mem::take(&mut *told.lock().unwrap());
    let charged: u64 = told.charged.values().sum();
    let held: u64 = told.held.values().sum();
    assert!(charged + held <= GRANTED, "{charged} + {held}");
    assert!(told.denials > 0, "there was enough for everybody");
    let left = balance(&mut quotas[0], "acme").await;
    assert_eq!(left, (GRANTED - charged - held, held));
    // Answered means written: the ledger is not waited for.
    assert_eq!(usage(&second).await, told.charged);
    let counted = stage
        .database
        .texts("SELECT max(sequence)::text, count(*) FROM entries");
    let sequences = 1 + told.charged.len();
    assert_eq!(counted.await, [sequences.to_string()]);
    let counted = stage.database.texts("SELECT count(*)::text FROM entries");
    assert_eq!(counted.await, [sequences.to_string()]);
}

/// Every usage entry of the account, by reservation: each must be there once.
async fn usage(control: &Sidecar) -> BTreeMap<String, u64> {
    let mut admin = control.admin().await;
    let mut found = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListEntriesRequest {
            account_id: "acme".into(),
            page_token,
            ..ListEntriesRequest::default()
        };
        let page = admin.list_entries(request).await.unwrap().into_inner();
        for entry in page.entries {
            if entry.kind() == EntryKind::Usage {
                let credits = entry.credits.unsigned_abs();
                let before = found.insert(entry.reservation_id.clone(), credits);
                assert_eq!(before, None, "{} is there twice", entry.reservation_id);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}
