//! The settler of this process: the thread that it has to itself where it writes to a disk of
//! this machine, and the check that says whether it gets on, where answers wait for nobody else.

use std::{sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::error::StartError;
use crate::{
    clock::Clock,
    config::{Config, HotUrl, LedgerUrl, SettleAck},
    http::Readiness,
    telemetry::Metrics,
    workers::{self, Caught, Progress, StepError, Worker},
};

/// The name of the readiness check for settling, where answers wait for that of this process.
pub(super) const CHECK_SETTLING: &str = "settling";
/// The name of the settler's thread.
pub(super) const THREAD: &str = "settler";
/// What is said while settling goes on, and where a step hangs that no other one failed before.
const WELL: &str = "nothing waits for long";
const NO_END: &str = "a step does not end";

/// Whether answers wait for the settler of this process and no other one: what memory holds
/// nobody else can settle.
pub(super) fn is_waited_for(config: &Config) -> bool {
    matches!(config.hot, HotUrl::Memory) && config.settle.ack == SettleAck::Ledger
}

/// Runs the settler until `working` is cancelled. Where it writes to a disk of this machine it has
/// a thread of its own: the calls that wait for it must not wait behind all the others for it to
/// go on. What is answered is cancelled when that thread ends, by a panic too.
pub(super) fn run(
    settler: Arc<dyn Worker>,
    config: &Config,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    working: &CancellationToken,
) -> Result<CancellationToken, StartError> {
    let interval = Duration::from_millis(config.settle.flush_interval_ms);
    let run = |settler| workers::run(settler, interval, Arc::clone(metrics), working.clone());
    let ended = CancellationToken::new();
    let is_embedded =
        matches!(config.hot, HotUrl::Memory) && matches!(config.ledger, Some(LedgerUrl::Sqlite(_)));
    if !is_embedded {
        tasks.spawn(run(Arc::new(Caught(settler))));
        return Ok(ended);
    }
    let run = run(settler);
    let internal = |error: std::io::Error| StartError::Internal(error.into());
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().map_err(internal)?;
    let end = ended.clone().drop_guard();
    thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(move || {
            let _end = end;
            runtime.block_on(run);
        })
        .map_err(internal)?;
    tasks.spawn(ended.clone().cancelled_owned());
    Ok(ended)
}

/// A settler that is watched.
pub(super) struct Settling {
    settler: Arc<dyn Worker>,
    clock: Arc<dyn Clock>,
    readiness: Arc<Readiness>,
    /// How long settling may fail before this process says that it is not ready: at least as long
    /// as an answer waits, so not for a disk that is slow for once.
    patience: Duration,
    trouble: Mutex<Option<Trouble>>,
}

/// What has happened since the last step that succeeded.
struct Trouble {
    /// When the first step after that began.
    since: Duration,
    /// What the last one said that failed.
    error: Option<String>,
}

impl Settling {
    /// Watches a settler, which has not failed yet.
    pub(super) fn new(
        settler: Arc<dyn Worker>,
        clock: Arc<dyn Clock>,
        readiness: Arc<Readiness>,
        patience: Duration,
    ) -> Self {
        readiness.set(CHECK_SETTLING, true, WELL);
        Settling {
            settler,
            clock,
            readiness,
            patience,
            trouble: Mutex::default(),
        }
    }

    fn look(&self) {
        let (ok, why) = match &*self.trouble.lock() {
            Some(trouble) if self.clock.monotonic() > trouble.since + self.patience => {
                (false, trouble.error.as_deref().unwrap_or(NO_END).to_owned())
            }
            Some(_) | None => (true, WELL.to_owned()),
        };
        self.readiness.set(CHECK_SETTLING, ok, why);
    }
}

#[async_trait]
impl Worker for Settling {
    fn name(&self) -> &'static str {
        self.settler.name()
    }

    fn backoff_max(&self) -> Duration {
        self.settler.backoff_max()
    }

    async fn woken(&self) {
        self.settler.woken().await;
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let since = self.clock.monotonic();
        let error = None;
        self.trouble.lock().get_or_insert(Trouble { since, error });
        let progress = self.settler.step().await;
        let mut trouble = self.trouble.lock();
        match &progress {
            Ok(_) => *trouble = None,
            Err(error) => {
                if let Some(trouble) = trouble.as_mut() {
                    trouble.error = Some(error.to_string());
                }
            }
        }
        progress
    }
}

/// Says how settling goes. It asks nobody: a step that hangs must not make this hang.
pub(super) struct Probe(pub Arc<Settling>);

#[async_trait]
impl Worker for Probe {
    fn name(&self) -> &'static str {
        "settling_probe"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        self.0.look();
        Ok(Progress::Done)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::{clock::ManualClock, domain::timestamp::Timestamp};

    const PATIENCE: Duration = Duration::from_millis(1_900);

    /// Fails, succeeds or hangs, as it is told.
    #[derive(Default)]
    struct Told {
        error: Mutex<Option<&'static str>>,
        hangs: Mutex<bool>,
    }

    #[async_trait]
    impl Worker for Told {
        fn name(&self) -> &'static str {
            "settler"
        }

        async fn step(&self) -> Result<Progress, StepError> {
            if *self.hangs.lock() {
                Notify::new().notified().await;
            }
            match *self.error.lock() {
                Some(error) => Err(error.into()),
                None => Ok(Progress::Done),
            }
        }
    }

    #[tokio::test]
    async fn it_is_not_ready_while_nothing_was_settled_for_longer_than_an_answer_waits() {
        let told = Arc::new(Told::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let readiness = Arc::new(Readiness::new([CHECK_SETTLING]));
        let settler = Arc::clone(&told) as _;
        let settling = Settling::new(
            settler,
            clock.clone() as _,
            Arc::clone(&readiness),
            PATIENCE,
        );
        let said = || {
            settling.look();
            let check = readiness.subscribe().borrow()[CHECK_SETTLING].clone();
            (check.ok, check.why)
        };
        let well = (true, WELL.to_owned());
        let step = async || settling.step().await.is_ok();
        assert!(said() == well && step().await);

        // One hiccup, and a pause in which nothing is tried.
        *told.error.lock() = Some("the disk is full");
        assert!(!step().await);
        clock.advance(PATIENCE);
        assert_eq!(said(), well);
        *told.error.lock() = None;
        assert!(step().await);
        clock.advance(PATIENCE * 10);
        assert_eq!(said(), well);

        // The last error counts, since the first one.
        *told.error.lock() = Some("the disk is slow");
        assert!(!step().await);
        clock.advance(PATIENCE);
        *told.error.lock() = Some("the disk is full");
        assert!(!step().await);
        clock.advance(Duration::from_millis(1));
        assert_eq!(said(), (false, "the disk is full".to_owned()));
        *told.error.lock() = None;
        assert!(step().await);
        assert_eq!(said(), well);

        // A step that does not end is no better.
        *told.hangs.lock() = true;
        let hung = settling.step();
        assert!(tokio::time::timeout(Duration::ZERO, hung).await.is_err());
        assert_eq!(said(), well);
        clock.advance(PATIENCE * 2);
        assert_eq!(said(), (false, NO_END.to_owned()));
    }
}
