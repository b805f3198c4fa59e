//! What the kernel says of this process, under the names that every Prometheus client uses.
//! Nothing where there is no `/proc`.
//!
//! The `prometheus` crate has the same, with processor time in whole seconds: too coarse to see
//! what a call costs.

use std::sync::Arc;

use prometheus::Registry;

use super::{instruments::Pulled, names, procfs::Process};
use crate::clock::Clock;

/// Registers them. The start is the moment of this call, which is early in the process's life.
pub(super) fn register(
    registry: &Registry,
    clock: &Arc<dyn Clock>,
) -> Result<(), prometheus::Error> {
    let start = clock.now().millis() as f64 / 1e3;
    Pulled::register(registry, &names::PROCESS_START, move || start)?;
    // Procfs is there for the life of the process, or not at all.
    if cpu_seconds().is_none() {
        return Ok(());
    }
    let or_zero = |value: Option<f64>| value.unwrap_or(0.0);
    Pulled::register(
        registry,
        &names::PROCESS_CPU,
        move || or_zero(cpu_seconds()),
    )?;
    Pulled::register(registry, &names::PROCESS_MEMORY, move || {
        or_zero(resident_bytes())
    })?;
    Pulled::register(registry, &names::PROCESS_FDS, move || or_zero(open_files()))?;
    Pulled::register(registry, &names::PROCESS_FDS_MAX, move || {
        or_zero(open_files_max())
    })
}

fn cpu_seconds() -> Option<f64> {
    Process::Own.cpu_time().map(|time| time.as_secs_f64())
}

fn resident_bytes() -> Option<f64> {
    Process::Own.resident_bytes().map(|bytes| bytes as f64)
}

fn open_files() -> Option<f64> {
    // One of them is the listing's own.
    let open = Process::Own.open_files()?.checked_sub(1)?;
    Some(open as f64)
}

fn open_files_max() -> Option<f64> {
    Process::Own.open_files_max()
}
