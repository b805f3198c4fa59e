//! What settling is held against: a bare COPY of the same rows, into tables of the same columns in
//! the same database. For `tollgate bench --settler`, which makes the tables and drops them.

use sqlx::Connection;

use super::{
    Fault, PostgresLedger, PostgresOptions,
    copy::copy,
    new_entries::{NewEntries, copy_into},
    open::{self, OpenError},
};
use crate::{
    domain::timestamp::Timestamp,
    hot::OutboxBatch,
    ledger::{
        LedgerFault,
        batch::Prepared,
        eras::{Known, Mark},
    },
};

const OPERATION: &str = "copy";

/// Two tables like `entries`: without any index, and with all that it has.
const MAKE: [&str; 4] = [
    "DROP TABLE IF EXISTS bench_entries",
    "DROP TABLE IF EXISTS bench_entries_indexed",
    "CREATE TABLE bench_entries (LIKE entries INCLUDING DEFAULTS)",
    "CREATE TABLE bench_entries_indexed (LIKE entries INCLUDING DEFAULTS INCLUDING INDEXES)",
];
const DROP: [&str; 2] = [
    "DROP TABLE bench_entries",
    "DROP TABLE bench_entries_indexed",
];

/// Where a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// A table without an index: a bare COPY.
    Bare,
    /// A table with the indexes of `entries`.
    Indexed,
}

impl PostgresLedger {
    /// Whether the database has no account, or no ledger yet that could have one.
    pub async fn is_blank(options: &PostgresOptions) -> Result<bool, OpenError> {
        let other = |source: sqlx::Error| OpenError::Other {
            place: options.place(),
            source: Box::new(source),
        };
        let mut connection = open::connect(options).await?;
        let is_ledger: bool = sqlx::query_scalar("SELECT to_regclass('accounts') IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .map_err(other)?;
        let has_accounts = is_ledger
            && sqlx::query_scalar("SELECT EXISTS (SELECT FROM accounts)")
                .fetch_one(&mut connection)
                .await
                .map_err(other)?;
        // Nothing was written.
        let _ = connection.close().await;
        Ok(!has_accounts)
    }

    /// Makes the tables to copy into, anew.
    pub async fn make_yardsticks(&self) -> Result<(), LedgerFault> {
        self.run_all(&MAKE).await
    }

    /// Drops them.
    pub async fn drop_yardsticks(&self) -> Result<(), LedgerFault> {
        self.run_all(&DROP).await
    }

    async fn run_all(&self, statements: &[&'static str]) -> Result<(), LedgerFault> {
        for statement in statements {
            let done = sqlx::query(*statement)
                .execute(&self.pool(OPERATION).await?)
                .await;
            done.map_err(|error| Fault::from(error).during(OPERATION))?;
        }
        Ok(())
    }

    /// The rows that settling these batches copies, as they are sent.
    pub fn rows(batches: &[OutboxBatch], now: Timestamp) -> Result<Vec<u8>, LedgerFault> {
        let prepared = Prepared::new(batches);
        let unfit = |unfit| Fault::from(unfit).during(OPERATION);
        let prepared = prepared.map_err(unfit)?;
        let marks: Vec<Mark> = prepared
            .entries
            .iter()
            .map(|entry| match &entry.settlement {
                Some(settlement) => Known::default().mark(settlement, entry.sequence as i64),
                None => Mark::default(),
            })
            .collect();
        let rows = NewEntries::without_refunds(&prepared, &marks, now).whole();
        rows.map_err(unfit)
    }

    /// Copies rows, and commits.
    pub async fn copy(&self, yardstick: Yardstick, rows: &[u8]) -> Result<(), LedgerFault> {
        let table = match yardstick {
            Yardstick::Bare => "bench_entries",
            Yardstick::Indexed => "bench_entries_indexed",
        };
        let pool = self.pool(OPERATION).await?;
        let copied = async {
            let mut transaction = pool.begin().await?;
            copy(&mut transaction, &copy_into(table), [rows]).await?;
            transaction.commit().await
        };
        copied
            .await
            .map_err(|error| Fault::from(error).during(OPERATION))
    }
}
