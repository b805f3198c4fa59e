//! Runs each step on a hot store and on the oracle, and compares every answer and, after every
//! step, every state.

use std::collections::BTreeMap;

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use tollgate::domain::{
    account::{Account, OveragePolicy},
    change::{Applied, Change, ChangeBody},
    command::{Charge, Commit, Extend, Release, Renewal, Reserve},
    credits::MAX_CREDITS,
    cycle::Cycle,
    decision::{Balance, Charged, Committed, CycleEnded, Extended, Refusal, Released, Reserved},
    entry::Entry,
    ids::ReservationId,
    reservation::Reservation,
    timestamp::Timestamp,
};

use super::{
    clerk::Clerk,
    ops::{Jump, Step},
    oracle::{Line, Oracle, Part},
    reached::Reached,
    requests::{PLANS, Requests},
};
use crate::support::{
    Backend, Fixture, Setup,
    account::{create, open, plan},
    commands::acme,
};

/// What is asked of the store and of the oracle.
#[derive(Clone, Debug)]
pub enum Ask {
    Reserve(Reserve),
    Extend(Extend),
    Commit(Commit),
    Release(Release),
    Charge(Charge),
    Apply(Change),
    Sweep(usize),
    Balance,
}

/// What either answers.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Reserved(Reserved),
    Extended(Extended),
    Committed(Committed),
    Released(Released),
    Charged(Charged),
    Applied(Applied),
    Swept(usize),
    Balance(Balance),
}

/// A store, the oracle beside it, and the clerk who adds up the entries.
pub struct Driver {
    fixture: Fixture,
    pub oracle: Oracle,
    pub clerk: Clerk,
    /// Every reservation as the outbox last showed it.
    shadow: BTreeMap<ReservationId, Reservation>,
    last: Option<Balance>,
    pub reached: Reached,
}

impl Driver {
    /// A store with one new account.
    pub async fn new(
        backend: &dyn Backend,
        plan_index: usize,
        overage: OveragePolicy,
    ) -> Result<Self, TestCaseError> {
        let setup = Setup {
            replay_window_ms: u64::MAX,
            ..Setup::default()
        };
        let fixture = backend.start(setup).await;
        let (id, allowance) = PLANS[plan_index];
        let create = create(plan(id, allowance), overage, setup.now);
        let mut oracle = Oracle::new(&acme(), &create);
        open(&fixture, &acme(), create.clone()).await;
        let body = ChangeBody::Create(create);
        let first = Change {
            account_id: acme(),
            number: 1,
            body,
        };
        oracle.apply(&first).expect("an account can be created");
        let mut driver = Driver {
            fixture,
            oracle,
            clerk: Clerk::default(),
            shadow: BTreeMap::new(),
            last: None,
            reached: Reached::default(),
        };
        driver.check().await?;
        Ok(driver)
    }

    /// Moves time, asks both, renews where the cycle is over and asks again, compares.
    pub async fn step(
        &mut self,
        requests: &mut Requests,
        step: &Step,
    ) -> Result<(), TestCaseError> {
        self.jump(step.jump);
        let Some(ask) = requests.request(&step.op, &self.oracle, &mut self.clerk)? else {
            return Ok(());
        };
        let first = self.ask(&ask).await?;
        if matches!(first, Err(Refusal::OutOfRange { .. })) {
            self.reached.refused += 1;
        }
        self.check().await?;
        if let Err(Refusal::CycleEnded(ended)) = first {
            self.renew(ended).await?;
            let second = self.ask(&ask).await?;
            let is_renewed = !matches!(second, Err(Refusal::CycleEnded(_)));
            prop_assert!(is_renewed, "the renewal did not renew");
            self.check().await?;
        }
        Ok(())
    }

    fn jump(&mut self, jump: Jump) {
        let now = self.oracle.now;
        let day_ms = 86_400_000;
        let target = match jump {
            Jump::None => now,
            Jump::Ms(ms) => now.plus_millis(ms),
            Jump::Days(days) => now.plus_millis(days * day_ms),
            Jump::Deadline { which, offset_ms } => {
                let deals = &self.oracle.deals;
                let deal = (!deals.is_empty()).then(|| &deals[which % deals.len()]);
                deal.map_or(now, |deal| moved(deal.deadline, offset_ms))
            }
            Jump::Lot {
                which,
                ends,
                offset_ms,
            } => {
                let lot = &self.oracle.lots[which % self.oracle.lots.len()];
                moved(
                    if ends {
                        lot.until.unwrap_or(now)
                    } else {
                        lot.from
                    },
                    offset_ms,
                )
            }
            Jump::Cycle { offset_ms } => moved(self.oracle.cycle.end, offset_ms),
        };
        self.oracle.now = target.max(now);
        self.fixture.clock.set(self.oracle.now);
    }

    async fn ask(&mut self, ask: &Ask) -> Result<Result<(), Refusal>, TestCaseError> {
        let told = self.tell(ask).await;
        let foreseen = self.foresee(ask);
        prop_assert_eq!(
            &told,
            &foreseen,
            "left is the store's answer, right is the oracle's"
        );
        Ok(told.map(|_| ()))
    }

    async fn tell(&self, ask: &Ask) -> Result<Told, Refusal> {
        let store = &self.fixture.store;
        let mut told = match ask {
            Ask::Reserve(command) => store
                .reserve(command)
                .await
                .expect(FAULT)
                .map(|done| Told::Reserved(done.value)),
            Ask::Extend(command) => store
                .extend(command)
                .await
                .expect(FAULT)
                .map(|done| Told::Extended(done.value)),
            Ask::Commit(command) => store
                .commit(command)
                .await
                .expect(FAULT)
                .map(|done| Told::Committed(done.value)),
            Ask::Release(command) => store
                .release(command)
                .await
                .expect(FAULT)
                .map(|done| Told::Released(done.value)),
            Ask::Charge(command) => store
                .charge(command)
                .await
                .expect(FAULT)
                .map(|done| Told::Charged(done.value)),
            Ask::Apply(change) => store
                .apply(change)
                .await
                .expect(FAULT)
                .map(|done| Told::Applied(done.value)),
            Ask::Balance => store
                .balance(&acme())
                .await
                .expect(FAULT)
                .map(|done| Told::Balance(done.value)),
            Ask::Sweep(max) => Ok(Told::Swept(store.sweep(*max).await.expect(FAULT).expired)),
        };
        if let Ok(told) = &mut told {
            forget_version(told);
        }
        told
    }

    fn foresee(&mut self, ask: &Ask) -> Result<Told, Refusal> {
        let oracle = &mut self.oracle;
        match ask {
            Ask::Reserve(command) => oracle.reserve(command).map(Told::Reserved),
            Ask::Extend(command) => oracle.extend(command).map(Told::Extended),
            Ask::Commit(command) => oracle.commit(command).map(Told::Committed),
            Ask::Release(command) => oracle.release(command).map(Told::Released),
            Ask::Charge(command) => oracle.charge(command).map(Told::Charged),
            Ask::Apply(change) => oracle.apply(change).map(Told::Applied),
            Ask::Balance => oracle
                .time_passes()
                .map(|()| Told::Balance(oracle.balance())),
            Ask::Sweep(max) => Ok(Told::Swept(oracle.expire_due(*max))),
        }
    }

    async fn renew(&mut self, ended: CycleEnded) -> Result<(), TestCaseError> {
        let known = PLANS.iter().find(|(id, _)| *id == ended.plan_id.as_str());
        let (id, allowance) = *known.expect("a plan of the catalogue");
        let renewal = Renewal {
            account_id: acme(),
            ended: ended.ended,
            cycle: Cycle::at(ended.anchor, ended.now),
            plan: plan(id, allowance),
        };
        // Twice: the second finds another cycle than the one that it names.
        for _ in 0..2 {
            self.fixture
                .store
                .renew(&renewal)
                .await
                .expect(FAULT)
                .expect("a renewal");
            self.oracle.renew(&renewal);
            self.check().await?;
        }
        Ok(())
    }

    /// Compares all that can be seen, and checks what must always hold.
    async fn check(&mut self) -> Result<(), TestCaseError> {
        let store = self.fixture.store.clone();
        let told = store
            .account(&acme())
            .await
            .expect(FAULT)
            .map(|done| done.value);
        let foreseen = self.oracle.time_passes();
        prop_assert_eq!(told.as_ref().err(), foreseen.as_ref().err());
        self.check_outbox().await?;
        self.check_reservations()?;
        if let Ok((account, balance)) = told {
            prop_assert_eq!(
                &Balance {
                    version: 0,
                    ..balance.clone()
                },
                &self.oracle.balance()
            );
            self.reached.see(&balance);
            // What stores keep are single numbers. The sum of them is told, and may be more: a hold
            // that is due and was not expired yet stays on the grant of its cycle, beside the next.
            let held = account.grants.iter().map(|grant| grant.held);
            let most = held.chain([balance.debt]).max();
            prop_assert!(most <= Some(MAX_CREDITS), "out of range: {:?}", balance);
            self.check_account(&account)?;
            self.clerk.check_account(&account)?;
            self.check_version(&balance)?;
            let broken = store.broken_invariants(10).await.expect(FAULT);
            prop_assert!(broken.is_empty(), "{:?}", broken);
        }
        Ok(())
    }

    /// The outbox has the lines that the oracle wrote since it was last trimmed, to the letter.
    async fn check_outbox(&mut self) -> Result<(), TestCaseError> {
        let store = &self.fixture.store;
        let batch = store.outbox(0).await.expect(FAULT);
        store.trim(batch.end()).await.expect(FAULT);
        let before = self.clerk.entries.len();
        for entry in batch.entries.iter() {
            self.clerk.take(entry)?;
        }
        let told: Vec<Line> = batch.entries.iter().map(|entry| line_of(entry)).collect();
        let foreseen = &self.oracle.journal[before.min(self.oracle.journal.len())..];
        prop_assert_eq!(&told[..], foreseen, "left are the store's entries");
        let late = batch
            .entries
            .iter()
            .find(|entry| entry.occurred_at > self.oracle.now);
        prop_assert!(late.is_none(), "{:?} is of the future", late);
        for ((account_id, id), packed) in batch.reservations.iter() {
            match packed.as_ref().map(|packed| packed.unpack(account_id, id)) {
                Some(reservation) => self
                    .shadow
                    .insert(id.clone(), reservation.expect("readable")),
                None => self.shadow.remove(id),
            };
        }
        Ok(())
    }

    fn check_reservations(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.shadow.len(), self.oracle.deals.len());
        for deal in &self.oracle.deals {
            let known = &self.shadow[&deal.id];
            prop_assert_eq!(&known.view(), &self.oracle.view(deal));
            let holds: Vec<Part> = known
                .holds
                .iter()
                .map(|hold| (hold.grant_id.to_string(), hold.credits))
                .collect();
            prop_assert_eq!(&holds, &deal.holds, "holds of {}", deal.id);
        }
        Ok(())
    }

    fn check_account(&self, account: &Account) -> Result<(), TestCaseError> {
        let oracle = &self.oracle;
        let head = &account.head;
        prop_assert_eq!(
            (
                head.status,
                &head.plan,
                &head.next_plan,
                head.cycle,
                head.debt,
                head.applied_change
            ),
            (
                oracle.status,
                &oracle.plan,
                &oracle.next_plan,
                oracle.cycle,
                oracle.debt,
                oracle.changes
            )
        );
        let order = oracle.in_order();
        let mut place = order.iter();
        for grant in &account.grants {
            let Some(lot) = place.find(|lot| lot.id == grant.id.as_str()) else {
                return Err(TestCaseError::fail(format!("{} is out of order", grant.id)));
            };
            prop_assert_eq!(
                (
                    grant.amount,
                    grant.used,
                    grant.held,
                    grant.expired,
                    grant.voided_at
                ),
                (
                    lot.amount,
                    lot.used,
                    oracle.held_of(&lot.id),
                    lot.lost,
                    lot.voided_at
                ),
                "{}",
                grant.id
            );
        }
        for lot in &order {
            let is_live = account
                .grants
                .iter()
                .any(|grant| grant.id.as_str() == lot.id);
            let is_over = oracle.left(lot) == 0 && oracle.held_of(&lot.id) == 0;
            prop_assert!(
                is_live || is_over && (lot.retired || oracle.has_ended(lot)),
                "{:?} is gone",
                lot
            );
        }
        Ok(())
    }

    /// Versions only rise, and order any two answers that differ by more than the time.
    fn check_version(&mut self, balance: &Balance) -> Result<(), TestCaseError> {
        if let Some(last) = &self.last {
            let moved = last.sequence != balance.sequence || last.held != balance.held;
            prop_assert!(balance.version >= last.version, "the version went back");
            prop_assert!(
                !moved || balance.version > last.version,
                "the version stood still"
            );
        }
        self.last = Some(balance.clone());
        Ok(())
    }
}

/// What a fault would mean here.
const FAULT: &str = "this store has no faults";

fn forget_version(told: &mut Told) {
    let balance = match told {
        Told::Reserved(answer) | Told::Extended(answer) => &mut answer.balance,
        Told::Committed(answer) => &mut answer.balance,
        Told::Released(answer) => &mut answer.balance,
        Told::Charged(answer) => &mut answer.balance,
        Told::Applied(answer) => &mut answer.balance,
        Told::Balance(balance) => balance,
        Told::Swept(_) => return,
    };
    balance.version = 0;
}

fn line_of(entry: &Entry) -> Line {
    let settlement = entry.settlement.as_ref().map(|told| {
        let receipt = told.receipt.clone();
        (told.commit, told.last, told.held_before, receipt)
    });
    Line {
        kind: entry.kind,
        credits: entry.credits,
        parts: entry
            .draws
            .iter()
            .map(|draw| (draw.grant_id.to_string(), draw.credits))
            .collect(),
        available_after: entry.available_after,
        debt_after: entry.debt_after,
        deal: entry.reservation_id.clone(),
        settlement,
        change: entry.change,
        reason: entry.reason.clone(),
    }
}

fn moved(at: Timestamp, offset_ms: i64) -> Timestamp {
    Timestamp::from_millis(at.millis() + offset_ms)
}
