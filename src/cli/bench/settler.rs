//! The settler's part on Postgres beside a bare COPY of the same rows: batches as full as the
//! settler makes them, settled one after the other, each copied right after it was settled.
//!
//! The entries are real ones, of charges on accounts that the ledger has; only the hot store is
//! this process's memory, so that nothing but the ledger is measured.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    limits::Runs,
    plan::{Call, Operation, Plan},
    scripts::{Commands, PLAN_ID, create},
};
use crate::{
    cli::{
        exit::Exit,
        output::{Column, Failure, table},
    },
    clock::{Clock, SystemClock},
    domain::ids::{AccountId, ReservationId},
    hot::{
        HotStore, OutboxBatch,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::{
        ChangeRequest, Ledger, Submitted, Wanted,
        postgres::{PostgresLedger, Yardstick},
    },
};

/// The least that the settler does, of what a bare COPY does.
const RATIO_MIN: f64 = 0.5;
/// Batches that are settled before the measured ones: caches and plans are warm then.
const WARM_UP_BATCHES: u64 = 2;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
struct Report {
    entries: u64,
    entries_a_batch: usize,
    bytes_a_row: u64,
    settled_per_second: f64,
    copied_per_second: f64,
    copied_with_indexes_per_second: f64,
    /// The settler's over the bare COPY's.
    ratio: f64,
    /// The settler's over that of a COPY into a table with the same indexes.
    ratio_with_indexes: f64,
}

/// Time spent on the same entries.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    settling: Duration,
    copying: Duration,
    copying_indexed: Duration,
    entries: u64,
    bytes: u64,
}

/// Measures for as long as was asked for, all three together.
pub(super) async fn measure(runs: &Runs<'_>) -> Result<Exit, Failure> {
    let Some(options) = &runs.stores.postgres else {
        let message = "--settler needs --ledger postgres://USER@HOST:PORT/DATABASE";
        return Err(Failure::new(Exit::Usage, message));
    };
    let ledger = PostgresLedger::open(options, runs.clock.now()).await?;
    let bench = Bench {
        runs,
        hot: MemoryHot::new(
            MemoryOptions {
                outbox_bytes_max: usize::MAX,
                ..MemoryOptions::default()
            },
            Arc::clone(&runs.clock) as Arc<dyn Clock>,
        ),
        commands: Commands::new(&runs.parts)?,
        ledger,
    };
    runs.output
        .progress(format_args!("creating {} accounts", runs.plan.accounts))?;
    bench.create_accounts().await?;
    bench.ledger.make_yardsticks().await.map_err(unavailable)?;
    runs.output.progress("settling")?;
    let spent = bench.measure().await;
    bench.ledger.drop_yardsticks().await.map_err(unavailable)?;
    bench.ledger.close().await;
    let report = Report::new(&spent?, runs.stores.batch_max);
    runs.output.result(&report, Report::text)?;
    Ok(Exit::Ok)
}

struct Bench<'a> {
    runs: &'a Runs<'a>,
    hot: MemoryHot,
    commands: Commands,
    ledger: PostgresLedger,
}

impl Bench<'_> {
    fn clock(&self) -> &SystemClock {
        &self.runs.clock
    }

    async fn create_accounts(&self) -> Result<(), Failure> {
        let cursors = self.ledger.cursors().await.map_err(unavailable)?;
        self.hot.restore_cursors(&cursors);
        for account in 0..self.runs.plan.accounts {
            let now = self.clock().now();
            let create = create(now).map_err(internal)?;
            let id = AccountId::new(&self.runs.plan.account_id(account)).map_err(internal)?;
            let request = ChangeRequest {
                account_id: id.clone(),
                key: None,
                payload: Vec::new(),
                wanted: Wanted::Create(create.clone()),
                call: None,
            };
            let submitted = self.ledger.submit(&request, now).await;
            let Submitted::New(change) = submitted.map_err(unavailable)? else {
                let message = format!("account {id} could not be created on plan {PLAN_ID}");
                return Err(Failure::new(Exit::Conflict, message));
            };
            let loading = self.hot.loading(&id).await.map_err(unavailable)?;
            let loaded = self.hot.load(create.blank_account(&id), loading).await;
            loaded.map_err(unavailable)?;
            let applied = self.hot.apply(&change).await.map_err(unavailable)?;
            applied.map_err(|refusal| internal(format!("{refusal:?}")))?;
        }
        let batches = self.outbox().await?;
        self.settle(&batches).await
    }

    /// Until the three together have had the time that was asked for.
    async fn measure(&self) -> Result<Spent, Failure> {
        let clock = self.clock();
        let mut spent = Spent::default();
        let mut round = 0;
        while spent.settling + spent.copying + spent.copying_indexed < self.runs.args.duration {
            let batches = self.charge(round).await?;
            let began = clock.monotonic();
            self.settle(&batches).await?;
            let settled = clock.monotonic();
            let rows = PostgresLedger::rows(&batches, clock.now()).map_err(unavailable)?;
            let ready = clock.monotonic();
            self.copy(Yardstick::Bare, &rows).await?;
            let copied = clock.monotonic();
            self.copy(Yardstick::Indexed, &rows).await?;
            let indexed = clock.monotonic();
            round += 1;
            if round > WARM_UP_BATCHES {
                spent.settling += settled.saturating_sub(began);
                spent.copying += copied.saturating_sub(ready);
                spent.copying_indexed += indexed.saturating_sub(copied);
                spent.entries += self.runs.stores.batch_max as u64;
                spent.bytes += rows.len() as u64;
            }
        }
        Ok(spent)
    }

    /// One full batch of charges.
    async fn charge(&self, round: u64) -> Result<Vec<OutboxBatch>, Failure> {
        let batch_max = self.runs.stores.batch_max as u64;
        for place in 0..batch_max {
            let number = round * batch_max + place;
            let account = number % u64::from(self.runs.plan.accounts.max(1));
            let call = Call {
                operation: Operation::Charge,
                account: u32::try_from(account).unwrap_or(0),
                number,
            };
            let account_id = self.runs.plan.account_id(call.account);
            let ids = (
                AccountId::new(&account_id).map_err(internal)?,
                ReservationId::new(&Plan::reservation_id(number)).map_err(internal)?,
            );
            let charged = self.hot.charge(&self.commands.charge(ids, number)).await;
            let charged = charged.map_err(unavailable)?;
            charged.map_err(|refusal| internal(format!("{refusal:?}")))?;
        }
        self.outbox().await
    }

    /// What waits, without the reservations: a Redis keeps those itself.
    async fn outbox(&self) -> Result<Vec<OutboxBatch>, Failure> {
        let mut batches = Vec::new();
        for shard in 0..self.hot.shards() {
            let batch = self.hot.outbox(shard).await.map_err(unavailable)?;
            if batch.to > batch.from {
                self.hot.trim(batch.end()).await.map_err(unavailable)?;
                batches.push(OutboxBatch {
                    reservations: Arc::default(),
                    ..batch
                });
            }
        }
        Ok(batches)
    }

    async fn settle(&self, batches: &[OutboxBatch]) -> Result<(), Failure> {
        let settled = self.ledger.settle(batches, self.clock().now()).await;
        if settled.map_err(unavailable)?.cursor_conflict {
            let message = "somebody else settles to this ledger";
            return Err(Failure::new(Exit::Conflict, message));
        }
        Ok(())
    }

    async fn copy(&self, yardstick: Yardstick, rows: &[u8]) -> Result<(), Failure> {
        let copied = self.ledger.copy(yardstick, rows).await;
        copied.map_err(unavailable)
    }
}

impl Report {
    fn new(spent: &Spent, entries_a_batch: usize) -> Self {
        let per_second = |time: Duration| spent.entries as f64 / time.as_secs_f64();
        let (settled, copied) = (per_second(spent.settling), per_second(spent.copying));
        let indexed = per_second(spent.copying_indexed);
        Report {
            entries: spent.entries,
            entries_a_batch,
            bytes_a_row: spent.bytes / spent.entries.max(1),
            settled_per_second: settled,
            copied_per_second: copied,
            copied_with_indexes_per_second: indexed,
            ratio: settled / copied,
            ratio_with_indexes: settled / indexed,
        }
    }

    fn text(&self) -> String {
        let columns = [
            Column::Text("the same rows"),
            Column::Number("entries/s"),
            Column::Number("the settler's ratio to it"),
        ];
        let row = |name: &str, per_second: f64, ratio: String| {
            vec![name.to_owned(), format!("{per_second:.0}"), ratio]
        };
        let of = |ratio: f64| format!("{ratio:.2}");
        let rows = [
            row("settled", self.settled_per_second, String::new()),
            row("bare COPY", self.copied_per_second, of(self.ratio)),
            row(
                "COPY into a table with the same indexes",
                self.copied_with_indexes_per_second,
                of(self.ratio_with_indexes),
            ),
        ];
        format!(
            "\n{} entries in batches of {}, {} bytes a row\n{}\n\
             the settler does {:.2} of a bare COPY, to be at least {RATIO_MIN}",
            self.entries,
            self.entries_a_batch,
            self.bytes_a_row,
            table(&columns, rows.into_iter()),
            self.ratio
        )
    }
}

fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, error)
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, error)
}
