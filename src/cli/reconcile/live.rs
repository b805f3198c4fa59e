//! A server's balances against the ledger, account by account, where both stand at the same
//! sequence.

use tonic::transport::Channel;

use super::Compared;
use crate::{
    cli::{client::failure, output::Failure},
    domain::ids::AccountId,
    ledger::{Finding, Ledger},
    pb::{
        Account, GetAccountRequest, ListAccountsRequest, admin_service_client::AdminServiceClient,
    },
};

/// How many accounts are asked for at once.
const PAGE_ROWS: i32 = 1000;
/// How often an account is looked at again whose ledger is still on its way.
const LOOKS_MAX: usize = 3;
/// The invariant that a difference breaks: the entries add up to the state.
const ADDS_UP: u8 = 4;

/// Compares every account of the server, until `limit` of them are off.
pub(super) async fn compare(
    channel: Channel,
    ledger: &dyn Ledger,
    limit: usize,
) -> Result<Compared, Failure> {
    let mut admin = AdminServiceClient::new(channel);
    let mut compared = Compared::default();
    let mut page_token = String::new();
    loop {
        let request = ListAccountsRequest {
            page_size: PAGE_ROWS,
            page_token,
        };
        let page = admin.list_accounts(request).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        for account in page.accounts {
            compare_one(&mut admin, ledger, account, &mut compared).await?;
            if compared.findings.len() >= limit {
                return Ok(compared);
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(compared);
        }
        page_token = page.next_page_token;
    }
}

async fn compare_one(
    admin: &mut AdminServiceClient<Channel>,
    ledger: &dyn Ledger,
    mut hot: Account,
    compared: &mut Compared,
) -> Result<(), Failure> {
    for _ in 0..LOOKS_MAX {
        let Some(stored) = stored(ledger, &hot).await? else {
            break;
        };
        let sequence = hot.balance.as_ref().map_or(0, |balance| balance.sequence);
        if stored.sequence == sequence {
            compared.accounts += 1;
            compared.findings.extend(differences(&hot, &stored));
            return Ok(());
        }
        let request = GetAccountRequest {
            account_id: hot.account_id.clone(),
        };
        let answer = admin
            .get_account(request)
            .await
            .map_err(|status| failure(&status))?;
        match answer.into_inner().account {
            Some(account) => hot = account,
            None => break,
        }
    }
    compared.moving += 1;
    Ok(())
}

async fn stored(
    ledger: &dyn Ledger,
    hot: &Account,
) -> Result<Option<crate::domain::account::Account>, Failure> {
    let Ok(id) = AccountId::new(&hot.account_id) else {
        return Ok(None);
    };
    let as_of = hot.balance.as_ref().and_then(|balance| balance.as_of);
    let now = as_of.map_or(0, |at| at.seconds * 1000 + i64::from(at.nanos / 1_000_000));
    let now = crate::domain::timestamp::Timestamp::from_millis(now);
    let found = ledger.account(&id, now).await;
    found.map_err(|error| Failure::new(crate::cli::exit::Exit::Internal, error.to_string()))
}

/// Debt, and every grant that both have, part by part.
fn differences(hot: &Account, stored: &crate::domain::account::Account) -> Vec<Finding> {
    let mut found = Vec::new();
    let stored_id = &stored.id;
    let mut differ = |what: String, hot: u64, stored: u64| {
        if hot != stored {
            found.push(Finding {
                account_id: Some(stored_id.clone()),
                invariant: ADDS_UP,
                detail: format!("{what} is {hot} in memory and {stored} in the ledger"),
            });
        }
    };
    let debt = hot.balance.as_ref().map_or(0, |balance| balance.debt);
    differ("debt".to_owned(), debt, stored.head.debt);
    for grant in &stored.grants {
        let same = |other: &&crate::pb::Grant| other.grant_id == grant.id.as_str();
        let Some(hot) = hot.grants.iter().find(same) else {
            continue;
        };
        let name = |part: &str| format!("grant {}: {part}", grant.id);
        differ(name("amount"), hot.amount, grant.amount);
        differ(name("used"), hot.used, grant.used);
        differ(name("expired"), hot.expired, grant.expired);
    }
    found
}
