//! The redo log in front of a ledger: the cases that do not look at what settling answers at once,
//! and what only a log can have.

use std::{
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::time::timeout;
use tollgate::{
    domain::timestamp::Timestamp,
    hot::{Commits, Cursor, Fence, OutboxBatch, Standing},
    ledger::{
        EntryFilter, Ledger,
        redo::{RedoError, RedoLedger},
        sqlite::SqliteLedger,
    },
};

use super::{
    Backend,
    world::{World, account_id},
};
use crate::support::sqlite::tamper;

/// A folder with a ledger and its log.
struct Logged {
    folder: TempDir,
    ledger: Option<Arc<RedoLedger>>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("ledger.db")
}

async fn open(folder: &Path) -> Result<RedoLedger, RedoError> {
    let sqlite = SqliteLedger::open(&path(folder)).await.unwrap();
    RedoLedger::open(Arc::new(sqlite), path(folder)).await
}

async fn logged() -> Logged {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Some(Arc::new(open(folder.path()).await.unwrap()));
    Logged { folder, ledger }
}

#[async_trait]
impl Backend for Logged {
    fn ledger(&self) -> Arc<dyn Ledger> {
        let inner = Arc::clone(self.ledger.as_ref().unwrap());
        Arc::new(support::AtOnce { inner })
    }

    async fn reopen(&mut self) {
        let image = crash(self.folder.path());
        self.ledger = Some(Arc::new(open(image.path()).await.unwrap()));
        self.folder = image;
    }

    async fn tamper(&self, sql: &'static str) {
        self.ledger.as_ref().unwrap().cursors().await.unwrap();
        tamper(&path(self.folder.path()), sql).await;
    }
}

super::cases! { logged;
    settle:
        entries_add_up_to_the_state,
        a_batch_is_settled_once,
        of_two_settlers_one_wins,
        large_batches_are_settled_whole;
    duplicates:
        a_duplicate_of_an_ended_settlement_is_reversed_whole,
        a_duplicate_within_one_batch_is_reversed,
        a_forgotten_open_reservation_is_charged_its_last_price,
        a_forgotten_reservation_costs_what_its_end_reports,
        a_forgotten_reservation_that_is_charged_in_steps,
        a_duplicate_that_charged_nothing_needs_no_reversal,
        a_settlement_after_the_end_is_a_duplicate;
    changes:
        numbers_have_no_gaps,
        a_key_is_taken_once,
        what_is_missing_is_refused,
        a_refund_is_split_and_bounded,
        a_refund_and_a_correction_cross,
        a_refund_follows_the_end_of_its_grant,
        concurrent_refunds_give_back_once,
        a_refund_of_nothing_says_so,
        credits_stay_in_range,
        grants_are_bounded,
        a_grant_id_is_taken_once,
        unapplied_changes_are_listed;
    accounts:
        an_account_has_its_live_grants,
        accounts_are_paged_by_id,
        time_has_work_where_it_is_due,
        reservations_are_kept_until_they_are_forgotten,
        catalogues_are_kept_by_version,
        everything_is_there_after_reopening;
    entries:
        entries_are_paged_newest_first,
        entries_are_filtered,
        a_reservation_has_all_its_entries,
        a_conversation_has_its_refunds;
    audit:
        a_busy_ledger_has_no_findings,
        corruption_is_found;
}

/// What a disk has when the power goes: the files as they are now.
fn crash(folder: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
    }
    image
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("-redo."))
        .collect();
    found.sort();
    found
}

async fn sequences(ledger: &dyn Ledger) -> Vec<u64> {
    let page = ledger.entries(&EntryFilter::default(), None, 1000).await;
    let entries = page.unwrap().entries;
    let mut found: Vec<u64> = entries.iter().map(|found| found.entry.sequence).collect();
    found.reverse();
    found
}

/// The disk after each of some settlements, before SQLite need have any of them.
async fn images(charges: u64) -> Vec<TempDir> {
    let logged = logged().await;
    let ledger = logged.ledger.clone().unwrap();
    let mut world = World::with_acme(ledger).await;
    let mut images = Vec::new();
    for number in 0..charges {
        world.charge("acme", &format!("c{number}"), 1);
        world.flush().await;
        images.push(crash(logged.folder.path()));
    }
    images
}

#[tokio::test]
async fn what_was_settled_is_there_after_a_crash_once() {
    for (number, image) in images(8).await.into_iter().enumerate() {
        let expected: Vec<u64> = (1..=number as u64 + 2).collect();
        for _ in 0..2 {
            let ledger = open(image.path()).await.unwrap();
            assert_eq!(sequences(&ledger).await, expected);
            assert_eq!(ledger.audit(10).await.unwrap(), []);
            ledger.close().await.unwrap();
            assert_eq!(logs(image.path()), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn a_record_that_was_cut_short_is_left_out() {
    let image = images(1).await.pop().unwrap();
    let log = logs(image.path()).pop().unwrap();
    let whole = fs::read(&log).unwrap();
    let mut seen = Vec::new();
    // Every thirteenth length is enough: it meets headers, bodies and ends alike.
    for length in (0..whole.len()).step_by(13).chain([whole.len()]) {
        let torn = crash(image.path());
        fs::write(logs(torn.path()).pop().unwrap(), &whole[..length]).unwrap();
        let ledger = open(torn.path()).await.unwrap();
        let found = sequences(&ledger).await;
        assert!(found.iter().copied().eq(1..=found.len() as u64));
        assert_eq!(ledger.audit(10).await.unwrap(), []);
        seen.push(found.len());
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&2));
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_and_changes_nothing() {
    let image = images(2).await.pop().unwrap();
    let log = logs(image.path()).pop().unwrap();
    // A later file makes this one a file whose every record was whole once.
    fs::write(log.with_extension("9"), b"tgredo1\n").unwrap();
    let mut bytes = fs::read(&log).unwrap();
    bytes[40] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let error = open(image.path()).await.err().unwrap();
    assert!(
        matches!(error, RedoError::Damaged { offset: 8, .. }),
        "{error}"
    );
    assert_eq!(fs::read(&log).unwrap(), bytes);
}

#[tokio::test]
async fn a_file_of_another_program_or_ledger_is_refused() {
    let image = images(1).await.pop().unwrap();
    let log = logs(image.path()).pop().unwrap();
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, b"something else").unwrap();
    let error = open(image.path()).await.err().unwrap();
    assert!(matches!(error, RedoError::Unknown { .. }), "{error}");

    // The second settlement alone does not continue an empty ledger.
    let other = tempfile::tempdir().unwrap();
    let first = 16 + u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let lacking = [&bytes[..8], &bytes[first..]].concat();
    fs::write(other.path().join("ledger.db-redo.1"), lacking).unwrap();
    let error = open(other.path()).await.err().unwrap();
    assert!(matches!(error, RedoError::Foreign { .. }), "{error}");
    assert_eq!(logs(other.path()).len(), 1);
}

#[tokio::test]
async fn a_closed_log_takes_nothing_more() {
    let logged = logged().await;
    let ledger = logged.ledger.clone().unwrap();
    let mut world = World::with_acme(ledger.clone()).await;
    ledger.close().await.unwrap();
    world.charge("acme", "c1", 1);
    let fault = ledger.settle(&[world.take_batch()], world.now).await;
    let fault = fault.unwrap_err().to_string();
    assert!(fault.contains("settle"), "{fault}");
    assert_eq!(sequences(ledger.as_ref()).await, [1]);
}

#[tokio::test]
async fn what_is_settled_while_the_ledger_fails_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&path(folder.path())).await.unwrap();
    let failing = Arc::new(support::Failing {
        inner: Arc::new(sqlite),
        fails: AtomicBool::new(false),
    });
    let ledger = RedoLedger::open(Arc::clone(&failing) as _, path(folder.path())).await;
    let ledger = Arc::new(ledger.unwrap());
    let mut world = World::with_acme(Arc::clone(&ledger) as _).await;
    ledger.cursors().await.unwrap();
    failing.fails.store(true, Ordering::Relaxed);
    for number in 0..20 {
        world.charge("acme", &format!("c{number}"), 1);
        world.flush().await;
    }
    let found = sequences(failing.inner.as_ref()).await;
    assert_eq!(found, [1]);
    // Long before its caller's patience ends, a reader is told why.
    let all = EntryFilter::default();
    let read = ledger.entries(&all, None, 10);
    let read = tokio::time::timeout(Duration::from_millis(1900), read).await;
    let told = read.expect("an answer").unwrap_err().to_string();
    assert!(told.contains("does not take what was settled: "), "{told}");
    assert!(told.contains("the disk is full"), "{told}");
    // The account's first grant is no commit, and does not wait any more.
    let depth = ledger.depth();
    assert!(depth.records >= 20 && depth.commits == 20, "{depth:?}");
    let log = logs(folder.path()).pop().unwrap();
    let on_disk = fs::metadata(log).unwrap().len() as usize;
    assert!((1000..on_disk).contains(&depth.bytes), "{depth:?}");
    failing.fails.store(false, Ordering::Relaxed);
    assert!(sequences(ledger.as_ref()).await.into_iter().eq(1..=21));
    let depth = ledger.depth();
    assert_eq!((depth.records, depth.bytes, depth.commits), (0, 0, 20));
    assert_eq!(ledger.audit(10).await.unwrap(), []);
    let now = Timestamp::from_millis(0);
    let again = OutboxBatch {
        to: 1,
        ..OutboxBatch::default()
    };
    assert!(ledger.settle(&[again], now).await.unwrap().cursor_conflict);
    assert!(
        ledger
            .account(&account_id("acme"), now)
            .await
            .unwrap()
            .is_some()
    );
}

/// The disk may be full of it, and the ledger needs room for what the log has.
#[tokio::test]
async fn the_spare_file_goes_before_the_ledger_is_written_to() {
    let image = images(1).await.pop().unwrap();
    let spare = image.path().join("ledger.db-redo.spare");
    fs::write(&spare, [0; 100]).unwrap();
    let sqlite = SqliteLedger::open(&path(image.path())).await.unwrap();
    let failing = Arc::new(support::Failing {
        inner: Arc::new(sqlite),
        fails: AtomicBool::new(true),
    });
    let opened = RedoLedger::open(failing, path(image.path())).await;
    assert!(matches!(opened, Err(RedoError::Ledger(_))));
    assert!(!spare.exists());
    assert_eq!(logs(image.path()).len(), 1);
}

/// Whoever settles may stop waiting for it, as the end of the process does after some time. What
/// the log then has must not be appended again: the next start would refuse that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_nobody_waits_for_any_more_is_settled_once() {
    let logged = logged().await;
    let ledger = logged.ledger.clone().unwrap();
    let mut world = World::with_acme(ledger.clone()).await;
    world.charge("acme", "c1", 1);
    let batch = world.take_batch();
    let mut settled = ledger.settle(std::slice::from_ref(&batch), world.now);
    // Polled once: another thread writes to the log.
    let polled = poll_fn(|context| Poll::Ready(settled.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(settled);
    let again = ledger.settle(&[batch], world.now).await.unwrap();
    assert!(again.cursor_conflict);
    let image = crash(logged.folder.path());
    let opened = open(image.path()).await.unwrap();
    assert_eq!(sequences(&opened).await, [1, 2]);
}

/// Nothing that waits can reach the ledger any more: whoever runs this must hear of it.
#[tokio::test]
async fn a_writer_that_panics_says_that_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&path(folder.path())).await.unwrap();
    let panicking = Arc::new(support::Panicking {
        inner: Arc::new(sqlite),
        panics: AtomicBool::new(false),
    });
    let ledger = RedoLedger::open(Arc::clone(&panicking) as _, path(folder.path())).await;
    let ledger = Arc::new(ledger.unwrap());
    let mut world = World::with_acme(Arc::clone(&ledger) as _).await;
    ledger.cursors().await.unwrap();
    panicking.panics.store(true, Ordering::Relaxed);
    assert!(
        timeout(Duration::ZERO, ledger.writer_ended())
            .await
            .is_err()
    );
    world.charge("acme", "c1", 1);
    world.flush().await;
    // A reader makes it write at once, and does not wait in vain.
    let fault = ledger.cursors().await.unwrap_err().to_string();
    assert!(fault.contains("redo-writer has panicked"), "{fault}");
    ledger.writer_ended().await;
    assert!(ledger.close().await.is_err());
    let image = crash(folder.path());
    let again = open(image.path()).await.unwrap();
    assert_eq!(sequences(&again).await, [1, 2]);
}

/// Ledgers around a ledger.
mod support {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tollgate::ledger::{LedgerFault, Settled};

    use super::*;
    use tollgate::{
        domain::{
            account::Account,
            change::Change,
            grant::Grant,
            ids::{AccountId, GrantId, ReservationId},
        },
        hot::KeptReservation,
        ledger::{
            AdminCall, CallFilter, CallPage, ChangeRequest, EntryPage, Finding, InUse, PageToken,
            StoredCatalog, Submitted,
        },
    };

    /// Tells of reversals at once, as a ledger without a log does.
    pub struct AtOnce {
        pub inner: Arc<RedoLedger>,
    }

    /// Takes no settlements for a while.
    pub struct Failing {
        pub inner: Arc<SqliteLedger>,
        pub fails: AtomicBool,
    }

    /// Panics from some time on when it is given something.
    pub struct Panicking {
        pub inner: Arc<SqliteLedger>,
        pub panics: AtomicBool,
    }

    impl Panicking {
        async fn settled(
            &self,
            batches: &[OutboxBatch],
            now: Timestamp,
        ) -> Result<Settled, LedgerFault> {
            assert!(!self.panics.load(Ordering::Relaxed), "on purpose");
            self.inner.settle(batches, now).await
        }
    }

    impl AtOnce {
        async fn settled(
            &self,
            batches: &[OutboxBatch],
            now: Timestamp,
        ) -> Result<Settled, LedgerFault> {
            let mut settled = self.inner.settle(batches, now).await?;
            self.inner.cursors().await?;
            settled
                .reversals
                .extend(self.inner.settle(&[], now).await?.reversals);
            Ok(settled)
        }
    }

    impl Failing {
        async fn settled(
            &self,
            batches: &[OutboxBatch],
            now: Timestamp,
        ) -> Result<Settled, LedgerFault> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(LedgerFault {
                    operation: "settle",
                    source: "the disk is full".into(),
                });
            }
            self.inner.settle(batches, now).await
        }
    }

    /// Ledgers that differ from the one inside in how they settle.
    macro_rules! ledgers_around {
        ($($name:ident),+ => $methods:tt) => {
            $(ledger_around! { $name => $methods })+
        };
    }

    macro_rules! ledger_around {
        ($name:ident => {
            $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+
        }) => {
            #[async_trait]
            impl Ledger for $name {
                async fn settle(
                    &self,
                    batches: &[OutboxBatch],
                    now: Timestamp,
                ) -> Result<Settled, LedgerFault> {
                    self.settled(batches, now).await
                }
                $(
                    async fn $method(&self $(, $argument: $type)*) -> Result<$answer, LedgerFault> {
                        self.inner.$method($($argument),*).await
                    }
                )+
            }
        };
    }

    ledgers_around! { AtOnce, Failing, Panicking => {
        submit(request: &ChangeRequest, now: Timestamp) -> Submitted;
        changes(account_id: &AccountId, number: u64, max: usize) -> Vec<Change>;
        unapplied(after: Option<&AccountId>, max: usize) -> Vec<AccountId>;
        cursors() -> Vec<Cursor>;
        fence(fences: &[Fence]) -> bool;
        standing(shard: u32, epoch: u64) -> Standing;
        accounts_of(account_ids: &[AccountId]) -> Vec<Account>;
        commits(account_id: &AccountId, reservation_ids: &[ReservationId])
            -> Vec<(ReservationId, Commits)>;
        account(account_id: &AccountId, now: Timestamp) -> Option<Account>;
        accounts(after: Option<&AccountId>, max: usize, now: Timestamp) -> Vec<Account>;
        grant(account_id: &AccountId, grant_id: &GrantId) -> Option<Grant>;
        due(now: Timestamp, max: usize) -> Vec<AccountId>;
        reservations(after: Option<&(AccountId, ReservationId)>, max: usize) -> Vec<KeptReservation>;
        entries(filter: &EntryFilter, page: Option<PageToken>, max: usize) -> EntryPage;
        conversation(id: &str, page: Option<PageToken>, max: usize) -> EntryPage;
        put_catalog(catalog: &StoredCatalog, now: Timestamp) -> bool;
        catalogs() -> Vec<StoredCatalog>;
        id() -> String;
        fix_shards(wanted: u32) -> u32;
        in_use() -> InUse;
        log_calls(calls: &[AdminCall]) -> ();
        calls(filter: &CallFilter, after: Option<u64>, max: usize) -> CallPage;
        audit(max: usize) -> Vec<Finding>;
    } }
}
