//! What the kernel says of a process. Nothing where there is no `/proc`.

use std::{fs, time::Duration};

/// The kernel shows processor time in ticks of 1/100 s, whatever its own tick is (`USER_HZ`,
/// proc(5)).
const TICK: Duration = Duration::from_millis(10);
/// Fields of `/proc/PID/stat` after the name: user and system time (proc(5): 14 and 15).
const UTIME: usize = 11;
const STIME: usize = 12;

/// The processor time that a process has used, its threads' together.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    parse_cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The memory of a process that is resident, in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    parse_resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Whether there is such a process, and its name begins with one of these.
pub(super) fn is_called(pid: u32, names: &[&str]) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    names.iter().any(|start| name.starts_with(start))
}

fn parse_cpu(stat: &str) -> Option<Duration> {
    // The name stands in parentheses and may contain anything, parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let field = |index| {
        after_name
            .split_ascii_whitespace()
            .nth(index)?
            .parse::<u32>()
            .ok()
    };
    Some(TICK * field(UTIME)?.checked_add(field(STIME)?)?)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 99";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("12 (a"), None);
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(parse_resident(status), Some(2 << 20));
        assert_eq!(parse_resident("Name:\ta\n"), None);
    }
}
