//! What a card is made of: patterns and numbers.

use super::*;

#[test]
fn the_most_specific_pattern_wins() {
    let names = [
        "gpt-*",
        "gpt-4*",
        "gpt-4o",
        "gpt-4o*",
        "*ini",
        "gpt-*-mini*",
    ];
    let mut parts = parts();
    parts.tiers = names.map(|name| tier(name, &[name], "1", "1", "1")).into();
    let card = RateCard::new(parts).unwrap();
    let table = [
        ("gpt-3", "gpt-*"),
        ("gpt-4", "gpt-4*"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024", "gpt-4o*"),
        ("phi-mini", "*ini"),
        ("gpt-4o-mini", "gpt-*-mini*"),
    ];
    for (model, tier) in table {
        assert_eq!(card.tier_of(model), Ok(tier), "{model}");
    }
    assert!(card.tier_of("GPT-4o").is_err(), "names are case-sensitive");
    assert!(card.tier_of("*").is_err());
}

#[test]
fn patterns_that_tie_are_refused() {
    let mut parts = parts();
    parts.tiers = vec![
        tier("one", &["other", "claude-*"], "1", "1", "1"),
        tier("two", &["*-newest-one", "*-claude"], "1", "1", "1"),
    ];
    let ties = RateCard::new(parts).unwrap_err();
    let text = format!("{ties:?}");
    // `*-claude` has as many characters as `claude-*`, and `claude-claude` is a name of both.
    let expected = Tie {
        first: 1,
        second: 3,
        model: "claude-claude".to_owned(),
    };
    assert_eq!(ties, [expected], "{text}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let rate =
        |credits: &str, per| Rate::new(number(credits), per).map(|rate| rate.get().to_string());
    let text = |credits: &str, per| rate(credits, per).unwrap_err().to_string();
    assert_eq!(rate("0.4000", 1000).unwrap(), "0.0004");
    assert_eq!(rate("1", 1_000_000_000_000).unwrap(), "0.000000000001");
    assert_eq!(rate("3", 3).unwrap(), "1");
    assert_eq!(rate("9007199254740991", 1).unwrap(), "9007199254740991");
    assert_eq!(text("-1", 1), "-1 is negative: zero or more");
    assert_eq!(text("1", 0), "0 is no number of units: 1 or more");
    assert_eq!(
        text("0.0000000000001", 1),
        "0.0000000000001 is too precise: at most 12 decimals"
    );
    assert_eq!(
        text("9007199254740992", 1),
        "9007199254740992 is too large: at most 9007199254740991"
    );
    let endless = "1 per 3 is too precise: the rate per one unit must have at most 12 decimals";
    assert_eq!(text("1", 3), endless);
    assert!(matches!(
        rate("0.1", 1_000_000_000_000),
        Err(NumberError::Inexact(..))
    ));
    assert!(Multiplier::new(number("1000000")).is_ok());
    assert!(Multiplier::new(number("1000001")).is_err());
    assert!(Multiplier::new(number("-0.5")).is_err());
    assert!(Pattern::new("*").is_err() && Pattern::new("***").is_err());
    assert!(Pattern::new("").is_err() && Pattern::new(&"a".repeat(129)).is_err());
    assert!(Pattern::new("a b").is_err() && Pattern::new("modèle").is_err());
}

proptest! {
    /// A pattern means what its plainest reading means.
    #[test]
    fn patterns_match_as_globs_do(pattern in "[ab*]{1,7}", model in "[ab]{0,8}") {
        fn plain(pattern: &[u8], model: &[u8]) -> bool {
            match (pattern.split_first(), model.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) if plain(rest, model) => true,
                (Some((b'*', _)), Some((_, tail))) => plain(pattern, tail),
                (Some((x, rest)), Some((y, tail))) => x == y && plain(rest, tail),
                _ => false,
            }
        }
        if let Ok(glob) = Pattern::new(&pattern) {
            prop_assert_eq!(glob.matches(&model), plain(pattern.as_bytes(), model.as_bytes()));
        }
    }

    /// Two patterns tie exactly where some model shows it, and that model is named.
    #[test]
    fn ties_are_found_and_shown(one in "[ab*]{1,5}", two in "[ab*]{1,5}") {
        let (Ok(one), Ok(two)) = (Pattern::new(&one), Pattern::new(&two)) else {
            return Ok(());
        };
        let found = models::ties(&[&one, &two]);
        if let Some(tie) = found.first() {
            prop_assert!(one.matches(&tie.model) && two.matches(&tie.model), "{tie:?}");
        }
        // No shared model of two such patterns needs to be longer than both together.
        let letters = |n: u32, len: u32| (0..len).map(|i| ['a', 'b'][(n >> i & 1) as usize]).collect();
        let mut models = (1..=8).flat_map(|len| (0..1u32 << len).map(move |n| (n, len)));
        let shared = models.any(|(n, len)| {
            let model: String = letters(n, len);
            one.matches(&model) && two.matches(&model)
        });
        let count = |p: &Pattern| p.as_str().matches('*').count();
        let equal = one.as_str().len() == two.as_str().len() && count(&one) == count(&two);
        prop_assert_eq!(!found.is_empty(), shared && equal);
    }
}
