//! The requests of QuotaService, parsed.

use super::{
    Limits,
    action::{self, Labels},
    fields::Problems,
};
use crate::{
    domain::{
        credits::{Credits, MAX_CREDITS},
        ids::{AccountId, ExtensionId, ReservationId},
        rate_card::{PriceError, RateCard},
        usage::{Action, Amount, Outcome, Usage},
    },
    enforcer::{
        error::EnforceError,
        request::{ChargeRequest, CommitRequest, ExtendRequest, ReserveRequest},
    },
    pb,
};

/// The characters of the ids that the server makes: digits and letters that nobody confuses.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How many of them one id has: enough for 128 random bits.
const ID_CHARS: usize = 26;

/// A request to be priced.
pub struct Priced<'c, T> {
    /// The request.
    pub request: T,
    /// What the metrics call its action.
    pub labels: Labels<'c>,
    /// Why the rate card can't price it, where it can't: all there is to say of that. A retry may
    /// have been priced by an earlier one.
    pub lacks: Option<EnforceError>,
}

/// Why a request failed, with all that it `lacks` where it was for want of a price.
pub fn in_full(error: EnforceError, lacks: Option<EnforceError>) -> EnforceError {
    match (error, lacks) {
        (EnforceError::BadRequest(_), Some(lacks)) => lacks,
        (error, _) => error,
    }
}

/// An action and how much of it, to be priced.
pub fn quote(request: pb::QuoteRequest, card: &RateCard) -> Result<(Action, Usage), EnforceError> {
    let mut problems = Problems::default();
    let action = action::priced(request.action, card, &mut problems);
    let estimate = request.estimate.unwrap_or_default();
    let estimate = action::usage(&estimate, "estimate", &mut problems);
    if let (Some((action, _)), Some(estimate)) = (&action, &estimate) {
        also_price(action, estimate, "estimate", card, &mut problems);
    }
    let request = action
        .zip(estimate)
        .map(|((action, _), estimate)| (action, estimate));
    problems.finish(request)
}

/// A hold.
pub fn reserve<'c>(
    request: pb::ReserveRequest,
    card: &'c RateCard,
    limits: &Limits,
) -> Result<Priced<'c, ReserveRequest>, EnforceError> {
    use pb::reserve_request::Amount as Asked;
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let reservation_id = if request.reservation_id.is_empty() {
        // Made from the alphabet of ids: there is nothing to refuse.
        ReservationId::new(&random_id(rand::random())).ok()
    } else {
        problems.id(
            "reservation_id",
            &request.reservation_id,
            ReservationId::new,
        )
    };
    let action = action::priced(request.action, card, &mut problems);
    let amount = match &request.amount {
        Some(Asked::Estimate(usage)) => {
            action::usage(usage, "estimate", &mut problems).map(Amount::Usage)
        }
        Some(Asked::Credits(credits)) => problems.credits("credits", *credits).map(Amount::Credits),
        None => {
            problems.add("amount", "is missing: give either estimate or credits");
            None
        }
    };
    let min_credits = match request.min_credits {
        Some(min) => min_credits(min, amount.as_ref(), &mut problems).map(Some),
        None => Some(None),
    };
    let ttl_ms = problems.ttl(request.ttl, limits);
    if let (Some((action, _)), Some(Amount::Usage(usage))) = (&action, &amount) {
        also_price(action, usage, "estimate", card, &mut problems);
    }
    let parsed = || {
        let (action, labels) = action?;
        let request = ReserveRequest {
            account_id: account_id?,
            reservation_id: reservation_id?,
            action,
            amount: amount?,
            min_credits: min_credits?,
            ttl_ms: ttl_ms?,
            dry_run: request.dry_run,
        };
        Some((request, labels))
    };
    problems.finish_unpriced(parsed()).map(priced)
}

fn priced<T>(((request, labels), lacks): ((T, Labels<'_>), Option<EnforceError>)) -> Priced<'_, T> {
    Priced {
        request,
        labels,
        lacks,
    }
}

/// The least that will do: at least one, and no more than what is asked for.
fn min_credits(min: u64, amount: Option<&Amount>, problems: &mut Problems) -> Option<Credits> {
    let most = match amount {
        Some(Amount::Credits(credits)) => credits.get(),
        Some(Amount::Usage(_)) | None => MAX_CREDITS,
    };
    if min == 0 || min > most {
        let accepted = match most {
            0 => "leave it out where 0 credits are asked for".to_owned(),
            most => format!("1 to {most}, and no more than what is asked for"),
        };
        problems.add("min_credits", format!("{min} is out of range: {accepted}"));
        return None;
    }
    problems.credits("min_credits", min)
}

/// Where a request is refused anyway, says what its quantities would be refused for too. A
/// request that is right so far is priced once, by the enforcer.
fn also_price(
    action: &Action,
    usage: &Usage,
    field: &str,
    card: &RateCard,
    problems: &mut Problems,
) {
    if problems.is_empty() {
        return;
    }
    match card.price(action, usage, Outcome::Succeeded) {
        Err(error @ (PriceError::UnknownMeter { .. } | PriceError::TooMuch)) => {
            problems.unpriced(under(&error.field(), field), error.to_string());
        }
        // Those of the action are noted already.
        Err(PriceError::UnknownMode { .. } | PriceError::UnknownModel { .. }) | Ok(_) => {}
    }
}

/// The path of a quantity in a request that does not call it `usage`.
fn under(path: &str, field: &str) -> String {
    match path.strip_prefix("usage") {
        Some(rest) if rest.is_empty() || rest.starts_with('.') => format!("{field}{rest}"),
        Some(_) | None => path.to_owned(),
    }
}

/// What the enforcer calls `usage` is an estimate in this request.
pub fn of_estimate(mut error: EnforceError) -> EnforceError {
    if let EnforceError::BadRequest(violations) = &mut error {
        for violation in violations {
            violation.field = under(&violation.field, "estimate");
        }
    }
    error
}

/// 128 random bits as an id.
fn random_id(mut bits: u128) -> String {
    let mut id = String::with_capacity(ID_CHARS);
    for _ in 0..ID_CHARS {
        id.push(char::from(ID_ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    id
}

/// More credits, more time, or both.
pub fn extend(request: &pb::ExtendRequest, limits: &Limits) -> Result<ExtendRequest, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let reservation_id = problems.id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    let extension_id = problems.id("extension_id", &request.extension_id, ExtensionId::new);
    let add = problems.credits("add_credits", request.add_credits);
    let ttl_ms = problems.ttl(request.ttl, limits);
    if request.add_credits == 0 && request.ttl.is_none() {
        problems.add(
            "add_credits",
            "is 0 and ttl is absent: give one of them, or both",
        );
    }
    let parsed = || {
        Some(ExtendRequest {
            account_id: account_id?,
            reservation_id: reservation_id?,
            extension_id: extension_id?,
            add: add?,
            ttl_ms: ttl_ms?,
        })
    };
    problems.finish(parsed())
}

/// What was used.
pub fn commit(request: pb::CommitRequest) -> Result<CommitRequest, EnforceError> {
    use pb::commit_request::Amount as Used;
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let reservation_id = problems.id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    let amount = match &request.amount {
        Some(Used::Usage(usage)) => action::usage(usage, "usage", &mut problems).map(Amount::Usage),
        Some(Used::Credits(credits)) => problems.credits("credits", *credits).map(Amount::Credits),
        None => {
            problems.add("amount", "is missing: give either usage or credits");
            None
        }
    };
    let outcome = action::outcome(request.outcome, &mut problems);
    let next_hold = problems.credits("next_hold", request.next_hold);
    if request.next_hold > 0 && !request.keep_open {
        problems.add(
            "next_hold",
            "needs keep_open: set it, or leave next_hold out",
        );
    }
    let mut of_action = Problems::default();
    let action = match request.action {
        Some(action) => action::described(action, &mut of_action).map(Some),
        None => Some(None),
    };
    // What is wrong with the action alone counts only where the reservation is not known.
    if !problems.is_empty() {
        problems.also(of_action);
        return problems.finish(None);
    }
    let parsed = || {
        Some(CommitRequest {
            account_id: account_id?,
            reservation_id: reservation_id?,
            amount: amount?,
            outcome: outcome?,
            keep_open: request.keep_open,
            next_hold: next_hold?,
            action: action.ok_or(of_action.into_found()),
        })
    };
    problems.finish(parsed())
}

/// A hold to give back.
pub fn release(
    request: pb::ReleaseRequest,
) -> Result<(AccountId, ReservationId, String), EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let reservation_id = problems.id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    let reason = problems.text("reason", request.reason);
    let parsed = || Some((account_id?, reservation_id?, reason?));
    problems.finish(parsed())
}

/// An action whose cost is known.
pub fn charge(
    request: pb::ChargeRequest,
    card: &RateCard,
) -> Result<Priced<'_, ChargeRequest>, EnforceError> {
    use pb::charge_request::Amount as Used;
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let charge_id = problems.id("charge_id", &request.charge_id, ReservationId::new);
    let action = action::priced(request.action, card, &mut problems);
    let amount = match &request.amount {
        Some(Used::Usage(usage)) => action::usage(usage, "usage", &mut problems).map(Amount::Usage),
        Some(Used::Credits(credits)) => problems.credits("credits", *credits).map(Amount::Credits),
        None => {
            problems.add("amount", "is missing: give either usage or credits");
            None
        }
    };
    if let (Some((action, _)), Some(Amount::Usage(usage))) = (&action, &amount) {
        also_price(action, usage, "usage", card, &mut problems);
    }
    let parsed = || {
        let (action, labels) = action?;
        let request = ChargeRequest {
            account_id: account_id?,
            charge_id: charge_id?,
            action,
            amount: amount?,
            force: request.force,
        };
        Some((request, labels))
    };
    problems.finish_unpriced(parsed()).map(priced)
}

/// An account.
pub fn account(account_id: &str) -> Result<AccountId, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", account_id, AccountId::new);
    problems.finish(account_id)
}

/// A reservation.
pub fn reservation(
    request: &pb::GetReservationRequest,
) -> Result<(AccountId, ReservationId), EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let reservation_id = problems.id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    problems.finish(account_id.zip(reservation_id))
}
