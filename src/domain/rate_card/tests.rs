use proptest::prelude::*;

use super::*;
use crate::domain::credits::Credits;

mod inputs;
mod max_output;

fn number(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

fn rates(list: &[(&str, &str, u64)]) -> Vec<(String, Rate)> {
    list.iter()
        .map(|(meter, credits, per)| {
            let rate = Rate::new(number(credits), *per).unwrap();
            ((*meter).to_owned(), rate)
        })
        .collect()
}

fn tier(name: &str, models: &[&str], input: &str, cached: &str, output: &str) -> TierParts {
    TierParts {
        name: name.to_owned(),
        models: models.iter().map(|m| Pattern::new(m).unwrap()).collect(),
        rates: rates(&[
            ("input_tokens", input, 1000),
            ("cached_input_tokens", cached, 1000),
            ("output_tokens", output, 1000),
        ]),
    }
}

fn mode(name: &str, multiplier: &str, minimum: u64) -> ModeParts {
    ModeParts {
        name: name.to_owned(),
        multiplier: Multiplier::new(number(multiplier)).unwrap(),
        minimum: Credits::new(minimum).unwrap(),
    }
}

/// PRODUCT.md's numbers, and a few corners besides.
fn parts() -> CardParts {
    let mut priciest = tier("priciest", &["gold"], "0", "0", "0");
    priciest.rates = rates(&[
        ("input_tokens", "9007199254740991", 1),
        ("cached_input_tokens", "0.000000000001", 1),
        ("output_tokens", "0.123456789012", 1),
        ("tool_calls", "7", 1),
    ]);
    CardParts {
        version: Arc::from("test-1"),
        common: rates(&[
            ("gpu_seconds", "1.5", 60),
            ("build_seconds", "0.1", 1),
            ("tool_calls", "0.2", 1),
            ("file_operations", "0.05", 1),
        ]),
        tiers: vec![
            tier(
                "lightweight",
                &["claude-haiku*", "gemini-*flash*"],
                "0.10",
                "0.01",
                "0.50",
            ),
            tier(
                "standard",
                &["claude-sonnet*", "gpt-4o*"],
                "0.40",
                "0.04",
                "2.00",
            ),
            tier(
                "premium",
                &["claude-opus*", "gpt-4.5*"],
                "2.00",
                "0.20",
                "10.00",
            ),
            tier("gratis", &["free-*"], "0", "0", "0"),
            priciest,
        ],
        modes: vec![
            mode("discuss", "1.0", 1),
            mode("edit", "1.25", 1),
            mode("agent", "1.5", 2),
            mode("build", "2.0", 5),
            mode("nightly", "0.333333333333", 0),
            mode("included", "0", 0),
        ],
        outcomes: Outcomes::default(),
    }
}

fn card() -> RateCard {
    RateCard::new(parts()).unwrap()
}

fn action(mode: &str, model: &str) -> Action {
    Action {
        mode: mode.to_owned(),
        model: model.to_owned(),
        ..Action::default()
    }
}

fn usage(list: &[(&str, u64)]) -> Usage {
    let mut usage = Usage::default();
    for (meter, quantity) in list {
        usage.set(meter, *quantity);
    }
    usage
}

#[test]
fn the_worked_example() {
    let used = usage(&[
        ("input_tokens", 12_400),
        ("cached_input_tokens", 30_000),
        ("output_tokens", 1_850),
        ("tool_calls", 7),
        ("file_operations", 9),
    ]);
    let price = card()
        .price(
            &action("agent", "claude-sonnet-4-5"),
            &used,
            Outcome::Succeeded,
        )
        .unwrap();
    let lines: Vec<String> = price
        .items
        .iter()
        .map(|i| format!("{} {} x {} = {}", i.meter, i.quantity, i.rate, i.amount))
        .collect();
    assert_eq!(
        lines,
        [
            "input_tokens 12400 x 0.0004 = 4.96",
            "cached_input_tokens 30000 x 0.00004 = 1.2",
            "output_tokens 1850 x 0.002 = 3.7",
            "tool_calls 7 x 0.2 = 1.4",
            "file_operations 9 x 0.05 = 0.45",
        ]
    );
    assert_eq!(price.subtotal.to_string(), "11.71");
    assert_eq!(price.multiplier.to_string(), "1.5");
    assert_eq!(price.exact.to_string(), "17.565");
    assert_eq!(price.credits, 18);
    assert_eq!(price.tier, "standard");
    assert_eq!(&*price.rate_card_version, "test-1");
}

#[test]
fn a_price_survives_being_written_down() {
    let used = usage(&[("output_tokens", 1), ("gpu_seconds", 7)]);
    let price = card()
        .price(&action("edit", "gpt-4o"), &used, Outcome::Cancelled)
        .unwrap();
    let text = serde_json::to_string(&price).unwrap();
    assert!(text.contains(r#""rate":"0.002""#), "{text}");
    assert!(text.contains(r#""exact":"0.22125""#), "{text}");
    assert_eq!(serde_json::from_str::<Price>(&text).unwrap(), price);
}

#[test]
fn prices_are_rounded_up_once_and_never_below_the_minimum() {
    use Outcome::{Cancelled, Failed, Succeeded};
    type Row = (
        &'static str,
        &'static str,
        &'static [(&'static str, u64)],
        Outcome,
        &'static str,
        u64,
    );
    let table: &[Row] = &[
        // Nothing used: the minimum, or nothing.
        ("discuss", "gpt-4o", &[], Succeeded, "0", 1),
        ("build", "", &[], Succeeded, "0", 5),
        ("build", "", &[], Cancelled, "0", 0),
        ("build", "", &[], Failed, "0", 0),
        ("nightly", "", &[], Succeeded, "0", 0),
        // Exactly whole is not rounded; a hair above is.
        (
            "discuss",
            "gpt-4o",
            &[("output_tokens", 1_000)],
            Succeeded,
            "2",
            2,
        ),
        (
            "discuss",
            "gpt-4o",
            &[("output_tokens", 1_001)],
            Succeeded,
            "2.002",
            3,
        ),
        (
            "discuss",
            "gpt-4o",
            &[("output_tokens", 1)],
            Succeeded,
            "0.002",
            1,
        ),
        // Five times 0.2 is 1, not a bit more.
        ("discuss", "", &[("tool_calls", 5)], Succeeded, "1", 1),
        // Items are not rounded one by one: 0.05 + 0.1 + 0.2.
        (
            "discuss",
            "",
            &[
                ("file_operations", 1),
                ("build_seconds", 1),
                ("tool_calls", 1),
            ],
            Succeeded,
            "0.35",
            1,
        ),
        // Minimum against price.
        ("build", "", &[("build_seconds", 24)], Succeeded, "4.8", 5),
        ("build", "", &[("build_seconds", 26)], Succeeded, "5.2", 6),
        ("build", "", &[("build_seconds", 24)], Cancelled, "4.8", 5),
        ("build", "", &[("build_seconds", 4)], Cancelled, "0.8", 1),
        ("build", "", &[("build_seconds", 400)], Failed, "80", 0),
        // Custom meters, odd multipliers, tiers that win over the common rates.
        ("discuss", "", &[("gpu_seconds", 40)], Succeeded, "1", 1),
        (
            "nightly",
            "",
            &[("tool_calls", 15)],
            Succeeded,
            "0.999999999999",
            1,
        ),
        ("discuss", "gold", &[("tool_calls", 2)], Succeeded, "14", 14),
        (
            "included",
            "claude-opus-4",
            &[("output_tokens", 1_000_000)],
            Succeeded,
            "0",
            0,
        ),
    ];
    let card = card();
    for (mode, model, list, outcome, exact, credits) in table {
        let price = card.price(&action(mode, model), &usage(list), *outcome);
        let price = price.unwrap();
        assert_eq!(price.exact.to_string(), *exact, "{mode} {model} {list:?}");
        assert_eq!(
            price.credits, *credits,
            "{mode} {model} {list:?} {outcome:?}"
        );
    }
}

#[test]
fn outcomes_are_charged_as_the_card_says() {
    let mut parts = parts();
    parts.outcomes = Outcomes {
        succeeded: OutcomeRule::Used,
        failed: OutcomeRule::Full,
        cancelled: OutcomeRule::Nothing,
    };
    let card = RateCard::new(parts).unwrap();
    let used = usage(&[("build_seconds", 4)]);
    let credits = Outcome::ALL.map(|outcome| {
        card.price(&action("build", ""), &used, outcome)
            .unwrap()
            .credits
    });
    assert_eq!(credits, [1, 5, 0]);
}

#[test]
fn refusals_name_the_field_and_what_is_accepted() {
    let table = [
        (
            action("agents", "gpt-4o"),
            usage(&[]),
            "action.mode",
            r#""agents" is not a mode of the rate card: one of discuss, edit, agent, build, nightly, included"#,
        ),
        (
            action("agent", "llama-4"),
            usage(&[]),
            "action.model",
            r#"no tier of the rate card has the model "llama-4": one that matches claude-haiku*, gemini-*flash*, claude-sonnet*, gpt-4o*, claude-opus*, gpt-4.5*, free-*, gold"#,
        ),
        (
            action("agent", "gpt-4o"),
            usage(&[("tpu_seconds", 1)]),
            "usage.custom[tpu_seconds]",
            r#""tpu_seconds" is not priced in tier "standard": one of input_tokens, cached_input_tokens, output_tokens, tool_calls, file_operations, build_seconds, gpu_seconds"#,
        ),
        (
            action("agent", ""),
            usage(&[("input_tokens", 1)]),
            "usage.input_tokens",
            r#""input_tokens" is not priced for an action without a model (action.model): one of tool_calls, file_operations, build_seconds, gpu_seconds"#,
        ),
        (
            action("discuss", "gold"),
            usage(&[("input_tokens", 2)]),
            "usage",
            "the quantities are too large: one action may price at up to 9007199254740991 credits",
        ),
    ];
    let card = card();
    for (action, used, field, text) in table {
        let error = card.price(&action, &used, Outcome::Succeeded).unwrap_err();
        assert_eq!(error.field(), field);
        assert_eq!(error.to_string(), text);
    }
    assert!(card.check_action(&action("agent", "")).is_ok());
    assert!(card.check_action(&action("agent", "gpt-4o-2024")).is_ok());
    assert!(card.check_action(&action("", "gpt-4o")).is_err());
    assert!(card.check_action(&action("agent", "gpt-5")).is_err());
    assert_eq!(card.tier_of(""), Ok(""));
    assert_eq!(card.tier_of("gemini-2.5-flash-lite"), Ok("lightweight"));
}

#[test]
fn what_is_too_much_is_refused_and_the_most_is_not() {
    let card = card();
    let most = |model: &str, list: &[(&str, u64)]| {
        let price = card.price(&action("discuss", model), &usage(list), Outcome::Succeeded);
        price.map(|price| (price.credits, price.exact.to_string()))
    };
    let max = MAX_CREDITS;
    assert_eq!(
        most("gold", &[("input_tokens", 1)]),
        Ok((max, max.to_string()))
    );
    assert_eq!(
        most("gpt-4o", &[("output_tokens", u64::MAX)]),
        Err(PriceError::TooMuch)
    );
    // 2 credits for 1,000 tokens: the last quantity that still fits, and the next.
    let fits = MAX_CREDITS * 500;
    assert_eq!(
        most("gpt-4o", &[("output_tokens", fits)]),
        Ok((max, max.to_string()))
    );
    assert_eq!(
        most("gpt-4o", &[("output_tokens", fits + 1)]),
        Err(PriceError::TooMuch)
    );
    for meter in ["input_tokens", "tool_calls", "output_tokens"] {
        assert_eq!(most("gold", &[(meter, u64::MAX)]), Err(PriceError::TooMuch));
    }
    // The finest rate carries the largest quantity.
    let fine = most("gold", &[("cached_input_tokens", u64::MAX)]).unwrap();
    assert_eq!(fine, (18_446_745, "18446744.073709551615".to_owned()));
}

proptest! {
    /// Integers and decimals agree on every price that decimals hold.
    #[test]
    fn prices_are_exact(
        mode in prop::sample::select(vec!["discuss", "edit", "agent", "build", "nightly"]),
        input in 0..10_000_000u64,
        output in 0..10_000_000u64,
        gpu in 0..100_000u64,
    ) {
        let used = usage(&[("input_tokens", input), ("output_tokens", output), ("gpu_seconds", gpu)]);
        let price = card().price(&action(mode, "gpt-4o"), &used, Outcome::Cancelled).unwrap();
        let amounts: Decimal = price.items.iter().map(|i| Decimal::from(i.quantity) * i.rate).sum();
        prop_assert_eq!(price.subtotal, amounts);
        prop_assert_eq!(price.exact, amounts * price.multiplier);
        prop_assert_eq!(Decimal::from(price.credits), price.exact.ceil());
    }
}
