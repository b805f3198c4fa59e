//! Commit and Charge: what was used is settled. A commit is never refused for want of credits.

use super::{Book, Effects, Take, Timestamp, in_range, reserve, settle::Settled};
use crate::domain::{
    command::{Charge, Commit},
    credits::{Credits, MAX_CREDITS},
    decision::{Balance, Charged, Committed, Denial, Refusal, ReservationView},
    entry::Receipt,
    grant::{add_draw, sum_draws},
    reservation::{CommitRequest, LastCommit, Origin, Reservation, State},
    usage::{Amount, Outcome},
};

impl Book {
    /// Settles cumulative usage: charges the price of the whole less what is charged already, and
    /// ends the reservation or keeps it open for more.
    pub fn commit(
        &mut self,
        command: &Commit,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Committed, Refusal> {
        self.advance(now, effects)?;
        let known = self.known(&command.reservation_id, now, effects)?;
        if known.is_some() != command.known {
            return Err(Refusal::Reprice);
        }
        let charged = known.as_ref().map_or(0, |known| known.charged);
        if let Some(known) = &known
            && let Some(answer) =
                answer_known(known, &command.request, || self.account.balance(now))?
        {
            return Ok(answer);
        }
        let more = command.credits.get().saturating_sub(charged);
        in_range("debt", self.account.head.debt + more)?;
        let reservation = match known {
            Some(known) => {
                self.check_out(&known);
                known
            }
            None => unknown_reservation(command, now),
        };
        Ok(self.settle_commit(reservation, command, now, effects))
    }

    fn settle_commit(
        &mut self,
        mut reservation: Reservation,
        command: &Commit,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Committed {
        let request = &command.request;
        let late = reservation.state == State::Expired || !command.known;
        let held_before = reservation.held().min(MAX_CREDITS);
        let target = command.credits.get();
        let mut lost = Vec::new();
        let mut settled = if target < reservation.charged && !request.keep_open {
            let credits = reservation.charged - target;
            let mut back = self.give_back(&mut reservation, credits, now);
            lost.append(&mut back.lost);
            Settled::corrected(request.clone(), back, held_before)
        } else {
            let credits = target.saturating_sub(reservation.charged);
            let payment = self.pay(&mut reservation, credits, now, effects);
            Settled::charged(request.clone(), credits, payment, held_before)
        };
        settled.receipt.late = late;
        settled.receipt.price = command.price.clone();
        if !request.keep_open || !request.next_hold.is_zero() {
            let rest = std::mem::take(&mut reservation.holds);
            settled.receipt.returned = sum_draws(&rest).min(MAX_CREDITS);
            lost.extend(self.account.return_holds(&rest, now));
        }
        let receipt = self.record_settlement(&mut reservation, settled, now, effects);
        self.record_expiry(lost, now, effects);
        self.finish(now, effects);
        let next_hold_denial = self.hold_next(&mut reservation, request, now, effects);
        let view = self.keep(
            reservation,
            command,
            &receipt,
            next_hold_denial.clone(),
            now,
            effects,
        );
        let balance = self.account.balance(now);
        Committed {
            receipt,
            reservation: view,
            balance,
            replayed: false,
            next_hold_denial,
        }
    }

    /// Holds anew for what comes next; where it can't, everything is settled all the same.
    fn hold_next(
        &mut self,
        reservation: &mut Reservation,
        request: &CommitRequest,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Option<Denial> {
        let next = request.next_hold.get();
        if !request.keep_open || next == 0 {
            return None;
        }
        match self.cover(next, next, now, effects) {
            Ok(granted) => {
                for draw in self.account.take(granted, Take::Hold, now) {
                    add_draw(&mut reservation.holds, &draw.grant_id, draw.credits);
                }
                self.account.version += 1;
                None
            }
            Err(denial) => Some(denial),
        }
    }

    fn keep(
        &mut self,
        mut reservation: Reservation,
        command: &Commit,
        receipt: &Receipt,
        next_hold_denial: Option<Denial>,
        now: Timestamp,
        effects: &mut Effects,
    ) -> ReservationView {
        if command.request.keep_open {
            reservation.state = State::Open;
            reservation.ended_at = None;
            let prolonged = now.plus_millis(reservation.ttl_ms);
            reservation.expires_at = reservation.expires_at.max(prolonged);
        } else {
            reservation.state = State::Committed;
            reservation.ended_at = Some(now);
            reservation.returned = receipt.returned;
        }
        reservation.last_commit = Some(Box::new(LastCommit {
            request: command.request.clone(),
            receipt: receipt.clone(),
            next_hold_denial,
        }));
        self.check_in(&reservation, effects);
        reservation.into_view()
    }

    /// Settles an action whose cost is known at once, without a hold in between.
    pub fn charge(
        &mut self,
        command: &Charge,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Charged, Refusal> {
        self.advance(now, effects)?;
        if let Some(known) = self.known(&command.charge_id, now, effects)? {
            let receipt = answer_charged(&known, command)?;
            let balance = self.account.balance(now);
            return Ok(Charged {
                result: Ok(receipt),
                balance,
                replayed: true,
            });
        }
        let credits = command.credits.get();
        in_range("debt", self.account.head.debt + credits)?;
        let covered = self.cover(credits, credits, now, effects).map(|_| ());
        let forced = command.force && self.status_denial(credits, now).is_none();
        if let Err(denial) = covered
            && !forced
        {
            let balance = self.account.balance(now);
            return Ok(Charged {
                result: Err(denial),
                balance,
                replayed: false,
            });
        }
        let receipt = self.settle_charge(command, now, effects);
        Ok(Charged {
            result: Ok(receipt),
            balance: self.account.balance(now),
            replayed: false,
        })
    }

    fn settle_charge(
        &mut self,
        command: &Charge,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Receipt {
        let mut reservation = charge_reservation(command, now);
        let credits = command.credits.get();
        let mut payment = self.pay(&mut reservation, credits, now, effects);
        // Nothing was held: only what the balance did not cover counts as overage.
        payment.overage = payment.debt + payment.written_off;
        let request = CommitRequest {
            amount: command.amount.clone(),
            outcome: Outcome::Succeeded,
            keep_open: false,
            next_hold: Credits::ZERO,
        };
        let mut settled = Settled::charged(request.clone(), credits, payment, 0);
        settled.receipt.price = command.price.clone();
        let receipt = self.record_settlement(&mut reservation, settled, now, effects);
        reservation.last_commit = Some(Box::new(LastCommit {
            request,
            receipt: receipt.clone(),
            next_hold_denial: None,
        }));
        self.check_in(&reservation, effects);
        self.finish(now, effects);
        receipt
    }
}

/// The answer to a commit that has nothing to settle: a retry, or a report that a later one
/// has overtaken. `Err` where the reservation takes no commit, or not this one.
pub(crate) fn answer_known(
    known: &Reservation,
    request: &CommitRequest,
    balance: impl Fn() -> Balance,
) -> Result<Option<Committed>, Refusal> {
    if known.state == State::Released {
        return Err(Refusal::NotOpen {
            state: State::Released,
        });
    }
    if matches!(known.origin, Origin::Charge { .. }) {
        return Err(Refusal::Conflict {
            field: "reservation_id",
        });
    }
    let Some(last) = &known.last_commit else {
        return Ok(None);
    };
    let answer = |receipt: Receipt, replayed: bool| Committed {
        receipt,
        reservation: known.view(),
        balance: balance(),
        replayed,
        next_hold_denial: last.next_hold_denial.clone().filter(|_| replayed),
    };
    if last.request == *request {
        return Ok(Some(answer(last.receipt.clone(), true)));
    }
    match known.state {
        State::Committed if last.request.keep_open => Err(Refusal::NotOpen {
            state: State::Committed,
        }),
        State::Committed => Err(first_difference(&last.request, request)),
        State::Open | State::Expired | State::Released => {
            let overtaken =
                request.keep_open && is_overtaken(&request.amount, &last.request.amount);
            Ok(overtaken.then(|| answer(Receipt::default(), false)))
        }
    }
}

/// Whether a report is older than the last one: nothing of it is more, something is less.
fn is_overtaken(report: &Amount, last: &Amount) -> bool {
    match (report, last) {
        (Amount::Usage(report), Amount::Usage(last)) => report != last && report.within(last),
        (Amount::Credits(report), Amount::Credits(last)) => report < last,
        (Amount::Usage(_), Amount::Credits(_)) | (Amount::Credits(_), Amount::Usage(_)) => false,
    }
}

fn first_difference(last: &CommitRequest, given: &CommitRequest) -> Refusal {
    if let Err(conflict) = reserve::check_same_amount(&last.amount, &given.amount, "usage") {
        return conflict;
    }
    let field = if last.outcome != given.outcome {
        "outcome"
    } else if last.keep_open != given.keep_open {
        "keep_open"
    } else {
        "next_hold"
    };
    Refusal::Conflict { field }
}

/// The answer to a charge whose id is known: what the first one was answered.
pub(crate) fn answer_charged(known: &Reservation, command: &Charge) -> Result<Receipt, Refusal> {
    let Origin::Charge { amount, force } = &known.origin else {
        return Err(Refusal::Conflict { field: "charge_id" });
    };
    reserve::check_same_action(&known.action, &command.action)?;
    reserve::check_same_amount(amount, &command.amount, "usage")?;
    if *force != command.force {
        return Err(Refusal::Conflict { field: "force" });
    }
    Ok(known
        .last_commit
        .as_ref()
        .map(|last| last.receipt.clone())
        .unwrap_or_default())
}

fn unknown_reservation(command: &Commit, now: Timestamp) -> Reservation {
    Reservation::new(
        (&command.account_id, &command.reservation_id),
        (&command.action, &command.rate_card_version),
        Origin::Commit {
            amount: command.request.amount.clone(),
        },
        command.effective_ttl_ms,
        now,
    )
}

fn charge_reservation(command: &Charge, now: Timestamp) -> Reservation {
    let origin = Origin::Charge {
        amount: command.amount.clone(),
        force: command.force,
    };
    Reservation {
        state: State::Committed,
        ended_at: Some(now),
        ..Reservation::new(
            (&command.account_id, &command.charge_id),
            (&command.action, &command.rate_card_version),
            origin,
            0,
            now,
        )
    }
}
