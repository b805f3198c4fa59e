//! QuotaService: the hot path. Each call parses its request, asks the enforcer once, and writes
//! the answer out; there are no decisions here.

use tonic::{Request, Response, Status};

use super::{
    convert::{
        action::Labels,
        answer,
        quota::{self, Priced},
    },
    core::{Core, describe_action, describe_estimate, describe_usage},
    gate::Caller,
};
use crate::{
    domain::{
        decision::{Charged, Committed, Denial},
        usage::{Action, Amount},
    },
    enforcer::{ReserveAnswer, request::ReserveRequest},
    pb::{self, quota_service_server::QuotaService},
    telemetry::{CreditsKind, present},
};

/// The service, over an enforcer.
#[derive(Clone)]
pub struct QuotaApi {
    core: Core,
}

impl QuotaApi {
    /// Serves from these parts.
    pub fn new(core: Core) -> Self {
        QuotaApi { core }
    }

    /// What a hold was asked for in credits, where less would do.
    fn asked(&self, request: &ReserveRequest) -> Option<u64> {
        request.min_credits?;
        match &request.amount {
            Amount::Credits(credits) => Some(credits.get()),
            Amount::Usage(usage) => {
                let price = self.core.enforcer.quote(&request.action, usage);
                price.ok().map(|price| price.credits)
            }
        }
    }

    fn count_reserve(&self, answer: &ReserveAnswer, asked: Option<u64>, labels: Labels<'_>) {
        let reserved = &answer.reserved;
        if reserved.replayed {
            self.core.replayed("Reserve");
            return;
        }
        let held = reserved.result.as_ref().map_or(0, |view| view.held);
        present::describe(|span| span.set("tollgate.credits.held", held));
        let reduced = asked.is_some_and(|asked| held < asked);
        self.core
            .decided("Reserve", reserved.result.as_ref().err(), reduced, labels);
        // A dry run decides, and holds nothing.
        if reserved
            .result
            .as_ref()
            .is_ok_and(|view| view.state.is_some())
        {
            self.core.moved(CreditsKind::Held, held);
        }
    }

    fn count_commit(&self, committed: &Committed, next_hold: u64) {
        let action = &committed.reservation.action;
        // One that was overtaken by a later report has settled nothing, and held nothing.
        let is_new = !committed.replayed && committed.receipt.sequence > 0;
        if committed.replayed {
            self.core.replayed("Commit");
        }
        if is_new {
            self.core.committed(committed, next_hold);
        }
        // What is already used is settled whatever it is; the next hold is decided about.
        if is_new && next_hold > 0 {
            self.count_known("Commit", Some(action), committed.next_hold_denial.as_ref());
        } else {
            self.describe_known(action);
        }
    }

    fn count_charge(&self, charged: &Charged, labels: Labels<'_>) {
        if charged.replayed {
            self.core.replayed("Charge");
            return;
        }
        self.core
            .decided("Charge", charged.result.as_ref().err(), false, labels);
        if let Ok(receipt) = &charged.result {
            self.core.settled(receipt);
        }
    }

    /// Says in the call's span what a reservation is for.
    fn describe_known(&self, action: &Action) {
        if present::is_sampled()
            && let Some(catalog) = self.core.enforcer.catalogs().current()
        {
            describe_action(action, Labels::of(action, &catalog.rate_card));
        }
    }

    fn count_extend(&self, answer: &ReserveAnswer, added: u64) {
        let reserved = &answer.reserved;
        if reserved.replayed {
            self.core.replayed("Extend");
            return;
        }
        let known = reserved.result.as_ref().map(|view| &*view.action);
        self.count_known("Extend", known.ok(), reserved.result.as_ref().err());
        if reserved.result.is_ok() {
            self.core.moved(CreditsKind::Held, added);
        }
    }

    /// Counts a decision about a reservation that was there before, by what it is for, where that is
    /// known.
    fn count_known(&self, rpc: &'static str, action: Option<&Action>, denial: Option<&Denial>) {
        let catalog = self.core.enforcer.catalogs().current();
        let labels = match (action, &catalog) {
            (Some(action), Some(catalog)) => {
                let labels = Labels::of(action, &catalog.rate_card);
                describe_action(action, labels);
                labels
            }
            (Some(_), None) | (None, _) => Labels::NONE,
        };
        self.core.decided(rpc, denial, false, labels);
    }
}

#[tonic::async_trait]
impl QuotaService for QuotaApi {
    async fn quote(
        &self,
        request: Request<pb::QuoteRequest>,
    ) -> Result<Response<pb::QuoteResponse>, Status> {
        let failed = |error| self.core.failed("Quote", &quota::of_estimate(error));
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let (action, estimate) =
            quota::quote(request.into_inner(), &catalog.rate_card).map_err(failed)?;
        let price = self
            .core
            .enforcer
            .quote(&action, &estimate)
            .map_err(failed)?;
        Ok(Response::new(pb::QuoteResponse {
            price: Some(answer::price(&price)),
        }))
    }

    async fn reserve(
        &self,
        request: Request<pb::ReserveRequest>,
    ) -> Result<Response<pb::ReserveResponse>, Status> {
        use pb::reserve_response::Result as Outcome;
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("Reserve", &quota::of_estimate(error));
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let Priced {
            request,
            labels,
            lacks,
        } = quota::reserve(request.into_inner(), &catalog.rate_card, &self.core.limits)
            .map_err(failed)?;
        self.core.describe_account(&request.account_id);
        describe_action(&request.action, labels);
        describe_estimate(&request.amount);
        let asked = self.asked(&request);
        let answer = self.core.enforcer.reserve(request).await;
        let answer = answer.map_err(|error| failed(quota::in_full(error, lacks)))?;
        self.count_reserve(&answer, asked, labels);
        let reserved = &answer.reserved;
        let result = match &reserved.result {
            Ok(view) => Outcome::Reservation(answer::reservation(view, answer.max_output_tokens)),
            Err(denial) => Outcome::Denial(answer::denial(denial, &answer.remedies)),
        };
        Ok(Response::new(pb::ReserveResponse {
            result: Some(result),
            balance: Some(answer::balance(&reserved.balance)),
            replayed: reserved.replayed,
            degraded: false,
        }))
    }

    async fn extend(
        &self,
        request: Request<pb::ExtendRequest>,
    ) -> Result<Response<pb::ExtendResponse>, Status> {
        use pb::extend_response::Result as Outcome;
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("Extend", &error);
        let request = quota::extend(request.get_ref(), &self.core.limits).map_err(failed)?;
        self.core.describe_account(&request.account_id);
        let added = request.add.get();
        let answer = self.core.enforcer.extend(request).await.map_err(failed)?;
        self.count_extend(&answer, added);
        let reserved = &answer.reserved;
        let result = match &reserved.result {
            Ok(view) => Outcome::Reservation(answer::reservation(view, answer.max_output_tokens)),
            Err(denial) => Outcome::Denial(answer::denial(denial, &answer.remedies)),
        };
        Ok(Response::new(pb::ExtendResponse {
            result: Some(result),
            balance: Some(answer::balance(&reserved.balance)),
            replayed: reserved.replayed,
        }))
    }

    async fn commit(
        &self,
        request: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitResponse>, Status> {
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("Commit", &error);
        let request = quota::commit(request.into_inner()).map_err(failed)?;
        self.core.describe_account(&request.account_id);
        if !request.keep_open {
            describe_usage(&request.amount);
        }
        let next_hold = request.next_hold.get();
        let told = |committed: &Committed| self.count_commit(committed, next_hold);
        let answer = self.core.enforcer.commit(request, told).await;
        let answer = answer.map_err(failed)?;
        let committed = &answer.committed;
        let view = &committed.reservation;
        let next_hold_denial = committed.next_hold_denial.as_ref();
        Ok(Response::new(pb::CommitResponse {
            receipt: Some(answer::receipt(&committed.receipt, view.id.as_str())),
            reservation: Some(answer::reservation(view, answer.max_output_tokens)),
            balance: Some(answer::balance(&committed.balance)),
            replayed: committed.replayed,
            buffered: false,
            next_hold_denial: next_hold_denial
                .map(|denial| answer::denial(denial, &answer.remedies)),
        }))
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("Release", &error);
        let (account_id, reservation_id, reason) =
            quota::release(request.into_inner()).map_err(failed)?;
        if !reason.is_empty() {
            // A release settles nothing, so the ledger has no line that could keep the reason.
            tracing::debug!(%account_id, %reservation_id, reason, "released");
        }
        self.core.describe_account(&account_id);
        let released = self
            .core
            .enforcer
            .release(account_id, reservation_id)
            .await
            .map_err(failed)?;
        if released.replayed {
            self.core.replayed("Release");
        } else {
            self.core.moved(CreditsKind::Returned, released.returned);
        }
        self.describe_known(&released.reservation.action);
        Ok(Response::new(pb::ReleaseResponse {
            reservation: Some(answer::reservation(&released.reservation, None)),
            returned: released.returned,
            balance: Some(answer::balance(&released.balance)),
            replayed: released.replayed,
        }))
    }

    async fn charge(
        &self,
        request: Request<pb::ChargeRequest>,
    ) -> Result<Response<pb::ChargeResponse>, Status> {
        use pb::charge_response::Result as Outcome;
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("Charge", &error);
        let catalog = self.core.enforcer.catalog().map_err(failed)?;
        let Priced {
            request,
            labels,
            lacks,
        } = quota::charge(request.into_inner(), &catalog.rate_card).map_err(failed)?;
        self.core.describe_account(&request.account_id);
        describe_action(&request.action, labels);
        describe_usage(&request.amount);
        let charge_id = request.charge_id.clone();
        let told = |charged: &Charged| self.count_charge(charged, labels);
        let answer = self.core.enforcer.charge(request, told).await;
        let answer = answer.map_err(|error| failed(quota::in_full(error, lacks)))?;
        let charged = &answer.charged;
        let result = match &charged.result {
            Ok(receipt) => Outcome::Receipt(answer::receipt(receipt, charge_id.as_str())),
            Err(denial) => Outcome::Denial(answer::denial(denial, &answer.remedies)),
        };
        Ok(Response::new(pb::ChargeResponse {
            result: Some(result),
            balance: Some(answer::balance(&charged.balance)),
            replayed: charged.replayed,
        }))
    }

    async fn get_balance(
        &self,
        request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("GetBalance", &error);
        let account_id = quota::account(&request.get_ref().account_id).map_err(failed)?;
        let balance = self
            .core
            .enforcer
            .balance(&account_id)
            .await
            .map_err(failed)?;
        Ok(Response::new(pb::GetBalanceResponse {
            balance: Some(answer::balance(&balance)),
        }))
    }

    async fn get_reservation(
        &self,
        request: Request<pb::GetReservationRequest>,
    ) -> Result<Response<pb::GetReservationResponse>, Status> {
        Caller::admits(request.extensions(), &request.get_ref().account_id)?;
        let failed = |error| self.core.failed("GetReservation", &error);
        let (account_id, reservation_id) = quota::reservation(request.get_ref()).map_err(failed)?;
        let (view, max_output_tokens) = self
            .core
            .enforcer
            .reservation(&account_id, &reservation_id)
            .await
            .map_err(failed)?;
        let reservation = Some(answer::reservation(&view, max_output_tokens));
        Ok(Response::new(pb::GetReservationResponse { reservation }))
    }
}
