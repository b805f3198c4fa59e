//! The limit: the same server, from the socket to the decoded request and back, with answers that
//! are made once and decide nothing. What Tollgate takes beyond it is Tollgate's own.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    cli::{exit::Exit, output::Failure},
    clock::SystemClock,
    config::{self, Config, Flags, GrpcConfig},
    grpc::{AdminApi, Server, Sockets},
    pb::{self, quota_service_server::QuotaService},
    telemetry::{self, Metrics, Observer},
};

/// Serve constant answers: what `tollgate bench --limit` compares with
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct ConstantArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Serves until it is told to stop. Of the configuration only `[grpc]` and `[log]` are used.
pub(in crate::cli) async fn run(args: ConstantArgs) -> Result<Exit, Failure> {
    let config = Config::load(&args.flags, config::environment())?;
    let internal = |error: &dyn std::fmt::Display| Failure::new(Exit::Internal, error);
    telemetry::init_log(&config.log).map_err(|error| internal(&error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| internal(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| internal(&error))?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    serve_constant(&config.grpc, stop).await.map(|()| Exit::Ok)
}

/// Serves constant answers on the sockets that `config` names, by the server that Tollgate has.
pub(super) async fn serve_constant(
    config: &GrpcConfig,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let sockets = Sockets::bind(config)
        .await
        .map_err(|error| Failure::new(Exit::CantCreate, error))?;
    let metrics = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error))?;
    let observer = Observer::new(Arc::new(metrics), Arc::new(SystemClock::new()));
    let services = (Some(Constant::new()), None::<AdminApi>);
    Server::start_with(sockets, services, observer, config, stop)
        .stopped()
        .await;
    Ok(())
}

/// QuotaService with one answer for each method, as large as real ones are.
struct Constant {
    price: pb::Price,
    reserved: pb::ReserveResponse,
    extended: pb::ExtendResponse,
    committed: pb::CommitResponse,
    released: pb::ReleaseResponse,
    charged: pb::ChargeResponse,
    balance: pb::Balance,
    reservation: pb::Reservation,
}

impl Constant {
    fn new() -> Self {
        let balance = balance();
        let open = reservation(pb::ReservationState::Open);
        let committed = reservation(pb::ReservationState::Committed);
        let released = reservation(pb::ReservationState::Released);
        let some_balance = Some(balance.clone());
        Constant {
            price: price(),
            reserved: pb::ReserveResponse {
                result: Some(pb::reserve_response::Result::Reservation(open.clone())),
                balance: some_balance.clone(),
                ..pb::ReserveResponse::default()
            },
            extended: pb::ExtendResponse {
                result: Some(pb::extend_response::Result::Reservation(open.clone())),
                balance: some_balance.clone(),
                ..pb::ExtendResponse::default()
            },
            committed: pb::CommitResponse {
                receipt: Some(receipt()),
                reservation: Some(committed),
                balance: some_balance.clone(),
                ..pb::CommitResponse::default()
            },
            released: pb::ReleaseResponse {
                reservation: Some(released),
                returned: 18,
                balance: some_balance.clone(),
                ..pb::ReleaseResponse::default()
            },
            charged: pb::ChargeResponse {
                result: Some(pb::charge_response::Result::Receipt(receipt())),
                balance: some_balance,
                ..pb::ChargeResponse::default()
            },
            balance,
            reservation: open,
        }
    }
}

#[tonic::async_trait]
impl QuotaService for Constant {
    async fn quote(
        &self,
        _request: Request<pb::QuoteRequest>,
    ) -> Result<Response<pb::QuoteResponse>, Status> {
        Ok(Response::new(pb::QuoteResponse {
            price: Some(self.price.clone()),
        }))
    }

    async fn reserve(
        &self,
        _request: Request<pb::ReserveRequest>,
    ) -> Result<Response<pb::ReserveResponse>, Status> {
        Ok(Response::new(self.reserved.clone()))
    }

    async fn extend(
        &self,
        _request: Request<pb::ExtendRequest>,
    ) -> Result<Response<pb::ExtendResponse>, Status> {
        Ok(Response::new(self.extended.clone()))
    }

    async fn commit(
        &self,
        _request: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitResponse>, Status> {
        Ok(Response::new(self.committed.clone()))
    }

    async fn release(
        &self,
        _request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        Ok(Response::new(self.released.clone()))
    }

    async fn charge(
        &self,
        _request: Request<pb::ChargeRequest>,
    ) -> Result<Response<pb::ChargeResponse>, Status> {
        Ok(Response::new(self.charged.clone()))
    }

    async fn get_balance(
        &self,
        _request: Request<pb::GetBalanceRequest>,
    ) -> Result<Response<pb::GetBalanceResponse>, Status> {
        Ok(Response::new(pb::GetBalanceResponse {
            balance: Some(self.balance.clone()),
        }))
    }

    async fn get_reservation(
        &self,
        _request: Request<pb::GetReservationRequest>,
    ) -> Result<Response<pb::GetReservationResponse>, Status> {
        let reservation = Some(self.reservation.clone());
        Ok(Response::new(pb::GetReservationResponse { reservation }))
    }
}

/// A moment like any other: what counts is its length on the wire.
fn moment() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_800_000_000,
        nanos: 123_000_000,
    })
}

fn balance() -> pb::Balance {
    pb::Balance {
        available: 999_999_999_000,
        held: 36,
        plan_id: "bench".to_owned(),
        plan_allowance: 1_000_000_000_000,
        plan_used: 964,
        plan_remaining: 999_999_999_036,
        renews_at: moment(),
        sequence: 1_000,
        as_of: moment(),
        version: 2_000,
        ..pb::Balance::default()
    }
}

fn reservation(state: pb::ReservationState) -> pb::Reservation {
    pb::Reservation {
        reservation_id: "0123456789abcdef0123456789abcdef".to_owned(),
        account_id: "bench-0123456789-1000".to_owned(),
        state: state.into(),
        action: Some(pb::Action {
            mode: "agent".to_owned(),
            model: "claude-sonnet-4-5".to_owned(),
            conversation_id: "0123456789-conversation-100".to_owned(),
            ..pb::Action::default()
        }),
        held: 18,
        charged: 0,
        expires_at: moment(),
        rate_card_version: "bench-default-1".to_owned(),
        max_output_tokens: Some(1_850),
    }
}

fn price() -> pb::Price {
    let item = |meter: &str, quantity, rate: &str, amount: &str| pb::LineItem {
        meter: meter.to_owned(),
        quantity,
        rate: rate.to_owned(),
        amount: amount.to_owned(),
    };
    pb::Price {
        credits: 18,
        rate_card_version: "bench-default-1".to_owned(),
        tier: "standard".to_owned(),
        items: vec![
            item("input_tokens", 12_400, "0.0004", "4.96"),
            item("cached_input_tokens", 30_000, "0.00004", "1.2"),
            item("output_tokens", 1_850, "0.002", "3.7"),
            item("tool_calls", 7, "0.2", "1.4"),
            item("file_operations", 9, "0.05", "0.45"),
        ],
        subtotal: "11.71".to_owned(),
        multiplier: "1.5".to_owned(),
        exact: "17.565".to_owned(),
    }
}

fn receipt() -> pb::Receipt {
    pb::Receipt {
        reservation_id: "0123456789abcdef0123456789abcdef".to_owned(),
        credits: 18,
        price: Some(price()),
        draws: vec![pb::GrantDraw {
            grant_id: "plan-2027-01-15".to_owned(),
            credits: 18,
        }],
        sequence: 1_000,
        ..pb::Receipt::default()
    }
}
