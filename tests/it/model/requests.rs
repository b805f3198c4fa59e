//! Turns a random step into a request that a caller, or the ledger, could have made.

use std::sync::Arc;

use proptest::{prop_assert_eq, test_runner::TestCaseError};
use rust_decimal::Decimal;
use tollgate::domain::{
    account::Status,
    change::{Change, ChangeBody, Refund, RefundPart},
    command::{Charge, Commit, Extend, Reserve},
    credits::MAX_CREDITS,
    grant::{Grant, GrantKind},
    ids::{GrantId, ReservationId},
    rate_card::Price,
    refund::Spread,
    reservation::CommitRequest,
    timestamp::Timestamp,
    usage::{Action, Amount, OUTPUT_TOKENS, Outcome, Usage},
};

use super::{
    clerk::Clerk,
    driver::Ask,
    ops::{Op, Say},
    oracle::{Deal, Oracle, add},
};
use crate::support::{
    account::{change, grant, granting, plan},
    commands::{
        TTL_MS, VERSION, action, charge, commit, credits, extend, release, reservation_id, reserve,
    },
};

/// The plans of the catalogue.
pub const PLANS: [(&str, u64); 5] = [
    ("none", 0),
    ("free", 50),
    ("starter", 500),
    ("pro", 5_000),
    ("whale", 1 << 52),
];

/// What was asked for so far.
#[derive(Debug, Default)]
pub struct Requests {
    hot: Vec<Ask>,
    changes: Vec<Change>,
}

impl Requests {
    /// The request that a step stands for; none where the ledger would refuse it.
    pub fn request(
        &mut self,
        op: &Op,
        oracle: &Oracle,
        clerk: &mut Clerk,
    ) -> Result<Option<Ask>, TestCaseError> {
        if let Some(ask) = hot_request(op, oracle) {
            self.hot.push(ask.clone());
            return Ok(Some(ask));
        }
        let number = oracle.changes + 1;
        let new = match op {
            Op::Again { back } => {
                let again = self.hot.iter().rev().nth(*back).cloned();
                return Ok(again.map(|ask| priced_again(ask, oracle)));
            }
            Op::Reapply { which } => {
                let count = self.changes.len().max(1);
                return Ok(self.changes.get(which % count).cloned().map(Ask::Apply));
            }
            Op::Gap => {
                let body = set_status(Status::Active);
                return Ok(Some(Ask::Apply(change(number + 1, body))));
            }
            Op::Grant {
                kind,
                amount,
                priority,
                from_s,
                lasts_s,
            } => {
                let made = new_grant(oracle, number, *kind, *amount);
                let from = Timestamp::from_millis(oracle.now.millis() + from_s * 1_000);
                let expires_at = lasts_s
                    .filter(|_| *kind != GrantKind::Pack)
                    .map(|seconds| from.plus_millis(seconds * 1_000));
                made.map(|made| {
                    let effective_at = from;
                    let made = Grant {
                        priority: *priority,
                        effective_at,
                        expires_at,
                        ..made
                    };
                    granting(number, made)
                })
            }
            Op::Void { which } => {
                let lot = &oracle.lots[which % oracle.lots.len()];
                let grant_id = GrantId::new(&lot.id).expect("an id");
                Some(change(
                    number,
                    ChangeBody::Void {
                        grant_id,
                        reason: "taken back".into(),
                    },
                ))
            }
            Op::Refund { id, credits } => refund(&rid(*id), *credits, oracle, clerk)?
                .map(|refund| change(number, ChangeBody::Refund(refund))),
            Op::SetStatus(status) => Some(change(number, set_status(*status))),
            Op::ChangePlan {
                plan: index,
                at_renewal,
            } => {
                let (id, allowance) = PLANS[*index];
                let fits = taken(oracle) + allowance <= MAX_CREDITS;
                let body = ChangeBody::ChangePlan {
                    plan: plan(id, allowance),
                    at_renewal: *at_renewal,
                };
                fits.then(|| change(number, body))
            }
            Op::Reserve { .. }
            | Op::Extend { .. }
            | Op::Commit { .. }
            | Op::Release { .. }
            | Op::Charge { .. }
            | Op::Sweep { .. }
            | Op::Balance => None,
        };
        self.changes.extend(new.clone());
        Ok(new.map(Ask::Apply))
    }
}

fn hot_request(op: &Op, oracle: &Oracle) -> Option<Ask> {
    let ask = match op {
        Op::Reserve {
            id,
            mode: kind,
            amount,
            min,
            ttl_ms,
            dry_run,
        } => {
            let (amount, cost, _) = said(*amount, oracle, None, Outcome::Succeeded);
            Ask::Reserve(Reserve {
                action: mode(*kind),
                amount,
                credits: credits(cost),
                min_credits: min.map(credits),
                ttl_ms: *ttl_ms,
                effective_ttl_ms: ttl_ms.unwrap_or(TTL_MS),
                dry_run: *dry_run,
                ..reserve(rid(*id).as_str(), 0)
            })
        }
        Op::Extend {
            id,
            extension,
            add,
            ttl_ms,
        } => Ask::Extend(Extend {
            ttl_ms: *ttl_ms,
            ..extend(rid(*id).as_str(), &format!("x{extension}"), *add)
        }),
        Op::Commit {
            id,
            amount,
            outcome,
            keep_open,
            next,
            mistaken,
        } => {
            let id = rid(*id);
            let (amount, cost, price) = said(*amount, oracle, Some(&id), *outcome);
            let request = CommitRequest {
                amount,
                outcome: *outcome,
                keep_open: *keep_open,
                next_hold: credits(*next),
            };
            Ask::Commit(Commit {
                request,
                credits: credits(cost),
                price,
                known: oracle.deal(&id).is_some() != *mistaken,
                ..commit(id.as_str(), 0)
            })
        }
        Op::Release { id } => Ask::Release(release(rid(*id).as_str())),
        Op::Charge {
            id,
            mode: kind,
            amount,
            force,
        } => {
            let (amount, cost, price) = said(*amount, oracle, None, Outcome::Succeeded);
            Ask::Charge(Charge {
                action: mode(*kind),
                amount,
                credits: credits(cost),
                price,
                force: *force,
                ..charge(rid(*id).as_str(), 0)
            })
        }
        Op::Sweep { max } => Ask::Sweep(*max),
        Op::Balance => Ask::Balance,
        Op::Grant { .. }
        | Op::Void { .. }
        | Op::Refund { .. }
        | Op::SetStatus(_)
        | Op::ChangePlan { .. }
        | Op::Again { .. }
        | Op::Reapply { .. }
        | Op::Gap => return None,
    };
    Some(ask)
}

/// Whoever repeats a commit looks first whether the reservation is known by now.
fn priced_again(ask: Ask, oracle: &Oracle) -> Ask {
    match ask {
        Ask::Commit(commit) => {
            let known = oracle.deal(&commit.reservation_id).is_some();
            Ask::Commit(Commit { known, ..commit })
        }
        other @ (Ask::Reserve(_)
        | Ask::Extend(_)
        | Ask::Release(_)
        | Ask::Charge(_)
        | Ask::Apply(_)
        | Ask::Sweep(_)
        | Ask::Balance) => other,
    }
}

/// What a caller says, and what it costs: the rate card of these tests. A failure costs nothing.
fn said(
    say: Say,
    oracle: &Oracle,
    of: Option<&ReservationId>,
    outcome: Outcome,
) -> (Amount, u64, Option<Arc<Price>>) {
    let deal = of.and_then(|id| oracle.deal(id));
    let from = |start: u64, more: i64| start.saturating_add_signed(more).min(MAX_CREDITS);
    let (amount, cost) = match say {
        Say::Usage { input, output } => {
            let mut usage = Usage::default();
            usage.set("input_tokens", input);
            usage.set(OUTPUT_TOKENS, output);
            (Amount::Usage(usage), input + 2 * output)
        }
        Say::Credits(n) => (Amount::Credits(credits(n)), n),
        Say::Charged(more) => {
            let n = from(deal.map_or(0, |deal| deal.charged()), more);
            (Amount::Credits(credits(n)), n)
        }
        Say::Available(more) => {
            let n = from(oracle.available(), more);
            (Amount::Credits(credits(n)), n)
        }
        Say::Held(more) => {
            let n = from(deal.map_or(0, |deal| deal.charged() + deal.held()), more);
            (Amount::Credits(credits(n)), n)
        }
    };
    let cost = match outcome {
        Outcome::Succeeded | Outcome::Cancelled => cost,
        Outcome::Failed => 0,
    };
    let price = match &amount {
        Amount::Usage(_) => Some(Arc::new(price(cost))),
        Amount::Credits(_) => None,
    };
    (amount, cost, price)
}

fn price(cost: u64) -> Price {
    Price {
        credits: cost,
        rate_card_version: VERSION.into(),
        tier: "standard".to_owned(),
        items: Vec::new(),
        subtotal: Decimal::from(cost),
        multiplier: Decimal::ONE,
        exact: Decimal::from(cost),
    }
}

fn rid(id: u8) -> ReservationId {
    reservation_id(&format!("r{id}"))
}

fn mode(kind: u8) -> Arc<Action> {
    action(if kind == 0 { "agent" } else { "build" })
}

fn set_status(status: Status) -> ChangeBody {
    ChangeBody::SetStatus {
        status,
        reason: "because".into(),
    }
}

/// How many credits an account may get, so that all that it could ever have at once stays what
/// stores keep exactly: the ledger takes nothing above. The plan counts whole, whatever is left
/// of it.
fn room(oracle: &Oracle) -> u64 {
    let next = oracle.next_plan.as_ref().map_or(0, |plan| plan.allowance);
    let plan = oracle.plan.allowance.max(next);
    MAX_CREDITS.saturating_sub(taken(oracle) + plan)
}

/// What an account has beside its plan.
fn taken(oracle: &Oracle) -> u64 {
    let others = oracle
        .lots
        .iter()
        .filter(|lot| !oracle.is_of_this_cycle(lot));
    others.map(|lot| lot.amount - lot.lost - lot.used).sum()
}

fn new_grant(oracle: &Oracle, number: u64, kind: GrantKind, amount: u64) -> Option<Grant> {
    // What is huge is made to fit, so that accounts are full to the brim now and then.
    let amount = if amount > MAX_CREDITS / 4 {
        amount.min(room(oracle))
    } else {
        amount
    };
    let fits = amount <= room(oracle);
    // Ids that sort otherwise than they were made.
    fits.then(|| {
        grant(
            &format!("g{}-{number}", 9 - number % 10),
            kind,
            amount,
            oracle.now,
        )
    })
}

/// A refund as the ledger works it out, and what the oracle makes of the same question.
fn refund(
    id: &ReservationId,
    wanted: u64,
    oracle: &Oracle,
    clerk: &mut Clerk,
) -> Result<Option<Refund>, TestCaseError> {
    let cost = clerk.cost(id);
    let Some(deal) = oracle.deal(id) else {
        return Ok(None);
    };
    prop_assert_eq!(
        cost.total(),
        deal.refundable(),
        "what can be refunded of {}",
        id
    );
    let wanted = if wanted == 0 {
        cost.total()
    } else {
        wanted.min(cost.total())
    };
    if wanted == 0 {
        return Ok(None);
    }
    let spread = cost.spread(wanted);
    let plan = format!("plan:{}", oracle.cycle.index);
    let beside = spread
        .draws
        .iter()
        .filter(|draw| draw.grant_id.as_str() != plan);
    let more = spread.of_debt + beside.map(|draw| draw.credits).sum::<u64>();
    if more > room(oracle) {
        return Ok(None);
    }
    if !deal.refunded_early {
        prop_assert_eq!(
            &parts_of(&spread),
            &foreseen(deal, wanted),
            "how {} goes back",
            id
        );
    }
    let parts = spread.draws.iter().map(|draw| RefundPart {
        grant: Box::new(clerk.grants[&draw.grant_id].clone()),
        credits: draw.credits,
    });
    let before = clerk.refunds.iter().filter(|(of, _)| of == id);
    let back = |spread: &Spread| {
        spread.of_debt + spread.draws.iter().map(|draw| draw.credits).sum::<u64>()
    };
    let refund = Refund {
        reservation_id: id.clone(),
        parts: parts.collect(),
        of_debt: spread.of_debt,
        refunded: Some(before.map(|(_, spread)| back(spread)).sum()),
        reason: "sorry".to_owned(),
        actor: "support".to_owned(),
    };
    clerk.refunds.push((id.clone(), spread));
    Ok(Some(refund))
}

type Parts = (u64, Vec<(String, u64)>);

fn parts_of(spread: &Spread) -> Parts {
    let draws = spread
        .draws
        .iter()
        .map(|draw| (draw.grant_id.to_string(), draw.credits));
    (spread.of_debt, draws.collect())
}

/// Off the debt first, then to the lots, last paid first.
fn foreseen(deal: &Deal, wanted: u64) -> Parts {
    let of_debt = deal.owed.min(wanted);
    let mut left = wanted - of_debt;
    let mut parts = Vec::new();
    for (lot, paid) in deal.paid.iter().rev() {
        let back = left.min(*paid);
        left -= back;
        add(&mut parts, lot, back);
    }
    (of_debt, parts)
}
