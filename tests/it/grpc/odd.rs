//! A service that never answers, or panics: what the server makes of such handlers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::SystemClock,
    config::GrpcConfig,
    grpc::{AdminApi, Server, Sockets},
    pb::{self, quota_service_client::QuotaServiceClient, quota_service_server::QuotaService},
    telemetry::{Metrics, Observer},
};
use tonic::{Code, Request, Response, Status};

use super::{
    wire,
    world::{channel, config, metadata, reason, reserve},
};

/// `Reserve` answers once it is let go, `Commit` panics, the rest answers nothing much.
#[derive(Clone, Default)]
pub struct Odd {
    pub entered: Arc<Notify>,
    pub let_go: Arc<Notify>,
    pub dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

macro_rules! empty {
    ($($method:ident: $request:ident -> $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl QuotaService for Odd {
            async fn reserve(
                &self,
                _: Request<pb::ReserveRequest>,
            ) -> Result<Response<pb::ReserveResponse>, Status> {
                let _guard = CountDrop(Arc::clone(&self.dropped));
                self.entered.notify_one();
                self.let_go.notified().await;
                Ok(Response::new(pb::ReserveResponse { replayed: true, ..Default::default() }))
            }

            async fn commit(
                &self,
                _: Request<pb::CommitRequest>,
            ) -> Result<Response<pb::CommitResponse>, Status> {
                panic!("a mistake")
            }

            $(
                async fn $method(
                    &self,
                    _: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    Ok(Response::new(pb::$response::default()))
                }
            )*
        }
    };
}

empty! {
    quote: QuoteRequest -> QuoteResponse,
    extend: ExtendRequest -> ExtendResponse,
    release: ReleaseRequest -> ReleaseResponse,
    charge: ChargeRequest -> ChargeResponse,
    get_balance: GetBalanceRequest -> GetBalanceResponse,
    get_reservation: GetReservationRequest -> GetReservationResponse,
}

/// A server of it, and where it is.
pub async fn serve(odd: Odd, config: GrpcConfig) -> (Server, CancellationToken, String) {
    let sockets = Sockets::bind(&config).await.unwrap();
    let address = format!("http://{}", sockets.tcp_addr());
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::new().unwrap());
    let observer = Observer::new(metrics, Arc::new(SystemClock::new()));
    let services = (Some(odd), None::<AdminApi>);
    let server = Server::start_with(sockets, services, observer, &config, stop.clone());
    (server, stop, address)
}

const RESERVE: &str = "/tollgate.v1.QuotaService/Reserve";
/// An empty message, framed.
const EMPTY: [u8; 5] = [0; 5];

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_as_such() {
    let odd = Odd::default();
    let config = GrpcConfig {
        request_timeout_ms: 50,
        ..config()
    };
    let (_server, _stop, address) = serve(odd.clone(), config).await;
    let late = wire::status(&wire::call(&address, RESERVE, &[], EMPTY.to_vec()).await);
    assert_eq!(
        (late.code(), reason(&late).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    assert_eq!(metadata(&late, "certainty"), "may_have_happened");
    assert!(late.message().contains("50 ms"), "{late:?}");
    assert_eq!(
        odd.dropped.load(Ordering::SeqCst),
        1,
        "the handler is not left running"
    );
}

#[tokio::test]
async fn a_shorter_deadline_of_the_callers_wins() {
    let (_server, _stop, address) = serve(Odd::default(), config()).await;
    let headers = [("grpc-timeout", "20m")];
    let late = wire::status(&wire::call(&address, RESERVE, &headers, EMPTY.to_vec()).await);
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(late.message().contains("20 ms"), "{late:?}");
}

#[tokio::test]
async fn a_panic_is_one_callers_error() {
    let (_server, _stop, address) = serve(Odd::default(), config()).await;
    let mut quota = QuotaServiceClient::new(channel(&address).await);
    let failed = quota
        .commit(pb::CommitRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (failed.code(), reason(&failed).as_str()),
        (Code::Internal, "PANIC")
    );
    // The same connection serves on.
    quota.quote(pb::QuoteRequest::default()).await.unwrap();
}

#[tokio::test]
async fn calls_beyond_the_most_are_refused_at_once() {
    let odd = Odd::default();
    let config = GrpcConfig {
        calls_max: 1,
        ..config()
    };
    let (_server, _stop, address) = serve(odd.clone(), config).await;
    let quota = QuotaServiceClient::new(channel(&address).await);
    let mut first = quota.clone();
    let first = tokio::spawn(async move { first.reserve(reserve("a", "r", 1)).await });
    odd.entered.notified().await;
    let mut second = quota.clone();
    let refused = second.quote(pb::QuoteRequest::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CALLS",)
    );
    odd.let_go.notify_one();
    assert!(first.await.unwrap().unwrap().into_inner().replayed);
    second.quote(pb::QuoteRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_call_in_progress_is_finished_before_the_end() {
    let odd = Odd::default();
    let (server, stop, address) = serve(odd.clone(), config()).await;
    let mut quota = QuotaServiceClient::new(channel(&address).await);
    let call = tokio::spawn(async move { quota.reserve(reserve("a", "r", 1)).await });
    odd.entered.notified().await;
    stop.cancel();
    let mut stopped = std::pin::pin!(server.stopped());
    let early = tokio::time::timeout(Duration::from_millis(50), stopped.as_mut()).await;
    assert!(early.is_err(), "it must wait for the call");
    odd.let_go.notify_one();
    assert!(call.await.unwrap().unwrap().into_inner().replayed);
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .expect("stopped");
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut_with_the_server() {
    let odd = Odd::default();
    let (server, stop, address) = serve(odd.clone(), config()).await;
    let mut quota = QuotaServiceClient::new(channel(&address).await);
    let call = tokio::spawn(async move { quota.reserve(reserve("a", "r", 1)).await });
    odd.entered.notified().await;
    stop.cancel();
    drop(server);
    let cut = tokio::time::timeout(Duration::from_secs(10), call)
        .await
        .expect("cut")
        .unwrap();
    assert!(cut.is_err());
}
