//! Makes accounts, as they are before their first change is applied: any number of them in four
//! statements.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use sqlx::{Row, SqliteConnection};

use super::{
    Fault,
    bulk::{Bulk, bind_all},
    rows::{int, to_json},
    submit::Asked,
};
use crate::{
    domain::{
        account::AccountHead,
        change::{Change, ChangeBody, Create},
        credits::MAX_CREDITS,
        ids::AccountId,
    },
    ledger::{Wanted, standing::key},
};

/// The number of the change that makes an account.
const FIRST: u64 = 1;

static KNOWN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        1,
        "SELECT account_id FROM",
        "AS asked JOIN account_terms ON account_id = asked.column1",
    )
});
static ADD_ACCOUNTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        9,
        "INSERT OR FAIL INTO account_terms
             (account_id, last_change, applied_change, status, overage, plan_id, allowance,
              anchor, cycle_index, cycle_start, cycle_end)
         SELECT column1, 1, 0, column2, column3, column4, column5, column6, column7, column8,
                column9
         FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static ADD_BALANCES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        1,
        "INSERT OR FAIL INTO balances (account_id, sequence, debt) SELECT column1, 0, 0 FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static ADD_CREATIONS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        5,
        "INSERT OR FAIL INTO changes (account_id, number, key, payload, body, submitted_at)
         SELECT column1, 1, column2, column3, column4, column5 FROM",
        "WHERE column1 IS NOT NULL",
    )
});

/// An account to be made, as somebody has asked for it.
struct Line<'a> {
    place: usize,
    asked: Asked<'a>,
    create: &'a Create,
    head: AccountHead,
}

/// Makes every account that was asked for and is not there, each by the first who asks; answers
/// the changes that make them, by the places of their requests.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    asked: &[Asked<'_>],
) -> Result<HashMap<usize, Change>, Fault> {
    let mut seen = HashSet::new();
    let mut lines: Vec<Line<'_>> = asked
        .iter()
        .enumerate()
        .filter_map(|(place, asked)| line(place, *asked))
        .filter(|line| seen.insert(&line.asked.0.account_id))
        .collect();
    if lines.is_empty() {
        return Ok(HashMap::new());
    }
    let known = known(connection, &lines).await?;
    lines.retain(|line| !known.contains(line.asked.0.account_id.as_str()));
    add(connection, &lines).await?;
    let changes = lines.into_iter().map(|line| {
        let change = Change {
            account_id: line.asked.0.account_id.clone(),
            number: FIRST,
            body: ChangeBody::Create(line.create.clone()),
        };
        (line.place, change)
    });
    Ok(changes.collect())
}

/// A request that makes an account, if it is one and can be carried out.
fn line(place: usize, asked: Asked<'_>) -> Option<Line<'_>> {
    let Wanted::Create(create) = &asked.0.wanted else {
        return None;
    };
    let is_in_range = create.plan.allowance <= MAX_CREDITS;
    is_in_range.then(|| Line {
        place,
        asked,
        create,
        head: create.blank_account(&asked.0.account_id).head,
    })
}

async fn known(
    connection: &mut SqliteConnection,
    lines: &[Line<'_>],
) -> Result<HashSet<String>, Fault> {
    let rows = KNOWN
        .fetch(connection, lines, |line, arguments| {
            bind_all!(arguments, line.asked.0.account_id.as_str())
        })
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn add(connection: &mut SqliteConnection, lines: &[Line<'_>]) -> Result<(), Fault> {
    ADD_ACCOUNTS
        .execute(connection, lines, |line, arguments| {
            let (id, head): (&AccountId, _) = (&line.asked.0.account_id, &line.head);
            bind_all!(
                arguments,
                id.as_str(),
                head.status.name(),
                head.overage.name(),
                head.plan.id.as_str(),
                int(head.plan.allowance),
                head.anchor.millis(),
                i64::from(head.cycle.index),
                head.cycle.start.millis(),
                head.cycle.end.millis(),
            )
        })
        .await?;
    ADD_BALANCES
        .execute(connection, lines, |line, arguments| {
            bind_all!(arguments, line.asked.0.account_id.as_str())
        })
        .await?;
    let mut creations = Vec::with_capacity(lines.len());
    for line in lines {
        let (request, now) = line.asked;
        let body = to_json(&ChangeBody::Create(line.create.clone()))?;
        creations.push((request, to_json(&request.payload)?, body, now));
    }
    ADD_CREATIONS
        .execute(
            connection,
            &creations,
            |(request, payload, body, now), arguments| {
                bind_all!(
                    arguments,
                    request.account_id.as_str(),
                    key(request),
                    payload.as_str(),
                    body.as_str(),
                    now.millis(),
                )
            },
        )
        .await?;
    Ok(())
}
