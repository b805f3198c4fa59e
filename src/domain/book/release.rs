//! Release: a hold is given back, since the action did not run.

use super::{Book, Effects, Timestamp};
use crate::domain::{
    command::Release,
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
        self.expire_if_due(&command.reservation_id, now, effects);
        let known = self
            .reservations
            .get(&command.reservation_id)
            .ok_or(Refusal::ReservationNotFound)?;
        match known.state {
            State::Open | State::Expired => {}
            State::Committed | State::Released => {
                let (reservation, returned) = (known.view(), known.returned);
                let balance = self.account.balance(now);
                return Ok(Released {
                    reservation,
                    returned,
                    balance,
                    replayed: true,
                });
            }
        }
        let mut reservation = self
            .check_out(&command.reservation_id)
            .ok_or(Refusal::ReservationNotFound)?;
        let holds = std::mem::take(&mut reservation.holds);
        let returned = sum_draws(&holds);
        reservation.state = state_after(&reservation);
        reservation.returned = returned;
        reservation.ended_at = Some(now);
        let lost = self.account.return_holds(&holds, now);
        let view = self.check_in(reservation, effects);
        self.record_expiry(lost, now, effects);
        self.finish(now, effects);
        let balance = self.account.balance(now);
        Ok(Released {
            reservation: view,
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
