//! Corrections and refunds, where they meet: the two must agree on what is still paid, and no
//! credit may come back twice. The rest of the rules is tested through the hot stores' suites.

use std::sync::Arc;

use super::*;
use crate::domain::{
    account::{OveragePolicy, PlanTerm},
    change::{Change, ChangeBody, Create, Refund, RefundPart},
    command::{Commit, Release, Reserve},
    credits::Credits,
    cycle::Cycle,
    decision::Committed,
    grant::{Draw, Grant, GrantKind},
    ids::{AccountId, GrantId, PlanId},
    refund::Cost,
    reservation::CommitRequest,
    usage::{Action, Amount, Outcome},
};

const START: Timestamp = Timestamp::from_millis(1_769_853_600_000);

struct Desk {
    book: Book,
    effects: Effects,
    now: Timestamp,
    changes: u64,
}

impl Desk {
    fn new(allowance: u64, overage: OveragePolicy) -> Self {
        let create = Create {
            plan: plan(allowance),
            subscribed_at: START,
            cycle: Cycle::at(START, START),
            overage,
        };
        let account = create.blank_account(&AccountId::new("acme").unwrap());
        let book = Book::new(account, []);
        let mut desk = Desk {
            book,
            effects: Effects::default(),
            now: START,
            changes: 0,
        };
        desk.apply(ChangeBody::Create(create));
        desk
    }

    fn apply(&mut self, body: ChangeBody) {
        self.changes += 1;
        let account_id = self.book.account.id.clone();
        let change = Change {
            account_id,
            number: self.changes,
            body,
        };
        let applied = self
            .book
            .apply(&change, self.now, &mut self.effects)
            .unwrap();
        assert!(applied.now);
    }

    fn pack(&mut self, id: &str, amount: u64) {
        let cycle = self.book.account.head.cycle;
        let (id, kind) = (GrantId::new(id).unwrap(), GrantKind::Pack);
        let grant = Grant {
            id,
            kind,
            expires_at: None,
            ..plan_grant(&plan(amount), cycle)
        };
        self.apply(ChangeBody::Grant {
            grant: Box::new(grant),
            reason: String::new(),
        });
    }

    fn reserve(&mut self, id: &str, amount: u64) {
        let command = Reserve {
            account_id: self.book.account.id.clone(),
            reservation_id: ReservationId::new(id).unwrap(),
            action: Arc::new(Action::default()),
            amount: credits(amount),
            credits: Credits::new(amount).unwrap(),
            min_credits: None,
            ttl_ms: None,
            effective_ttl_ms: u64::MAX,
            rate_card_version: "v1".into(),
            dry_run: false,
        };
        let reserved = self
            .book
            .reserve(&command, self.now, &mut self.effects)
            .unwrap();
        assert!(reserved.result.is_ok());
    }

    fn commit(&mut self, id: &str, amount: u64, keep_open: bool) -> Committed {
        let reservation_id = ReservationId::new(id).unwrap();
        let command = Commit {
            account_id: self.book.account.id.clone(),
            known: self.book.packed(&reservation_id).is_some(),
            reservation_id,
            request: CommitRequest {
                amount: credits(amount),
                outcome: Outcome::Succeeded,
                keep_open,
                next_hold: Credits::ZERO,
            },
            credits: Credits::new(amount).unwrap(),
            price: None,
            action: Arc::new(Action::default()),
            rate_card_version: "v1".into(),
            effective_ttl_ms: u64::MAX,
        };
        self.book
            .commit(&command, self.now, &mut self.effects)
            .unwrap()
    }

    fn release(&mut self, id: &str) {
        let account_id = self.book.account.id.clone();
        let command = Release {
            account_id,
            reservation_id: ReservationId::new(id).unwrap(),
        };
        self.book
            .release(&command, self.now, &mut self.effects)
            .unwrap();
    }

    fn renew(&mut self) {
        let ended = self.book.account.head.cycle;
        self.now = ended.end;
        let cycle = Cycle::at(START, self.now);
        let account_id = self.book.account.id.clone();
        let plan = self.book.account.head.plan.clone();
        let renewal = Renewal {
            account_id,
            ended,
            cycle,
            plan,
        };
        self.book.renew(&renewal, self.now, &mut self.effects);
    }

    /// What a reservation has cost by its entries.
    fn cost(&self, id: &str) -> Cost {
        let of = |entry: &&Entry| {
            entry
                .reservation_id
                .as_ref()
                .is_some_and(|it| it.as_str() == id)
        };
        Cost::new(self.effects.entries.iter().filter(of), [])
    }

    fn available(&self) -> u64 {
        self.book.account.available(self.now)
    }
}

fn plan(allowance: u64) -> PlanTerm {
    PlanTerm {
        id: PlanId::new("plan").unwrap(),
        allowance,
    }
}

fn credits(amount: u64) -> Amount {
    Amount::Credits(Credits::new(amount).unwrap())
}

fn parts(draws: &[Draw]) -> Vec<(&str, u64)> {
    draws
        .iter()
        .map(|draw| (draw.grant_id.as_str(), draw.credits))
        .collect()
}

#[test]
fn what_was_written_off_is_corrected_first_and_never_refunded() {
    let mut desk = Desk::new(50, OveragePolicy::Absorb);
    desk.reserve("r1", 50);
    let first = desk.commit("r1", 100, true).receipt;
    assert_eq!(
        (first.written_off, parts(&first.draws)),
        (50, vec![("plan:0", 50)])
    );
    let last = desk.commit("r1", 40, false).receipt;
    assert_eq!(
        (last.corrected, parts(&last.draws)),
        (60, vec![("plan:0", 10)])
    );
    assert_eq!((desk.cost("r1").total(), desk.available()), (40, 10));
}

#[test]
fn the_last_charged_is_corrected_first_as_the_ledger_sees_it() {
    let mut desk = Desk::new(0, OveragePolicy::Debt);
    desk.pack("a", 30);
    desk.pack("b", 100);
    desk.reserve("other", 20);
    desk.reserve("r1", 20);
    desk.commit("r1", 20, true);
    desk.release("other");
    // Pack a has credits again, so it is charged a second time, after b.
    desk.commit("r1", 35, true);
    let charges = &desk
        .book
        .reservation(&ReservationId::new("r1").unwrap())
        .unwrap()
        .unwrap()
        .charges;
    assert_eq!(parts(charges), [("a", 10), ("b", 10), ("a", 15)]);
    let last = desk.commit("r1", 15, false).receipt;
    assert_eq!(parts(&last.draws), [("a", 15), ("b", 5)]);
    assert_eq!(parts(&desk.cost("r1").draws), [("a", 10), ("b", 5)]);
}

#[test]
fn a_pack_that_is_gone_is_corrected_by_an_adjustment_and_plan_credits_never_roll_over() {
    let mut desk = Desk::new(30, OveragePolicy::Debt);
    desk.pack("p1", 50);
    desk.reserve("r1", 80);
    desk.commit("r1", 80, true);
    desk.renew();
    assert!(
        desk.book
            .account
            .grants
            .iter()
            .all(|grant| grant.id.as_str() != "p1")
    );
    let last = desk.commit("r1", 10, false).receipt;
    let adjusted = format!("correction:{}", last.sequence);
    assert_eq!(
        (last.corrected, parts(&last.draws)),
        (70, vec![(adjusted.as_str(), 50)])
    );
    assert_eq!(desk.available(), 80);
}

#[test]
fn what_was_refunded_is_not_corrected_again() {
    let mut desk = Desk::new(0, OveragePolicy::Debt);
    desk.pack("p1", 100);
    desk.reserve("r1", 100);
    desk.commit("r1", 100, true);
    let spread = desk.cost("r1").spread(70);
    let grant = Box::new(desk.book.account.grants[0].clone());
    desk.apply(ChangeBody::Refund(Refund {
        reservation_id: ReservationId::new("r1").unwrap(),
        parts: vec![RefundPart { grant, credits: 70 }],
        of_debt: 0,
        refunded: Some(0),
        reason: String::new(),
        actor: String::new(),
    }));
    let last = desk.commit("r1", 40, false).receipt;
    assert_eq!((last.corrected, parts(&last.draws)), (30, vec![("p1", 30)]));
    assert_eq!(desk.available(), 100, "all that was paid is back, once");
    let usage = desk
        .effects
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Usage);
    assert_eq!(Cost::new(usage, [&spread]).total(), 0);
}

#[test]
fn a_reservation_that_cannot_be_read_refuses_its_own_steps_and_no_others() {
    let mut desk = Desk::new(100, OveragePolicy::Debt);
    desk.reserve("damaged", 10);
    desk.reserve("sound", 10);
    let damaged = ReservationId::new("damaged").unwrap();
    let bytes = Packed::from_bytes(&[0]);
    desk.book.reservations.insert(damaged.clone(), bytes);
    let release = Release {
        account_id: desk.book.account.id.clone(),
        reservation_id: damaged.clone(),
    };
    let refused = desk.book.release(&release, desk.now, &mut desk.effects);
    assert_eq!(refused, Err(Refusal::Unreadable));
    let broken = desk.book.broken_invariant(desk.now).unwrap();
    assert!(broken.starts_with("reservation damaged: "), "{broken}");
    desk.release("sound");
    let late = Timestamp::from_millis(i64::MAX);
    assert_eq!(desk.book.expire_due(10, late, &mut desk.effects), 1);
    assert_eq!(desk.book.open_count(), 0, "not due for ever");
    assert!(desk.book.forget(&damaged, desk.now));
}

#[test]
fn what_was_kept_is_set_aside_again_once() {
    let mut desk = Desk::new(100, OveragePolicy::Debt);
    desk.reserve("open", 10);
    desk.reserve("settled", 20);
    desk.commit("settled", 20, false);
    let mut blank = desk.book.account.clone();
    blank.grants[0].held = 0;
    let mut again = Book::new(blank, []);
    for _ in 0..2 {
        for (id, packed) in desk.book.reservations() {
            again.restore(id.clone(), packed.clone());
        }
    }
    assert_eq!(again.account, desk.book.account);
    assert_eq!(again.due, desk.book.due);
    assert_eq!(again.reservations, desk.book.reservations);
    assert_eq!(again.broken_invariant(desk.now), None);
    let damaged = ReservationId::new("damaged").unwrap();
    again.restore(damaged, Packed::from_bytes(&[0]));
    let broken = again.broken_invariant(desk.now).unwrap();
    assert!(broken.starts_with("reservation damaged: "), "{broken}");
    assert_eq!(again.open_count(), 1);
}
