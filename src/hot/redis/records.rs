//! The records of accounts and reservations, in the order of `layout.rs`.

mod account;

use std::sync::Arc;

pub(super) use self::account::{
    AccountRecord, read_account, read_grant, read_head, status_code, write_account, write_cycle,
    write_grant,
};
use super::{
    blobs, layout,
    packed::{Broken, Reader},
};
use crate::domain::{
    credits::Credits,
    decision::{Denial, DenialReason},
    entry::Receipt,
    grant::Draw,
    ids::{AccountId, ExtensionId, GrantId, IdError, ReservationId},
    reservation::{CommitRequest, Extension, LastCommit, Origin, Reservation, State},
    timestamp::Timestamp,
    usage::Outcome,
};

/// How many a reservation has on which nothing was settled yet, nor was it extended.
const RESERVED_VALUES: usize = 9;
const RESERVATION_VALUES: usize = 18;
/// How many a final one has at least.
const FINAL_VALUES: usize = 9;

/// A reservation as it is stored.
pub(super) fn read_reservation(
    account_id: &AccountId,
    reservation_id: &ReservationId,
    bytes: &[u8],
) -> Result<Reservation, Broken> {
    let mut reader = Reader::new(bytes);
    let values = reader.array()?;
    let format = reader.int()?;
    let state = match reader.int()? {
        0 => State::Open,
        1 => State::Committed,
        2 => State::Released,
        3 => State::Expired,
        _ => return Err(Broken("no such state")),
    };
    let origin_kind = reader.int()?;
    let action = Arc::new(blobs::read_action(reader.blob()?)?);
    let origin = blobs::read_origin(origin_kind, reader.blob()?)?;
    let mut reservation = Reservation::new(
        (account_id, reservation_id),
        (&action, &reader.shared()?),
        origin,
        0,
        Timestamp::default(),
    );
    reservation.state = state;
    match format {
        layout::FORMAT if values == RESERVED_VALUES => {
            read_reserved(&mut reader, &mut reservation)?;
        }
        layout::FORMAT if values == RESERVATION_VALUES => {
            read_reserved(&mut reader, &mut reservation)?;
            read_settled(&mut reader, &mut reservation)?;
        }
        layout::FINAL if values >= FINAL_VALUES => {
            read_final_values(&mut reader, &mut reservation, values - FINAL_VALUES)?;
        }
        _ => return Err(Broken("another format")),
    }
    reader.finish()?;
    Ok(reservation)
}

/// What one has from the start that more may be settled on.
fn read_reserved(reader: &mut Reader<'_>, reservation: &mut Reservation) -> Result<(), Broken> {
    reservation.ttl_ms = reader.uint()?;
    reservation.expires_at = time(reader)?;
    reservation.holds = read_draws(reader)?;
    Ok(())
}

/// The rest of it, once something was settled or it was extended.
fn read_settled(reader: &mut Reader<'_>, reservation: &mut Reservation) -> Result<(), Broken> {
    reservation.ended_at = reader.maybe(time)?;
    reservation.charged = reader.uint()?;
    reservation.debt = reader.uint()?;
    reservation.written_off = reader.uint()?;
    reservation.commits = reader.u32()?;
    reservation.returned = reader.uint()?;
    reservation.charges = read_draws(reader)?;
    reservation.last_commit = reader.maybe(|reader| {
        reader.array_of(4)?;
        let request = read_request(reader, &reservation.origin)?;
        let receipt = read_receipt(reader)?;
        let next_hold_denial = reader.maybe(read_denial)?;
        let price = blobs::read_price(reader.blob()?)?;
        Ok(Box::new(LastCommit {
            request,
            receipt: Receipt { price, ..receipt },
            next_hold_denial,
        }))
    })?;
    reservation.extensions = read_extensions(reader)?;
    Ok(())
}

/// What is kept of one that is final; the `more` values at the end are there as far as one of
/// them is.
fn read_final_values(
    reader: &mut Reader<'_>,
    reservation: &mut Reservation,
    more: usize,
) -> Result<(), Broken> {
    reservation.expires_at = time(reader)?;
    reservation.charged = reader.uint()?;
    reservation.returned = reader.uint()?;
    let origin = &reservation.origin;
    let request = optional(reader, more > 0, |reader| read_request(reader, origin))?;
    let receipt = optional(reader, more > 1, read_receipt)?;
    let extensions = optional(reader, more > 2, read_extensions)?;
    let next_hold_denial = optional(reader, more > 3, read_denial)?;
    let price = optional(reader, more > 4, |reader| blobs::read_price(reader.blob()?))?;
    reservation.extensions = extensions.unwrap_or_default();
    reservation.last_commit = request.zip(receipt).map(|(request, receipt)| {
        Box::new(LastCommit {
            request,
            receipt: Receipt {
                price: price.flatten(),
                ..receipt
            },
            next_hold_denial,
        })
    });
    Ok(())
}

/// A value that may be `false`, or not there at all.
fn optional<T>(
    reader: &mut Reader<'_>,
    is_there: bool,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<Option<T>, Broken> {
    if is_there {
        reader.maybe(read)
    } else {
        Ok(None)
    }
}

/// A commit's request. A charge keeps none of its own: it is what it was asked with.
fn read_request(reader: &mut Reader<'_>, origin: &Origin) -> Result<CommitRequest, Broken> {
    match reader.blob()? {
        [] => Ok(CommitRequest {
            amount: origin.amount().clone(),
            outcome: Outcome::Succeeded,
            keep_open: false,
            next_hold: Credits::ZERO,
        }),
        bytes => blobs::read_request(bytes),
    }
}

fn read_extensions(reader: &mut Reader<'_>) -> Result<Vec<Extension>, Broken> {
    let mut extensions = Vec::new();
    for _ in 0..reader.array()? / 3 {
        extensions.push(Extension {
            id: id(reader, ExtensionId::new)?,
            add: Credits::new(reader.uint()?).map_err(|_| Broken("credits out of range"))?,
            ttl_ms: reader.maybe(Reader::uint)?,
        });
    }
    Ok(extensions)
}

/// A receipt without its price. What is zero may be left out from the end.
pub(super) fn read_receipt(reader: &mut Reader<'_>) -> Result<Receipt, Broken> {
    let values = reader.array()?;
    let mut receipt = Receipt::default();
    for place in 0..values {
        match place {
            0 => receipt.credits = reader.uint()?,
            1 => receipt.sequence = reader.uint()?,
            2 => receipt.draws = read_draws(reader)?,
            3 => receipt.returned = reader.uint()?,
            4 => receipt.overage = reader.uint()?,
            5 => receipt.debt_added = reader.uint()?,
            6 => receipt.written_off = reader.uint()?,
            7 => receipt.corrected = reader.uint()?,
            8 => receipt.late = reader.bool()?,
            _ => return Err(Broken("a receipt of another length")),
        }
    }
    Ok(receipt)
}

pub(super) fn read_denial(reader: &mut Reader<'_>) -> Result<Denial, Broken> {
    reader.array_of(3)?;
    let reason = match reader.int()? {
        0 => DenialReason::InsufficientCredits,
        1 => DenialReason::BalanceExhausted,
        2 => DenialReason::DebtOutstanding,
        3 => DenialReason::AccountSuspended,
        4 => DenialReason::AccountClosed,
        _ => return Err(Broken("no such reason")),
    };
    Ok(Denial {
        reason,
        required: reader.uint()?,
        available: reader.uint()?,
    })
}

pub(super) fn read_draws(reader: &mut Reader<'_>) -> Result<Vec<Draw>, Broken> {
    let mut draws = Vec::new();
    for _ in 0..reader.array()? / 2 {
        draws.push(Draw {
            grant_id: id(reader, GrantId::new)?,
            credits: reader.uint()?,
        });
    }
    Ok(draws)
}

pub(super) fn time(reader: &mut Reader<'_>) -> Result<Timestamp, Broken> {
    reader.int().map(Timestamp::from_millis)
}

pub(super) fn id<T>(
    reader: &mut Reader<'_>,
    new: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<T, Broken> {
    new(reader.text()?).map_err(|_| Broken("no identifier"))
}

pub(super) fn format(reader: &mut Reader<'_>, known: i64) -> Result<(), Broken> {
    if reader.int()? == known {
        Ok(())
    } else {
        Err(Broken("another format"))
    }
}
