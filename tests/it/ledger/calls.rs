//! The audit log: written together, listed newest first, never changed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use futures_util::future::join_all;
use tollgate::{
    domain::account::Status,
    ledger::{AdminCall, CallFilter, ChangeRequest, Ledger, Submitted, Wanted},
};

use super::{
    Backend,
    world::{START, World, account_id, request},
};

fn call(number: u64) -> AdminCall {
    AdminCall {
        // Two of them at each instant.
        at: START.plus_millis(number / 2),
        principal: ["ann", "bob", ""][number as usize % 3].to_owned(),
        peer: "tcp 127.0.0.1:1".to_owned(),
        method: ["Refund", "ListAccounts"][number as usize % 2].to_owned(),
        account_id: ["acme", ""][number as usize % 2].to_owned(),
        key: format!("k{number}"),
        outcome: "OK".to_owned(),
        reason: "it's \"quoted\"".to_owned(),
        request_id: String::new(),
    }
}

async fn filled(ledger: &dyn Ledger, count: u64) -> Vec<AdminCall> {
    let mut calls: Vec<AdminCall> = (0..count).map(call).collect();
    ledger.log_calls(&[]).await.unwrap();
    ledger.log_calls(&calls[..1]).await.unwrap();
    ledger.log_calls(&calls[1..]).await.unwrap();
    calls.reverse();
    calls
}

pub async fn calls_are_paged_newest_first(backend: Box<dyn Backend>) {
    let ledger = backend.ledger();
    // More than one statement takes.
    let expected = filled(ledger.as_ref(), 1203).await;
    for size in [1, 7, 500, 1203, 2000] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = ledger
                .calls(&CallFilter::default(), after, size)
                .await
                .unwrap();
            assert!(page.calls.len() <= size);
            found.extend(page.calls);
            after = page.next;
            // Paging by one is tried on the first few.
            if after.is_none() || (size == 1 && found.len() == 20) {
                break;
            }
        }
        let whole = if size == 1 { 20 } else { 1203 };
        assert_eq!(found, expected[..whole], "pages of {size}");
    }
}

pub async fn a_change_and_its_line_are_written_together(backend: Box<dyn Backend>) {
    let world = World::with_acme(backend.ledger()).await;
    let ledger = &world.ledger;
    let submit = |request| ledger.submit(request, world.now);
    let lines = async || {
        let page = ledger.calls(&CallFilter::default(), None, 100).await;
        page.unwrap().calls
    };
    let asked = |number: u64, account: &str, key: &str, status: Status| {
        let wanted = Wanted::SetStatus {
            status,
            reason: key.to_owned(),
        };
        ChangeRequest {
            call: Some(call(number)),
            ..request(account, Some(key), wanted)
        }
    };
    let first = asked(1, "acme", "one", Status::Suspended);
    assert!(matches!(submit(&first).await, Ok(Submitted::New(_))));
    assert_eq!(lines().await, [call(1)]);
    // What changes nothing leaves its line to whoever answers the call.
    assert!(matches!(submit(&first).await, Ok(Submitted::Known(_))));
    let nobody = asked(2, "nobody", "one", Status::Suspended);
    assert!(matches!(submit(&nobody).await, Ok(Submitted::Refused(_))));
    let mut other = first.clone();
    other.payload.push(("reason".to_owned(), "x".to_owned()));
    assert!(matches!(
        submit(&other).await,
        Ok(Submitted::Conflict { .. })
    ));
    assert_eq!(lines().await, [call(1)]);

    // Several at once, some of them new, and some that make their account.
    let creations = ["new-1", "new-2"].map(|account| ChangeRequest {
        call: Some(call(10)),
        ..request(account, None, Wanted::Create(world.creation(10)))
    });
    let second = asked(12, "acme", "two", Status::Active);
    let all = [&first, &creations[0], &nobody, &creations[1], &second].map(submit);
    let all = join_all(all).await;
    let new = |one: &&Result<Submitted, _>| matches!(one, Ok(Submitted::New(_)));
    assert_eq!(all.iter().filter(new).count(), 3);
    let written = [call(12), call(10), call(10), call(1)];
    assert_eq!(lines().await, written);

    // Where the line can't be written nothing is changed.
    backend
        .tamper("ALTER TABLE admin_calls RENAME TO away")
        .await;
    let third = asked(13, "acme", "three", Status::Suspended);
    submit(&third).await.unwrap_err();
    backend
        .tamper("ALTER TABLE away RENAME TO admin_calls")
        .await;
    assert!(matches!(submit(&third).await, Ok(Submitted::New(_))));
}

pub async fn calls_are_filtered(backend: Box<dyn Backend>) {
    let ledger = backend.ledger();
    let all = filled(ledger.as_ref(), 30).await;
    let filters: [(CallFilter, fn(&AdminCall) -> bool); 5] = [
        (
            CallFilter {
                account_id: Some(account_id("acme")),
                ..CallFilter::default()
            },
            |call| call.account_id == "acme",
        ),
        (
            CallFilter {
                principal: Some("bob".to_owned()),
                ..CallFilter::default()
            },
            |call| call.principal == "bob",
        ),
        (
            CallFilter {
                method: Some("ListAccounts".to_owned()),
                ..CallFilter::default()
            },
            |call| call.method == "ListAccounts",
        ),
        (
            CallFilter {
                from: Some(START.plus_millis(3)),
                until: Some(START.plus_millis(9)),
                ..CallFilter::default()
            },
            |call| (START.plus_millis(3)..START.plus_millis(9)).contains(&call.at),
        ),
        (
            CallFilter {
                account_id: Some(account_id("acme")),
                principal: Some("ann".to_owned()),
                method: Some("ListAccounts".to_owned()),
                ..CallFilter::default()
            },
            |_| false,
        ),
    ];
    for (filter, is_meant) in filters {
        let expected: Vec<AdminCall> = all.iter().filter(|call| is_meant(call)).cloned().collect();
        let page = ledger.calls(&filter, None, 100).await.unwrap();
        assert_eq!((page.calls, page.next), (expected, None), "{filter:?}");
    }
}

pub async fn calls_are_never_changed(mut backend: Box<dyn Backend>) {
    let expected = filled(backend.ledger().as_ref(), 4).await;
    for sql in [
        "UPDATE admin_calls SET principal = 'eve'",
        "DELETE FROM admin_calls",
    ] {
        let mut tampering = backend.tamper(sql);
        let refused = std::future::poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| tampering.as_mut().poll(cx)));
            match polled {
                Ok(polled) => polled.map(|()| false),
                // It panics where the statement fails.
                Err(_) => Poll::Ready(true),
            }
        });
        assert!(refused.await, "{sql}");
    }
    backend.reopen().await;
    let ledger = backend.ledger();
    let page = ledger
        .calls(&CallFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(page.calls, expected);
}
