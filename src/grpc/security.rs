//! What a server asks of its connections: TLS, handshakes within their bounds, known peers.

use std::{io, sync::Arc, time::Duration};

use rustls::server::Acceptor;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::peer::Peer;
use crate::{
    access::AccessFile,
    config::TlsConfig,
    tls::{self, Tls},
};

/// What keeps strangers out. The default keeps nobody out.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS on every TCP port.
    pub tls: Option<Handshakes>,
    /// Who may do what.
    pub access: Option<Arc<AccessFile>>,
}

/// How connections get TLS.
#[derive(Clone, Debug)]
pub struct Handshakes {
    tls: Arc<Tls>,
    timeout: Duration,
    places: Arc<Semaphore>,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The handshake took too long.
    HandshakeTimeout,
    /// The handshake failed: no TLS, no certificate or a wrong one, another protocol.
    HandshakeFailed,
    /// A process that may not connect to the Unix socket.
    Peer,
    /// The start of HTTP/2 took too long.
    PrefaceTimeout,
}

impl Turned {
    /// Its label in the metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Turned::HandshakeTimeout => "handshake_timeout",
            Turned::HandshakeFailed => "handshake_failed",
            Turned::Peer => "unix_peer",
            Turned::PrefaceTimeout => "preface_timeout",
        }
    }
}

impl Handshakes {
    /// By what is configured.
    pub fn new(tls: Arc<Tls>, config: &TlsConfig) -> Self {
        let places = usize::try_from(config.handshakes_max).unwrap_or(usize::MAX);
        Handshakes {
            tls,
            timeout: Duration::from_millis(config.handshake_timeout_ms),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Makes a TLS connection of a TCP connection.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        peer: Peer,
    ) -> Result<(TlsStream<TcpStream>, Peer), Turned> {
        match timeout(self.timeout, self.accept(stream)).await {
            Err(_) => Err(Turned::HandshakeTimeout),
            Ok(Err(error)) => {
                tracing::debug!(%error, %peer, "a TLS handshake failed");
                Err(Turned::HandshakeFailed)
            }
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let chain = session.peer_certificates().unwrap_or_default();
                let names = chain.first().map(tls::names).unwrap_or_default();
                Ok((stream, peer.with_names(names)))
            }
        }
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        // Whoever has said nothing yet takes nobody's place.
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let place = self.places.acquire().await;
        let place = place.map_err(io::Error::other)?;
        let stream = hello.into_stream(self.tls.config()).await?;
        drop(place);
        // A client that leaves the choice to us is taken to mean the only protocol there is.
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") | None => Ok(stream),
            Some(_) => Err(io::Error::other("another protocol than h2")),
        }
    }
}
