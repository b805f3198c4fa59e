//! Servers that lost something: emptied under load, restarted from an old file, replaced by a
//! replica that lacks the last writes, replaced while they live. Each time nobody runs anything by
//! hand, no account has more than the ledger and its open holds allow, and what was answered once
//! the ledger had it is charged once.

mod crashes;
mod emptied;
pub mod plane;
mod replaced;
mod stale;

use std::time::Duration;

/// How long it may take until everything is served again.
const PATIENCE: Duration = Duration::from_secs(40);
