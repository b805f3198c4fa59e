//! A process of a control plane: the enforcer and the settler on one Redis and one ledger, without
//! the gRPC around them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate::{
    catalogs::{self, Catalogs},
    clock::{Clock, SystemClock},
    domain::{
        account::{Account, OveragePolicy},
        entry::EntryKind,
        grant::GrantKind,
        ids::AccountId,
        reservation::State,
        usage::{Action, Amount, Outcome},
    },
    enforcer::{
        Ack, Enforcer, EnforcerOptions,
        acks::Acks,
        changes::Clerk,
        error::EnforceError,
        request::{ChargeRequest, CommitRequest, ReserveRequest},
        source::LedgerSource,
    },
    hot::{
        HotStore, Recovered,
        redis::{LedgerAccess, RedisHot, RedisOptions},
    },
    ledger::{self, EntryFilter, Ledger, Wanted, access::Access},
    telemetry::Metrics,
    workers::{self, Worker, applier::Applier, settler::Settler, shares::Shares},
};

use super::PATIENCE;
use crate::support::{
    account::{create, grant, plan},
    account_id,
    commands::{credits, reservation_id},
    servers::now,
};

/// What each account starts with.
pub const ALLOWANCE: u64 = 1_000_000;
pub const SHARDS: u32 = 4;
/// Between two tries of one call.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A process; it ends when it is dropped.
pub struct Plane {
    pub hot: Arc<RedisHot>,
    pub ledger: Arc<dyn Ledger>,
    pub enforcer: Arc<Enforcer>,
    pub acks: Arc<Acks>,
    pub settler: Arc<Settler>,
    stop: CancellationToken,
}

impl Plane {
    /// On a Redis and a ledger.
    pub fn start(url: &str, ledger: &Arc<dyn Ledger>) -> Self {
        Plane::start_with(url, ledger, Arc::new(Access(Arc::clone(ledger))))
    }

    /// With an access to the ledger of the test's own.
    pub fn start_with(url: &str, ledger: &Arc<dyn Ledger>, access: Arc<dyn LedgerAccess>) -> Self {
        let plane = Plane::idle(url, ledger, access);
        plane.work();
        plane
    }

    /// Has its workers work from now on.
    pub fn work(&self) {
        let applier = Applier {
            ledger: Arc::clone(&self.ledger),
            enforcer: Arc::clone(&self.enforcer),
            place: Default::default(),
        };
        let interval = Duration::from_millis(50);
        let workers: [Arc<dyn Worker>; 2] = [self.settler.clone(), Arc::new(applier)];
        for worker in workers {
            let metrics = Arc::clone(&self.settler.metrics);
            tokio::spawn(workers::run(worker, interval, metrics, self.stop.clone()));
        }
    }

    /// Without anybody at work: a test takes the steps itself.
    pub fn idle(url: &str, ledger: &Arc<dyn Ledger>, access: Arc<dyn LedgerAccess>) -> Self {
        Plane::of_shards(url, ledger, access, SHARDS)
    }

    /// The same with one shard, whose calls come one after the other.
    pub fn of_one_shard(url: &str, ledger: &Arc<dyn Ledger>) -> Self {
        Plane::of_shards(url, ledger, Arc::new(Access(Arc::clone(ledger))), 1)
    }

    fn of_shards(
        url: &str,
        ledger: &Arc<dyn Ledger>,
        access: Arc<dyn LedgerAccess>,
        shards: u32,
    ) -> Self {
        let options = RedisOptions {
            deadline: Duration::from_millis(500),
            shards,
            unload_idle_ms: 0,
            ledger: Some(access),
            ..RedisOptions::new(url.parse().expect("an address"))
        };
        let hot = RedisHot::connect(options).expect("an address");
        Plane::of(hot, ledger, shards)
    }

    /// On a store of the test's own, with nobody at work.
    pub fn of(hot: RedisHot, ledger: &Arc<dyn Ledger>, shards: u32) -> Self {
        let hot = Arc::new(hot);
        let acks = Arc::new(Acks::new(shards));
        let catalogs = Catalogs::new(catalogs::builtin(), Vec::new()).expect("a catalogue");
        let options = EnforcerOptions {
            ack: Ack::Ledger,
            ack_timeout: Duration::from_secs(2),
            default_ttl_ms: 600_000,
        };
        let store: Arc<dyn HotStore> = hot.clone();
        let enforcer = Arc::new(Enforcer::new(
            Arc::clone(&store),
            Arc::new(LedgerSource(Arc::clone(ledger))),
            Arc::new(catalogs),
            Arc::clone(&acks),
            options,
        ));
        let settler = Settler {
            hot: store,
            ledger: Arc::clone(ledger),
            enforcer: Arc::clone(&enforcer),
            acks: Arc::clone(&acks),
            clock: Arc::new(SystemClock::new()),
            metrics: Arc::new(Metrics::new().expect("metrics")),
            batch_max: 1_000,
            shares: Arc::new(Shares::whole()),
            unread: Default::default(),
            round: Default::default(),
        };
        Plane {
            hot,
            ledger: Arc::clone(ledger),
            enforcer,
            acks,
            settler: Arc::new(settler),
            stop: CancellationToken::new(),
        }
    }

    /// Makes an account on a plan of [`ALLOWANCE`] credits, where nobody is at work.
    pub async fn create_by_hand(&self, account: &str) {
        let now = SystemClock::new().now();
        let submitted = self.ledger.submit(&creation(account), now).await;
        submitted.expect("no fault");
        retried(async || self.enforcer.touch(&account_id(account)).await).await;
        retried(async || self.settler.step().await).await;
    }

    /// Makes an account on a plan of [`ALLOWANCE`] credits.
    pub async fn create(&self, account: &str) {
        let request = creation(account);
        self.change(request).await;
    }

    /// Adds a grant that never expires.
    pub async fn grant(&self, account: &str, id: &str, amount: u64) {
        let request = packing(account, id, amount);
        self.change(request).await;
    }

    /// Makes an administrative change, once.
    async fn change(&self, request: ledger::ChangeRequest) {
        let clerk = Clerk::new(Arc::clone(&self.enforcer), Arc::clone(&self.ledger));
        retried(async || clerk.change(request.clone()).await).await;
    }

    /// Gives back credits of a reservation.
    pub async fn refund(&self, account: &str, id: &str, amount: u64) {
        let request = ledger::ChangeRequest {
            wanted: Wanted::Refund {
                reservation_id: reservation_id(id),
                credits: amount,
                reason: String::new(),
                actor: String::new(),
            },
            ..packing(account, &format!("refund:{id}"), 0)
        };
        self.change(request).await;
    }

    /// Holds credits, once.
    pub async fn reserve(&self, account: &str, id: &str, amount: u64) {
        retried(async || {
            let request = ReserveRequest {
                account_id: account_id(account),
                reservation_id: reservation_id(id),
                action: discuss(),
                amount: Amount::Credits(credits(amount)),
                min_credits: None,
                ttl_ms: None,
                dry_run: false,
            };
            self.enforcer.reserve(request).await
        })
        .await;
    }

    /// Settles usage; answers what the account had left.
    pub async fn commit(&self, account: &str, id: &str, amount: u64, keep_open: bool) -> u64 {
        retried(async || self.try_commit(account, id, amount, keep_open).await).await
    }

    /// The same, once.
    pub async fn try_commit(
        &self,
        account: &str,
        id: &str,
        amount: u64,
        keep_open: bool,
    ) -> Result<u64, EnforceError> {
        let request = CommitRequest {
            account_id: account_id(account),
            reservation_id: reservation_id(id),
            amount: Amount::Credits(credits(amount)),
            outcome: Outcome::Succeeded,
            keep_open,
            next_hold: credits(0),
            action: Ok(Some(discuss())),
        };
        let answer = self.enforcer.commit(request, |_| ()).await?;
        Ok(answer.committed.balance.available)
    }

    /// Charges, and asks again with the same id until it is answered.
    pub async fn charge(&self, account: &str, id: &str, amount: u64) {
        let started = now();
        while let Err(error) = self.try_charge(account, id, amount).await {
            assert!(started.elapsed() < PATIENCE, "still: {error}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Charges, once.
    pub async fn try_charge(
        &self,
        account: &str,
        id: &str,
        amount: u64,
    ) -> Result<(), EnforceError> {
        let request = ChargeRequest {
            account_id: account_id(account),
            charge_id: reservation_id(id),
            action: discuss(),
            amount: Amount::Credits(credits(amount)),
            force: true,
        };
        self.enforcer.charge(request, |_| ()).await.map(|_| ())
    }

    /// Charges one credit after the other from several clients until it is told to stop; answers
    /// how many were answered on each account.
    pub fn load(self: &Arc<Self>, accounts: &'static [&'static str], run: &'static str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..4 {
            let (plane, stop) = (Arc::clone(self), Arc::clone(&stop));
            clients.spawn(async move {
                let mut charged = vec![0; accounts.len()];
                for call in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let place = (client + call) % accounts.len();
                    let id = format!("{run}-{client}-{call}");
                    plane.charge(accounts[place], &id, 1).await;
                    charged[place] += 1;
                }
                charged
            });
        }
        Load { stop, clients }
    }

    /// The account as the ledger has it, and as the store has it, once both stand at one sequence
    /// and nothing waits.
    pub async fn settled(&self, account: &str) -> (Account, Account) {
        let id = account_id(account);
        let started = now();
        loop {
            let (hot, _) = retried(async || self.enforcer.account(&id).await).await;
            let stored = self.ledger.account(&id, SystemClock::new().now()).await;
            let stored = stored.expect("no fault").expect("an account");
            let waits = self.ledger.unapplied(None, 10).await.expect("no fault");
            if hot.sequence == stored.sequence && waits.is_empty() {
                return (hot, stored);
            }
            assert!(
                started.elapsed() < PATIENCE,
                "hot is at {} and the ledger at {}, unapplied: {waits:?}",
                hot.sequence,
                stored.sequence
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// That store and ledger say the same of an account, which has been charged so much in all.
    pub async fn check(&self, account: &str, charged: u64) {
        let (hot, stored) = self.settled(account).await;
        for grant in &stored.grants {
            let of_hot = hot.grant(&grant.id).expect("the same grants");
            let parts =
                |grant: &tollgate::domain::grant::Grant| (grant.amount, grant.used, grant.expired);
            assert_eq!(parts(of_hot), parts(grant), "{account}: {}", grant.id);
        }
        assert_eq!(hot.head.debt, stored.head.debt);
        assert_eq!(stored.worth(), (ALLOWANCE - charged) as i64, "{account}");
        let broken = retried(async || self.hot.broken_invariants(10).await).await;
        assert_eq!(broken, [], "{account}");
        let findings = self.ledger.audit(10).await.expect("no fault");
        assert_eq!(findings, [], "{account}");
    }

    /// What an account has used of its first grant.
    pub async fn used(&self, account: &str) -> u64 {
        let id = account_id(account);
        let (account, _) = retried(async || self.enforcer.account(&id).await).await;
        account.grants[0].used
    }

    /// What is held of an account.
    pub async fn held(&self, account: &str) -> u64 {
        let id = account_id(account);
        retried(async || self.enforcer.account(&id).await)
            .await
            .0
            .held()
    }

    /// What the store knows of a reservation.
    pub async fn state(&self, account: &str, id: &str) -> Option<State> {
        let (account_id, id) = (account_id(account), reservation_id(id));
        let answer = retried(async || self.hot.reservation(&account_id, &id).await).await;
        answer.expect("loaded").value.and_then(|view| view.state)
    }

    /// How many entries of a kind the account has in the ledger.
    pub async fn entries(&self, account_id: &AccountId, kind: EntryKind) -> usize {
        let filter = EntryFilter {
            account_id: Some(account_id.clone()),
            kinds: vec![kind],
            ..EntryFilter::default()
        };
        let page = self.ledger.entries(&filter, None, 10_000).await;
        page.expect("no fault").entries.len()
    }

    /// What was put right.
    pub async fn recovered(&self) -> Recovered {
        let stats = retried(async || self.hot.stats().await).await;
        stats.recovered
    }

    /// Lets it do nothing more for the ledger.
    pub fn stop_settling(&self) {
        self.stop.cancel();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<u64>>,
}

impl Load {
    /// Stops them; answers how many charges were answered on each account.
    pub async fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        let all = self.clients.join_all().await;
        let of_account = |place: usize| all.iter().map(|charged| charged[place]).sum();
        (0..all[0].len()).map(of_account).collect()
    }
}

pub fn creation(account: &str) -> ledger::ChangeRequest {
    let now = SystemClock::new().now();
    ledger::ChangeRequest {
        account_id: account_id(account),
        key: Some("create".to_owned()),
        payload: Vec::new(),
        wanted: Wanted::Create(create(plan("starter", ALLOWANCE), OveragePolicy::Debt, now)),
        call: None,
    }
}

/// A change that adds a grant that never expires.
pub fn packing(account: &str, id: &str, amount: u64) -> ledger::ChangeRequest {
    ledger::ChangeRequest {
        account_id: account_id(account),
        key: Some(id.to_owned()),
        payload: Vec::new(),
        wanted: Wanted::Grant {
            grant: Box::new(grant(id, GrantKind::Pack, amount, SystemClock::new().now())),
            reason: String::new(),
        },
        call: None,
    }
}

fn discuss() -> Action {
    Action {
        mode: "discuss".to_owned(),
        ..Action::default()
    }
}

/// Asks again until there is an answer, as every caller must.
pub async fn retried<T, E: std::fmt::Display>(call: impl AsyncFn() -> Result<T, E>) -> T {
    let started = now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(started.elapsed() < PATIENCE, "still: {error}"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
