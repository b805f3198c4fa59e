//! A server with everything behind it, and the clients of its services.

use std::{path::PathBuf, sync::Arc, time::Duration};

use prost_types::Timestamp as ProtoTimestamp;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tollgate::{
    catalogs::{self, Catalogs},
    clock::ManualClock,
    config::{AdminConfig, GrpcConfig, ReserveConfig, UnixPeers},
    domain::timestamp::Timestamp,
    enforcer::{Ack, Enforcer, EnforcerOptions, acks::Acks, changes::Clerk, source::LedgerSource},
    grpc::{Security, Server, Services, Sockets},
    hot::{
        HotStore,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::{Ledger, StoredCatalog, sqlite::SqliteLedger},
    pb::{
        self, admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
    },
    telemetry::{Metrics, Observer},
    workers::{self, settler::Settler, shares::Shares},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

pub use crate::support::requests::{commit_of as commit, reserve_of as reserve};

/// 2026-05-16T10:00:00Z, when every account here is made.
pub const START_S: i64 = 1_778_925_600;

/// A server, its stores, and a channel to it.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    pub server: Server,
    pub stop: CancellationToken,
    pub address: String,
    /// Of AdminService, where it has one of its own.
    pub admin_address: Option<String>,
    pub socket: PathBuf,
    pub quota: QuotaServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    /// What the server writes.
    pub ledger: Arc<dyn Ledger>,
    _working: DropGuard,
    _folder: TempDir,
}

/// Any free port, no Unix socket, generous limits.
pub fn config() -> GrpcConfig {
    GrpcConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        insecure_listen: Vec::new(),
        unix_socket: None,
        unix_socket_mode: 0o660,
        unix_peers: UnixPeers::default(),
        request_timeout_ms: 30_000,
        max_message_bytes: 1 << 20,
        max_header_bytes: 16 * 1024,
        calls_max: 4096,
        calls_per_connection_max: 1024,
        connections_max: 1024,
        connection_age_max_ms: 0,
        connection_age_grace_ms: 30_000,
    }
}

pub async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap()
}

impl World {
    pub async fn new() -> World {
        World::with(config(), true, true).await
    }

    /// With a Unix socket besides, whatever the configuration says.
    pub async fn with(config: GrpcConfig, gateway: bool, admin: bool) -> World {
        World::guarded(
            config,
            &AdminConfig::default(),
            Security::default(),
            (gateway, admin),
        )
        .await
    }

    /// With everything that keeps strangers out; the clients are plain, and may be refused.
    pub async fn guarded(
        mut config: GrpcConfig,
        admin_config: &AdminConfig,
        security: Security,
        (gateway, admin): (bool, bool),
    ) -> World {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tollgate.sock");
        config.unix_socket = Some(socket.clone());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START_S * 1000)));
        let metrics = Arc::new(Metrics::new().unwrap());
        let working = CancellationToken::new();
        let ledger_path = folder.path().join("ledger.db");
        let (enforcer, clerk) = enforcer(&ledger_path, &clock, &metrics, &working).await;
        let sockets = Sockets::bind(&config).await.unwrap();
        let sockets = sockets.and_admin(&config, admin_config).await.unwrap();
        let address = format!("http://{}", sockets.tcp_addr());
        let admin_address = sockets.admin_addr().map(|at| format!("http://{at}"));
        let ledger = Arc::clone(clerk.ledger());
        let services = Services {
            enforcer,
            observer: Observer::new(Arc::clone(&metrics), clock.clone()),
            reserve: ReserveConfig {
                default_ttl_ms: 600_000,
                ttl_min_ms: 1000,
                ttl_max_ms: 43_200_000,
                late_window_ms: 43_200_000,
                replay_window_ms: 86_400_000,
            },
            security,
            gateway,
            admin: admin.then_some(clerk),
        };
        let stop = CancellationToken::new();
        let server = Server::start(sockets, services, &config, stop.clone());
        // Lazy: a server with TLS would not let it in.
        let lazy = |address: &str| {
            Endpoint::from_shared(address.to_owned())
                .unwrap()
                .connect_lazy()
        };
        World {
            clock,
            metrics,
            server,
            stop,
            socket,
            quota: QuotaServiceClient::new(lazy(&address)),
            admin: AdminServiceClient::new(lazy(admin_address.as_ref().unwrap_or(&address))),
            address,
            admin_address,
            ledger,
            _working: working.drop_guard(),
            _folder: folder,
        }
    }

    /// Where its ledger is.
    pub fn folder(&self) -> &std::path::Path {
        self._folder.path()
    }

    /// An account on the starter plan: 500 credits.
    pub async fn account(&mut self, account_id: &str) -> pb::Account {
        let request = create(account_id);
        let made = self
            .admin
            .create_account(request)
            .await
            .unwrap()
            .into_inner();
        made.account.unwrap()
    }

    /// A hold of some credits, granted.
    pub async fn reserve(&mut self, account_id: &str, id: &str, credits: u64) -> pb::Reservation {
        let answer = self
            .quota
            .reserve(reserve(account_id, id, credits))
            .await
            .unwrap();
        match answer.into_inner().result.unwrap() {
            pb::reserve_response::Result::Reservation(reservation) => reservation,
            pb::reserve_response::Result::Denial(denial) => panic!("{denial:?}"),
        }
    }

    pub async fn balance(&mut self, account_id: &str) -> pb::Balance {
        let request = pb::GetBalanceRequest {
            account_id: account_id.to_owned(),
        };
        self.quota
            .get_balance(request)
            .await
            .unwrap()
            .into_inner()
            .balance
            .unwrap()
    }
}

async fn enforcer(
    ledger_path: &std::path::Path,
    clock: &Arc<ManualClock>,
    metrics: &Arc<Metrics>,
    working: &CancellationToken,
) -> (Arc<Enforcer>, Arc<Clerk>) {
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(ledger_path).await.unwrap());
    let catalog = catalogs::builtin();
    let stored = StoredCatalog {
        version: catalog.version.to_string(),
        yaml: catalog.yaml.to_string(),
    };
    ledger
        .put_catalog(&stored, Timestamp::from_millis(START_S * 1000))
        .await
        .unwrap();
    let catalogs = Arc::new(Catalogs::new(catalog, Vec::new()).unwrap());
    let options = MemoryOptions {
        shards: 8,
        ..MemoryOptions::default()
    };
    let hot: Arc<dyn HotStore> = Arc::new(MemoryHot::new(options, clock.clone()));
    let acks = Arc::new(Acks::new(hot.shards()));
    let options = EnforcerOptions {
        ack: Ack::Ledger,
        ack_timeout: Duration::from_secs(20),
        default_ttl_ms: 600_000,
    };
    let enforcer = Arc::new(Enforcer::new(
        Arc::clone(&hot),
        Arc::new(LedgerSource(Arc::clone(&ledger))),
        catalogs,
        Arc::clone(&acks),
        options,
    ));
    let clerk = Arc::new(Clerk::new(Arc::clone(&enforcer), Arc::clone(&ledger)));
    let settler = Settler {
        hot,
        ledger,
        enforcer: Arc::clone(&enforcer),
        acks,
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        batch_max: 1000,
        shares: Arc::new(Shares::whole()),
        unread: Default::default(),
        round: Default::default(),
    };
    let interval = Duration::from_secs(5);
    let stop = working.clone();
    tokio::spawn(workers::run(
        Arc::new(settler),
        interval,
        Arc::clone(metrics),
        stop,
    ));
    (enforcer, clerk)
}

pub fn at(offset_s: i64) -> Option<ProtoTimestamp> {
    Some(ProtoTimestamp {
        seconds: START_S + offset_s,
        nanos: 0,
    })
}

pub fn action(mode: &str, model: &str) -> Option<pb::Action> {
    Some(pb::Action {
        mode: mode.to_owned(),
        model: model.to_owned(),
        ..pb::Action::default()
    })
}

pub fn create(account_id: &str) -> pb::CreateAccountRequest {
    pb::CreateAccountRequest {
        account_id: account_id.to_owned(),
        plan_id: "starter".to_owned(),
        ..pb::CreateAccountRequest::default()
    }
}

/// The stable reason of an error.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!(info.domain, "tollgate");
    info.reason.clone()
}

/// One pair of an error's metadata.
pub fn metadata(status: &Status, key: &str) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    info.metadata
        .get(key)
        .unwrap_or_else(|| panic!("no {key}: {info:?}"))
        .clone()
}

/// Fields and descriptions of a bad request.
pub fn violations(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(status), "BAD_REQUEST");
    let details = status.get_error_details();
    let found = &details.bad_request().unwrap().field_violations;
    found
        .iter()
        .map(|one| (one.field.clone(), one.description.clone()))
        .collect()
}
