//! Accounts, their balances and their grants.

use super::{count, credits, instant, names};
use crate::{
    cli::output::{Column, table},
    pb,
};

/// A balance in one line, below another answer.
pub(crate) fn balance_line(balance: &pb::Balance) -> String {
    let mut parts = vec![format!("{} available", count(balance.available))];
    parts.push(format!("{} held", count(balance.held)));
    if balance.debt > 0 {
        parts.push(format!("{} owed", count(balance.debt)));
    }
    let renews = instant(balance.renews_at.as_ref());
    format!(
        "balance: {}; plan {}, renews {renews}",
        parts.join(", "),
        balance.plan_id
    )
}

/// A balance in full.
pub(crate) fn balance(balance: &pb::Balance, account_id: &str) -> String {
    let used = format!(
        "{} of {} used in this cycle, {} left, renews {}",
        count(balance.plan_used),
        count(balance.plan_allowance),
        count(balance.plan_remaining),
        instant(balance.renews_at.as_ref()),
    );
    let as_of = format!(
        "{}, entry {}, version {}",
        instant(balance.as_of.as_ref()),
        count(balance.sequence),
        count(balance.version),
    );
    let mut rows = vec![
        ("available", count(balance.available)),
        ("held", count(balance.held)),
        ("plan", format!("{}: {used}", balance.plan_id)),
        (
            "packs",
            format!(
                "{} left, promotions included",
                count(balance.pack_remaining)
            ),
        ),
        ("as of", as_of),
    ];
    if balance.debt > 0 {
        let debt = format!("{}: the next grant pays it first", count(balance.debt));
        rows.insert(2, ("debt", debt));
    }
    let lines = rows
        .iter()
        .map(|(name, value)| format!("  {name:<9}  {value}"));
    format!(
        "account {account_id}\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// An account with its grants, in the order in which they are spent.
pub(crate) fn account(account: &pb::Account) -> String {
    let next = match account.next_plan_id.as_str() {
        "" => String::new(),
        next => format!(" ({next} from the renewal on)"),
    };
    let mut lines = vec![
        format!(
            "account {}: {}, plan {}{next}, overage becomes {}",
            account.account_id,
            names::account_status(account.status),
            account.plan_id,
            overage(account.overage_policy()),
        ),
        format!(
            "subscribed {}, cycle {} to {}",
            instant(account.subscribed_at.as_ref()),
            instant(account.cycle_start.as_ref()),
            instant(account.cycle_end.as_ref()),
        ),
    ];
    lines.extend(account.balance.as_ref().map(balance_line));
    if !account.grants.is_empty() {
        lines.push(String::new());
        lines.push(grants(&account.grants));
    }
    lines.join("\n")
}

fn overage(policy: pb::OveragePolicy) -> &'static str {
    match policy {
        pb::OveragePolicy::Unspecified | pb::OveragePolicy::Debt => "debt",
        pb::OveragePolicy::Absorb => "a loss of ours (absorbed)",
    }
}

fn grants(grants: &[pb::Grant]) -> String {
    let columns = [
        Column::Text("grant"),
        Column::Text("kind"),
        Column::Number("amount"),
        Column::Number("used"),
        Column::Number("held"),
        Column::Number("expired"),
        Column::Number("left"),
        Column::Text("expires"),
        Column::Text("source"),
    ];
    let rows = grants.iter().map(|grant| {
        vec![
            grant.grant_id.clone(),
            names::grant_kind(grant.kind),
            count(grant.amount),
            count(grant.used),
            count(grant.held),
            count(grant.expired),
            count(left(grant)),
            ends(grant),
            grant.source.clone(),
        ]
    });
    table(&columns, rows)
}

/// A grant in one line, below another answer.
pub(crate) fn grant_line(grant: &pb::Grant) -> String {
    format!(
        "grant {} ({}): {}, {} left, {}",
        grant.grant_id,
        names::grant_kind(grant.kind),
        credits(grant.amount),
        count(left(grant)),
        match (&grant.voided_at, &grant.expires_at) {
            (Some(_), _) => ends(grant),
            (None, Some(_)) => format!("expires {}", ends(grant)),
            (None, None) => "never expires".to_owned(),
        },
    )
}

fn left(grant: &pb::Grant) -> u64 {
    let gone = [grant.used, grant.held, grant.expired];
    gone.iter()
        .fold(grant.amount, |left, part| left.saturating_sub(*part))
}

fn ends(grant: &pb::Grant) -> String {
    match (&grant.voided_at, &grant.expires_at) {
        (Some(voided), _) => format!("voided {}", instant(Some(voided))),
        (None, Some(expires)) => instant(Some(expires)),
        (None, None) => "never".to_owned(),
    }
}

/// Accounts, one a line.
pub(crate) fn accounts(accounts: &[pb::Account]) -> String {
    let columns = [
        Column::Text("account"),
        Column::Text("status"),
        Column::Text("plan"),
        Column::Number("available"),
        Column::Number("held"),
        Column::Number("debt"),
        Column::Text("renews"),
    ];
    let nothing = pb::Balance::default();
    let rows = accounts.iter().map(|account| {
        let balance = account.balance.as_ref().unwrap_or(&nothing);
        vec![
            account.account_id.clone(),
            names::account_status(account.status),
            account.plan_id.clone(),
            count(balance.available),
            count(balance.held),
            count(balance.debt),
            instant(account.cycle_end.as_ref()),
        ]
    });
    table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn acme() -> pb::Account {
        pb::Account {
            account_id: "acme".to_owned(),
            status: pb::AccountStatus::Active.into(),
            plan_id: "pro".to_owned(),
            next_plan_id: "starter".to_owned(),
            subscribed_at: at(1_769_853_600),
            cycle_start: at(1_769_853_600),
            cycle_end: at(1_772_272_800),
            grants: vec![
                pb::Grant {
                    grant_id: "plan:0".to_owned(),
                    kind: pb::GrantKind::Plan.into(),
                    amount: 5_000,
                    used: 100,
                    held: 60,
                    expires_at: at(1_772_272_800),
                    source: "pro".to_owned(),
                    ..Default::default()
                },
                pb::Grant {
                    grant_id: "pack-1".to_owned(),
                    kind: pb::GrantKind::Pack.into(),
                    amount: 500,
                    source: "small".to_owned(),
                    ..Default::default()
                },
            ],
            balance: Some(pb::Balance {
                available: 5_340,
                held: 60,
                plan_id: "pro".to_owned(),
                plan_allowance: 5_000,
                plan_used: 100,
                plan_remaining: 4_840,
                pack_remaining: 500,
                renews_at: at(1_772_272_800),
                sequence: 4,
                as_of: at(1_769_853_660),
                version: 9,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn an_account_lists_its_grants_in_the_order_of_spending() {
        let expected = "\
account acme: active, plan pro (starter from the renewal on), overage becomes debt
subscribed 2026-01-31T10:00:00Z, cycle 2026-01-31T10:00:00Z to 2026-02-28T10:00:00Z
balance: 5,340 available, 60 held; plan pro, renews 2026-02-28T10:00:00Z

grant   kind  amount  used  held  expired   left  expires               source
plan:0  plan   5,000   100    60        0  4,840  2026-02-28T10:00:00Z  pro
pack-1  pack     500     0     0        0    500  never                 small";
        assert_eq!(account(&acme()), expected);
        let expected = "\
account  status  plan  available  held  debt  renews
acme     active  pro       5,340    60     0  2026-02-28T10:00:00Z";
        assert_eq!(accounts(&[acme()]), expected);
    }

    #[test]
    fn a_balance_names_debt_where_there_is_some() {
        let mut shown = acme().balance.unwrap();
        let expected = "\
account acme
  available  5,340
  held       60
  plan       pro: 100 of 5,000 used in this cycle, 4,840 left, renews 2026-02-28T10:00:00Z
  packs      500 left, promotions included
  as of      2026-01-31T10:01:00Z, entry 4, version 9";
        assert_eq!(balance(&shown, "acme"), expected);
        (shown.available, shown.debt) = (0, 12);
        let text = balance(&shown, "acme");
        assert!(
            text.contains("  debt       12: the next grant pays it first"),
            "{text}"
        );
        assert!(balance_line(&shown).starts_with("balance: 0 available, 60 held, 12 owed;"));
    }

    #[test]
    fn a_grant_says_when_it_ends() {
        let [plan, pack]: [pb::Grant; 2] = acme().grants.try_into().unwrap();
        assert_eq!(
            grant_line(&pack),
            "grant pack-1 (pack): 500 credits, 500 left, never expires"
        );
        let expected = "grant plan:0 (plan): 5,000 credits, 4,840 left, \
            expires 2026-02-28T10:00:00Z";
        assert_eq!(grant_line(&plan), expected);
        let void = pb::Grant {
            voided_at: at(60),
            expired: 500,
            ..pack
        };
        let expected = "grant pack-1 (pack): 500 credits, 0 left, voided 1970-01-01T00:01:00Z";
        assert_eq!(grant_line(&void), expected);
    }
}
