//! A control plane and a gateway's sidecar on one Redis and one Postgres, and a caller's load.

use std::pin::Pin;

use tollgate::pb::{
    CreateAccountRequest, GetBalanceRequest, quota_service_client::QuotaServiceClient,
};
use tonic::{Code, Response, Status, transport::Channel};

use super::drill::{self, Caller, Drill, Folder, Place, Wait};
use crate::{
    process::Sidecar,
    support::{
        postgres::Database,
        requests::{commit_of, reserve_of},
        servers::{Server, wait},
    },
};

/// So long that a busy machine is no fault; and commits that do not wait for the ledger.
const PATIENT: &[&str] = &[
    "redis.call_timeout_ms=3000",
    "redis.load_timeout_ms=10000",
    drill::PATIENT,
    "settle.ack=hot",
];
/// The same for Postgres, which a busy machine may take long to reach at the start.
const PATIENT_LEDGER: &str = "postgres.acquire_timeout_ms=4000";

/// Both, and what watches them.
pub struct Pair {
    pub drill: Drill,
    pub control_place: Place,
    pub control: Sidecar,
    pub gateway_place: Place,
    pub gateway: Sidecar,
    pub quota: QuotaServiceClient<Channel>,
    pub folder: Folder,
}

impl Pair {
    /// Starts them, with settings for both, and the account `acme` on a plan; once they were seen
    /// to be well.
    pub async fn start(
        redis: &Server,
        ledger: &str,
        plan_id: &str,
        settings: &[&str],
        alerts: &[&str],
    ) -> Self {
        let folder = Folder::new();
        let (control_place, gateway_place) = (folder.place("control"), folder.place("gateway"));
        let control = start_control(&control_place, redis, ledger, settings);
        let gateway = start_gateway(&gateway_place, redis, settings);
        let mut drill = Drill::start(&folder, &[&control_place, &gateway_place], &[]);
        drill.pod = vec![
            ("TOLLGATE_ENDPOINT", control.grpc.clone()),
            ("TOLLGATE_LEDGER", ledger.to_owned()),
        ];
        create(&control, "acme", plan_id).await;
        drill.is_quiet(2, alerts).await;
        Pair {
            drill,
            control_place,
            control,
            gateway_place,
            quota: gateway.quota().await,
            gateway,
            folder,
        }
    }

    /// What is left to an account, or why it is not told.
    pub async fn balance(&self, account_id: &str) -> Result<u64, Code> {
        balance(&self.quota, account_id).await
    }

    /// Waits until what is left to an account is told.
    pub async fn is_served(&self, account_id: &str) {
        let wait = Wait::for_it();
        while self.balance(account_id).await.is_err() {
            wait.look_again(account_id).await;
        }
    }

    /// A caller that holds all the time, and is charged nothing in the end.
    pub fn load(&self) -> Caller {
        let quota = self.quota.clone();
        Caller::start(move |number| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let mut quota = quota.clone();
            Box::pin(async move {
                let id = format!("r{number}");
                // What fails is counted where it fails.
                let _ = quota.reserve(reserve_of("acme", &id, 1)).await;
                let _ = quota.commit(commit_of("acme", &id, 0)).await;
            })
        })
    }
}

/// What is left to an account, or why it is not told.
pub async fn balance(quota: &QuotaServiceClient<Channel>, account_id: &str) -> Result<u64, Code> {
    let request = GetBalanceRequest {
        account_id: account_id.to_owned(),
    };
    let answer = quota.clone().get_balance(request).await;
    let answer = answer.map_err(|status| status.code())?.into_inner();
    Ok(answer.balance.unwrap().available)
}

/// A control plane, ready.
pub fn start_control(place: &Place, redis: &Server, ledger: &str, settings: &[&str]) -> Sidecar {
    let args = ["--roles", "admin,settler", "--ledger", ledger];
    let args = [&args[..], &["--set", PATIENT_LEDGER]].concat();
    start(place, redis, &args, settings)
}

/// A gateway's sidecar, ready.
pub fn start_gateway(place: &Place, redis: &Server, settings: &[&str]) -> Sidecar {
    // What only a process with a ledger knows, a gateway refuses.
    let own = settings.iter().copied();
    let own: Vec<&str> = own.filter(|one| !one.starts_with(OF_A_SETTLER)).collect();
    start(place, redis, &["--roles", "gateway"], &own)
}

const OF_A_SETTLER: &str = "reconcile.";

fn start(place: &Place, redis: &Server, args: &[&str], settings: &[&str]) -> Sidecar {
    let hot = redis.url();
    let settings = PATIENT.iter().chain(settings);
    let settings: Vec<&str> = settings.flat_map(|one| ["--set", one]).collect();
    let sidecar = place.start(&[args, &["--hot", &hot], &settings].concat());
    tokio::task::block_in_place(|| wait("readiness", || sidecar.is_ready()));
    sidecar
}

/// Makes an account.
pub async fn create(sidecar: &Sidecar, account_id: &str, plan_id: &str) {
    let create = CreateAccountRequest {
        account_id: account_id.into(),
        plan_id: plan_id.into(),
        ..CreateAccountRequest::default()
    };
    let admin = &sidecar.admin().await;
    again(|| {
        let (mut admin, create) = (admin.clone(), create.clone());
        async move { admin.create_account(create).await }
    })
    .await;
}

/// Makes a call, and again while a store is out of reach, as its answer tells a caller to.
pub async fn again<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let wait = Wait::for_it();
    loop {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(status) if status.code() == Code::Unavailable => {
                wait.look_again(status.message()).await;
            }
            Err(status) => panic!("{status}"),
        }
    }
}

/// How many entries a ledger has of what goes by an id.
pub async fn entries(database: &Database, id: &str) -> usize {
    let query = format!("SELECT kind FROM entries WHERE reservation_id = '{id}'");
    database.texts(&query).await.len()
}
