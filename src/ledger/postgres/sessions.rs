//! The connections to the server, and what becomes of them where nothing comes from it any more:
//! a machine that is gone, or a network that drops everything, closes no connection.
//!
//! The server itself ends a statement that takes too long, so an operation that takes longer than
//! its statements may is waiting for nobody: it is given up, which rolls it back. After a few of
//! them in a row the whole pool is left for a new one, since it would wait for its mute
//! connections to say goodbye before it makes others in their place. Connections that are all busy
//! are not mute: they are heard of within that time.
//!
//! A standby takes connections too, say a primary of before that a name still leads to. What is read
//! there may be old, and nothing can be written, so no session on one is used.
//!
//! What people ask may read a lot, and they ask again. It has places of its own, half as many as
//! there are connections, so that settling and whoever needs an account find one.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Fault, OpenError, PostgresOptions, open};

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
    signs: Arc<Signs>,
    places: Arc<Semaphore>,
}

/// What was last seen of the server.
#[derive(Debug)]
struct Signs {
    /// When something last came from it.
    heard: Mutex<Instant>,
    /// Whether the newest session was one on a standby.
    is_standby: AtomicBool,
}

impl Signs {
    fn heard(&self) {
        *self.heard.lock() = now();
    }

    fn is_heard_within(&self, time: Duration) -> bool {
        now() - *self.heard.lock() <= time
    }

    /// Sees to it that nobody gets a new session that is on a standby.
    async fn look(&self, session: &mut PgConnection, place: &str) -> Result<(), sqlx::Error> {
        let is_standby = open::is_standby(session).await?;
        let was_standby = self.is_standby.swap(is_standby, Ordering::Relaxed);
        if !is_standby {
            return Ok(());
        }
        if !was_standby {
            tracing::warn!(
                place,
                "Postgres is a standby here: no connection to it is used"
            );
        }
        // An error would have the pool try again at once, and log each try. Whoever waits for the
        // session gives up in `acquire_timeout`, and that closes it.
        std::future::pending().await
    }
}

impl Sessions {
    /// Makes none yet.
    pub fn new(options: &PostgresOptions) -> Self {
        let signs = Arc::new(Signs {
            heard: Mutex::new(now()),
            is_standby: AtomicBool::new(false),
        });
        let places = (options.connections_max / 2).max(1);
        Sessions {
            options: options.clone(),
            pool: Mutex::new(make(options, &signs)),
            silent: AtomicU32::new(0),
            signs,
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
        self.learn(within(self.limit(), operation).await)
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
        self.learn(answer)
    }

    /// The same for what reads whole tables, within a limit of its own.
    pub async fn whole<T>(
        &self,
        limit: Duration,
        read: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let _place = self.place().await?;
        self.learn(within(self.options.acquire_timeout + limit, read).await)
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

    /// What an answer says of the server.
    fn learn<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        match &answer {
            Err(Fault::Silent(_)) => self.was_silent(),
            Err(Fault::Sql(sqlx::Error::PoolTimedOut)) => {
                if self.signs.is_standby.load(Ordering::Relaxed) {
                    let place = self.options.place();
                    return Err(OpenError::Standby { place }.into());
                }
                // Where every connection is in use one of them ends within that time.
                if !self.signs.is_heard_within(self.limit()) {
                    self.was_silent();
                }
            }
            Err(Fault::Busy(_)) => {}
            Err(
                Fault::Sql(_)
                | Fault::Open(_)
                | Fault::Unfit(_)
                | Fault::Decode { .. }
                | Fault::Raced,
            )
            | Ok(_) => {
                self.signs.heard();
                self.silent.store(0, Ordering::Relaxed);
            }
        }
        answer
    }

    fn was_silent(&self) {
        if self.silent.fetch_add(1, Ordering::Relaxed) + 1 < SILENT_MAX {
            return;
        }
        self.silent.store(0, Ordering::Relaxed);
        tracing::warn!(place = %self.options.place(), "Postgres is silent: connecting anew");
        // What is under way on the old one ends by itself, and so does the pool then.
        *self.pool.lock() = make(&self.options, &self.signs);
    }

    /// Closes all of them.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

/// A ledger has no clock: this is the timers' own, as all limits here are.
fn now() -> Instant {
    tokio::time::sleep(Duration::ZERO).deadline()
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

fn make(options: &PostgresOptions, signs: &Arc<Signs>) -> PgPool {
    let (new, used) = (Arc::clone(signs), Arc::clone(signs));
    let place = options.place();
    let may_be_standby = options.may_be_standby;
    PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        .after_connect(move |session, _| {
            let (signs, place) = (Arc::clone(&new), place.clone());
            Box::pin(async move {
                signs.heard();
                if may_be_standby {
                    return Ok(());
                }
                signs.look(session, &place).await
            })
        })
        // It has just answered, or it would not be given to anybody.
        .before_acquire(move |_, _| {
            used.heard();
            Box::pin(async { Ok(true) })
        })
        .connect_lazy_with(options.session())
}
