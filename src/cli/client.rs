//! Talking to a running server: where it is, how long to wait for it, and what its errors mean.
//! Used by every command that calls a server.
//!
//! It never retries: whoever has an idempotency key does that. It knows nothing of credits.

mod address;
mod credentials;
mod key;
mod refusal;

use std::{error::Error, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::service_fn;

pub(crate) use self::{address::Address, credentials::CredentialArgs, key::Key, refusal::failure};
use super::{exit::Exit, output::Failure, values};
use crate::pb::{
    admin_service_client::AdminServiceClient, quota_service_client::QuotaServiceClient,
};

/// Where `tollgate serve` listens unless it is told otherwise.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// The most causes of a failed connection that are looked through for the one that says why.
const CAUSES_MAX: usize = 16;

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
    token: Option<MetadataValue<Ascii>>,
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
        let tls = credentials.tls(address)?;
        let token = credentials.token(address)?;
        Ok(Client {
            channel: connect_with(address, timeout, tls).await?,
            timeout,
            token,
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
        if let Some(token) = &self.token {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        request
    }
}

/// Connects without TLS, over TCP or a Unix socket. `timeout` bounds the connecting, and each call on
/// the channel that does not bring a shorter deadline of its own.
pub(crate) async fn connect(address: &Address, timeout: Duration) -> Result<Channel, Failure> {
    connect_with(address, timeout, None).await
}

async fn connect_with(
    address: &Address,
    timeout: Duration,
    tls: Option<ClientTlsConfig>,
) -> Result<Channel, Failure> {
    let failed = |error: tonic::transport::Error| unreachable(address, &deepest(&error));
    let mut endpoint = Endpoint::try_from(address.origin())
        .map_err(failed)?
        .connect_timeout(timeout)
        .timeout(timeout)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(failed)?;
    }
    let connected = match address {
        Address::Tcp(_) | Address::Tls(_) => {
            tokio::time::timeout(timeout, endpoint.connect()).await
        }
        Address::Unix(path) => {
            let path = path.clone();
            let connector = service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let connecting = endpoint.connect_with_connector(connector);
            tokio::time::timeout(timeout, connecting).await
        }
    };
    match connected {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(address, &deepest(&error))),
        Err(_) => Err(unreachable(address, &format!("no answer in {timeout:?}"))),
    }
}

fn unreachable(address: &Address, why: &str) -> Failure {
    let message = format!("cannot connect to {address}: {why}");
    Failure::new(Exit::Unavailable, message)
        .hint(format!("is `tollgate serve` running at {address}?"))
        .hint("--endpoint names another server")
}

/// The last cause: the ones before it say that there was a transport error, and no more.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let last = causes.take(CAUSES_MAX).last();
    last.unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.sock");
        let address: Address = format!("unix:{}", path.display()).parse().unwrap();
        let failure = connect(&address, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        let expected =
            format!("cannot connect to {address}: No such file or directory (os error 2)");
        assert_eq!(failure.message, expected);
        let hint = format!("is `tollgate serve` running at {address}?");
        assert_eq!(failure.hints.first(), Some(&hint));
    }
}
