//! Epochs: whose entries a ledger takes, and up to where an older history is its own.

use tollgate::{
    hot::{Commits, Cursor, Fence, OutboxBatch},
    ledger::Settled,
};

use super::{Backend, world::World};
use crate::support::{account_id, commands::reservation_id};

fn fence(shard: u32, epoch: u64, server: &str) -> Fence {
    Fence {
        shard,
        epoch,
        server: server.to_owned(),
    }
}

/// Settles one batch under an epoch.
async fn settle(world: &World, batch: &OutboxBatch, epoch: u64) -> Settled {
    let batch = OutboxBatch {
        epoch,
        ..batch.clone()
    };
    world.ledger.settle(&[batch], world.now).await.unwrap()
}

pub async fn a_fence_ends_every_epoch_before_it(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 10);
    let batch = world.take_batch();
    assert!(world.ledger.fence(&[fence(0, 0, "b")]).await.unwrap());
    let refused = settle(&world, &batch, 0).await;
    assert!(refused.cursor_conflict, "{refused:?}");
    assert_eq!(refused.entries, 0);
    let fenced = Cursor {
        epoch: 1,
        ..batch.start()
    };
    assert_eq!(world.ledger.cursors().await.unwrap(), [fenced]);

    assert!(!world.ledger.fence(&[fence(0, 0, "c")]).await.unwrap());
    let taken = settle(&world, &batch, 1).await;
    assert!(!taken.cursor_conflict, "{taken:?}");
    assert_eq!(taken.entries, 1);
    let standing = world.ledger.standing(0, 1).await.unwrap();
    assert_eq!(standing.server, "b");
    assert_eq!(standing.cursor.position, batch.to);
    assert_eq!(world.ledger.audit(10).await.unwrap(), []);
}

pub async fn several_shards_are_fenced_together_or_not_at_all(backend: Box<dyn Backend>) {
    let world = World::with_acme(backend.ledger()).await;
    assert!(world.ledger.fence(&[fence(7, 0, "a")]).await.unwrap());
    let before = world.ledger.cursors().await.unwrap();
    let some = [fence(5, 0, "b"), fence(7, 0, "b")];
    assert!(!world.ledger.fence(&some).await.unwrap());
    assert_eq!(world.ledger.cursors().await.unwrap(), before);
    let both = [fence(7, 1, "b"), fence(5, 0, "b")];
    assert!(world.ledger.fence(&both).await.unwrap());
    let cursors = world.ledger.cursors().await.unwrap();
    let epochs: Vec<(u32, u64)> = cursors.iter().map(|at| (at.shard, at.epoch)).collect();
    assert_eq!(epochs, [(0, 0), (5, 1), (7, 2)]);
}

pub async fn a_history_agrees_up_to_the_first_fence_after_it(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    let ledger = world.ledger.clone();
    let agreed = async |epoch: u64| ledger.standing(0, epoch).await.unwrap().agreed;
    let start = ledger.cursors().await.unwrap()[0].position;
    assert_eq!(agreed(0).await, start, "nobody has fenced it");

    assert!(ledger.fence(&[fence(0, 0, "a")]).await.unwrap());
    world.charge("acme", "c1", 10);
    let batch = world.take_batch();
    settle(&world, &batch, 1).await;
    let first = ledger.cursors().await.unwrap()[0].position;
    assert_eq!((agreed(0).await, agreed(1).await), (start, first));

    // Two fences at one place: who had either epoch has all that the ledger has.
    assert!(ledger.fence(&[fence(0, 1, "b")]).await.unwrap());
    assert!(ledger.fence(&[fence(0, 2, "c")]).await.unwrap());
    assert_eq!((agreed(1).await, agreed(2).await), (first, first));
    world.charge("acme", "c2", 10);
    let batch = world.take_batch();
    settle(&world, &batch, 3).await;
    let last = ledger.cursors().await.unwrap()[0].position;
    assert_eq!((agreed(0).await, agreed(1).await), (start, first));
    assert_eq!((agreed(2).await, agreed(3).await), (first, last));
    let unknown = ledger.standing(9, 4).await.unwrap();
    assert_eq!((unknown.cursor.epoch, unknown.agreed), (0, 0));
    assert_eq!(world.ledger.audit(10).await.unwrap(), []);
}

pub async fn accounts_and_commits_are_found_by_their_ids(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("beta", 70).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 20, true);
    world.commit("acme", "r1", 30, true);
    world.charge("acme", "c1", 5);
    world.reserve("acme", "r2", 60);
    world.flush().await;
    let ids = ["beta", "nobody", "acme"].map(account_id);
    let mut found = world.ledger.accounts_of(&ids).await.unwrap();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    let acme = world.ledger.account(&ids[2], world.now).await.unwrap();
    let beta = world.ledger.account(&ids[0], world.now).await.unwrap();
    assert_eq!(found, [acme.unwrap(), beta.unwrap()]);

    let ids = ["r1", "r2", "c1", "r3"].map(reservation_id);
    let acme = account_id("acme");
    let mut found = world.ledger.commits(&acme, &ids).await.unwrap();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let commits = |last, ended| Commits { last, ended };
    let expected = [
        (reservation_id("c1"), commits(1, true)),
        (reservation_id("r1"), commits(2, false)),
    ];
    assert_eq!(found, expected);
    let beta = account_id("beta");
    assert_eq!(world.ledger.commits(&beta, &ids).await.unwrap(), []);
}
