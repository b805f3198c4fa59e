//! The account's ledger at the end of the play, entry by entry, and what it has to be.

use serde::Serialize;

use super::{
    ACCOUNT,
    play::{Left, Play, Stopped},
    stage::{Stage, answered},
    words,
};
use crate::{
    ledger::Finding,
    pb::{self, Outcome},
};

/// The most findings of the audit that are reported.
pub(super) const FINDINGS_MAX: usize = 10;
/// Small, so that the play reads more than one page.
const PAGE_SIZE: i32 = 8;
/// The most pages that are read.
const PAGES_MAX: usize = 20;
/// Where the month begins in `2026-01-31 10:05`: the table needs no year.
const MONTH_AT: usize = 5;

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The account's number of it.
    pub(super) sequence: u64,
    /// When, to the minute, in UTC.
    pub(super) when: String,
    /// What kind of entry it is.
    pub(super) what: String,
    /// What it brought or took.
    pub(super) credits: i64,
    /// What could be spent after it.
    pub(super) available: u64,
    /// What was owed after it.
    pub(super) debt: u64,
    /// Whereof it came.
    pub(super) why: String,
}

/// What the ledger has to say: kind, credits, available, debt.
const EXPECTED: [(&str, i64, u64, u64); 20] = [
    ("grant", 500, 500, 0),
    ("usage", -7, 493, 0),
    ("usage", -12, 481, 0),
    ("usage", -18, 463, 0),
    ("usage", -6, 457, 0),
    ("usage", -4, 453, 0),
    ("usage", 0, 453, 0),
    ("usage", -3, 450, 0),
    ("usage", -390, 60, 0),
    ("usage", -50, 0, 0),
    ("usage", -25, 0, 15),
    ("grant", 500, 0, 15),
    ("debt_repaid", 0, 485, 0),
    ("usage", -3, 482, 0),
    ("renewal", 500, 982, 0),
    ("usage", -100, 882, 0),
    ("plan_change", 4_500, 5_382, 0),
    ("expiry", -4_900, 482, 0),
    ("renewal", 5_000, 5_482, 0),
    ("refund", 28, 5_510, 0),
];

/// Compares the ledger, and its sum, with what was played.
pub(super) async fn check(play: &mut Play, stage: &Stage, rows: &[Row]) -> Result<(), Stopped> {
    play.act(
        "What was answered is in the ledger, and adds up",
        stage.now(),
    );
    let balance = stage.balance(ACCOUNT).await?;
    let sum: i64 = rows.iter().map(|row| row.credits).sum();
    let has = balance.available + balance.held;
    let step = play.step(format!("ListEntries {ACCOUNT}, page by page"));
    step.answer(format!(
        "{} entries, in all {}",
        rows.len(),
        words::signed(sum)
    ))
    .expect("entries", EXPECTED.len(), rows.len())
    .expect(
        "newest entry",
        balance.sequence,
        rows.last().map_or(0, |row| row.sequence),
    )
    .expect(
        "sum of all entries",
        sum,
        has.cast_signed() - balance.debt.cast_signed(),
    )
    .balance(Left::free(5_510), Some(&balance));
    for ((row, number), (what, credits, available, debt)) in rows.iter().zip(1_u64..).zip(EXPECTED)
    {
        let line = |what: &str, credits: i64, available: u64, debt: u64| {
            let credits = words::signed(credits);
            format!("{what} {credits}, available {available}, debt {debt}")
        };
        step.expect("sequence", number, row.sequence).expect(
            format!("entry {number}"),
            line(what, credits, available, debt),
            line(&row.what, row.credits, row.available, row.debt),
        );
    }
    Ok(())
}

/// The ledger's own check of its invariants.
pub(super) fn check_audit(play: &mut Play, findings: &[Finding]) {
    let step = play.step("Audit of the ledger's invariants");
    step.answer(format!("{} findings", findings.len()));
    step.expect("findings", 0, findings.len());
    for finding in findings {
        step.answer(format!(
            "invariant {}: {}",
            finding.invariant, finding.detail
        ));
    }
}

/// Every entry, oldest first.
pub(super) async fn read(stage: &Stage) -> Result<Vec<Row>, Stopped> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let request = pb::ListEntriesRequest {
            account_id: ACCOUNT.to_owned(),
            page_size: PAGE_SIZE,
            page_token,
            ..pb::ListEntriesRequest::default()
        };
        let response = answered("ListEntries", stage.admin().list_entries(request).await)?;
        rows.extend(response.entries.iter().map(row));
        page_token = response.next_page_token;
        if page_token.is_empty() {
            rows.reverse();
            return Ok(rows);
        }
    }
    Err(Stopped::new(
        "ListEntries",
        "a last page",
        format!("more than {PAGES_MAX}"),
    ))
}

fn row(entry: &pb::Entry) -> Row {
    let when = words::instant(entry.occurred_at.as_ref());
    let kind = entry.kind().as_str_name();
    Row {
        sequence: entry.sequence,
        when: when.get(MONTH_AT..).unwrap_or(&when).to_owned(),
        what: words::name(kind).to_lowercase(),
        credits: entry.credits,
        available: entry.available_after,
        debt: entry.debt_after,
        why: why(entry),
    }
}

/// The action of a usage entry; of any other the reason, or else the grants that it moved.
fn why(entry: &pb::Entry) -> String {
    let Some(action) = entry
        .action
        .as_ref()
        .filter(|action| !action.mode.is_empty())
    else {
        return match entry.reason.as_str() {
            "" => words::draws(&entry.draws),
            reason => reason.to_owned(),
        };
    };
    let mut text = format!("{}: {}", entry.reservation_id, action.mode);
    if !action.model.is_empty() {
        text.push_str(&format!(" {}", action.model));
    }
    match entry.outcome() {
        Outcome::Unspecified | Outcome::Succeeded => {}
        Outcome::Failed => text.push_str(", failed"),
        Outcome::Cancelled => text.push_str(", cancelled"),
    }
    text
}
