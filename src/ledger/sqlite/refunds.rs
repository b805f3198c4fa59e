//! Works out what of a reservation can be refunded, and to which grants it goes back.

use sqlx::SqliteConnection;

use super::{Fault, accounts, changes, rows};
use crate::{
    domain::{
        change::{Refund, RefundPart},
        entry::Entry,
        grant::Draw,
        ids::{AccountId, ReservationId},
        refund::{Cost, Spread},
    },
    ledger::SubmitRefusal,
};

/// Every settlement of a reservation, oldest first.
pub(super) async fn usage(
    connection: &mut SqliteConnection,
    account_id: &AccountId,
    reservation_id: &ReservationId,
) -> Result<Vec<Entry>, Fault> {
    let found = sqlx::query(
        "SELECT body FROM entries
         WHERE reservation_id = ? AND account_id = ? AND slot IS NOT NULL ORDER BY sequence",
    )
    .bind(reservation_id.as_str())
    .bind(account_id.as_str())
    .fetch_all(connection)
    .await?;
    found
        .iter()
        .map(|row| rows::json(row, 0, "entry"))
        .collect()
}

/// How `credits` of a reservation go back, or all of it for zero; or why they can't.
pub(super) async fn spread(
    connection: &mut SqliteConnection,
    account_id: &AccountId,
    reservation_id: &ReservationId,
    credits: u64,
) -> Result<Result<Spread, SubmitRefusal>, Fault> {
    let usage = usage(connection, account_id, reservation_id).await?;
    if usage.is_empty() {
        return Ok(Err(SubmitRefusal::NothingSettled));
    }
    let refunds = changes::refunds(connection, account_id, reservation_id).await?;
    let given_back: Vec<Spread> = refunds.iter().map(as_spread).collect();
    let cost = Cost::new(&usage, &given_back);
    let refundable = cost.total();
    if refundable == 0 || credits > refundable {
        return Ok(Err(SubmitRefusal::RefundTooMuch { refundable }));
    }
    Ok(Ok(cost.spread(if credits == 0 {
        refundable
    } else {
        credits
    })))
}

/// The parts of a refund, with each grant as the ledger has it now.
pub(super) async fn parts(
    connection: &mut SqliteConnection,
    account_id: &AccountId,
    spread: &Spread,
) -> Result<Vec<RefundPart>, Fault> {
    let mut parts = Vec::with_capacity(spread.draws.len());
    for draw in &spread.draws {
        let grant = accounts::grant_of(connection, account_id, &draw.grant_id).await?;
        let Some(grant) = grant else {
            let detail = format!(
                "grant {} was charged, but the ledger has none",
                draw.grant_id
            );
            return Err(Fault::Broken {
                account_id: account_id.clone(),
                detail,
            });
        };
        parts.push(RefundPart {
            grant: Box::new(grant),
            credits: draw.credits,
        });
    }
    Ok(parts)
}

fn as_spread(refund: &Refund) -> Spread {
    let draw = |part: &RefundPart| Draw {
        grant_id: part.grant.id.clone(),
        credits: part.credits,
    };
    Spread {
        draws: refund.parts.iter().map(draw).collect(),
        of_debt: refund.of_debt,
    }
}
