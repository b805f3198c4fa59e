//! Many entries are settled in two transactions at once, of which one may fail or come too late
//! without the other.

use std::sync::Arc;

use tollgate::{
    hot::{Cursor, OutboxBatch},
    ledger::{Ledger, postgres::PostgresLedger},
};

use super::killed::DIE;
use crate::{
    ledger::world::{START, World},
    support::postgres::{Database, shared},
};

const SHARDS: u32 = 4;
const CHARGES_A_SHARD: usize = 200;
const CHARGES: usize = CHARGES_A_SHARD * SHARDS as usize;

/// A ledger with an account in each shard, `s0` to `s3`, and many charges on each that wait.
struct Waiting {
    database: Database,
    ledger: Arc<PostgresLedger>,
    batches: Vec<OutboxBatch>,
}

impl Waiting {
    async fn new() -> Waiting {
        let database = shared().ledger().await;
        let ledger = database.open().await;
        let mut batches = Vec::new();
        for shard in 0..SHARDS {
            let mut world = World::new(ledger.clone());
            let account = format!("s{shard}");
            world.create(&account, 1000).await;
            let created = OutboxBatch {
                shard,
                ..world.take_batch()
            };
            let settled = ledger.settle(&[created], START).await.unwrap();
            assert!(!settled.cursor_conflict);
            for number in 0..CHARGES_A_SHARD {
                world.charge(&account, &format!("c{number}"), 1);
            }
            batches.push(OutboxBatch {
                shard,
                ..world.take_batch()
            });
        }
        Waiting {
            database,
            ledger,
            batches,
        }
    }

    /// How many charges are written by it, and whether a cursor was elsewhere.
    async fn settle(&self) -> (usize, bool) {
        let settled = self.ledger.settle(&self.batches, START).await.unwrap();
        (settled.entries, settled.cursor_conflict)
    }

    /// Where the shards are, before and after what waits.
    fn places(&self) -> Vec<[Cursor; 2]> {
        let batches = self.batches.iter();
        batches.map(|batch| [batch.start(), batch.end()]).collect()
    }

    async fn count(&self, what: &str) -> String {
        let sql = format!("SELECT count({what})::text FROM entries WHERE kind = 'usage'");
        self.database.texts(&sql).await.remove(0)
    }

    /// Every charge is in the ledger, once.
    async fn check(&self) {
        let ends: Vec<Cursor> = self.places().into_iter().map(|[_, end]| end).collect();
        assert_eq!(self.ledger.cursors().await.unwrap(), ends);
        assert_eq!(self.count("*").await, CHARGES.to_string());
        assert_eq!(self.ledger.audit(10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn many_entries_are_two_transactions() {
    let waiting = Waiting::new().await;
    assert_eq!(waiting.settle().await, (CHARGES, false));
    assert_eq!(waiting.count("DISTINCT xmin::text").await, "2");
    waiting.check().await;
    assert_eq!(waiting.settle().await, (0, true));
    waiting.check().await;
}

#[tokio::test]
async fn a_half_that_comes_too_late_does_not_keep_the_other_one() {
    let waiting = Waiting::new().await;
    let other_settler = waiting.database.open().await;
    let first = &waiting.batches[..1];
    other_settler.settle(first, START).await.unwrap();
    assert_eq!(waiting.settle().await, (CHARGES / 2, true));
    let [_, [second, _], ..] = waiting.places()[..] else {
        panic!("four shards");
    };
    assert_eq!(waiting.ledger.cursors().await.unwrap()[1], second);
    let left = waiting.ledger.settle(&waiting.batches[1..2], START).await;
    assert_eq!(left.unwrap().entries, CHARGES_A_SHARD);
    waiting.check().await;
}

#[tokio::test]
async fn a_half_that_is_killed_does_not_keep_the_other_one() {
    for (account, half) in [("s1", 0..2), ("s2", 2..4)] {
        let waiting = Waiting::new().await;
        let trap = format!(
            "{DIE};
             CREATE TRIGGER trap BEFORE UPDATE ON accounts FOR EACH ROW
             WHEN (OLD.account_id = '{account}') EXECUTE FUNCTION die()"
        );
        waiting.database.sql(&trap).await;
        let fault = waiting.ledger.settle(&waiting.batches, START).await;
        assert!(fault.is_err(), "{account}");
        let places = waiting.places().into_iter().enumerate();
        let expected: Vec<Cursor> = places
            .map(|(shard, [start, end])| if half.contains(&shard) { start } else { end })
            .collect();
        assert_eq!(waiting.ledger.cursors().await.unwrap(), expected);
        waiting.database.sql("DROP TRIGGER trap ON accounts").await;
        assert_eq!(waiting.settle().await, (CHARGES / 2, true));
        waiting.check().await;
    }
}
