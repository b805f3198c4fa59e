//! The connections to the server, and what becomes of them where nothing comes from it any more:
//! a machine that is gone, or a network that drops everything, closes no connection.
//!
//! The server itself ends a statement that takes too long, so an operation that takes longer than
//! its statements may is waiting for nobody: it is given up, which rolls it back. After a few of
//! them in a row the whole pool is left for a new one, since it would wait for its mute
//! connections to say goodbye before it makes others in their place. Connections that are all busy
//! are not mute: they are heard of within that time.
//!
//! What people ask may read a lot, and they ask again. It has places of its own, half as many as
//! there are connections, so that settling and whoever needs an account find one.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Fault, PostgresOptions};

/// How long a connection that nobody uses is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How many times the longest statement's time one operation may take. An operation has several
/// statements, of which at most one is ever slow.
const STATEMENTS_SLOW_MAX: u32 = 2;
/// After how many operations in a row without any answer the pool is left.
const SILENT_MAX: u32 = 3;

/// The connections.
#[derive(Debug)]
pub(super) struct Sessions {
    options: PostgresOptions,
    pool: Mutex<PgPool>,
    silent: AtomicU32,
    heard: Arc<Heard>,
    places: Arc<Semaphore>,
}

/// When something last came from the server. By the runtime's clock, as all limits here are.
#[derive(Debug)]
struct Heard(Mutex<Instant>);

impl Heard {
    fn now(&self) {
        *self.0.lock() = Instant::now();
    }

    fn is_within(&self, time: Duration) -> bool {
        self.0.lock().elapsed() <= time
    }
}

impl Sessions {
    /// Makes none yet.
    pub fn new(options: &PostgresOptions) -> Self {
        let heard = Arc::new(Heard(Mutex::new(Instant::now())));
        let places = (options.connections_max / 2).max(1);
        Sessions {
            options: options.clone(),
            pool: Mutex::new(make(options, &heard)),
            silent: AtomicU32::new(0),
            heard,
            places: Arc::new(Semaphore::new(places as usize)),
        }
    }

    /// The pool, as it is now.
    pub fn pool(&self) -> PgPool {
        self.pool.lock().clone()
    }

    /// Runs an operation, and gives it up where no server is left that could answer it.
    pub async fn bounded<T>(
        &self,
        operation: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let answer = within(self.limit(), operation).await;
        self.learn(answer.as_ref().err());
        answer
    }

    /// The same for what may read a lot, of which only so much runs at once.
    pub async fn slow<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let place = self.place().await?;
        let limit = self.limit();
        // Where the caller goes away the server reads on, and its connection is taken until then:
        // so the place is, too.
        let reading = tokio::spawn(async move {
            let _place = place;
            within(limit, read).await
        });
        let answer = match reading.await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Err(Fault::Sql(sqlx::Error::PoolClosed)),
            },
        };
        self.learn(answer.as_ref().err());
        answer
    }

    /// A place among the reads that may take long, kept until it is dropped.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let wait = self.options.acquire_timeout;
        let free = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(wait, free).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy(wait)),
        }
    }

    /// The longest that an operation may take on a server that is there.
    fn limit(&self) -> Duration {
        self.options.acquire_timeout + self.options.statement_timeout * STATEMENTS_SLOW_MAX
    }

    fn learn(&self, fault: Option<&Fault>) {
        match fault {
            Some(Fault::Silent(_)) => self.was_silent(),
            // Where every connection is in use one of them ends within that time.
            Some(Fault::Sql(sqlx::Error::PoolTimedOut)) => {
                if !self.heard.is_within(self.limit()) {
                    self.was_silent();
                }
            }
            Some(Fault::Busy(_)) => {}
            Some(
                Fault::Sql(_)
                | Fault::Open(_)
                | Fault::Unfit(_)
                | Fault::Decode { .. }
                | Fault::Raced,
            )
            | None => {
                self.heard.now();
                self.silent.store(0, Ordering::Relaxed);
            }
        }
    }

    fn was_silent(&self) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 < SILENT_MAX {
            return;
        }
        self.silent.store(0, Ordering::Relaxed);
        tracing::warn!(place = %self.options.place(), "Postgres is silent: connecting anew");
        // What is under way on the old one ends by itself, and so does the pool then.
        *self.pool.lock() = make(&self.options, &self.heard);
    }

    /// Closes all of them.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, operation).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::Silent(limit)),
    }
}

fn make(options: &PostgresOptions, heard: &Arc<Heard>) -> PgPool {
    let (made, tried) = (Arc::clone(heard), Arc::clone(heard));
    PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        .after_connect(move |_, _| {
            made.now();
            Box::pin(async { Ok(()) })
        })
        // It has just answered, or it would not be given to anybody.
        .before_acquire(move |_, _| {
            tried.now();
            Box::pin(async { Ok(true) })
        })
        .connect_lazy_with(options.session())
}
