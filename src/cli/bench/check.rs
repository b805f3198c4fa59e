//! Whether the ledger adds up to what was answered: account by account, every receipt that was
//! given stands in the ledger once, nothing else does, and the balance is what the entries come
//! to. It reads, and makes lost calls again with their own ids; it repairs nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::{
    caller::Caller,
    plan::{Call, Plan},
    reader::{Reader, Shown},
    setup::{self, Helper, take},
    tally::{Answered, digest},
};
use crate::cli::output::Failure;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;

/// Accounts that are looked at at once.
const IN_FLIGHT: u32 = 32;
/// After so many calls in a row that are made again and not answered the server is taken to be
/// gone, and is asked for no other.
const GONE_AFTER: u64 = 5;
/// The most problems that are named; all are counted.
const PROBLEMS_SHOWN: usize = 20;

/// What the check found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Checked {
    /// Nothing is wrong, and nothing is in doubt: the ledger adds up, and the load was done.
    pub(super) ok: bool,
    /// The ledger has what was answered and nothing else, and so have the balances.
    pub(super) adds_up: bool,
    /// All accounts of the run.
    pub(super) accounts: u32,
    /// Those that were checked.
    pub(super) accounts_checked: u32,
    /// Those that were not: there is a bound, see `--check-accounts`.
    pub(super) accounts_left_out: u32,
    /// The entries that were read.
    pub(super) entries: u64,
    /// The receipts that were given to the checked accounts.
    pub(super) receipts_answered: u64,
    /// The credits of those receipts.
    pub(super) credits_answered: u64,
    /// The credits of the usage that their ledger has.
    pub(super) credits_in_ledger: u64,
    /// Calls whose answer got lost and was asked for again.
    pub(super) lost_answers: u64,
    /// Of those, calls that got none again: what they did is not known.
    pub(super) unresolved: u64,
    /// All receipts of the run, those of accounts that were not checked too.
    pub(super) receipts_in_all: u64,
    /// Calls that were refused, and did nothing for certain: no call of a load is wrong.
    pub(super) refused: u64,
    /// What is wrong with the load, in words.
    pub(super) faults: Vec<String>,
    /// How many things are wrong in the ledger and the balances.
    pub(super) problems: u64,
    /// The first of them, in words.
    pub(super) first_problems: Vec<String>,
    /// Of the problems, those of what is held.
    pub(super) held_problems: u64,
    /// What may be the reason.
    pub(super) note: Option<String>,
}

/// Makes the calls again whose answer got lost, so that it is known what they did. Returns how
/// many still are not.
pub(super) async fn resolve(helper: &Helper, lost: Vec<(Call, u64)>) -> Result<u64, Failure> {
    let caller = helper.caller(0)?;
    let mut unresolved = 0;
    let mut in_a_row = 0;
    for (call, held) in lost {
        if in_a_row < GONE_AFTER && is_answered(&caller, &call, held).await {
            in_a_row = 0;
        } else {
            in_a_row += 1;
            unresolved += 1;
        }
    }
    Ok(unresolved)
}

/// Whether a call that is made again is known to have happened, or not to have.
async fn is_answered(caller: &Caller, call: &Call, held: u64) -> bool {
    let answer = setup::answered(|| {
        let mut caller = caller.clone();
        async move { caller.make(call, held).await }
    });
    match answer.await {
        Ok(_) => true,
        Err(fault) => !fault.is_uncertain(),
    }
}

/// Checks at most so many accounts: the first one, those that were charged, and others, in this
/// order.
pub(super) async fn check(helper: &Helper, accounts_max: u32) -> Result<Checked, Failure> {
    let accounts = Arc::new(sample(helper, accounts_max));
    let count = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    let next = Arc::new(AtomicU32::new(0));
    let entries = Arc::new(AtomicU64::new(0));
    let found = Arc::new(Mutex::new(Checked::default()));
    let mut tasks = JoinSet::new();
    for index in 0..IN_FLIGHT.min(count) {
        let reader = Reader {
            admin: helper.admin(index)?,
            entries: Arc::clone(&entries),
        };
        let (helper, accounts) = (helper.clone(), Arc::clone(&accounts));
        let (next, found) = (Arc::clone(&next), Arc::clone(&found));
        tasks.spawn(async move {
            while let Some(index) = take(&next, count) {
                let place = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(account) = accounts.get(place).copied() else {
                    break;
                };
                let id = helper.plan.account_id(account);
                let answered = helper.tally.answered(account);
                let read = reader.read(&id).await?;
                found.lock().look(&id, &answered, read);
            }
            Ok(())
        });
    }
    setup::join(tasks).await?;
    let mut checked = found.lock().clone();
    checked.accounts = helper.plan.accounts;
    checked.accounts_left_out = checked.accounts.saturating_sub(checked.accounts_checked);
    checked.entries = entries.load(Ordering::Relaxed);
    let receipts = (0..checked.accounts).map(|account| helper.tally.answered(account).settlements);
    checked.receipts_in_all = receipts.sum();
    Ok(checked)
}

fn sample(helper: &Helper, accounts_max: u32) -> Vec<u32> {
    let all = 1..helper.plan.accounts;
    let was_charged = |account: &u32| helper.tally.answered(*account).settlements > 0;
    let charged = all.clone().filter(was_charged);
    let others = all.filter(|account| !was_charged(account));
    let most = usize::try_from(accounts_max).unwrap_or(usize::MAX);
    std::iter::once(0)
        .chain(charged)
        .chain(others)
        .take(most)
        .collect()
}

impl Checked {
    fn look(&mut self, id: &str, answered: &Answered, shown: Option<Shown>) {
        let Some(shown) = shown else {
            return;
        };
        self.accounts_checked += 1;
        self.receipts_answered += answered.settlements;
        self.credits_answered += answered.charged;
        let (credits, problems) = compare(answered, &shown);
        self.credits_in_ledger += credits;
        self.problems += problems.len() as u64;
        self.held_problems += u64::from(shown.balance.held != answered.held);
        for problem in problems {
            if self.first_problems.len() < PROBLEMS_SHOWN {
                self.first_problems.push(format!("{id}: {problem}"));
            }
        }
    }
}

/// The credits of the usage in the ledger, and what is wrong.
fn compare(answered: &Answered, shown: &Shown) -> (u64, Vec<String>) {
    let mut problems = Vec::new();
    let Shown { balance, entries } = shown;
    let mut expected = balance.sequence;
    let (mut worth, mut charged, mut receipts, mut sum) = (0_i128, 0_u64, 0_u64, 0_u64);
    for line in entries {
        if line.sequence != expected {
            problems.push(format!(
                "entry {expected} is missing: {} comes next",
                line.sequence
            ));
        }
        expected = line.sequence.saturating_sub(1);
        worth += i128::from(line.credits);
        let Some(reservation_id) = &line.usage else {
            continue;
        };
        let credits = line.credits.unsigned_abs();
        charged += credits;
        receipts += 1;
        if line.receipt_sequence != line.sequence {
            let other = line.receipt_sequence;
            problems.push(format!("entry {}: its receipt says {other}", line.sequence));
        }
        match Plan::number_of(reservation_id) {
            Some(number) => sum = sum.wrapping_add(digest(number, credits, line.sequence)),
            None => problems.push(format!("entry {} was made by nobody here", line.sequence)),
        }
    }
    if expected != 0 {
        problems.push(format!("the first {expected} entries are missing"));
    }
    let mut differ = |what: &str, ledger: i128, other: i128| {
        if ledger != other {
            problems.push(format!("{what}: {ledger} in the ledger, {other} answered"));
        }
    };
    differ("receipts", receipts.into(), answered.settlements.into());
    differ("credits charged", charged.into(), answered.charged.into());
    let has = i128::from(balance.available) + i128::from(balance.held) - i128::from(balance.debt);
    differ("available + held - debt", worth, has);
    if balance.held != answered.held {
        let (is, answered) = (balance.held, answered.held);
        problems.push(format!(
            "held: {is} in the balance, {answered} by the answers"
        ));
    }
    if problems.is_empty() && sum != answered.digest {
        problems.push("the receipts add up, but are not those that were answered".to_owned());
    }
    (charged, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::bench::reader::Line, pb::Balance};

    type Change = fn(&mut Answered, &mut Shown);

    fn line(sequence: u64, credits: i64, number: Option<u64>) -> Line {
        Line {
            sequence,
            credits,
            usage: number.map(Plan::reservation_id),
            receipt_sequence: number.map_or(0, |_| sequence),
        }
    }

    fn shown() -> Shown {
        Shown {
            balance: Balance {
                available: 80,
                held: 9,
                sequence: 3,
                ..Balance::default()
            },
            entries: vec![
                line(3, -5, Some(8)),
                line(2, -6, Some(7)),
                line(1, 100, None),
            ],
        }
    }

    fn answered() -> Answered {
        Answered {
            charged: 11,
            held: 9,
            settlements: 2,
            digest: digest(7, 6, 2).wrapping_add(digest(8, 5, 3)),
        }
    }

    #[test]
    fn a_ledger_that_adds_up_has_no_problem() {
        assert_eq!(compare(&answered(), &shown()), (11, Vec::new()));
    }

    #[test]
    fn whatever_is_off_is_named() {
        let check = |change: Change| {
            let (mut answered, mut shown) = (answered(), shown());
            change(&mut answered, &mut shown);
            compare(&answered, &shown).1.join("; ")
        };
        let cases: [(Change, &str); 7] = [
            (
                |_, shown| drop(shown.entries.remove(1)),
                "entry 2 is missing: 1 comes next",
            ),
            (
                |_, shown| drop(shown.entries.pop()),
                "the first 1 entries are missing",
            ),
            (
                |answered, _| answered.charged = 12,
                "credits charged: 11 in the ledger, 12 answered",
            ),
            (
                |answered, _| answered.settlements = 1,
                "receipts: 2 in the ledger, 1 answered",
            ),
            (
                |answered, _| answered.held = 0,
                "held: 9 in the balance, 0 by the answers",
            ),
            (
                |_, shown| shown.balance.available = 81,
                "available + held - debt: 89 in the ledger, 90 answered",
            ),
            (
                |answered, _| answered.digest += 1,
                "the receipts add up, but are not those that were answered",
            ),
        ];
        for (change, expected) in cases {
            let problems = check(change);
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
    }
}
