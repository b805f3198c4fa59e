//! What the enforcer and the ledger answer, in the words of a scenario.

use tollgate::{
    domain::{
        decision::{Balance, Denial, Refusal, Released, ReservationView},
        entry::{Entry, EntryKind, Receipt},
        grant::{Draw, Grant, GrantKind},
        rate_card::Price,
        timestamp::Timestamp,
        usage::{Amount, Usage},
    },
    enforcer::{ChargeAnswer, CommitAnswer, ReserveAnswer, error::EnforceError, remedies::Remedy},
    ledger::SubmitRefusal,
};

use super::answer::Answer;

/// To the minute, where it is on the minute.
pub fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix(":00Z")
        .map(|minute| format!("{minute}Z"))
        .unwrap_or(text)
}

/// The balance after a step.
pub fn short(balance: &Balance) -> Answer {
    Answer::default()
        .fact("available", balance.available)
        .fact("debt", balance.debt)
}

/// A whole balance.
pub fn balance(balance: &Balance) -> Answer {
    short(balance)
        .fact("held", balance.held)
        .fact("plan", &balance.plan_id)
        .fact("allowance", balance.plan_allowance)
        .fact("plan_used", balance.plan_used)
        .fact("plan_left", balance.plan_remaining)
        .fact("packs", balance.pack_remaining)
        .fact("renews", instant(balance.renews_at))
        .fact("sequence", balance.sequence)
}

/// A hold, or why there is none.
pub fn reserved(answer: &ReserveAnswer) -> Answer {
    let reserved = &answer.reserved;
    let told = match &reserved.result {
        Ok(view) => Answer::new(["granted"]).and(reservation(view, answer.max_output_tokens)),
        Err(denial) => denied(denial, &answer.remedies),
    };
    told.and(short(&reserved.balance))
        .flag("replayed", reserved.replayed)
}

/// A reservation as it is.
pub fn reservation(view: &ReservationView, max_output: Option<u64>) -> Answer {
    Answer::default()
        .fact("held", view.held)
        .fact("charged", view.charged)
        .fact("state", view.state.map_or("dry", |state| state.name()))
        .fact("ends", instant(view.expires_at))
        .fact("rates", &view.rate_card_version)
        .maybe("max_output", max_output)
}

/// A denial, with what can be done about it. Its own `available` comes before the balance's.
pub fn denied(denial: &Denial, remedies: &[Remedy]) -> Answer {
    let (mut buy, mut upgrade, mut renewal) = (None, None, None);
    for remedy in remedies {
        match remedy {
            Remedy::BuyPack { pack_id, .. } => buy = Some(pack_id),
            Remedy::UpgradePlan { plan_id, .. } => upgrade = Some(plan_id),
            Remedy::WaitForRenewal { renews_at } => renewal = Some(instant(*renews_at)),
        }
    }
    Answer::new(["denied", denial.reason.name()])
        .fact("required", denial.required)
        .fact("available", denial.available)
        .maybe("buy", buy)
        .maybe("upgrade", upgrade)
        .maybe("renewal", renewal)
}

/// A commit.
pub fn committed(answer: &CommitAnswer) -> Answer {
    let committed = &answer.committed;
    let told = receipt(Answer::new(["charged"]), &committed.receipt)
        .and(short(&committed.balance))
        .fact("held", committed.reservation.held)
        .fact("total", committed.reservation.charged)
        .fact(
            "state",
            committed
                .reservation
                .state
                .map_or("dry", |state| state.name()),
        )
        .fact("ends", instant(committed.reservation.expires_at))
        .maybe("max_output", answer.max_output_tokens)
        .flag("replayed", committed.replayed);
    let next = committed.next_hold_denial.as_ref();
    told.maybe("next_denied", next.map(|denial| denial.reason.name()))
        .maybe("next_required", next.map(|denial| denial.required))
}

/// A charge.
pub fn charged(answer: &ChargeAnswer) -> Answer {
    let charged = &answer.charged;
    let told = match &charged.result {
        Ok(done) => receipt(Answer::new(["charged"]), done),
        Err(denial) => denied(denial, &answer.remedies),
    };
    told.and(short(&charged.balance))
        .flag("replayed", charged.replayed)
}

/// A release.
pub fn released(released: &Released) -> Answer {
    Answer::new(["released"])
        .fact("returned", released.returned)
        .and(short(&released.balance))
        .and(reservation(&released.reservation, None))
        .flag("replayed", released.replayed)
}

/// What a settlement did.
fn receipt(told: Answer, receipt: &Receipt) -> Answer {
    let told = told
        .word(receipt.credits)
        .fact("returned", receipt.returned)
        .fact("overage", receipt.overage)
        .fact("debt_added", receipt.debt_added)
        .fact("written_off", receipt.written_off)
        .fact("corrected", receipt.corrected)
        .fact("draws", draws(&receipt.draws))
        .flag("late", receipt.late);
    match &receipt.price {
        Some(price) => told.and(how(price)),
        None => told,
    }
}

/// A price, and how it came about.
pub fn price(price: &Price) -> Answer {
    Answer::new(["priced"]).word(price.credits).and(how(price))
}

fn how(price: &Price) -> Answer {
    let tier = if price.tier.is_empty() {
        "none"
    } else {
        &price.tier
    };
    let told = Answer::default()
        .fact("tier", tier)
        .fact("rates", &price.rate_card_version)
        .fact("subtotal", price.subtotal)
        .fact("multiplier", price.multiplier)
        .fact("exact", price.exact);
    price.items.iter().fold(told, |told, item| {
        told.fact(
            item.meter.clone(),
            format!("{}x{}", item.quantity, item.rate),
        )
    })
}

/// Grants and credits: `plan:0:45,small-1:5`; `none` where there are none.
pub fn draws(draws: &[Draw]) -> String {
    if draws.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> = draws
        .iter()
        .map(|draw| format!("{}:{}", draw.grant_id, draw.credits))
        .collect();
    each.join(",")
}

/// A grant as a list has it.
pub fn grant(grant: &Grant) -> Answer {
    let kind = match grant.kind {
        GrantKind::Plan => "plan",
        GrantKind::Pack => "pack",
        GrantKind::Promo => "promo",
        GrantKind::Adjustment => "adjustment",
    };
    Answer::new([grant.id.as_str()])
        .fact("left", grant.remaining())
        .fact("amount", grant.amount)
        .fact("used", grant.used)
        .fact("held", grant.held)
        .fact("expired", grant.expired)
        .fact("kind", kind)
        .fact("priority", grant.priority)
        .fact("source", &grant.source)
        .maybe("expires", grant.expires_at.map(instant))
        .maybe("voided", grant.voided_at.map(instant))
}

/// A line of the ledger.
pub fn entry(entry: &Entry) -> Answer {
    let told = Answer::new([entry.kind.name()])
        .word(format!("{:+}", entry.credits))
        .fact("sequence", entry.sequence)
        .fact("available", entry.available_after)
        .fact("debt", entry.debt_after)
        .fact("at", instant(entry.occurred_at))
        .maybe("reservation", entry.reservation_id.as_ref())
        .fact("reason", blank(&entry.reason))
        .fact("actor", blank(&entry.actor));
    let Some(settled) = &entry.settlement else {
        return told.fact("draws", draws(&entry.draws));
    };
    let told = told
        .fact("commit", settled.commit)
        .fact("mode", blank(&settled.action.mode))
        .fact("model", blank(&settled.action.model))
        .fact("outcome", settled.outcome.name())
        .fact("held_before", settled.held_before);
    let done = receipt(Answer::default(), &settled.receipt);
    match &settled.amount {
        Amount::Credits(credits) => told.and(done).fact("reported", credits),
        Amount::Usage(usage) => told.and(done).fact("reported", quantities(usage)),
    }
}

fn quantities(usage: &Usage) -> String {
    let each: Vec<String> = usage
        .iter()
        .map(|(meter, quantity)| format!("{meter}:{quantity}"))
        .collect();
    each.join(",")
}

/// The sum of what a conversation was charged, and of what was refunded of it.
pub fn conversation<'a>(entries: impl Iterator<Item = &'a Entry>) -> Answer {
    let (mut charged, mut refunded) = (0, 0);
    for entry in entries {
        if entry.kind == EntryKind::Refund {
            refunded += entry.credits;
        } else {
            charged -= entry.credits;
        }
    }
    Answer::default()
        .fact("charged", charged)
        .fact("refunded", refunded)
}

fn blank(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Why a request has no answer; `Err` where a store failed.
pub fn error(error: &EnforceError) -> Result<Answer, String> {
    let told = match error {
        EnforceError::BadRequest(violations) => {
            let fields: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
            word("bad_request").fact("field", fields.join(","))
        }
        EnforceError::AccountNotFound { .. } => word("account_not_found"),
        EnforceError::Refused(refusal) => refused(refusal)?,
        EnforceError::ChangeRefused(refusal) => change_refused(refusal),
        EnforceError::ChangeConflict { field } => word("conflict").fact("field", field),
        EnforceError::UnknownVersion { version } => word("unknown_version").fact("rates", version),
        EnforceError::Hot(_)
        | EnforceError::Ledger(_)
        | EnforceError::NotSettledInTime
        | EnforceError::NotLoadedInTime { .. }
        | EnforceError::Unfinished(_)
        | EnforceError::NoCatalog
        | EnforceError::Busy { .. } => return Err(format!("a fault: {error}")),
    };
    Ok(told.fact("why", error))
}

fn word(word: &str) -> Answer {
    Answer::new(["error", word])
}

fn refused(refusal: &Refusal) -> Result<Answer, String> {
    Ok(match refusal {
        Refusal::ReservationNotFound => word("reservation_not_found"),
        Refusal::Conflict { field } => word("conflict").fact("field", field),
        Refusal::NotOpen { state } => word("not_open").fact("state", state.name()),
        Refusal::OutOfRange { field } => word("out_of_range").fact("field", field),
        Refusal::TooMany { what, max } => word("too_many").fact("what", what).fact("max", max),
        Refusal::NotLoaded
        | Refusal::Absent
        | Refusal::CycleEnded(_)
        | Refusal::Reprice
        | Refusal::Unreadable
        | Refusal::ChangeGap { .. } => return Err(format!("no caller may see this: {refusal}")),
    })
}

fn change_refused(refusal: &SubmitRefusal) -> Answer {
    match refusal {
        SubmitRefusal::AccountNotFound => word("account_not_found"),
        SubmitRefusal::GrantNotFound => word("grant_not_found"),
        SubmitRefusal::NotSubmitted => word("change_not_found"),
        SubmitRefusal::NothingSettled => word("nothing_settled"),
        SubmitRefusal::RefundTooMuch { refundable } => {
            word("refund_too_much").fact("refundable", refundable)
        }
        SubmitRefusal::OutOfRange => word("out_of_range"),
        SubmitRefusal::TooManyGrants { max } => word("too_many_grants").fact("max", max),
    }
}
