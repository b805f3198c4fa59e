//! What keeps strangers out, opened before anything is bound and read again while it serves.

use std::{sync::Arc, time::Duration};

use super::StartError;
use crate::{
    access::AccessFile,
    config::Config,
    grpc,
    telemetry::Metrics,
    tls::Tls,
    workers::{
        Worker,
        refresher::{Refresher, Watched},
    },
};

/// The files that are in use.
pub(super) struct Opened {
    tls: Option<Arc<Tls>>,
    access: Option<Arc<AccessFile>>,
}

/// Reads the files; a file that can't be used fails the start.
pub(super) fn open(config: &Config) -> Result<Opened, StartError> {
    let tls = config.tls.files.clone().map(Tls::open).transpose()?;
    let access = config.access.file.as_deref();
    let access = access.map(AccessFile::open).transpose()?;
    let knows_callers = tls.is_some() && config.tls.files.iter().any(|tls| tls.client_ca.is_some());
    if access.is_none() && !config.grpc.listen.ip().is_loopback() && !knows_callers {
        tracing::warn!(
            listen = %config.grpc.listen,
            "whoever can reach this port may do everything: access.file and tls.client_ca are empty"
        );
    }
    Ok(Opened {
        tls: tls.map(Arc::new),
        access: access.map(Arc::new),
    })
}

impl Opened {
    /// What the server needs of them.
    pub(super) fn of_server(&self, config: &Config) -> grpc::Security {
        let tls = self.tls.as_ref();
        grpc::Security {
            tls: tls.map(|tls| grpc::Handshakes::new(Arc::clone(tls), &config.tls)),
            access: self.access.clone(),
        }
    }

    /// Whoever looks whether they changed.
    pub(super) fn workers(
        &self,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Vec<(Arc<dyn Worker>, Duration)> {
        let refresher = |watched, interval_ms| -> (Arc<dyn Worker>, Duration) {
            let metrics = Arc::clone(metrics);
            let refresher = Refresher::new(watched, metrics);
            (Arc::new(refresher), Duration::from_millis(interval_ms))
        };
        let tls = self.tls.iter().cloned().map(Watched::Tls);
        let access = self.access.iter().cloned().map(Watched::Access);
        tls.map(|watched| refresher(watched, config.tls.reload_interval_ms))
            .chain(access.map(|watched| refresher(watched, config.access.reload_interval_ms)))
            .collect()
    }
}
