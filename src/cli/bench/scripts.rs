//! The limit that Redis sets: the scripts alone, through the client that the server has, on
//! records and keys like the server's, and without gRPC. Accounts and calls are those of the plan.

use std::sync::{Arc, atomic::AtomicU32};

use tokio::task::JoinSet;
use tonic::Code;

use super::{
    caller::Answer,
    plan::{Asked, Call, Operation, Plan, PlanParts},
    setup::{join, take},
    wire::Fault,
};
use crate::{
    catalogs,
    cli::{exit::Exit, output::Failure},
    clock::{Clock, SystemClock},
    domain::{
        account::{Account, OveragePolicy, PlanTerm},
        change::{Create, plan_grant},
        command::{Charge, Commit, Release, Reserve},
        credits::Credits,
        cycle::Cycle,
        ids::{AccountId, IdError, PlanId, ReservationId},
        rate_card::Price,
        reservation::CommitRequest,
        timestamp::Timestamp,
        usage::{Action, Amount, Outcome, Usage},
    },
    hot::{HotFault, redis::BareScripts},
    pb,
};

/// Accounts that are loaded at once.
const IN_FLIGHT: u32 = 64;
/// The plan of each account.
pub(super) const PLAN_ID: &str = "bench";
/// Its allowance: more than any run uses.
const ALLOWANCE: u64 = 1_000_000_000_000;

/// What is asked for, and what that costs.
#[derive(Clone, Debug)]
struct Priced {
    amount: Amount,
    credits: Credits,
    price: Option<Arc<Price>>,
}

/// The plan's calls as the hot store gets them.
#[derive(Debug)]
pub(super) struct Commands {
    actions: Vec<Arc<Action>>,
    estimate: Priced,
    used: Vec<Priced>,
    ttl_ms: u64,
    version: Arc<str>,
}

impl Commands {
    /// Prices everything once, by the built-in rate card.
    pub(super) fn new(parts: &PlanParts) -> Result<Self, Failure> {
        let card = catalogs::builtin().rate_card;
        let action = |conversation_id: String| Action {
            mode: parts.mode.clone(),
            model: parts.model.clone(),
            conversation_id,
            ..Action::default()
        };
        let priced = |asked: &Asked| -> Result<Priced, Failure> {
            let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, error);
            let (amount, credits, price) = match asked {
                Asked::Credits(credits) => {
                    let credits = Credits::new(*credits).map_err(|error| wrong(&error))?;
                    (Amount::Credits(credits), credits, None)
                }
                Asked::Usage(usage) => {
                    let usage = quantities(usage);
                    let price = card
                        .price(&action(String::new()), &usage, Outcome::Succeeded)
                        .map_err(|error| wrong(&error))?;
                    let credits = Credits::new(price.credits).map_err(|error| wrong(&error))?;
                    (Amount::Usage(usage), credits, Some(Arc::new(price)))
                }
            };
            Ok(Priced {
                amount,
                credits,
                price,
            })
        };
        let conversations = Plan::conversations(&parts.run);
        Ok(Commands {
            actions: conversations.map(|id| Arc::new(action(id))).collect(),
            estimate: priced(&parts.asked)?,
            used: Plan::all_used(&parts.asked)
                .iter()
                .map(priced)
                .collect::<Result<_, _>>()?,
            ttl_ms: Plan::HOLD_TTL_MS,
            version: Arc::clone(card.version()),
        })
    }

    fn action(&self, number: u64) -> Arc<Action> {
        of(&self.actions, number).unwrap_or_default()
    }

    fn used(&self, number: u64) -> Priced {
        of(&self.used, number).unwrap_or_else(|| self.estimate.clone())
    }

    fn reserve(&self, ids: (AccountId, ReservationId), number: u64) -> Reserve {
        Reserve {
            account_id: ids.0,
            reservation_id: ids.1,
            action: self.action(number),
            amount: self.estimate.amount.clone(),
            credits: self.estimate.credits,
            min_credits: None,
            ttl_ms: Some(self.ttl_ms),
            effective_ttl_ms: self.ttl_ms,
            rate_card_version: Arc::clone(&self.version),
            dry_run: false,
        }
    }

    fn commit(&self, ids: (AccountId, ReservationId), number: u64) -> Commit {
        let used = self.used(number);
        Commit {
            account_id: ids.0,
            reservation_id: ids.1,
            request: CommitRequest {
                amount: used.amount,
                outcome: Outcome::Succeeded,
                keep_open: false,
                next_hold: Credits::ZERO,
            },
            credits: used.credits,
            price: used.price,
            known: true,
            action: self.action(number),
            rate_card_version: Arc::clone(&self.version),
            effective_ttl_ms: self.ttl_ms,
        }
    }

    pub(super) fn charge(&self, ids: (AccountId, ReservationId), number: u64) -> Charge {
        let used = self.used(number);
        Charge {
            account_id: ids.0,
            charge_id: ids.1,
            action: self.action(number),
            amount: used.amount,
            credits: used.credits,
            price: used.price,
            rate_card_version: Arc::clone(&self.version),
            force: false,
        }
    }
}

/// The plan's calls, made by running their scripts.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    bare: Arc<BareScripts>,
    commands: Arc<Commands>,
    plan: Arc<Plan>,
}

impl Scripts {
    /// Over the connections of `bare`.
    pub(super) fn new(bare: Arc<BareScripts>, commands: Arc<Commands>, plan: Arc<Plan>) -> Self {
        Scripts {
            bare,
            commands,
            plan,
        }
    }

    /// Puts all accounts of the plan in.
    pub(super) async fn load_accounts(&self, clock: &SystemClock) -> Result<(), Failure> {
        let begun = self.bare.begin().await;
        begun.map_err(|fault| Failure::new(Exit::Unavailable, fault))?;
        let next = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let internal = |error| Failure::new(Exit::Internal, error);
        let create = Arc::new(create(clock.now()).map_err(internal)?);
        for _ in 0..IN_FLIGHT.min(self.plan.accounts) {
            let (scripts, next, create) = (self.clone(), Arc::clone(&next), Arc::clone(&create));
            tasks.spawn(async move {
                while let Some(account) = take(&next, scripts.plan.accounts) {
                    let account = blank(&scripts.plan.account_id(account), &create);
                    let account = account.map_err(internal)?;
                    let loaded = scripts.bare.load(&account).await;
                    loaded.map_err(|fault| Failure::new(Exit::Unavailable, fault))?;
                }
                Ok(())
            });
        }
        join(tasks).await
    }

    /// Makes a call.
    pub(super) async fn make(&self, call: &Call) -> Result<Answer, Fault> {
        let (bare, number) = (&self.bare, call.number);
        let account_id = AccountId::new(&self.plan.account_id(call.account)).map_err(wrong_id)?;
        let id = ReservationId::new(&Plan::reservation_id(number)).map_err(wrong_id)?;
        let ids = (account_id, id);
        match call.operation {
            Operation::Reserve => {
                let command = self.commands.reserve(ids, number);
                bare.reserve(&command).await.map_err(failed)?;
                return Ok(Answer::Held(command.credits.get()));
            }
            Operation::Commit => bare.commit(&self.commands.commit(ids, number)).await,
            Operation::Charge => bare.charge(&self.commands.charge(ids, number)).await,
            Operation::Release => {
                let (account_id, reservation_id) = ids;
                let command = Release {
                    account_id,
                    reservation_id,
                };
                bare.release(&command).await
            }
            Operation::Balance => bare.balance(&ids.0).await,
        }
        .map_err(failed)?;
        Ok(Answer::Done)
    }
}

/// A plan that nothing exhausts.
pub(super) fn create(now: Timestamp) -> Result<Create, IdError> {
    Ok(Create {
        plan: PlanTerm {
            id: PlanId::new(PLAN_ID)?,
            allowance: ALLOWANCE,
        },
        subscribed_at: now,
        cycle: Cycle::at(now, now),
        overage: OveragePolicy::Debt,
    })
}

/// An account that has its plan and nothing else.
fn blank(id: &str, create: &Create) -> Result<Account, IdError> {
    let mut account = create.blank_account(&AccountId::new(id)?);
    account.insert_grant(plan_grant(&create.plan, create.cycle));
    account.head.applied_change = 1;
    account.sequence = 1;
    Ok(account)
}

fn of<T: Clone>(all: &[T], number: u64) -> Option<T> {
    let place = usize::try_from(number % all.len().max(1) as u64).ok()?;
    all.get(place).cloned()
}

fn quantities(usage: &pb::Usage) -> Usage {
    let mut all = Usage::of([
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.tool_calls,
        usage.file_operations,
        usage.build_seconds,
    ]);
    for (meter, quantity) in &usage.custom {
        all.set(meter, *quantity);
    }
    all
}

fn wrong_id(error: IdError) -> Fault {
    Fault {
        code: Code::Internal,
        message: error.to_string(),
    }
}

fn failed(fault: HotFault) -> Fault {
    Fault {
        code: Code::Unavailable,
        message: fault.to_string(),
    }
}
