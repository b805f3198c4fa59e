//! A server as one caller sees it: where it is, how TLS is spoken with it, and what is shown of the
//! caller. The files of the credentials are read once, for however many connections.

use std::{error::Error, fmt, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tower::service_fn;

use super::{Address, Bearer, CredentialArgs};
use crate::cli::{exit::Exit, output::Failure};

/// The most causes of a failed connection that are looked through for the one that says why.
const CAUSES_MAX: usize = 16;

/// Where connections lead to, and as whom. Its `Debug` shows no secret.
#[derive(Clone)]
pub(crate) struct Remote {
    address: Address,
    tls: Option<ClientTlsConfig>,
    bearer: Bearer,
}

impl Remote {
    /// Reads the credentials. They must fit the address, see [`CredentialArgs`].
    pub(crate) fn new(address: &Address, credentials: &CredentialArgs) -> Result<Self, Failure> {
        Ok(Remote {
            address: address.clone(),
            tls: credentials.tls(address)?,
            bearer: credentials.bearer(address)?,
        })
    }

    /// A server that is called without TLS and does not ask who calls.
    pub(crate) fn in_the_clear(address: Address) -> Self {
        Remote {
            address,
            tls: None,
            bearer: Bearer::default(),
        }
    }

    /// What each call has to show.
    pub(crate) fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// Connects, over TCP or a Unix socket. `timeout` bounds the connecting, and each call on the
    /// channel that does not bring a shorter deadline of its own.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<Channel, Failure> {
        let address = &self.address;
        let failed = |error: tonic::transport::Error| unreachable(address, &deepest(&error));
        let mut endpoint = Endpoint::try_from(address.origin())
            .map_err(failed)?
            .connect_timeout(timeout)
            .timeout(timeout)
            .tcp_nodelay(true);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(failed)?;
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
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.address)
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
        let remote = Remote::in_the_clear(address.clone());
        let failure = remote.connect(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        let expected =
            format!("cannot connect to {address}: No such file or directory (os error 2)");
        assert_eq!(failure.message, expected);
        let hint = format!("is `tollgate serve` running at {address}?");
        assert_eq!(failure.hints.first(), Some(&hint));
    }
}
