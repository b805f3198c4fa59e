//! A ledger that one process has to itself. A hot store in memory holds the only balances that
//! there are, so two of them on one ledger would each spend the same credits.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::Fault;

/// What a claimed ledger is locked by: "tollmem:" in ASCII.
const CLAIM_LOCK: i64 = 0x746f_6c6c_6d65_6d3a;
/// How long the session of a process that was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Claims the ledger for as long as the session that this answers lives; `None` where another
/// process has it.
pub(super) async fn claim(pool: &PgPool) -> Result<Option<PgConnection>, Fault> {
    let mut session = pool.acquire().await?.detach();
    let claiming = async {
        loop {
            let is_mine: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(CLAIM_LOCK)
                .fetch_one(&mut session)
                .await?;
            if is_mine {
                return Ok::<(), sqlx::Error>(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, claiming).await {
        Ok(claimed) => {
            claimed?;
            Ok(Some(session))
        }
        Err(_) => Ok(None),
    }
}
