//! What several suites need: hot stores to run against, with a clock that is moved by hand, and
//! the words to talk to them.
//!
//! A suite takes a [`Backend`], never a store of its own making, so that a further store runs
//! everything by being one more backend.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate::{
    clock::ManualClock,
    domain::{ids::AccountId, timestamp::Timestamp},
    hot::{
        HotStore,
        memory::{MemoryHot, MemoryOptions},
    },
};

pub mod account;
pub mod cluster;
pub mod commands;
pub mod hosts;
pub mod pair;
pub mod pki;
pub mod postgres;
pub mod processes;
pub mod proxy;
pub mod records;
pub mod redis;
pub mod replication;
pub mod requests;
pub mod servers;
pub mod sqlite;
pub mod texts;

/// How a hot store is to be set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Where its clock stands.
    pub now: Timestamp,
    /// How many shards it has.
    pub shards: u32,
    /// How long answers are kept for whoever retries, in milliseconds.
    pub replay_window_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            now: instant("2026-01-31T10:00:00Z"),
            shards: 1,
            replay_window_ms: 86_400_000,
        }
    }
}

/// A hot store, empty, and the hand on its clock.
#[derive(Clone)]
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn HotStore>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
}

/// Something that makes hot stores.
#[async_trait]
pub trait Backend: Send + Sync {
    /// How a failed test calls it.
    fn name(&self) -> &'static str;
    /// Whether the store keeps its reservations durably itself, so that its outbox has none.
    fn keeps_reservations(&self) -> bool {
        false
    }
    /// A new, empty store.
    async fn start(&self, setup: Setup) -> Fixture;
}

/// The memory store.
pub struct Memory;

#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn start(&self, setup: Setup) -> Fixture {
        let clock = Arc::new(ManualClock::new(setup.now));
        let options = MemoryOptions {
            shards: setup.shards,
            replay_window_ms: setup.replay_window_ms,
            ..MemoryOptions::default()
        };
        let store = Arc::new(MemoryHot::new(options, clock.clone()));
        Fixture { store, clock }
    }
}

/// Every hot store that the suites run against.
pub fn backends() -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Memory)];
    for shape in hosts::Shape::ALL {
        backends.push(Box::new(redis::Redis::new(shape)));
    }
    backends
}

/// An instant, as RFC 3339 writes it.
pub fn instant(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().expect("an RFC 3339 instant");
    Timestamp::from_millis(instant.as_millisecond())
}

/// An account's id.
pub fn account_id(text: &str) -> AccountId {
    AccountId::new(text).expect("an id")
}

/// Runs one test's future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
