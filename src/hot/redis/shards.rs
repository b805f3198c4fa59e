//! What concerns a whole shard: the sweep, the outbox, the counts. Every pass is bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    RedisHot,
    answers::broken_reply,
    entries::read_entry,
    faults::Failure,
    packed::{Broken, Reader},
    records, scripts,
    steps::{Step, text},
};
use crate::{
    domain::{ids::AccountId, timestamp::Timestamp},
    hot::{Cursor, HotFault, HotStats, Line, Mark, OutboxBatch, Swept},
};

/// The most records that one batch of an outbox has, and the least that it may have where more wait
/// and the network is too slow for them.
const BATCH_MAX: u64 = 2_000;
const BATCH_MIN: u64 = 50;
/// The most accounts that one sweep looks at in one shard, and the most reservations that it
/// forgets in one call.
const VISITS_MAX: usize = 1_000;
/// How many of them may fail before the sweep of their shard does.
const VISIT_FAULTS_MAX: usize = 8;

/// How many records of an outbox are asked for: fewer after a reply that did not come in time, since
/// the same ones would be asked for again.
#[derive(Debug)]
pub(super) struct BatchSize(AtomicU64);

impl Default for BatchSize {
    fn default() -> Self {
        BatchSize(AtomicU64::new(BATCH_MAX))
    }
}

impl BatchSize {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// `asked` records were asked for, and came or did not.
    fn learn(&self, asked: u64, came: bool) {
        let next = match came {
            true => (asked * 2).min(BATCH_MAX),
            false => (asked / 2).max(BATCH_MIN),
        };
        self.0.store(next, Ordering::Relaxed);
    }
}

impl RedisHot {
    pub(super) async fn sweep_shards(&self, max: usize) -> Result<Swept, HotFault> {
        let mut swept = Swept::default();
        let mut fault = None;
        for shard in 0..self.options.shards {
            if let Err(found) = self.sweep_shard(shard, max, &mut swept).await {
                fault = Some(found);
            }
        }
        // A shard that is being verified keeps nobody waiting for the others.
        match fault {
            Some(fault) if swept == Swept::default() => Err(fault),
            Some(_) | None => Ok(swept),
        }
    }

    async fn sweep_shard(&self, shard: u32, max: usize, swept: &mut Swept) -> Result<(), HotFault> {
        self.expire_due(shard, max, swept).await?;
        swept.forgotten += self.forget(shard, max).await?;
        Ok(())
    }

    /// Visits the accounts that are due, earliest first.
    async fn expire_due(&self, shard: u32, max: usize, swept: &mut Swept) -> Result<(), HotFault> {
        let (mut left, mut faults) = (max, Vec::new());
        for account_id in self.due_accounts(shard, max.min(VISITS_MAX)).await? {
            if left == 0 {
                break;
            }
            let (expired, is_unloaded) = match self.visit(&account_id, left).await {
                Ok(done) => done,
                // One that is not as it should be is in nobody's way; many are not by themselves.
                Err(found) if faults.len() < VISIT_FAULTS_MAX => {
                    tracing::warn!(account = %account_id, %found, "an account can't be swept");
                    faults.push(found);
                    continue;
                }
                Err(found) => return Err(found),
            };
            left = left.saturating_sub(expired);
            swept.expired += expired;
            swept.unloaded += usize::from(is_unloaded);
        }
        faults.pop().map_or(Ok(()), Err)
    }

    async fn due_accounts(&self, shard: u32, max: usize) -> Result<Vec<AccountId>, HotFault> {
        const OPERATION: &str = "sweep";
        let given = [self.shards[shard as usize].due.to_string()];
        let arguments = [self.given_now(), text(max as u64)];
        let reply = self
            .run(OPERATION, shard, &scripts::DUE, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<Vec<AccountId>, Broken> {
            reader.int()?;
            let count = reader.array()?;
            (0..count)
                .map(|_| records::id(&mut reader, AccountId::new))
                .collect()
        };
        read(Reader::new(&reply)).map_err(|broken| broken_reply(broken, OPERATION))
    }

    /// Expires what is due of one account, unloads it where it is idle; answers how many expired,
    /// and whether it is gone.
    async fn visit(&self, account_id: &AccountId, max: usize) -> Result<(usize, bool), HotFault> {
        const OPERATION: &str = "sweep";
        let step = Step {
            operation: OPERATION,
            script: &scripts::EXPIRE,
            account_id,
            reservation_id: None,
            arguments: vec![
                text(max.min(VISITS_MAX) as u64),
                text(self.options.unload_idle_ms),
            ],
        };
        // Whoever unloaded it meanwhile has done what there was to do.
        let Ok(told) = self.step(step).await? else {
            return Ok((0, false));
        };
        let read = |mut reader: Reader<'_>| Ok((reader.u32()?, reader.bool()?));
        let (expired, is_idle) =
            read(told.extra()).map_err(|broken| broken_reply(broken, OPERATION))?;
        let mut is_unloaded = false;
        if is_idle {
            let unloaded = self.unload(account_id, self.options.unload_idle_ms).await?;
            is_unloaded = unloaded.is_ok_and(|done| done.value);
        }
        Ok((expired as usize, is_unloaded))
    }

    /// Forgets settled reservations, where Redis does not do so by itself.
    async fn forget(&self, shard: u32, max: usize) -> Result<usize, HotFault> {
        const OPERATION: &str = "sweep";
        let Some(clock) = &self.options.clock else {
            return Ok(0);
        };
        let keys = &self.shards[shard as usize];
        let window = i64::try_from(self.options.replay_window_ms).unwrap_or(i64::MAX);
        let until = clock.now().millis().saturating_sub(window);
        let mut find = redis::cmd("ZRANGEBYSCORE");
        find.arg(&*keys.ended)
            .arg("-inf")
            .arg(until)
            .arg("LIMIT")
            .arg(0)
            .arg(max.min(VISITS_MAX));
        let found: Vec<String> = self.plain(OPERATION, shard, &find).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let mut given = vec![keys.ended.to_string(), keys.meta.to_string()];
        given.extend(found.iter().map(|member| keys.ended_reservation(member)));
        let mut arguments = vec![until.to_string().into_bytes()];
        arguments.extend(found.into_iter().map(String::into_bytes));
        let reply = self
            .run(OPERATION, shard, &scripts::FORGET, &given, &arguments)
            .await?;
        let forgotten = Reader::new(&reply).u32();
        Ok(forgotten.map_err(|broken| broken_reply(broken, OPERATION))? as usize)
    }

    pub(super) async fn read_outbox(&self, shard: u32) -> Result<OutboxBatch, HotFault> {
        const OPERATION: &str = "outbox";
        let Some(keys) = self.shards.get(shard as usize) else {
            return Ok(OutboxBatch::default());
        };
        let given = [keys.out.to_string(), keys.meta.to_string()];
        let asked = self.batch_size.get();
        let arguments = [text(asked)];
        let reply = self
            .run(OPERATION, shard, &scripts::OUTBOX, &given, &arguments)
            .await;
        self.batch_size.learn(asked, reply.is_ok());
        let reply = reply?;
        let read = |mut reader: Reader<'_>| -> Result<OutboxBatch, Broken> {
            let from = reader.uint()?;
            let (epoch, era) = (reader.uint()?, reader.uint()?);
            let count = reader.array()?;
            let mut entries = Vec::with_capacity(count.min(BATCH_MAX as usize));
            for _ in 0..count {
                entries.push(Arc::new(Line::from(read_entry(reader.blob()?)?)));
            }
            Ok(OutboxBatch {
                shard,
                from,
                to: from + count as u64,
                epoch,
                era,
                entries: entries.into(),
                reservations: Arc::default(),
            })
        };
        let batch = read(Reader::new(&reply));
        let batch = batch.map_err(|broken| broken_reply(broken, OPERATION))?;
        self.known.raise(batch.mark_at(batch.from));
        Ok(batch)
    }

    pub(super) async fn trim_outbox(&self, reached: Cursor) -> Result<(), HotFault> {
        const OPERATION: &str = "trim";
        let shard = reached.shard;
        let Some(keys) = self.shards.get(shard as usize) else {
            return Ok(());
        };
        let given = [keys.out.to_string(), keys.meta.to_string()];
        let arguments = [text(reached.position), text(reached.epoch)];
        let reply = self
            .run(OPERATION, shard, &scripts::TRIM, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<Mark, Broken> {
            let (position, era) = (reader.uint()?, reader.uint()?);
            Ok(Mark {
                shard,
                era,
                position,
            })
        };
        let mark = read(Reader::new(&reply)).map_err(|broken| broken_reply(broken, OPERATION))?;
        self.known.raise(mark);
        Ok(())
    }

    pub(super) async fn count(&self) -> Result<HotStats, HotFault> {
        const OPERATION: &str = "stats";
        let mut stats = HotStats {
            violations: self.violations.total(),
            recovered: self.gate.recovered(),
            ..HotStats::default()
        };
        for shard in 0..self.options.shards {
            let keys = &self.shards[shard as usize];
            let given = [&keys.due, &keys.out, &keys.meta].map(|key| key.to_string());
            let reply = self
                .run(OPERATION, shard, &scripts::STATS, &given, &[])
                .await?;
            let mut reader = Reader::new(&reply);
            let mut read = || -> Result<_, Broken> {
                stats.accounts += reader.uint()? as usize;
                stats.open += reader.uint()? as usize;
                stats.outbox += reader.uint()? as usize;
                reader.int()
            };
            let next_ms = read().map_err(|broken| broken_reply(broken, OPERATION))?;
            let next = (next_ms >= 0).then_some(Timestamp::from_millis(next_ms));
            let earliest = [stats.earliest_deadline, next];
            stats.earliest_deadline = earliest.into_iter().flatten().min();
        }
        Ok(stats)
    }

    pub(super) async fn server_time(&self) -> Result<Timestamp, HotFault> {
        if let Some(clock) = &self.options.clock {
            return Ok(clock.now());
        }
        let time: (i64, i64) = self.plain("now", 0, &redis::cmd("TIME")).await?;
        Ok(Timestamp::from_millis(time.0 * 1_000 + time.1 / 1_000))
    }

    /// A command that is no script.
    pub(super) async fn plain<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        shard: u32,
        command: &redis::Cmd,
    ) -> Result<T, HotFault> {
        let reply = self.link.plain(shard, command, self.link.deadline());
        let value = reply.await.map_err(|failure| failure.of(operation))?;
        redis::from_redis_value(value).map_err(|error| Failure::unknown(error).of(operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_does_not_come_is_asked_for_in_parts() {
        let size = BatchSize::default();
        for _ in 0..3 {
            size.learn(size.get(), false);
        }
        assert_eq!(size.get(), BATCH_MAX / 8);
        for _ in 0..10 {
            size.learn(size.get(), false);
        }
        assert_eq!(size.get(), BATCH_MIN);
        for _ in 0..10 {
            size.learn(size.get(), true);
        }
        assert_eq!(size.get(), BATCH_MAX);
    }
}
