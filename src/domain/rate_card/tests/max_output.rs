//! How many output tokens a number of credits pays for.

use super::*;

#[test]
fn the_output_that_credits_pay_for() {
    let thousand: &[(&str, u64)] = &[("input_tokens", 10_000)];
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, u64)], u64, Option<u64>);
    let table: &[Row] = &[
        ("discuss", "gpt-4o", &[], 1, Some(500)),
        ("discuss", "gpt-4o", thousand, 4, Some(0)),
        ("discuss", "gpt-4o", thousand, 3, Some(0)),
        ("discuss", "gpt-4o", thousand, 5, Some(500)),
        ("agent", "gpt-4o", thousand, 9, Some(1_000)),
        // The base's own output tokens do not count.
        (
            "discuss",
            "gpt-4o",
            &[("output_tokens", 1 << 40)],
            1,
            Some(500),
        ),
        // Below the mode's minimum nothing is paid for.
        ("build", "claude-haiku-4-5", &[], 4, Some(0)),
        ("build", "claude-haiku-4-5", &[], 5, Some(5_000)),
        ("discuss", "gpt-4o", &[], 0, Some(0)),
        ("nightly", "gpt-4o", &[], 0, Some(0)),
        // Nothing limits what costs nothing.
        ("discuss", "", &[("tool_calls", 1)], 10, None),
        ("discuss", "free-1", &[], 1, None),
        ("included", "gpt-4o", &[], 0, None),
        // A base that no credits pay for.
        (
            "discuss",
            "claude-opus",
            &[("input_tokens", u64::MAX)],
            u64::MAX,
            Some(0),
        ),
        ("discuss", "gpt-4o", &[], u64::MAX, Some(MAX_CREDITS * 500)),
    ];
    let card = card();
    for (mode, model, base, credits, tokens) in table {
        let found = card.max_output_tokens(&action(mode, model), &usage(base), *credits);
        assert_eq!(found, Ok(*tokens), "{mode} {model} {base:?} {credits}");
    }
    let unknown = card.max_output_tokens(&action("edit", ""), &usage(&[("input_tokens", 1)]), 9);
    assert_eq!(unknown.unwrap_err().field(), "usage.input_tokens");
    let mut free = parts();
    free.outcomes.succeeded = OutcomeRule::Nothing;
    let free = RateCard::new(free).unwrap();
    assert_eq!(
        free.max_output_tokens(&action("edit", "gpt-4o"), &usage(&[]), 0),
        Ok(None)
    );
}

proptest! {
    /// The number is what it says, against the price itself: it fits, and one more does not.
    #[test]
    fn one_more_output_token_would_cost_more(
        mode in prop::sample::select(vec!["discuss", "edit", "agent", "build", "nightly"]),
        model in prop::sample::select(vec!["claude-haiku", "gpt-4o", "claude-opus", "gold"]),
        cached in 0..100_000u64,
        tools in 0..50u64,
        credits in prop_oneof![0..500u64, 0..=MAX_CREDITS],
        rule in prop::sample::select(vec![OutcomeRule::Full, OutcomeRule::Used]),
    ) {
        let mut parts = parts();
        parts.outcomes.succeeded = rule;
        let card = RateCard::new(parts).unwrap();
        let action = action(mode, model);
        let base = usage(&[("cached_input_tokens", cached), ("tool_calls", tools)]);
        let with_output = |tokens: u64| {
            let mut used = base.clone();
            used.set("output_tokens", tokens);
            card.price(&action, &used, Outcome::Succeeded).map(|price| price.credits)
        };
        let fits = |tokens| with_output(tokens).is_ok_and(|price| price <= credits);
        let most = card.max_output_tokens(&action, &base, credits).unwrap().unwrap();
        if fits(0) {
            prop_assert!(fits(most), "{most}: {:?}", with_output(most));
        } else {
            prop_assert_eq!(most, 0);
        }
        prop_assert!(most == u64::MAX || !fits(most + 1), "{most}: {:?}", with_output(most + 1));
    }
}
