//! The answers of the hot path, written out.

use rust_decimal::Decimal;

use super::{
    action::{action_message, usage_message},
    fields::timestamp,
};
use crate::{
    domain::{
        decision::{Balance, Denial, DenialReason, ReservationView},
        entry::Receipt,
        grant::Draw,
        rate_card::{DecimalText, Price},
        reservation::State,
        usage::{Amount, Usage},
    },
    enforcer::remedies::Remedy,
    pb,
};

/// What an account has.
pub fn balance(balance: &Balance) -> pb::Balance {
    pb::Balance {
        available: balance.available,
        held: balance.held,
        debt: balance.debt,
        plan_id: balance.plan_id.as_str().to_owned(),
        plan_allowance: balance.plan_allowance,
        plan_used: balance.plan_used,
        plan_remaining: balance.plan_remaining,
        pack_remaining: balance.pack_remaining,
        renews_at: Some(timestamp(balance.renews_at)),
        sequence: balance.sequence,
        as_of: Some(timestamp(balance.as_of)),
        version: balance.version,
    }
}

/// A reservation. That of a dry run has no state: it does not exist.
pub fn reservation(view: &ReservationView, max_output_tokens: Option<u64>) -> pb::Reservation {
    let state = match view.state {
        None => pb::ReservationState::Unspecified,
        Some(State::Open) => pb::ReservationState::Open,
        Some(State::Committed) => pb::ReservationState::Committed,
        Some(State::Released) => pb::ReservationState::Released,
        Some(State::Expired) => pb::ReservationState::Expired,
    };
    pb::Reservation {
        reservation_id: view.id.as_str().to_owned(),
        account_id: view.account_id.as_str().to_owned(),
        state: state.into(),
        action: Some(action_message(&view.action)),
        held: view.held,
        charged: view.charged,
        expires_at: Some(timestamp(view.expires_at)),
        rate_card_version: view.rate_card_version.as_ref().to_owned(),
        max_output_tokens,
    }
}

/// A denial, with what can be done about it.
pub fn denial(denial: &Denial, remedies: &[Remedy]) -> pb::Denial {
    let reason = match denial.reason {
        DenialReason::InsufficientCredits => pb::DenialReason::InsufficientCredits,
        DenialReason::BalanceExhausted => pb::DenialReason::BalanceExhausted,
        DenialReason::DebtOutstanding => pb::DenialReason::DebtOutstanding,
        DenialReason::AccountSuspended => pb::DenialReason::AccountSuspended,
        DenialReason::AccountClosed => pb::DenialReason::AccountClosed,
    };
    pb::Denial {
        reason: reason.into(),
        required: denial.required,
        available: denial.available,
        remedies: remedies.iter().map(remedy).collect(),
    }
}

fn remedy(remedy: &Remedy) -> pb::Remedy {
    use pb::remedy::{BuyPack, Remedy as Choice, UpgradePlan, WaitForRenewal};
    let choice = match remedy {
        Remedy::BuyPack { pack_id, credits } => Choice::BuyPack(BuyPack {
            pack_id: pack_id.to_string(),
            credits: credits.get(),
        }),
        Remedy::UpgradePlan { plan_id, allowance } => Choice::UpgradePlan(UpgradePlan {
            plan_id: plan_id.to_string(),
            allowance: allowance.get(),
        }),
        Remedy::WaitForRenewal { renews_at } => Choice::WaitForRenewal(WaitForRenewal {
            renews_at: Some(timestamp(*renews_at)),
        }),
    };
    pb::Remedy {
        remedy: Some(choice),
    }
}

/// A price, with every number exact.
pub fn price(price: &Price) -> pb::Price {
    let items = price.items.iter().map(|item| pb::LineItem {
        meter: item.meter.clone(),
        quantity: item.quantity,
        rate: decimal(item.rate),
        amount: decimal(item.amount),
    });
    pb::Price {
        credits: price.credits,
        rate_card_version: price.rate_card_version.as_ref().to_owned(),
        tier: price.tier.clone(),
        items: items.collect(),
        subtotal: decimal(price.subtotal),
        multiplier: decimal(price.multiplier),
        exact: decimal(price.exact),
    }
}

/// A decimal without needless zeros, so that equal numbers look equal.
fn decimal(number: Decimal) -> String {
    DecimalText::shortest(number).as_str().to_owned()
}

/// What a settlement did.
pub fn receipt(receipt: &Receipt, reservation_id: &str) -> pb::Receipt {
    pb::Receipt {
        reservation_id: reservation_id.to_owned(),
        credits: receipt.credits,
        price: receipt.price.as_deref().map(price),
        returned: receipt.returned,
        overage: receipt.overage,
        debt_added: receipt.debt_added,
        written_off: receipt.written_off,
        draws: draws(&receipt.draws),
        late: receipt.late,
        sequence: receipt.sequence,
        corrected: receipt.corrected,
    }
}

/// Credits by grant.
pub fn draws(draws: &[Draw]) -> Vec<pb::GrantDraw> {
    let draw = |draw: &Draw| pb::GrantDraw {
        grant_id: draw.grant_id.as_str().to_owned(),
        credits: draw.credits,
    };
    draws.iter().map(draw).collect()
}

/// Quantities, where an amount was given as such.
pub fn usage(amount: &Amount) -> Option<&Usage> {
    match amount {
        Amount::Usage(usage) => Some(usage),
        Amount::Credits(_) => None,
    }
}

/// The message of [`usage`].
pub fn amount_message(amount: &Amount) -> Option<pb::Usage> {
    usage(amount).map(usage_message)
}
