//! Reads accounts with their whole ledgers, for the check. It judges nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::setup::{Admin, retry};
use crate::{
    cli::{exit::Exit, output::Failure},
    pb::{Balance, Entry, EntryKind, GetAccountRequest, ListEntriesRequest},
};

/// The entries that are asked for at once.
const PAGE: i32 = 1_000;
/// The most entries that one check reads; accounts beyond are left out, and counted.
const ENTRIES_MAX: u64 = 5_000_000;
/// How often an account is read until its ledger has caught up with its balance.
const ROUNDS_MAX: u32 = 100;
/// The pause between two such rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// An account as the server shows it.
pub(super) struct Shown {
    pub(super) balance: Balance,
    /// Newest first.
    pub(super) entries: Vec<Line>,
}

/// What is looked at of an entry.
pub(super) struct Line {
    pub(super) sequence: u64,
    pub(super) credits: i64,
    /// For usage: the id of the reservation.
    pub(super) usage: Option<String>,
    pub(super) receipt_sequence: u64,
}

/// Reads accounts, and counts what it reads.
pub(super) struct Reader {
    pub(super) admin: Admin,
    /// Read so far, by all.
    pub(super) entries: Arc<AtomicU64>,
}

impl Reader {
    /// Reads an account with its ledger. `None`: the bound on entries is reached.
    pub(super) async fn read(&self, account_id: &str) -> Result<Option<Shown>, Failure> {
        let mut rounds = 0;
        loop {
            let balance = self.balance(account_id).await?;
            let Some(entries) = self.entries(account_id).await? else {
                return Ok(None);
            };
            let newest = entries.first().map_or(0, |line| line.sequence);
            rounds += 1;
            // Where commits are answered before the ledger has them it may be behind for a while.
            if newest == balance.sequence || rounds >= ROUNDS_MAX {
                return Ok(Some(Shown { balance, entries }));
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn balance(&self, account_id: &str) -> Result<Balance, Failure> {
        let answer = retry("GetAccount", || {
            let mut admin = self.admin.clone();
            let request = GetAccountRequest {
                account_id: account_id.to_owned(),
            };
            async move { admin.get_account(request).await }
        })
        .await?;
        let account = answer.into_inner().account;
        account.and_then(|account| account.balance).ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("GetAccount: {account_id} without a balance"),
            )
        })
    }

    async fn entries(&self, account_id: &str) -> Result<Option<Vec<Line>>, Failure> {
        let mut lines = Vec::new();
        let mut page_token = String::new();
        // Bounded by ENTRIES_MAX: an empty page with a further token ends it too.
        loop {
            let request = ListEntriesRequest {
                account_id: account_id.to_owned(),
                page_size: PAGE,
                page_token,
                ..ListEntriesRequest::default()
            };
            let answer = retry("ListEntries", || {
                let (mut admin, request) = (self.admin.clone(), request.clone());
                async move { admin.list_entries(request).await }
            })
            .await?
            .into_inner();
            let got = answer.entries.len() as u64;
            if self.entries.fetch_add(got, Ordering::Relaxed) + got > ENTRIES_MAX {
                return Ok(None);
            }
            lines.extend(answer.entries.into_iter().map(Line::from));
            page_token = answer.next_page_token;
            if page_token.is_empty() || got == 0 {
                return Ok(Some(lines));
            }
        }
    }
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let is_usage = entry.kind() == EntryKind::Usage;
        Line {
            sequence: entry.sequence,
            credits: entry.credits,
            usage: is_usage.then_some(entry.reservation_id),
            receipt_sequence: entry.receipt.map_or(0, |receipt| receipt.sequence),
        }
    }
}
