//! What the connections of a server may have, and when one has begun.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rand::Rng;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Semaphore, oneshot},
};

use crate::config::{GrpcConfig, UnixPeers};

/// How long a connection may take to say that it is HTTP/2, and how long it still may once the server
/// was told to stop: what is sent before that may not be read yet.
pub(super) const PREFACE_WAIT: Duration = Duration::from_secs(10);
pub(super) const PREFACE_WAIT_AT_STOP: Duration = Duration::from_millis(100);
/// How many bytes say so.
const PREFACE_BYTES: usize = 24;
/// By how much the age of a connection differs from what is configured, at most: connections that
/// were made together do not end together.
const AGE_JITTER: f64 = 0.1;

/// What the connections of one listener may have.
#[derive(Clone)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    /// Absent: they may live for ever.
    age_max: Option<Duration>,
    pub(super) age_grace: Duration,
    pub(super) unix_peers: Arc<UnixPeers>,
}

impl Bounds {
    pub(super) fn new(config: &GrpcConfig) -> Self {
        let connections_max = usize::try_from(config.connections_max).unwrap_or(usize::MAX);
        let age_max = Duration::from_millis(config.connection_age_max_ms);
        Bounds {
            connections_max: connections_max.min(Semaphore::MAX_PERMITS),
            age_max: (!age_max.is_zero()).then_some(age_max),
            age_grace: Duration::from_millis(config.connection_age_grace_ms),
            unix_peers: Arc::new(config.unix_peers.clone()),
        }
    }

    /// Returns when a connection that starts now has lived long enough.
    pub(super) async fn old(&self) {
        match self.age_max {
            Some(age) => {
                let part = rand::rng().random_range(1.0 - AGE_JITTER..=1.0 + AGE_JITTER);
                tokio::time::sleep(age.mul_f64(part)).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The bytes of a connection, as HTTP/2 gets them. It tells when so much was read that the connection
/// can have begun: until then hyper neither asks whether it is still there nor ends it. And it takes
/// one piece at a time: where several can be handed over at once, h2 leaves each answer of 256 bytes
/// and more where it is, and writes it with a system call of its own; where they can't, it gathers
/// those of up to 1 KiB, and the answers that are ready go out in one.
pub(super) struct Wire<I> {
    io: I,
    missing: usize,
    begun: Option<oneshot::Sender<()>>,
}

impl<I> Wire<I> {
    /// `begun` is told.
    pub(super) fn new(io: I, begun: oneshot::Sender<()>) -> Self {
        Wire {
            io,
            missing: PREFACE_BYTES,
            begun: Some(begun),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
        if self.missing == 0
            && let Some(begun) = self.begun.take()
        {
            // Whoever waited may be gone.
            let _ = begun.send(());
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Tells of a connection that is over.
pub(super) fn over(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_connection_has_begun_with_the_last_byte_of_its_preface() {
        let (tell, mut begun) = oneshot::channel();
        let (mut client, server) = duplex(64);
        let mut wire = Wire::new(server, tell);
        let mut read = [0; 64];
        client.write_all(&[b'P'; PREFACE_BYTES - 1]).await.unwrap();
        assert_eq!(wire.read(&mut read).await.unwrap(), PREFACE_BYTES - 1);
        assert!(begun.try_recv().is_err());
        client.write_all(b"PP").await.unwrap();
        assert_eq!(wire.read(&mut read).await.unwrap(), 2);
        begun.try_recv().unwrap();
    }

    #[tokio::test]
    async fn what_is_written_arrives_and_pieces_are_gathered_before() {
        let (tell, _begun) = oneshot::channel();
        let (mut client, server) = duplex(64);
        assert!(server.is_write_vectored());
        let mut wire = Wire::new(server, tell);
        assert!(!wire.is_write_vectored());
        wire.write_all(b"an answer").await.unwrap();
        wire.shutdown().await.unwrap();
        let mut arrived = String::new();
        client.read_to_string(&mut arrived).await.unwrap();
        assert_eq!(arrived, "an answer");
    }
}
