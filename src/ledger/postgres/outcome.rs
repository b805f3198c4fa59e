//! Whether a transaction happened whose answer was lost: the server remembers it by its id.

use std::time::Duration;

use sqlx::PgPool;

/// How often the server is asked.
const LOOKS_MAX: u32 = 20;
/// How long to wait between two looks at a server that is away, or still at it.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether a transaction was committed. `false` where it was not, and where the server can't be
/// asked in time: then the next batch finds out by the cursor.
pub(super) async fn is_committed(pool: &PgPool, transaction_id: &str) -> bool {
    for look in 0..LOOKS_MAX {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let status: Result<Option<String>, sqlx::Error> =
            sqlx::query_scalar("SELECT pg_xact_status($1::xid8)")
                .bind(transaction_id)
                .fetch_one(pool)
                .await;
        match status.as_ref().map(Option::as_deref) {
            Ok(Some("committed")) => return true,
            Ok(Some("in progress")) => {}
            Ok(Some(_) | None) => return false,
            // A server that answers that it never gave out this id is another one.
            Err(sqlx::Error::Database(_)) => return false,
            Err(_) => {}
        }
    }
    false
}
