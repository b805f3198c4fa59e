//! The settlement key, for ever: which settlements the ledger has had already. Pure: the backends
//! say what they know of a reservation, and keep what comes of it.
//!
//! A hot store that has forgotten a reservation numbers its commits from 1 again; one that has gone
//! back to an older state of it, from a later number that the ledger has. Such a run of commits (an
//! "era" of the reservation) charges anew what the commits of those numbers in earlier eras have
//! charged. What goes back of each is what it took beyond what a store would have taken that had
//! forgotten nothing ([`Course`]): whatever was refunded in between, and however little was there to
//! be taken.

use crate::domain::{
    change::Refund,
    entry::{Entry, Settlement},
    grant::{Draw, add_draw},
    ids::{AccountId, ReservationId},
    refund::{Cost, Spread},
    usage::{Amount, Outcome},
};

/// Who reverses.
pub(super) const ACTOR: &str = "tollgate";

/// The settlement key of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The commit number, or the negated sequence of a duplicate; absent for all but usage.
    pub(super) slot: Option<i64>,
}

impl Mark {
    /// Whether the ledger had the settlement already.
    pub(super) fn is_duplicate(self) -> bool {
        self.slot.is_some_and(|slot| slot < 0)
    }

    /// Whether it is the first of its reservation's settlements.
    pub(super) fn is_first(self) -> bool {
        self.slot == Some(1)
    }
}

/// Which settlements a backend looks up before it marks them. What it has of a reservation begins
/// with that one's first settlement, so the first one is tried as new, and where it is not the
/// backend's unique key says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At those that are not their reservation's first.
    AtLater,
    /// At all of them.
    AtAll,
}

impl Look {
    /// Whether this settlement's reservation is looked up.
    pub(super) fn asks(self, settlement: &Settlement) -> bool {
        match self {
            Look::AtLater => settlement.commit > 1,
            Look::AtAll => true,
        }
    }
}

/// What the ledger knows of a reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The highest commit number.
    pub(super) slot: i64,
    /// Whether that commit ended the reservation.
    pub(super) ended: bool,
    /// Whether a later era began.
    pub(super) forgotten: bool,
}

impl Known {
    /// Marks the reservation's next settlement: a duplicate where its key is taken, where the
    /// reservation has ended, or where it continues an era of duplicates.
    pub(super) fn mark(&mut self, settlement: &Settlement, sequence: i64) -> Mark {
        let commit = i64::from(settlement.commit);
        if self.ended || self.forgotten || commit <= self.slot {
            self.forgotten = true;
            return Mark {
                slot: Some(-sequence),
            };
        }
        self.slot = commit;
        self.ended = settlement.last;
        Mark { slot: Some(commit) }
    }
}

/// What of an entry makes it a settlement.
pub(super) fn settled(entry: &Entry) -> Option<(&AccountId, &ReservationId, &Settlement)> {
    let settlement = entry.settlement.as_deref()?;
    Some((
        &entry.account_id,
        entry.reservation_id.as_ref()?,
        settlement,
    ))
}

/// What a settlement adds to what its reservation was charged before.
pub(super) fn added(settlement: &Settlement) -> i64 {
    let receipt = &settlement.receipt;
    receipt.credits as i64 - receipt.corrected as i64
}

/// What goes back of a duplicate.
pub(super) struct Reversal {
    pub(super) spread: Spread,
    /// What of what the hot store had charged by then does not go back: as [`Refund::refunded`], for
    /// a correction that comes before the reversal and gives back some of it. `None`: none can come.
    pub(super) refunded: Option<u64>,
}

/// How what a duplicate charged anew goes back, where `usage`, every settlement of the reservation
/// up to the duplicate, oldest first, says what was charged before it; `refunds` is every refund.
pub(super) fn reversal(duplicate: &Entry, usage: &[Entry], refunds: &[Refund]) -> Reversal {
    let mut course = Course::default();
    let settlements = usage.iter().filter_map(|entry| entry.settlement.as_deref());
    let beyond = settlements
        .map(|settlement| course.follow(settlement))
        .last();
    let beyond = beyond.and_then(|credits| u64::try_from(credits).ok());
    let spread = reversed(duplicate, beyond.unwrap_or(0), usage, refunds);
    let kept = u64::try_from(course.charged_by_store())
        .unwrap_or(0)
        .saturating_sub(spread.credits());
    Reversal {
        spread,
        refunded: (!ended(duplicate)).then_some(kept),
    }
}

/// `credits` of what a duplicate charged, and of what is left of all that was charged before it.
fn reversed(duplicate: &Entry, credits: u64, usage: &[Entry], refunds: &[Refund]) -> Spread {
    let own = Cost::new([duplicate], []);
    let of_own = credits.min(own.total());
    let mut spread = own.spread(of_own);
    let given_back: Vec<Spread> = refunds.iter().map(as_spread).collect();
    let earlier = usage.iter().take(usage.len().saturating_sub(1));
    let rest = Cost::new(earlier, &given_back).spread(credits - of_own);
    spread.of_debt += rest.of_debt;
    for draw in rest.draws {
        add_draw(&mut spread.draws, &draw.grant_id, draw.credits);
    }
    spread
}

/// What a reservation's settlements should have come to, in a store that forgets nothing.
#[derive(Default)]
struct Course<'a> {
    /// What is charged by right: the highest report so far, and the one that ended it, whatever it
    /// was. Nothing changes after the end.
    charged: i64,
    /// What of that nobody could pay.
    written_off: i64,
    ended: bool,
    /// What the store knows of, and what of each goes back.
    known: Vec<(&'a Settlement, i64)>,
}

impl<'a> Course<'a> {
    /// Goes on with the next settlement; answers what it took of the account beyond what it should
    /// have.
    fn follow(&mut self, settlement: &'a Settlement) -> i64 {
        // A store that has gone back goes on from what came before this number.
        self.known
            .retain(|(known, _)| known.commit < settlement.commit);
        let took = self.took(settlement);
        let reported = price(settlement).unwrap_or(self.charged_by_store() + added(settlement));
        let due = match (self.ended, settlement.last) {
            (true, _) => 0,
            (false, true) => reported - self.charged,
            (false, false) => (reported - self.charged).max(0),
        };
        self.charged += due;
        self.ended |= settlement.last;
        let should = if due < 0 {
            let absorbed = self.written_off.min(-due);
            self.written_off -= absorbed;
            due + absorbed
        } else {
            // Where anything is written off, all that there was is taken.
            let paid = due.min(took.max(0));
            self.written_off += due - paid;
            paid
        };
        let beyond = (took - should).max(0);
        self.known.push((settlement, beyond));
        beyond
    }

    /// What a settlement takes of the account.
    fn took(&self, settlement: &Settlement) -> i64 {
        let corrected = settlement.receipt.corrected as i64;
        if corrected == 0 {
            return paid(settlement);
        }
        // What was never paid is given back first, to nobody.
        let known = || self.known.iter();
        let absorbed = known()
            .map(|(known, _)| unpaid(known))
            .sum::<i64>()
            .min(corrected);
        let given_back = corrected - absorbed;
        // More than is left when the others' reversals are applied: they are not yet, and each will
        // leave out what the correction has given back ([`Reversal::refunded`]).
        let back: i64 = known().map(|(_, back)| back).sum();
        let left = known().map(|(known, _)| paid(known)).sum::<i64>() - back;
        let left_out = if given_back > left {
            back.min(corrected)
        } else {
            0
        };
        left_out - given_back
    }

    /// What the store has charged by what it knows of.
    fn charged_by_store(&self) -> i64 {
        self.known.iter().map(|(known, _)| added(known)).sum()
    }
}

/// What the whole of what a settlement reports costs, where it says so: a correction may have found
/// less to give back than it should have.
fn price(settlement: &Settlement) -> Option<i64> {
    let credits = match (&settlement.receipt.price, &settlement.amount) {
        (Some(price), _) => price.credits,
        (None, Amount::Credits(credits)) if settlement.outcome == Outcome::Succeeded => {
            credits.get()
        }
        (None, Amount::Credits(_) | Amount::Usage(_)) => return None,
    };
    i64::try_from(credits).ok()
}

/// What a settlement that charged something took of the account.
fn paid(settlement: &Settlement) -> i64 {
    settlement.receipt.credits as i64 - unpaid(settlement)
}

/// What a settlement charged and nobody could pay.
fn unpaid(settlement: &Settlement) -> i64 {
    settlement.receipt.written_off as i64
}

/// The same where nothing is known of what was charged before but that it had ended.
pub(super) fn whole(duplicate: &Entry) -> Reversal {
    Reversal {
        spread: all_of(duplicate),
        refunded: None,
    }
}

/// All that a duplicate charged.
fn all_of(duplicate: &Entry) -> Spread {
    let own = Cost::new([duplicate], []);
    own.spread(own.total())
}

/// Why a duplicate is reversed.
pub(super) fn reason(reservation_id: &ReservationId) -> String {
    format!("duplicate settlement of {reservation_id}")
}

/// The idempotency key of a duplicate's reversal.
pub(super) fn reversal_key(entry: &Entry) -> String {
    format!("duplicate:{}", entry.sequence)
}

/// What a refund gave back, grant by grant.
pub(super) fn as_spread(refund: &Refund) -> Spread {
    let draw = |part: &crate::domain::change::RefundPart| Draw {
        grant_id: part.grant.id.clone(),
        credits: part.credits,
    };
    Spread {
        draws: refund.parts.iter().map(draw).collect(),
        of_debt: refund.of_debt,
    }
}

fn ended(entry: &Entry) -> bool {
    entry
        .settlement
        .as_deref()
        .is_some_and(|settlement| settlement.last)
}
