//! Between the callers and the stores: prices an action, asks the hot store, shapes the answer.
//!
//! It keeps no balances and makes no decision about credits. It loads an account that the hot
//! store does not know, renews one whose cycle is over, and waits, where `settle.ack` says so,
//! until the ledger has what was answered. Every loop here is bounded.

pub mod acks;
mod answer;
pub mod changes;
pub mod cold;
pub mod error;
mod pricing;
pub mod remedies;
pub mod request;
pub mod source;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use self::answer::{ChargeAnswer, CommitAnswer, ReserveAnswer};
use self::{
    acks::Acks,
    error::EnforceError,
    remedies::{Remedy, remedies},
    request::{ChargeRequest, CommitRequest, ExtendRequest, ReserveRequest},
    source::Source,
};
use crate::{
    catalogs::Catalogs,
    domain::{
        account::{Account, PlanTerm},
        catalog::Catalog,
        command::{Charge, Commit, Extend, Release, Renewal, Reserve},
        credits::Credits,
        cycle::Cycle,
        decision::{
            Balance, Charged, Committed, CycleEnded, Denial, Refusal, Released, ReservationView,
            Reserved,
        },
        ids::{AccountId, ReservationId},
        rate_card::{OutcomeRule, Price, RateCard},
        reservation::{self, State},
        usage::{Action, Amount, Outcome, Usage},
    },
    hot::{Answer, Done, HotStore, Mark},
};

/// How often one request asks the hot store again because the account had to be loaded or
/// renewed first.
const STEP_ATTEMPTS: usize = 8;
/// How often one commit is priced anew because its reservation came to be meanwhile.
const PRICE_ATTEMPTS: usize = 4;
/// How many administrative changes are applied in one go.
const CHANGES_MAX: usize = 100;

/// When a settlement is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Once the hot store has it.
    Hot,
    /// Once the ledger has it.
    Ledger,
}

/// What the enforcer is told to do.
#[derive(Clone, Copy, Debug)]
pub struct EnforcerOptions {
    /// When a settlement is answered.
    pub ack: Ack,
    /// How long it waits for the ledger before it says that it does not know.
    pub ack_timeout: Duration,
    /// How long a hold stands whose caller does not say.
    pub default_ttl_ms: u64,
}

/// Prices, asks, answers.
pub struct Enforcer {
    hot: Arc<dyn HotStore>,
    source: Arc<dyn Source>,
    catalogs: Arc<Catalogs>,
    acks: Arc<Acks>,
    options: EnforcerOptions,
}

type Step<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;

impl Enforcer {
    /// Puts the parts together.
    pub fn new(
        hot: Arc<dyn HotStore>,
        source: Arc<dyn Source>,
        catalogs: Arc<Catalogs>,
        acks: Arc<Acks>,
        options: EnforcerOptions,
    ) -> Self {
        Enforcer {
            hot,
            source,
            catalogs,
            acks,
            options,
        }
    }

    /// The catalogues that it prices by.
    pub fn catalogs(&self) -> &Arc<Catalogs> {
        &self.catalogs
    }

    /// The catalogue that new actions are priced by, once there is one.
    pub fn catalog(&self) -> Result<Arc<Catalog>, EnforceError> {
        self.catalogs.current().ok_or(EnforceError::NoCatalog)
    }

    /// The hot store.
    pub fn hot(&self) -> &Arc<dyn HotStore> {
        &self.hot
    }

    /// Prices an action by the present rate card.
    pub fn quote(&self, action: &Action, estimate: &Usage) -> Result<Price, EnforceError> {
        let catalog = self.catalog()?;
        Ok(catalog
            .rate_card
            .price(action, estimate, Outcome::Succeeded)?)
    }

    /// Sets credits aside, or denies it.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<ReserveAnswer, EnforceError> {
        let (account_id, id) = (&request.account_id, &request.reservation_id);
        let price = |card: &RateCard| pricing::of_hold(card, &request.action, &request.amount);
        let (credits, version) = self.priced(account_id, id, price).await?;
        let command = Reserve {
            effective_ttl_ms: request.ttl_ms.unwrap_or(self.options.default_ttl_ms),
            account_id: request.account_id,
            reservation_id: request.reservation_id,
            action: Arc::new(request.action),
            amount: request.amount,
            credits,
            min_credits: request.min_credits,
            ttl_ms: request.ttl_ms,
            rate_card_version: version,
            dry_run: request.dry_run,
        };
        let done = self
            .on(&command.account_id, || self.hot.reserve(&command))
            .await?;
        if done.value.replayed
            && let Ok(view) = &done.value.result
        {
            self.shown(view, done.mark).await?;
        }
        self.reserve_answer(done.value).await
    }

    /// Adds credits or time to an open hold.
    pub async fn extend(&self, request: ExtendRequest) -> Result<ReserveAnswer, EnforceError> {
        let command = Extend {
            account_id: request.account_id,
            reservation_id: request.reservation_id,
            extension_id: request.extension_id,
            add: request.add,
            ttl_ms: request.ttl_ms,
        };
        let done = self
            .on(&command.account_id, || self.hot.extend(&command))
            .await?;
        if let Ok(view) = &done.value.result {
            self.shown(view, done.mark).await?;
        }
        let answer = self.reserve_answer(done.value).await;
        answer.map_err(|error| EnforceError::Unfinished(Box::new(error)))
    }

    async fn reserve_answer(&self, reserved: Reserved) -> Result<ReserveAnswer, EnforceError> {
        let (max_output_tokens, remedies) = match &reserved.result {
            Ok(view) => (self.max_output_tokens(view).await?, Vec::new()),
            Err(denial) => (None, self.remedies(denial, &reserved.balance)),
        };
        Ok(ReserveAnswer {
            reserved,
            max_output_tokens,
            remedies,
        })
    }

    /// Settles usage; never refused for want of credits. `told` hears of it once it is settled, also
    /// where it is not durable in time and so has no answer.
    pub async fn commit(
        &self,
        request: CommitRequest,
        told: impl Fn(&Committed) + Send + Sync,
    ) -> Result<CommitAnswer, EnforceError> {
        for _ in 0..PRICE_ATTEMPTS {
            let command = self.price_commit(&request).await?;
            let step = self
                .on(&command.account_id, || self.hot.commit(&command))
                .await;
            let done = match step {
                Err(EnforceError::Refused(Refusal::Reprice)) => continue,
                other => other?,
            };
            let committed = done.value;
            told(&committed);
            self.durable(done.mark).await?;
            let max_output_tokens = self.max_output_tokens(&committed.reservation).await?;
            let denial = committed.next_hold_denial.as_ref();
            let remedies = denial
                .map(|denial| self.remedies(denial, &committed.balance))
                .unwrap_or_default();
            return Ok(CommitAnswer {
                committed,
                max_output_tokens,
                remedies,
            });
        }
        Err(EnforceError::Refused(Refusal::Reprice))
    }

    /// Prices a commit by what is known of its reservation, or else by what the request says.
    async fn price_commit(&self, request: &CommitRequest) -> Result<Commit, EnforceError> {
        let (account_id, reservation_id) = (&request.account_id, &request.reservation_id);
        let known = self
            .on(account_id, || self.hot.terms(account_id, reservation_id))
            .await?
            .value;
        let catalog = match &known {
            Some(terms) => self.catalog_of(&terms.rate_card_version).await?,
            None => self.catalog()?,
        };
        let action = match (&known, &request.action, &request.amount) {
            (Some(terms), _, _) => Arc::clone(&terms.action),
            (None, Err(wrong), _) => return Err(EnforceError::BadRequest(wrong.clone())),
            (None, Ok(Some(action)), _) => Arc::new(action.clone()),
            (None, Ok(None), Amount::Credits(_)) => Arc::new(Action::default()),
            (None, Ok(None), Amount::Usage(_)) => return Err(EnforceError::action_needed()),
        };
        let card = &catalog.rate_card;
        let rule = card.outcome_rule(request.outcome);
        let (credits, price) = match &request.amount {
            Amount::Usage(usage) => {
                let price = card.price(&action, usage, request.outcome)?;
                (pricing::credits(price.credits)?, Some(Arc::new(price)))
            }
            Amount::Credits(_) if rule == OutcomeRule::Nothing => (Credits::ZERO, None),
            Amount::Credits(credits) => (*credits, None),
        };
        Ok(Commit {
            account_id: account_id.clone(),
            reservation_id: reservation_id.clone(),
            request: reservation::CommitRequest {
                amount: request.amount.clone(),
                outcome: request.outcome,
                keep_open: request.keep_open,
                next_hold: request.next_hold,
            },
            credits,
            price,
            known: known.is_some(),
            action,
            rate_card_version: Arc::clone(card.version()),
            effective_ttl_ms: self.options.default_ttl_ms,
        })
    }

    /// Gives a hold back.
    pub async fn release(
        &self,
        account_id: AccountId,
        reservation_id: ReservationId,
    ) -> Result<Released, EnforceError> {
        let command = Release {
            account_id,
            reservation_id,
        };
        let done = self
            .on(&command.account_id, || self.hot.release(&command))
            .await?;
        self.shown(&done.value.reservation, done.mark).await?;
        Ok(done.value)
    }

    /// Reserves and commits in one step. `told` hears of it as with [`Enforcer::commit`].
    pub async fn charge(
        &self,
        request: ChargeRequest,
        told: impl Fn(&Charged) + Send + Sync,
    ) -> Result<ChargeAnswer, EnforceError> {
        let (account_id, id) = (&request.account_id, &request.charge_id);
        let price = |card: &RateCard| pricing::of_charge(card, &request.action, &request.amount);
        let ((credits, price), version) = self.priced(account_id, id, price).await?;
        let command = Charge {
            account_id: request.account_id,
            charge_id: request.charge_id,
            action: Arc::new(request.action),
            amount: request.amount,
            credits,
            price,
            rate_card_version: version,
            force: request.force,
        };
        let done = self
            .on(&command.account_id, || self.hot.charge(&command))
            .await?;
        let charged = done.value;
        told(&charged);
        let remedies = match &charged.result {
            Ok(_) => {
                self.durable(done.mark).await?;
                Vec::new()
            }
            Err(denial) => self.remedies(denial, &charged.balance),
        };
        Ok(ChargeAnswer { charged, remedies })
    }

    /// What an account has.
    pub async fn balance(&self, account_id: &AccountId) -> Result<Balance, EnforceError> {
        Ok(self
            .on(account_id, || self.hot.balance(account_id))
            .await?
            .value)
    }

    /// An account with its live grants.
    pub async fn account(
        &self,
        account_id: &AccountId,
    ) -> Result<(Account, Balance), EnforceError> {
        Ok(self
            .on(account_id, || self.hot.account(account_id))
            .await?
            .value)
    }

    /// A reservation, and how many output tokens it still pays for where it is open.
    pub async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Result<(ReservationView, Option<u64>), EnforceError> {
        let done = self
            .on(account_id, || {
                self.hot.reservation(account_id, reservation_id)
            })
            .await?;
        let view = done
            .value
            .ok_or(EnforceError::Refused(Refusal::ReservationNotFound))?;
        self.shown(&view, done.mark).await?;
        let max_output_tokens = self.max_output_tokens(&view).await?;
        Ok((view, max_output_tokens))
    }

    /// What the account's owner can do about a denial.
    pub fn remedies(&self, denial: &Denial, balance: &Balance) -> Vec<Remedy> {
        let catalog = self.catalogs.current();
        catalog.map_or_else(Vec::new, |catalog| remedies(denial, balance, &catalog))
    }

    /// Runs a step, after loading or renewing the account where the hot store asks for it.
    async fn on<'a, T>(
        &self,
        account_id: &AccountId,
        step: impl Fn() -> Step<'a, T>,
    ) -> Result<Done<T>, EnforceError> {
        for _ in 0..STEP_ATTEMPTS {
            match step().await? {
                Ok(done) => return Ok(done),
                // Rare and large: boxed, so that they make no other call's future larger.
                Err(Refusal::NotLoaded) => Box::pin(self.load(account_id, false)).await?,
                Err(Refusal::Absent) => Box::pin(self.load(account_id, true)).await?,
                Err(Refusal::CycleEnded(ended)) => {
                    Box::pin(self.renew(account_id, ended)).await?;
                }
                Err(refusal) => return Err(EnforceError::Refused(refusal)),
            }
        }
        Err(EnforceError::Busy {
            account_id: account_id.clone(),
        })
    }

    async fn load(&self, account_id: &AccountId, is_absent: bool) -> Result<(), EnforceError> {
        let hot = self.hot.as_ref();
        if let Some(next) = self.source.bring(hot, account_id, is_absent).await? {
            self.apply_from(account_id, next).await?;
        }
        Ok(())
    }

    async fn renew(&self, account_id: &AccountId, ended: CycleEnded) -> Result<(), EnforceError> {
        let catalog = self.catalog()?;
        let allowance = catalog
            .plan(ended.plan_id.as_str())
            .map_or(ended.allowance, |plan| plan.allowance.get());
        let renewal = Renewal {
            account_id: account_id.clone(),
            ended: ended.ended,
            cycle: Cycle::at(ended.anchor, ended.now),
            plan: PlanTerm {
                id: ended.plan_id,
                allowance,
            },
        };
        match self.hot.renew(&renewal).await? {
            Ok(_) | Err(Refusal::NotLoaded | Refusal::Absent) => Ok(()),
            Err(refusal) => Err(EnforceError::Refused(refusal)),
        }
    }

    /// Lets time act on an account that nobody asks for: renews it, expires its grants.
    pub async fn touch(&self, account_id: &AccountId) -> Result<(), EnforceError> {
        self.balance(account_id).await.map(|_| ())
    }

    /// Waits until the ledger has what was answered, where answers promise that.
    async fn durable(&self, mark: Mark) -> Result<(), EnforceError> {
        match self.options.ack {
            Ack::Hot => {
                self.acks.wake();
                Ok(())
            }
            Ack::Ledger => self.settled(mark).await,
        }
    }

    /// As [`Enforcer::durable`], for a reservation that an answer shows: what it says is settled
    /// may be a commit's that was not answered yet.
    async fn shown(&self, view: &ReservationView, mark: Mark) -> Result<(), EnforceError> {
        let is_settled = view.charged > 0 || view.state == Some(State::Committed);
        if is_settled {
            self.durable(mark).await?;
        }
        Ok(())
    }

    async fn settled(&self, mark: Mark) -> Result<(), EnforceError> {
        if self.acks.settled(mark, self.options.ack_timeout).await {
            Ok(())
        } else {
            Err(EnforceError::NotSettledInTime)
        }
    }
}
