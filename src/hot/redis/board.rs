//! What processes tell each other through Redis: which accounts somebody waits for, how far the
//! ledger is, who settles. A message that is lost is sent again by whoever still needs it.
//!
//! How far the ledger is must never be told too far: a process without a ledger answers by it that
//! a commit is settled. That it is told late, or not at all, makes no answer wrong.

use futures_util::future::join_all;

use super::{RedisHot, keys, layout::ABSENT, packed::Writer};
use crate::{
    domain::ids::AccountId,
    hot::{HotFault, Mark},
};

/// The most accounts that are waited for at once; beyond it, who asks has to ask again.
const COLD_MAX: usize = 10_000;
/// How long it is remembered that the ledger has no such account, in milliseconds.
const ABSENT_MS: u64 = 2_000;

impl RedisHot {
    /// Asks whoever has a ledger to load an account. `false`: too many are waited for already.
    pub async fn ask_for(&self, account_id: &AccountId) -> Result<bool, HotFault> {
        const OPERATION: &str = "ask_for";
        let mut count = redis::cmd("SCARD");
        count.arg(keys::COLD);
        let waited: usize = self.plain(OPERATION, 0, &count).await?;
        if waited >= COLD_MAX {
            return Ok(false);
        }
        let mut add = redis::cmd("SADD");
        add.arg(keys::COLD).arg(account_id.as_str());
        let _: i64 = self.plain(OPERATION, 0, &add).await?;
        Ok(true)
    }

    /// Takes out up to `max` accounts that somebody waits for. Each goes to one caller; what
    /// becomes of it is that caller's to say, by loading it or by [`RedisHot::say_absent`].
    pub async fn take_asked(&self, max: usize) -> Result<Vec<AccountId>, HotFault> {
        let mut take = redis::cmd("SPOP");
        take.arg(keys::COLD).arg(max);
        let taken: Vec<String> = self.plain("take_asked", 0, &take).await?;
        // What is no id was not put there by this program, and nobody waits for it.
        Ok(taken
            .iter()
            .filter_map(|id| AccountId::new(id).ok())
            .collect())
    }

    /// Says that the ledger has no such account, for a short while, unless there is one by now.
    pub async fn say_absent(&self, account_id: &AccountId) -> Result<(), HotFault> {
        let shard = self.shard_of(account_id);
        let mut record = Writer::new();
        record.array(1).int(ABSENT);
        let mut set = redis::cmd("SET");
        set.arg(self.shards[shard as usize].account(account_id))
            .arg(record.finish())
            .arg("NX")
            .arg("PX")
            .arg(ABSENT_MS);
        let _: Option<String> = self.plain("say_absent", shard, &set).await?;
        Ok(())
    }

    /// Tells the settlers that somebody waits for them.
    pub async fn ring(&self) -> Result<(), HotFault> {
        let mut ring = redis::cmd("INCR");
        ring.arg(keys::BELL);
        let _: i64 = self.plain("ring", 0, &ring).await?;
        Ok(())
    }

    /// A number that is another one after every [`RedisHot::ring`].
    pub async fn rung(&self) -> Result<i64, HotFault> {
        let mut look = redis::cmd("GET");
        look.arg(keys::BELL);
        let rung: Option<i64> = self.plain("rung", 0, &look).await?;
        Ok(rung.unwrap_or(0))
    }

    /// How far the ledger is in some shards, all of them asked at once. Those that were never
    /// verified are left out, and those whose server does not answer, unless none does.
    pub async fn settled(&self, shards: &[u32]) -> Result<Vec<Mark>, HotFault> {
        let outboxes = self.look_at_outboxes(shards).await?;
        let marks: Vec<Mark> = outboxes.into_iter().map(|(mark, _)| mark).collect();
        marks.iter().for_each(|mark| self.known.raise(*mark));
        Ok(marks)
    }

    /// As [`RedisHot::settled`], of those shards only that have something for the ledger.
    pub async fn unsettled(&self, shards: &[u32]) -> Result<Vec<Mark>, HotFault> {
        let outboxes = self.look_at_outboxes(shards).await?.into_iter();
        let waiting = outboxes.filter(|(mark, tail)| mark.position < *tail);
        Ok(waiting.map(|(mark, _)| mark).collect())
    }

    /// How far the ledger is in some shards, and where their outboxes end.
    async fn look_at_outboxes(&self, shards: &[u32]) -> Result<Vec<(Mark, u64)>, HotFault> {
        type Meta = (Option<u64>, Option<u64>, Option<u64>);
        let known = shards.iter().filter(|shard| **shard < self.options.shards);
        let asked = join_all(known.map(|shard| async {
            let mut look = redis::cmd("HMGET");
            look.arg(&*self.shards[*shard as usize].meta)
                .arg(&["era", "trimmed", "tail"]);
            let (era, trimmed, tail): Meta = self.plain("settled", *shard, &look).await?;
            Ok::<_, HotFault>(era.map(|era| {
                let mark = Mark {
                    shard: *shard,
                    era,
                    position: trimmed.unwrap_or(0),
                };
                (mark, tail.unwrap_or(0))
            }))
        }));
        let (mut found, mut failed) = (Vec::new(), None);
        for outcome in asked.await {
            match outcome {
                Ok(outbox) => found.push(outbox),
                Err(fault) => failed = Some(fault),
            }
        }
        // A cluster's node that is away keeps the shards of the others from nobody.
        match failed {
            Some(fault) if found.is_empty() => Err(fault),
            Some(_) | None => Ok(found.into_iter().flatten().collect()),
        }
    }

    /// Says that a settler lives, and answers all that have said so within `lifetime_ms`, in one
    /// order for everybody.
    pub async fn beat(&self, member: &str, lifetime_ms: i64) -> Result<Vec<String>, HotFault> {
        const OPERATION: &str = "beat";
        let now_ms = self.server_time().await?.millis();
        let mut say = redis::cmd("ZADD");
        say.arg(keys::SETTLERS).arg(now_ms).arg(member);
        let _: i64 = self.plain(OPERATION, 0, &say).await?;
        // A clock that was set back by a failover leaves times that are still to come.
        let ends = [
            ("-inf".to_owned(), format!("({}", now_ms - lifetime_ms)),
            (format!("({}", now_ms + lifetime_ms), "+inf".to_owned()),
        ];
        for (from, to) in ends {
            let mut forget = redis::cmd("ZREMRANGEBYSCORE");
            forget.arg(keys::SETTLERS).arg(from).arg(to);
            let _: i64 = self.plain(OPERATION, 0, &forget).await?;
        }
        let mut list = redis::cmd("ZRANGE");
        list.arg(keys::SETTLERS).arg(0).arg(-1);
        let mut members: Vec<String> = self.plain(OPERATION, 0, &list).await?;
        members.sort_unstable();
        Ok(members)
    }

    /// Says that a settler is gone, so that nobody has to wait until it falls silent.
    pub async fn leave(&self, member: &str) -> Result<(), HotFault> {
        let mut leave = redis::cmd("ZREM");
        leave.arg(keys::SETTLERS).arg(member);
        let _: i64 = self.plain("leave", 0, &leave).await?;
        Ok(())
    }
}
