//! What Lua carries and need not understand: actions, amounts, requests and prices. Equal values
//! are equal bytes, so that a script compares a retry bytewise.

use std::{collections::BTreeMap, sync::Arc};

use rust_decimal::Decimal;

use super::packed::{Broken, Reader, Writer};
use crate::domain::{
    credits::Credits,
    rate_card::{LineItem, Price},
    reservation::{CommitRequest, Origin},
    usage::{Action, Amount, METERS, Outcome, Usage},
};

pub(super) fn action(action: &Action) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(3 + 2 * action.labels.len());
    writer
        .text(&action.mode)
        .text(&action.model)
        .text(&action.conversation_id);
    for (key, value) in &action.labels {
        writer.text(key).text(value);
    }
    writer.finish()
}

pub(super) fn read_action(bytes: &[u8]) -> Result<Action, Broken> {
    let mut reader = Reader::new(bytes);
    let values = reader.array()?;
    let mode = reader.text()?.to_owned();
    let model = reader.text()?.to_owned();
    let conversation_id = reader.text()?.to_owned();
    let mut labels = BTreeMap::new();
    for _ in 0..values.saturating_sub(3) / 2 {
        labels.insert(reader.text()?.to_owned(), reader.text()?.to_owned());
    }
    reader.finish()?;
    Ok(Action {
        mode,
        model,
        conversation_id,
        labels,
    })
}

/// A number of credits is a number, usage an array of meters and quantities by name; the
/// contract's own meters are named by their place in it.
pub(super) fn write_amount(writer: &mut Writer, amount: &Amount) {
    match amount {
        Amount::Credits(credits) => {
            writer.uint(credits.get());
        }
        Amount::Usage(usage) => {
            writer.array(2 * usage.iter().count());
            for (meter, quantity) in usage.iter() {
                match METERS.iter().position(|known| *known == meter) {
                    Some(place) => writer.uint(place as u64),
                    None => writer.text(meter),
                };
                writer.uint(quantity);
            }
        }
    }
}

pub(super) fn read_amount(reader: &mut Reader<'_>) -> Result<Amount, Broken> {
    if !reader.is_array() {
        return credits(reader).map(Amount::Credits);
    }
    let mut usage = Usage::default();
    for _ in 0..reader.array()? / 2 {
        let meter = if reader.is_text() {
            reader.text()?
        } else {
            let place = reader.u32()? as usize;
            METERS.get(place).copied().ok_or(Broken("no such meter"))?
        };
        usage.set(meter, reader.uint()?);
    }
    Ok(Amount::Usage(usage))
}

/// What a reservation was asked for with: the amount and what else a retry must repeat.
pub(super) fn asked(origin: &Origin) -> Vec<u8> {
    let mut writer = Writer::new();
    match origin {
        Origin::Reserve {
            amount,
            min_credits,
            ttl_ms,
        } => {
            writer.array(3);
            write_amount(&mut writer, amount);
            writer
                .maybe_uint(min_credits.map(Credits::get))
                .maybe_uint(*ttl_ms);
        }
        Origin::Charge { amount, force } => {
            writer.array(2);
            write_amount(&mut writer, amount);
            writer.bool(*force);
        }
        Origin::Commit { amount } => {
            writer.array(1);
            write_amount(&mut writer, amount);
        }
    }
    writer.finish()
}

pub(super) fn read_origin(kind: i64, bytes: &[u8]) -> Result<Origin, Broken> {
    let mut reader = Reader::new(bytes);
    reader.array()?;
    let amount = read_amount(&mut reader)?;
    let origin = match kind {
        0 => Origin::Reserve {
            amount,
            min_credits: reader.maybe(credits)?,
            ttl_ms: reader.maybe(Reader::uint)?,
        },
        1 => Origin::Charge {
            amount,
            force: reader.bool()?,
        },
        2 => Origin::Commit { amount },
        _ => return Err(Broken("no such origin")),
    };
    reader.finish()?;
    Ok(origin)
}

pub(super) fn request(request: &CommitRequest) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(4);
    write_amount(&mut writer, &request.amount);
    let outcome: u64 = match request.outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed => 1,
        Outcome::Cancelled => 2,
    };
    writer
        .uint(outcome)
        .bool(request.keep_open)
        .uint(request.next_hold.get());
    writer.finish()
}

pub(super) fn read_request(bytes: &[u8]) -> Result<CommitRequest, Broken> {
    let mut reader = Reader::new(bytes);
    reader.array_of(4)?;
    let amount = read_amount(&mut reader)?;
    let outcome = match reader.int()? {
        0 => Outcome::Succeeded,
        1 => Outcome::Failed,
        2 => Outcome::Cancelled,
        _ => return Err(Broken("no such outcome")),
    };
    let request = CommitRequest {
        amount,
        outcome,
        keep_open: reader.bool()?,
        next_hold: credits(&mut reader)?,
    };
    reader.finish()?;
    Ok(request)
}

/// Empty where there is no price. Decimals are texts: exact, with the scale that they had.
pub(super) fn price(price: Option<&Price>) -> Vec<u8> {
    let Some(price) = price else {
        return Vec::new();
    };
    let mut writer = Writer::new();
    writer.array(6 + 4 * price.items.len());
    writer
        .uint(price.credits)
        .text(&price.rate_card_version)
        .text(&price.tier)
        .text(&price.subtotal.to_string())
        .text(&price.multiplier.to_string())
        .text(&price.exact.to_string());
    for item in &price.items {
        writer
            .text(&item.meter)
            .uint(item.quantity)
            .text(&item.rate.to_string())
            .text(&item.amount.to_string());
    }
    writer.finish()
}

pub(super) fn read_price(bytes: &[u8]) -> Result<Option<Arc<Price>>, Broken> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(bytes);
    let values = reader.array()?;
    let mut price = Price {
        credits: reader.uint()?,
        rate_card_version: reader.shared()?,
        tier: reader.text()?.to_owned(),
        subtotal: decimal(&mut reader)?,
        multiplier: decimal(&mut reader)?,
        exact: decimal(&mut reader)?,
        items: Vec::new(),
    };
    for _ in 0..values.saturating_sub(6) / 4 {
        price.items.push(LineItem {
            meter: reader.text()?.to_owned(),
            quantity: reader.uint()?,
            rate: decimal(&mut reader)?,
            amount: decimal(&mut reader)?,
        });
    }
    reader.finish()?;
    Ok(Some(Arc::new(price)))
}

fn decimal(reader: &mut Reader<'_>) -> Result<Decimal, Broken> {
    Decimal::from_str_exact(reader.text()?).map_err(|_| Broken("no decimal"))
}

fn credits(reader: &mut Reader<'_>) -> Result<Credits, Broken> {
    Credits::new(reader.uint()?).map_err(|_| Broken("credits out of range"))
}
