//! Settling: exactly once, whole or not at all.

use std::sync::Arc;

use tollgate::{domain::entry::Entry, hot::OutboxBatch, ledger::Settled};

use super::{
    Backend,
    world::{World, account_id, grant_id, pack, plan},
};

/// Changes one entry of a batch.
pub fn amend(batch: &mut OutboxBatch, index: usize, change: impl FnOnce(&mut Entry)) {
    let mut entries = batch.entries.to_vec();
    let mut entry = (**entries[index]).clone();
    change(&mut entry);
    entries[index] = Arc::new(entry.into());
    batch.entries = entries.into();
}

pub async fn entries_add_up_to_the_state(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 100)).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 45, false);
    world.reserve("acme", "r2", 30);
    world.release("acme", "r2");
    world.charge("acme", "c1", 700);
    world.check().await;
    assert_eq!(world.books[&account_id("acme")].account().head.debt, 145);
    world.grant("acme", pack("pack-2", 200)).await;
    world.check().await;
    assert_eq!(world.available("acme"), 55);
    world.renew("acme");
    let wanted = tollgate::ledger::Wanted::ChangePlan {
        plan: plan("pro", 5000),
        at_renewal: None,
    };
    world.change("acme", Some("plan:1"), wanted).await;
    world.check().await;
    assert_eq!(world.available("acme"), 5055);
}

pub async fn a_batch_is_settled_once(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    let batch = [world.take_batch()];
    let first = world.ledger.settle(&batch, world.now).await.unwrap();
    assert_eq!(
        first,
        Settled {
            entries: 1,
            ..Settled::default()
        }
    );
    let again = world.ledger.settle(&batch, world.now).await.unwrap();
    assert_eq!(
        again,
        Settled {
            cursor_conflict: true,
            ..Settled::default()
        }
    );
    assert_eq!(world.ledger.cursors().await.unwrap(), [batch[0].end()]);
    world.check().await;
}

pub async fn of_two_settlers_one_wins(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    for round in 0..20 {
        world.charge("acme", &format!("c{round}"), 1);
        let batch = [world.take_batch()];
        let (one, other) = tokio::join!(
            world.ledger.settle(&batch, world.now),
            world.ledger.settle(&batch, world.now)
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one.cursor_conflict, other.cursor_conflict);
        assert_eq!(one.entries + other.entries, 1);
    }
    world.check().await;
}

pub async fn a_gap_is_a_fault_that_names_the_account(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    world.charge("acme", "c2", 10);
    let whole = world.take_batch();
    let mut lacking = whole.clone();
    lacking.entries = lacking.entries[1..].into();
    let fault = world
        .ledger
        .settle(&[lacking], world.now)
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("account acme"), "{fault}");
    let mut torn = whole.clone();
    amend(&mut torn, 1, |entry| entry.sequence += 1);
    let fault = world.ledger.settle(&[torn], world.now).await.unwrap_err();
    assert!(fault.to_string().contains("account acme"), "{fault}");
    assert_eq!(
        world
            .ledger
            .settle(&[whole], world.now)
            .await
            .unwrap()
            .entries,
        2
    );
    world.check().await;
}

pub async fn an_unknown_account_is_a_fault(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    let mut strange = world.take_batch();
    amend(&mut strange, 0, |entry| {
        entry.account_id = account_id("nobody")
    });
    let fault = world
        .ledger
        .settle(&[strange.clone()], world.now)
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("account nobody"), "{fault}");
    amend(&mut strange, 0, |entry| {
        entry.account_id = account_id("acme")
    });
    amend(&mut strange, 0, |entry| {
        entry.moves[0].grant_id = grant_id("unknown")
    });
    let fault = world
        .ledger
        .settle(&[strange], world.now)
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("grant unknown"), "{fault}");
}

pub async fn batches_of_a_shard_must_follow_each_other(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    let first = world.take_batch();
    world.charge("acme", "c2", 10);
    let second = world.take_batch();
    let other = OutboxBatch {
        shard: 3,
        from: 0,
        to: 7,
        ..OutboxBatch::default()
    };
    let wrong = [second.clone(), first.clone()];
    world.ledger.settle(&wrong, world.now).await.unwrap_err();
    let right = [first, second.clone(), other.clone()];
    assert_eq!(
        world
            .ledger
            .settle(&right, world.now)
            .await
            .unwrap()
            .entries,
        2
    );
    assert_eq!(
        world.ledger.cursors().await.unwrap(),
        [second.end(), other.end()]
    );
    world.check().await;
}

pub async fn large_batches_are_settled_whole(backend: Box<dyn Backend>) {
    let mut world = World::new(backend.ledger());
    let names: Vec<String> = (0..300)
        .map(|number| format!("account-{number:03}"))
        .collect();
    for name in &names {
        world.create(name, 1000).await;
    }
    for round in 0..3 {
        for name in &names {
            let id = format!("{name}:{round}");
            world.reserve(name, &id, 50);
            world.commit(name, &id, 20 + round, round == 2);
        }
    }
    let settled = world.flush().await;
    assert_eq!(settled.entries, 1200);
    world.check().await;
    assert_eq!(
        world.ledger.reservations(None, 1000).await.unwrap().len(),
        900
    );
}

pub async fn a_failed_batch_leaves_nothing(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 100).await;
    world.flush().await;
    let cursors = world.ledger.cursors().await.unwrap();
    world.reserve("other", "r1", 10);
    world.commit("other", "r1", 10, false);
    world.charge("acme", "c1", 10);
    let whole = world.take_batch();
    let mut lacking = whole.clone();
    let others = whole.entries.iter();
    let others = others.filter(|entry| entry.account_id == account_id("other"));
    lacking.entries = others.cloned().collect();
    amend(&mut lacking, 0, |entry| entry.sequence += 5);
    world
        .ledger
        .settle(&[lacking], world.now)
        .await
        .unwrap_err();
    assert_eq!(world.ledger.cursors().await.unwrap(), cursors);
    assert_eq!(world.ledger.reservations(None, 10).await.unwrap(), []);
    world.ledger.settle(&[whole], world.now).await.unwrap();
    let kept = world.ledger.reservations(None, 10).await.unwrap();
    let mut ids: Vec<&str> = kept.iter().map(|((_, id), _)| id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["c1", "r1"]);
    world.check().await;
}
