//! Statements over many rows at once: `VALUES` of a few fixed sizes, so that each is compiled once
//! and then found in the connection's cache. What a chunk has less than its size stays unbound,
//! which SQLite reads as NULL; every statement skips rows whose first column is NULL.

use std::sync::Arc;

use sqlx::{
    AssertSqlSafe, Sqlite, SqliteConnection,
    error::BoxDynError,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

/// How many rows a statement is compiled for. The last one is the most that one statement takes.
const SIZES: [usize; 4] = [4, 16, 64, 256];

/// One statement over rows of so many columns.
pub(super) struct Bulk {
    columns: usize,
    sql: [Arc<str>; SIZES.len()],
}

/// Binds one row's columns, in order.
pub(super) type Binding = Result<(), BoxDynError>;

impl Bulk {
    /// `head` and `tail` surround the rows: `head (VALUES …) tail`. The rows' columns are called
    /// `column1`, `column2` and so on.
    pub(super) fn new(columns: usize, head: &str, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let sql = SIZES.map(|size| {
            let rows = vec![row.as_str(); size].join(",");
            Arc::from(format!("{head} (VALUES {rows}) {tail}"))
        });
        Bulk { columns, sql }
    }

    /// Runs the statement over all rows; answers how many rows it affected.
    pub(super) async fn execute<T>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&T, &mut SqliteArguments) -> Binding,
    ) -> Result<u64, sqlx::Error> {
        let mut affected = 0;
        for chunk in rows.chunks(SIZES[SIZES.len() - 1]) {
            let query = self.query(chunk, &bind)?;
            affected += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(affected)
    }

    /// Runs the statement over all rows; answers the rows that it finds.
    pub(super) async fn fetch<T>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&T, &mut SqliteArguments) -> Binding,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::new();
        for chunk in rows.chunks(SIZES[SIZES.len() - 1]) {
            found.extend(
                self.query(chunk, &bind)?
                    .fetch_all(&mut *connection)
                    .await?,
            );
        }
        Ok(found)
    }

    fn query<T>(
        &self,
        chunk: &[T],
        bind: impl Fn(&T, &mut SqliteArguments) -> Binding,
    ) -> Result<Query<'static, Sqlite, SqliteArguments>, sqlx::Error> {
        let size = SIZES
            .iter()
            .position(|size| chunk.len() <= *size)
            .unwrap_or(SIZES.len() - 1);
        let mut arguments = SqliteArguments::default();
        sqlx::Arguments::reserve(&mut arguments, chunk.len() * self.columns, 0);
        for row in chunk {
            bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
        }
        let sql = AssertSqlSafe(Arc::clone(&self.sql[size]));
        Ok(sqlx::query_with(sql, arguments))
    }
}

/// Binds values in order: `bind_all!(arguments, a, b, c)`.
macro_rules! bind_all {
    ($arguments:expr, $($value:expr),+ $(,)?) => {{
        $(sqlx::Arguments::add($arguments, $value)?;)+
        Ok(())
    }};
}
pub(super) use bind_all;
