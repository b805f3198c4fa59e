//! Memory and Redis side by side: one store that asks both the same, and fails where an answer,
//! a state, a reservation or an outbox entry of one is not the other's, to the letter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tollgate::{
    clock::ManualClock,
    domain::{
        account::Account,
        change::{Applied, Change},
        command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
        decision::{
            Balance, Charged, Committed, Extended, Refusal, Released, ReservationView, Reserved,
        },
        ids::{AccountId, ReservationId},
        timestamp::Timestamp,
    },
    hot::{
        Answer, Cursor, Done, HotFault, HotStats, HotStore, Loaded, Loading, OutboxBatch, Stored,
        Swept,
        memory::{MemoryHot, MemoryOptions},
        redis::RedisHot,
    },
};

use super::{Backend, Fixture, Setup, hosts::Shape, redis::Redis};

/// Memory beside Redis.
pub struct Pair(Redis);

impl Pair {
    /// Beside a host of a shape.
    pub fn new(shape: Shape) -> Self {
        Pair(Redis::new(shape))
    }
}

#[async_trait]
impl Backend for Pair {
    fn name(&self) -> &'static str {
        "memory beside redis"
    }

    async fn start(&self, setup: Setup) -> Fixture {
        assert_eq!(
            setup.shards, 1,
            "each store has its own way to choose a shard"
        );
        let clock = Arc::new(ManualClock::new(setup.now));
        let options = MemoryOptions {
            shards: setup.shards,
            replay_window_ms: setup.replay_window_ms,
            ..MemoryOptions::default()
        };
        let store = Arc::new(Both {
            memory: MemoryHot::new(options, clock.clone()),
            redis: self.0.store(setup, Some(clock.clone())),
            batches: Mutex::default(),
            known: Mutex::default(),
        });
        Fixture { store, clock }
    }
}

struct Both {
    memory: MemoryHot,
    redis: Arc<RedisHot>,
    /// Where Redis's batch ended by where memory's did.
    batches: Mutex<BTreeMap<u64, Cursor>>,
    /// Every reservation that was ever asked for.
    known: Mutex<BTreeSet<(AccountId, ReservationId)>>,
}

const FAULT: &str = "no fault is expected here";

impl Both {
    fn same<T: PartialEq + Debug>(memory: Answer<T>, redis: Answer<T>) -> Answer<T> {
        let plain = |answer: &Result<Done<T>, Refusal>| match answer {
            Ok(done) => format!("{:#?}", done.value),
            Err(refusal) => format!("{refusal:#?}"),
        };
        let (memory, redis) = (memory.expect(FAULT), redis.expect(FAULT));
        let is_same = match (&memory, &redis) {
            (Ok(memory), Ok(redis)) => memory.value == redis.value,
            (Err(memory), Err(redis)) => memory == redis,
            _ => false,
        };
        assert!(
            is_same,
            "memory: {}\nredis: {}",
            plain(&memory),
            plain(&redis)
        );
        Ok(memory)
    }

    /// After a step: the account and the reservation are the same in both.
    async fn compare(&self, account_id: &AccountId, reservation_id: Option<&ReservationId>) {
        if let Some(id) = reservation_id {
            let key = (account_id.clone(), id.clone());
            self.known.lock().expect("no panic").insert(key);
            let of_memory = self.memory.reservation(account_id, id).await;
            let of_redis = self.redis.reservation(account_id, id).await;
            let _: Result<_, _> = Self::same(of_memory, of_redis).expect(FAULT);
        }
        let of_memory = self.memory.account(account_id).await;
        let of_redis = self.redis.account(account_id).await;
        let _: Result<_, _> = Self::same(of_memory, of_redis).expect(FAULT);
    }

    /// Every reservation that was ever asked for.
    async fn compare_all(&self) {
        let known = self.known.lock().expect("no panic").clone();
        for (account_id, id) in known {
            let of_memory = self.memory.reservation(&account_id, &id).await;
            let of_redis = self.redis.reservation(&account_id, &id).await;
            let _: Result<_, _> = Self::same(of_memory, of_redis).expect(FAULT);
        }
    }
}

#[async_trait]
impl HotStore for Both {
    async fn reserve(&self, command: &Reserve) -> Answer<Reserved> {
        let (memory, redis) = (
            self.memory.reserve(command).await,
            self.redis.reserve(command).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&command.account_id, Some(&command.reservation_id))
            .await;
        answer
    }

    async fn extend(&self, command: &Extend) -> Answer<Extended> {
        let (memory, redis) = (
            self.memory.extend(command).await,
            self.redis.extend(command).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&command.account_id, Some(&command.reservation_id))
            .await;
        answer
    }

    async fn commit(&self, command: &Commit) -> Answer<Committed> {
        let (memory, redis) = (
            self.memory.commit(command).await,
            self.redis.commit(command).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&command.account_id, Some(&command.reservation_id))
            .await;
        answer
    }

    async fn release(&self, command: &Release) -> Answer<Released> {
        let (memory, redis) = (
            self.memory.release(command).await,
            self.redis.release(command).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&command.account_id, Some(&command.reservation_id))
            .await;
        answer
    }

    async fn charge(&self, command: &Charge) -> Answer<Charged> {
        let (memory, redis) = (
            self.memory.charge(command).await,
            self.redis.charge(command).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&command.account_id, Some(&command.charge_id))
            .await;
        answer
    }

    async fn balance(&self, account_id: &AccountId) -> Answer<Balance> {
        Self::same(
            self.memory.balance(account_id).await,
            self.redis.balance(account_id).await,
        )
    }

    async fn account(&self, account_id: &AccountId) -> Answer<(Account, Balance)> {
        Self::same(
            self.memory.account(account_id).await,
            self.redis.account(account_id).await,
        )
    }

    async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<ReservationView>> {
        Self::same(
            self.memory.reservation(account_id, reservation_id).await,
            self.redis.reservation(account_id, reservation_id).await,
        )
    }

    async fn apply(&self, change: &Change) -> Answer<Applied> {
        let (memory, redis) = (
            self.memory.apply(change).await,
            self.redis.apply(change).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&change.account_id, None).await;
        answer
    }

    async fn renew(&self, renewal: &Renewal) -> Answer<()> {
        let (memory, redis) = (
            self.memory.renew(renewal).await,
            self.redis.renew(renewal).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&renewal.account_id, None).await;
        answer
    }

    async fn loaded(&self, shard: u32, from: Option<&str>, max: usize) -> Result<Loaded, HotFault> {
        self.memory.loaded(shard, from, max).await
    }

    async fn stored(&self, account_id: &AccountId) -> Result<Option<Stored>, HotFault> {
        let memory = self.memory.stored(account_id).await.expect(FAULT);
        let redis = self.redis.stored(account_id).await.expect(FAULT);
        assert_eq!(memory, redis, "memory left, redis right");
        Ok(memory)
    }

    async fn repair(&self, repair: &Repair) -> Answer<Option<usize>> {
        let (memory, redis) = (
            self.memory.repair(repair).await,
            self.redis.repair(repair).await,
        );
        let answer = Self::same(memory, redis);
        self.compare(&repair.stored.id, None).await;
        answer
    }

    async fn loading(&self, account_id: &AccountId) -> Result<Loading, HotFault> {
        self.redis.loading(account_id).await
    }

    async fn load(&self, account: Account, loading: Loading) -> Result<(), HotFault> {
        let id = account.id.clone();
        let of_memory = self.memory.load(account.clone(), loading);
        of_memory.await.expect(FAULT);
        self.redis.load(account, loading).await.expect(FAULT);
        self.compare(&id, None).await;
        Ok(())
    }

    async fn sweep(&self, max: usize) -> Result<Swept, HotFault> {
        let memory = self.memory.sweep(max).await.expect(FAULT);
        let redis = self.redis.sweep(max).await.expect(FAULT);
        assert_eq!(memory, redis, "memory left, redis right");
        self.compare_all().await;
        Ok(memory)
    }

    fn shards(&self) -> u32 {
        1
    }

    async fn outboxes(&self, shards: &[u32]) -> Vec<Result<OutboxBatch, HotFault>> {
        let memory = self.memory.outboxes(shards).await;
        let redis = self.redis.outboxes(shards).await;
        assert_eq!(memory.len(), redis.len(), "memory left, redis right");
        for (memory, redis) in memory.iter().zip(redis) {
            let (memory, redis) = (memory.as_ref().expect(FAULT), redis.expect(FAULT));
            assert_eq!(memory.entries, redis.entries, "memory left, redis right");
            self.batches
                .lock()
                .expect("no panic")
                .insert(memory.to, redis.end());
        }
        memory
    }

    async fn trim(&self, reached: Cursor) -> Result<(), HotFault> {
        let batches = self.batches.lock().expect("no panic").clone();
        let of_redis = batches.get(&reached.position).expect("the end of a batch");
        self.memory.trim(reached).await.expect(FAULT);
        self.redis.trim(*of_redis).await.expect(FAULT);
        Ok(())
    }

    async fn distrust(&self, cursor: Cursor) -> Result<(), HotFault> {
        self.redis.distrust(cursor).await
    }

    async fn stats(&self) -> Result<HotStats, HotFault> {
        let memory = self.memory.stats().await.expect(FAULT);
        let redis = self.redis.stats().await.expect(FAULT);
        let counts = |stats: HotStats| (stats.accounts, stats.open);
        assert_eq!(counts(memory), counts(redis), "memory left, redis right");
        Ok(memory)
    }

    async fn now(&self) -> Result<Timestamp, HotFault> {
        self.memory.now().await
    }

    async fn broken_invariants(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        let mut broken = self.memory.broken_invariants(max).await.expect(FAULT);
        broken.extend(self.redis.broken_invariants(max).await.expect(FAULT));
        Ok(broken)
    }
}
