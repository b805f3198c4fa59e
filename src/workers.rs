//! The workers: each is one idempotent, bounded `step` that takes no input and looks for its own
//! work, and one dull loop that runs it by timer and by signal.
//!
//! None of them is needed for a correct answer: they move what is settled to the ledger, give
//! back what nobody came for, and let time pass on accounts that nobody asks about.

pub mod applier;
pub mod bell;
pub mod follower;
pub mod loader;
pub mod partitioner;
pub mod publisher;
pub mod reconciler;
pub mod refresher;
pub mod reloader;
pub mod renewer;
pub mod settler;
pub mod shares;
pub mod subscriber;
pub mod substitute;
pub mod sweeper;

use std::{any::Any, error::Error, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt, future::join_all};
use tokio_util::sync::CancellationToken;

use crate::{domain::ids::AccountId, enforcer::error::EnforceError, telemetry::Metrics};

/// The longest pause after steps that failed.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The same for a worker that somebody in another process may be waiting for.
const MESSENGER_BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How often in a row a step is run again because it had its hands full.
const BURST_MAX: usize = 64;
/// How many accounts of one step are worked on at once.
const ACCOUNTS_AT_ONCE: usize = 16;

/// What went wrong in a step. It will be tried again.
pub type StepError = Box<dyn Error + Send + Sync>;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to do at once.
    More,
    /// Nothing is left to do for now.
    Done,
    /// Another process does it: that this one is well says nothing.
    Resting,
}

/// Some accounts of a step failed. The others are done.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} accounts failed, the last of them {account_id}: {source}")]
struct AccountsFailed {
    failed: usize,
    all: usize,
    account_id: AccountId,
    source: EnforceError,
}

/// Something that is done again and again.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Does a bounded piece of work. Safe to repeat, whatever happened to the last one.
    async fn step(&self) -> Result<Progress, StepError>;

    /// Said in place of a step while another process does this worker's work.
    fn rest(&self) {}

    /// The longest pause after steps that failed, where the interval is shorter.
    fn backoff_max(&self) -> Duration {
        BACKOFF_MAX
    }

    /// Returns when there is reason to step before the timer says so.
    async fn woken(&self) {
        std::future::pending::<()>().await;
    }
}

/// Steps by timer and by signal until it is told to stop.
pub async fn run(
    worker: Arc<dyn Worker>,
    interval: Duration,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut failures: u32 = 0;
    while !stop.is_cancelled() {
        match burst(worker.as_ref()).await {
            Ok(Progress::Resting) => failures = 0,
            Ok(Progress::More | Progress::Done) => {
                failures = 0;
                metrics.worker_success(worker.name());
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                metrics.worker_error(worker.name());
                // One that fails for hours does not fill the log.
                if failures.is_power_of_two() {
                    let worker = worker.name();
                    tracing::warn!(worker, failures, %error, "step failed, will retry");
                }
            }
        }
        let pause = interval
            .saturating_mul(1 << failures.min(10))
            .min(worker.backoff_max().max(interval));
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
            () = wakeable(worker.as_ref(), interval, failures) => {}
        }
    }
}

/// Waits to be woken: after a failure not before one interval has passed, so that whoever wakes
/// it all the time does not make it fail all the time.
async fn wakeable(worker: &dyn Worker, interval: Duration, failures: u32) {
    if failures > 0 {
        tokio::time::sleep(interval).await;
    }
    worker.woken().await;
}

async fn burst(worker: &dyn Worker) -> Result<Progress, StepError> {
    for _ in 0..BURST_MAX {
        let progress = worker.step().await?;
        if progress != Progress::More {
            return Ok(progress);
        }
    }
    Ok(Progress::More)
}

/// A worker whose step fails where it panics, so that it is tried again, counted and told of.
pub struct Caught(pub Arc<dyn Worker>);

#[async_trait]
impl Worker for Caught {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn step(&self) -> Result<Progress, StepError> {
        // A step is safe to repeat, whatever happened to the last one.
        let step = AssertUnwindSafe(self.0.step()).catch_unwind();
        step.await
            .unwrap_or_else(|panic| Err(told_by(panic.as_ref())))
    }

    fn rest(&self) {
        self.0.rest();
    }

    fn backoff_max(&self) -> Duration {
        self.0.backoff_max()
    }

    async fn woken(&self) {
        self.0.woken().await;
    }
}

/// What a panic says.
fn told_by(panic: &(dyn Any + Send)) -> StepError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "it has panicked: {}",
        text.unwrap_or("nothing is known of why")
    )
    .into()
}

/// Does a step's work on each of some accounts. One that fails is most likely the first one in the
/// next step too, so it holds up no other.
async fn on_each<'a, T, F>(
    account_ids: &'a [AccountId],
    work: impl Fn(&'a AccountId) -> F,
) -> Result<(), StepError>
where
    F: Future<Output = Result<T, EnforceError>>,
{
    let (mut failed, mut last) = (0, None);
    for some in account_ids.chunks(ACCOUNTS_AT_ONCE) {
        let done = join_all(some.iter().map(&work)).await;
        for (account_id, outcome) in some.iter().zip(done) {
            if let Err(source) = outcome {
                failed += 1;
                last = Some((account_id.clone(), source));
            }
        }
    }
    match last {
        None => Ok(()),
        Some((account_id, source)) => Err(Box::new(AccountsFailed {
            failed,
            all: account_ids.len(),
            account_id,
            source,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        shares::{Led, Shares},
        *,
    };

    struct Panicking;

    #[async_trait]
    impl Worker for Panicking {
        fn name(&self) -> &'static str {
            "panicking"
        }

        async fn step(&self) -> Result<Progress, StepError> {
            panic!("at step {}", 1)
        }
    }

    #[tokio::test]
    async fn a_worker_that_panics_has_failed_and_is_tried_again() {
        let worker = Caught(Arc::new(Panicking));
        for _ in 0..2 {
            let error = worker.step().await.expect_err("it panics").to_string();
            assert_eq!(error, "it has panicked: at step 1");
        }
    }

    #[tokio::test]
    async fn a_worker_that_another_process_leads_is_not_said_to_be_well() {
        let led = Led {
            worker: Arc::new(Panicking),
            shares: Arc::new(Shares::none()),
        };
        assert_eq!(burst(&led).await.unwrap(), Progress::Resting);
    }
}
