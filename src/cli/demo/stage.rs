//! The sidecar of the play: its folder, its configuration, its clock, and the two ways to it.

use std::{
    fmt::Display,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use super::{play::Stopped, words};
use crate::{
    app::Running,
    cli::{exit::Exit, output::Failure},
    clock::{Clock, ManualClock},
    config::{Config, Flags},
    domain::timestamp::Timestamp,
    pb::{
        self, admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
    },
};

/// How long a connection, and each call, may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Only this user may look into the folder.
const FOLDER_MODE: u32 = 0o700;
/// Any free port of this machine, unreachable from outside.
const ANY_PORT: &str = "127.0.0.1:0";
/// The sidecar's socket in the folder.
const SOCKET: &str = "grpc.sock";
/// What differs from the defaults: a viewer should not wait half a second for the sweeper.
const SETTINGS: [&str; 1] = ["sweep.interval_ms=20"];

/// A temporary folder; it goes when this does.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one, which nobody else has.
    pub(super) fn make() -> Result<Folder, Failure> {
        let path =
            std::env::temp_dir().join(format!("tollgate-demo-{:016x}", rand::random::<u64>()));
        let made = DirBuilder::new().mode(FOLDER_MODE).create(&path);
        made.map_err(|error| {
            Failure::new(Exit::CantCreate, format!("{}: {error}", path.display()))
                .hint("TMPDIR names another place for temporary files")
        })?;
        Ok(Folder(path))
    }

    fn join(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is the system's to clean up: it is among its temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The defaults, on free ports, with everything in the folder. The environment has no say.
pub(super) fn config(folder: &Folder, catalog: Option<PathBuf>) -> Result<Config, Failure> {
    let flags = Flags {
        grpc_listen: Some(ANY_PORT.to_owned()),
        http_listen: Some(ANY_PORT.to_owned()),
        unix_socket: Some(folder.join(SOCKET)),
        data_dir: Some(folder.join("data")),
        catalog: catalog.map(|path| path.display().to_string()),
        set: SETTINGS.map(str::to_owned).to_vec(),
        ..Flags::default()
    };
    Ok(Config::load(&flags, std::iter::empty())?)
}

/// Where the play happens.
#[derive(Debug)]
pub(super) struct Stage {
    address: String,
    tcp: Channel,
    unix: Channel,
    clock: Arc<ManualClock>,
}

impl Stage {
    /// Connects to a sidecar, over TCP and over its Unix socket.
    pub(super) async fn connect(
        running: &Running,
        clock: Arc<ManualClock>,
    ) -> Result<Stage, Failure> {
        let address = format!("http://{}", running.grpc_addr);
        let tcp = connect(&address).await?;
        let socket = running.unix_socket.as_deref().unwrap_or(Path::new(SOCKET));
        let unix = connect(&format!("unix:{}", socket.display())).await?;
        Ok(Stage {
            address,
            tcp,
            unix,
            clock,
        })
    }

    /// The hot path, over TCP.
    pub(super) fn quota(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(self.tcp.clone())
    }

    /// The hot path, over the Unix socket.
    pub(super) fn quota_by_socket(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(self.unix.clone())
    }

    /// The hot path, over a TCP connection that nobody else uses.
    pub(super) async fn stranger(&self) -> Result<QuotaServiceClient<Channel>, Stopped> {
        let channel = connect(&self.address).await;
        let channel =
            channel.map_err(|failure| Stopped::new("connect", "a connection", failure.message))?;
        Ok(QuotaServiceClient::new(channel))
    }

    /// The control plane, over TCP.
    pub(super) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.tcp.clone())
    }

    /// What the sidecar's clock shows.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub(super) fn wait(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Puts the clock to an instant.
    pub(super) fn wait_until(&self, at: Timestamp) {
        self.clock.set(at);
    }

    /// Prices an action.
    pub(super) async fn quote(
        &self,
        action: pb::Action,
        estimate: pb::Usage,
    ) -> Result<pb::Price, Stopped> {
        let request = pb::QuoteRequest {
            action: Some(action),
            estimate: Some(estimate),
        };
        let response = answered("Quote", self.quota().quote(request).await)?;
        response
            .price
            .ok_or_else(|| Stopped::new("Quote", "a price", "none"))
    }

    /// Reserves, and answers what came back, whichever it is.
    pub(super) async fn reserve(
        &self,
        request: pb::ReserveRequest,
    ) -> Result<pb::ReserveResponse, Stopped> {
        let call = format!("Reserve {}", request.reservation_id);
        answered(&call, self.quota().reserve(request).await)
    }

    /// Commits.
    pub(super) async fn commit(
        &self,
        request: pb::CommitRequest,
    ) -> Result<pb::CommitResponse, Stopped> {
        let call = format!("Commit {}", request.reservation_id);
        answered(&call, self.quota().commit(request).await)
    }

    /// Asks what an account has.
    pub(super) async fn balance(&self, account_id: &str) -> Result<pb::Balance, Stopped> {
        let request = pb::GetBalanceRequest {
            account_id: account_id.to_owned(),
        };
        let response = answered("GetBalance", self.quota().get_balance(request).await)?;
        response
            .balance
            .ok_or_else(|| Stopped::new("GetBalance", "a balance", "none"))
    }
}

async fn connect(address: &str) -> Result<Channel, Failure> {
    let failure = |error: tonic::transport::Error| {
        Failure::new(Exit::Internal, format!("connecting to {address}: {error}"))
    };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(failure)?;
    let endpoint = endpoint
        .connect_timeout(CALL_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(failure)
}

/// The message of an answer; an error stops the play.
pub(super) fn answered<T, E: Display>(
    call: &str,
    answer: Result<tonic::Response<T>, E>,
) -> Result<T, Stopped> {
    match answer {
        Ok(response) => Ok(response.into_inner()),
        Err(error) => Err(Stopped::new(call, "an answer", error)),
    }
}

/// The reservation of an answer; a denial stops the play.
pub(super) fn granted(response: &pb::ReserveResponse) -> Result<&pb::Reservation, Stopped> {
    use pb::reserve_response::Result::{Denial, Reservation};
    let got = match &response.result {
        Some(Reservation(reservation)) => return Ok(reservation),
        Some(Denial(denial)) => format!("a denial, {}", words::name(denial.reason().as_str_name())),
        None => "neither reservation nor denial".to_owned(),
    };
    Err(Stopped::new("Reserve", "a reservation", got))
}

/// The denial of an answer; a reservation stops the play.
pub(super) fn denied(response: &pb::ReserveResponse) -> Result<&pb::Denial, Stopped> {
    use pb::reserve_response::Result::{Denial, Reservation};
    let got = match &response.result {
        Some(Denial(denial)) => return Ok(denial),
        Some(Reservation(reservation)) => format!("a hold of {} credits", reservation.held),
        None => "neither reservation nor denial".to_owned(),
    };
    Err(Stopped::new("Reserve", "a denial", got))
}

/// What a charge did; a denial stops the play.
pub(super) fn charged(response: &pb::ChargeResponse) -> Result<&pb::Receipt, Stopped> {
    use pb::charge_response::Result::{Denial, Receipt};
    let got = match &response.result {
        Some(Receipt(receipt)) => return Ok(receipt),
        Some(Denial(denial)) => format!("a denial, {}", words::name(denial.reason().as_str_name())),
        None => "neither receipt nor denial".to_owned(),
    };
    Err(Stopped::new("Charge", "a receipt", got))
}

/// What a commit did; an answer without a receipt stops the play.
pub(super) fn receipt(response: &pb::CommitResponse) -> Result<&pb::Receipt, Stopped> {
    response
        .receipt
        .as_ref()
        .ok_or_else(|| Stopped::new("Commit", "a receipt", "none"))
}
