//! Lists, their pages, and the receipt that support reads.

use super::*;

#[test]
fn lists_are_checked() {
    let accounts = |page_size, page_token: &str| {
        let page_token = page_token.to_owned();
        list::accounts(&pb::ListAccountsRequest {
            page_size,
            page_token,
        })
    };
    assert_eq!(accounts(0, "").unwrap(), (None, 100));
    assert_eq!(accounts(5000, "acme").unwrap().1, 1000);
    assert_eq!(fields(accounts(-1, "a b")), ["page_size", "page_token"]);
    let none = pb::ListEntriesRequest {
        kinds: vec![0],
        from: at(5),
        until: at(5),
        page_token: "0.e1".to_owned(),
        ..pb::ListEntriesRequest::default()
    };
    let found = fields(list::entries(&none));
    assert_eq!(found, ["account_id", "kinds", "until", "page_token"]);
    let nothing = pb::ListAuditRequest {
        from: at(5),
        until: at(4),
        ..pb::ListAuditRequest::default()
    };
    assert_eq!(
        fields(crate::grpc::convert::audit::query(&nothing)),
        ["until"]
    );
    assert_eq!(
        fields(list::conversation(pb::GetConversationRequest::default())),
        ["conversation_id"]
    );
    let nothing = pb::GetConversationRequest {
        conversation_id: "c".to_owned(),
        page_size: -1,
        page_token: "1".to_owned(),
    };
    assert_eq!(
        fields(list::conversation(nothing)),
        ["page_size", "page_token"]
    );
}

#[test]
fn a_page_token_belongs_to_its_list() {
    let request = pb::ListEntriesRequest {
        account_id: "acme".to_owned(),
        ..pb::ListEntriesRequest::default()
    };
    let token = list::entries(&request)
        .unwrap()
        .token(PageToken::new("e3-19c111deb80-2a").unwrap());
    let next = pb::ListEntriesRequest {
        page_token: token.clone(),
        ..request.clone()
    };
    assert_eq!(
        list::entries(&next).unwrap().page,
        Some(PageToken::new("e3-19c111deb80-2a").unwrap())
    );
    // Another page size is the same list; another account is not.
    let wider = pb::ListEntriesRequest {
        page_size: 7,
        ..next.clone()
    };
    assert!(list::entries(&wider).is_ok());
    let other = pb::ListEntriesRequest {
        account_id: "other".to_owned(),
        ..next
    };
    assert_eq!(fields(list::entries(&other)), ["page_token"]);
    for wrong in [
        "",
        "e2a",
        "x.e2a",
        &token[1..],
        &format!("{token}0"),
        &"é".repeat(300),
    ] {
        let page_token = wrong.to_owned();
        let next = pb::ListEntriesRequest {
            page_token,
            ..request.clone()
        };
        let expected: &[&str] = if wrong.is_empty() {
            &[]
        } else {
            &["page_token"]
        };
        assert_eq!(fields(list::entries(&next)), expected, "{wrong:?}");
    }
}

fn settled(id: &str, output_tokens: u64, receipt: Receipt) -> Recorded {
    let mut usage = Usage::default();
    usage.set("output_tokens", output_tokens);
    let settlement = Settlement {
        commit: 1,
        last: true,
        action: Action::default().into(),
        amount: Amount::Usage(usage),
        outcome: Outcome::Succeeded,
        held_before: 0,
        receipt,
    };
    line(EntryKind::Usage, id, 0, Some(Box::new(settlement)))
}

fn line(kind: EntryKind, id: &str, credits: i64, settlement: Option<Box<Settlement>>) -> Recorded {
    let head = AccountHead {
        status: Status::Active,
        plan: PlanTerm {
            id: PlanId::new("free").unwrap(),
            allowance: 50,
        },
        next_plan: None,
        overage: OveragePolicy::Absorb,
        anchor: NOW,
        cycle: Cycle::at(NOW, NOW),
        debt: 0,
        applied_change: 0,
    };
    let entry = Entry {
        account_id: AccountId::new("acme").unwrap(),
        sequence: 1,
        kind,
        credits,
        available_after: 0,
        debt_after: 0,
        draws: Vec::new(),
        occurred_at: NOW,
        reason: String::new(),
        actor: String::new(),
        reservation_id: Some(ReservationId::new(id).unwrap()),
        settlement,
        change: None,
        moves: Vec::new(),
        head,
    };
    Recorded {
        entry,
        recorded_at: NOW,
    }
}

#[test]
fn a_conversation_adds_up_what_was_paid_for() {
    let receipt = |credits, written_off, corrected| Receipt {
        credits,
        written_off,
        corrected,
        ..Receipt::default()
    };
    let entries = [
        // Usage is cumulative: the last report of a reservation counts.
        settled("r1", 100, receipt(10, 0, 0)),
        settled("r1", 300, receipt(20, 5, 0)),
        // Gives back 8, of which 5 nobody had paid for.
        settled("r1", 250, receipt(0, 0, 8)),
        settled("r2", 50, receipt(7, 0, 0)),
        line(EntryKind::Refund, "r2", 4, None),
    ];
    // They come in any number of parts.
    let mut sums = entry::Sums::default();
    assert!(sums.is_empty());
    sums.add(&entries[..2]);
    sums.add(&entries[2..]);
    assert!(!sums.is_empty());
    let sum = sums.answer(&entries[3..], "next".to_owned());
    assert_eq!((sum.credits, sum.refunded), (10 + 15 - 3 + 7, 4));
    assert_eq!(sum.usage.unwrap().output_tokens, 300);
    assert_eq!(
        (sum.entries.len(), sum.next_page_token.as_str()),
        (2, "next")
    );
}
