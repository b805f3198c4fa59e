//! Sixty-four clients through four processes on one account: what is held and charged never
//! exceeds what was granted, every credit can be spent, and the ledger is the sum of the answers,
//! entry by entry.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::task::JoinSet;
use tollgate::pb::{
    CommitRequest, ReleaseRequest, ReserveRequest, commit_request,
    quota_service_client::QuotaServiceClient, reserve_request, reserve_response,
};
use tonic::transport::Channel;

use super::{
    clients::action,
    world::{Charges, Fleet, again, compare, insist},
};
use crate::support::{
    postgres::shared,
    servers::{Kind, Server},
};

const CLIENTS: usize = 64;
const PROCESSES: usize = 4;
/// What is granted beside the plan's.
const GRANTED: u64 = 40_000;
/// What the plan of a new account gives.
const PLAN: u64 = 50;
/// The most that one request holds.
const HOLD_MAX: u64 = 40;
/// How often in a row a client is denied before it gives up: others may yet give something back.
const DENIALS_MAX: usize = 8;
/// So long that a busy machine is no fault.
const PATIENT: &str = "redis.call_timeout_ms=2000";

/// What all clients know together: never more than what the store counts as held and charged.
#[derive(Default)]
struct Known {
    taken: AtomicU64,
}

impl Known {
    fn take(&self, credits: u64) {
        let taken = self.taken.fetch_add(credits, Ordering::SeqCst) + credits;
        assert!(taken <= GRANTED + PLAN, "{taken} are held and charged");
    }

    fn give_back(&self, credits: u64) {
        self.taken.fetch_sub(credits, Ordering::SeqCst);
    }
}

/// Holds, and charges a part of it or gives it back, until nothing is left; the other process each
/// time, so that no process ever knows its own holds only.
async fn client(
    number: usize,
    processes: Vec<QuotaServiceClient<Channel>>,
    known: Arc<Known>,
) -> Charges {
    let mut charged = Charges::new();
    let mut denials = 0;
    let count = processes.len();
    for round in 0.. {
        let id = format!("c{number}-{round}");
        let asked = 1 + (number * 7 + round * 13) as u64 % HOLD_MAX;
        let reserve = ReserveRequest {
            account_id: "acme".to_owned(),
            reservation_id: id.clone(),
            action: action(),
            amount: Some(reserve_request::Amount::Credits(asked)),
            min_credits: Some(1),
            ..ReserveRequest::default()
        };
        let at = (number + round) % count;
        let asked = again!(processes[at], reserve, reserve);
        let held = match insist("a hold", asked).await.result {
            Some(reserve_response::Result::Reservation(reservation)) => reservation.held,
            Some(reserve_response::Result::Denial(_)) => {
                denials += 1;
                if denials == DENIALS_MAX {
                    break;
                }
                continue;
            }
            None => panic!("no answer"),
        };
        denials = 0;
        known.take(held);
        let other = &processes[(at + 1) % count];
        if round % 8 == 7 {
            known.give_back(held);
            let release = ReleaseRequest {
                account_id: "acme".to_owned(),
                reservation_id: id,
                ..ReleaseRequest::default()
            };
            let released = again!(other, release, release);
            insist("a release", released).await;
            continue;
        }
        let used = held - held / 3;
        known.give_back(held - used);
        let commit = CommitRequest {
            account_id: "acme".to_owned(),
            reservation_id: id.clone(),
            amount: Some(commit_request::Amount::Credits(used)),
            ..CommitRequest::default()
        };
        let committed = again!(other, commit, commit);
        let answer = insist("a commit", committed).await;
        assert_eq!(answer.receipt.expect("a receipt").credits, used);
        charged.insert(("acme".to_owned(), id), used);
    }
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_clients_through_four_processes_spend_one_account_to_the_last_credit() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let hot = format!("redis://{}", redis.address());
    let settings = ["settle.ack=hot", PATIENT];
    let fleet = Fleet::start(PROCESSES, &hot, &database.url(), &settings);
    fleet.create("acme", GRANTED).await;
    let known = Arc::new(Known::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut processes = Vec::new();
        for sidecar in &fleet.sidecars {
            processes.push(sidecar.quota().await);
        }
        clients.spawn(client(number, processes, Arc::clone(&known)));
    }
    let mut answered = Charges::new();
    for charged in clients.join_all().await {
        answered.extend(charged);
    }
    let sum: u64 = answered.values().sum();
    println!("{} settlements of {sum} credits", answered.len());
    // Whoever gave something back last asked again, so nothing is left.
    assert_eq!(sum, GRANTED + PLAN);
    assert_eq!(fleet.balance("acme").await, (0, 0, 0));

    compare(&database, &answered).await;
    fleet.reconcile();
}
