//! Reserve: sets credits aside before an action, or denies it.

use super::{Book, Effects, Take, Timestamp};
use crate::domain::{
    command::Reserve,
    decision::{Refusal, ReservationView, Reserved},
    reservation::{Origin, Reservation},
    usage::{Action, Amount},
};

impl Book {
    /// Holds what was asked for, or at least `min_credits` of it, or says why not. The same
    /// request again is answered with the reservation as it is now.
    pub fn reserve(
        &mut self,
        command: &Reserve,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Reserved, Refusal> {
        self.advance(now, effects)?;
        if !command.dry_run
            && let Some(known) = self.known(&command.reservation_id, now, effects)?
        {
            check_same(&known, command)?;
            return Ok(Reserved {
                result: Ok(known.into_view()),
                balance: self.account.balance(now),
                replayed: true,
            });
        }
        let (asked, least) = (command.credits.get(), least_credits(command));
        let result = match self.cover(asked, least, now, effects) {
            Ok(granted) if command.dry_run => Ok(would_hold(command, granted, now)),
            Ok(granted) => Ok(self.hold(command, granted, now, effects)),
            Err(denial) => Err(denial),
        };
        Ok(Reserved {
            result,
            balance: self.account.balance(now),
            replayed: false,
        })
    }

    fn hold(
        &mut self,
        command: &Reserve,
        credits: u64,
        now: Timestamp,
        effects: &mut Effects,
    ) -> ReservationView {
        let mut reservation = new_reservation(command, now);
        reservation.holds = self.account.take(credits, Take::Hold, now);
        self.check_in(&reservation, effects);
        self.finish(now, effects);
        reservation.into_view()
    }
}

/// The least that will do. Even who would take nothing is blocked at zero: an empty hold is for
/// what costs nothing.
pub(crate) fn least_credits(command: &Reserve) -> u64 {
    let asked = command.credits.get();
    command
        .min_credits
        .map_or(asked, |min| min.get().max(1).min(asked))
}

/// What a dry run is answered: the hold that it would be.
pub(crate) fn would_hold(command: &Reserve, credits: u64, now: Timestamp) -> ReservationView {
    ReservationView {
        state: None,
        held: credits,
        ..new_reservation(command, now).into_view()
    }
}

fn new_reservation(command: &Reserve, now: Timestamp) -> Reservation {
    let origin = Origin::Reserve {
        amount: command.amount.clone(),
        min_credits: command.min_credits,
        ttl_ms: command.ttl_ms,
    };
    Reservation::new(
        (&command.account_id, &command.reservation_id),
        (&command.action, &command.rate_card_version),
        origin,
        command.effective_ttl_ms,
        now,
    )
}

/// A retry must say what the first request said. A reservation that a late commit made first is
/// answered as it is: its reserve was lost on the way.
pub(crate) fn check_same(known: &Reservation, command: &Reserve) -> Result<(), Refusal> {
    let (amount, min_credits, ttl_ms) = match &known.origin {
        Origin::Reserve {
            amount,
            min_credits,
            ttl_ms,
        } => (amount, min_credits, ttl_ms),
        Origin::Charge { .. } => {
            return Err(Refusal::Conflict {
                field: "reservation_id",
            });
        }
        Origin::Commit { .. } => return Ok(()),
    };
    check_same_action(&known.action, &command.action)?;
    check_same_amount(amount, &command.amount, "estimate")?;
    if *min_credits != command.min_credits {
        return Err(Refusal::Conflict {
            field: "min_credits",
        });
    }
    if *ttl_ms != command.ttl_ms {
        return Err(Refusal::Conflict { field: "ttl" });
    }
    Ok(())
}

/// Names the first field in which two actions differ.
pub(super) fn check_same_action(known: &Action, given: &Action) -> Result<(), Refusal> {
    let pairs = [
        ("action.mode", known.mode == given.mode),
        ("action.model", known.model == given.model),
        (
            "action.conversation_id",
            known.conversation_id == given.conversation_id,
        ),
        ("action.labels", known.labels == given.labels),
    ];
    match pairs.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(Refusal::Conflict { field }),
        None => Ok(()),
    }
}

/// Names the amount where two differ: `usage_field` for quantities, else `credits`.
pub(super) fn check_same_amount(
    known: &Amount,
    given: &Amount,
    usage_field: &'static str,
) -> Result<(), Refusal> {
    if known == given {
        return Ok(());
    }
    let field = match given {
        Amount::Usage(_) => usage_field,
        Amount::Credits(_) => "credits",
    };
    Err(Refusal::Conflict { field })
}
