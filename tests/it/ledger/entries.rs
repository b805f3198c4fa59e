//! Lists of entries: filtered, paged, and by conversation.

use tollgate::{
    domain::entry::EntryKind,
    ledger::{EntryFilter, EntryPage, LedgerFault, PageToken, Recorded},
};

use super::{
    Backend,
    world::{START, World, account_id, refund, reservation_id},
};

/// Every page of a list.
async fn pages(world: &World, filter: &EntryFilter, max: usize) -> Vec<Vec<Recorded>> {
    all(async |token| world.ledger.entries(filter, token, max).await).await
}

/// Every page, each token passed through its text.
async fn all(
    read: impl AsyncFn(Option<PageToken>) -> Result<EntryPage, LedgerFault>,
) -> Vec<Vec<Recorded>> {
    let mut pages = Vec::new();
    let mut token = None;
    loop {
        let page = read(token).await.unwrap();
        pages.push(page.entries);
        let Some(next) = page.next else { break };
        token = Some(PageToken::new(&next.to_string()).unwrap());
    }
    pages
}

async fn list(world: &World, filter: EntryFilter) -> Vec<(String, u64)> {
    let mut whole = pages(world, &filter, 1000).await;
    assert_eq!(whole.len(), 1);
    let name = |recorded: Recorded| {
        (
            recorded.entry.account_id.to_string(),
            recorded.entry.sequence,
        )
    };
    whole.remove(0).into_iter().map(name).collect()
}

pub async fn entries_are_paged_newest_first(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 500).await;
    for round in 0..10 {
        world.now = START.plus_millis(round / 2);
        world.charge("acme", &format!("c{round}"), 1);
        world.charge("other", &format!("c{round}"), 1);
        if round % 3 == 0 {
            world.flush().await;
        }
    }
    world.flush().await;
    let acme = EntryFilter {
        account_id: Some(account_id("acme")),
        ..EntryFilter::default()
    };
    for (filter, count) in [(acme, 11), (EntryFilter::default(), 22)] {
        let whole = pages(&world, &filter, 100).await.concat();
        assert_eq!(whole.len(), count);
        for size in [1, 2, 5, 11, 22] {
            let cut = pages(&world, &filter, size).await;
            assert!(
                cut.iter()
                    .all(|page| page.len() <= size && !page.is_empty())
            );
            assert_eq!(cut.concat(), whole);
        }
        let newest = |pair: &[Recorded]| {
            let [newer, older] = pair else { return false };
            newer.entry.occurred_at >= older.entry.occurred_at
                && (newer.entry.account_id != older.entry.account_id
                    || newer.entry.sequence > older.entry.sequence)
        };
        assert!(whole.windows(2).all(newest));
        assert!(
            whole
                .iter()
                .all(|recorded| recorded.recorded_at >= recorded.entry.occurred_at)
        );
    }
    for text in [
        "",
        "e",
        "1-2-3",
        "e1",
        "e1-2",
        "e1-2-",
        "e1-2-3-4",
        "e-1-2-3",
        "e+1-2-3",
        "e01-2-3",
        "e1-02-3",
        "e1-2-03",
        "e1-2-F",
        "e1-2-3x",
        "e1-2-11111111111111111",
    ] {
        PageToken::new(text).unwrap_err();
    }
}

pub async fn entries_are_filtered(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 500).await;
    world.now = START.plus_millis(10);
    world.charge("acme", "c1", 1);
    world.now = START.plus_millis(20);
    world.conversation = "chat-2".to_owned();
    world.charge("acme", "c2", 1);
    world.charge("other", "c1", 1);
    world.flush().await;
    let acme = Some(account_id("acme"));
    let all = EntryFilter::default();
    let entries = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        pairs
            .iter()
            .map(|(account, sequence)| ((*account).to_owned(), *sequence))
            .collect()
    };
    let of_c1 = EntryFilter {
        reservation_id: Some(reservation_id("c1")),
        ..all.clone()
    };
    assert_eq!(
        list(&world, of_c1.clone()).await,
        entries(&[("other", 2), ("acme", 2)])
    );
    let of_acme = EntryFilter {
        account_id: acme.clone(),
        ..of_c1
    };
    assert_eq!(list(&world, of_acme).await, entries(&[("acme", 2)]));
    let chat = EntryFilter {
        conversation_id: Some("chat-2".to_owned()),
        ..all.clone()
    };
    assert_eq!(
        list(&world, chat.clone()).await,
        entries(&[("other", 2), ("acme", 3)])
    );
    let of_acme = EntryFilter {
        account_id: acme,
        ..chat
    };
    assert_eq!(list(&world, of_acme).await, entries(&[("acme", 3)]));
    let grants = EntryFilter {
        kinds: vec![EntryKind::Grant, EntryKind::Void],
        ..all.clone()
    };
    assert_eq!(
        list(&world, grants).await,
        entries(&[("other", 1), ("acme", 1)])
    );
    let middle = EntryFilter {
        from: Some(START.plus_millis(10)),
        until: Some(START.plus_millis(20)),
        ..all.clone()
    };
    assert_eq!(list(&world, middle).await, entries(&[("acme", 2)]));
    let none = EntryFilter {
        conversation_id: Some("chat-3".to_owned()),
        ..all
    };
    assert_eq!(list(&world, none).await, []);
}

/// Of a reservation that was settled in steps, refunded, forgotten and settled anew, next to one that
/// has the same id.
pub async fn a_reservation_has_all_its_entries(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 500).await;
    for (account, round) in [("acme", 1), ("other", 1), ("acme", 2)] {
        world.now = START.plus_millis(round);
        if round == 2 {
            world
                .change(account, Some("refund:1"), refund("r1", 8))
                .await;
            world.forget(account, "r1");
        }
        world.reserve(account, "r1", 60);
        world.commit(account, "r1", 20, true);
        world.flush().await;
        world.commit(account, "r1", 30, true);
        world.commit(account, "r1", 35, false);
        world.charge(account, &format!("c{round}"), 1);
        world.flush().await;
    }
    world.check().await;
    let all = pages(&world, &EntryFilter::default(), 1000).await.concat();
    for account in [None, Some("acme"), Some("other")] {
        let filter = EntryFilter {
            account_id: account.map(account_id),
            reservation_id: Some(reservation_id("r1")),
            ..EntryFilter::default()
        };
        let is_its = |recorded: &&Recorded| {
            let entry = &recorded.entry;
            entry.reservation_id == filter.reservation_id
                && filter
                    .account_id
                    .as_ref()
                    .is_none_or(|id| entry.account_id == *id)
        };
        let expected: Vec<Recorded> = all.iter().filter(is_its).cloned().collect();
        assert!(expected.len() >= 3, "{expected:?}");
        for size in [1, 2, 100] {
            assert_eq!(pages(&world, &filter, size).await.concat(), expected);
        }
    }
}

pub async fn a_conversation_has_its_refunds(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 20);
    world.flush().await;
    world.now = START.plus_millis(1000);
    world.conversation = "chat-2".to_owned();
    world.charge("acme", "c2", 5);
    world
        .change("acme", Some("refund:1"), refund("c1", 8))
        .await;
    world.flush().await;
    // One whose settlement comes in the same batch.
    world.forget("acme", "c2");
    world.charge("acme", "c2", 5);
    world.check().await;
    let first = conversation(&world, "chat-1").await;
    let credits = |all: &[Recorded]| -> Vec<i64> {
        all.iter().map(|recorded| recorded.entry.credits).collect()
    };
    assert_eq!(credits(&first), [-20, 8]);
    assert_eq!(first[1].entry.actor, "ann");
    assert_eq!(first[1].recorded_at, world.now);
    let second = conversation(&world, "chat-2").await;
    assert_eq!(credits(&second), [-5, -5, 5]);
    assert_eq!(conversation(&world, "chat-3").await, []);
    for size in [1, 2, 3] {
        let pages = all(async |token| world.ledger.conversation("chat-2", token, size).await).await;
        assert!(pages.iter().all(|page| page.len() <= size), "{pages:?}");
        assert_eq!(pages.concat(), second);
    }
}

/// A whole one.
pub async fn conversation(world: &World, id: &str) -> Vec<Recorded> {
    let page = world.ledger.conversation(id, None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.entries
}
