//! Files, certificates, versions and limits of two embedded processes, one of which is behind.

use std::{fs, net::TcpStream, path::PathBuf, process::Command};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tollgate::{
    clock::{Clock, SystemClock},
    pb::{ChargeRequest, CreateAccountRequest, charge_request},
};

use super::drill::{Drill, Folder, PATIENT, Place, until};
use crate::{
    process::{Sidecar, run},
    reload::{catalog, swap},
    support::{
        pki::Authority,
        proxy::{Network, Proxy},
        requests::reserve_of,
    },
    telemetry::collector::Collector,
};

pub const ALERTS: &[&str] = &[
    "TollgateAbsent",
    "TollgateCatalogRefused",
    "TollgateCatalogsDiffer",
    "TollgateCertificateExpires",
    "TollgateFileDescriptors",
    "TollgateFileRefused",
    "TollgateRedoBacklog",
    "TollgateRedoStuck",
    "TollgateRestarts",
    "TollgateTelemetryFailing",
    "TollgateVersionsDiffer",
];

/// There is one version to build: the one that is behind is called so where it is scraped.
const BEHIND: &str = "  metric_relabel_configs:\n  \
    - {source_labels: [__name__], regex: tollgate_build_info, target_label: version, \
    replacement: 0.0.9}\n";
const ACCESS: &str = "[[principal]]\nname = \"local\"\nroles = [\"viewer\"]\nuids = [0]\n";
/// How many files a process may have open besides those that it has.
const FILES: u64 = 60;
/// How soon the certificate ends, in days.
const SOON: i64 = 3;

struct World {
    drill: Drill,
    folder: Folder,
    authority: Authority,
    collector: Proxy,
    place: Place,
    behind: Place,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set(&self, key: &str, name: &str) -> String {
        format!("{key}={}", self.path(name).display())
    }

    fn start(&self) -> Sidecar {
        let settings = [
            self.set("tls.cert", "server.crt"),
            self.set("tls.key", "server.key"),
            self.set("access.file", "access.toml"),
            self.set("catalog", "catalog.yaml"),
            "tls.reload_interval_ms=500".to_owned(),
            "access.reload_interval_ms=500".to_owned(),
            format!("telemetry.otlp_endpoint=http://{}", self.collector.address),
            "telemetry.metrics_push_interval_ms=500".to_owned(),
            "telemetry.export_timeout_ms=2000".to_owned(),
        ];
        let args: Vec<&str> = settings.iter().flat_map(|one| ["--set", one]).collect();
        self.place.start(&args)
    }

    fn start_behind(&self) -> Sidecar {
        let catalog = self.set("catalog", "behind.yaml");
        self.behind.start(&["--set", &catalog, "--set", PATIENT])
    }
}

async fn set_up(collector: &Collector) -> World {
    let folder = Folder::new();
    let authority = Authority::new("one");
    let today = jiff::Timestamp::from_millisecond(SystemClock::new().now().millis()).unwrap();
    let ends = today.to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(SOON);
    let ends = (ends.year().into(), ends.month() as u8, ends.day() as u8);
    authority
        .server_until("localhost", ends)
        .write(folder.path(), "server");
    fs::write(folder.path().join("access.toml"), ACCESS).unwrap();
    fs::write(folder.path().join("catalog.yaml"), catalog("one", "0.2")).unwrap();
    fs::write(folder.path().join("behind.yaml"), catalog("zero", "0.2")).unwrap();
    let proxy = Proxy::start(collector.port()).await;
    proxy.set(Network::Cuts);
    let (place, behind) = (folder.place("process"), folder.place("behind"));
    let drill = Drill::start(&folder, &[&place, &behind], &[("behind", BEHIND)]);
    World {
        drill,
        folder,
        authority,
        collector: proxy,
        place,
        behind,
    }
}

async fn a_certificate_ends_soon(world: &World) {
    let certificates = [("Certificates", "< 604800")];
    let alert = "TollgateCertificateExpires";
    world.drill.fires(alert, &certificates).await;
    // The Secret is renewed: half of it first, which is a pair that does not fit.
    let renewed = world.authority.server("localhost");
    fs::write(world.path("server.crt"), &renewed.cert).unwrap();
    let reloads = [("Certificate and access reloads", "> 0")];
    world.drill.fires("TollgateFileRefused", &reloads).await;
    world.place.logs(&["file=tls", "server.key"]).await;
    fs::write(world.path("server.key"), &renewed.key).unwrap();
    world.drill.ends(alert).await;
    world.drill.ends("TollgateFileRefused").await;
}

async fn an_access_file_has_a_mistake(world: &World) {
    let path = world.path("access.toml");
    swap(&path, &ACCESS.replace("viewer", "emperor"));
    let reloads = [("Certificate and access reloads", "> 0")];
    world.drill.fires("TollgateFileRefused", &reloads).await;
    world.place.logs(&["file=access", "emperor"]).await;
    swap(&path, ACCESS);
    world.drill.ends("TollgateFileRefused").await;
}

async fn a_catalogue_has_a_mistake(world: &World) {
    let (alert, path) = ("TollgateCatalogRefused", world.path("catalog.yaml"));
    let tried = world.path("tried.yaml");
    let bad = catalog("two", "0.2").replace("allowance: 500 ", "allowance: -500 ");
    swap(&path, &bad);
    let reloads = [("Catalogue reloads", "> 0")];
    world.drill.fires(alert, &reloads).await;
    world
        .place
        .logs(&["catalog.yaml", "allowance", "line "])
        .await;
    let check = |text: &str| {
        fs::write(&tried, text).unwrap();
        let file = [("catalog.yaml", tried.to_str().unwrap())];
        world.drill.run(alert, "tollgate check catalog.yaml", &file)
    };
    let (code, said) = check(&bad);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("allowance"), "{said}");
    let good = catalog("two", "0.2");
    let (code, said) = check(&good);
    assert_eq!(code, Some(0), "{said}");
    swap(&path, &good);
    world.drill.ends(alert).await;
}

async fn a_process_keeps_another_catalogue(world: &World) {
    let versions = [("Catalogue in force", "> 0")];
    let alert = "TollgateCatalogsDiffer";
    world.drill.fires(alert, &versions).await;
    swap(&world.path("behind.yaml"), &catalog("two", "0.2"));
    world.drill.ends(alert).await;
}

async fn the_collector_is_away(world: &World) {
    let failed = [("Telemetry", "> 0")];
    let alert = "TollgateTelemetryFailing";
    world.drill.fires(alert, &failed).await;
    world.collector.set(Network::Works);
    world.drill.ends(alert).await;
}

/// A caller that makes a connection per call, and closes none.
async fn files_run_out(world: &World, behind: &Sidecar) {
    let alert = "TollgateFileDescriptors";
    let open = fs::read_dir(format!("/proc/{}/fd", behind.id())).unwrap();
    let most = open.count() as u64 + FILES;
    let limited = Command::new("prlimit")
        .arg(format!("--pid={}", behind.id()))
        .arg(format!("--nofile={most}"))
        .status();
    assert!(limited.unwrap().success());
    let connect = |_| TcpStream::connect(&behind.grpc).unwrap();
    let connections: Vec<TcpStream> = (0..FILES - 2).map(connect).collect();
    let seen = [
        ("File descriptors", "> 0.8"),
        ("Calls in flight and connections", "> 10"),
    ];
    world.drill.fires(alert, &seen).await;
    drop(connections);
    world.drill.ends(alert).await;
}

/// SQLite takes nothing: another program has the file.
async fn the_disk_is_slow(world: &World, behind: &Sidecar) {
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "pro".into(),
        ..CreateAccountRequest::default()
    };
    behind.admin().await.create_account(create).await.unwrap();
    let file = world.folder.path().join("behind/data/ledger.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.unwrap();
    let mut lock = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut quota = behind.quota().await;
    for number in 0..100 {
        let charge = ChargeRequest {
            account_id: "acme".into(),
            charge_id: format!("c{number}"),
            action: reserve_of("acme", "", 1).action,
            amount: Some(charge_request::Amount::Credits(1)),
            ..ChargeRequest::default()
        };
        quota.charge(charge).await.unwrap();
    }
    let backlog = [("Outbox", "> 20"), ("Redo log", "> 1000")];
    world.drill.fires("TollgateRedoBacklog", &backlog).await;
    let waits = [("Outbox lag", "> 4"), ("Outbox", "> 20")];
    let alert = "TollgateRedoStuck";
    world.drill.fires(alert, &waits).await;
    let line = world.drill.command(alert, "the ledger does not take");
    let locked = world.drill.command(alert, "database is locked");
    world.behind.logs(&["ERROR", &line, &locked]).await;
    sqlx::query("ROLLBACK").execute(&mut *lock).await.unwrap();
    drop(lock);
    connection.close().await.unwrap();
    world.drill.ends("TollgateRedoBacklog").await;
    world.drill.ends(alert).await;
}

async fn a_process_restarts_again_and_again(world: &World, mut behind: Sidecar) -> Sidecar {
    let alert = "TollgateRestarts";
    for _ in 0..3 {
        // The last that was seen: one scrape may have come too late.
        let started = "last_over_time(process_start_time_seconds{job=\"behind\"}[1m])";
        let start = || world.drill.prometheus.query(started)[0]["value"][1].take();
        let before = start();
        behind.kill();
        behind = world.start_behind();
        until("the start to be seen", || start() != before).await;
    }
    let starts = [("Versions and restarts", "> 2")];
    world.drill.fires(alert, &starts).await;
    // What an exit code says.
    let data = world.folder.path().join("behind/data");
    let taken = run(&["serve", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(73));
    let wrong = run(&["serve", "--set", "grpc.calls_max=many"]);
    assert_eq!(wrong.status.code(), Some(64));
    let (code, said) = world.drill.run(alert, "tollgate serve --print-config", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("calls_max"), "{said}");
    behind
}

/// Plays them all.
pub async fn play() {
    let collector = tokio::task::block_in_place(Collector::start);
    let world = set_up(&collector).await;
    world.drill.fires("TollgateAbsent", &[]).await;
    let _process = world.start();
    world.drill.ends("TollgateAbsent").await;
    let not_yet = ["TollgateVersionsDiffer", "TollgateRestarts"];
    world.drill.is_quiet(1, &not_yet).await;
    let behind = world.start_behind();
    the_collector_is_away(&world).await;
    a_certificate_ends_soon(&world).await;
    an_access_file_has_a_mistake(&world).await;
    a_catalogue_has_a_mistake(&world).await;
    a_process_keeps_another_catalogue(&world).await;
    files_run_out(&world, &behind).await;
    the_disk_is_slow(&world, &behind).await;
    let mut behind = a_process_restarts_again_and_again(&world, behind).await;
    let versions = [("Versions and restarts", "> 0")];
    world.drill.fires("TollgateVersionsDiffer", &versions).await;
    // The rollout is finished.
    behind.terminate();
    world.drill.ends("TollgateVersionsDiffer").await;
    world.drill.done(ALERTS);
}
