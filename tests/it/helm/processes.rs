//! The manifests, started: migration, control plane and sidecar as processes with real stores,
//! asked by the probes that stand in the manifests.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;
use tollgate::pb::{
    Action, CreateAccountRequest, GetBalanceRequest, ListEntriesRequest, ReserveRequest,
    admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
};

use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

use super::{
    pod::{Container, Node, connect, http_get, project},
    render::{Rendered, What, file, render_one},
    secured::own_user,
};
use crate::{
    process::run,
    support::{
        postgres::{Database, shared},
        requests::{self, commit},
        servers::{Kind, Server, wait},
    },
};

async fn create(port: u16) {
    let request = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    let mut admin = AdminServiceClient::new(connect(port).await.unwrap());
    admin.create_account(request).await.unwrap();
}

/// A hold in the one mode that the test's catalogue has.
fn reserve(id: &str, credits: u64) -> ReserveRequest {
    ReserveRequest {
        action: Some(Action {
            mode: "agent".into(),
            ..Action::default()
        }),
        ..requests::reserve(id, credits)
    }
}

/// Available and held.
async fn balance(port: u16) -> (u64, u64) {
    let mut quota = QuotaServiceClient::new(connect(port).await.unwrap());
    let request = GetBalanceRequest {
        account_id: "acme".into(),
    };
    let answer = quota.get_balance(request).await.unwrap().into_inner();
    let balance = answer.balance.unwrap();
    (balance.available, balance.held)
}

fn catalog_in_force(port: u16) -> String {
    let metrics = http_get(port, "/metrics").unwrap();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("tollgate_catalog_info{"));
    line.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_pod_serves_follows_its_catalogue_and_keeps_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let rendered = render_one(What::Tollgate, &file("tests/it/helm/values/embedded.yaml"));
    let pod = rendered.pods()[0];
    let node = Node::new(folder.path());
    let start = || node.start("pod", &rendered, pod, &pod["containers"][0]);
    let mut running = start();
    running.wait_for("startupProbe").await;
    running.wait_for("readinessProbe").await;
    assert_eq!(running.probe("livenessProbe").await, Ok(()));
    let grpc = running.port(50051);
    create(grpc).await;
    let mut quota = QuotaServiceClient::new(connect(grpc).await.unwrap());
    quota.reserve(reserve("r1", 60)).await.unwrap();
    quota.commit(commit("r1", 45)).await.unwrap();
    // 700 is the allowance of the values' own catalogue.
    assert_eq!(balance(grpc).await, (655, 0));

    let http = running.port(9464);
    assert!(catalog_in_force(http).contains("chart-1"));
    let map = rendered.all("ConfigMap")[1];
    let text = map["data"]["catalog.yaml"].as_str().unwrap();
    let changed = text.replace("chart-1", "chart-2");
    let files = BTreeMap::from([("catalog.yaml".to_owned(), changed)]);
    project(&running.volume("catalog"), &files);
    wait("the new catalogue", || {
        catalog_in_force(http).contains("chart-2")
    });

    let data = running.volume("data");
    assert_eq!(running.terminate().code(), Some(0));
    let archive = folder.path().join("ledger.tar");
    let readme = file("helm/tollgate/README.md");
    in_helper_pod(&readme, "tar -C /data --exclude", &data, &archive);
    let mut running = start();
    running.wait_for("readinessProbe").await;
    assert_eq!(balance(running.port(50051)).await, (655, 0));

    // The copy, restored over what another pod has.
    let elsewhere = || node.start("restored", &rendered, pod, &pod["containers"][0]);
    let mut restored = elsewhere();
    restored.wait_for("readinessProbe").await;
    create(restored.port(50051)).await;
    let data = restored.volume("data");
    assert_eq!(restored.terminate().code(), Some(0));
    in_helper_pod(&readme, "find /data", &data, &archive);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    in_helper_pod(&readme, "tar -C /data -xf", &data, &archive);
    let mut restored = elsewhere();
    restored.wait_for("readinessProbe").await;
    assert_eq!(balance(restored.port(50051)).await, (655, 0));
}

/// Runs the command of a text that starts so in the pod that copies the ledger.
fn in_helper_pod(text: &str, starts: &str, data: &Path, archive: &Path) {
    let starts = format!("tollgate-copy -- {starts}");
    let line = text.lines().find(|line| line.contains(&starts));
    let (_, command) = line.unwrap().split_once(" -- ").unwrap();
    let command = command
        .replace("/data", &data.display().to_string())
        .replace("ledger.tar", &archive.display().to_string());
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.unwrap().success(), "{command}");
}

/// One Redis with a password, one Postgres, one release of the chart and a gateway's pod.
struct Cluster {
    _redis: Server,
    _database: Database,
    _folder: TempDir,
    node: Node,
    control_plane: Rendered,
    gateway: Rendered,
}

impl Cluster {
    async fn new() -> Self {
        Cluster::with("").await
    }

    /// With more values for the gateway's release.
    async fn with(sidecar: &str) -> Self {
        let redis = Server::start(Kind::Redis);
        let mut set = redis::cmd("CONFIG");
        redis.ask::<()>(set.arg("SET").arg("requirepass").arg("hunter2"));
        let database = shared().empty().await;
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::new(folder.path());
        let url = format!("redis://:hunter2@{}", redis.address());
        node.secret("stores", "redis-url", &url);
        node.secret("stores", "postgres-url", &database.url());
        // A busy machine is no fault.
        let stores = "
tls: {insecure: true}
redis: {existingSecret: {name: stores, key: redis-url}}
postgres: {existingSecret: {name: stores, key: postgres-url}}
config: {redis: {call_timeout_ms: 5000}, grpc: {request_timeout_ms: 20000}}
";
        let indented = stores.replace('\n', "\n  ");
        let gateway = format!("tollgate:\n  controlPlane: {{enabled: false}}{indented}{sidecar}");
        Cluster {
            control_plane: render_one(What::Tollgate, stores),
            gateway: render_one(What::Gateway, &gateway),
            node,
            _redis: redis,
            _database: database,
            _folder: folder,
        }
    }

    fn migrate(&self) -> Output {
        let job = self.control_plane.one("Job");
        let pod = &job["spec"]["template"]["spec"];
        self.node.run("migration", &self.control_plane, pod)
    }

    fn control_plane(&self, name: &str) -> Container {
        let deployment = self.control_plane.one("Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        self.node.start(name, &self.control_plane, pod, container)
    }

    fn sidecar(&self, name: &str) -> Container {
        let pod = self.gateway.pods()[0];
        let sidecar = &pod["initContainers"][0];
        self.node.start(name, &self.gateway, pod, sidecar)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_migration_makes_the_ledger_that_the_control_plane_insists_on() {
    let cluster = Cluster::new().await;
    // The Deployment leaves the schema alone: without the migration it does not start.
    let early = cluster.control_plane("early").wait();
    assert_eq!(early.code(), Some(73), "an empty database is no ledger");
    for words in ["migrated from version 0", "already"] {
        let migrated = cluster.migrate();
        let said = String::from_utf8_lossy(&migrated.stdout).into_owned();
        let is_done = migrated.status.success() && said.contains(words);
        assert!(is_done, "{said}{migrated:?}");
    }
    let mut first = cluster.control_plane("first");
    let mut second = cluster.control_plane("second");
    for control_plane in [&mut first, &mut second] {
        control_plane.wait_for("startupProbe").await;
        control_plane.wait_for("readinessProbe").await;
        assert_eq!(control_plane.probe("livenessProbe").await, Ok(()));
    }
    create(first.port(50051)).await;
    // A command that is run in the pod finds the server by itself.
    let shown = first.exec(&["account", "show", "acme"]);
    assert!(shown.contains("acme"), "{shown}");
    let reconciled = first.exec(&["reconcile"]);
    assert!(!reconciled.is_empty(), "{reconciled}");
    assert_eq!(first.terminate().code(), Some(0));
    assert_eq!(second.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_serves_its_gateway_while_control_planes_come_and_go() {
    let cluster = Cluster::new().await;
    assert!(cluster.migrate().status.success());
    // Started first, as a gateway's pod may be: it lives, and is ready when it can be.
    let mut sidecar = cluster.sidecar("gateway");
    sidecar.wait_for("startupProbe").await;
    let mut first = cluster.control_plane("first");
    let mut second = cluster.control_plane("second");
    first.wait_for("readinessProbe").await;
    second.wait_for("readinessProbe").await;
    create(first.port(50051)).await;
    let http = sidecar.port(9464);
    wait("the sidecar", || {
        http_get(http, "/readyz").is_ok_and(|answer| answer.contains(" 200 "))
    });

    // Over the socket in the shared volume, as the gateway's container would.
    let socket = sidecar.volume("tollgate").join("tollgate.sock");
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let mut quota = QuotaServiceClient::new(endpoint.connect().await.unwrap());
    quota.reserve(reserve("r1", 60)).await.unwrap();
    // Either replica may go: the other settles.
    assert_eq!(first.terminate().code(), Some(0));
    quota.commit(commit("r1", 45)).await.unwrap();
    assert_eq!(balance(sidecar.port(50051)).await, (455, 0));
    let mut admin = AdminServiceClient::new(connect(second.port(50051)).await.unwrap());
    wait_for_charge(&mut admin, 45).await;
    assert_eq!(sidecar.probe("livenessProbe").await, Ok(()));
    assert_eq!(sidecar.terminate().code(), Some(0));
    assert_eq!(second.terminate().code(), Some(0));
}

/// One container of the pod is known by its user and may settle, another one by its token and may
/// reserve for some accounts; nobody else may do anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_with_an_access_file_knows_who_of_its_pod_may_do_what() {
    let access = "sidecar: {access: {existingSecret: {name: callers}}}";
    let mut cluster = Cluster::with(access).await;
    let made = run(&["token"]).stdout;
    let made = String::from_utf8(made).unwrap();
    let (token, line) = made.trim().split_once('\n').unwrap();
    let callers = format!(
        "[[principal]]\nname = \"gateway\"\nroles = [\"gateway\"]\naccounts = [\"acme\"]\n{line}\n\
         [[principal]]\nname = \"runner\"\nroles = [\"runner\"]\nuids = [{}]\n",
        own_user()
    );
    cluster.node.secret("callers", "access.toml", &callers);
    assert!(cluster.migrate().status.success());
    let mut control_plane = cluster.control_plane("control-plane");
    control_plane.wait_for("readinessProbe").await;
    create(control_plane.port(50051)).await;
    let sidecar = cluster.sidecar("gateway");
    let http = sidecar.port(9464);
    wait("the sidecar", || {
        http_get(http, "/readyz").is_ok_and(|answer| answer.contains(" 200 "))
    });

    let channel = connect(sidecar.port(50051)).await.unwrap();
    let mut stranger = QuotaServiceClient::new(channel.clone());
    let status = stranger.reserve(reserve("r1", 60)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let mut gateway = QuotaServiceClient::with_interceptor(channel, |mut call: Request<()>| {
        let bearer = format!("Bearer {token}");
        call.metadata_mut()
            .insert("authorization", bearer.parse().unwrap());
        Ok(call)
    });
    gateway.reserve(reserve("r1", 60)).await.unwrap();
    let elsewhere = ReserveRequest {
        account_id: "other".into(),
        ..reserve("r2", 60)
    };
    let status = gateway.reserve(elsewhere).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let socket = sidecar.volume("tollgate").join("tollgate.sock");
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let mut runner = QuotaServiceClient::new(endpoint.connect().await.unwrap());
    let status = runner.reserve(reserve("r2", 60)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    runner.commit(commit("r1", 45)).await.unwrap();
    assert_eq!(sidecar.terminate().code(), Some(0));
    assert_eq!(control_plane.terminate().code(), Some(0));
}

/// Waits until the ledger has a charge of so many credits.
async fn wait_for_charge(admin: &mut AdminServiceClient<Channel>, credits: i64) {
    for _ in 0..300 {
        let request = ListEntriesRequest {
            account_id: "acme".into(),
            ..ListEntriesRequest::default()
        };
        let answer = admin.list_entries(request).await.unwrap().into_inner();
        if answer.entries.iter().any(|entry| entry.credits == -credits) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the ledger has no charge of {credits}");
}
