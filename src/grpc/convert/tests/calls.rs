//! QuotaService's requests.

use super::*;

fn reserve_request() -> pb::ReserveRequest {
    pb::ReserveRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        action: Some(action()),
        amount: Some(pb::reserve_request::Amount::Credits(60)),
        ..pb::ReserveRequest::default()
    }
}

/// What is wrong with a request, and what it lacks.
fn priced<T>(read: Result<quota::Priced<'_, T>, EnforceError>) -> Result<T, EnforceError> {
    let read = read?;
    read.lacks.map_or(Ok(read.request), Err)
}

fn reserve(change: impl FnOnce(&mut pb::ReserveRequest)) -> Vec<(String, String)> {
    let mut request = reserve_request();
    change(&mut request);
    let catalog = catalogs::builtin();
    violations(priced(quota::reserve(request, &catalog.rate_card, &LIMITS)))
}

#[test]
fn a_right_reserve_is_read_as_it_stands() {
    let catalog = catalogs::builtin();
    let mut request = reserve_request();
    request.ttl = Some(Duration {
        seconds: 1,
        nanos: 1,
    });
    request.min_credits = Some(60);
    let read = quota::reserve(request, &catalog.rate_card, &LIMITS).unwrap();
    let (read, labels) = (read.request, read.labels);
    assert_eq!(read.ttl_ms, Some(1001), "rounded up");
    assert_eq!(read.min_credits.unwrap().get(), 60);
    assert_eq!((labels.mode, labels.tier), ("agent", "standard"));
}

#[test]
fn a_reserve_without_an_id_gets_one() {
    let catalog = catalogs::builtin();
    let made = || {
        let request = pb::ReserveRequest {
            reservation_id: String::new(),
            ..reserve_request()
        };
        quota::reserve(request, &catalog.rate_card, &LIMITS)
            .unwrap()
            .request
            .reservation_id
    };
    let (one, other) = (made(), made());
    assert_eq!(one.as_str().len(), 26);
    assert_ne!(one, other);
}

#[test]
fn each_wrong_field_of_a_reserve_is_named() {
    let long = "x".repeat(257);
    check(
        &reserve(|r| r.account_id.clear()),
        "account_id",
        "1 to 128 of",
    );
    check(
        &reserve(|r| r.account_id = "a b".into()),
        "account_id",
        "' '",
    );
    check(
        &reserve(|r| r.reservation_id = "x".repeat(129)),
        "reservation_id",
        "129 bytes",
    );
    check(
        &reserve(|r| r.action = None),
        "action",
        "discuss, edit, agent, build",
    );
    check(
        &reserve(|r| r.amount = None),
        "amount",
        "estimate or credits",
    );
    let amount = Some(pb::reserve_request::Amount::Credits(MAX_CREDITS + 1));
    check(
        &reserve(|r| r.amount = amount),
        "credits",
        "0 to 9007199254740991",
    );
    check(
        &reserve(|r| r.min_credits = Some(0)),
        "min_credits",
        "1 to 60",
    );
    check(
        &reserve(|r| r.min_credits = Some(61)),
        "min_credits",
        "1 to 60",
    );
    for ttl in [
        (0, 0),
        (0, 999_000_000),
        (60, 1),
        (-1, 0),
        (1, -1),
        (5, 1_000_000_000),
        (i64::MAX, 0),
    ] {
        let ttl = Some(Duration {
            seconds: ttl.0,
            nanos: ttl.1,
        });
        check(&reserve(|r| r.ttl = ttl), "ttl", "1s to 60s");
    }
    let act = |change: fn(&mut pb::Action, String)| {
        let long = long.clone();
        reserve(|r| change(r.action.as_mut().unwrap(), long))
    };
    check(
        &act(|a, _| a.mode = "chat".into()),
        "action.mode",
        "discuss, edit, agent, build",
    );
    check(
        &act(|a, _| a.model = "llama".into()),
        "action.model",
        "claude-haiku*",
    );
    check(&act(|a, long| a.mode = long), "action.mode", "at most 256");
    check(
        &act(|a, long| a.model = long),
        "action.model",
        "at most 256",
    );
    check(
        &act(|a, long| a.conversation_id = long),
        "action.conversation_id",
        "at most 256",
    );
    check(
        &act(|a, _| a.conversation_id = "\u{1b}[2J".into()),
        "action.conversation_id",
        "control",
    );
    let label = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        reserve(|r| drop(r.action.as_mut().unwrap().labels.insert(key, value)))
    };
    check(&label(&long, "v"), "action.labels", "key that is 257 bytes");
    check(&label("team", &long), "action.labels[team]", "at most 256");
    check(&label("", "v"), "action.labels", "empty key");
    let many = reserve(|r| {
        let labels = (0..17).map(|n| (format!("k{n}"), String::new()));
        r.action.as_mut().unwrap().labels = labels.collect();
    });
    check(&many, "action.labels", "at most 16");
}

fn estimate(usage: pb::Usage) -> Vec<(String, String)> {
    reserve(|r| r.amount = Some(pb::reserve_request::Amount::Estimate(usage)))
}

fn custom(meters: &[(&str, u64)]) -> pb::Usage {
    let custom = meters
        .iter()
        .map(|(meter, quantity)| ((*meter).to_owned(), *quantity));
    pb::Usage {
        custom: custom.collect(),
        ..pb::Usage::default()
    }
}

#[test]
fn each_wrong_quantity_is_named() {
    let much = pb::Usage {
        output_tokens: MAX_CREDITS + 1,
        ..pb::Usage::default()
    };
    check(
        &estimate(much),
        "estimate.output_tokens",
        "0 to 9007199254740991",
    );
    check(
        &estimate(custom(&[("tool_calls", 1)])),
        "estimate.custom[tool_calls]",
        "field of its own",
    );
    check(
        &estimate(custom(&[("gpu seconds", 1)])),
        "estimate.custom",
        "1 to 128 of",
    );
    check(
        &estimate(custom(&[("gpu", u64::MAX)])),
        "estimate.custom[gpu]",
        "out of range",
    );
    let names: Vec<String> = (0..33).map(|n| format!("m{n}")).collect();
    let meters: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    check(&estimate(custom(&meters)), "estimate.custom", "at most 32");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found = reserve(|r| {
        r.account_id.clear();
        r.reservation_id = "é".into();
        r.action = Some(pb::Action {
            mode: "chat".to_owned(),
            model: "llama".to_owned(),
            ..pb::Action::default()
        });
        r.amount = None;
        r.min_credits = Some(0);
        r.ttl = Some(Duration::default());
    });
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    let all = [
        "account_id",
        "reservation_id",
        "action.mode",
        "action.model",
        "amount",
        "min_credits",
        "ttl",
    ];
    assert_eq!(fields, all);
    // What can't be priced is said besides.
    let found = reserve(|r| {
        r.account_id.clear();
        let usage = custom(&[("gpu_seconds", 1)]);
        r.amount = Some(pb::reserve_request::Amount::Estimate(usage));
    });
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["account_id", "estimate.custom[gpu_seconds]"]);
}

#[test]
fn quantities_survive_the_way_in_and_out() {
    let message = pb::Usage {
        input_tokens: 1,
        cached_input_tokens: 2,
        output_tokens: 3,
        tool_calls: 4,
        file_operations: 5,
        build_seconds: 6,
        ..custom(&[("gpu_seconds", 7)])
    };
    let mut problems = Problems::default();
    let usage = action::usage(&message, "usage", &mut problems).unwrap();
    assert_eq!(action::usage_message(&usage), message);
}

#[test]
fn extensions_commits_releases_and_charges_are_checked() {
    let extend = pb::ExtendRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        ..pb::ExtendRequest::default()
    };
    assert_eq!(
        fields(quota::extend(&extend, &LIMITS)),
        ["extension_id", "add_credits"]
    );
    let commit = pb::CommitRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        outcome: 7,
        next_hold: 5,
        ..pb::CommitRequest::default()
    };
    let found = violations(quota::commit(commit));
    assert_eq!(
        found[0],
        (
            "amount".into(),
            "is missing: give either usage or credits".into()
        )
    );
    assert!(found[1].1.contains("OUTCOME_CANCELLED (3)"), "{found:?}");
    assert_eq!(found[2].0, "next_hold");
    let commit = pb::CommitRequest {
        action: Some(pb::Action {
            mode: "dis\ncuss".to_owned(),
            ..pb::Action::default()
        }),
        ..pb::CommitRequest::default()
    };
    assert_eq!(
        fields(quota::commit(commit)),
        ["account_id", "reservation_id", "amount", "action.mode"]
    );
    let release = pb::ReleaseRequest {
        reason: "\n".to_owned(),
        ..pb::ReleaseRequest::default()
    };
    assert_eq!(
        fields(quota::release(release)),
        ["account_id", "reservation_id", "reason"]
    );
    let catalog = catalogs::builtin();
    let request = pb::ChargeRequest::default();
    let found = fields(priced(quota::charge(request, &catalog.rate_card)));
    assert_eq!(found, ["account_id", "charge_id", "action", "amount"]);
}
