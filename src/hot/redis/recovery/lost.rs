//! What an older history has beyond the ledger's: named, one by one, and forgotten.

use redis::Value;

use super::{CALL_TIMEOUT, Claimed, Error, Recovery, Unanswered};
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
            let (entries, last) = self.lost_page(claimed.shard, after).await?;
            let Some(last) = last else { return Ok(lost) };
            after = last;
            lost += entries.len() as u64;
            let settled = entries.iter().filter_map(|entry| {
                let id = entry.reservation_id.as_ref()?;
                Some(claimed.keys.reservation(&entry.account_id, id.as_str()))
            });
            let settled: Vec<String> = settled.collect();
            self.run(claimed, &scripts::DROP, &settled, &[]).await?;
            entries.iter().for_each(|entry| log(claimed.shard, entry));
        }
    }

    /// Logs every record beyond `agreed`; answers how many there were.
    pub(super) async fn log_lost(&self, shard: u32, agreed: u64) -> Result<u64, Error> {
        let mut lost = 0;
        let mut after = agreed;
        loop {
            let (entries, last) = self.lost_page(shard, after).await?;
            let Some(last) = last else { return Ok(lost) };
            after = last;
            lost += entries.len() as u64;
            entries.iter().for_each(|entry| log(shard, entry));
        }
    }

    /// The next records after a position, and the position of the last of them.
    async fn lost_page(&self, shard: u32, after: u64) -> Result<(Vec<Entry>, Option<u64>), Error> {
        let mut range = redis::cmd("XRANGE");
        range
            .arg(&*self.shards[shard as usize].out)
            .arg(format!("({after}-0"))
            .arg("+")
            .arg("COUNT")
            .arg(PAGE);
        let reply = self.link.plain(shard, &range, CALL_TIMEOUT).await;
        let reply: Value = reply.map_err(Unanswered)?;
        let records: Vec<Record> = redis::from_redis_value(reply)?;
        let last = match records.last() {
            Some((id, _)) => Some(id.trim_end_matches("-0").parse()?),
            None => None,
        };
        let bodies = records.iter().flat_map(|(_, fields)| fields);
        let entries: Result<Vec<Entry>, _> = bodies.map(|(_, body)| read_entry(body)).collect();
        Ok((entries?, last))
    }
}

fn log(shard: u32, entry: &Entry) {
    tracing::warn!(
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
