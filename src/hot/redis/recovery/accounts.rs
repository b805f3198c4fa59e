//! Accounts of a shard that begins anew, put in as the ledger has them.

use std::{collections::HashMap, sync::atomic::Ordering};

use super::{CALL_TIMEOUT, Claimed, Error, LOST, Recovery, Unanswered};
use crate::{
    domain::{
        account::Account,
        ids::{AccountId, ReservationId},
    },
    hot::{
        Commits,
        redis::{
            packed::{Broken, Reader},
            records::write_account,
            scripts,
        },
    },
};

/// The most accounts that are looked at with one call and read with one query.
const PAGE: usize = 500;
/// About how many reservations of one account the ledger is asked at once.
const HOLDS_PAGE: usize = 1_000;

fn account_id(name: &str) -> Result<AccountId, Broken> {
    AccountId::new(name).map_err(|_| Broken("no identifier"))
}

impl Recovery {
    /// Rebuilds every loaded account that is not surely as the ledger has it; answers how many
    /// holds were dropped. Where the shard has an epoch, what its accounts had by the position
    /// `agreed` is of the ledger's own history.
    pub(super) async fn rebuild(&self, claimed: &Claimed<'_>, agreed: u64) -> Result<u64, Error> {
        let (mut dropped, mut from) = (0, 0);
        loop {
            let names = self.loaded(claimed, from).await?;
            if names.is_empty() {
                return Ok(dropped);
            }
            let ids: Vec<AccountId> = names
                .iter()
                .map(|name| account_id(name))
                .collect::<Result<_, _>>()?;
            let stored = claimed.ledger.accounts(&ids).await?;
            let mut stored: HashMap<AccountId, Account> = stored
                .into_iter()
                .map(|account| (account.id.clone(), account))
                .collect();
            let known = self.peek(claimed, &ids).await?;
            let mut gone = 0;
            for (id, (sequence, mark)) in ids.iter().zip(known) {
                let account = stored.remove(id);
                let is_same = claimed.history().is_some()
                    && mark.is_some_and(|mark| mark <= agreed)
                    && account.as_ref().map(|account| account.sequence) == sequence;
                gone += usize::from(account.is_none());
                if !is_same {
                    dropped += self.rebuild_one(claimed, id, account.as_ref()).await?;
                }
            }
            // Those that the ledger does not have are out of the list.
            from += names.len() - gone;
        }
    }

    /// The names of some loaded accounts, in an order that only changes where one goes.
    async fn loaded(&self, claimed: &Claimed<'_>, from: usize) -> Result<Vec<String>, Error> {
        self.list(claimed.shard, &claimed.keys.due, from, from + PAGE - 1)
            .await
    }

    async fn list(
        &self,
        shard: u32,
        key: &str,
        from: usize,
        to: usize,
    ) -> Result<Vec<String>, Error> {
        let mut list = redis::cmd("ZRANGE");
        list.arg(key).arg(from).arg(to);
        let reply = self.link.plain(shard, &list, CALL_TIMEOUT).await;
        Ok(redis::from_redis_value(reply.map_err(Unanswered)?)?)
    }

    /// Each account's sequence, and the position of its newest entry.
    async fn peek(
        &self,
        claimed: &Claimed<'_>,
        ids: &[AccountId],
    ) -> Result<Vec<(Option<u64>, Option<u64>)>, Error> {
        let keys: Vec<String> = ids.iter().map(|id| claimed.keys.account(id)).collect();
        let reply = self.run(claimed, &scripts::PEEK, &keys, &[]).await?;
        let mut reader = Reader::new(&reply);
        reader.array_of(2 * ids.len())?;
        let mut next = || -> Result<Option<u64>, Broken> { Ok(u64::try_from(reader.int()?).ok()) };
        let mut known = Vec::with_capacity(ids.len());
        for _ in ids {
            known.push((next()?, next()?));
        }
        Ok(known)
    }

    /// Puts an account in as the ledger has it, with its open holds as far as they still count;
    /// answers how many did not.
    async fn rebuild_one(
        &self,
        claimed: &Claimed<'_>,
        id: &AccountId,
        account: Option<&Account>,
    ) -> Result<u64, Error> {
        let (shard, keys) = (claimed.shard, claimed.keys);
        let names = self
            .list(shard, &keys.deadlines(id), 0, usize::MAX >> 1)
            .await?;
        let mut holds = Vec::with_capacity(names.len());
        for name in &names {
            holds.push(ReservationId::new(name).map_err(|_| Broken("no identifier"))?);
        }
        let mut settled: HashMap<ReservationId, Commits> = HashMap::new();
        for page in holds.chunks(HOLDS_PAGE) {
            settled.extend(claimed.ledger.commits(id, page).await?);
        }
        let (account_key, deadlines) = (keys.account(id), keys.deadlines(id));
        let mut given = vec![account_key, deadlines, keys.due.to_string()];
        given.push(keys.packed_grants(id));
        given.extend(holds.iter().map(|hold| keys.reservation(id, hold.as_str())));
        let mut arguments = vec![
            id.as_str().as_bytes().to_vec(),
            account.map(write_account).unwrap_or_default(),
        ];
        for hold in &holds {
            let commits = settled.get(hold).copied().unwrap_or_default();
            arguments.push(hold.as_str().as_bytes().to_vec());
            arguments.push(match commits.ended {
                true => b"-1".to_vec(),
                false => commits.last.to_string().into_bytes(),
            });
        }
        let reply = self
            .run(claimed, &scripts::REBUILD, &given, &arguments)
            .await?;
        let mut reader = Reader::new(&reply);
        let count = reader.array()?;
        for _ in 0..count {
            let hold = reader.text()?;
            // An error names its account, and this target leaves no line out.
            tracing::error!(
                target: LOST,
                shard,
                account = %id,
                reservation = hold,
                "an open hold is dropped"
            );
        }
        self.holds.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count as u64)
    }
}
