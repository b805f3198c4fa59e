//! Extend: more credits for an open hold, more time, or both.

use super::{Book, Effects, Take, Timestamp};
use crate::domain::{
    command::Extend,
    decision::{Extended, Refusal},
    grant::add_draw,
    reservation::{EXTENSIONS_MAX, Extension, Reservation, State},
};

impl Book {
    /// Adds to an open hold. A denial leaves the hold as it was and is not remembered, so that
    /// the same extension may be tried again.
    pub fn extend(
        &mut self,
        command: &Extend,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Extended, Refusal> {
        self.advance(now, effects)?;
        let known = self
            .known(&command.reservation_id, now, effects)?
            .ok_or(Refusal::ReservationNotFound)?;
        if was_extended(&known, command)? {
            let balance = self.account.balance(now);
            return Ok(Extended {
                result: Ok(known.into_view()),
                balance,
                replayed: true,
            });
        }
        if known.state != State::Open {
            return Err(Refusal::NotOpen { state: known.state });
        }
        if known.extensions.len() >= EXTENSIONS_MAX {
            return Err(Refusal::TooMany {
                what: "extensions",
                max: EXTENSIONS_MAX,
            });
        }
        let add = command.add.get();
        if add > 0
            && let Err(denial) = self.cover(add, add, now, effects)
        {
            let balance = self.account.balance(now);
            return Ok(Extended {
                result: Err(denial),
                balance,
                replayed: false,
            });
        }
        let mut reservation = known;
        self.check_out(&reservation);
        for draw in self.account.take(add, Take::Hold, now) {
            add_draw(&mut reservation.holds, &draw.grant_id, draw.credits);
        }
        if let Some(ttl_ms) = command.ttl_ms {
            reservation.ttl_ms = ttl_ms;
            reservation.expires_at = reservation.expires_at.max(now.plus_millis(ttl_ms));
        }
        reservation.extensions.push(Extension {
            id: command.extension_id.clone(),
            add: command.add,
            ttl_ms: command.ttl_ms,
        });
        self.check_in(&reservation, effects);
        self.finish(now, effects);
        Ok(Extended {
            result: Ok(reservation.into_view()),
            balance: self.account.balance(now),
            replayed: false,
        })
    }
}

/// Whether this very extension was applied before.
pub(crate) fn was_extended(known: &Reservation, command: &Extend) -> Result<bool, Refusal> {
    let same_id = |extension: &&Extension| extension.id == command.extension_id;
    let Some(extension) = known.extensions.iter().find(same_id) else {
        return Ok(false);
    };
    if extension.add != command.add {
        return Err(Refusal::Conflict {
            field: "add_credits",
        });
    }
    if extension.ttl_ms != command.ttl_ms {
        return Err(Refusal::Conflict { field: "ttl" });
    }
    Ok(true)
}
