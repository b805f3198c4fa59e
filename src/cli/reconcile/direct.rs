//! The balances in a Redis against the ledger, account by account, where both stand at the same
//! sequence; without a server in between.

use std::{sync::Arc, time::Duration};

use super::Compared;
use crate::{
    app,
    cli::{exit::Exit, output::Failure},
    config::{Config, HotUrl},
    hot::{HotStore, redis::RedisHot},
    ledger::{Finding, Ledger},
    workers::{
        StepError,
        reconciler::{self, Place},
    },
};

/// The most accounts that are compared at once.
const PAGE: usize = 500;
/// How often an account is looked at again whose ledger is still on its way.
const LOOKS_MAX: usize = 3;
/// The invariant that a difference breaks: the entries add up to the state.
const ADDS_UP: u8 = 4;

/// Compares every loaded account, until `limit` of them are off; puts those right if it is asked
/// to.
pub(super) async fn compare(
    hot: &dyn HotStore,
    repair: bool,
    ledger: &dyn Ledger,
    limit: usize,
) -> Result<Compared, Failure> {
    let mut compared = Compared::default();
    let mut place = Some(Place::default());
    while let Some(here) = place.filter(|_| compared.findings.len() < limit) {
        let (page, next) = here.next(hot, PAGE).await.map_err(failed)?;
        place = next;
        let found = reconciler::compare(hot, ledger, &page.ids, LOOKS_MAX).await;
        let found = found.map_err(failed)?;
        compared.accounts += found.accounts;
        compared.moving += found.moving;
        for drift in found.drifts {
            if let Some(wanted) = drift.repair.filter(|_| repair)
                && reconciler::repaired(hot, &wanted).await.map_err(failed)?
            {
                compared.repaired += 1;
            }
            compared.findings.push(Finding {
                account_id: Some(drift.account_id),
                invariant: ADDS_UP,
                detail: format!("in Redis: {}", drift.reason),
            });
        }
    }
    Ok(compared)
}

/// The store, which verifies no shard: that is the servers' work.
pub(super) async fn open(
    config: &Config,
    timeout: Duration,
    ledger: &dyn Ledger,
) -> Result<Arc<dyn HotStore>, Failure> {
    let HotUrl::Redis(url) = &config.hot else {
        let told = "--hot must name a Redis, e.g. redis://HOST:PORT".to_owned();
        return Err(Failure::new(Exit::Usage, told)
            .hint("a store in memory is compared through its server: --endpoint"));
    };
    let mut options = app::redis_options(url, config).map_err(|error| failed(error.into()))?;
    options.deadline = timeout;
    options.connect_timeout = timeout;
    let cursors = ledger
        .cursors()
        .await
        .map_err(|fault| failed(fault.into()))?;
    options.shards = u32::try_from(cursors.len()).unwrap_or(u32::MAX).max(1);
    let id = ledger.id().await.map_err(|fault| failed(fault.into()))?;
    options.ledger_id = Some(id);
    let opened = RedisHot::connect(options).map_err(|error| failed(error.into()))?;
    Ok(Arc::new(opened))
}

fn failed(error: StepError) -> Failure {
    Failure::new(Exit::Unavailable, error.to_string())
}
