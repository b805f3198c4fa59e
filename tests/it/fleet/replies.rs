//! Every call of both services whose request or reply the network loses, asked again on a new
//! connection: it counts once, and every answer and every entry is what a process without faults
//! makes of the same calls.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use tollgate::pb::{
    AccountStatus, Action, ChangePlanRequest, ChargeRequest, CommitRequest, CreateAccountRequest,
    EntryKind, ExtendRequest, GetAccountRequest, GetBalanceRequest, GetCatalogRequest,
    GetConversationRequest, GetReservationRequest, GrantCreditsRequest, GrantKind,
    ListAccountsRequest, ListAuditRequest, ListEntriesRequest, QuoteRequest, RefundRequest,
    ReleaseRequest, ReserveRequest, SetAccountStatusRequest, VoidGrantRequest,
    admin_service_client::AdminServiceClient, charge_request, commit_request,
    grant_credits_request, quota_service_client::QuotaServiceClient, reserve_request,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{clients, world::Fleet};
use crate::{
    process::Sidecar,
    support::{
        postgres::shared,
        proxy::{Network, Proxy},
        servers::{Kind, Server},
    },
};

/// How long somebody waits for a reply that never comes.
const IMPATIENT: Duration = Duration::from_millis(400);
/// So long that a busy machine is no fault.
const PATIENT: &str = "redis.call_timeout_ms=2000";
const ACCOUNT: &str = "acme";
const CONVERSATION: &str = "conv-1";

/// Both services on one connection.
#[derive(Clone)]
struct Faces {
    quota: QuotaServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
}

type Answer = Pin<Box<dyn Future<Output = Result<String, Status>> + Send>>;

/// A call, and what of its answer counts: everything but times and whether it was a replay.
struct Call {
    name: &'static str,
    send: Box<dyn Fn(Faces) -> Answer + Send + Sync>,
}

macro_rules! call {
    ($face:ident.$method:ident($request:expr), |$answer:ident| $shown:expr) => {
        Call {
            name: stringify!($method),
            send: Box::new(move |mut faces: Faces| {
                let request = $request;
                Box::pin(async move {
                    let $answer = faces.$face.$method(request).await?.into_inner();
                    Ok(format!("{:?}", $shown))
                })
            }),
        }
    };
}

/// What a balance says, but for its version and its time.
macro_rules! said {
    ($balance:expr) => {{
        let balance = $balance.expect("a balance");
        (
            balance.available,
            balance.held,
            balance.debt,
            balance.sequence,
        )
    }};
}

fn account() -> String {
    ACCOUNT.to_owned()
}

fn action() -> Option<Action> {
    let action = clients::action().expect("an action");
    Some(Action {
        conversation_id: CONVERSATION.to_owned(),
        ..action
    })
}

fn hold(id: &str, credits: u64) -> ReserveRequest {
    ReserveRequest {
        account_id: account(),
        reservation_id: id.to_owned(),
        action: action(),
        amount: Some(reserve_request::Amount::Credits(credits)),
        ..ReserveRequest::default()
    }
}

fn settle(id: &str, credits: u64, keep_open: bool) -> CommitRequest {
    CommitRequest {
        account_id: account(),
        reservation_id: id.to_owned(),
        amount: Some(commit_request::Amount::Credits(credits)),
        keep_open,
        next_hold: if keep_open { 10 } else { 0 },
        ..CommitRequest::default()
    }
}

/// Every method that moves something, and those that read it.
fn quota_calls() -> Vec<Call> {
    vec![
        call!(
            quota.quote(QuoteRequest {
                action: action(),
                ..QuoteRequest::default()
            }),
            |answer| { answer.price }
        ),
        call!(quota.reserve(hold("r1", 60)), |answer| {
            (answer.result.is_some(), said!(answer.balance))
        }),
        call!(
            quota.extend(ExtendRequest {
                account_id: account(),
                reservation_id: "r1".to_owned(),
                extension_id: "x1".to_owned(),
                add_credits: 20,
                ttl: None,
            }),
            |answer| said!(answer.balance)
        ),
        call!(quota.commit(settle("r1", 30, true)), |answer| {
            (
                answer.receipt.map(|receipt| receipt.draws),
                said!(answer.balance),
            )
        }),
        call!(quota.commit(settle("r1", 45, false)), |answer| {
            (
                answer.receipt.map(|receipt| receipt.draws),
                said!(answer.balance),
            )
        }),
        call!(quota.reserve(hold("r2", 100)), |answer| said!(
            answer.balance
        )),
        call!(
            quota.release(ReleaseRequest {
                account_id: account(),
                reservation_id: "r2".to_owned(),
                ..ReleaseRequest::default()
            }),
            |answer| (answer.returned, said!(answer.balance))
        ),
        call!(
            quota.charge(ChargeRequest {
                account_id: account(),
                charge_id: "c1".to_owned(),
                action: action(),
                amount: Some(charge_request::Amount::Credits(70)),
                force: false,
            }),
            |answer| said!(answer.balance)
        ),
        call!(
            quota.get_reservation(GetReservationRequest {
                account_id: account(),
                reservation_id: "r1".to_owned(),
            }),
            |answer| answer
                .reservation
                .map(|known| (known.state, known.held, known.charged))
        ),
        call!(
            quota.get_balance(GetBalanceRequest {
                account_id: account()
            }),
            |answer| { said!(answer.balance) }
        ),
    ]
}

fn status(status: AccountStatus) -> SetAccountStatusRequest {
    SetAccountStatusRequest {
        account_id: account(),
        status: status as i32,
        reason: "because".to_owned(),
    }
}

fn opening_calls() -> Vec<Call> {
    vec![
        call!(
            admin.create_account(CreateAccountRequest {
                account_id: account(),
                plan_id: "free".to_owned(),
                ..CreateAccountRequest::default()
            }),
            |answer| said!(answer.account.expect("an account").balance)
        ),
        call!(
            admin.grant_credits(GrantCreditsRequest {
                account_id: account(),
                grant_id: "g1".to_owned(),
                kind: GrantKind::Adjustment as i32,
                amount: Some(grant_credits_request::Amount::Credits(300)),
                ..GrantCreditsRequest::default()
            }),
            |answer| said!(answer.balance)
        ),
    ]
}

fn admin_calls() -> Vec<Call> {
    vec![
        call!(
            admin.refund(RefundRequest {
                account_id: account(),
                refund_id: "f1".to_owned(),
                reservation_id: "c1".to_owned(),
                credits: 5,
                reason: "sorry".to_owned(),
                actor: "support".to_owned(),
            }),
            |answer| said!(answer.balance)
        ),
        call!(
            admin.change_plan(ChangePlanRequest {
                account_id: account(),
                change_id: "p1".to_owned(),
                plan_id: "starter".to_owned(),
                at_renewal: Some(false),
            }),
            |answer| said!(answer.account.expect("an account").balance)
        ),
        call!(
            admin.void_grant(VoidGrantRequest {
                account_id: account(),
                grant_id: "g1".to_owned(),
                reason: "a mistake".to_owned(),
            }),
            |answer| said!(answer.balance)
        ),
        call!(
            admin.set_account_status(status(AccountStatus::Suspended)),
            |answer| { said!(answer.account.expect("an account").balance) }
        ),
        call!(
            admin.set_account_status(status(AccountStatus::Active)),
            |answer| { said!(answer.account.expect("an account").balance) }
        ),
        call!(
            admin.get_account(GetAccountRequest {
                account_id: account()
            }),
            |answer| { said!(answer.account.expect("an account").balance) }
        ),
    ]
}

/// What only reads, and of it what is in the ledger once it was answered.
fn lists() -> Vec<Call> {
    vec![
        call!(
            admin.list_accounts(ListAccountsRequest::default()),
            |answer| {
                let accounts = answer.accounts.into_iter();
                accounts.map(|known| known.account_id).collect::<Vec<_>>()
            }
        ),
        call!(
            admin.list_entries(ListEntriesRequest {
                account_id: account(),
                kinds: vec![EntryKind::Usage as i32],
                ..ListEntriesRequest::default()
            }),
            |answer| {
                let entries = answer.entries.into_iter();
                let told = entries.map(|entry| (entry.credits, entry.reservation_id));
                told.collect::<Vec<_>>()
            }
        ),
        call!(
            admin.get_conversation(GetConversationRequest {
                conversation_id: CONVERSATION.to_owned(),
                ..GetConversationRequest::default()
            }),
            |answer| answer.credits
        ),
        call!(admin.get_catalog(GetCatalogRequest {}), |answer| answer),
        call!(admin.list_audit(ListAuditRequest::default()), |answer| {
            // A change's line is there with the change, what else was called a little later.
            let lines = answer
                .entries
                .into_iter()
                .filter(|line| !line.key.is_empty());
            lines.map(|line| line.method).collect::<BTreeSet<_>>()
        }),
    ]
}

fn calls() -> Vec<Call> {
    let parts = [opening_calls(), quota_calls(), admin_calls(), lists()];
    parts.into_iter().flatten().collect()
}

/// A connection of its own, whose answers are waited for so long.
async fn connect(address: &str, patience: Duration) -> Faces {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint
        .timeout(patience)
        .connect()
        .await
        .expect("a connection");
    Faces {
        quota: QuotaServiceClient::new(channel.clone()),
        admin: AdminServiceClient::new(channel),
    }
}

/// Entries in order, but for their times.
async fn entries(sidecar: &Sidecar) -> Vec<String> {
    let request = ListEntriesRequest {
        account_id: account(),
        page_size: 1_000,
        ..ListEntriesRequest::default()
    };
    let mut admin = sidecar.admin().await;
    let listed = admin
        .list_entries(request)
        .await
        .expect("entries")
        .into_inner();
    let mut shown: Vec<(u64, String)> = listed
        .entries
        .iter()
        .map(|entry| {
            let what = (
                entry.kind,
                entry.credits,
                entry.available_after,
                &entry.reservation_id,
            );
            (entry.sequence, format!("{what:?}"))
        })
        .collect();
    shown.sort();
    shown
        .into_iter()
        .map(|(sequence, what)| format!("{sequence} {what}"))
        .collect()
}

/// The same calls without faults, embedded.
async fn without_faults() -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::start(folder.path(), &[]);
    let mut told = Vec::new();
    for call in calls() {
        let faces = connect(&sidecar.grpc, IMPATIENT * 50).await;
        let answer = (call.send)(faces).await;
        told.push(format!("{} {}", call.name, answer.expect("no fault")));
    }
    (told, entries(&sidecar).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_whose_request_or_reply_is_lost_counts_once() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let hot = format!("redis://{}", redis.address());
    let fleet = Fleet::start(
        1,
        &hot,
        &database.url(),
        &[
            "settle.ack=ledger",
            PATIENT,
            "grpc.request_timeout_ms=20000",
        ],
    );
    let sidecar = &fleet.sidecars[0];
    let port = sidecar.grpc.rsplit(':').next().expect("a port");
    let proxy = Proxy::start(port.parse().expect("a number")).await;
    let mut told = Vec::new();
    for call in calls() {
        for network in [Network::LosesRequests, Network::LosesReplies] {
            let lossy = connect(&proxy.address, IMPATIENT).await;
            // The connection is up, both ways, before anything is lost.
            let nobody = GetBalanceRequest {
                account_id: "nobody".to_owned(),
            };
            let warm = lossy.quota.clone().get_balance(nobody).await;
            let code = warm.expect_err("there is no such account").code();
            let is_late = matches!(code, Code::Cancelled | Code::DeadlineExceeded);
            assert!(code == Code::NotFound || is_late, "{code:?}");
            proxy.set(network);
            let lost = (call.send)(lossy).await;
            lost.expect_err("nobody can have heard the answer");
            proxy.set(Network::Works);
        }
        let faces = connect(&sidecar.grpc, IMPATIENT * 50).await;
        let answer = (call.send)(faces).await;
        told.push(format!("{} {}", call.name, answer.expect("no fault")));
    }
    let (expected, expected_entries) = without_faults().await;
    assert_eq!(told, expected);
    assert_eq!(entries(sidecar).await, expected_entries);
    fleet.reconcile();
}
