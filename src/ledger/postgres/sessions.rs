//! The connections to the server, and what becomes of them where nothing comes from it any more:
//! a machine that is gone, or a network that drops everything, closes no connection.
//!
//! The server itself ends a statement that takes too long, so an operation that takes longer than
//! its statements may is waiting for nobody: it is given up, which rolls it back. After a few of
//! them in a row the whole pool is left for a new one, since it would wait for its mute
//! connections to say goodbye before it makes others in their place.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{PgPool, postgres::PgPoolOptions};

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
}

impl Sessions {
    /// Makes none yet.
    pub fn new(options: &PostgresOptions) -> Self {
        Sessions {
            options: options.clone(),
            pool: Mutex::new(make(options)),
            silent: AtomicU32::new(0),
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
        let statements = self.options.statement_timeout * STATEMENTS_SLOW_MAX;
        let limit = self.options.acquire_timeout + statements;
        let answer = match tokio::time::timeout(limit, operation).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Silent(limit)),
        };
        match &answer {
            Err(Fault::Silent(_) | Fault::Sql(sqlx::Error::PoolTimedOut)) => self.was_silent(),
            _ => self.silent.store(0, Ordering::Relaxed),
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
        *self.pool.lock() = make(&self.options);
    }

    /// Closes all of them.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

fn make(options: &PostgresOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        .connect_lazy_with(options.session())
}
