//! What the kernel says of this process, under the names that every Prometheus client uses.
//! Nothing where there is no `/proc`.
//!
//! The `prometheus` crate has the same, with processor time in whole seconds: too coarse to see
//! what a call costs.

use std::{fs, sync::Arc};

use prometheus::Registry;

use super::{instruments::Pulled, names};
use crate::clock::Clock;

/// The kernel shows processor time in ticks of 1/100 s, whatever its own tick is (`USER_HZ`,
/// proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of `/proc/self/stat` after the name: user and system time (proc(5): 14 and 15).
const UTIME: usize = 11;
const STIME: usize = 12;

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
    parse_cpu(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn resident_bytes() -> Option<f64> {
    parse_resident(&fs::read_to_string("/proc/self/status").ok()?)
}

fn open_files() -> Option<f64> {
    // One of them is the listing's own.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().checked_sub(1)?;
    Some(open as f64)
}

fn open_files_max() -> Option<f64> {
    parse_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse_cpu(stat: &str) -> Option<f64> {
    // The name stands in parentheses and may contain anything, parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let field = |index| -> Option<f64> {
        let field = after_name.split_ascii_whitespace().nth(index)?;
        field.parse().ok()
    };
    Some((field(UTIME)? + field(STIME)?) / TICKS_PER_SECOND)
}

fn parse_resident(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn parse_limit(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 53 0 0 20 0 4 0 99";
        assert_eq!(parse_cpu(stat), Some(3.03));
        assert_eq!(parse_cpu("12 (a"), None);
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(parse_resident(status), Some(2_097_152.0));
        assert_eq!(parse_resident("Name:\ta\n"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024  4096  files\n";
        assert_eq!(parse_limit(limits), Some(1024.0));
        assert_eq!(parse_limit(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        assert!(cpu_seconds().is_some());
        assert!(resident_bytes().unwrap() > 1e6);
        assert!(open_files().unwrap() >= 1.0);
        assert!(open_files_max().unwrap() >= open_files().unwrap());
    }
}
