//! The outbox: everything that the ledger does not have, told again until it says that it has.

use std::sync::Arc;

use tollgate::{
    clock::ManualClock,
    domain::{
        account::OveragePolicy,
        command::Reserve,
        entry::EntryKind,
        reservation::State,
        usage::{LABEL_BYTES_MAX, LABELS_MAX},
    },
    hot::{
        Certainty, OutboxBatch,
        memory::{MemoryHot, MemoryOptions},
    },
};

use super::on_every_backend;
use crate::support::{
    Backend, Fixture, Setup,
    account::{create, open, plan},
    account_id, block_on,
    commands::{acme, charge, commit, commit_open, release, reservation_id, reserve},
};

async fn acme_on_500(backend: &dyn Backend) -> Fixture {
    let fixture = backend.start(Setup::default()).await;
    let now = Setup::default().now;
    open(
        &fixture,
        &acme(),
        create(plan("starter", 500), OveragePolicy::Debt, now),
    )
    .await;
    fixture
}

/// A batch in short: its cursors, its entries, and the states of its reservations by id.
type Said = (
    u64,
    u64,
    Vec<(u64, EntryKind)>,
    Vec<(String, Option<State>)>,
);

fn said(batch: &OutboxBatch) -> Said {
    let entries = batch
        .entries
        .iter()
        .map(|entry| (entry.sequence, entry.kind))
        .collect();
    let mut reservations = Vec::new();
    for ((_, id), known) in batch.reservations.iter() {
        reservations.push((
            id.to_string(),
            known
                .as_ref()
                .map(|packed| packed.summary().expect("readable").state),
        ));
    }
    reservations.sort_by(|one, other| one.0.cmp(&other.0));
    (batch.from, batch.to, entries, reservations)
}

#[test]
fn it_repeats_until_it_is_trimmed() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        store
            .reserve(&reserve("r1", 60))
            .await
            .expect("no fault")
            .expect("held");
        store
            .commit(&commit_open("r1", 20, 0))
            .await
            .expect("no fault")
            .expect("charged");
        let first = store.outbox(0).await.expect("no fault");
        let entries = vec![(1, EntryKind::Grant), (2, EntryKind::Usage)];
        let (from, to, told, reservations) = said(&first);
        assert_eq!((from, told), (0, entries));
        let open = (!backend.keeps_reservations()).then(|| ("r1".to_owned(), Some(State::Open)));
        assert_eq!(reservations, Vec::from_iter(open));
        assert_eq!(
            said(&store.outbox(0).await.expect("no fault")),
            said(&first)
        );

        store.trim(first.cursor_at(to)).await.expect("no fault");
        let empty = store.outbox(0).await.expect("no fault");
        assert_eq!(said(&empty), (to, to, vec![], vec![]));
        store.trim(first.cursor_at(to)).await.expect("no fault");
        store.trim(first.cursor_at(0)).await.expect("no fault");
        assert_eq!(
            said(&store.outbox(0).await.expect("no fault")),
            (to, to, vec![], vec![])
        );
        assert_eq!(store.stats().await.expect("no fault").outbox, 0);
    });
}

#[test]
fn a_trim_drops_what_the_batch_had_and_nothing_newer() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        store
            .reserve(&reserve("r1", 60))
            .await
            .expect("no fault")
            .expect("held");
        store
            .reserve(&reserve("r2", 60))
            .await
            .expect("no fault")
            .expect("held");
        let before = store.outbox(0).await.expect("no fault");
        // The ledger is writing that batch; meanwhile one of its reservations moves on.
        store
            .commit(&commit("r1", 45))
            .await
            .expect("no fault")
            .expect("charged");
        store
            .charge(&charge("c1", 5))
            .await
            .expect("no fault")
            .expect("charged");
        store.trim(before.end()).await.expect("no fault");
        let (from, to, entries, reservations) = said(&store.outbox(0).await.expect("no fault"));
        assert_eq!(from, before.to);
        assert!(to > from);
        assert_eq!(entries, [(2, EntryKind::Usage), (3, EntryKind::Usage)]);
        let committed = Some(State::Committed);
        let expected = [("c1".to_owned(), committed), ("r1".to_owned(), committed)];
        let shown = if backend.keeps_reservations() { 0 } else { 2 };
        assert_eq!(reservations, expected[..shown]);
    });
}

#[test]
fn a_mark_says_what_the_ledger_must_have_reached() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        let mut last = 0;
        for n in 0..5u64 {
            let id = format!("r{n}");
            store
                .reserve(&reserve(&id, 10))
                .await
                .expect("no fault")
                .expect("held");
            let done = store
                .commit(&commit(&id, 5))
                .await
                .expect("no fault")
                .expect("charged");
            assert!(done.mark.position > last, "a settlement is in the outbox");
            last = done.mark.position;
            let batch = store.outbox(done.mark.shard).await.expect("no fault");
            assert!(batch.to >= last);
            let sequence = done.value.receipt.sequence;
            assert!(batch.entries.iter().any(|entry| entry.sequence == sequence));
            if n % 2 == 0 {
                store.trim(batch.cursor_at(last)).await.expect("no fault");
                let rest = store.outbox(done.mark.shard).await.expect("no fault");
                assert!(rest.from >= last && rest.entries.is_empty());
            }
            // A repeated answer is durable only once its first answer is.
            let again = store
                .commit(&commit(&id, 5))
                .await
                .expect("no fault")
                .expect("replayed");
            assert!(again.value.replayed && again.mark.position >= last);
        }
    });
}

#[test]
fn what_changed_nothing_says_nothing() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        store
            .reserve(&reserve("r1", 60))
            .await
            .expect("no fault")
            .expect("held");
        store
            .release(&release("r1"))
            .await
            .expect("no fault")
            .expect("released");
        let batch = store.outbox(0).await.expect("no fault");
        store.trim(batch.end()).await.expect("no fault");
        store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("loaded");
        let denied = store
            .reserve(&reserve("r2", 501))
            .await
            .expect("no fault")
            .expect("answered");
        assert!(denied.value.result.is_err());
        store
            .reserve(&reserve("r1", 60))
            .await
            .expect("no fault")
            .expect("replayed");
        store
            .release(&release("r1"))
            .await
            .expect("no fault")
            .expect("replayed");
        store
            .commit(&commit("r1", 5))
            .await
            .expect("no fault")
            .expect_err("it was released");
        let nothing = store.outbox(0).await.expect("no fault");
        assert_eq!(said(&nothing), (batch.to, batch.to, vec![], vec![]));
    });
}

#[test]
fn every_shard_has_its_own() {
    on_every_backend(async |backend| {
        let setup = Setup {
            shards: 8,
            ..Setup::default()
        };
        let fixture = backend.start(setup).await;
        let store = &fixture.store;
        assert_eq!(store.shards(), 8);
        let new = create(plan("starter", 500), OveragePolicy::Debt, setup.now);
        for n in 0..64 {
            open(&fixture, &account_id(&format!("a{n}")), new.clone()).await;
        }
        let mut seen = 0;
        let mut used = 0;
        for shard in 0..store.shards() {
            let batch = store.outbox(shard).await.expect("no fault");
            assert_eq!(batch.shard, shard);
            used += usize::from(!batch.entries.is_empty());
            seen += batch.entries.len();
            for entry in batch.entries.iter() {
                let done = store
                    .balance(&entry.account_id)
                    .await
                    .expect("no fault")
                    .expect("ok");
                assert_eq!(done.mark.shard, shard, "an account stays in one shard");
            }
        }
        assert_eq!(seen, 64);
        assert!(used > 1, "accounts are spread");
    });
}

/// The shards have one bound together, and what the settler may take at once is not much more than
/// that: entries and reservations as long as they can be.
#[test]
fn what_waits_in_memory_is_bounded() {
    let bound = 1 << 20;
    let (setup, options) = (Setup::default(), MemoryOptions::default());
    let clock = Arc::new(ManualClock::new(setup.now));
    let options = MemoryOptions {
        outbox_bytes_max: bound,
        ..options
    };
    let store = Arc::new(MemoryHot::new(options, clock.clone()));
    let fixture = Fixture { store, clock };
    block_on(async {
        let new = create(plan("pro", 1_000_000), OveragePolicy::Debt, setup.now);
        let accounts = [acme(), account_id("other"), account_id("third")];
        for account_id in &accounts {
            open(&fixture, account_id, new.clone()).await;
        }
        let store = &fixture.store;
        let longest = |number: usize, from: char| format!("{from}{number:0>LABEL_BYTES_MAX$}");
        let label = |n: usize| (longest(n, 'k'), longest(n, 'v'));
        let mut long = charge("c", 1);
        let mut action = (*long.action).clone();
        action.labels = (0..LABELS_MAX).map(label).collect();
        long.action = Arc::new(action);
        let mut charged = 0;
        let full = loop {
            long.account_id = accounts[charged % 2].clone();
            long.charge_id = reservation_id(&format!("c{charged}"));
            match store.charge(&long).await {
                Ok(done) => assert!(done.expect("charged").value.result.is_ok()),
                Err(fault) => break fault,
            }
            charged += 1;
        };
        assert_eq!(full.certainty, Certainty::Determinate);
        assert!(full.to_string().contains("the outbox is full"), "{full}");
        assert!(charged > 50, "{charged}");
        let mut taken = Vec::new();
        for shard in 0..store.shards() {
            taken.push(store.outbox(shard).await.expect("no fault"));
        }
        let lines = taken.iter().flat_map(|batch| batch.entries.iter());
        let kept = taken.iter().flat_map(|batch| batch.reservations.iter());
        let kept = kept.filter_map(|(_, packed)| packed.as_ref());
        let written = lines.map(|line| line.packed().len()).sum::<usize>()
            + kept.map(|packed| packed.as_bytes().len()).sum::<usize>();
        assert!((bound..2 * bound).contains(&written), "{written}");

        // No shard has room, and reads need none.
        let third = Reserve {
            account_id: accounts[2].clone(),
            ..reserve("r1", 1)
        };
        assert!(store.reserve(&third).await.is_err());
        assert!(store.balance(&accounts[2]).await.expect("no fault").is_ok());
        for batch in &taken {
            store.trim(batch.end()).await.expect("no fault");
        }
        let held = store.reserve(&third).await.expect("no fault");
        assert!(held.expect("answered").value.result.is_ok());
    });
}
