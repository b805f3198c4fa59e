//! The real binary, told to stop while calls are open.

use std::{io::Write, net::TcpStream, path::Path, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tollgate::telemetry::procfs::Process;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse,
    server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest::ListServices,
};

use crate::process::Sidecar;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A sidecar that was told to stop, with a call that is open for as long as the test wants.
struct Draining {
    sidecar: Sidecar,
    requests: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    health: Streaming<HealthCheckResponse>,
}

impl Draining {
    async fn start(data_dir: &Path, drain_ms: u32) -> Draining {
        let drain = format!("drain_timeout_ms={drain_ms}");
        let sidecar = Sidecar::start(data_dir, &["--set", &drain]);
        let channel = sidecar.channel().await;
        let (requests, open) = mpsc::channel(1);
        let mut draining = Draining {
            answers: ServerReflectionClient::new(channel.clone())
                .server_reflection_info(ReceiverStream::new(open))
                .await
                .unwrap()
                .into_inner(),
            health: HealthClient::new(channel)
                .watch(HealthCheckRequest::default())
                .await
                .unwrap()
                .into_inner(),
            sidecar,
            requests,
        };
        assert_eq!(draining.told().await, ServingStatus::Serving);
        assert!(draining.ask().await.is_ok());
        draining.sidecar.signal("TERM");
        draining
    }

    /// What health says next.
    async fn told(&mut self) -> ServingStatus {
        let told = tokio::time::timeout(LONG, self.health.message()).await;
        told.unwrap().unwrap().unwrap().status()
    }

    /// Asks on the open call.
    async fn ask(&mut self) -> Result<Option<ServerReflectionResponse>, Status> {
        let request = ServerReflectionRequest {
            message_request: Some(ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        // Where the call is over nobody takes it.
        let _ = self.requests.send(request).await;
        self.answers.message().await
    }

    /// Waits until it takes no more connections.
    async fn closed(&self) {
        let closed = async {
            while TcpStream::connect(&self.sidecar.grpc).is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(LONG, closed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_that_it_stops_takes_no_more_and_finishes_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut draining = Draining::start(folder.path(), 120_000).await;
    assert_eq!(draining.told().await, ServingStatus::NotServing);
    assert!(
        !draining.sidecar.is_ready(),
        "{}",
        draining.sidecar.readyz()
    );
    draining.closed().await;
    let answer = draining.ask().await.unwrap();
    assert!(answer.is_some(), "the open call is served");
    let Draining {
        mut sidecar,
        requests,
        mut answers,
        health,
    } = draining;
    drop((requests, health));
    assert!(answers.message().await.unwrap().is_none());
    let ended = tokio::task::spawn_blocking(move || sidecar.terminate());
    let (status, said) = tokio::time::timeout(LONG, ended).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_end_is_cut_at_the_drains_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut draining = Draining::start(folder.path(), 300).await;
    let cut = tokio::time::timeout(LONG, draining.answers.message()).await;
    let cut = cut.expect("it is cut").unwrap_err();
    assert_eq!(cut.code(), Code::Unknown, "{cut:?}");
    let mut sidecar = draining.sidecar;
    let ended = tokio::task::spawn_blocking(move || sidecar.terminate());
    let (status, said) = tokio::time::timeout(LONG, ended).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_begins_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(folder.path(), &["--set", "drain_timeout_ms=120000"]);
    let silent = TcpStream::connect(&sidecar.grpc).unwrap();
    let mut half = TcpStream::connect(&sidecar.grpc).unwrap();
    half.write_all(b"PRI * HTTP/2").unwrap();
    let ended = tokio::task::spawn_blocking(move || sidecar.terminate());
    let (status, said) = tokio::time::timeout(LONG, ended).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    drop((silent, half));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_cuts_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut draining = Draining::start(folder.path(), 120_000).await;
    assert_eq!(draining.told().await, ServingStatus::NotServing);
    let mut sidecar = draining.sidecar;
    let ended = tokio::task::spawn_blocking(move || sidecar.stop_by("INT"));
    let (status, said) = tokio::time::timeout(LONG, ended).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("open calls are cut"), "{said}");
}

/// Under `nohup`, and so where whoever runs this test ignores the signal, it is nothing.
#[test]
fn a_terminal_that_goes_away_ends_it_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(folder.path(), &[]);
    if Process::Own.ignores_hangup() {
        sidecar.signal("HUP");
        assert!(sidecar.is_ready());
        return;
    }
    let (status, said) = sidecar.stop_by("HUP");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("tollgate: stopping"), "{said}");
}
