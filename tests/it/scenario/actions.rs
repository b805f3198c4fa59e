//! The hot path: quote, reserve, extend, commit, release, charge.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tollgate::{
    clock::ManualClock,
    domain::{
        credits::Credits,
        ids::{AccountId, ExtensionId, ReservationId},
        usage::{Amount, Outcome},
    },
    enforcer::{
        Enforcer,
        changes::Clerk,
        error::EnforceError,
        request::{ChargeRequest, CommitRequest, ExtendRequest, ReserveRequest},
    },
};

use super::{
    answer::Answer,
    render,
    words::{self, Words},
};

/// A caller: whom it asks, and what it remembers. Many may ask at once.
#[derive(Clone)]
pub struct Caller {
    pub enforcer: Arc<Enforcer>,
    pub clerk: Arc<Clerk>,
    pub clock: Arc<ManualClock>,
    /// Whose reservation is whose, so that lines need not say it again.
    owners: Owners,
}

/// The account of each reservation that a line has named.
pub type Owners = Arc<Mutex<HashMap<ReservationId, AccountId>>>;

/// What a request was answered.
type Asked = Result<Result<Answer, EnforceError>, String>;

impl Caller {
    pub fn new(
        enforcer: Arc<Enforcer>,
        clerk: Arc<Clerk>,
        clock: Arc<ManualClock>,
        owners: Owners,
    ) -> Self {
        Caller {
            enforcer,
            clerk,
            clock,
            owners,
        }
    }

    /// What it remembers.
    pub fn owners(&self) -> Owners {
        self.owners.clone()
    }

    /// Asks; an expected error is an answer too. `Err`: the line makes no sense, or a store failed.
    pub async fn ask(self, words: Words) -> Result<Answer, String> {
        let asked = match words.verb.as_str() {
            "quote" => self.quote(words),
            "reserve" => self.reserve(words).await,
            "extend" => self.extend(words).await,
            "commit" => self.commit(words).await,
            "release" => self.release(words).await,
            "charge" => self.charge(words).await,
            "account" | "grant" | "void" | "plan" | "status" | "refund" => self.change(words).await,
            "balance" | "show" | "grants" | "entries" | "conversation" => self.look(words).await,
            verb => return Err(format!("no such verb: {verb}")),
        };
        asked?.or_else(|error| render::error(&error))
    }

    fn quote(&self, mut words: Words) -> Asked {
        let action = words.action();
        let Amount::Usage(usage) = words.amount()? else {
            return Err("quote needs quantities".to_owned());
        };
        words.finish()?;
        Ok(self
            .enforcer
            .quote(&action, &usage)
            .map(|price| render::price(&price)))
    }

    async fn reserve(&self, mut words: Words) -> Asked {
        let dry_run = words.flag("dry");
        let reservation_id = words.id("an id", ReservationId::new)?;
        let account_id = words.id("an account", AccountId::new)?;
        let request = ReserveRequest {
            account_id: account_id.clone(),
            reservation_id: reservation_id.clone(),
            action: words.action(),
            min_credits: words.credits("min")?,
            ttl_ms: words.duration("ttl")?,
            amount: words.amount()?,
            dry_run,
        };
        words.finish()?;
        self.owners
            .lock()
            .unwrap()
            .insert(reservation_id, account_id);
        Ok(self
            .enforcer
            .reserve(request)
            .await
            .map(|answer| render::reserved(&answer)))
    }

    async fn extend(&self, mut words: Words) -> Asked {
        let reservation_id = words.id("a reservation", ReservationId::new)?;
        let extension_id = words.id("an extension", ExtensionId::new)?;
        let request = ExtendRequest {
            account_id: self.owner(&reservation_id)?,
            reservation_id,
            extension_id,
            add: words::credits(words.number().unwrap_or(0))?,
            ttl_ms: words.duration("ttl")?,
        };
        words.finish()?;
        Ok(self
            .enforcer
            .extend(request)
            .await
            .map(|answer| render::reserved(&answer)))
    }

    async fn commit(&self, mut words: Words) -> Asked {
        let keep_open = words.flag("open");
        let reservation_id = words.id("a reservation", ReservationId::new)?;
        let action = words.action_if_any();
        let next_hold = words.credits("next")?.unwrap_or(Credits::ZERO);
        let outcome = match words.option("outcome").as_deref() {
            None | Some("succeeded") => Outcome::Succeeded,
            Some("failed") => Outcome::Failed,
            Some("cancelled") => Outcome::Cancelled,
            Some(other) => return Err(format!("outcome={other}: succeeded, failed, cancelled")),
        };
        let (amount, account_id) = match words.amount() {
            Ok(amount) => (amount, words.place()),
            Err(_) => {
                let account_id = words.next("an amount")?;
                (words.amount()?, Some(account_id))
            }
        };
        let account_id = self.named(&reservation_id, account_id)?;
        words.finish()?;
        let request = CommitRequest {
            account_id,
            reservation_id,
            amount,
            outcome,
            keep_open,
            next_hold,
            action: Ok(action),
        };
        Ok(self
            .enforcer
            .commit(request, |_| ())
            .await
            .map(|answer| render::committed(&answer)))
    }

    async fn release(&self, mut words: Words) -> Asked {
        let reservation_id = words.id("a reservation", ReservationId::new)?;
        let account_id = words.place();
        let account_id = self.named(&reservation_id, account_id)?;
        words.finish()?;
        let released = self.enforcer.release(account_id, reservation_id).await;
        Ok(released.map(|released| render::released(&released)))
    }

    async fn charge(&self, mut words: Words) -> Asked {
        let force = words.flag("force");
        let charge_id = words.id("an id", ReservationId::new)?;
        let account_id = words.id("an account", AccountId::new)?;
        let request = ChargeRequest {
            account_id: account_id.clone(),
            charge_id: charge_id.clone(),
            action: words.action(),
            amount: words.amount()?,
            force,
        };
        words.finish()?;
        self.owners.lock().unwrap().insert(charge_id, account_id);
        Ok(self
            .enforcer
            .charge(request, |_| ())
            .await
            .map(|answer| render::charged(&answer)))
    }

    /// The account that a line names, or else that the reservation was made for.
    fn named(
        &self,
        reservation_id: &ReservationId,
        account: Option<String>,
    ) -> Result<AccountId, String> {
        let Some(account) = account else {
            return self.owner(reservation_id);
        };
        let account_id = AccountId::new(&account).map_err(|error| error.to_string())?;
        self.owners
            .lock()
            .unwrap()
            .insert(reservation_id.clone(), account_id.clone());
        Ok(account_id)
    }

    /// The account that a reservation was made for.
    pub fn owner(&self, reservation_id: &ReservationId) -> Result<AccountId, String> {
        let owner = self.owners.lock().unwrap().get(reservation_id).cloned();
        owner.ok_or_else(|| format!("nobody reserved {reservation_id}: name its account"))
    }
}
