//! Settlements that come again, after the hot store has forgotten the reservation.

use tollgate::{
    domain::{
        account::OveragePolicy,
        change::{Change, ChangeBody, Refund},
        entry::EntryKind,
    },
    ledger::EntryFilter,
};

use super::{
    Backend,
    world::{World, account_id, refund, reservation_id},
};

fn as_refund(change: &Change) -> &Refund {
    match &change.body {
        ChangeBody::Refund(refund) => refund,
        other => panic!("not a refund: {other:?}"),
    }
}

/// What a reservation costs in the end: its usage less its refunds.
async fn cost(world: &World, reservation: &str) -> i64 {
    let filter = EntryFilter {
        reservation_id: Some(reservation_id(reservation)),
        ..EntryFilter::default()
    };
    let page = world.ledger.entries(&filter, None, 100).await.unwrap();
    -page
        .entries
        .iter()
        .map(|recorded| recorded.entry.credits)
        .sum::<i64>()
}

pub async fn a_duplicate_of_an_ended_settlement_is_reversed_whole(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 45, false);
    world.flush().await;
    world.forget("acme", "r1");
    world.commit("acme", "r1", 45, false);
    let settled = world.flush().await;
    let refund = as_refund(&settled.reversals[0]);
    assert_eq!(settled.reversals[0].number, 2);
    assert_eq!(refund.credits(), 45);
    assert_eq!(refund.reason, "duplicate settlement of r1");
    assert_eq!(refund.actor, "tollgate");
    world.check().await;
    assert_eq!(world.available("acme"), 455);
    assert_eq!(cost(&world, "r1").await, 45);
    // The same once more: the earlier reversal does not count as one of this.
    world.forget("acme", "r1");
    world.commit("acme", "r1", 45, false);
    assert_eq!(world.flush().await.reversals.len(), 1);
    world.check().await;
    assert_eq!(world.available("acme"), 455);
}

pub async fn a_duplicate_within_one_batch_is_reversed(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    world.forget("acme", "c1");
    world.charge("acme", "c1", 10);
    world.charge("acme", "c2", 5);
    let settled = world.flush().await;
    assert_eq!(settled.entries, 3);
    assert_eq!(settled.reversals.len(), 1);
    assert_eq!(as_refund(&settled.reversals[0]).credits(), 10);
    world.check().await;
    assert_eq!(world.available("acme"), 485);
}

pub async fn a_forgotten_open_reservation_is_charged_its_last_price(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 45, true);
    world.flush().await;
    world.forget("acme", "r1");
    world.commit("acme", "r1", 60, false);
    let settled = world.flush().await;
    assert_eq!(as_refund(&settled.reversals[0]).credits(), 45);
    world.check().await;
    assert_eq!(cost(&world, "r1").await, 60);
    assert_eq!(world.available("acme"), 440);
}

pub async fn a_forgotten_reservation_costs_what_its_end_reports(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    for (reservation, used) in [("r1", 20), ("r2", 0), ("r3", 30)] {
        world.reserve("acme", reservation, 60);
        world.commit("acme", reservation, 30, true);
        world.flush().await;
        world.forget("acme", reservation);
        if reservation == "r1" {
            // Not the end: an older report takes nothing back.
            world.commit("acme", reservation, 10, true);
            let settled = world.flush().await;
            assert_eq!(as_refund(&settled.reversals[0]).credits(), 10);
        }
        world.commit("acme", reservation, used, false);
        world.flush().await;
        world.check().await;
        assert_eq!(
            cost(&world, reservation).await,
            used as i64,
            "{reservation}"
        );
    }
    assert_eq!(world.available("acme"), 450);
}

pub async fn a_forgotten_reservation_that_is_charged_in_steps(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 20, true);
    world.commit("acme", "r1", 45, true);
    world.flush().await;
    world.forget("acme", "r1");
    // 20 and 10 were charged before; of the next 30 it is 15.
    let mut reversed = Vec::new();
    for (used, keep_open) in [(20, true), (30, true), (60, true), (80, false)] {
        world.commit("acme", "r1", used, keep_open);
        let settled = world.flush().await;
        reversed.push(
            settled
                .reversals
                .first()
                .map_or(0, |change| as_refund(change).credits()),
        );
    }
    assert_eq!(reversed, [20, 10, 15, 0]);
    world.check().await;
    assert_eq!(cost(&world, "r1").await, 80);
}

pub async fn a_duplicate_that_charged_nothing_needs_no_reversal(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 0);
    world.flush().await;
    world.forget("acme", "c1");
    world.charge("acme", "c1", 0);
    assert_eq!(world.flush().await.reversals, []);
    world.check().await;
    // Debt is taken back as debt.
    world.charge("acme", "c2", 600);
    world.flush().await;
    world.forget("acme", "c2");
    world.charge("acme", "c2", 600);
    assert_eq!(world.books[&account_id("acme")].account().head.debt, 700);
    let settled = world.flush().await;
    assert_eq!(as_refund(&settled.reversals[0]).of_debt, 600);
    world.check().await;
    assert_eq!(world.books[&account_id("acme")].account().head.debt, 100);
}

pub async fn a_settlement_after_the_end_is_a_duplicate(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "r1", 45);
    world.flush().await;
    world.forget("acme", "r1");
    world.commit("acme", "r1", 30, true);
    world.commit("acme", "r1", 70, false);
    let settled = world.flush().await;
    let credits: Vec<u64> = settled
        .reversals
        .iter()
        .map(|change| as_refund(change).credits())
        .collect();
    assert_eq!(credits, [30, 40]);
    world.check().await;
    assert_eq!(world.available("acme"), 455);
    let filter = EntryFilter {
        kinds: vec![EntryKind::Refund],
        ..EntryFilter::default()
    };
    let refunds = world
        .ledger
        .entries(&filter, None, 10)
        .await
        .unwrap()
        .entries;
    assert_eq!(refunds.len(), 2);
}

/// What a store that has gone back settles anew, from a commit that is not its reservation's first.
pub async fn commits_after_an_older_state_are_reversed(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    // (what is lost, whether it ended, what comes then), and what goes back each time.
    let rows: [(&str, u64, bool, &[(u64, bool)], &[u64]); 5] = [
        ("again", 30, false, &[(30, false)], &[20]),
        ("open", 30, true, &[(30, true), (35, false)], &[20, 0]),
        ("less", 30, true, &[(25, false)], &[20]),
        ("more", 30, true, &[(45, true), (45, false)], &[20, 0]),
        ("steps", 30, true, &[(20, true), (40, false)], &[10, 10]),
    ];
    for (id, lost, keep_open, then, expected) in rows {
        world.reserve("acme", id, 50);
        world.commit("acme", id, 10, true);
        world.flush().await;
        let older = world.known("acme", id);
        world.commit("acme", id, lost, keep_open);
        world.flush().await;
        world.go_back("acme", older);
        let mut reversed = Vec::new();
        for (used, keep_open) in then {
            world.commit("acme", id, *used, *keep_open);
            let settled = world.flush().await;
            let change = settled.reversals.first();
            reversed.push(change.map_or(0, |change| as_refund(change).credits()));
        }
        assert_eq!(reversed, expected, "{id}");
        world.check().await;
        let price = then.last().unwrap().0;
        assert_eq!(cost(&world, id).await, price as i64, "{id}");
    }
}

/// What one account's reservation is charged, refunded and charged at last, and what is there for it.
#[derive(Clone, Copy, Debug)]
struct Course {
    allowance: u64,
    overage: OveragePolicy,
    charged: u64,
    refunded: u64,
    then: Option<u64>,
    last: u64,
}

fn courses() -> Vec<Course> {
    let mut courses = Vec::new();
    for overage in [OveragePolicy::Debt, OveragePolicy::Absorb] {
        for allowance in [40, 60, 100, 110, 150, 500] {
            for (refunded, then) in [
                (0, None),
                (60, None),
                (25, None),
                (0, Some(50)),
                (0, Some(70)),
            ] {
                for last in [5, 60, 100] {
                    courses.push(Course {
                        allowance,
                        overage,
                        charged: 60,
                        refunded: refunded.min(allowance),
                        then,
                        last,
                    });
                }
            }
        }
    }
    courses
}

/// Of two accounts with the same course one's reservation is forgotten after it was first charged.
pub async fn whoever_forgets_charges_what_others_do(backend: Box<dyn Backend>) {
    let mut world = World::new(backend.ledger());
    play(&mut world, &courses(), false).await;
}

/// The same where the ledger gets all that comes after that at once. Only of a debt, and of no partial
/// report beyond what was charged: of the others it can't tell whether they found applied what went back
/// before them.
pub async fn whoever_forgets_charges_the_same_at_once(backend: Box<dyn Backend>) {
    let mut world = World::new(backend.ledger());
    let mut courses = courses();
    courses.retain(|course| {
        course.overage == OveragePolicy::Debt
            && course.then.is_none_or(|then| then <= course.charged)
    });
    play(&mut world, &courses, true).await;
}

async fn play(world: &mut World, courses: &[Course], at_once: bool) {
    let names = |number: usize| [format!("knows{number}"), format!("forgets{number}")];
    for (number, course) in courses.iter().enumerate() {
        for name in names(number) {
            let mut creation = world.creation(course.allowance);
            creation.overage = course.overage;
            world.create_as(&name, creation).await;
            world.commit(&name, &name, course.charged, true);
        }
    }
    world.flush().await;
    for (number, course) in courses.iter().enumerate() {
        for name in names(number).iter().filter(|_| course.refunded > 0) {
            let wanted = refund(name, course.refunded);
            world.change(name, Some("refund"), wanted).await;
        }
        let [_, forgets] = names(number);
        world.forget(&forgets, &forgets);
    }
    for is_last in [false, true] {
        for (number, course) in courses.iter().enumerate() {
            for name in names(number) {
                if is_last {
                    world.commit(&name, &name, course.last, false);
                } else if let Some(then) = course.then {
                    world.commit(&name, &name, then, true);
                }
            }
        }
        if !at_once {
            world.flush().await;
        }
    }
    world.check().await;
    for (number, course) in courses.iter().enumerate() {
        let worth = names(number).map(|name| {
            let account = world.books[&account_id(&name)].account();
            (account.available(world.now), account.head.debt)
        });
        assert_eq!(worth[0], worth[1], "{course:?}");
    }
}

pub async fn a_correction_before_the_reversal_gives_back_once(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 30, false);
    world.flush().await;
    world.forget("acme", "r1");
    // The ledger has neither when the second one gives back 12 of the first one's 20.
    world.commit("acme", "r1", 20, true);
    world.commit("acme", "r1", 8, false);
    let settled = world.flush().await;
    assert_eq!(settled.reversals.len(), 1);
    world.check().await;
    assert_eq!(cost(&world, "r1").await, 30);
    assert_eq!(world.available("acme"), 470);
}
