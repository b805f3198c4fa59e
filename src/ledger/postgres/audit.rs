//! Checks what is stored against DESIGN.md's invariants. Each check is one statement that finds
//! what is off and says so; all of them look at the same snapshot, while others go on writing.
//! What months that are detached added up to counts as theirs.
//!
//! Which months there are is not of the snapshot: the server looks it up when it plans a statement.
//! One that is detached after the snapshot was taken would be in no statement from then on, and its
//! sums would be in none either. So the snapshot is taken behind a lock that detaching waits for, and
//! that waits for detaching, which is a matter of seconds (`detach_entries`).
//!
//! Nothing is repaired here.

use sqlx::{Connection, PgConnection, PgPool};

use super::{
    Fault,
    rows::{self, limit},
};
use crate::{domain::ids::AccountId, ledger::Finding};

/// One snapshot for all checks, which may take their time: ten minutes each. It is taken by the first
/// of them: locking a table takes none.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL statement_timeout = '10min';
    LOCK TABLE ONLY entries IN ACCESS SHARE MODE";

/// One check: its statement answers (account, detail), at most as many as its parameter says.
struct Check {
    /// The number in DESIGN.md, section 7.
    invariant: u8,
    sql: &'static str,
}

/// Every check, cheap ones first.
const CHECKS: [Check; 13] = [
    PARTS, HOLDS, CHANGES, GAPS, ORPHANS, HEADS, CARRIED, WORTH, MOVES, ENDS, CHARGED, SETTLED,
    REFUNDED,
];

const PARTS: Check = Check {
    invariant: 1,
    sql: "SELECT account_id,
              format('grant %s: used %s + expired %s do not fit into its amount %s',
                     grant_id, used, expired, amount)
          FROM grants
          WHERE amount < 0 OR used < 0 OR expired < 0 OR used + expired > amount LIMIT $1",
};

const HOLDS: Check = Check {
    invariant: 1,
    sql: "WITH held AS (
              SELECT r.account_id, hold ->> 'grant_id' AS grant_id,
                     sum((hold ->> 'credits')::bigint) AS credits
              FROM reservations AS r, jsonb_array_elements(r.body::jsonb -> 'holds') AS hold
              WHERE r.body::jsonb ->> 'state' = 'open' GROUP BY 1, 2)
          SELECT account_id,
                 format('grant %s: open holds have %s, and %s are left of it',
                        grant_id, held.credits, coalesce(g.amount - g.used - g.expired, 0))
          FROM held LEFT JOIN grants AS g USING (account_id, grant_id)
          WHERE held.credits > coalesce(g.amount - g.used - g.expired, 0) LIMIT $1",
};

const CHANGES: Check = Check {
    invariant: 6,
    sql: "SELECT a.account_id,
              format('has %s changes up to number %s; the last is said to be %s, applied are %s',
                     count(c.number), coalesce(max(c.number), 0), a.last_change,
                     a.applied_change)
          FROM accounts AS a LEFT JOIN changes AS c USING (account_id)
          GROUP BY a.account_id
          HAVING count(c.number) <> a.last_change
              OR coalesce(max(c.number), 0) <> a.last_change
              OR coalesce(min(c.number), 1) <> 1
              OR a.applied_change > a.last_change LIMIT $1",
};

/// Months may be detached in any order, so where one was, the first number says nothing.
const GAPS: Check = Check {
    invariant: 4,
    sql: "WITH numbered AS (
              SELECT account_id, count(*) AS entries, count(DISTINCT sequence) AS numbers,
                     min(sequence) AS first, max(sequence) AS last
              FROM entries GROUP BY account_id)
          SELECT account_id,
              format('is at entry %s and has %s (%s of them detached), numbered %s to %s',
                     a.sequence, coalesce(n.entries, 0) + coalesce(d.entries, 0),
                     coalesce(d.entries, 0), coalesce(n.first, 0),
                     greatest(n.last, d.last_sequence, 0))
          FROM accounts AS a
          LEFT JOIN numbered AS n USING (account_id)
          LEFT JOIN detached_entries AS d USING (account_id)
          WHERE coalesce(n.entries, 0) + coalesce(d.entries, 0) <> a.sequence
             OR n.entries <> n.numbers
             OR greatest(n.last, d.last_sequence, 0) <> a.sequence
             OR (d.entries IS NULL AND coalesce(n.first, 1) <> 1) LIMIT $1",
};

const ORPHANS: Check = Check {
    invariant: 4,
    sql: "SELECT account_id, 'has ' || count(*) || ' rows, but is no account'
          FROM (SELECT account_id FROM entries UNION ALL SELECT account_id FROM reservations
                UNION ALL SELECT account_id FROM grants) AS found
          WHERE NOT EXISTS (SELECT FROM accounts AS a WHERE a.account_id = found.account_id)
          GROUP BY account_id LIMIT $1",
};

const HEADS: Check = Check {
    invariant: 4,
    sql: "SELECT a.account_id, format('differs from what entry %s left it as', a.sequence)
          FROM accounts AS a JOIN entries AS e USING (account_id, sequence)
          CROSS JOIN LATERAL jsonb_to_record(e.body::jsonb -> 'head') AS h (
              debt BIGINT, applied_change BIGINT, status TEXT, overage TEXT, plan JSONB,
              next_plan JSONB, anchor BIGINT, cycle JSONB)
          WHERE h.debt IS DISTINCT FROM a.debt
             OR h.applied_change IS DISTINCT FROM a.applied_change
             OR h.status IS DISTINCT FROM a.status
             OR h.overage IS DISTINCT FROM a.overage
             OR h.plan ->> 'id' IS DISTINCT FROM a.plan_id
             OR (h.plan ->> 'allowance')::bigint IS DISTINCT FROM a.allowance
             OR h.next_plan ->> 'id' IS DISTINCT FROM a.next_plan_id
             OR (h.next_plan ->> 'allowance')::bigint IS DISTINCT FROM a.next_allowance
             OR h.anchor IS DISTINCT FROM a.anchor
             OR (h.cycle ->> 'index')::bigint IS DISTINCT FROM a.cycle_index
             OR (h.cycle ->> 'start')::bigint IS DISTINCT FROM a.cycle_start
             OR (h.cycle ->> 'end')::bigint IS DISTINCT FROM a.cycle_end LIMIT $1",
};

const CARRIED: Check = Check {
    invariant: 4,
    sql: "WITH carried AS (
              SELECT account_id, sum(changes) AS changes FROM (
                  SELECT account_id, 1 AS changes FROM entries
                  WHERE kind NOT IN ('usage', 'expiry', 'debt_repaid', 'renewal')
                    AND body::jsonb -> 'change' IS NOT NULL
                  UNION ALL SELECT account_id, changes FROM detached_entries) AS each
              GROUP BY account_id)
          SELECT account_id,
                 format('%s changes are applied, and %s entries carry one', applied_change,
                        coalesce(changes, 0))
          FROM accounts LEFT JOIN carried USING (account_id)
          WHERE applied_change <> coalesce(changes, 0) LIMIT $1",
};

const WORTH: Check = Check {
    invariant: 4,
    sql: "WITH settled AS (
              SELECT account_id, sum(credits) AS credits FROM (
                  SELECT account_id, credits FROM entries
                  UNION ALL SELECT account_id, credits FROM detached_entries) AS each
              GROUP BY account_id),
          present AS (
              SELECT account_id, sum(amount - used - expired) AS credits
              FROM grants GROUP BY account_id)
          SELECT a.account_id,
                 format('entries add up to %s; grants have %s left and %s is owed',
                        coalesce(settled.credits, 0), coalesce(present.credits, 0), a.debt)
          FROM accounts AS a
          LEFT JOIN settled USING (account_id) LEFT JOIN present USING (account_id)
          WHERE coalesce(settled.credits, 0) <> coalesce(present.credits, 0) - a.debt LIMIT $1",
};

const MOVES: Check = Check {
    invariant: 4,
    sql: "WITH moved AS (
              SELECT account_id, grant_id, sum(amount) AS amount, sum(used) AS used,
                     sum(expired) AS expired
              FROM (
                  SELECT e.account_id, move ->> 'grant_id' AS grant_id,
                         coalesce((move ->> 'amount')::bigint, 0) AS amount,
                         coalesce((move ->> 'used')::bigint, 0) AS used,
                         coalesce((move ->> 'expired')::bigint, 0) AS expired
                  FROM entries AS e, jsonb_array_elements(e.body::jsonb -> 'moves') AS move
                  UNION ALL
                  SELECT account_id, grant_id, amount, used, expired FROM detached_moves) AS each
              GROUP BY 1, 2)
          SELECT account_id,
                 format('grant %s has amount %s, used %s, expired %s; its entries say %s, %s, %s',
                        grant_id, g.amount, g.used, g.expired, m.amount, m.used, m.expired)
          FROM grants AS g FULL JOIN moved AS m USING (account_id, grant_id)
          WHERE g.amount IS DISTINCT FROM m.amount OR g.used IS DISTINCT FROM m.used
             OR g.expired IS DISTINCT FROM m.expired LIMIT $1",
};

const ENDS: Check = Check {
    invariant: 5,
    sql: "SELECT account_id,
              format('reservation %s was settled to the end %s times', reservation_id, count(*))
          FROM entries WHERE ends = 1 AND slot > 0
          GROUP BY reservation_id, account_id HAVING count(*) > 1 LIMIT $1",
};

/// Where the hot store had forgotten a reservation, the two do not know the same settlements.
const CHARGED: Check = Check {
    invariant: 5,
    sql: "SELECT account_id,
              format('reservation %s charged %s, and its entries %s', reservation_id,
                     r.body::jsonb ->> 'charged', coalesce(s.charged, 0))
          FROM reservations AS r LEFT JOIN settlements AS s USING (account_id, reservation_id)
          WHERE NOT coalesce(s.forgotten, FALSE)
            AND (r.body::jsonb ->> 'charged')::bigint <> coalesce(s.charged, 0) LIMIT $1",
};

/// What is known of each settled reservation, against its entries where none is detached.
const SETTLED: Check = Check {
    invariant: 5,
    sql: "WITH found AS (
              SELECT account_id, reservation_id, count(*) AS entries, max(slot) AS slot,
                     max(sequence) FILTER (WHERE is_first) AS first_sequence,
                     max(occurred_at) FILTER (WHERE is_first) AS first_at,
                     min(slot) < 0 AS forgotten,
                     sum((body::jsonb #>> '{settlement,receipt,credits}')::bigint
                       - (body::jsonb #>> '{settlement,receipt,corrected}')::bigint) AS charged
              FROM entries WHERE slot IS NOT NULL GROUP BY 1, 2)
          SELECT account_id,
                 format('reservation %s has %s settlements that charged %s; known are %s and %s',
                        reservation_id, coalesce(f.entries, 0), coalesce(f.charged, 0),
                        coalesce(s.entries, 0), coalesce(s.charged, 0))
          FROM settlements AS s FULL JOIN found AS f USING (account_id, reservation_id)
          WHERE coalesce(f.entries, 0) > coalesce(s.entries, 0)
             OR f.first_sequence <> coalesce(s.first_sequence, 0)
             OR f.first_at <> coalesce(s.first_at, 0)
             OR (f.entries = s.entries
                 AND (f.charged <> s.charged OR f.slot <> s.last_commit
                      OR f.forgotten <> s.forgotten))
             OR (coalesce(f.entries, 0) < coalesce(s.entries, 0)
                 AND NOT EXISTS (SELECT FROM detached_entries AS d
                                 WHERE d.account_id = s.account_id)) LIMIT $1",
};

const REFUNDED: Check = Check {
    invariant: 5,
    sql: "WITH refunded AS (
              SELECT account_id, reservation_id, sum(credits) AS credits
              FROM entries WHERE kind = 'refund' GROUP BY 1, 2)
          SELECT account_id,
                 format('reservation %s charged %s, and %s were refunded', reservation_id,
                        coalesce(s.charged, 0), refunded.credits)
          FROM refunded LEFT JOIN settlements AS s USING (account_id, reservation_id)
          WHERE refunded.credits > coalesce(s.charged, 0) LIMIT $1",
};

/// Runs every check on one snapshot, until there are `max` findings.
pub(super) async fn audit(pool: &PgPool, max: usize) -> Result<Vec<Finding>, Fault> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin_with(BEGIN).await?;
    let mut findings = Vec::new();
    for check in &CHECKS {
        let left = max.saturating_sub(findings.len());
        if left == 0 {
            break;
        }
        run(&mut snapshot, check, left, &mut findings).await?;
    }
    snapshot.commit().await?;
    Ok(findings)
}

async fn run(
    connection: &mut PgConnection,
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
            detail: rows::text(row, 1)?.to_owned(),
        });
    }
    Ok(())
}
