//! A look at what is stored: accounts with all of their holds, against the domain's invariants.

use super::{
    RedisHot,
    answers::broken_reply,
    faults::Failure,
    packed::{Broken, Reader},
    records::{self, write_account},
    scripts,
    steps::{Argument, Step, text},
};
use crate::{
    domain::{
        account::Account,
        book::Book,
        command::Repair,
        ids::{AccountId, ReservationId},
        reservation::Reservation,
        timestamp::Timestamp,
    },
    hot::{Answer, Done, HotFault, Loaded, OldHold, Stored, Unreadable},
};

const OPERATION: &str = "inspect";
/// The most accounts of one shard that are read at once.
const PAGE: usize = 1_000;
/// Where a scan starts, and what its last page brings as the place of the next one.
const SCAN_START: &str = "0";
/// The most open holds of one account that are read: one with more is not judged.
const HOLDS_MAX: usize = 20_000;
/// The most of them that are read at once: the server does nothing else meanwhile.
const HOLDS_AT_ONCE: usize = 128;
/// How often an account is read again that changed while it was read.
const ATTEMPTS: usize = 8;

/// An account at one instant.
struct Found {
    account: Account,
    /// Why it has not all of its grants.
    lacks: Option<&'static str>,
    /// How many holds it has open.
    open: usize,
    /// Those that were asked for.
    holds: Vec<Reservation>,
    /// When it was last written.
    seen: Timestamp,
}

impl Found {
    /// To be asked of one with all of its holds.
    fn judged(self) -> Stored {
        let (account, seen) = (self.account, self.seen);
        let (holds, oldest) = (self.holds.len(), OldHold::of(&self.holds));
        let broken = self.lacks.map(str::to_owned);
        let broken = broken.or_else(|| account.broken_invariant(seen));
        let book = || Book::new(account.clone(), self.holds);
        let broken = broken.or_else(|| book().broken_invariant(seen));
        Stored {
            account,
            broken,
            holds,
            oldest,
        }
    }
}

impl RedisHot {
    /// Goes through every loaded account, shard by shard, until `max` broken ones are found.
    pub(super) async fn inspect(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        let mut found = Vec::new();
        for shard in 0..self.options.shards {
            let mut from = None;
            loop {
                let page = self.scan(shard, from.as_deref(), PAGE).await?;
                for id in page.ids {
                    let looked = self.look_at(&id).await?;
                    let broken = looked.and_then(|looked| looked.broken);
                    found.extend(broken.map(|broken| (id, broken)));
                }
                from = page.next;
                if from.is_none() || found.len() >= max {
                    break;
                }
            }
        }
        found.truncate(max);
        Ok(found)
    }

    /// Some loaded accounts of a shard. What is there all the time is found, whatever comes and
    /// goes meanwhile: that is what Redis promises of a scan.
    pub(super) async fn scan(
        &self,
        shard: u32,
        from: Option<&str>,
        max: usize,
    ) -> Result<Loaded, HotFault> {
        let Some(keys) = self.shards.get(shard as usize) else {
            return Ok(Loaded::default());
        };
        let mut scan = redis::cmd("ZSCAN");
        scan.arg(&*keys.due).arg(from.unwrap_or(SCAN_START));
        scan.arg("COUNT").arg(max);
        let (next, found): (String, Vec<(String, String)>) =
            self.plain(OPERATION, shard, &scan).await?;
        let id = |(name, _): (String, String)| {
            AccountId::new(&name).map_err(|_| broken_reply(Broken("no identifier"), OPERATION))
        };
        Ok(Loaded {
            ids: found.into_iter().map(id).collect::<Result<_, _>>()?,
            next: Some(next).filter(|next| next != SCAN_START),
        })
    }

    /// An account with the first invariant that it breaks. One that is not loaded, changes all
    /// the time or has too many holds is not judged.
    pub(super) async fn look_at(&self, id: &AccountId) -> Result<Option<Stored>, HotFault> {
        for _ in 0..ATTEMPTS {
            let Some(found) = self.read(id, &[]).await? else {
                return Ok(None);
            };
            if found.open == 0 {
                return Ok(Some(found.judged()));
            }
            if found.open > HOLDS_AT_ONCE {
                return Ok(self.with_many(id, found).await?.map(Found::judged));
            }
            let holds = self.open_holds(id, 0, HOLDS_AT_ONCE).await?;
            let whole = self.read(id, &holds).await?;
            if let Some(whole) = whole.filter(|whole| whole.open == whole.holds.len()) {
                return Ok(Some(whole.judged()));
            }
        }
        Ok(None)
    }

    /// The same account with all of its holds, read part by part, if it did not change meanwhile.
    async fn with_many(&self, id: &AccountId, found: Found) -> Result<Option<Found>, HotFault> {
        if found.open > HOLDS_MAX {
            return Ok(None);
        }
        let mut holds = Vec::with_capacity(found.open);
        while holds.len() < found.open {
            let some = self.open_holds(id, holds.len(), HOLDS_AT_ONCE).await?;
            let Some(read) = self.read(id, &some).await? else {
                return Ok(None);
            };
            let is_same = read.account.version == found.account.version;
            if !is_same || some.is_empty() || read.holds.len() < some.len() {
                return Ok(None);
            }
            holds.extend(read.holds);
        }
        Ok(Some(Found { holds, ..found }).filter(|found| found.open == found.holds.len()))
    }

    /// Puts an account right that differs from the ledger's.
    pub(super) async fn repair_step(&self, repair: &Repair) -> Answer<Option<usize>> {
        const OPERATION: &str = "repair";
        let stored = &repair.stored;
        let holds = self.open_holds(&stored.id, 0, HOLDS_MAX).await?;
        let keys = &self.shards[self.shard_of(&stored.id) as usize];
        let records = holds.iter().map(|hold| keys.reservation(&stored.id, hold));
        let mut arguments = vec![
            text(stored.sequence),
            text(repair.version),
            write_account(stored),
            repair.reason.clone().into_bytes(),
        ];
        arguments.extend(holds.iter().map(|hold| hold.clone().into_bytes()));
        let step = Step {
            operation: OPERATION,
            script: &scripts::REPAIR,
            account_id: &stored.id,
            reservation_id: None,
            arguments,
        };
        let told = match self.step_with(step, records.collect()).await? {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let read = |mut reader: Reader<'_>| Ok((reader.bool()?, reader.u32()?));
        let (is_repaired, expired) =
            read(told.extra()).map_err(|broken| broken_reply(broken, OPERATION))?;
        Ok(Ok(Done {
            value: is_repaired.then_some(expired as usize),
            mark: told.mark,
        }))
    }

    /// Some of the account's open holds, earliest deadline first, after the first `from`.
    async fn open_holds(
        &self,
        id: &AccountId,
        from: usize,
        max: usize,
    ) -> Result<Vec<String>, HotFault> {
        let shard = self.shard_of(id);
        let mut list = redis::cmd("ZRANGE");
        list.arg(self.shards[shard as usize].deadlines(id));
        list.arg(from).arg(from + max - 1);
        self.plain(OPERATION, shard, &list).await
    }

    /// An account with those of some holds that are open; `None`: it is not loaded.
    async fn read(&self, id: &AccountId, holds: &[String]) -> Result<Option<Found>, HotFault> {
        let shard = self.shard_of(id);
        let keys = &self.shards[shard as usize];
        let (account, deadlines) = (keys.account(id), keys.deadlines(id));
        let mut given = vec![account, deadlines, keys.meta.to_string()];
        given.push(keys.packed_grants(id));
        given.extend(holds.iter().map(|hold| keys.reservation(id, hold)));
        let arguments: Vec<Argument> = holds.iter().map(|hold| hold.as_bytes().into()).collect();
        let reply = self
            .run(OPERATION, shard, &scripts::INSPECT, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<_, Broken> {
            let Some(stored) = reader.maybe(Reader::blob)? else {
                return Ok(None);
            };
            let account = records::read_account(id, stored)?;
            let seen = account.seen;
            let (account, lacks) = account.found(reader.maybe(Reader::blob)?);
            let open = reader.u32()? as usize;
            reader.array_of(holds.len())?;
            let mut known = Vec::with_capacity(holds.len());
            for hold in holds {
                let Some(record) = reader.maybe(Reader::blob)? else {
                    continue;
                };
                let hold = ReservationId::new(hold).map_err(|_| Broken("no identifier"))?;
                known.push(records::read_reservation(id, &hold, record)?);
            }
            Ok(Some(Found {
                account,
                lacks,
                open,
                holds: known,
                seen,
            }))
        };
        read(Reader::new(&reply))
            .map_err(|Broken(why)| Failure::unknown(Unreadable(why)).of(OPERATION))
    }
}
