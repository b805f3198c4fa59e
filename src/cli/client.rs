//! Talking to a running server: where it is, how long to wait for it, and what its errors mean.
//! Used by every command that calls a server.
//!
//! It never retries: whoever has an idempotency key does that. It knows nothing of credits.

mod address;
mod credentials;
mod key;
mod refusal;
mod remote;

use std::time::Duration;

use tonic::{Request, transport::Channel};

pub(crate) use self::{
    address::Address,
    credentials::{Bearer, CredentialArgs},
    key::Key,
    refusal::failure,
    remote::Remote,
};
use super::{exit::Exit, output::Failure, values};
use crate::pb::{
    admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
};

/// Where `tollgate serve` listens unless it is told otherwise.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// Which server, and how long to wait for it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The server: host:port, https://host:port or unix:/path
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_ENDPOINT",
        default_value = DEFAULT_ENDPOINT,
        value_name = "ADDRESS"
    )]
    endpoint: Address,

    /// How long to wait for the connection, and then for each answer, e.g. 500ms, 5s
    #[arg(
        long,
        global = true,
        default_value = "5s",
        value_parser = values::duration,
        value_name = "DURATION"
    )]
    timeout: Duration,

    #[command(flatten)]
    credentials: CredentialArgs,
}

/// A command that calls a server: its own arguments, and which server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Call<A: clap::Args> {
    /// What the command is about.
    #[command(flatten)]
    pub(crate) args: A,
    /// Which server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A connection to a server, with the deadline of its calls.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    timeout: Duration,
    bearer: Bearer,
}

impl ServerArgs {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let connected = Client::connect(&self.endpoint, self.timeout, &self.credentials).await;
        connected.map_err(|failure| match failure.exit == Exit::Unavailable {
            true => failure.hint("so does TOLLGATE_ENDPOINT"),
            false => failure,
        })
    }
}

impl Client {
    /// Connects as whoever the credentials say. `timeout` bounds the connecting, and then each
    /// answer.
    pub(crate) async fn connect(
        address: &Address,
        timeout: Duration,
        credentials: &CredentialArgs,
    ) -> Result<Client, Failure> {
        let remote = Remote::new(address, credentials)?;
        Ok(Client {
            channel: remote.connect(timeout).await?,
            timeout,
            bearer: remote.bearer().clone(),
        })
    }

    /// The service of the hot path.
    pub(crate) fn quota(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(self.channel.clone())
    }

    /// The service of the control plane.
    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    /// The message with its deadline, which the server is told too, and the caller's token.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        self.bearer.put(&mut request);
        request
    }
}
