use super::*;
use crate::domain::usage::{Action, Outcome, Usage};

pub(super) const GOOD: &str = "\
version: v1
plans:
  free: { allowance: 50 }
tiers:
  standard:
    models: [gpt-4o*]
    rates:
      input_tokens: { credits: 0.40, per: 1000 }
modes:
  edit: { multiplier: 1.25 }
";

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

fn problems(yaml: &str) -> Vec<String> {
    let found = parse(yaml).err().map(|e| e.problems().to_vec());
    let line = |p: Problem| format!("{}:{} {}", p.line, p.column, p.message);
    found.unwrap_or_default().into_iter().map(line).collect()
}

#[test]
fn the_builtin_catalogue_has_the_products_numbers() {
    let catalog = builtin();
    let plans: Vec<_> = catalog
        .plans
        .iter()
        .map(|p| (p.id.as_str(), p.allowance.get()))
        .collect();
    assert_eq!(plans, [("free", 50), ("starter", 500), ("pro", 5_000)]);
    let packs: Vec<_> = catalog
        .packs
        .iter()
        .map(|p| (p.id.as_str(), p.credits.get()))
        .collect();
    assert_eq!(
        packs,
        [("small", 500), ("medium", 2_000), ("large", 10_000)]
    );
    assert_eq!(catalog.rate_card.version(), &catalog.version);
    assert_eq!(&*catalog.yaml, BUILTIN_YAML);
    let tiers = [
        (
            "lightweight",
            "claude-haiku-4-5 claude-3-5-haiku-20241022 gemini-2.5-flash gemini-flash-latest gpt-4o-mini",
        ),
        (
            "standard",
            "claude-sonnet-4-5 claude-3-7-sonnet-latest gpt-4o gpt-4o-2024-11-20",
        ),
        (
            "premium",
            "claude-opus-4-1 claude-3-opus-20240229 gpt-4.5-preview",
        ),
    ];
    for (tier, models) in tiers {
        for model in models.split(' ') {
            assert_eq!(catalog.rate_card.tier_of(model), Ok(tier), "{model}");
        }
    }
    for model in ["gpt-4", "gemini-2.5-pro", "claude", "o1"] {
        assert!(catalog.rate_card.tier_of(model).is_err(), "{model}");
    }
    // mode, model, meter, quantity, exact, credits
    let prices = [
        (
            "discuss",
            "claude-haiku-4-5",
            "input_tokens",
            1_000,
            "0.1",
            1,
        ),
        (
            "discuss",
            "claude-haiku-4-5",
            "cached_input_tokens",
            1_000,
            "0.01",
            1,
        ),
        (
            "discuss",
            "claude-haiku-4-5",
            "output_tokens",
            1_000,
            "0.5",
            1,
        ),
        ("edit", "gpt-4o", "input_tokens", 1_000, "0.5", 1),
        ("edit", "gpt-4o", "cached_input_tokens", 1_000, "0.05", 1),
        ("edit", "gpt-4o", "output_tokens", 1_000, "2.5", 3),
        ("agent", "gpt-4.5", "input_tokens", 1_000, "3", 3),
        ("agent", "gpt-4.5", "cached_input_tokens", 1_000, "0.3", 2),
        ("agent", "gpt-4.5", "output_tokens", 1_000, "15", 15),
        ("build", "", "tool_calls", 1, "0.4", 5),
        ("build", "", "file_operations", 100, "10", 10),
        ("build", "", "build_seconds", 26, "5.2", 6),
    ];
    for (mode, model, meter, quantity, exact, credits) in prices {
        let action = Action {
            mode: mode.to_owned(),
            model: model.to_owned(),
            ..Action::default()
        };
        let mut usage = Usage::default();
        usage.set(meter, quantity);
        let price = catalog
            .rate_card
            .price(&action, &usage, Outcome::Succeeded)
            .unwrap();
        assert_eq!(
            (price.exact.to_string().as_str(), price.credits),
            (exact, credits)
        );
    }
}

#[test]
fn the_smallest_catalogue_is_accepted() {
    let catalog = parse(GOOD).unwrap();
    assert_eq!(&*catalog.version, "v1");
    assert!(catalog.packs.is_empty());
}

#[test]
fn amounts_are_read_digit_by_digit() {
    // As a double this is 0.1000000000000000055…, and 9007199254740991 loses nothing either.
    let yaml = with("0.40, per: 1000", "0.100000000001").replace("50", "9007199254740991");
    let catalog = parse(&yaml).unwrap();
    assert_eq!(catalog.plans[0].allowance.get(), 9_007_199_254_740_991);
    let mut usage = Usage::default();
    usage.set("input_tokens", 1_000_000_000_000);
    let action = Action {
        mode: "edit".to_owned(),
        model: "gpt-4o".to_owned(),
        ..Action::default()
    };
    let price = catalog
        .rate_card
        .price(&action, &usage, Outcome::Succeeded)
        .unwrap();
    assert_eq!(price.subtotal.to_string(), "100000000001");
    for same in [
        "\"0.40\"",
        "0.4",
        "0.400000000000000000000000000000000000",
        "00.40",
    ] {
        assert!(parse(&with("0.40", same)).is_ok(), "{same}");
    }
}

#[test]
fn one_mistake_one_problem_at_its_place() {
    // what to replace, by what, the problem
    let table = [
        // The form.
        (
            "plans:",
            "plan:",
            r#"2:1 unknown field `plan`, expected one of"#,
        ),
        (
            "allowance: 50",
            "allowance: 50, price: 3",
            "3:26 unknown field `price`",
        ),
        (
            "version: v1",
            "version: v1\nversion: v2",
            "2:1 duplicate mapping key: version",
        ),
        (
            "  free: { allowance: 50 }",
            "  free: { allowance: 50 }\n  free: { allowance: 9 }",
            "4:3 duplicate mapping key: free",
        ),
        ("[gpt-4o*]", "[gpt-4o*", "7:10 illegal placement"),
        ("[gpt-4o*]", "{ a: b }", "6:13 "),
        ("{ allowance: 50 }", "50", "3:9 "),
        // Names.
        (
            "version: v1\n",
            "",
            "0:0 `version` is missing: a name that every changed file changes",
        ),
        (
            "version: v1",
            "version: a/b",
            r#"1:10 version: "a/b" is not a name: 1 to 64 of [A-Za-z0-9._:-]"#,
        ),
        ("  free:", "  \"fr ee\":", r#"3:3 "fr ee" is not a name"#),
        ("  edit:", "  édit:", r#"10:3 "édit" is not a name"#),
        ("input_tokens:", "\"\":", r#"8:7 "" is not a name"#),
        // Numbers.
        (
            "0.40",
            "-0.40",
            "8:32 credits: -0.4 is negative: zero or more",
        ),
        (
            "0.40",
            "0.4e3",
            r#"8:32 credits: "0.4e3" is not a decimal, as 0.40"#,
        ),
        (
            "0.40",
            "0.1234567890123",
            "8:32 credits: 0.1234567890123 is too precise: at most 12 decimals",
        ),
        (
            "0.40",
            "0.0000000001",
            "8:32 credits: 0.0000000001 per 1000 is too precise",
        ),
        (
            "0.40",
            "99999999999999999999999999999999",
            "8:32 credits: 99999999999999999999999999999999 has too many digits",
        ),
        (
            "0.40",
            "9007199254740992",
            "8:32 credits: 9007199254740992 is too large: at most 9007199254740991",
        ),
        (
            "per: 1000",
            "per: 0",
            "8:43 per: 0 is no number of units: 1 or more",
        ),
        (
            "per: 1000",
            "per: 3",
            "8:32 credits: 0.4 per 3 is too precise",
        ),
        (
            "per: 1000",
            "per: 1.5",
            r#"8:43 per: "1.5" is not a whole number, as 500"#,
        ),
        (
            "allowance: 50",
            "allowance: 9007199254740992",
            "3:22 allowance: 9007199254740992 is out of range: 0 to 9007199254740991 credits",
        ),
        (
            "allowance: 50",
            "allowance: -1",
            r#"3:22 allowance: "-1" is not a whole number, as 500"#,
        ),
        (
            "allowance: 50",
            "allowance: 50.5",
            r#"3:22 allowance: "50.5" is not a whole number, as 500"#,
        ),
        (
            "1.25",
            "-1.25",
            "10:23 multiplier: -1.25 is negative: zero or more",
        ),
        (
            "1.25",
            "1.25, minimum: x",
            r#"10:38 minimum: "x" is not a whole number, as 500"#,
        ),
        // What is missing or empty.
        (
            "{ allowance: 50 }",
            "{}",
            r#"3:3 "free" has no `allowance`"#,
        ),
        (
            "{ multiplier: 1.25 }",
            "{ minimum: 1 }",
            r#"10:3 "edit" has no `multiplier`"#,
        ),
        (
            "credits: 0.40, ",
            "",
            r#"8:7 "input_tokens" has no `credits`"#,
        ),
        (
            "\n  free: { allowance: 50 }",
            " {}",
            "2:8 `plans` is empty: at least one entry",
        ),
        (
            "modes:\n  edit: { multiplier: 1.25 }\n",
            "",
            "0:0 `modes` is missing: at least one entry",
        ),
        (
            "tiers:",
            "packs: {}\ntiers:",
            "4:8 `packs` is empty: at least one entry",
        ),
        (
            "[gpt-4o*]",
            "[]",
            r#"5:3 tier "standard" has no `models`: list at least one"#,
        ),
        (
            "    rates:\n      input_tokens: { credits: 0.40, per: 1000 }\n",
            "",
            r#"5:3 tier "standard" has no rates"#,
        ),
        // Models.
        (
            "[gpt-4o*]",
            "[\"*\"]",
            "6:14 the model pattern would price every model alike",
        ),
        ("[gpt-4o*]", "[gpt 4]", "6:14 the model pattern has ' '"),
        (
            "[gpt-4o*]",
            "[gpt-4o*, x, gpt-4o*]",
            r#"6:26 "gpt-4o*" matches the model "gpt-4o" as well as "gpt-4o*" of line 6 does: make one of them more specific"#,
        ),
        (
            "modes:",
            "  other:\n    models: [\"*gpt-4o\"]\n    rates: { input_tokens: { credits: 1 } }\nmodes:",
            r#"10:14 "*gpt-4o" matches the model "gpt-4o" as well as "gpt-4o*" of line 6 does"#,
        ),
        (
            "modes:",
            "  other:\n    models: [o1]\n    rates: { output_tokens: { credits: 1 }, input_tokens: { credits: 1 } }\nmodes:",
            r#"5:3 tier "standard" has no rate for "output_tokens", which tier "other" prices"#,
        ),
        // Outcomes.
        (
            "modes:",
            "outcomes: { aborted: full }\nmodes:",
            r#"9:13 "aborted" is not an outcome: one of succeeded, failed, cancelled"#,
        ),
        (
            "modes:",
            "outcomes: { failed: half }\nmodes:",
            r#"9:21 "half" is not a rule: one of full, used, nothing"#,
        ),
    ];
    for (from, to, problem) in table {
        let found = problems(&with(from, to));
        let [only] = &found[..] else {
            panic!("{to}: {found:#?}");
        };
        assert!(only.starts_with(problem), "{to}:\n{only}\n{problem}");
    }
}

#[test]
fn text_that_is_no_catalogue_is_refused() {
    for text in [
        "",
        "# nothing\n",
        "just words",
        "- a\n- b\n",
        "a: b: c",
        "\t",
        "\u{0}",
        "version: v1\n---\nversion: v2\n",
    ] {
        let found = problems(text);
        assert!(!found.is_empty(), "{text:?}");
    }
    let huge = "#".repeat(FILE_BYTES_MAX + 1);
    assert_eq!(
        problems(&huge),
        ["0:0 the file has 1048577 bytes: at most 1048576"]
    );
    // Sections with nothing after the colon are empty, not left out.
    let found = problems(&with("tiers:", "packs:\ntiers:"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("`packs` is empty"), "{found:?}");
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_in_order() {
    let yaml = GOOD
        .replace("50", "-5")
        .replace("0.40", "-1")
        .replace("1.25", "x")
        .replace("v1", "v/1");
    let found = problems(&yaml);
    let lines: Vec<&str> = found.iter().map(|p| p.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["1:10", "3:22", "8:32", "10:23"], "{found:#?}");

    let many: String = (0..80)
        .map(|i| format!("  p{i}: {{ allowance: -1 }}\n"))
        .collect();
    let error = parse(&with("  free: { allowance: 50 }\n", &many)).unwrap_err();
    assert_eq!(error.problems().len(), PROBLEMS_MAX);
    assert!(error.to_string().ends_with("and 30 more problems"));
}

#[test]
fn a_problem_shows_the_line_with_a_caret() {
    let error = parse(&with("0.40", "-0.40")).unwrap_err();
    let expected = "\
line 8, column 32: credits: -0.4 is negative: zero or more
8 |       input_tokens: { credits: -0.40, per: 1000 }
  |                                ^";
    assert_eq!(error.to_string(), expected);
    let error = parse(&with("plans:", "plan:")).unwrap_err().to_string();
    assert!(error.ends_with("\n2 | plan:\n  | ^"), "{error}");
    // A long line is cut around the caret.
    let long = format!("{}: {{ credits: -1 }}", "x".repeat(400));
    let error = parse(&with("input_tokens: { credits: 0.40, per: 1000 }", &long)).unwrap_err();
    let snippet = &error.problems().last().unwrap().snippet;
    let lines: Vec<&str> = snippet.lines().collect();
    assert!(
        lines[0].len() < 110 && lines[0].contains("credits: -1"),
        "{snippet}"
    );
    assert_eq!(lines[1].find('^'), lines[0].find("-1"), "{snippet}");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        yaml.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert_eq!(problems(&yaml).len(), 1);
}
