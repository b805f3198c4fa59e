use super::*;
use crate::domain::rate_card::{CardParts, ModeParts, Multiplier, Outcomes};

fn catalog() -> Catalog {
    let version: Arc<str> = Arc::from("v1");
    let mode = |name: &str| ModeParts {
        name: name.to_owned(),
        multiplier: Multiplier::ONE,
        minimum: Credits::ZERO,
    };
    let parts = CardParts {
        version: Arc::clone(&version),
        common: Vec::new(),
        tiers: Vec::new(),
        modes: vec![mode("edit"), mode("agent")],
        outcomes: Outcomes::default(),
    };
    Catalog {
        version,
        plans: vec![Plan {
            id: PlanId::new("starter").unwrap(),
            allowance: Credits::new(500).unwrap(),
        }],
        packs: vec![Pack {
            id: PackId::new("small").unwrap(),
            credits: Credits::new(50).unwrap(),
        }],
        rate_card: RateCard::new(parts).unwrap(),
        yaml: Arc::from(""),
    }
}

#[test]
fn plans_and_packs_are_found_by_name() {
    let catalog = catalog();
    assert_eq!(catalog.plan("starter").unwrap().allowance.get(), 500);
    assert_eq!(catalog.pack("small").unwrap().credits.get(), 50);
    assert!(catalog.plan("small").is_none() && catalog.pack("starter").is_none());
}

#[test]
fn what_is_in_use_and_missing_is_said_once() {
    let catalog = catalog();
    let none = catalog.missing(["starter"].into_iter(), ["agent", "edit"].into_iter());
    assert_eq!(none, Vec::<String>::new());
    let plans = ["pro", "starter", "pro", "free"].into_iter();
    let missing = catalog.missing(plans, ["build"].into_iter());
    let heads: Vec<&str> = missing
        .iter()
        .map(|m| m.split(',').next().unwrap())
        .collect();
    let expected = [
        r#"plans: "free" is missing"#,
        r#"plans: "pro" is missing"#,
        r#"modes: "build" is missing"#,
    ];
    assert_eq!(heads, expected);
}
