//! A price and how it came about, line by line. It repeats the server's sums and makes none but
//! the rounding, to say which of rounding, minimum and outcome gave the last number.

use rust_decimal::Decimal;

use super::{count, credits};
use crate::{
    cli::output::{Column, table},
    pb,
};

/// `18 credits: agent mode, gpt-4o (standard tier), rate card default-1`.
pub(crate) fn headline(price: &pb::Price, action: &pb::Action) -> String {
    let parts = [
        format!("{} mode", action.mode),
        model(action, &price.tier),
        format!("rate card {}", price.rate_card_version),
    ];
    format!("{}: {}", credits(price.credits), parts.join(", "))
}

/// `gpt-4o (standard tier)`; `no model`.
pub(super) fn model(action: &pb::Action, tier: &str) -> String {
    match (action.model.as_str(), tier) {
        ("", _) => "no model".to_owned(),
        (model, "") => model.to_owned(),
        (model, tier) => format!("{model} ({tier} tier)"),
    }
}

/// Quantity × rate = amount for each item, their sum, × the mode's multiplier, and what became
/// of the exact number. `outcome` is named where it changed the price.
pub(crate) fn price_table(price: &pb::Price, mode: &str, outcome: Option<&str>) -> String {
    let item = |item: &pb::LineItem| {
        let quantity = count(item.quantity);
        row(&item.meter, [&quantity, "×", &item.rate], &item.amount)
    };
    let mut rows: Vec<Vec<String>> = price.items.iter().map(item).collect();
    rows.push(row("subtotal", ["", "", ""], &price.subtotal));
    rows.push(row(
        &format!("{mode} mode"),
        ["", "×", &price.multiplier],
        &price.exact,
    ));
    let steps = last_steps(price, mode, outcome);
    rows.extend(
        steps
            .iter()
            .map(|(what, amount)| row(what, ["", "", ""], amount)),
    );
    let columns = [
        Column::Text("meter"),
        Column::Number("quantity"),
        Column::Text(""),
        Column::Number("rate"),
        Column::Text(""),
        Column::Number("amount"),
    ];
    table(&columns, rows)
}

fn row(what: &str, [quantity, times, rate]: [&str; 3], amount: &str) -> Vec<String> {
    [what, quantity, times, rate, "=", amount]
        .map(str::to_owned)
        .into()
}

/// From the exact number to the credits: rounded up once, then the minimum or the outcome.
fn last_steps(price: &pb::Price, mode: &str, outcome: Option<&str>) -> Vec<(String, String)> {
    let charged = count(price.credits);
    let exact = Decimal::from_str_exact(&price.exact);
    let Ok(exact) = exact.map(|exact| exact.normalize()) else {
        return vec![("price".to_owned(), charged)];
    };
    let whole = exact.ceil();
    let price_credits = Decimal::from(price.credits);
    let mut steps = Vec::new();
    if whole != exact {
        let whole = u64::try_from(whole).map_or_else(|_| whole.to_string(), count);
        steps.push(("rounded up".to_owned(), whole));
    }
    if price_credits > whole {
        steps.push((format!("minimum of {mode} mode"), charged));
    } else if price_credits < whole {
        let why = outcome.map_or_else(|| "charged".to_owned(), |outcome| format!("as {outcome}"));
        steps.push((why, charged));
    } else if steps.is_empty() {
        steps.push(("price".to_owned(), charged));
    }
    steps
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The worked example of the product's page.
    pub(in crate::cli::show) fn worked_example() -> pb::Price {
        let items = [
            ("input_tokens", 12_400, "0.0004", "4.96"),
            ("cached_input_tokens", 30_000, "0.00004", "1.2"),
            ("output_tokens", 1_850, "0.002", "3.7"),
            ("tool_calls", 7, "0.2", "1.4"),
            ("file_operations", 9, "0.05", "0.45"),
        ];
        let item = |(meter, quantity, rate, amount): (&str, u64, &str, &str)| pb::LineItem {
            meter: meter.to_owned(),
            quantity,
            rate: rate.to_owned(),
            amount: amount.to_owned(),
        };
        pb::Price {
            credits: 18,
            rate_card_version: "default-1".to_owned(),
            tier: "standard".to_owned(),
            items: items.map(item).into(),
            subtotal: "11.71".to_owned(),
            multiplier: "1.5".to_owned(),
            exact: "17.565".to_owned(),
        }
    }

    #[test]
    fn a_price_shows_how_it_came_about() {
        let expected = "\
meter                quantity        rate     amount
input_tokens           12,400  ×   0.0004  =    4.96
cached_input_tokens    30,000  ×  0.00004  =     1.2
output_tokens           1,850  ×    0.002  =     3.7
tool_calls                  7  ×      0.2  =     1.4
file_operations             9  ×     0.05  =    0.45
subtotal                                   =   11.71
agent mode                     ×      1.5  =  17.565
rounded up                                 =      18";
        assert_eq!(price_table(&worked_example(), "agent", None), expected);
        let action = pb::Action {
            mode: "agent".to_owned(),
            model: "gpt-4o".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            headline(&worked_example(), &action),
            "18 credits: agent mode, gpt-4o (standard tier), rate card default-1"
        );
    }

    #[test]
    fn the_last_step_says_what_gave_the_number() {
        let steps = |credits, exact: &str, outcome| {
            let exact = exact.to_owned();
            let price = pb::Price {
                credits,
                exact,
                ..Default::default()
            };
            let steps = last_steps(&price, "build", outcome);
            let steps: Vec<String> = steps.iter().map(|(a, b)| format!("{a} {b}")).collect();
            steps.join(", ")
        };
        assert_eq!(steps(17, "17.000", None), "price 17");
        assert_eq!(steps(18, "17.1", None), "rounded up 18");
        assert_eq!(
            steps(5, "0.3", None),
            "rounded up 1, minimum of build mode 5"
        );
        assert_eq!(steps(5, "3", None), "minimum of build mode 5");
        assert_eq!(
            steps(0, "17.565", Some("failed")),
            "rounded up 18, as failed 0"
        );
        assert_eq!(steps(0, "0", None), "price 0");
        assert_eq!(steps(7, "many", None), "price 7");
    }
}
