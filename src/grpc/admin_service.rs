//! AdminService: accounts, plans, grants, refunds, and the ledger to look things up in.
//!
//! Every change goes to the ledger first, under its idempotency key; a repeated one answers what
//! the first one answered. Nothing here decides about credits, and no list is unbounded.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    audit::ChangeLine,
    convert::{account, admin, again, answer, audit, entry, list, quota},
    core::Core,
    gate::Caller,
    status,
};
use crate::{
    domain::{
        change::{Change, ChangeBody},
        entry::EntryKind,
        ids::{AccountId, GrantId, ReservationId},
        timestamp::Timestamp,
    },
    enforcer::{
        changes::{Changed, Clerk},
        error::EnforceError,
    },
    ledger::{ChangeRequest, EntryFilter, Recorded},
    pb::{self, admin_service_server::AdminService},
    telemetry::CreditsKind,
};

/// How many pages of a reservation's refunds are looked through for one.
const REFUND_PAGES_MAX: usize = 100;

/// The service, over an enforcer and its ledger.
#[derive(Clone)]
pub struct AdminApi {
    core: Core,
    clerk: Arc<Clerk>,
}

impl AdminApi {
    /// Serves from these parts.
    pub fn new(core: Core, clerk: Arc<Clerk>) -> Self {
        AdminApi { core, clerk }
    }

    async fn now(&self) -> Result<Timestamp, EnforceError> {
        Ok(self.core.enforcer.hot().now().await?)
    }

    /// Carries a change out, and has it write its call's line.
    async fn change(
        &self,
        rpc: &'static str,
        line: Option<ChangeLine>,
        mut change: ChangeRequest,
    ) -> Result<Changed, Status> {
        change.call = line.as_ref().map(ChangeLine::call);
        self.core.describe_account(&change.account_id);
        let changed = self.clerk.change(change).await;
        let changed = changed.map_err(|error| self.core.change_failed(rpc, &error))?;
        if changed.replayed {
            self.core.replayed(rpc);
        } else if let Some(line) = line {
            line.written();
        }
        Ok(changed)
    }

    /// The same for a change that the catalogue or the time may have ruled out since it was carried
    /// out `before`: then that is answered.
    async fn change_or_again(
        &self,
        rpc: &'static str,
        line: Option<ChangeLine>,
        parsed: Result<ChangeRequest, EnforceError>,
        before: Option<ChangeRequest>,
    ) -> Result<Changed, Status> {
        let refused = match parsed {
            Ok(change) => return self.change(rpc, line, change).await,
            Err(error) => error,
        };
        let done = match before {
            Some(before) => Some(self.clerk.change(before).await),
            None => None,
        };
        match done {
            Some(Ok(changed)) => {
                self.core.replayed(rpc);
                Ok(changed)
            }
            None
            | Some(Err(EnforceError::ChangeRefused(_) | EnforceError::ChangeConflict { .. })) => {
                Err(self.core.failed(rpc, &refused))
            }
            Some(Err(error)) => Err(self.core.change_failed(rpc, &error)),
        }
    }

    async fn account(&self, account_id: &AccountId) -> Result<pb::Account, EnforceError> {
        let (found, balance) = self.core.enforcer.account(account_id).await?;
        Ok(account::account(&found, &balance))
    }

    /// The account after a change, which is done whatever becomes of this.
    async fn changed_account(
        &self,
        rpc: &'static str,
        account_id: &AccountId,
    ) -> Result<pb::Account, Status> {
        let account = self.account(account_id).await;
        account.map_err(|error| self.core.change_failed(rpc, &error))
    }

    /// A grant: as it is while it lives, else as the ledger remembers it.
    async fn grant(
        &self,
        rpc: &'static str,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<pb::Grant, Status> {
        let failed = |error: EnforceError| self.core.change_failed(rpc, &error);
        let (found, _) = self
            .core
            .enforcer
            .account(account_id)
            .await
            .map_err(failed)?;
        if let Some(live) = found.grant(grant_id) {
            return Ok(account::live_grant(&found, live));
        }
        let stored = self.clerk.ledger().grant(account_id, grant_id).await;
        match stored.map_err(|fault| failed(fault.into()))? {
            Some(grant) => Ok(account::grant(&grant)),
            None => Err(self.broken(account_id, "a grant's change is settled, the grant is not")),
        }
    }

    /// The entry that a refund left.
    async fn refund_entry(
        &self,
        account_id: &AccountId,
        reservation_id: ReservationId,
        change: u64,
    ) -> Result<Recorded, Status> {
        let filter = EntryFilter {
            account_id: Some(account_id.clone()),
            reservation_id: Some(reservation_id),
            kinds: vec![EntryKind::Refund],
            ..EntryFilter::default()
        };
        let ledger = self.clerk.ledger();
        let mut page = None;
        for _ in 0..REFUND_PAGES_MAX {
            let found = ledger.entries(&filter, page, list::PAGE_MAX).await;
            let found = found.map_err(|fault| self.core.change_failed("Refund", &fault.into()))?;
            let mut entries = found.entries.into_iter();
            if let Some(recorded) = entries.find(|one| one.entry.change == Some(change)) {
                return Ok(recorded);
            }
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        Err(self.broken(account_id, "a refund is settled, its entry is not there"))
    }

    fn broken(&self, account_id: &AccountId, what: &'static str) -> Status {
        self.core.metrics.invariant_violation();
        status::broken(account_id.as_str(), what)
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::CreateAccountResponse>, Status> {
        const RPC: &str = "CreateAccount";
        let line = ChangeLine::of(&request);
        let failed = |error| self.core.failed(RPC, &error);
        let now = self.now().await.map_err(failed)?;
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let request = request.into_inner();
        let before = again::create(&request);
        let change = admin::create(request, &catalog, now);
        let changed = self.change_or_again(RPC, line, change, before).await?;
        let account_id = changed.change.account_id;
        let account = Some(self.changed_account(RPC, &account_id).await?);
        Ok(Response::new(pb::CreateAccountResponse { account }))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        let failed = |error| self.core.failed("GetAccount", &error);
        let account_id = quota::account(&request.get_ref().account_id).map_err(failed)?;
        let account = Some(self.account(&account_id).await.map_err(failed)?);
        Ok(Response::new(pb::GetAccountResponse { account }))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let failed = |error| self.core.failed("ListAccounts", &error);
        let (after, size) = list::accounts(request.get_ref()).map_err(failed)?;
        let now = self.now().await.map_err(failed)?;
        // One more than the page has says whether another page follows.
        let stored = self
            .clerk
            .ledger()
            .accounts(after.as_ref(), size + 1, now)
            .await;
        let stored = stored.map_err(|fault| failed(fault.into()))?;
        let more = stored.len() > size;
        let mut accounts = Vec::with_capacity(stored.len().min(size));
        for known in stored.iter().take(size) {
            accounts.push(self.account(&known.id).await.map_err(failed)?);
        }
        let next_page_token = match accounts.last() {
            Some(last) if more => last.account_id.clone(),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(pb::ListAccountsResponse {
            accounts,
            next_page_token,
        }))
    }

    async fn set_account_status(
        &self,
        request: Request<pb::SetAccountStatusRequest>,
    ) -> Result<Response<pb::SetAccountStatusResponse>, Status> {
        const RPC: &str = "SetAccountStatus";
        let line = ChangeLine::of(&request);
        let failed = |error| self.core.failed(RPC, &error);
        let (account_id, status, reason) =
            admin::set_status(request.into_inner()).map_err(failed)?;
        let enforcer = &self.core.enforcer;
        // An earlier call may have gone no further than the ledger: what it wanted is not to come
        // after this.
        enforcer.catch_up(&account_id).await.map_err(failed)?;
        let (present, _) = enforcer.account(&account_id).await.map_err(failed)?;
        if present.head.status != status {
            let change = admin::status_change(account_id.clone(), status, reason);
            self.change(RPC, line, change).await?;
        }
        let account = Some(self.changed_account(RPC, &account_id).await?);
        Ok(Response::new(pb::SetAccountStatusResponse { account }))
    }

    async fn change_plan(
        &self,
        request: Request<pb::ChangePlanRequest>,
    ) -> Result<Response<pb::ChangePlanResponse>, Status> {
        const RPC: &str = "ChangePlan";
        let line = ChangeLine::of(&request);
        let failed = |error| self.core.failed(RPC, &error);
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let before = again::change_plan(request.get_ref());
        let change = admin::change_plan(request.get_ref(), &catalog);
        let changed = self.change_or_again(RPC, line, change, before).await?;
        let account_id = changed.change.account_id;
        let account = Some(self.changed_account(RPC, &account_id).await?);
        Ok(Response::new(pb::ChangePlanResponse { account }))
    }

    async fn grant_credits(
        &self,
        request: Request<pb::GrantCreditsRequest>,
    ) -> Result<Response<pb::GrantCreditsResponse>, Status> {
        const RPC: &str = "GrantCredits";
        let line = ChangeLine::of(&request);
        let failed = |error| self.core.failed(RPC, &error);
        let now = self.now().await.map_err(failed)?;
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let request = request.into_inner();
        let before = again::grant(&request);
        let change = admin::grant(request, &catalog, now);
        let changed = self.change_or_again(RPC, line, change, before).await?;
        let Change {
            account_id, body, ..
        } = &changed.change;
        let ChangeBody::Grant { grant, .. } = body else {
            return Err(self.broken(account_id, "a grant's key is another change's"));
        };
        Ok(Response::new(pb::GrantCreditsResponse {
            grant: Some(self.grant(RPC, account_id, &grant.id).await?),
            balance: Some(answer::balance(&changed.balance)),
        }))
    }

    async fn void_grant(
        &self,
        request: Request<pb::VoidGrantRequest>,
    ) -> Result<Response<pb::VoidGrantResponse>, Status> {
        const RPC: &str = "VoidGrant";
        let line = ChangeLine::of(&request);
        let (change, grant_id) =
            admin::void(request.into_inner()).map_err(|error| self.core.failed(RPC, &error))?;
        let account_id = change.account_id.clone();
        let changed = self.change(RPC, line, change).await?;
        Ok(Response::new(pb::VoidGrantResponse {
            grant: Some(self.grant(RPC, &account_id, &grant_id).await?),
            balance: Some(answer::balance(&changed.balance)),
        }))
    }

    async fn refund(
        &self,
        request: Request<pb::RefundRequest>,
    ) -> Result<Response<pb::RefundResponse>, Status> {
        const RPC: &str = "Refund";
        let line = ChangeLine::of(&request);
        let (change, reservation_id) =
            admin::refund(request.into_inner()).map_err(|error| self.core.failed(RPC, &error))?;
        let account_id = change.account_id.clone();
        let changed = self.change(RPC, line, change).await?;
        let number = changed.change.number;
        let recorded = self
            .refund_entry(&account_id, reservation_id, number)
            .await?;
        if !changed.replayed {
            let credits = u64::try_from(recorded.entry.credits).unwrap_or(0);
            self.core.moved(CreditsKind::Refunded, credits);
        }
        Ok(Response::new(pb::RefundResponse {
            entry: Some(entry::entry(&recorded)),
            balance: Some(answer::balance(&changed.balance)),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let failed = |error| self.core.failed("ListEntries", &error);
        let query = list::entries(request.get_ref()).map_err(failed)?;
        let ledger = self.clerk.ledger();
        let page = ledger.entries(&query.filter, query.page, query.size).await;
        let page = page.map_err(|fault| failed(fault.into()))?;
        if page.entries.is_empty()
            && let Some(account_id) = &query.filter.account_id
        {
            // A mistyped id must not look like an account without entries.
            let known = ledger.accounts_of(std::slice::from_ref(account_id)).await;
            if known.map_err(|fault| failed(fault.into()))?.is_empty() {
                let account_id = account_id.clone();
                return Err(failed(EnforceError::AccountNotFound { account_id }));
            }
        }
        Ok(Response::new(pb::ListEntriesResponse {
            entries: page.entries.iter().map(entry::entry).collect(),
            next_page_token: page.next.map(|next| query.token(next)).unwrap_or_default(),
        }))
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let failed = |error| self.core.failed("GetConversation", &error);
        let (_, extensions, message) = request.into_parts();
        let query = list::conversation(message).map_err(failed)?;
        let read = async |place, max| {
            let ledger = self.clerk.ledger();
            let page = ledger
                .conversation(&query.conversation_id, place, max)
                .await;
            let mut page = page.map_err(|fault| failed(fault.into()))?;
            // What a caller may not see is not there for it.
            let is_its =
                |one: &Recorded| Caller::has_account(&extensions, one.entry.account_id.as_str());
            page.entries.retain(is_its);
            Ok::<_, Status>(page)
        };
        let first = read(None, list::PAGE_MAX).await?;
        let mut sums = entry::Sums::default();
        sums.add(&first.entries);
        let mut place = first.next;
        while place.is_some() {
            let part = read(place, list::PAGE_MAX).await?;
            sums.add(&part.entries);
            place = part.next;
        }
        if sums.is_empty() {
            return Err(status::conversation_not_found(&query.conversation_id));
        }
        let page = match (query.page, query.size) {
            (None, list::PAGE_MAX) => first,
            (place, size) => read(place, size).await?,
        };
        let next = page.next.map(|next| query.token(next)).unwrap_or_default();
        Ok(Response::new(sums.answer(&page.entries, next)))
    }

    async fn get_catalog(
        &self,
        _request: Request<pb::GetCatalogRequest>,
    ) -> Result<Response<pb::GetCatalogResponse>, Status> {
        let failed = |error| self.core.failed("GetCatalog", &error);
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        Ok(Response::new(account::catalog(&catalog)))
    }
    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        let failed = |error| self.core.failed("ListAudit", &error);
        let query = audit::query(request.get_ref()).map_err(failed)?;
        let ledger = self.clerk.ledger();
        let page = ledger.calls(&query.filter, query.after, query.size).await;
        let page = page.map_err(|fault| failed(fault.into()))?;
        Ok(Response::new(pb::ListAuditResponse {
            entries: page.calls.iter().map(audit::entry).collect(),
            next_page_token: page.next.map(|next| query.token(next)).unwrap_or_default(),
        }))
    }
}
