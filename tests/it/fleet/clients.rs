//! Who asks: clients that send every request until it is answered, and remember how that went.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tollgate::pb::{
    Action, ChargeRequest, CommitRequest, ReleaseRequest, ReserveRequest, charge_request,
    charge_response, commit_request, quota_service_client::QuotaServiceClient, reserve_request,
    reserve_response,
};
use tonic::{Code, Response, Status, transport::Channel};
use tonic_types::StatusExt;

use super::world::{Charges, Fleet, STEP};
use crate::support::servers::now;

/// How many clients there are.
const CLIENTS: usize = 12;
/// How many accounts they ask for.
pub const ACCOUNTS: usize = 6;
/// A commit asks Redis twice, once for the price; what else happens in a process is far quicker.
const CALL: Duration = Duration::from_millis(2 * STEP.as_millis() as u64);
/// How much later than its deadline a call may answer on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// How long between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one request may go without an answer before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn account(n: usize) -> String {
    format!("acct-{}", n % ACCOUNTS)
}

/// What clients know.
#[derive(Debug, Default)]
pub struct Tally {
    pub settled: Charges,
    pub calls: usize,
    /// Calls that failed.
    pub failed: usize,
    /// The longest call, whatever came of it.
    pub slowest: Duration,
    /// The longest that a request was without an answer, however often it was sent.
    pub outage: Duration,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.settled.extend(other.settled);
        self.calls += other.calls;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.outage = self.outage.max(other.outage);
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Tally>,
}

impl Load {
    /// Makes the accounts and starts the clients, and waits until they are at it.
    pub async fn start(fleet: &Fleet) -> Self {
        Load::begin(fleet, false).await
    }

    /// The same, where a hold that was answered may be gone when it is to be released.
    pub async fn start_where_holds_may_be_lost(fleet: &Fleet) -> Self {
        Load::begin(fleet, true).await
    }

    async fn begin(fleet: &Fleet, holds_may_be_lost: bool) -> Self {
        for n in 0..ACCOUNTS {
            fleet.create(&account(n), 1_000_000_000).await;
        }
        let mut load = Load {
            stop: Arc::default(),
            answered: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CLIENTS {
            let mut client = Client {
                number,
                holds_may_be_lost,
                processes: Vec::new(),
                at: number,
                answered: Arc::clone(&load.answered),
                tally: Tally::default(),
            };
            for sidecar in &fleet.sidecars {
                client.processes.push(sidecar.quota().await);
            }
            let stop = Arc::clone(&load.stop);
            load.clients.spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    client.round(round).await;
                }
                client.tally
            });
        }
        load.progress(10 * CLIENTS).await;
        load
    }

    /// Waits until so many more calls were answered.
    pub async fn progress(&self, more: usize) {
        let started = now();
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        while self.answered.load(Ordering::SeqCst) < wanted {
            assert!(started.elapsed() < PATIENCE, "nothing is answered");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets everybody finish what he is at.
    pub async fn stop(self, what: &str) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for tally in self.clients.join_all().await {
            all.add(tally);
        }
        println!(
            "{what}: {} calls, {} failed, the longest took {:?}, and the longest outage {:?}; \
             {} settlements",
            all.calls,
            all.failed,
            all.slowest,
            all.outage,
            all.settled.len()
        );
        all
    }
}

struct Client {
    number: usize,
    holds_may_be_lost: bool,
    processes: Vec<QuotaServiceClient<Channel>>,
    at: usize,
    answered: Arc<AtomicUsize>,
    tally: Tally,
}

impl Client {
    /// A hold that is committed, or given back, or a charge.
    async fn round(&mut self, round: usize) {
        let account_id = account(self.number + round);
        let id = format!("c{}-{round}", self.number);
        let credits = 1 + (self.number + round) as u64 % 9;
        if round % 4 == 3 {
            return self.charge(account_id, id, credits).await;
        }
        let reserve = ReserveRequest {
            account_id: account_id.clone(),
            reservation_id: id.clone(),
            action: action(),
            amount: Some(reserve_request::Amount::Credits(5)),
            ..ReserveRequest::default()
        };
        let answer = self
            .insist(|mut quota| {
                let request = reserve.clone();
                async move { quota.reserve(request).await }
            })
            .await;
        let is_held = matches!(
            answer.result,
            Some(reserve_response::Result::Reservation(_))
        );
        assert!(is_held, "denied: {answer:?}");
        if round % 4 == 2 {
            let release = ReleaseRequest {
                account_id,
                reservation_id: id,
                ..ReleaseRequest::default()
            };
            let released = self
                .ask(|mut quota| {
                    let request = release.clone();
                    async move { quota.release(request).await }
                })
                .await;
            let is_lost = released
                .as_ref()
                .is_err_and(|status| status.code() == Code::NotFound);
            assert!(
                released.is_ok() || is_lost && self.holds_may_be_lost,
                "{released:?}"
            );
            return;
        }
        let commit = CommitRequest {
            account_id: account_id.clone(),
            reservation_id: id.clone(),
            amount: Some(commit_request::Amount::Credits(credits)),
            action: action(),
            ..CommitRequest::default()
        };
        let answer = self
            .insist(|mut quota| {
                let request = commit.clone();
                async move { quota.commit(request).await }
            })
            .await;
        let receipt = answer.receipt.expect("a receipt");
        assert_eq!(receipt.credits, credits, "{id}");
        self.tally.settled.insert((account_id, id), credits);
    }

    async fn charge(&mut self, account_id: String, id: String, credits: u64) {
        let charge = ChargeRequest {
            account_id: account_id.clone(),
            charge_id: id.clone(),
            action: action(),
            amount: Some(charge_request::Amount::Credits(credits)),
            ..ChargeRequest::default()
        };
        let answer = self
            .insist(|mut quota| {
                let request = charge.clone();
                async move { quota.charge(request).await }
            })
            .await;
        let Some(charge_response::Result::Receipt(receipt)) = answer.result else {
            panic!("denied: {answer:?}")
        };
        assert_eq!(receipt.credits, credits, "{id}");
        self.tally.settled.insert((account_id, id), credits);
    }

    /// Sends a request until it is answered.
    async fn insist<T, F>(&mut self, call: impl Fn(QuotaServiceClient<Channel>) -> F) -> T
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        match self.ask(call).await {
            Ok(answer) => answer,
            Err(status) => panic!("{status:?}"),
        }
    }

    /// Sends a request until it is answered or refused, to another process after each failure.
    async fn ask<T, F>(
        &mut self,
        call: impl Fn(QuotaServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let started = now();
        loop {
            let process = self.at % self.processes.len();
            let sent = now();
            let answer = call(self.processes[process].clone()).await;
            let took = sent.elapsed();
            assert!(
                took < CALL + SLACK,
                "a call took {took:?}: {:?}",
                answer.err()
            );
            self.tally.calls += 1;
            self.tally.slowest = self.tally.slowest.max(took);
            let status = match answer {
                Ok(answer) => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    self.tally.outage = self.tally.outage.max(started.elapsed());
                    return Ok(answer.into_inner());
                }
                Err(status) if status.code() == Code::NotFound => return Err(status),
                Err(status) => status,
            };
            assert!(says_when_to_retry(&status), "{status:?}");
            assert!(started.elapsed() < PATIENCE, "still: {status:?}");
            self.tally.failed += 1;
            self.at += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A store that is away is UNAVAILABLE with when to try again. Of a process that is gone only the
/// transport speaks.
fn says_when_to_retry(status: &Status) -> bool {
    if status.details().is_empty() {
        return matches!(status.code(), Code::Unavailable | Code::Unknown);
    }
    status.code() == Code::Unavailable && status.get_details_retry_info().is_some()
}

pub fn action() -> Option<Action> {
    Some(Action {
        mode: "discuss".to_owned(),
        ..Action::default()
    })
}
