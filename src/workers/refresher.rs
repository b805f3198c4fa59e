//! The refresher takes changed certificates and a changed access file into use. It looks at the
//! files by timer, so that no way of swapping them is missed; a file that can't be used changes
//! nothing, and the log and a metric say why.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;

use super::{Progress, StepError, Worker};
use crate::{
    access::{AccessFile, Refreshed},
    telemetry::{Metrics, Reload},
    tls::Tls,
};

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The certificate, its key, the callers' roots.
    Tls(Arc<Tls>),
    /// Who may do what.
    Access(Arc<AccessFile>),
}

/// Looks at files.
pub struct Refresher {
    watched: Watched,
    metrics: Arc<Metrics>,
}

impl Refresher {
    /// Looks at these, which are in use.
    pub fn new(watched: Watched, metrics: Arc<Metrics>) -> Self {
        let refresher = Refresher { watched, metrics };
        refresher.metrics.set_file_refused(refresher.file(), false);
        refresher
    }

    /// The certificate's time, from now on in the metrics.
    fn show(&self) {
        if let Watched::Tls(tls) = &self.watched {
            let validity = tls.validity();
            self.metrics
                .set_certificate(validity.not_before_s, validity.not_after_s);
        }
    }

    fn file(&self) -> &'static str {
        match self.watched {
            Watched::Tls(_) => "tls",
            Watched::Access(_) => "access",
        }
    }
}

fn look(watched: &Watched) -> Result<Refreshed, Box<dyn Error + Send + Sync>> {
    match watched {
        Watched::Tls(tls) => Ok(tls.refresh()?),
        Watched::Access(access) => Ok(access.refresh()?),
    }
}

#[async_trait]
impl Worker for Refresher {
    fn name(&self) -> &'static str {
        "refresher"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let watched = self.watched.clone();
        let looked = tokio::task::spawn_blocking(move || look(&watched)).await?;
        let file = self.file();
        match looked {
            Ok(Refreshed::Same) => {}
            Ok(Refreshed::Changed) => {
                self.metrics.file_reload(file, Reload::Loaded);
                tracing::info!(file, "the changed file is in use");
            }
            Err(error) => {
                self.metrics.file_reload(file, Reload::Refused);
                tracing::error!(file, %error, "the changed file is not used; the old one stays");
            }
        }
        self.show();
        Ok(Progress::Done)
    }
}
