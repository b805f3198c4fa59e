//! The audit is silent about what is right, and says what is wrong.

use super::{
    Backend,
    world::{World, pack, refund},
};

/// Some of everything.
pub async fn busy(backend: &dyn Backend) -> World {
    let mut world = World::new(backend.ledger());
    for name in ["a", "b", "c"] {
        world.create(name, 500).await;
        world.grant(name, pack("pack-1", 100)).await;
        world.reserve(name, "r1", 60);
        world.commit(name, "r1", 20, true);
        world.commit(name, "r1", 45, false);
        world.reserve(name, "r2", 30);
        world.reserve(name, "open", 25);
        world.release(name, "r2");
        world.flush().await;
        world.change(name, Some("refund:1"), refund("r1", 10)).await;
        world.charge(name, "c1", 700);
        world.forget(name, "r1");
        world.commit(name, "r1", 45, false);
        world.flush().await;
    }
    world
}

pub async fn a_busy_ledger_has_no_findings(backend: Box<dyn Backend>) {
    let mut world = busy(backend.as_ref()).await;
    world.check().await;
    for name in ["a", "b", "c"] {
        world.renew(name);
        world.commit(name, "open", 30, false);
    }
    world.check().await;
}

pub async fn corruption_is_found(backend: Box<dyn Backend>) {
    let mut world = busy(backend.as_ref()).await;
    corrupt(backend.as_ref(), &mut world).await;
}

/// Corrupts what [`busy`] has left, in one way after the other.
pub async fn corrupt(backend: &dyn Backend, world: &mut World) {
    world.check().await;
    // Each one is undone by its second statement.
    let corruptions = [
        (
            1,
            "UPDATE grants SET used = used + 10000 WHERE grant_id = 'pack-1'",
            "UPDATE grants SET used = used - 10000 WHERE grant_id = 'pack-1'",
        ),
        (
            4,
            "UPDATE grants SET used = used - 1 WHERE account_id = 'b' AND grant_id = 'plan:0'",
            "UPDATE grants SET used = used + 1 WHERE account_id = 'b' AND grant_id = 'plan:0'",
        ),
        (
            4,
            "UPDATE accounts SET sequence = sequence + 1 WHERE account_id = 'b'",
            "UPDATE accounts SET sequence = sequence - 1 WHERE account_id = 'b'",
        ),
        (
            4,
            "UPDATE accounts SET debt = debt + 1 WHERE account_id = 'b'",
            "UPDATE accounts SET debt = debt - 1 WHERE account_id = 'b'",
        ),
        (
            4,
            "UPDATE accounts SET plan_id = 'pro' WHERE account_id = 'b'",
            "UPDATE accounts SET plan_id = 'starter' WHERE account_id = 'b'",
        ),
        (
            4,
            "UPDATE entries SET sequence = 999 WHERE account_id = 'b' AND sequence = 3",
            "UPDATE entries SET sequence = 3 WHERE account_id = 'b' AND sequence = 999",
        ),
        (
            4,
            "UPDATE entries SET credits = credits + 1 WHERE account_id = 'b' AND sequence = 3",
            "UPDATE entries SET credits = credits - 1 WHERE account_id = 'b' AND sequence = 3",
        ),
        (
            4,
            "UPDATE entries SET account_id = 'd' WHERE account_id = 'b'",
            "UPDATE entries SET account_id = 'b' WHERE account_id = 'd'",
        ),
        (
            5,
            "UPDATE entries SET ends = 1 WHERE account_id = 'b' AND reservation_id = 'r1'",
            "UPDATE entries SET ends = 0 WHERE account_id = 'b' AND reservation_id = 'r1'
             AND slot = 1",
        ),
        (
            6,
            "UPDATE accounts SET applied_change = last_change + 1 WHERE account_id = 'b'",
            "UPDATE accounts SET applied_change = last_change WHERE account_id = 'b'",
        ),
        (
            6,
            "UPDATE changes SET number = 99 WHERE account_id = 'b' AND number = 2",
            "UPDATE changes SET number = 2 WHERE account_id = 'b' AND number = 99",
        ),
        (
            1,
            "UPDATE grants SET expired = expired + 1 WHERE account_id = 'b' AND grant_id = 'plan:0'",
            "UPDATE grants SET expired = expired - 1 WHERE account_id = 'b' AND grant_id = 'plan:0'",
        ),
        (
            5,
            "UPDATE entries SET reservation_id = 'c2' WHERE reservation_id = 'c1'",
            "UPDATE entries SET reservation_id = 'c1' WHERE reservation_id = 'c2'",
        ),
    ];
    for (invariant, corrupt, restore) in corruptions {
        backend.tamper(corrupt).await;
        let findings = world.ledger.audit(100).await.unwrap();
        let found = findings
            .iter()
            .any(|finding| finding.invariant == invariant);
        assert!(found, "{corrupt}: {findings:?}");
        assert_eq!(world.ledger.audit(1).await.unwrap().len(), 1);
        backend.tamper(restore).await;
        assert_eq!(world.ledger.audit(100).await.unwrap(), [], "{restore}");
    }
}
