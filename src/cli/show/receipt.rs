//! What one settlement did: how the charge relates to the hold, and which grants paid it.

use super::{count, credits, draws, price_table};
use crate::pb;

/// The lines below `charged N credits`. `outcome` is named where it changed the price.
pub(crate) fn receipt(receipt: &pb::Receipt, mode: &str, outcome: Option<&str>) -> String {
    let mut lines = hold_lines(receipt);
    if !receipt.draws.is_empty() {
        lines.push(format!("drawn from {}", draws(&receipt.draws)));
    }
    if let Some(price) = &receipt.price {
        if price.credits > receipt.credits {
            let before = count(price.credits - receipt.credits);
            let whole = credits(price.credits);
            lines.push(format!(
                "the usage so far costs {whole}, of which {before} were charged before"
            ));
        }
        lines.push(price_table(price, mode, outcome));
    }
    lines.join("\n")
}

/// The hold against what was used, and what became of usage above it.
pub(super) fn hold_lines(receipt: &pb::Receipt) -> Vec<String> {
    let mut lines = Vec::new();
    let from_hold = receipt.credits.saturating_sub(receipt.overage);
    if receipt.late {
        lines.push("late: the reservation had expired or was not known".to_owned());
    }
    if from_hold > 0 || receipt.returned > 0 {
        let (used, returned) = (count(from_hold), count(receipt.returned));
        lines.push(format!("of the hold {used} used, {returned} returned"));
    }
    if receipt.overage > 0 {
        let mut line = format!("above the hold {}", count(receipt.overage));
        let parts = [
            (receipt.debt_added, "became debt"),
            (receipt.written_off, "written off"),
        ];
        let parts = parts.into_iter().filter(|(part, _)| *part > 0);
        let parts: Vec<String> = parts
            .map(|(part, what)| format!("{} {what}", count(part)))
            .collect();
        if !parts.is_empty() {
            line.push_str(&format!(", of which {}", parts.join(" and ")));
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(grant_id: &str, credits: u64) -> pb::GrantDraw {
        pb::GrantDraw {
            grant_id: grant_id.to_owned(),
            credits,
        }
    }

    #[test]
    fn a_charge_within_the_hold_returns_the_rest() {
        let shown = pb::Receipt {
            credits: 18,
            returned: 7,
            draws: vec![draw("plan:0", 15), draw("pack-1", 3)],
            ..Default::default()
        };
        let expected = "of the hold 18 used, 7 returned\ndrawn from plan:0 15, pack-1 3";
        assert_eq!(receipt(&shown, "agent", None), expected);
    }

    #[test]
    fn usage_above_the_hold_is_never_hidden() {
        let shown = pb::Receipt {
            credits: 1_018,
            overage: 1_000,
            debt_added: 400,
            late: true,
            draws: vec![draw("plan:0", 618)],
            ..Default::default()
        };
        let expected = "\
late: the reservation had expired or was not known
of the hold 18 used, 0 returned
above the hold 1,000, of which 400 became debt
drawn from plan:0 618";
        assert_eq!(receipt(&shown, "agent", None), expected);
    }

    #[test]
    fn a_later_commit_says_what_was_charged_before() {
        let price = super::super::price::tests::worked_example();
        let shown = pb::Receipt {
            credits: 7,
            price: Some(price),
            ..Default::default()
        };
        let text = receipt(&shown, "agent", None);
        let line = "the usage so far costs 18 credits, of which 11 were charged before";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        assert!(text.ends_with("=      18"), "{text}");
    }
}
