//! Checks what is stored against DESIGN.md's invariants. Each check is one statement that finds
//! what is off and says so; all of them look at the same snapshot, while others go on writing.
//! What is kept packed is first spread out into tables of the reading connection's own.
//!
//! Nothing is repaired here.

mod spread;

use futures_util::TryStreamExt;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{
    Fault,
    rows::{self, ACCOUNT_COLUMNS, account_columns, entry_column, limit},
};
use crate::{domain::ids::AccountId, ledger::Finding};

/// One check: its statement answers (account, detail), at most as many as its parameter says.
struct Check {
    /// The number in DESIGN.md, section 7.
    invariant: u8,
    sql: &'static str,
}

/// Every check, cheap ones first.
const CHECKS: [Check; 11] = [
    PARTS, HOLDS, CHANGES, GAPS, ORPHANS, CARRIED, WORTH, MOVES, ENDS, CHARGED, REFUNDED,
];

const PARTS: Check = Check {
    invariant: 1,
    sql: "SELECT account_id,
              format('grant %s: used %d + expired %d do not fit into its amount %d',
                     grant_id, used, expired, amount)
          FROM grants
          WHERE amount < 0 OR used < 0 OR expired < 0 OR used + expired > amount LIMIT ?",
};

const HOLDS: Check = Check {
    invariant: 1,
    sql: "WITH held AS (
              SELECT r.account_id, hold.value ->> '$.grant_id' AS grant_id,
                     sum(hold.value ->> '$.credits') AS credits
              FROM reservations AS r, json_each(r.holds) AS hold
              GROUP BY 1, 2)
          SELECT account_id,
                 format('grant %s: open holds have %d, and %d are left of it',
                        grant_id, held.credits, coalesce(g.amount - g.used - g.expired, 0))
          FROM held LEFT JOIN grants AS g USING (account_id, grant_id)
          WHERE held.credits > coalesce(g.amount - g.used - g.expired, 0) LIMIT ?",
};

const CHANGES: Check = Check {
    invariant: 6,
    sql: "SELECT a.account_id,
              format('has %d changes up to number %d; the last is said to be %d, applied are %d',
                     count(c.number), coalesce(max(c.number), 0), a.last_change,
                     a.applied_change)
          FROM accounts AS a LEFT JOIN changes AS c USING (account_id)
          GROUP BY a.account_id
          HAVING count(c.number) <> a.last_change
              OR coalesce(max(c.number), 0) <> a.last_change
              OR coalesce(min(c.number), 1) <> 1
              OR a.applied_change > a.last_change LIMIT ?",
};

const GAPS: Check = Check {
    invariant: 4,
    sql: "SELECT a.account_id,
              format('is at entry %d and has %d, numbered %d to %d', a.sequence,
                     count(e.sequence), coalesce(min(e.sequence), 0),
                     coalesce(max(e.sequence), 0))
          FROM accounts AS a LEFT JOIN entries AS e USING (account_id)
          GROUP BY a.account_id
          HAVING count(e.sequence) <> a.sequence
              OR coalesce(max(e.sequence), 0) <> a.sequence
              OR coalesce(min(e.sequence), 1) <> 1 LIMIT ?",
};

const ORPHANS: Check = Check {
    invariant: 4,
    sql: "SELECT account_id, 'has ' || count(*) || ' rows, but is no account'
          FROM (SELECT account_id FROM entries UNION ALL SELECT account_id FROM reservations)
          WHERE account_id NOT IN (SELECT account_id FROM accounts)
          GROUP BY account_id LIMIT ?",
};

const CARRIED: Check = Check {
    invariant: 4,
    sql: "WITH carried AS (
              SELECT account_id, count(*) AS entries FROM entries
              WHERE kind NOT IN ('usage', 'expiry', 'debt_repaid', 'renewal')
                AND coalesce(change, body ->> '$.change') IS NOT NULL
              GROUP BY account_id)
          SELECT account_id,
                 format('%d changes are applied, and %d entries carry one', applied_change,
                        coalesce(entries, 0))
          FROM accounts LEFT JOIN carried USING (account_id)
          WHERE applied_change <> coalesce(entries, 0) LIMIT ?",
};

const WORTH: Check = Check {
    invariant: 4,
    sql: "WITH settled AS (
              SELECT account_id, sum(credits) AS credits FROM entries GROUP BY account_id),
          present AS (
              SELECT account_id, sum(amount - used - expired) AS credits
              FROM grants GROUP BY account_id)
          SELECT a.account_id,
                 format('entries add up to %d; grants have %d left and %d is owed',
                        coalesce(settled.credits, 0), coalesce(present.credits, 0), a.debt)
          FROM accounts AS a
          LEFT JOIN settled USING (account_id) LEFT JOIN present USING (account_id)
          WHERE coalesce(settled.credits, 0) <> coalesce(present.credits, 0) - a.debt LIMIT ?",
};

const MOVES: Check = Check {
    invariant: 4,
    sql: "SELECT account_id,
                 format('grant %s has amount %d, used %d, expired %d; its entries say %d, %d, %d',
                        grant_id, g.amount, g.used, g.expired,
                        m.amount, m.used, m.expired)
          FROM grants AS g FULL JOIN temp.moved AS m USING (account_id, grant_id)
          WHERE g.amount IS NOT m.amount OR g.used IS NOT m.used
             OR g.expired IS NOT m.expired LIMIT ?",
};

const ENDS: Check = Check {
    invariant: 5,
    sql: "SELECT account_id,
              format('reservation %s was settled to the end %d times', reservation_id, count(*))
          FROM entries WHERE ends AND slot > 0
          GROUP BY reservation_id, account_id HAVING count(*) > 1 LIMIT ?",
};

/// What an entry charged, of whichever version it is.
macro_rules! charged {
    () => {
        "coalesce(e.charged, (e.body ->> '$.settlement.receipt.credits')
                             - (e.body ->> '$.settlement.receipt.corrected'))"
    };
}

/// Where the hot store had forgotten a reservation, the two do not know the same settlements.
const CHARGED: Check = Check {
    invariant: 5,
    sql: concat!(
        "WITH charged AS (
             SELECT r.account_id, r.reservation_id, r.charged, min(e.slot) AS slot,
                    coalesce(sum(",
        charged!(),
        "), 0) AS credits
             FROM reservations AS r LEFT JOIN entries AS e
                 ON e.reservation_id = r.reservation_id AND e.account_id = r.account_id
                    AND e.slot IS NOT NULL
             GROUP BY r.account_id, r.reservation_id)
         SELECT account_id,
                format('reservation %s charged %d, and its entries %d', reservation_id, charged,
                       credits)
         FROM charged WHERE coalesce(slot, 1) > 0 AND charged <> credits LIMIT ?"
    ),
};

const REFUNDED: Check = Check {
    invariant: 5,
    sql: concat!(
        "WITH refunded AS (
              SELECT DISTINCT account_id, reservation_id FROM changes
              WHERE reservation_id IS NOT NULL),
          charged AS (
              SELECT r.account_id, r.reservation_id,
                     (SELECT sum(e.credits) FROM entries AS e
                      WHERE e.reservation_id = r.reservation_id AND e.account_id = r.account_id
                        AND e.kind = 'refund') AS refunded,
                     (SELECT sum(",
        charged!(),
        ")
                      FROM entries AS e
                      WHERE e.reservation_id = r.reservation_id AND e.account_id = r.account_id
                        AND e.slot IS NOT NULL) AS credits
              FROM refunded AS r)
          SELECT account_id,
                 format('reservation %s charged %d, and %d were refunded', reservation_id,
                        coalesce(credits, 0), refunded)
          FROM charged WHERE refunded > coalesce(credits, 0) LIMIT ?"
    ),
};

/// Runs every check on one snapshot, until there are `max` findings.
pub(super) async fn audit(readers: &SqlitePool, max: usize) -> Result<Vec<Finding>, Fault> {
    let mut snapshot = readers.begin().await?;
    spread::reservations(&mut snapshot).await?;
    spread::moves(&mut snapshot).await?;
    let mut findings = Vec::new();
    for check in &CHECKS {
        let left = max.saturating_sub(findings.len());
        if left == 0 {
            break;
        }
        run(&mut snapshot, check, left, &mut findings).await?;
    }
    let left = max.saturating_sub(findings.len());
    heads(&mut snapshot, left, &mut findings).await?;
    sqlx::raw_sql("DROP TABLE temp.reservations; DROP TABLE temp.moved")
        .execute(&mut *snapshot)
        .await?;
    snapshot.commit().await?;
    Ok(findings)
}

/// Whether each account is what its last entry left it as.
async fn heads(
    snapshot: &mut SqliteConnection,
    max: usize,
    findings: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let sql = concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        entry_column!("e"),
        " FROM accounts AS a JOIN entries AS e USING (account_id, sequence)"
    );
    let mut rows = sqlx::query(sql).fetch(snapshot);
    let mut left = max;
    while let Some(row) = rows.try_next().await?
        && left > 0
    {
        let account = rows::account(&row)?;
        if rows::entry(&row, ACCOUNT_COLUMNS)?.head != account.head {
            left -= 1;
            findings.push(Finding {
                account_id: Some(account.id),
                invariant: 4,
                detail: format!("differs from what entry {} left it as", account.sequence),
            });
        }
    }
    Ok(())
}

async fn run(
    connection: &mut SqliteConnection,
    check: &Check,
    max: usize,
    findings: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let found = sqlx::query(check.sql)
        .bind(limit(max))
        .fetch_all(connection)
        .await?;
    for row in &found {
        findings.push(Finding {
            account_id: Some(rows::id(row, 0, "account id", AccountId::new)?),
            invariant: check.invariant,
            detail: row.try_get(1)?,
        });
    }
    Ok(())
}
