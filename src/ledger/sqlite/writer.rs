//! The one connection that writes. SQLite has one writer at a time anyway; waiting for it here is
//! fair, and costs no retries.

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, MutexGuard};

use super::Fault;

/// The writing connection, used by one caller at a time.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    connection: Mutex<SqliteConnection>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Writer {
            options,
            connection: Mutex::new(connection),
        }
    }

    /// Waits for the connection. A transaction that its caller abandoned has been rolled back
    /// before the next statement runs.
    pub(super) async fn lock(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().await
    }

    /// After a fault: a new connection for the next caller. One on which a full disk has ended a
    /// transaction answers, but takes itself to be in one for ever.
    pub(super) async fn repair(&self) -> Result<(), Fault> {
        let mut connection = self.connection.lock().await;
        *connection = self.options.connect().await?;
        Ok(())
    }

    /// Closes the connection once nobody uses it.
    pub(super) async fn close(self) {
        // Closing fails where the connection is broken; then there is nothing to close.
        let _closed = self.connection.into_inner().close().await;
    }
}
