//! Works out what of a reservation can be refunded, and to which grants it goes back.

use sqlx::PgConnection;

use super::{Fault, accounts, changes, rows};
use crate::{
    domain::{
        change::RefundPart,
        entry::Entry,
        ids::{AccountId, ReservationId},
        refund::Spread,
        timestamp::Timestamp,
    },
    ledger::{SubmitRefusal, moves::uncharged_grant, standing},
};

/// Every settlement of a reservation, oldest first.
pub(super) async fn usage(
    connection: &mut PgConnection,
    account_id: &AccountId,
    reservation_id: &ReservationId,
) -> Result<Vec<Entry>, Fault> {
    let found = sqlx::query(
        "SELECT body FROM reservation_entries
         WHERE reservation_id = $1 AND account_id = $2 AND slot IS NOT NULL ORDER BY sequence",
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

/// How `credits` of a reservation go back, or all of it for zero, and what earlier refunds give
/// back; or why they can't.
pub(super) async fn spread(
    connection: &mut PgConnection,
    account_id: &AccountId,
    reservation_id: &ReservationId,
    credits: u64,
) -> Result<Result<(Spread, u64), SubmitRefusal>, Fault> {
    let usage = usage(connection, account_id, reservation_id).await?;
    let refunds = changes::refunds(connection, account_id, reservation_id).await?;
    Ok(standing::spread(&usage, &refunds, credits))
}

/// The parts of a refund, with each grant as the ledger has it now. One that a change ends which
/// waits to be settled has ended, for whoever applies the refund after that.
pub(super) async fn parts(
    connection: &mut PgConnection,
    account_id: &AccountId,
    spread: &Spread,
    now: Timestamp,
) -> Result<Vec<RefundPart>, Fault> {
    let pending = changes::pending(connection, account_id).await?;
    let mut parts = Vec::with_capacity(spread.draws.len());
    for draw in &spread.draws {
        let grant = accounts::grant_of(connection, account_id, &draw.grant_id).await?;
        let Some(mut grant) = grant else {
            return Err(uncharged_grant(account_id, &draw.grant_id).into());
        };
        if standing::will_end(&grant, &pending) {
            grant.voided_at = Some(now);
        }
        parts.push(RefundPart {
            grant: Box::new(grant),
            credits: draw.credits,
        });
    }
    Ok(parts)
}
