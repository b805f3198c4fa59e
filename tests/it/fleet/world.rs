//! The processes, their stores, and what is left in the ledger.

use std::{collections::BTreeMap, time::Duration};

use tempfile::TempDir;
use tollgate::pb::{
    CreateAccountRequest, GetBalanceRequest, GrantCreditsRequest, GrantKind, grant_credits_request,
};
use tonic::{Response, Status};

use crate::{
    process::{Sidecar, run},
    support::{
        postgres::Database,
        servers::{now, wait},
    },
};

/// The longest that one step on Redis may take.
pub const STEP: Duration = Duration::from_millis(250);
/// How many shards there are: more than one, and few enough that each is busy.
pub const SHARDS: u32 = 4;
/// How long until a request is answered, or everything that was answered is in the ledger.
const SETTLED: Duration = Duration::from_secs(60);
/// How often a look at everything is taken again that was cut short.
const RECONCILES: usize = 20;
/// What the command line ends with where a store did not answer.
const UNAVAILABLE: i32 = 69;
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The same call, as often as it is wanted.
macro_rules! again {
    ($client:expr, $method:ident, $request:expr) => {
        || {
            let (mut client, request) = ($client.clone(), $request.clone());
            async move { client.$method(request).await }
        }
    };
}
pub(crate) use again;

/// A settlement: the account, the reservation, and how many credits it charged.
pub type Charges = BTreeMap<(String, String), u64>;

/// Processes that share their stores.
pub struct Fleet {
    pub sidecars: Vec<Sidecar>,
    ledger: String,
    folder: TempDir,
}

impl Fleet {
    /// Starts some, each with all roles, and waits until they are ready.
    pub fn start(count: usize, hot: &str, ledger: &str, settings: &[&str]) -> Self {
        let mut fleet = Fleet {
            sidecars: Vec::new(),
            ledger: ledger.to_owned(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for _ in 0..count {
            fleet.add(hot, ledger, settings);
        }
        tokio::task::block_in_place(|| {
            for sidecar in &fleet.sidecars {
                wait("readiness", || sidecar.is_ready());
            }
        });
        fleet
    }

    /// Starts one more.
    pub fn add(&mut self, hot: &str, ledger: &str, settings: &[&str]) {
        let own = [
            format!("redis.call_timeout_ms={}", STEP.as_millis()),
            format!("shards={SHARDS}"),
            // What fails is counted by whoever asks.
            "log.filter=off".to_owned(),
            "settle.flush_interval_ms=20".to_owned(),
            "redis.connect_timeout_ms=4000".to_owned(),
            "postgres.acquire_timeout_ms=5000".to_owned(),
            // Longer than what bounds each store, so that it is the store's bound that is met.
            "grpc.request_timeout_ms=8000".to_owned(),
        ];
        let mut args = vec!["--hot", hot, "--ledger", ledger];
        for setting in own
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
        {
            args.extend(["--set", setting]);
        }
        let folder = self.folder.path().join(self.sidecars.len().to_string());
        // What it connects to may be a task of the test's own, which must go on.
        let sidecar = tokio::task::block_in_place(|| Sidecar::start(&folder, &args));
        self.sidecars.push(sidecar);
    }

    /// Makes an account with many credits.
    pub async fn create(&self, account_id: &str, credits: u64) {
        let admin = self.sidecars[0].admin().await;
        let create = CreateAccountRequest {
            account_id: account_id.to_owned(),
            plan_id: "free".to_owned(),
            ..CreateAccountRequest::default()
        };
        let created = again!(admin, create_account, create);
        insist("an account", created).await;
        let grant = GrantCreditsRequest {
            account_id: account_id.to_owned(),
            grant_id: "more".to_owned(),
            kind: GrantKind::Adjustment as i32,
            amount: Some(grant_credits_request::Amount::Credits(credits)),
            ..GrantCreditsRequest::default()
        };
        let granted = again!(admin, grant_credits, grant);
        insist("a grant", granted).await;
    }

    /// Available, held, and owed.
    pub async fn balance(&self, account_id: &str) -> (u64, u64, u64) {
        let request = GetBalanceRequest {
            account_id: account_id.to_owned(),
        };
        let quota = self.sidecars[0].quota().await;
        let asked = again!(quota, get_balance, request);
        let answer = insist("a balance", asked).await;
        let balance = answer.balance.expect("a balance");
        (balance.available, balance.held, balance.debt)
    }

    /// Every command line tool finds that ledger and balances add up.
    pub fn reconcile(&self) {
        let endpoint = &self.sidecars[0].grpc;
        let args = ["--ledger", &self.ledger, "--endpoint", endpoint];
        let mut output = run(&[&["reconcile"], &args[..]].concat());
        // A store that does not answer in time is a machine that is busy.
        for _ in 0..RECONCILES {
            if output.status.code() != Some(UNAVAILABLE) {
                break;
            }
            output = run(&[&["reconcile"], &args[..]].concat());
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{output:?}");
        assert!(said.contains("everything adds up"), "{said}");
    }
}

/// Asks until there is an answer: a machine that is busy is no fault.
pub async fn insist<T, F>(what: &str, call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let started = now();
    loop {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => assert!(started.elapsed() < SETTLED, "{what}: {status:?}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the ledger has charged: every settlement once, which is checked here.
pub async fn charged(database: &Database) -> Charges {
    let rows = database
        .texts(
            "SELECT account_id || '/' || reservation_id || '/' || (-credits)::text
             FROM entries WHERE kind = 'usage'",
        )
        .await;
    let mut found = Charges::new();
    for row in rows {
        let parts: Vec<&str> = row.split('/').collect();
        let [account_id, reservation_id, credits] = parts[..] else {
            panic!("{row}")
        };
        let key = (account_id.to_owned(), reservation_id.to_owned());
        let credits = credits.parse().expect("a number");
        let twice = found.insert(key, credits);
        assert!(twice.is_none(), "{row} is there twice");
    }
    found
}

/// Waits until the ledger has as many settlements as were answered, and compares them one by one.
pub async fn compare(database: &Database, answered: &Charges) {
    let started = now();
    let found = loop {
        let found = charged(database).await;
        if found.len() >= answered.len() || started.elapsed() > SETTLED {
            break found;
        }
        tokio::time::sleep(LOOK).await;
    };
    let missing = answered.iter().filter(|(key, _)| !found.contains_key(*key));
    let missing: Vec<_> = missing.take(5).collect();
    assert!(
        missing.is_empty(),
        "answered and not in the ledger: {missing:?}"
    );
    let odd = found
        .iter()
        .filter(|(key, credits)| answered.get(*key) != Some(credits));
    let odd: Vec<_> = odd.take(5).collect();
    assert!(
        odd.is_empty(),
        "in the ledger otherwise than answered: {odd:?}"
    );
}
