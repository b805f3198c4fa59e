//! The Redis store as a backend: on hosts that are taken when they are needed, emptied between two
//! fixtures, and given back with the backend.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, Weak},
};

use async_trait::async_trait;
use tollgate::{
    clock::{Clock, ManualClock},
    domain::{
        account::Account,
        entry::Entry,
        ids::{AccountId, ReservationId},
    },
    hot::{
        Commits, Cursor, Fence, Standing,
        redis::{LedgerAccess, RedisHot, RedisOptions},
    },
};

use super::{
    Backend, Fixture, Setup,
    hosts::{Lease, Shape},
};

/// How long a call may take where no fault is expected: a busy machine is none.
pub const NO_DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// A ledger that has nothing of any shard but its epoch, for stores that are tested by themselves.
#[derive(Debug, Default)]
pub struct Blank(Mutex<BTreeMap<u32, u64>>);

#[async_trait]
impl LedgerAccess for Blank {
    async fn standing(
        &self,
        shard: u32,
        _epoch: u64,
    ) -> Result<Standing, Box<dyn Error + Send + Sync>> {
        let epochs = self.0.lock().expect("no panic");
        let epoch = epochs.get(&shard).copied().unwrap_or(0);
        Ok(Standing {
            cursor: Cursor {
                shard,
                epoch,
                position: 0,
            },
            ..Standing::default()
        })
    }

    async fn fence(&self, fence: &Fence) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let mut epochs = self.0.lock().expect("no panic");
        let epoch = epochs.entry(fence.shard).or_insert(0);
        *epoch += 1;
        Ok(*epoch == fence.epoch + 1)
    }

    async fn accounts(
        &self,
        _account_ids: &[AccountId],
    ) -> Result<Vec<Account>, Box<dyn Error + Send + Sync>> {
        Ok(Vec::new())
    }

    async fn has(&self, _entry: &Entry) -> Result<bool, Box<dyn Error + Send + Sync>> {
        Ok(true)
    }

    async fn commits(
        &self,
        _account_id: &AccountId,
        _reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Box<dyn Error + Send + Sync>> {
        Ok(Vec::new())
    }
}

/// Redis, or what stands in for it.
pub struct Redis {
    shape: Shape,
    /// Each host with the store that uses it.
    hosts: Mutex<Vec<(Lease, Weak<RedisHot>)>>,
}

impl Redis {
    /// A backend that has taken nothing yet.
    pub fn new(shape: Shape) -> Self {
        Redis {
            shape,
            hosts: Mutex::new(Vec::new()),
        }
    }

    /// A store on an empty host.
    pub fn store(&self, setup: Setup, clock: Option<Arc<dyn Clock>>) -> Arc<RedisHot> {
        let mut hosts = self.hosts.lock().expect("no panic");
        let free = hosts
            .iter_mut()
            .position(|(_, user)| user.strong_count() == 0);
        let place = free.unwrap_or_else(|| {
            hosts.push((Lease::take(self.shape), Weak::new()));
            hosts.len() - 1
        });
        let (host, user) = &mut hosts[place];
        host.empty();
        let options = options(host.url(), setup, clock);
        let store = Arc::new(RedisHot::connect(options).expect("an address"));
        *user = Arc::downgrade(&store);
        store
    }
}

/// The options for a host, without a deadline that a busy machine would miss.
pub fn options(url: &str, setup: Setup, clock: Option<Arc<dyn Clock>>) -> RedisOptions {
    RedisOptions {
        deadline: NO_DEADLINE,
        connect_timeout: NO_DEADLINE,
        shards: setup.shards,
        replay_window_ms: setup.replay_window_ms,
        unload_idle_ms: 0,
        ledger: Some(Arc::new(Blank::default())),
        clock,
        ..RedisOptions::new(url.parse().expect("an address"))
    }
}

#[async_trait]
impl Backend for Redis {
    fn name(&self) -> &'static str {
        self.shape.name()
    }

    fn keeps_reservations(&self) -> bool {
        true
    }

    async fn start(&self, setup: Setup) -> Fixture {
        let clock = Arc::new(ManualClock::new(setup.now));
        let store = self.store(setup, Some(clock.clone()));
        Fixture { store, clock }
    }
}
