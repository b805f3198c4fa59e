//! A server's balances against the ledger, account by account, where both stand at the same
//! sequence. No call says which reservations are open, so what is held is held against the grants
//! only; the server's own reconciler adds the open holds up.

use super::{Compared, told};
use crate::{
    cli::{
        client::{Client, failure},
        exit::Exit,
        output::Failure,
    },
    domain::{account::Account, ids::AccountId},
    ledger::{Finding, Ledger, LedgerFault},
    pb::{self, GetAccountRequest, ListAccountsRequest},
    workers::reconciler::differences_of,
};

/// How many accounts are asked for at once.
const PAGE_ROWS: i32 = 1000;
/// How often an account is looked at again whose ledger is still on its way.
const LOOKS_MAX: usize = 3;
/// The invariant that a balance breaks which is not what its grants add up to.
const HOLDS: u8 = 2;
/// The invariant that a difference breaks: the entries add up to the state.
const ADDS_UP: u8 = 4;

/// Compares every account of the server, until `limit` of them are off.
pub(super) async fn compare(
    client: &Client,
    ledger: &dyn Ledger,
    limit: usize,
) -> Result<Compared, Failure> {
    let mut compared = Compared::default();
    let mut page_token = String::new();
    loop {
        let request = ListAccountsRequest {
            page_size: PAGE_ROWS,
            page_token,
        };
        let page = client.admin().list_accounts(client.request(request)).await;
        let page = page.map_err(|status| failure(&status))?.into_inner();
        for account in page.accounts {
            compare_one(client, ledger, account, &mut compared).await?;
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
    client: &Client,
    ledger: &dyn Ledger,
    mut hot: pb::Account,
    compared: &mut Compared,
) -> Result<(), Failure> {
    for _ in 0..LOOKS_MAX {
        let Some(stored) = stored(ledger, &hot).await? else {
            let text = format!("{}: the ledger does not know it", hot.account_id);
            compared.findings.push(finding(None, ADDS_UP, text));
            return Ok(());
        };
        let sequence = hot.balance.as_ref().map_or(0, |balance| balance.sequence);
        if stored.sequence == sequence {
            compared.accounts += 1;
            compared
                .findings
                .extend(differences(&hot, &stored, ledger).await?);
            return Ok(());
        }
        let request = GetAccountRequest {
            account_id: hot.account_id.clone(),
        };
        let answer = client.admin().get_account(client.request(request)).await;
        let answer = answer.map_err(|status| failure(&status))?;
        match answer.into_inner().account {
            Some(account) => hot = account,
            None => break,
        }
    }
    compared.moving += 1;
    Ok(())
}

async fn stored(ledger: &dyn Ledger, hot: &pb::Account) -> Result<Option<Account>, Failure> {
    let Ok(id) = AccountId::new(&hot.account_id) else {
        return Ok(None);
    };
    let as_of = hot.balance.as_ref().and_then(|balance| balance.as_of);
    let now = told::instant(as_of.as_ref()).unwrap_or_default();
    ledger.account(&id, now).await.map_err(unread)
}

async fn differences(
    hot: &pb::Account,
    stored: &Account,
    ledger: &dyn Ledger,
) -> Result<Vec<Finding>, Failure> {
    let id = &stored.id;
    let Some(account) = told::account(hot, stored) else {
        let text = "the server's answer is no account".to_owned();
        return Ok(vec![finding(Some(id), ADDS_UP, text)]);
    };
    let found = differences_of(&account, stored, ledger).await;
    let found = found
        .map_err(unread)?
        .into_iter()
        .map(|text| (ADDS_UP, text));
    let within = told::contradictions(hot, &account);
    let within = within.into_iter().map(|text| (HOLDS, text));
    let of_memory = |(invariant, text)| finding(Some(id), invariant, format!("in memory: {text}"));
    Ok(found.chain(within).map(of_memory).collect())
}

fn finding(account_id: Option<&AccountId>, invariant: u8, detail: String) -> Finding {
    Finding {
        account_id: account_id.cloned(),
        invariant,
        detail,
    }
}

fn unread(fault: LedgerFault) -> Failure {
    Failure::new(Exit::Internal, fault.to_string())
}
