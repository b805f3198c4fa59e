//! A reservation that comes back from where it was kept.

use super::Book;
use crate::domain::{ids::ReservationId, packed::Packed, reservation::State};

impl Book {
    /// Remembers a reservation of the account as it was kept, and sets aside again what it holds.
    /// One that is remembered already stays as it is. One that can't be read breaks an invariant
    /// from then on.
    pub fn restore(&mut self, id: ReservationId, packed: Packed) {
        if self.reservations.contains_key(&id) {
            return;
        }
        let grants = &mut self.account.grants;
        let read = packed.each_hold(|grant_id, credits| {
            let held = grants
                .iter_mut()
                .find(|grant| grant.id.as_str() == grant_id);
            if let Some(grant) = held {
                grant.held += credits;
            }
        });
        if let (Ok(()), Ok((State::Open, _, expires_at))) = (read, packed.times()) {
            self.due.insert((expires_at, id.clone()));
        }
        self.reservations.insert(id, packed);
    }
}
