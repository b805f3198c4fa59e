//! What an older history has beyond the ledger's: named, one by one, and forgotten.

use redis::Value;

use super::{CALL_TIMEOUT, Claimed, Error, LOST, Recovery, Unanswered};
use crate::{
    domain::entry::Entry,
    hot::redis::{entries::read_entry, scripts},
};

/// The most records that are read at once.
const PAGE: u64 = 1_000;

/// A record of the outbox: its id, and its one field.
type Record = (String, Vec<(String, Vec<u8>)>);

impl Recovery {
    /// Logs every record beyond `agreed`, and forgets what was answered of the reservations that
    /// they settled: who asks again settles again. Answers how many there were.
    pub(super) async fn lose(&self, claimed: &Claimed<'_>, agreed: u64) -> Result<u64, Error> {
        let mut lost = 0;
        let mut after = agreed;
        loop {
            let page = self.records(claimed.shard, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(lost);
            };
            after = *last;
            lost += page.len() as u64;
            let settled = page.iter().filter_map(|(_, entry)| {
                let id = entry.reservation_id.as_ref()?;
                Some(claimed.keys.reservation(&entry.account_id, id.as_str()))
            });
            let settled: Vec<String> = settled.collect();
            self.run(claimed, &scripts::DROP, &settled, &[]).await?;
            page.iter().for_each(|(_, entry)| log(claimed.shard, entry));
        }
    }

    /// Up to which position the records are the ledger's, which is at `position`. A living server
    /// may have followed another one, and have settled something else before that was noticed:
    /// then positions alone don't tell. What is trimmed is the ledger's.
    pub(super) async fn common(&self, claimed: &Claimed<'_>, position: u64) -> Result<u64, Error> {
        let Some(before) = position.checked_sub(1) else {
            return Ok(0);
        };
        let newest = self.records(claimed.shard, before, 1).await?;
        match newest.first() {
            Some((at, entry)) if *at == position && !claimed.ledger.has(entry).await? => {}
            Some(_) | None => return Ok(position),
        }
        let mut after = 0;
        loop {
            for (at, entry) in self.records(claimed.shard, after, PAGE).await? {
                if !claimed.ledger.has(&entry).await? {
                    return Ok(at - 1);
                }
                after = at;
            }
        }
    }

    /// Logs every record beyond `agreed`; answers how many there were.
    pub(super) async fn log_lost(&self, shard: u32, agreed: u64) -> Result<u64, Error> {
        let mut lost = 0;
        let mut after = agreed;
        loop {
            let page = self.records(shard, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(lost);
            };
            after = *last;
            lost += page.len() as u64;
            page.iter().for_each(|(_, entry)| log(shard, entry));
        }
    }

    /// The next records after a position, each with its own.
    async fn records(&self, shard: u32, after: u64, max: u64) -> Result<Vec<(u64, Entry)>, Error> {
        let mut range = redis::cmd("XRANGE");
        range
            .arg(&*self.shards[shard as usize].out)
            .arg(format!("({after}-0"))
            .arg("+")
            .arg("COUNT")
            .arg(max);
        let reply = self.link.plain(shard, &range, CALL_TIMEOUT).await;
        let reply: Value = reply.map_err(Unanswered)?;
        let found: Vec<Record> = redis::from_redis_value(reply)?;
        let mut records = Vec::with_capacity(found.len());
        for (id, fields) in &found {
            let position = id.trim_end_matches("-0").parse()?;
            for (_, body) in fields {
                records.push((position, read_entry(body)?));
            }
        }
        Ok(records)
    }
}

fn log(shard: u32, entry: &Entry) {
    // An error names its account, and this target leaves no line out: somebody has to find what to
    // settle again.
    tracing::error!(
        target: LOST,
        shard,
        account = %entry.account_id,
        sequence = entry.sequence,
        kind = entry.kind.name(),
        credits = entry.credits,
        reservation = entry.reservation_id.as_ref().map(|id| id.as_str()),
        occurred_at = entry.occurred_at.millis(),
        "an entry is lost: it had not reached the ledger"
    );
}
