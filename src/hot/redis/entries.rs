//! The outbox: from the records that the scripts append to the entries that the ledger gets.

use std::sync::Arc;

use super::{
    blobs, layout,
    packed::{Broken, Reader},
    records::{format, id, read_draws, read_grant, read_head, read_receipt, time},
};
use crate::domain::{
    entry::{Entry, EntryKind, GrantMove, Settlement},
    grant::{Draw, add_draw},
    ids::{AccountId, GrantId, ReservationId},
};

/// An entry as a script packed it. What it is worth follows from its moves and its debt, as in
/// the domain.
pub(super) fn read_entry(bytes: &[u8]) -> Result<Entry, Broken> {
    let mut reader = Reader::new(bytes);
    format(&mut reader, layout::ENTRY_FORMAT)?;
    let account_id = id(&mut reader, AccountId::new)?;
    let sequence = reader.uint()?;
    let kind = read_kind(reader.int()?)?;
    let occurred_at = time(&mut reader)?;
    let available_after = reader.uint()?;
    let debt_added = reader.int()?;
    let moves = read_moves(&mut reader)?;
    let draws = reader.maybe(read_draws)?;
    let reservation_id = reader.maybe(|reader| id(reader, ReservationId::new))?;
    let settlement = reader.maybe(|reader| read_settlement(reader).map(Box::new))?;
    let change = reader.maybe(Reader::uint)?;
    let reason = reader.text()?.to_owned();
    let actor = reader.text()?.to_owned();
    let head = read_head(&mut reader)?;
    reader.finish()?;
    let moved: i64 = moves.iter().map(GrantMove::worth).sum();
    Ok(Entry {
        account_id,
        sequence,
        kind,
        credits: moved - debt_added,
        available_after,
        debt_after: head.debt,
        draws: draws.unwrap_or_else(|| moved_draws(&moves)),
        occurred_at,
        reason,
        actor,
        reservation_id,
        settlement,
        change,
        moves,
        head,
    })
}

fn read_kind(code: i64) -> Result<EntryKind, Broken> {
    let place = usize::try_from(code).map_err(|_| Broken("no such kind of entry"))?;
    EntryKind::ALL
        .get(place)
        .copied()
        .ok_or(Broken("no such kind of entry"))
}

fn read_moves(reader: &mut Reader<'_>) -> Result<Vec<GrantMove>, Broken> {
    let mut moves = Vec::new();
    for _ in 0..reader.array()? {
        reader.array_of(6)?;
        moves.push(GrantMove {
            grant_id: id(reader, GrantId::new)?,
            amount: reader.int()?,
            used: reader.int()?,
            expired: reader.int()?,
            voided_at: reader.maybe(time)?,
            made: reader.maybe(|reader| read_grant(reader).map(Box::new))?,
        });
    }
    Ok(moves)
}

fn read_settlement(reader: &mut Reader<'_>) -> Result<Settlement, Broken> {
    reader.array_of(7)?;
    let commit = reader.u32()?;
    let last = reader.bool()?;
    let action = Arc::new(blobs::read_action(reader.blob()?)?);
    let request = blobs::read_request(reader.blob()?)?;
    let held_before = reader.uint()?;
    let mut receipt = read_receipt(reader)?;
    receipt.price = blobs::read_price(reader.blob()?)?;
    Ok(Settlement {
        commit,
        last,
        action,
        amount: request.amount,
        outcome: request.outcome,
        held_before,
        receipt,
    })
}

/// The draws that some moves amount to: what each grant lost, or got.
fn moved_draws(moves: &[GrantMove]) -> Vec<Draw> {
    let mut draws = Vec::new();
    for moved in moves {
        add_draw(&mut draws, &moved.grant_id, moved.worth().unsigned_abs());
    }
    draws
}
