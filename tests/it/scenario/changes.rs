//! The control plane: accounts, grants, plans, statuses, refunds. A change is answered with what
//! its ledger entry says.

use tollgate::{
    clock::Clock,
    domain::{
        account::{OveragePolicy, PlanTerm, Status},
        change::Create,
        cycle::Cycle,
        entry::Entry,
        grant::{DEFAULT_PRIORITY, Grant, GrantKind},
        ids::{AccountId, ChangeId, GrantId, ReservationId},
    },
    enforcer::{changes::Changed, error::EnforceError},
    ledger::{ChangeRequest, EntryFilter, Submitted, Wanted},
};

use super::{
    actions::Caller,
    answer::Answer,
    render,
    words::{Words, credits},
};

/// The most entries that are looked through for the one that carries a change.
const ENTRIES_MAX: usize = 1000;

/// A change that is asked for, and what it is called once it is done.
struct Asked {
    change: ChangeRequest,
    done: &'static str,
}

impl Caller {
    /// Carries a change out.
    pub async fn change(&self, mut words: Words) -> Result<Result<Answer, EnforceError>, String> {
        let unapplied = words.flag("unapplied");
        let asked = match words.verb.as_str() {
            "account" => self.account(&mut words),
            "grant" => self.grant(&mut words),
            "void" => void(&mut words),
            "plan" => self.plan(&mut words),
            "status" => status(&mut words),
            _ => self.refund(&mut words),
        };
        let Asked { change, done } = asked?;
        words.finish()?;
        if unapplied {
            return self.submit_only(&change).await;
        }
        let account_id = change.account_id.clone();
        match self.clerk.change(change).await {
            Ok(changed) => Ok(Ok(self.changed(&account_id, done, &changed).await?)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The caller dies once the ledger has it.
    async fn submit_only(
        &self,
        change: &ChangeRequest,
    ) -> Result<Result<Answer, EnforceError>, String> {
        match self.clerk.ledger().submit(change, self.clock.now()).await {
            Ok(Submitted::New(_)) => Ok(Ok(Answer::new(["submitted"]))),
            other => Err(format!("not new to the ledger: {other:?}")),
        }
    }

    async fn changed(
        &self,
        account_id: &AccountId,
        done: &'static str,
        changed: &Changed,
    ) -> Result<Answer, String> {
        let entry = self.entry_of(account_id, changed.change.number).await?;
        let fail = |error: EnforceError| error.to_string();
        let (account, _) = self.enforcer.account(account_id).await.map_err(fail)?;
        let head = &account.head;
        let mut told = Answer::new([done]);
        if matches!(done, "added" | "voided" | "refunded") {
            told = told.word(entry.credits.unsigned_abs());
        }
        Ok(told
            .and(render::balance(&changed.balance))
            .fact("status", head.status.name())
            .maybe("next_plan", head.next_plan.as_ref().map(|plan| &plan.id))
            .fact("draws", render::draws(&entry.draws))
            .fact(
                "reason",
                if entry.reason.is_empty() {
                    "none"
                } else {
                    &entry.reason
                },
            )
            .flag("replayed", changed.replayed))
    }

    /// The entry that carries a change.
    async fn entry_of(&self, account_id: &AccountId, change: u64) -> Result<Entry, String> {
        let filter = EntryFilter {
            account_id: Some(account_id.clone()),
            ..EntryFilter::default()
        };
        let page = self
            .clerk
            .ledger()
            .entries(&filter, None, ENTRIES_MAX)
            .await;
        let entries = page.map_err(|fault| fault.to_string())?.entries;
        let mut entries = entries.into_iter().map(|recorded| recorded.entry);
        entries
            .find(|entry| entry.change == Some(change))
            .ok_or_else(|| format!("no entry carries change {change}"))
    }

    fn account(&self, words: &mut Words) -> Result<Asked, String> {
        let account_id = words.id("an account", AccountId::new)?;
        let plan = words.option("plan").ok_or("account needs plan=")?;
        let subscribed = words.instant("subscribed")?;
        let overage = match words.option("overage").as_deref() {
            None | Some("debt") => OveragePolicy::Debt,
            Some("absorb") => OveragePolicy::Absorb,
            Some(other) => return Err(format!("overage={other}: debt, absorb")),
        };
        let now = self.clock.now();
        let subscribed_at = subscribed.unwrap_or(now);
        let create = Create {
            plan: self.plan_term(&plan)?,
            subscribed_at,
            cycle: Cycle::at(subscribed_at, now),
            overage,
        };
        let payload = [
            ("plan_id", plan),
            ("subscribed_at", shown(subscribed)),
            ("overage_policy", overage.name().to_owned()),
        ];
        let key = Some("create".to_owned());
        Ok(asked(
            account_id,
            key,
            payload,
            Wanted::Create(create),
            "created",
        ))
    }

    fn grant(&self, words: &mut Words) -> Result<Asked, String> {
        let id = words.id("a grant", GrantId::new)?;
        let account_id = words.id("an account", AccountId::new)?;
        let (kind, amount, source) = self.given(words)?;
        let (from, expires) = (words.instant("from")?, words.instant("expires")?);
        let priority: Option<i32> = words.parsed("priority")?;
        let reason = words.option("reason").unwrap_or_default();
        let grant = Grant {
            id: id.clone(),
            kind,
            amount,
            used: 0,
            held: 0,
            expired: 0,
            priority: priority.unwrap_or(DEFAULT_PRIORITY),
            effective_at: from.unwrap_or(self.clock.now()),
            expires_at: expires,
            voided_at: None,
            source: source.clone(),
        };
        let payload = [
            ("credits", format!("{source} {amount}")),
            ("effective_at", shown(from)),
            ("expires_at", shown(expires)),
            ("priority", shown(priority)),
            ("reason", reason.clone()),
        ];
        let key = Some(format!("grant:{id}"));
        let wanted = Wanted::Grant {
            grant: Box::new(grant),
            reason,
        };
        Ok(asked(account_id, key, payload, wanted, "added"))
    }

    /// What a grant gives, and where that comes from.
    fn given(&self, words: &mut Words) -> Result<(GrantKind, u64, String), String> {
        if let Some(id) = words.option("pack") {
            let catalog = self.enforcer.catalog().map_err(|error| error.to_string())?;
            let pack = catalog.pack(&id).ok_or_else(|| format!("no pack {id}"))?;
            return Ok((GrantKind::Pack, pack.credits.get(), id));
        }
        for (name, kind) in [
            ("promo", GrantKind::Promo),
            ("adjustment", GrantKind::Adjustment),
        ] {
            if let Some(amount) = words.credits(name)? {
                return Ok((kind, amount.get(), name.to_owned()));
            }
        }
        Err("grant needs pack=, promo= or adjustment=".to_owned())
    }

    fn plan(&self, words: &mut Words) -> Result<Asked, String> {
        let (now, later) = (words.flag("now"), words.flag("at_renewal"));
        let account_id = words.id("an account", AccountId::new)?;
        let plan = self.plan_term(&words.next("a plan")?)?;
        let number = self.clock.now().millis();
        let id = words
            .option("id")
            .unwrap_or_else(|| format!("to-{}-{number}", plan.id));
        let id = ChangeId::new(&id).map_err(|error| error.to_string())?;
        let at_renewal = match (now, later) {
            (true, false) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
            (true, true) => return Err("now, or at_renewal".to_owned()),
        };
        let payload = [
            ("plan_id", plan.id.to_string()),
            ("at_renewal", shown(at_renewal)),
        ];
        let wanted = Wanted::ChangePlan { plan, at_renewal };
        Ok(asked(
            account_id,
            Some(format!("plan:{id}")),
            payload,
            wanted,
            "changed",
        ))
    }

    fn plan_term(&self, id: &str) -> Result<PlanTerm, String> {
        let catalog = self.enforcer.catalog().map_err(|error| error.to_string())?;
        let plan = catalog.plan(id).ok_or_else(|| format!("no plan {id}"))?;
        Ok(PlanTerm {
            id: plan.id.clone(),
            allowance: plan.allowance.get(),
        })
    }

    fn refund(&self, words: &mut Words) -> Result<Asked, String> {
        let id = words.id("a refund's id", ChangeId::new)?;
        let reservation_id = words.id("a reservation", ReservationId::new)?;
        let account_id = self.owner(&reservation_id)?;
        let credits = credits(words.number().unwrap_or(0))?.get();
        let reason = words.option("reason").unwrap_or_default();
        let actor = words.option("actor").unwrap_or_default();
        let payload = [
            ("reservation_id", reservation_id.to_string()),
            ("credits", credits.to_string()),
            ("reason", reason.clone()),
            ("actor", actor.clone()),
        ];
        let wanted = Wanted::Refund {
            reservation_id,
            credits,
            reason,
            actor,
        };
        Ok(asked(
            account_id,
            Some(format!("refund:{id}")),
            payload,
            wanted,
            "refunded",
        ))
    }
}

fn void(words: &mut Words) -> Result<Asked, String> {
    let grant_id = words.id("a grant", GrantId::new)?;
    let account_id = words.id("an account", AccountId::new)?;
    let reason = words.option("reason").unwrap_or_default();
    let payload = [("reason", reason.clone())];
    let key = Some(format!("void:{grant_id}"));
    Ok(asked(
        account_id,
        key,
        payload,
        Wanted::Void { grant_id, reason },
        "voided",
    ))
}

fn status(words: &mut Words) -> Result<Asked, String> {
    let account_id = words.id("an account", AccountId::new)?;
    let name = words.next("a status")?;
    let all = [Status::Active, Status::Suspended, Status::Closed];
    let status = all.into_iter().find(|status| status.name() == name);
    let status = status.ok_or_else(|| format!("{name}: active, suspended, closed"))?;
    let reason = words.option("reason").unwrap_or_default();
    let payload = [("status", name), ("reason", reason.clone())];
    Ok(asked(
        account_id,
        None,
        payload,
        Wanted::SetStatus { status, reason },
        "changed",
    ))
}

/// A retry is compared with the payload, field by field.
fn asked<const FIELDS: usize>(
    account_id: AccountId,
    key: Option<String>,
    payload: [(&str, String); FIELDS],
    wanted: Wanted,
    done: &'static str,
) -> Asked {
    let payload = payload
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
    Asked {
        change: ChangeRequest {
            account_id,
            key,
            payload,
            wanted,
            call: None,
        },
        done,
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
