//! The log: lines on standard error, for people or as JSON, each with the ids of the call that it
//! belongs to.
//!
//! A line that comes too often is left out and counted. A field that names an account is left out
//! unless the configuration wants it; only an error names its account always, since it is about
//! that account's money, and nobody could act on it otherwise. Control characters never reach the
//! output, so that no request can forge a line.

mod fields;
mod limit;

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use self::{
    fields::{Fields, Line},
    limit::Limiter,
};
use super::present;
use crate::{
    clock::{Clock, SystemClock},
    config::{LogConfig, LogFormat},
};

/// What the fields are called that name an account.
const ACCOUNT_FIELDS: [&str; 2] = ["account", "account_id"];

/// How many lines were left out since the process started.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

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
    let filter = EnvFilter::try_new(&config.filter)?;
    let lines = Lines::new(config, SystemClock::new(), std::io::stderr());
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(())
}

/// How many lines were left out.
pub(super) fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// Where it is said what a store has lost: a line for each is all that is left of it, so that none is
/// left out however many there are.
const TARGET_LOST: &str = "tollgate::lost";

/// Writes each event as a line.
struct Lines<C, W> {
    format: LogFormat,
    account_ids: bool,
    clock: C,
    limiter: Mutex<Limiter>,
    out: Mutex<W>,
}

impl<C: Clock, W: Write> Lines<C, W> {
    fn new(config: &LogConfig, clock: C, out: W) -> Self {
        Lines {
            format: config.format,
            account_ids: config.account_ids,
            clock,
            limiter: Mutex::default(),
            out: Mutex::new(out),
        }
    }
}

impl<S, C, W> Layer<S> for Lines<C, W>
where
    S: Subscriber,
    C: Clock + 'static,
    W: Write + Send + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = *metadata.level();
        // Whoever asked for more than INFO wants to see all of it.
        let passed = if level <= Level::INFO && metadata.target() != TARGET_LOST {
            let now = self.clock.monotonic();
            self.limiter.lock().pass(metadata.callsite(), now)
        } else {
            Some(0)
        };
        let Some(left_out) = passed else {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        if !self.account_ids && level != Level::ERROR {
            fields.remove(&ACCOUNT_FIELDS);
        }
        if left_out > 0 {
            fields.add("suppressed", left_out.into());
        }
        if let Some((request_id, trace_id)) = present::ids() {
            fields.add("request_id", request_id.into());
            if let Some(trace_id) = trace_id {
                fields.add("trace_id", trace_id.to_string().into());
            }
        }
        let line = Line {
            at: format!("{:.3}", self.clock.now()),
            level: level.as_str(),
            target: metadata.target(),
            fields,
        };
        let text = match self.format {
            LogFormat::Text => line.text(),
            LogFormat::Json => line.json(),
        };
        // There is nobody to tell where the log itself can't be written.
        let _ = self.out.lock().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests;
