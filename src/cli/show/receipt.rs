//! What one settlement did: how the charge relates to the hold, and which grants paid it.

use super::{count, credits, draws, price_table};
use crate::pb;

/// What a receipt is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Of a commit, which had a hold.
    Commit,
    /// Of a charge, which had none.
    Charge,
}

/// The lines below `charged N credits`. `outcome` is named where it changed the price.
pub(crate) fn receipt(
    receipt: &pb::Receipt,
    of: Settlement,
    mode: &str,
    outcome: Option<&str>,
) -> String {
    let mut lines = hold_lines(receipt, of);
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
fn hold_lines(receipt: &pb::Receipt, of: Settlement) -> Vec<String> {
    let mut lines = Vec::new();
    if receipt.corrected > 0 {
        let back = credits(receipt.corrected);
        lines.push(format!("gave back {back} that earlier commits had charged"));
    }
    let from_hold = receipt.credits.saturating_sub(receipt.overage);
    if receipt.late {
        lines.push("late: the reservation had expired or was not known".to_owned());
    }
    let has_hold = of == Settlement::Commit;
    if has_hold && (from_hold > 0 || receipt.returned > 0) {
        let (used, returned) = (count(from_hold), count(receipt.returned));
        lines.push(format!("of the hold {used} used, {returned} returned"));
    }
    if receipt.overage > 0 {
        let above = if has_hold { "the hold" } else { "the balance" };
        let mut line = format!("above {above} {}", count(receipt.overage));
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
        assert_eq!(receipt(&shown, Settlement::Commit, "agent", None), expected);
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
        assert_eq!(receipt(&shown, Settlement::Commit, "agent", None), expected);
    }

    #[test]
    fn a_charge_has_no_hold() {
        let shown = pb::Receipt {
            credits: 9,
            overage: 4,
            written_off: 4,
            draws: vec![draw("plan:0", 5)],
            ..Default::default()
        };
        let expected = "above the balance 4, of which 4 written off\ndrawn from plan:0 5";
        assert_eq!(receipt(&shown, Settlement::Charge, "edit", None), expected);
    }

    #[test]
    fn a_later_commit_says_what_was_charged_before() {
        let price = super::super::price::tests::worked_example();
        let shown = pb::Receipt {
            credits: 7,
            price: Some(price),
            ..Default::default()
        };
        let text = receipt(&shown, Settlement::Commit, "agent", None);
        let line = "the usage so far costs 18 credits, of which 11 were charged before";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        assert!(text.ends_with("=      18"), "{text}");
    }
}
