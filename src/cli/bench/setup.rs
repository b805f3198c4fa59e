//! What must be there before the run: accounts with more credits than it can use, and open holds
//! on the first of them. Many calls at once, each idempotent and tried again where it may be.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tonic::{Code, Status, service::interceptor::InterceptedService, transport::Channel};

use super::{
    caller::{Answer, Caller},
    plan::{Call, Operation, Plan},
    tally::Tally,
    wire::{self, Fault, Wire},
};
use crate::{
    cli::{
        client::{Bearer, Remote},
        exit::Exit,
        output::Failure,
    },
    pb::{
        CreateAccountRequest, GetCatalogRequest, GrantCreditsRequest, GrantKind,
        admin_service_client::AdminServiceClient, grant_credits_request::Amount,
    },
};

/// Calls in flight while preparing: enough for one fsync to serve many.
const IN_FLIGHT: u32 = 512;
/// Connections for preparing and checking.
const CONNECTIONS: usize = 4;
/// How often one call is tried.
const ATTEMPTS: u32 = 5;
/// The pause before a call is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// An account with so many credits runs out in no run.
const ENOUGH: u64 = 1_000_000_000_000;

/// The credits of a promotion.
const PROMOTION: u64 = 1_000;

/// The control plane, called with what the caller has to show.
pub(super) type Admin = AdminServiceClient<InterceptedService<Channel, Bearer>>;

/// Connections and what is called over them, for what is not measured.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    channels: Vec<Channel>,
    bearer: Bearer,
    /// The calls of the run.
    pub(super) plan: Arc<Plan>,
    /// What was answered so far.
    pub(super) tally: Arc<Tally>,
}

/// What each account is given.
#[derive(Clone, Debug)]
struct Offer {
    plan_id: String,
    adjustment: Option<u64>,
    pack_id: Option<String>,
}

impl Helper {
    /// Connects.
    pub(super) async fn connect(
        remote: &Remote,
        plan: Arc<Plan>,
        tally: Arc<Tally>,
    ) -> Result<Self, Failure> {
        let mut channels = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            channels.push(wire::connect(remote).await?);
        }
        Ok(Helper {
            channels,
            bearer: remote.bearer().clone(),
            plan,
            tally,
        })
    }

    /// The control plane, over one of the connections.
    pub(super) fn admin(&self, index: u32) -> Result<Admin, Failure> {
        let (channel, bearer) = (self.channel(index)?, self.bearer.clone());
        Ok(AdminServiceClient::with_interceptor(channel, bearer))
    }

    /// The hot path, over one of the connections.
    pub(super) fn caller(&self, index: u32) -> Result<Caller, Failure> {
        let wire = Wire::new(self.channel(index)?, self.bearer.clone());
        Ok(Caller::new(
            wire,
            Arc::clone(&self.plan),
            Arc::clone(&self.tally),
        ))
    }

    fn channel(&self, index: u32) -> Result<Channel, Failure> {
        let all = self.channels.iter().cycle();
        let own = all
            .take(CONNECTIONS)
            .nth(usize::try_from(index).unwrap_or(0) % CONNECTIONS);
        own.cloned()
            .ok_or_else(|| Failure::new(Exit::Internal, "no connection"))
    }

    /// Creates the accounts of the plan, and buys each a pack where `pack` says so.
    pub(super) async fn create_accounts(&self, pack: bool) -> Result<(), Failure> {
        let offer = Arc::new(self.offer(pack).await?);
        let next = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        for index in 0..IN_FLIGHT.min(self.plan.accounts) {
            let admin = self.admin(index)?;
            let (plan, offer, next) = (
                Arc::clone(&self.plan),
                Arc::clone(&offer),
                Arc::clone(&next),
            );
            tasks.spawn(async move {
                while let Some(account) = take(&next, plan.accounts) {
                    create(&admin, plan.account_id(account), &offer).await?;
                }
                Ok(())
            });
        }
        join(tasks).await
    }

    /// Gives the first account so many promotions.
    pub(super) async fn add_promotions(&self, promotions: u32) -> Result<(), Failure> {
        let (admin, account_id) = (self.admin(0)?, self.plan.account_id(0));
        for number in 0..promotions {
            let (name, amount) = (format!("promotion-{number}"), Amount::Credits(PROMOTION));
            grant(&admin, &account_id, &name, GrantKind::Promo, amount).await?;
        }
        Ok(())
    }

    /// Places so many holds on the first account, and leaves them open.
    pub(super) async fn place_holds(&self, holds: u32) -> Result<(), Failure> {
        let next = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        for index in 0..IN_FLIGHT.min(holds) {
            let mut caller = self.caller(index)?;
            let next = Arc::clone(&next);
            tasks.spawn(async move {
                while let Some(number) = take(&next, holds) {
                    let number = u64::from(number);
                    let call = Call {
                        operation: Operation::Reserve,
                        account: 0,
                        number,
                    };
                    let answer = caller
                        .make(&call, 0)
                        .await
                        .map_err(|fault| failed("Reserve", &fault))?;
                    if answer == Answer::Denied {
                        let message = "a hold was denied: the first account has too few credits";
                        return Err(Failure::new(Exit::Denied, message));
                    }
                }
                Ok(())
            });
        }
        join(tasks).await
    }

    /// The largest plan of the catalogue, made up for where it is too small.
    async fn offer(&self, pack: bool) -> Result<Offer, Failure> {
        let admin = self.admin(0)?;
        let catalog = retry("GetCatalog", || {
            let mut admin = admin.clone();
            async move {
                admin
                    .get_catalog(GetCatalogRequest {})
                    .await
                    .map(tonic::Response::into_inner)
            }
        })
        .await?;
        let none = |what| {
            Failure::new(
                Exit::NotFound,
                format!("the server's catalogue has no {what}"),
            )
        };
        let plan = catalog.plans.into_iter().max_by_key(|plan| plan.allowance);
        let plan = plan.ok_or_else(|| none("plan"))?;
        let pack_id = match pack {
            true => {
                let largest = catalog.packs.into_iter().max_by_key(|pack| pack.credits);
                Some(largest.ok_or_else(|| none("pack"))?.pack_id)
            }
            false => None,
        };
        let adjustment = (plan.allowance < ENOUGH).then_some(ENOUGH);
        Ok(Offer {
            plan_id: plan.plan_id,
            adjustment,
            pack_id,
        })
    }
}

/// The next number below `end`, for whoever asks first.
pub(super) fn take(next: &AtomicU32, end: u32) -> Option<u32> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    (number < end).then_some(number)
}

/// Waits for all; the first that failed ends the others.
pub(super) async fn join(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::new(Exit::Internal, format!("a task ended: {error}")))??;
    }
    Ok(())
}

/// Makes an idempotent call until it is answered, a few times.
pub(super) async fn retry<A, F, R>(name: &str, call: F) -> Result<A, Failure>
where
    F: FnMut() -> R,
    R: Future<Output = Result<A, Status>>,
{
    answered(call).await.map_err(|fault| failed(name, &fault))
}

/// The same, with the last fault as it is.
pub(super) async fn answered<A, E, F, R>(mut call: F) -> Result<A, Fault>
where
    F: FnMut() -> R,
    R: Future<Output = Result<A, E>>,
    Fault: From<E>,
{
    let mut attempt = 1;
    loop {
        let fault = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => Fault::from(error),
        };
        if !fault.is_uncertain() || attempt >= ATTEMPTS {
            return Err(fault);
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn create(admin: &Admin, account_id: String, offer: &Offer) -> Result<(), Failure> {
    let request = CreateAccountRequest {
        account_id: account_id.clone(),
        plan_id: offer.plan_id.clone(),
        ..CreateAccountRequest::default()
    };
    retry("CreateAccount", || {
        let (mut admin, request) = (admin.clone(), request.clone());
        async move { admin.create_account(request).await }
    })
    .await?;
    let pack = offer
        .pack_id
        .clone()
        .map(|id| ("pack", GrantKind::Pack, Amount::PackId(id)));
    let adjustment = offer
        .adjustment
        .map(|n| ("adjustment", GrantKind::Adjustment, Amount::Credits(n)));
    for (name, kind, amount) in pack.into_iter().chain(adjustment) {
        grant(admin, &account_id, name, kind, amount).await?;
    }
    Ok(())
}

async fn grant(
    admin: &Admin,
    account_id: &str,
    name: &str,
    kind: GrantKind,
    amount: Amount,
) -> Result<(), Failure> {
    let request = GrantCreditsRequest {
        account_id: account_id.to_owned(),
        grant_id: format!("bench-{name}"),
        kind: kind.into(),
        amount: Some(amount),
        reason: "bench".to_owned(),
        ..GrantCreditsRequest::default()
    };
    retry("GrantCredits", || {
        let (mut admin, request) = (admin.clone(), request.clone());
        async move { admin.grant_credits(request).await }
    })
    .await?;
    Ok(())
}

/// What ends the bench where a call was not answered that everything after it needs.
pub(super) fn failed(name: &str, fault: &Fault) -> Failure {
    let is_not_allowed = matches!(fault.code, Code::Unauthenticated | Code::PermissionDenied);
    let exit = match fault.is_uncertain() {
        true => Exit::Unavailable,
        false if is_not_allowed => Exit::NotAllowed,
        false => Exit::BadRequest,
    };
    let failure = Failure::new(exit, format!("{name}: {:?}: {}", fault.code, fault.message));
    match is_not_allowed {
        true => failure.hint(
            "--token-file, or --tls-cert and --tls-key, say who calls: one with the roles gateway \
             and billing, for all accounts",
        ),
        false => failure,
    }
}
