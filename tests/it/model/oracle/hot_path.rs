//! Reserve, extend and release.

use tollgate::domain::{
    command::{Extend, Release, Reserve},
    credits::MAX_CREDITS,
    decision::{Extended, Refusal, Released, ReservationView, Reserved},
    reservation::{Extension, Origin, State},
};

use super::{Deal, Oracle, add, conflict, differing_action, differing_amount};

impl Oracle {
    pub fn reserve(&mut self, command: &Reserve) -> Result<Reserved, Refusal> {
        self.time_passes()?;
        if !command.dry_run {
            self.expire_if_due(&command.reservation_id);
            if let Some(deal) = self.deal(&command.reservation_id) {
                same_reserve(deal, command)?;
                let result = Ok(self.view(deal));
                return Ok(Reserved {
                    result,
                    balance: self.balance(),
                    replayed: true,
                });
            }
        }
        let asked = command.credits.get();
        // Whoever would take nothing at all is still blocked at zero (PRODUCT.md, rule 10).
        let least = match (asked, command.min_credits) {
            (0, _) => 0,
            (1.., None) => asked,
            (1.., Some(min)) => min.get().clamp(1, asked),
        };
        let result = self
            .room(asked, least)
            .map(|credits| self.hold(command, credits));
        Ok(Reserved {
            result,
            balance: self.balance(),
            replayed: false,
        })
    }

    fn hold(&mut self, command: &Reserve, credits: u64) -> ReservationView {
        let deal = Deal {
            id: command.reservation_id.clone(),
            state: State::Open,
            action: command.action.clone(),
            version: command.rate_card_version.clone(),
            origin: Origin::Reserve {
                amount: command.amount.clone(),
                min_credits: command.min_credits,
                ttl_ms: command.ttl_ms,
            },
            holds: self.pick(credits),
            paid: Vec::new(),
            owed: 0,
            waived: 0,
            reports: Vec::new(),
            extensions: Vec::new(),
            returned: 0,
            ttl_ms: command.effective_ttl_ms,
            deadline: self.now.plus_millis(command.effective_ttl_ms),
            refunded_early: false,
        };
        let view = self.view(&deal);
        if command.dry_run {
            return ReservationView {
                state: None,
                ..view
            };
        }
        self.deals.push(deal);
        view
    }

    pub fn extend(&mut self, command: &Extend) -> Result<Extended, Refusal> {
        self.time_passes()?;
        let id = &command.reservation_id;
        self.expire_if_due(id);
        let deal = self.deal(id).ok_or(Refusal::ReservationNotFound)?;
        let before = deal
            .extensions
            .iter()
            .find(|known| known.id == command.extension_id);
        if let Some(known) = before {
            if known.add != command.add {
                return conflict("add_credits");
            }
            if known.ttl_ms != command.ttl_ms {
                return conflict("ttl");
            }
            let result = Ok(self.view(deal));
            return Ok(Extended {
                result,
                balance: self.balance(),
                replayed: true,
            });
        }
        if deal.state != State::Open {
            return Err(Refusal::NotOpen { state: deal.state });
        }
        let add_credits = command.add.get();
        // More time alone is no new hold.
        if add_credits > 0
            && let Err(denial) = self.room(add_credits, add_credits)
        {
            return Ok(Extended {
                result: Err(denial),
                balance: self.balance(),
                replayed: false,
            });
        }
        let parts = self.pick(add_credits);
        let now = self.now;
        let deal = self.deal_mut(id);
        for (lot, credits) in parts {
            add(&mut deal.holds, &lot, credits);
        }
        if let Some(ttl_ms) = command.ttl_ms {
            deal.ttl_ms = ttl_ms;
            deal.deadline = deal.deadline.max(now.plus_millis(ttl_ms));
        }
        deal.extensions.push(Extension {
            id: command.extension_id.clone(),
            add: command.add,
            ttl_ms: command.ttl_ms,
        });
        let result = Ok(self.view(self.deal(id).expect("it is there")));
        Ok(Extended {
            result,
            balance: self.balance(),
            replayed: false,
        })
    }

    pub fn release(&mut self, command: &Release) -> Result<Released, Refusal> {
        self.time_passes()?;
        let id = &command.reservation_id;
        self.expire_if_due(id);
        let deal = self.deal(id).ok_or(Refusal::ReservationNotFound)?;
        if matches!(deal.state, State::Committed | State::Released) {
            let (reservation, returned) = (self.view(deal), deal.returned);
            return Ok(Released {
                reservation,
                returned,
                balance: self.balance(),
                replayed: true,
            });
        }
        let has_commits = !deal.reports.is_empty();
        let (returned, lost) = self.return_hold(id);
        let deal = self.deal_mut(id);
        deal.state = if has_commits {
            State::Committed
        } else {
            State::Released
        };
        let returned = returned.min(MAX_CREDITS);
        deal.returned = returned;
        self.note_expiry(lost);
        self.pay_debt();
        let reservation = self.view(self.deal(id).expect("it is there"));
        Ok(Released {
            reservation,
            returned,
            balance: self.balance(),
            replayed: false,
        })
    }
}

/// A retry must say what the first request said. Where a late commit came first, its reserve was
/// lost on the way and there is nothing to compare with.
fn same_reserve(deal: &Deal, command: &Reserve) -> Result<(), Refusal> {
    let (amount, min_credits, ttl_ms) = match &deal.origin {
        Origin::Reserve {
            amount,
            min_credits,
            ttl_ms,
        } => (amount, min_credits, ttl_ms),
        Origin::Charge { .. } => return conflict("reservation_id"),
        Origin::Commit { .. } => return Ok(()),
    };
    let field = differing_action(&deal.action, &command.action)
        .or_else(|| differing_amount(amount, &command.amount, "estimate"))
        .or_else(|| (*min_credits != command.min_credits).then_some("min_credits"))
        .or_else(|| (*ttl_ms != command.ttl_ms).then_some("ttl"));
    field.map_or(Ok(()), conflict)
}
