//! A denial: why, what was needed, what is there, and what can be done about it.

use super::{count, credits, instant, names};
use crate::{
    cli::output::{Column, table},
    pb::{self, remedy::Remedy},
};

/// The denial of a request of `account_id`.
pub(crate) fn denial(denial: &pb::Denial, account_id: &str) -> String {
    let missing = denial.required.saturating_sub(denial.available);
    let mut text = format!(
        "denied: {} ({})\n  required {}, available {}",
        reason(denial.reason()),
        names::denial_reason(denial.reason),
        credits(denial.required),
        count(denial.available),
    );
    if missing > 0 {
        text.push_str(&format!(": {} short", count(missing)));
    }
    let ways = ways(denial, account_id);
    if !ways.is_empty() {
        let shown = table(&[Column::Text("what can be done"), Column::Text("")], ways);
        text.push('\n');
        text.push_str(&super::indent(&shown, 2));
    }
    text
}

fn reason(reason: pb::DenialReason) -> &'static str {
    match reason {
        pb::DenialReason::Unspecified => "the server gave no reason",
        pb::DenialReason::InsufficientCredits => "not enough credits are left",
        pb::DenialReason::BalanceExhausted => "no credits are left",
        pb::DenialReason::DebtOutstanding => "earlier overage is unpaid",
        pb::DenialReason::AccountSuspended => "the account is suspended",
        pb::DenialReason::AccountClosed => "the account is closed",
    }
}

/// Each way out, and the command that takes it.
fn ways(denial: &pb::Denial, account_id: &str) -> Vec<Vec<String>> {
    let remedies = denial
        .remedies
        .iter()
        .filter_map(|remedy| remedy.remedy.as_ref());
    let mut ways: Vec<Vec<String>> = remedies
        .map(|remedy| match remedy {
            Remedy::BuyPack(pack) => vec![
                format!("buy the pack {} ({})", pack.pack_id, credits(pack.credits)),
                format!("tollgate grant {account_id} --pack {}", pack.pack_id),
            ],
            Remedy::UpgradePlan(plan) => vec![
                format!(
                    "move to the plan {} ({} a cycle)",
                    plan.plan_id,
                    credits(plan.allowance)
                ),
                format!("tollgate account plan {account_id} {}", plan.plan_id),
            ],
            Remedy::WaitForRenewal(wait) => vec![
                format!("wait: it renews at {}", instant(wait.renews_at.as_ref())),
                String::new(),
            ],
        })
        .collect();
    match denial.reason() {
        pb::DenialReason::AccountSuspended | pb::DenialReason::AccountClosed => {
            let command = format!("tollgate account activate {account_id}");
            ways.push(vec!["let it hold credits again".to_owned(), command]);
        }
        pb::DenialReason::Unspecified
        | pb::DenialReason::InsufficientCredits
        | pb::DenialReason::BalanceExhausted
        | pb::DenialReason::DebtOutstanding => {}
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_what_can_be_done() {
        let remedies = [
            Remedy::BuyPack(pb::remedy::BuyPack {
                pack_id: "small".to_owned(),
                credits: 500,
            }),
            Remedy::UpgradePlan(pb::remedy::UpgradePlan {
                plan_id: "pro".to_owned(),
                allowance: 5_000,
            }),
            Remedy::WaitForRenewal(pb::remedy::WaitForRenewal {
                renews_at: Some(prost_types::Timestamp {
                    seconds: 1_769_853_600,
                    nanos: 0,
                }),
            }),
        ];
        let denied = pb::Denial {
            reason: pb::DenialReason::InsufficientCredits.into(),
            required: 500,
            available: 440,
            remedies: remedies
                .map(|remedy| pb::Remedy {
                    remedy: Some(remedy),
                })
                .into(),
        };
        let expected = "\
denied: not enough credits are left (insufficient_credits)
  required 500 credits, available 440: 60 short
  what can be done
  buy the pack small (500 credits)            tollgate grant acme --pack small
  move to the plan pro (5,000 credits a cycle)  tollgate account plan acme pro
  wait: it renews at 2026-01-31T10:00:00Z";
        let shown = denial(&denied, "acme");
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&shown), squeezed(expected));
        assert_eq!(shown.lines().count(), expected.lines().count());
    }

    #[test]
    fn a_suspended_account_is_activated() {
        let denied = pb::Denial {
            reason: pb::DenialReason::AccountSuspended.into(),
            required: 5,
            available: 500,
            remedies: Vec::new(),
        };
        let expected = "\
denied: the account is suspended (account_suspended)
  required 5 credits, available 500
  what can be done
  let it hold credits again  tollgate account activate acme";
        assert_eq!(denial(&denied, "acme"), expected);
    }
}
