//! Books of the domain with a ledger behind them: what a hot store and its settler do, one step at
//! a time.

use std::{collections::BTreeMap, mem, sync::Arc};

use tollgate::{
    domain::{
        account::{OveragePolicy, PlanTerm},
        book::{Book, Effects},
        change::{Change, Create},
        command::{Charge, Commit, Release, Renewal, Reserve},
        credits::Credits,
        cycle::Cycle,
        decision::{Charged, Committed},
        grant::{DEFAULT_PRIORITY, Grant, GrantKind},
        ids::{AccountId, GrantId, PlanId, ReservationId},
        packed::Packed,
        reservation::{CommitRequest, Reservation, State},
        timestamp::Timestamp,
        usage::{Action, Amount, Outcome},
    },
    hot::{Changed, Line, OutboxBatch},
    ledger::{ChangeRequest, Ledger, Settled, Submitted, Wanted},
};

use super::Backend;

/// 2026-01-31T10:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_769_853_600_000);
/// How long every hold stands.
pub const TTL_MS: u64 = 60_000;

pub fn account_id(text: &str) -> AccountId {
    AccountId::new(text).unwrap()
}

pub fn reservation_id(text: &str) -> ReservationId {
    ReservationId::new(text).unwrap()
}

pub fn grant_id(text: &str) -> GrantId {
    GrantId::new(text).unwrap()
}

pub fn credits(number: u64) -> Credits {
    Credits::new(number).unwrap()
}

pub fn plan(id: &str, allowance: u64) -> PlanTerm {
    PlanTerm {
        id: PlanId::new(id).unwrap(),
        allowance,
    }
}

pub fn pack(id: &str, amount: u64) -> Grant {
    Grant {
        id: grant_id(id),
        kind: GrantKind::Pack,
        amount,
        used: 0,
        held: 0,
        expired: 0,
        priority: DEFAULT_PRIORITY,
        effective_at: START,
        expires_at: None,
        voided_at: None,
        source: "small".to_owned(),
    }
}

pub fn request(account: &str, key: Option<&str>, wanted: Wanted) -> ChangeRequest {
    ChangeRequest {
        account_id: account_id(account),
        key: key.map(str::to_owned),
        payload: Vec::new(),
        wanted,
        call: None,
    }
}

pub fn refund(reservation: &str, credits: u64) -> Wanted {
    Wanted::Refund {
        reservation_id: reservation_id(reservation),
        credits,
        reason: "it failed".to_owned(),
        actor: "ann".to_owned(),
    }
}

/// The change of a submission that must be new.
pub fn new(submitted: Submitted) -> Change {
    match submitted {
        Submitted::New(change) => change,
        other => panic!("not new: {other:?}"),
    }
}

/// One shard of a hot store, without any of its guarantees.
pub struct World {
    pub ledger: Arc<dyn Ledger>,
    pub now: Timestamp,
    pub books: BTreeMap<AccountId, Book>,
    pub conversation: String,
    /// What the ledger does not have yet.
    lines: Vec<Arc<Line>>,
    changed: Vec<Changed>,
    /// The outbox's position before that.
    settled: u64,
}

impl World {
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        World {
            ledger,
            now: START,
            books: BTreeMap::new(),
            conversation: "chat-1".to_owned(),
            lines: Vec::new(),
            changed: Vec::new(),
            settled: 0,
        }
    }

    /// With one settled account `acme` on a plan of 500.
    pub async fn with_acme(ledger: Arc<dyn Ledger>) -> Self {
        let mut world = World::new(ledger);
        world.create("acme", 500).await;
        world.flush().await;
        world
    }

    /// Closes the ledger and opens it again.
    pub async fn reopen(self, backend: &mut dyn Backend) -> World {
        let World {
            ledger,
            now,
            books,
            conversation,
            lines,
            changed,
            settled,
        } = self;
        drop(ledger);
        backend.reopen().await;
        World {
            ledger: backend.ledger(),
            now,
            books,
            conversation,
            lines,
            changed,
            settled,
        }
    }

    pub fn creation(&self, allowance: u64) -> Create {
        Create {
            plan: plan("starter", allowance),
            subscribed_at: START,
            cycle: Cycle::at(START, self.now),
            overage: OveragePolicy::Debt,
        }
    }

    /// Submits and applies an account.
    pub async fn create(&mut self, account: &str, allowance: u64) {
        self.create_as(account, self.creation(allowance)).await;
    }

    /// The same as `creation` says.
    pub async fn create_as(&mut self, account: &str, creation: Create) {
        let id = account_id(account);
        self.books
            .insert(id.clone(), Book::new(creation.blank_account(&id), []));
        self.change(account, None, Wanted::Create(creation)).await;
    }

    /// Submits a change that must be new, and applies it.
    pub async fn change(&mut self, account: &str, key: Option<&str>, wanted: Wanted) -> Change {
        let request = request(account, key, wanted);
        let change = new(self.ledger.submit(&request, self.now).await.unwrap());
        self.apply(&change);
        change
    }

    /// Submits and applies a pack.
    pub async fn grant(&mut self, account: &str, grant: Grant) {
        let key = format!("grant:{}", grant.id);
        let wanted = Wanted::Grant {
            grant: Box::new(grant),
            reason: "bought".to_owned(),
        };
        self.change(account, Some(&key), wanted).await;
    }

    pub fn apply(&mut self, change: &Change) {
        let id = change.account_id.clone();
        self.step(&id, |book, now, effects| {
            book.apply(change, now, effects).unwrap()
        });
    }

    pub fn reserve(&mut self, account: &str, reservation: &str, held: u64) {
        let command = Reserve {
            account_id: account_id(account),
            reservation_id: reservation_id(reservation),
            action: self.action(),
            amount: Amount::Credits(credits(held)),
            credits: credits(held),
            min_credits: None,
            ttl_ms: None,
            effective_ttl_ms: TTL_MS,
            rate_card_version: Arc::from("v1"),
            dry_run: false,
        };
        let id = command.account_id.clone();
        let reserved = self.step(&id, |book, now, effects| {
            book.reserve(&command, now, effects).unwrap()
        });
        reserved.result.unwrap();
    }

    /// Commits cumulative usage; `keep_open` if more follows.
    pub fn commit(
        &mut self,
        account: &str,
        reservation: &str,
        used: u64,
        keep_open: bool,
    ) -> Committed {
        let id = account_id(account);
        let reservation_id = reservation_id(reservation);
        let known = self.books[&id].packed(&reservation_id).is_some();
        let command = Commit {
            account_id: id.clone(),
            reservation_id,
            request: CommitRequest {
                amount: Amount::Credits(credits(used)),
                outcome: Outcome::Succeeded,
                keep_open,
                next_hold: Credits::ZERO,
            },
            credits: credits(used),
            price: None,
            known,
            action: self.action(),
            rate_card_version: Arc::from("v1"),
            effective_ttl_ms: TTL_MS,
        };
        self.step(&id, |book, now, effects| {
            book.commit(&command, now, effects).unwrap()
        })
    }

    pub fn release(&mut self, account: &str, reservation: &str) {
        let id = account_id(account);
        let command = Release {
            account_id: id.clone(),
            reservation_id: reservation_id(reservation),
        };
        self.step(&id, |book, now, effects| {
            book.release(&command, now, effects).unwrap()
        });
    }

    /// Charges, whatever the balance.
    pub fn charge(&mut self, account: &str, charge: &str, used: u64) -> Charged {
        let id = account_id(account);
        let command = Charge {
            account_id: id.clone(),
            charge_id: reservation_id(charge),
            action: self.action(),
            amount: Amount::Credits(credits(used)),
            credits: credits(used),
            price: None,
            rate_card_version: Arc::from("v1"),
            force: true,
        };
        self.step(&id, |book, now, effects| {
            book.charge(&command, now, effects).unwrap()
        })
    }

    /// Moves to the account's next cycle and renews it.
    pub fn renew(&mut self, account: &str) {
        let id = account_id(account);
        let head = self.books[&id].account().head.clone();
        self.now = self.now.max(head.cycle.end);
        let renewal = Renewal {
            account_id: id.clone(),
            ended: head.cycle,
            cycle: Cycle::at(head.anchor, self.now),
            plan: head.next_plan.unwrap_or(head.plan),
        };
        self.step(&id, |book, now, effects| book.renew(&renewal, now, effects));
    }

    /// A reservation as the hot store has it.
    pub fn known(&self, account: &str, reservation: &str) -> Reservation {
        let book = &self.books[&account_id(account)];
        let known = book.reservation(&reservation_id(reservation)).unwrap();
        known.unwrap()
    }

    /// Lets the hot store have an older state of a reservation, whose hold has expired, as after a
    /// failover to a replica that lacks the last writes.
    pub fn go_back(&mut self, account: &str, older: Reservation) {
        let older = Reservation {
            state: State::Expired,
            holds: Vec::new(),
            ..older
        };
        self.replace(account, older.id.clone(), Some(older));
    }

    /// Lets the hot store lose a reservation, as after its replay window.
    pub fn forget(&mut self, account: &str, reservation: &str) {
        self.replace(account, reservation_id(reservation), None);
    }

    fn replace(&mut self, account: &str, lost: ReservationId, older: Option<Reservation>) {
        let id = account_id(account);
        let book = &self.books[&id];
        let mut all: Vec<_> = book
            .reservations()
            .filter(|(known, _)| **known != lost)
            .map(|(known, packed)| packed.unpack(&id, known).unwrap())
            .collect();
        let mut account = book.account().clone();
        for draw in &book.reservation(&lost).unwrap().unwrap().holds {
            let grant = account
                .grants
                .iter_mut()
                .find(|grant| grant.id == draw.grant_id);
            grant.unwrap().held -= draw.credits;
        }
        let changed = ((id.clone(), lost), older.as_ref().map(Packed::new));
        self.changed.push(changed);
        all.extend(older);
        self.books.insert(id, Book::new(account, all));
    }

    /// What the ledger does not have yet, as an outbox gives it; it counts as settled from now on.
    pub fn take_batch(&mut self) -> OutboxBatch {
        let (entries, reservations) = (mem::take(&mut self.lines), mem::take(&mut self.changed));
        let from = self.settled;
        self.settled += (entries.len() + reservations.len()) as u64;
        OutboxBatch {
            from,
            to: self.settled,
            entries: entries.into(),
            reservations: reservations.into(),
            ..OutboxBatch::default()
        }
    }

    /// Settles what the ledger does not have yet, and applies the reversals.
    pub async fn flush(&mut self) -> Settled {
        let batch = self.take_batch();
        let settled = self
            .ledger
            .settle(std::slice::from_ref(&batch), self.now)
            .await
            .unwrap();
        assert!(!settled.cursor_conflict);
        assert_eq!(settled.entries, batch.entries.len());
        for change in &settled.reversals {
            self.apply(change);
        }
        settled
    }

    pub fn available(&self, account: &str) -> u64 {
        self.books[&account_id(account)]
            .account()
            .available(self.now)
    }

    /// Checks that the ledger has what the books have, and finds nothing wrong with itself.
    pub async fn check(&mut self) {
        self.flush().await;
        self.flush().await;
        for (id, book) in &self.books {
            let stored = self.ledger.account(id, self.now).await.unwrap().unwrap();
            let hot = book.account();
            assert_eq!(stored.head, hot.head, "{id}");
            assert_eq!(stored.sequence, hot.sequence, "{id}");
            assert_eq!(stored.worth(), hot.worth(), "{id}");
            for grant in &hot.grants {
                let kept = self.ledger.grant(id, &grant.id).await.unwrap().unwrap();
                assert_eq!(
                    kept,
                    Grant {
                        held: 0,
                        ..grant.clone()
                    },
                    "{id}"
                );
            }
        }
        let findings = self.ledger.audit(10).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
    }

    fn action(&self) -> Arc<Action> {
        Arc::new(Action {
            mode: "edit".to_owned(),
            conversation_id: self.conversation.clone(),
            ..Action::default()
        })
    }

    fn step<T>(
        &mut self,
        id: &AccountId,
        step: impl FnOnce(&mut Book, Timestamp, &mut Effects) -> T,
    ) -> T {
        let book = self.books.get_mut(id).unwrap();
        let mut effects = Effects::default();
        let answer = step(book, self.now, &mut effects);
        let lines = effects.entries.into_iter().map(Into::into);
        self.lines.extend(lines.map(Arc::new));
        for (touched, packed) in effects.touched {
            self.changed.push(((id.clone(), touched), Some(packed)));
        }
        answer
    }
}
