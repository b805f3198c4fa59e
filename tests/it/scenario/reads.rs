//! What there is to look at: balances, grants, reservations, the ledger.

use tollgate::{
    domain::{
        entry::EntryKind,
        ids::{AccountId, GrantId, ReservationId},
    },
    enforcer::error::EnforceError,
    ledger::EntryFilter,
};

use super::{actions::Caller, answer::Answer, render, words::Words};

/// The most entries that a list of a scenario has.
const ENTRIES_MAX: usize = 1000;

impl Caller {
    /// Looks at what there is.
    pub async fn look(&self, mut words: Words) -> Result<Result<Answer, EnforceError>, String> {
        match words.verb.as_str() {
            "balance" => {
                let account_id = words.id("an account", AccountId::new)?;
                words.finish()?;
                let balance = self.enforcer.balance(&account_id).await;
                Ok(balance.map(|balance| render::balance(&balance)))
            }
            "show" => self.show(words).await,
            "grants" => {
                let account_id = words.id("an account", AccountId::new)?;
                words.finish()?;
                let found = self.enforcer.account(&account_id).await;
                Ok(found.map(|(account, _)| list(account.grants.iter().map(render::grant))))
            }
            "entries" => self.entries(words).await,
            _ => self.conversation(words).await,
        }
    }

    async fn show(&self, mut words: Words) -> Result<Result<Answer, EnforceError>, String> {
        match words.next("account, reservation or grant")?.as_str() {
            "account" => {
                let account_id = words.id("an account", AccountId::new)?;
                words.finish()?;
                let found = self.enforcer.account(&account_id).await;
                Ok(found.map(|(account, balance)| {
                    let head = &account.head;
                    render::balance(&balance)
                        .fact("status", head.status.name())
                        .maybe("next_plan", head.next_plan.as_ref().map(|plan| &plan.id))
                        .fact("subscribed", render::instant(head.anchor))
                        .fact("cycle", head.cycle.index)
                        .fact("cycle_start", render::instant(head.cycle.start))
                        .fact("cycle_end", render::instant(head.cycle.end))
                        .fact("grants", account.grants.len())
                }))
            }
            "reservation" => {
                let id = words.id("a reservation", ReservationId::new)?;
                let account_id = self.owner(&id)?;
                words.finish()?;
                let found = self.enforcer.reservation(&account_id, &id).await;
                Ok(found.map(|(view, most)| render::reservation(&view, most)))
            }
            "grant" => {
                let id = words.id("a grant", GrantId::new)?;
                let account_id = words.id("an account", AccountId::new)?;
                words.finish()?;
                let found = self.clerk.ledger().grant(&account_id, &id).await;
                let grant = found.map_err(|fault| fault.to_string())?;
                Ok(Ok(grant.map_or(Answer::new(["error", "none"]), |grant| {
                    render::grant(&grant)
                })))
            }
            other => Err(format!("show {other}: account, reservation, grant")),
        }
    }

    /// Oldest first, as a scenario tells it.
    async fn entries(&self, mut words: Words) -> Result<Result<Answer, EnforceError>, String> {
        let account_id = words.id("an account", AccountId::new)?;
        let reservation = words.option("reservation");
        let reservation_id = reservation.map(|id| ReservationId::new(&id)).transpose();
        let kinds = words.option("kind").map_or(Ok(Vec::new()), |names| {
            names
                .split(',')
                .map(kind)
                .collect::<Result<Vec<_>, String>>()
        });
        words.finish()?;
        let filter = EntryFilter {
            account_id: Some(account_id),
            reservation_id: reservation_id.map_err(|error| error.to_string())?,
            kinds: kinds?,
            ..EntryFilter::default()
        };
        let page = self
            .clerk
            .ledger()
            .entries(&filter, None, ENTRIES_MAX)
            .await;
        let entries = page.map_err(|fault| fault.to_string())?.entries;
        Ok(Ok(list(
            entries
                .iter()
                .rev()
                .map(|recorded| render::entry(&recorded.entry)),
        )))
    }

    async fn conversation(&self, mut words: Words) -> Result<Result<Answer, EnforceError>, String> {
        let id = words.next("a conversation")?;
        words.finish()?;
        let found = self.clerk.ledger().conversation(&id, None, 1000).await;
        let entries = found.map_err(|fault| fault.to_string())?.entries;
        let sum = render::conversation(entries.iter().map(|recorded| &recorded.entry));
        Ok(Ok(list(
            entries
                .iter()
                .map(|recorded| render::entry(&recorded.entry)),
        )
        .and(sum)))
    }
}

fn kind(name: &str) -> Result<EntryKind, String> {
    let found = EntryKind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("kind={name}: no such kind of entry"))
}

fn list(rows: impl Iterator<Item = Answer>) -> Answer {
    let rows: Vec<Answer> = rows.collect();
    Answer::default().fact("count", rows.len()).list(rows)
}
