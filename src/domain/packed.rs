//! A reservation as bytes: what the hot store in memory keeps of each one, open or settled, and
//! what the ledger gets of it. An open hold takes about 100 bytes and a settled one about 250,
//! where the structures take kilobytes.
//!
//! The bytes start with their format's number, then comes what is asked for most often, so that
//! it can be read without the rest. Account and reservation id are not among them: whoever keeps
//! the bytes keeps them under both.

mod codec;
mod entry;
mod parts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::entry::{pack_entry, unpack_entry};

use self::codec::{Bytes, Reader};
use super::{
    grant::Draw,
    ids::{AccountId, ReservationId},
    reservation::{Reservation, State, Terms},
    timestamp::Timestamp,
};

/// The number of this format, the first byte.
const FORMAT: u8 = 1;
/// What the bytes of a reservation usually take at most.
const USUAL_BYTES: usize = 256;

/// Why bytes are no reservation, or no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored record can't be read: {0}")]
pub struct Unreadable(pub(super) &'static str);

/// A reservation as bytes, without its ids.
///
/// Cheap to clone: on its way to the ledger it passes through several hands.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

/// What a store looks reservations up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where it is in its life.
    pub state: State,
    /// When it left the open state.
    pub ended_at: Option<Timestamp>,
    /// When its hold ends.
    pub expires_at: Timestamp,
    /// Charged so far, in whole credits.
    pub charged: u64,
    /// What is set aside.
    pub holds: Vec<Draw>,
    /// The mode of its action; empty where a late commit named none.
    pub mode: String,
}

impl Packed {
    /// Packs a reservation.
    pub fn new(reservation: &Reservation) -> Self {
        let mut out = Vec::with_capacity(USUAL_BYTES);
        out.push(FORMAT);
        let Reservation {
            id: _,
            account_id: _,
            state,
            action,
            rate_card_version,
            origin,
            holds,
            charges,
            charged,
            debt,
            written_off,
            commits,
            last_commit,
            extensions,
            returned,
            ttl_ms,
            expires_at,
            ended_at,
        } = reservation;
        state.put(&mut out);
        ended_at.put(&mut out);
        expires_at.put(&mut out);
        charged.put(&mut out);
        holds.put(&mut out);
        action.put(&mut out);
        rate_card_version.put(&mut out);
        origin.put(&mut out);
        charges.put(&mut out);
        debt.put(&mut out);
        written_off.put(&mut out);
        commits.put(&mut out);
        last_commit.put(&mut out);
        extensions.put(&mut out);
        returned.put(&mut out);
        ttl_ms.put(&mut out);
        Packed(Arc::from(out.as_slice()))
    }

    /// The bytes as they were stored. What they say is checked when they are unpacked.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Packed(Arc::from(bytes))
    }

    /// The bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole reservation.
    pub fn unpack(
        &self,
        account_id: &AccountId,
        id: &ReservationId,
    ) -> Result<Reservation, Unreadable> {
        let mut from = self.reader()?;
        let state = State::read(&mut from)?;
        let ended_at = Option::read(&mut from)?;
        let expires_at = Timestamp::read(&mut from)?;
        let charged = u64::read(&mut from)?;
        let holds = Vec::read(&mut from)?;
        let reservation = Reservation {
            id: id.clone(),
            account_id: account_id.clone(),
            state,
            action: Arc::read(&mut from)?,
            rate_card_version: Arc::read(&mut from)?,
            origin: Bytes::read(&mut from)?,
            holds,
            charges: Vec::read(&mut from)?,
            charged,
            debt: u64::read(&mut from)?,
            written_off: u64::read(&mut from)?,
            commits: u32::read(&mut from)?,
            last_commit: Option::read(&mut from)?,
            extensions: Vec::read(&mut from)?,
            returned: u64::read(&mut from)?,
            ttl_ms: u64::read(&mut from)?,
            expires_at,
            ended_at,
        };
        from.finish()?;
        Ok(reservation)
    }

    /// State and times, without the rest.
    pub fn times(&self) -> Result<(State, Option<Timestamp>, Timestamp), Unreadable> {
        let mut from = self.reader()?;
        Ok((
            State::read(&mut from)?,
            Option::read(&mut from)?,
            Timestamp::read(&mut from)?,
        ))
    }

    /// What its prices depend on, without the rest.
    pub fn terms(&self) -> Result<Terms, Unreadable> {
        let mut from = self.reader()?;
        State::read(&mut from)?;
        Option::<Timestamp>::read(&mut from)?;
        Timestamp::read(&mut from)?;
        u64::read(&mut from)?;
        Vec::<Draw>::read(&mut from)?;
        Ok(Terms {
            action: Arc::read(&mut from)?,
            rate_card_version: Arc::read(&mut from)?,
        })
    }

    /// What a store looks it up by.
    pub fn summary(&self) -> Result<Summary, Unreadable> {
        let mut from = self.reader()?;
        Ok(Summary {
            state: State::read(&mut from)?,
            ended_at: Option::read(&mut from)?,
            expires_at: Timestamp::read(&mut from)?,
            charged: u64::read(&mut from)?,
            holds: Vec::read(&mut from)?,
            mode: String::read(&mut from)?,
        })
    }

    /// What is set aside, grant by grant, without the rest.
    pub fn each_hold<'a>(&'a self, mut hold: impl FnMut(&'a str, u64)) -> Result<(), Unreadable> {
        let mut from = self.reader()?;
        State::read(&mut from)?;
        Option::<Timestamp>::read(&mut from)?;
        Timestamp::read(&mut from)?;
        u64::read(&mut from)?;
        for _ in 0..u64::read(&mut from)? {
            let grant_id = from.text()?;
            hold(grant_id, u64::read(&mut from)?);
        }
        Ok(())
    }

    fn reader(&self) -> Result<Reader<'_>, Unreadable> {
        let mut from = Reader::new(&self.0);
        match from.byte()? {
            FORMAT => Ok(from),
            _ => Err(Unreadable("of another format")),
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}
