//! The Postgres ledger: every case, and what only a server can have.

mod busy;
mod concurrency;
mod halves;
mod killed;
mod open;
mod partitions;
mod plans;
mod served;

use std::sync::Arc;

use async_trait::async_trait;
use tollgate::ledger::{Ledger, postgres::PostgresLedger};

use super::Backend;
use crate::support::postgres::{self, Database};

struct OnServer {
    database: Database,
    ledger: Option<Arc<PostgresLedger>>,
}

async fn on_server() -> OnServer {
    let database = postgres::shared().ledger().await;
    let ledger = Some(database.open().await);
    OnServer { database, ledger }
}

#[async_trait]
impl Backend for OnServer {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(self.ledger.as_ref().unwrap()) as Arc<dyn Ledger>
    }

    async fn reopen(&mut self) {
        self.ledger.take().unwrap().close().await;
        self.ledger = Some(self.database.open().await);
    }

    async fn tamper(&self, sql: &'static str) {
        self.database.sql(sql).await;
    }
}

super::conformance!(on_server);
