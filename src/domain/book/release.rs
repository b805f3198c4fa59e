//! Release: a hold is given back, since the action did not run.

use super::{Book, Effects, Timestamp};
use crate::domain::{
    command::Release,
    credits::MAX_CREDITS,
    decision::{Refusal, Released},
    grant::sum_draws,
    reservation::{Reservation, State},
};

impl Book {
    /// Returns what is still held. After a partial commit the reservation ends committed, else
    /// released; one that is settled already is answered as it is.
    pub fn release(
        &mut self,
        command: &Release,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Released, Refusal> {
        self.advance(now, effects)?;
        let known = self
            .known(&command.reservation_id, now, effects)?
            .ok_or(Refusal::ReservationNotFound)?;
        match known.state {
            State::Open | State::Expired => {}
            State::Committed | State::Released => {
                let balance = self.account.balance(now);
                return Ok(Released {
                    returned: known.returned,
                    reservation: known.into_view(),
                    balance,
                    replayed: true,
                });
            }
        }
        let mut reservation = known;
        self.check_out(&reservation);
        let holds = std::mem::take(&mut reservation.holds);
        let returned = sum_draws(&holds).min(MAX_CREDITS);
        reservation.state = state_after(&reservation);
        reservation.returned = returned;
        reservation.ended_at = Some(now);
        let lost = self.account.return_holds(&holds, now);
        self.check_in(&reservation, effects);
        self.record_expiry(lost, now, effects);
        self.finish(now, effects);
        let balance = self.account.balance(now);
        Ok(Released {
            reservation: reservation.into_view(),
            returned,
            balance,
            replayed: false,
        })
    }
}

fn state_after(reservation: &Reservation) -> State {
    if reservation.commits > 0 {
        State::Committed
    } else {
        State::Released
    }
}
