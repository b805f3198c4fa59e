//! The records of accounts and reservations, in the order of `layout.rs`.

use std::sync::Arc;

use super::{
    blobs, layout,
    packed::{Broken, Reader, Writer},
};
use crate::domain::{
    account::{Account, AccountHead, OveragePolicy, PlanTerm, Status},
    credits::Credits,
    cycle::Cycle,
    decision::{Denial, DenialReason},
    entry::Receipt,
    grant::{Draw, GRANTS_MAX, Grant, GrantKind},
    ids::{AccountId, ExtensionId, GrantId, IdError, PlanId, ReservationId},
    reservation::{CommitRequest, Extension, LastCommit, Origin, Reservation, State},
    timestamp::Timestamp,
    usage::Outcome,
};

/// How many values an account's record has.
const ACCOUNT_VALUES: usize = 19;
/// How many more where most of its grants are packed.
const REST_VALUES: usize = 3;
const GRANT_VALUES: usize = 11;
const RESERVATION_VALUES: usize = 18;
/// How many a final one has at least.
const FINAL_VALUES: usize = 9;

/// An account as it is stored, and when it was last written.
pub(super) fn read_account(id: &AccountId, bytes: &[u8]) -> Result<(Account, Timestamp), Broken> {
    let mut reader = Reader::new(bytes);
    let values = reader.array()?;
    format(&mut reader)?;
    let head = read_head(&mut reader)?;
    let sequence = reader.uint()?;
    let version = reader.uint()?;
    let seen = time(&mut reader)?;
    let (_due, _mark) = (reader.int()?, reader.int()?);
    let mut grants = Vec::new();
    read_grants(&mut reader, &mut grants)?;
    match values.checked_sub(ACCOUNT_VALUES) {
        Some(0) => {}
        Some(REST_VALUES) => read_rest(&mut reader, &mut grants)?,
        Some(_) | None => return Err(Broken("an account of another length")),
    }
    reader.finish()?;
    let account = Account {
        id: id.clone(),
        head,
        grants,
        sequence,
        version,
    };
    Ok((account, seen))
}

fn read_grants(reader: &mut Reader<'_>, grants: &mut Vec<Grant>) -> Result<(), Broken> {
    let count = reader.array()?;
    grants.reserve(count.min(GRANTS_MAX));
    for _ in 0..count {
        grants.push(read_grant(reader)?);
    }
    Ok(())
}

/// The grants that are packed, around those at hand. What the record says that they have to spend
/// is what they have: the scripts spend by it.
fn read_rest(reader: &mut Reader<'_>, at_hand: &mut Vec<Grant>) -> Result<(), Broken> {
    let mut rest = Reader::new(reader.blob()?);
    let (left, until) = (reader.uint()?, time(reader)?);
    rest.array_of(2)?;
    let mut grants = Vec::new();
    read_grants(&mut rest, &mut grants)?;
    let before = grants.len();
    read_grants(&mut rest, &mut grants)?;
    rest.finish()?;
    let just_before = Timestamp::from_millis(until.millis() - 1);
    let active = grants.iter().filter(|grant| grant.is_active(just_before));
    if active.map(Grant::remaining).sum::<u64>() != left {
        return Err(Broken("packed grants that do not add up"));
    }
    grants.splice(before..before, at_hand.drain(..));
    *at_hand = grants;
    Ok(())
}

/// An account for a load: no time has acted on it, nothing of it is due, and the ledger has
/// everything.
pub(super) fn write_account(account: &Account) -> Vec<u8> {
    let head = &account.head;
    let mut writer = Writer::new();
    writer.array(ACCOUNT_VALUES).int(layout::FORMAT);
    writer
        .int(status_code(head.status))
        .int(match head.overage {
            OveragePolicy::Debt => 0,
            OveragePolicy::Absorb => 1,
        });
    writer.text(head.plan.id.as_str()).uint(head.plan.allowance);
    match &head.next_plan {
        Some(next) => writer.text(next.id.as_str()).uint(next.allowance),
        None => writer.bool(false).uint(0),
    };
    writer.int(head.anchor.millis());
    write_cycle(&mut writer, head.cycle);
    writer.uint(head.debt).uint(head.applied_change);
    writer.uint(account.sequence).uint(account.version);
    writer.int(0).int(layout::NEVER).int(0);
    writer.array(account.grants.len());
    for grant in &account.grants {
        write_grant(&mut writer, grant);
    }
    writer.finish()
}

pub(super) fn write_cycle(writer: &mut Writer, cycle: Cycle) {
    writer
        .uint(u64::from(cycle.index))
        .int(cycle.start.millis())
        .int(cycle.end.millis());
}

/// An account's head: its values one after the other, as an entry ends in them.
pub(super) fn read_head(reader: &mut Reader<'_>) -> Result<AccountHead, Broken> {
    let status = match reader.int()? {
        0 => Status::Active,
        1 => Status::Suspended,
        2 => Status::Closed,
        _ => return Err(Broken("no such status")),
    };
    let overage = match reader.int()? {
        0 => OveragePolicy::Debt,
        1 => OveragePolicy::Absorb,
        _ => return Err(Broken("no such overage policy")),
    };
    let plan = PlanTerm {
        id: id(reader, PlanId::new)?,
        allowance: reader.uint()?,
    };
    let next_id = reader.maybe(|reader| id(reader, PlanId::new))?;
    let allowance = reader.uint()?;
    let next_plan = next_id.map(|id| PlanTerm { id, allowance });
    Ok(AccountHead {
        status,
        plan,
        next_plan,
        overage,
        anchor: time(reader)?,
        cycle: Cycle {
            index: reader.u32()?,
            start: time(reader)?,
            end: time(reader)?,
        },
        debt: reader.uint()?,
        applied_change: reader.uint()?,
    })
}

pub(super) fn status_code(status: Status) -> i64 {
    match status {
        Status::Active => 0,
        Status::Suspended => 1,
        Status::Closed => 2,
    }
}

pub(super) fn write_grant(writer: &mut Writer, grant: &Grant) {
    let kind: u64 = match grant.kind {
        GrantKind::Plan => 0,
        GrantKind::Pack => 1,
        GrantKind::Promo => 2,
        GrantKind::Adjustment => 3,
    };
    writer.array(GRANT_VALUES);
    writer.text(grant.id.as_str()).uint(kind).uint(grant.amount);
    writer
        .uint(grant.used)
        .uint(grant.held)
        .uint(grant.expired)
        .int(i64::from(grant.priority));
    writer
        .int(grant.effective_at.millis())
        .maybe_int(grant.expires_at.map(Timestamp::millis))
        .maybe_int(grant.voided_at.map(Timestamp::millis))
        .text(&grant.source);
}

pub(super) fn read_grant(reader: &mut Reader<'_>) -> Result<Grant, Broken> {
    reader.array_of(GRANT_VALUES)?;
    let id = id(reader, GrantId::new)?;
    let kind = match reader.int()? {
        0 => GrantKind::Plan,
        1 => GrantKind::Pack,
        2 => GrantKind::Promo,
        3 => GrantKind::Adjustment,
        _ => return Err(Broken("no such kind of grant")),
    };
    let (amount, used) = (reader.uint()?, reader.uint()?);
    let (held, expired) = (reader.uint()?, reader.uint()?);
    let priority = i32::try_from(reader.int()?).map_err(|_| Broken("a priority out of range"))?;
    Ok(Grant {
        id,
        kind,
        amount,
        used,
        held,
        expired,
        priority,
        effective_at: time(reader)?,
        expires_at: reader.maybe(time)?,
        voided_at: reader.maybe(time)?,
        source: reader.text()?.to_owned(),
    })
}

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
        layout::FORMAT if values == RESERVATION_VALUES => {
            read_values(&mut reader, &mut reservation)?;
        }
        layout::FINAL if values >= FINAL_VALUES => {
            read_final_values(&mut reader, &mut reservation, values - FINAL_VALUES)?;
        }
        _ => return Err(Broken("another format")),
    }
    reader.finish()?;
    Ok(reservation)
}

/// All of one that more may be settled on.
fn read_values(reader: &mut Reader<'_>, reservation: &mut Reservation) -> Result<(), Broken> {
    reservation.ttl_ms = reader.uint()?;
    reservation.expires_at = time(reader)?;
    reservation.ended_at = reader.maybe(time)?;
    reservation.charged = reader.uint()?;
    reservation.debt = reader.uint()?;
    reservation.written_off = reader.uint()?;
    reservation.commits = reader.u32()?;
    reservation.returned = reader.uint()?;
    reservation.holds = read_draws(reader)?;
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

pub(super) fn format(reader: &mut Reader<'_>) -> Result<(), Broken> {
    if reader.int()? == layout::FORMAT {
        Ok(())
    } else {
        Err(Broken("another format"))
    }
}
