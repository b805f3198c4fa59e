//! A look at what is stored: accounts with all of their holds, against the domain's invariants.

use super::{
    RedisHot,
    answers::broken_reply,
    packed::{Broken, Reader},
    records, scripts,
    steps::Argument,
};
use crate::{
    domain::{
        account::Account,
        book::Book,
        ids::{AccountId, ReservationId},
        reservation::Reservation,
    },
    hot::HotFault,
};

const OPERATION: &str = "inspect";
/// The most accounts of one shard that are read at once.
const PAGE: isize = 1_000;
/// The most open holds of one account that are read: one with more is not judged.
const HOLDS_MAX: isize = 20_000;
/// How often an account is read again that changed while it was read.
const ATTEMPTS: usize = 8;

impl RedisHot {
    /// Goes through every loaded account, shard by shard, until `max` broken ones are found.
    pub(super) async fn inspect(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        let mut found = Vec::new();
        for shard in 0..self.options.shards {
            let mut from = 0;
            while found.len() < max {
                let mut list = redis::cmd("ZRANGE");
                list.arg(&*self.shards[shard as usize].due)
                    .arg(from)
                    .arg(from + PAGE - 1);
                let names: Vec<String> = self.plain(OPERATION, shard, &list).await?;
                if names.is_empty() {
                    break;
                }
                from += PAGE;
                for name in &names {
                    let id = AccountId::new(name)
                        .map_err(|_| broken_reply(Broken("no identifier"), OPERATION))?;
                    if let Some(broken) = self.inspect_account(&id).await? {
                        found.push((id, broken));
                    }
                }
            }
        }
        found.truncate(max);
        Ok(found)
    }

    /// The first invariant of an account that does not hold. One that is not loaded, changes all
    /// the time or has too many holds is not judged.
    pub(super) async fn inspect_account(&self, id: &AccountId) -> Result<Option<String>, HotFault> {
        for _ in 0..ATTEMPTS {
            let keys = &self.shards[self.shard_of(id) as usize];
            let mut list = redis::cmd("ZRANGE");
            list.arg(keys.deadlines(id)).arg(0).arg(HOLDS_MAX - 1);
            let holds: Vec<String> = self.plain(OPERATION, self.shard_of(id), &list).await?;
            if let Some((account, holds, seen)) = self.read_whole(id, holds).await? {
                let broken = account.broken_invariant(seen);
                return Ok(broken.or_else(|| Book::new(account, holds).broken_invariant(seen)));
            }
        }
        Ok(None)
    }

    async fn read_whole(
        &self,
        id: &AccountId,
        holds: Vec<String>,
    ) -> Result<
        Option<(
            Account,
            Vec<Reservation>,
            crate::domain::timestamp::Timestamp,
        )>,
        HotFault,
    > {
        let shard = self.shard_of(id);
        let keys = &self.shards[shard as usize];
        let mut given = vec![keys.account(id), keys.deadlines(id), keys.meta.to_string()];
        given.extend(holds.iter().map(|hold| keys.reservation(id, hold)));
        let arguments: Vec<Argument> = holds.iter().map(|hold| hold.as_bytes().into()).collect();
        let reply = self
            .run(OPERATION, shard, &scripts::INSPECT, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<_, Broken> {
            let Some(stored) = reader.maybe(Reader::blob)? else {
                return Ok(None);
            };
            let (account, seen) = records::read_account(id, stored)?;
            reader.uint()?;
            reader.array_of(holds.len())?;
            let mut known = Vec::with_capacity(holds.len());
            for hold in &holds {
                let hold = ReservationId::new(hold).map_err(|_| Broken("no identifier"))?;
                known.push(records::read_reservation(id, &hold, reader.blob()?)?);
            }
            Ok(Some((account, known, seen)))
        };
        read(Reader::new(&reply)).map_err(|broken| broken_reply(broken, OPERATION))
    }
}
