//! What the plain model writes down: lots, deals, and the lines of the journal.

use std::sync::Arc;

use tollgate::domain::{
    decision::Denial,
    entry::{EntryKind, Receipt},
    grant::GrantKind,
    ids::ReservationId,
    reservation::{CommitRequest, Extension, Origin, State},
    timestamp::Timestamp,
    usage::Action,
};

/// Credits of one lot, by the lot's id.
pub type Part = (String, u64);

/// A grant.
#[derive(Clone, Debug)]
pub struct Lot {
    pub id: String,
    pub kind: GrantKind,
    pub priority: i32,
    pub from: Timestamp,
    pub until: Option<Timestamp>,
    pub voided_at: Option<Timestamp>,
    pub amount: u64,
    pub used: u64,
    pub lost: u64,
    /// It never ends and was used up when a cycle ended: only a refund brings it back.
    pub retired: bool,
}

/// A reservation, with everything that was ever reported of it.
#[derive(Clone, Debug)]
pub struct Deal {
    pub id: ReservationId,
    pub state: State,
    pub action: Arc<Action>,
    pub version: Arc<str>,
    pub origin: Origin,
    pub holds: Vec<Part>,
    /// What lots paid, in the order of paying, less what went back.
    pub paid: Vec<Part>,
    /// Of what it cost: what became debt, less what went back.
    pub owed: u64,
    /// Of what it cost: what was written off, less what was corrected.
    pub waived: u64,
    pub reports: Vec<Report>,
    pub extensions: Vec<Extension>,
    /// What its end gave back.
    pub returned: u64,
    pub ttl_ms: u64,
    pub deadline: Timestamp,
    /// A refund came before its end.
    pub refunded_early: bool,
}

/// One settlement and its answer.
#[derive(Clone, Debug)]
pub struct Report {
    pub request: CommitRequest,
    pub receipt: Receipt,
    pub denial: Option<Denial>,
}

/// One line of the journal; its place in it is its sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub kind: EntryKind,
    pub credits: i64,
    pub parts: Vec<Part>,
    pub available_after: u64,
    pub debt_after: u64,
    pub deal: Option<ReservationId>,
    /// For usage: the number of the commit, whether it was the last, what was held before it.
    pub settlement: Option<(u32, bool, u64, Receipt)>,
    pub change: Option<u64>,
    pub reason: String,
}

impl Deal {
    pub fn held(&self) -> u64 {
        sum(&self.holds)
    }

    /// What it has cost so far, by its receipts.
    pub fn charged(&self) -> u64 {
        let receipts = || self.reports.iter().map(|report| &report.receipt);
        let charged: u64 = receipts().map(|receipt| receipt.credits).sum();
        charged - receipts().map(|receipt| receipt.corrected).sum::<u64>()
    }

    /// What a refund can still give back.
    pub fn refundable(&self) -> u64 {
        sum(&self.paid) + self.owed
    }
}

pub fn sum(parts: &[Part]) -> u64 {
    parts.iter().map(|(_, credits)| credits).sum()
}

pub fn add(parts: &mut Vec<Part>, id: &str, credits: u64) {
    match parts.iter_mut().find(|(known, _)| known == id) {
        Some((_, sum)) => *sum += credits,
        None if credits > 0 => parts.push((id.to_owned(), credits)),
        None => {}
    }
}

pub fn signed(credits: u64) -> i64 {
    i64::try_from(credits).expect("credits are below 2^63")
}
