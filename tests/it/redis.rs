//! What only the Redis store has: connections that break, replies that are lost, servers that
//! hang or fail over, and memory that is counted. All on real servers.

mod clusters;
mod drift;
mod faults;
mod memory;
mod recovery;
mod replies;
mod terms;
mod tls;
mod unload;
mod upkeep;
mod versions;

use std::{sync::Arc, time::Duration};

use tollgate::{
    domain::{account::OveragePolicy, ids::AccountId},
    hot::{
        Certainty, HotFault, HotStore,
        redis::{RedisHot, RedisOptions},
    },
};

use crate::support::{
    account::{create, plan},
    redis::Blank,
    servers::now,
};

/// The deadline of one call where faults are tested.
const DEADLINE: Duration = Duration::from_millis(200);
/// How much later than its deadline a call may answer on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// A store on a URL, with the server's clock.
fn store(url: &str) -> Arc<RedisHot> {
    store_with(RedisOptions {
        deadline: DEADLINE,
        shards: 4,
        unload_idle_ms: 0,
        ..RedisOptions::new(url.parse().expect("an address"))
    })
}

/// A store that verifies its shards itself, against a ledger that has nothing.
fn store_with(options: RedisOptions) -> Arc<RedisHot> {
    let options = RedisOptions {
        ledger: Some(Arc::new(Blank::default())),
        ..options
    };
    Arc::new(RedisHot::connect(options).expect("an address"))
}

/// Puts an account on a plan of 500 credits in, as of now.
async fn open(store: &RedisHot, id: &AccountId) -> Result<(), HotFault> {
    let create = create(
        plan("starter", 500),
        OveragePolicy::Debt,
        store.now().await?,
    );
    let loading = store.loading(id).await?;
    store.load(create.blank_account(id), loading).await?;
    let body = tollgate::domain::change::ChangeBody::Create(create);
    let first = tollgate::domain::change::Change {
        account_id: id.clone(),
        number: 1,
        body,
    };
    store.apply(&first).await?.expect("no refusal");
    Ok(())
}

/// Runs a call that must answer within its deadline, whatever it answers.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let started = now();
    let answer = call.await;
    let took = started.elapsed();
    assert!(took < DEADLINE + SLACK, "a call took {took:?}");
    answer
}

/// Asks again until there is no fault, within `patience`; every call within its deadline.
async fn until_it_works<T>(patience: Duration, call: impl AsyncFn() -> Result<T, HotFault>) -> T {
    let started = now();
    loop {
        match in_time(call()).await {
            Ok(answer) => return answer,
            Err(fault) => assert!(started.elapsed() < patience, "still: {fault}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_determinate(fault: &HotFault) -> bool {
    fault.certainty == Certainty::Determinate
}
