//! Hot balances in Redis or Valkey: the domain's rules as Lua scripts, one atomic script call
//! for each step, shared by any number of processes.
//!
//! The scripts (`redis/lua/*.lua`) are the domain's transitions under the domain's names, to be
//! read side by side with `src/domain/book/`; what a request says and Lua need not understand
//! passes through them as it is. A script brings back the records as they are after it, and the
//! domain's own functions make the answer of them. Where everything is kept, and what a crash
//! leaves of it, stands in `redis/keys.rs`.
//!
//! What is absent: no answer is worked out from two calls unless the second one checks again
//! what the first one saw, no number passes through text that could round it, and nothing waits
//! longer for the server than a call may take.

mod address;
mod answers;
mod bare;
mod blobs;
mod board;
mod calls;
mod changes;
mod durability;
mod entries;
mod faults;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod gate;
mod inspection;
mod keys;
mod known;
mod layout;
mod link;
mod packed;
mod pipelined;
mod publication;
mod recent;
mod records;
mod recovery;
mod scripts;
mod shards;
mod steps;
mod wires;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;

pub use self::{
    address::{AddressError, RedisAddress},
    bare::BareScripts,
    publication::Published,
    recovery::LedgerAccess,
};
use self::{
    gate::Gate,
    keys::ShardKeys,
    known::Known,
    link::{Link, LinkOptions},
    recent::Recent,
    recovery::Recovery,
    shards::BatchSize,
    steps::Violations,
};
use super::{
    Answer, Cursor, HotFault, HotStats, HotStore, Loaded, Loading, OutboxBatch, Stored, Swept,
};
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        account::Account,
        change::{Applied, Change},
        command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
        decision::{Balance, Charged, Committed, Extended, Released, ReservationView, Reserved},
        ids::{AccountId, ReservationId},
        reservation::Terms,
        timestamp::Timestamp,
    },
};

/// The longest replay window that is a key's time to live: ten years.
const WINDOW_MS_MAX: u64 = 10 * 366 * 86_400_000;

/// How a Redis store is reached and set up.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where Redis is.
    pub address: RedisAddress,
    /// The root certificates for TLS, in PEM; absent: the machine's.
    pub tls_ca: Option<Vec<u8>>,
    /// How many connections a process has to one server. A cluster's client has its own.
    pub connections: usize,
    /// How long one call may take, resending and redirections included.
    pub deadline: Duration,
    /// How long making a connection may take. It is made in the background.
    pub connect_timeout: Duration,
    /// How many shards there are: fixed by the first process that ever connected.
    pub shards: u32,
    /// Whether this process may be the one that fixes their number; otherwise it waits for one
    /// that does, and is refused where its own number is another one.
    pub fixes_shards: bool,
    /// The id of this process's ledger: a store that belongs to another one is refused, and one
    /// that belongs to none is this one's from now on. Absent: not compared.
    pub ledger_id: Option<String>,
    /// How long the answer to a settled reservation is kept for whoever retries, in milliseconds.
    pub replay_window_ms: u64,
    /// How many outbox records one shard keeps while the ledger takes none. Beyond it every step
    /// on the shard is refused as a fault.
    pub outbox_max: u64,
    /// After how long without a change an account without holds is unloaded, in milliseconds;
    /// zero: never.
    pub unload_idle_ms: u64,
    /// A clock in place of the server's, for tests; then a sweep forgets settled reservations,
    /// which Redis would do itself otherwise.
    pub clock: Option<Arc<dyn Clock>>,
    /// What a shard is verified against, and rebuilt from, before the first step on it and
    /// whenever its server was restarted, replaced or emptied. Absent: another process has to.
    pub ledger: Option<Arc<dyn LedgerAccess>>,
}

impl RedisOptions {
    /// The options for an address, everything else by default.
    pub fn new(address: RedisAddress) -> Self {
        RedisOptions {
            address,
            tls_ca: None,
            connections: 2,
            deadline: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            shards: 64,
            fixes_shards: true,
            ledger_id: None,
            replay_window_ms: 86_400_000,
            outbox_max: 1_000_000,
            unload_idle_ms: 86_400_000,
            clock: None,
            ledger: None,
        }
    }
}

/// Hot balances in Redis.
#[derive(Debug)]
pub struct RedisHot {
    link: Arc<Link>,
    gate: Arc<Gate>,
    shards: Vec<ShardKeys>,
    options: RedisOptions,
    violations: Violations,
    /// Measures how much of a call's time is left.
    clock: SystemClock,
    recent: Recent,
    known: Known,
    batch_size: BatchSize,
}

impl RedisHot {
    /// Prepares the store and connects to nothing: the first call does, and until the server is
    /// there every call is answered by a fault. `Err` where the address can't be used at all.
    pub fn connect(options: RedisOptions) -> Result<Self, AddressError> {
        let shards = options.shards.max(1);
        let link = Arc::new(Link::new(&LinkOptions {
            address: options.address.clone(),
            tls_ca: options.tls_ca.clone(),
            connections: options.connections,
            deadline: options.deadline,
            connect_timeout: options.connect_timeout,
            shards,
            fixes_shards: options.fixes_shards,
            ledger_id: options.ledger_id.clone(),
        })?);
        let keys: Vec<ShardKeys> = (0..shards).map(ShardKeys::new).collect();
        let ledger = options.ledger.clone();
        let recovery = Recovery::new(
            Arc::clone(&link),
            keys.clone(),
            ledger,
            options.clock.clone(),
        );
        Ok(RedisHot {
            link,
            gate: Arc::new(Gate::new(recovery, shards)),
            shards: keys,
            options: RedisOptions { shards, ..options },
            violations: Violations::default(),
            clock: SystemClock::new(),
            recent: Recent::default(),
            known: Known::nothing(shards),
            batch_size: BatchSize::default(),
        })
    }

    /// Returns once every shard is verified for the server that it is on; fails where one of them
    /// takes longer than `limit`.
    pub async fn verified(&self, limit: Duration) -> Result<(), HotFault> {
        for shard in 0..self.options.shards {
            let verified = self.gate.verified(shard, limit).await;
            verified.map_err(|failure| failure.of("verify"))?;
        }
        Ok(())
    }

    /// Whether calls fail at once, since the last attempt to connect failed; but for those that
    /// come when the next one is due, and wait for it.
    pub fn breaker_is_open(&self) -> bool {
        self.link.breaker_is_open()
    }

    fn shard_of(&self, id: &AccountId) -> u32 {
        keys::shard_of(id, self.options.shards)
    }

    /// How many broken invariants this process has met since its start, and what it has put right.
    pub fn found(&self) -> (u64, super::Recovered) {
        (self.violations.total(), self.gate.recovered())
    }
}

#[async_trait]
impl HotStore for RedisHot {
    async fn reserve(&self, command: &Reserve) -> Answer<Reserved> {
        self.reserve_step(command).await
    }

    async fn extend(&self, command: &Extend) -> Answer<Extended> {
        self.extend_step(command).await
    }

    async fn commit(&self, command: &Commit) -> Answer<Committed> {
        self.commit_step(command).await
    }

    async fn release(&self, command: &Release) -> Answer<Released> {
        self.release_step(command).await
    }

    async fn charge(&self, command: &Charge) -> Answer<Charged> {
        self.charge_step(command).await
    }

    async fn balance(&self, account_id: &AccountId) -> Answer<Balance> {
        let answer = self.account(account_id).await?;
        Ok(answer.map(|done| super::Done {
            value: done.value.1,
            mark: done.mark,
        }))
    }

    async fn account(&self, account_id: &AccountId) -> Answer<(Account, Balance)> {
        self.account_step(account_id).await
    }

    async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<ReservationView>> {
        let answer = self.stored_reservation(account_id, reservation_id).await?;
        Ok(answer.map(|done| super::Done {
            value: done.value.map(|known| known.view()),
            mark: done.mark,
        }))
    }

    async fn terms(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Terms>> {
        self.terms_step(account_id, reservation_id).await
    }

    async fn apply(&self, change: &Change) -> Answer<Applied> {
        self.apply_step(change).await
    }

    async fn renew(&self, renewal: &Renewal) -> Answer<()> {
        self.renew_step(renewal).await
    }

    async fn loaded(&self, shard: u32, from: Option<&str>, max: usize) -> Result<Loaded, HotFault> {
        self.scan(shard, from, max).await
    }

    async fn stored(&self, account_id: &AccountId) -> Result<Option<Stored>, HotFault> {
        self.look_at(account_id).await
    }

    async fn repair(&self, repair: &Repair) -> Answer<Option<usize>> {
        self.repair_step(repair).await
    }

    async fn loading(&self, account_id: &AccountId) -> Result<Loading, HotFault> {
        self.loading_step(account_id).await
    }

    async fn load(&self, account: Account, loading: Loading) -> Result<(), HotFault> {
        self.load_account(&account, loading).await
    }

    async fn sweep(&self, max: usize) -> Result<Swept, HotFault> {
        self.sweep_shards(max).await
    }

    fn shards(&self) -> u32 {
        self.options.shards
    }

    async fn outboxes(&self, shards: &[u32]) -> Vec<Result<OutboxBatch, HotFault>> {
        join_all(shards.iter().map(|shard| self.read_outbox(*shard))).await
    }

    async fn trim(&self, reached: Cursor) -> Result<(), HotFault> {
        self.trim_outbox(reached).await
    }

    async fn distrust(&self, cursor: Cursor) -> Result<(), HotFault> {
        let closed = self.gate.distrust(cursor).await;
        closed.map_err(|failure| failure.of("distrust"))
    }

    async fn stats(&self) -> Result<HotStats, HotFault> {
        self.count().await
    }

    async fn now(&self) -> Result<Timestamp, HotFault> {
        self.server_time().await
    }

    async fn broken_invariants(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        self.inspect(max).await
    }
}
