//! What Tollgate says about itself: the log, and the metrics, each named in one place.
//!
//! The environment is not consulted, the configuration is. No account id and no conversation id
//! ever becomes a label; every label takes few values, all known from the code or the catalogue.

mod instruments;
mod labels;
mod metrics;
mod security;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use self::{
    labels::{CreditsKind, Decision, Reload, Verdict},
    metrics::Metrics,
};
use crate::config::{LogConfig, LogFormat};

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not understood.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process has a log already.
    #[error(transparent)]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process, on standard error. Can be done once.
pub fn init_log(config: &LogConfig) -> Result<(), LogError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(&config.filter)?);
    match config.format {
        LogFormat::Text => {
            registry
                .with(fmt::layer().with_writer(std::io::stderr).with_ansi(false))
                .try_init()?;
        }
        LogFormat::Json => {
            let lines = fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr);
            registry.with(lines).try_init()?;
        }
    }
    Ok(())
}
