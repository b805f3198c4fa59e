//! Whether a transaction happened whose answer was lost: the server remembers it by its id.

use std::time::Duration;

use sqlx::PgPool;

/// How long the server is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait between two looks at a server that is away, or still at it.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a transaction was committed. `false` where it was not, and where the server can't be
/// asked in time: then the next batch finds out by the cursor.
pub(super) async fn is_committed(pool: &PgPool, transaction_id: &str) -> bool {
    let looking = async {
        loop {
            match look(pool, transaction_id).await {
                Some(is_committed) => return is_committed,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .unwrap_or(false)
}

/// One look; `None`: not known yet.
async fn look(pool: &PgPool, transaction_id: &str) -> Option<bool> {
    let status: Result<Option<String>, sqlx::Error> =
        sqlx::query_scalar("SELECT pg_xact_status($1::xid8)")
            .bind(transaction_id)
            .fetch_one(pool)
            .await;
    match status.as_ref().map(Option::as_deref) {
        Ok(Some("in progress")) => None,
        Ok(status) => Some(status == Some("committed")),
        // A server that says that it never gave out this id is another one.
        Err(sqlx::Error::Database(_)) => Some(false),
        Err(_) => None,
    }
}
