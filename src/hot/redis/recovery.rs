//! What happens before steps run on a shard whose server restarted, was replaced or emptied: it
//! is found out whether the shard's history is still the ledger's, and rebuilt where it is not.
//!
//! 1. The shard is claimed on its server: no step runs on it, and no other process verifies it,
//!    until the claim ends or makes no progress for a while.
//! 2. It is fenced in the ledger, so that nothing of its older epochs settles any more, whatever
//!    server still has it.
//! 3. A history that has all that the ledger has goes on as it is. An empty shard begins where the
//!    ledger is. Any other one begins there too, and its accounts are put in as the ledger has
//!    them, with those of their open holds that the ledger does not show as settled and that their
//!    grants still cover. What such a history had that the ledger has not is lost: each record is
//!    logged, and counted. Reservations that had been charged and have expired count as forgotten:
//!    the ledger may have more of them, and nobody can list them.
//! 4. The shard gets the new epoch and its server's name, and steps run on it again.
//!
//! Also a history that goes on may have been cut off behind the ledger's position. Nobody can tell,
//! and its next records get the positions of those that are gone. So positions count within one
//! epoch only: whoever waits for one of an older epoch is told to ask again, and finds out.
//!
//! A crash anywhere in between leaves a shard without steps and a ledger that takes nothing of it;
//! whoever verifies it next begins at 1, with a fence of his own. Every step is bounded: a page of
//! accounts, one account with its holds.

mod access;
mod accounts;
mod closing;
mod lost;

use std::{
    hash::{BuildHasher, RandomState},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use self::access::LedgerAccess;
use super::{
    faults::Failure,
    keys::ShardKeys,
    layout::look,
    link::Link,
    packed::Reader,
    scripts::{self, Script},
    steps::{Argument, given_now, text},
};
use crate::{
    clock::Clock,
    hot::{Cursor, Fence, Recovered, Standing},
};

/// How long one call of a recovery may take: nobody waits for it who has a deadline.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a claim lasts that makes no progress: longer than any of its calls may take.
const CLAIM_MS: u64 = 15_000;

/// The first pause before a shard is looked at again that another process has to verify, and the
/// last: each is twice as long as the one before.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(320);
/// The log's target of what a server has lost, of which no line is left out.
const LOST: &str = "tollgate::lost";

/// What came in between. It will be tried again.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Verifies shards.
#[derive(Debug)]
pub(super) struct Recovery {
    link: Arc<Link>,
    shards: Vec<ShardKeys>,
    /// Absent: another process has to verify.
    ledger: Option<Arc<dyn LedgerAccess>>,
    /// In place of the server's, for tests.
    clock: Option<Arc<dyn Clock>>,
    /// What this process's claims start with.
    name: String,
    claims: AtomicU64,
    rebuilt: AtomicU64,
    lost: AtomicU64,
    holds: AtomicU64,
}

/// A shard that is claimed. Nothing but the claim changes since what it looked like then.
struct Claimed<'a> {
    shard: u32,
    keys: &'a ShardKeys,
    ledger: &'a dyn LedgerAccess,
    claim: String,
    seen: Seen,
}

impl Deref for Claimed<'_> {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

/// What a shard looks like.
struct Seen {
    /// Whether it is verified, or who may.
    code: i64,
    /// The server's replication id, and its run id.
    server: String,
    run: String,
    epoch: Option<u64>,
    tail: Option<u64>,
    /// Whether somebody has left it half rebuilt.
    is_partial: bool,
    /// The run id of the process that it was last verified on.
    last_run: String,
}

impl Seen {
    /// What a look answers that did not take the shard.
    fn look<'a>(self) -> Result<Look<'a>, Error> {
        match self.code {
            look::VERIFIED => Ok(Look::Verified(self.server)),
            look::REPLACED => Err(NotYet::Replaced.into()),
            _ => Err(NotYet::Busy.into()),
        }
    }
}

impl Claimed<'_> {
    /// The epoch of the shard's own history, where it has one that can be held against the
    /// ledger's.
    fn history(&self) -> Option<u64> {
        self.epoch.filter(|_| !self.is_partial)
    }

    /// Whether another process was verified while this one was there all the time: it is an old
    /// master, and whoever still reaches it must not take the ledger back.
    fn is_replaced(&self, ledger: &Standing) -> bool {
        self.epoch.is_some_and(|epoch| epoch < ledger.cursor.epoch)
            && self.last_run == self.run
            && ledger.server != self.run
    }
}

/// What a look found, and the server's name.
enum Look<'a> {
    Verified(String),
    Claimed(Claimed<'a>),
}

/// Why steps can't run on a shard yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error("another server has replaced this one, and the ledger takes nothing of it any more")]
    Replaced,
    #[error("another process is verifying it")]
    Busy,
    #[error("a process that reaches the ledger has to verify it, and none has yet")]
    NoLedger,
    #[error("another process has fenced it at the same time")]
    Raced,
}

/// Whether another process may have verified the shard in a moment.
fn is_for_others(error: &Error) -> bool {
    match error.downcast_ref() {
        Some(NotYet::Busy | NotYet::NoLedger | NotYet::Raced) => true,
        Some(NotYet::Replaced) | None => false,
    }
}

impl Recovery {
    pub fn new(
        link: Arc<Link>,
        shards: Vec<ShardKeys>,
        ledger: Option<Arc<dyn LedgerAccess>>,
        clock: Option<Arc<dyn Clock>>,
    ) -> Self {
        Recovery {
            link,
            shards,
            ledger,
            clock,
            name: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
            claims: AtomicU64::new(0),
            rebuilt: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            holds: AtomicU64::new(0),
        }
    }

    /// What was put right so far.
    pub fn recovered(&self) -> Recovered {
        Recovered {
            shards: self.rebuilt.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            holds: self.holds.load(Ordering::Relaxed),
        }
    }

    /// Makes sure that steps may run on a shard. Waits a while for whoever else is about to.
    pub async fn verify(&self, shard: u32) -> Result<(), Error> {
        let mut pause = LOOK_PAUSE;
        loop {
            match self.verify_once(shard).await {
                Err(error) if pause <= LOOK_PAUSE_MAX && is_for_others(&error) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    async fn verify_once(&self, shard: u32) -> Result<(), Error> {
        let claimed = match self.look(shard).await? {
            Look::Verified(server) => {
                // The connection was made when the server had another name.
                self.link.relearn(shard, &server);
                return Ok(());
            }
            Look::Claimed(claimed) => claimed,
        };
        let outcome = self.verify_claimed(&claimed).await;
        if outcome.is_err() {
            // Where that fails too, the claim ends by itself; of a closed shard there is none.
            let _ = self.run(&claimed, &scripts::GIVE_UP, &[], &[]).await;
        }
        outcome
    }

    async fn verify_claimed(&self, claimed: &Claimed<'_>) -> Result<(), Error> {
        let shard = claimed.shard;
        let before = claimed
            .ledger
            .standing(shard, claimed.epoch.unwrap_or(0))
            .await?;
        if claimed.is_replaced(&before) {
            self.run(claimed, &scripts::CLOSE, &[], &[]).await?;
            self.closed(shard, &before).await?;
            return Err(NotYet::Replaced.into());
        }
        let standing = fence(claimed, before.cursor.epoch).await?;
        let cursor = standing.cursor;
        let agreed = self.agreed(claimed, standing.agreed).await?;
        let is_same = claimed.history().is_some()
            && agreed == cursor.position
            && claimed.tail.is_some_and(|tail| tail >= cursor.position);
        let standing = Standing { agreed, ..standing };
        if is_same {
            tracing::debug!(shard, epoch = cursor.epoch, "the shard goes on as it was");
        } else {
            let is_empty = claimed.epoch.is_none() && claimed.tail.is_none();
            self.begin(claimed, &standing, is_empty).await?;
        }
        let arguments = [text(cursor.epoch)];
        self.run(claimed, &scripts::OPEN, &[], &arguments).await?;
        self.link.relearn(shard, &claimed.server);
        Ok(())
    }

    /// Looks at a shard, and claims it where nobody has verified it. One that does not reach the
    /// ledger claims nothing: it would keep the shard from one that does.
    async fn look(&self, shard: u32) -> Result<Look<'_>, Error> {
        let seen = self.ask(shard, "").await?;
        if seen.code != look::UNVERIFIED {
            return seen.look();
        }
        let ledger = self.ledger.as_deref().ok_or(NotYet::NoLedger)?;
        ledger.standing(shard, seen.epoch.unwrap_or(0)).await?;
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        let claim = format!("{}-{number}", self.name);
        let seen = self.ask(shard, &claim).await?;
        if seen.code != look::UNVERIFIED {
            return seen.look();
        }
        let keys = &self.shards[shard as usize];
        Ok(Look::Claimed(Claimed {
            shard,
            keys,
            ledger,
            claim,
            seen,
        }))
    }

    /// Looks at a shard; with a claim, takes it where it may.
    async fn ask(&self, shard: u32, claim: &str) -> Result<Seen, Error> {
        let given = [self.shards[shard as usize].meta.to_string()];
        let arguments = [claim.as_bytes().to_vec(), text(CLAIM_MS)];
        let reply = self.eval(shard, &scripts::LOOK, &given, &arguments).await?;
        let mut reader = Reader::new(&reply);
        Ok(Seen {
            code: reader.int()?,
            server: reader.text()?.to_owned(),
            run: reader.text()?.to_owned(),
            epoch: reader.maybe(Reader::uint)?,
            tail: reader.maybe(Reader::uint)?,
            is_partial: reader.bool()?,
            last_run: reader.text()?.to_owned(),
        })
    }

    /// Up to which position a shard's history is the ledger's, where by their epochs it may be so up to
    /// `agreed`.
    async fn agreed(&self, claimed: &Claimed<'_>, agreed: u64) -> Result<u64, Error> {
        let (Some(_), Some(tail)) = (claimed.history(), claimed.tail) else {
            return Ok(agreed);
        };
        let newest = tail.min(agreed);
        let common = self.common(claimed, newest).await?;
        Ok(if common < newest { common } else { agreed })
    }

    /// Begins a shard where the ledger is, with what of it still counts.
    async fn begin(
        &self,
        claimed: &Claimed<'_>,
        standing: &Standing,
        is_empty: bool,
    ) -> Result<(), Error> {
        let Cursor {
            shard,
            epoch,
            position,
        } = standing.cursor;
        // What a shard lost that is half rebuilt is counted already.
        let lost = match claimed.history() {
            Some(_) => self.lose(claimed, standing.agreed).await?,
            None => 0,
        };
        let out = [claimed.keys.out.to_string()];
        let now = given_now(self.clock.as_ref());
        let arguments = [text(position), text(epoch), now];
        self.run(claimed, &scripts::RESET, &out, &arguments).await?;
        self.lost.fetch_add(lost, Ordering::Relaxed);
        let holds = self.rebuild(claimed, standing.agreed).await?;
        if is_empty && position == 0 {
            tracing::debug!(shard, epoch, "the shard begins");
            return Ok(());
        }
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            shard,
            epoch,
            position,
            lost,
            holds,
            had = claimed.tail,
            agreed = standing.agreed,
            "the shard's server had lost what the ledger has: the shard begins anew from the ledger"
        );
        Ok(())
    }

    /// Runs a script under a claim.
    async fn run(
        &self,
        claimed: &Claimed<'_>,
        script: &Script,
        keys: &[String],
        arguments: &[Argument],
    ) -> Result<Vec<u8>, Error> {
        let mut given = vec![claimed.keys.meta.to_string()];
        given.extend(keys.iter().cloned());
        let mut all = vec![
            claimed.claim.clone().into_bytes(),
            claimed.server.clone().into_bytes(),
        ];
        all.extend(arguments.iter().cloned());
        Ok(self.eval(claimed.shard, script, &given, &all).await?)
    }

    async fn eval(
        &self,
        shard: u32,
        script: &Script,
        keys: &[String],
        arguments: &[Argument],
    ) -> Result<Vec<u8>, Unanswered> {
        let reply = self.link.eval(shard, script, keys, arguments, CALL_TIMEOUT);
        reply.await.map_err(Unanswered)
    }
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.source)]
struct Unanswered(Failure);

/// Fences a claimed shard in the epoch that it must have; answers where it stands then.
async fn fence(claimed: &Claimed<'_>, epoch: u64) -> Result<Standing, Error> {
    let shard = claimed.shard;
    let fence = Fence {
        shard,
        epoch,
        server: claimed.run.clone(),
    };
    if !claimed.ledger.fence(&fence).await? {
        return Err(NotYet::Raced.into());
    }
    let known = claimed.epoch.unwrap_or(0);
    let standing = claimed.ledger.standing(shard, known).await?;
    if standing.cursor.epoch != epoch + 1 {
        return Err(NotYet::Raced.into());
    }
    Ok(standing)
}
