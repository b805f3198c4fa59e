//! What the connections of a server may have, and when one has begun.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    io::AsyncRead,
    sync::{Semaphore, oneshot},
};
use tokio_util::io::InspectReader;

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

/// Tells when so much was read that a connection can have begun: until then hyper neither asks
/// whether it is still there nor ends it.
pub(super) fn until_begun<I: AsyncRead>(
    io: I,
    tell: oneshot::Sender<()>,
) -> InspectReader<I, impl FnMut(&[u8])> {
    let (mut tell, mut missing) = (Some(tell), PREFACE_BYTES);
    InspectReader::new(io, move |read: &[u8]| {
        missing = missing.saturating_sub(read.len());
        if missing == 0
            && let Some(tell) = tell.take()
        {
            // Whoever waited may be gone.
            let _ = tell.send(());
        }
    })
}

/// Tells of a connection that is over.
pub(super) fn over(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
