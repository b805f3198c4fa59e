//! What the kernel says of a process: this one, or another by its number. Nothing where there is no
//! `/proc`.

use std::{fmt, fs, time::Duration};

/// The kernel shows processor time in ticks of 1/100 s, whatever its own tick is (`USER_HZ`,
/// proc(5)).
const TICK: Duration = Duration::from_millis(10);
/// Fields of `/proc/PID/stat` after the name: user and system time (proc(5): 14 and 15).
const UTIME: usize = 11;
const STIME: usize = 12;

/// The number of the signal, on Linux.
const SIGHUP: u32 = 1;

/// Which process.
#[derive(Clone, Copy, Debug)]
pub enum Process {
    /// The one that asks.
    Own,
    /// The one of this number.
    Other(u32),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Own => f.write_str("self"),
            Process::Other(pid) => pid.fmt(f),
        }
    }
}

impl Process {
    /// The processor time that it has used, its threads' together.
    pub fn cpu_time(self) -> Option<Duration> {
        parse_cpu(&self.read("stat")?)
    }

    /// Its memory that is resident, in bytes.
    pub fn resident_bytes(self) -> Option<u64> {
        parse_resident(&self.read("status")?)
    }

    /// Its open files.
    pub(super) fn open_files(self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{self}/fd")).ok()?.count())
    }

    /// The most files that it may have open; infinite where nothing bounds it.
    pub(super) fn open_files_max(self) -> Option<f64> {
        parse_limit(&self.read("limits")?)
    }

    /// Whether it was started to live on where its terminal goes away.
    pub fn ignores_hangup(self) -> bool {
        self.read("status")
            .is_some_and(|status| parse_ignored(&status, SIGHUP))
    }

    /// Whether it is there, and its name begins with one of these.
    pub fn is_called(self, names: &[&str]) -> bool {
        let name = self.read("comm").unwrap_or_default();
        names.iter().any(|start| name.starts_with(start))
    }

    fn read(self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{self}/{file}")).ok()
    }
}

fn parse_cpu(stat: &str) -> Option<Duration> {
    // The name stands in parentheses and may contain anything, parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let field = |index| -> Option<u64> {
        let field = after_name.split_ascii_whitespace().nth(index)?;
        field.parse().ok()
    };
    let ticks = field(UTIME)?.checked_add(field(STIME)?)?;
    let tick_ms = u64::try_from(TICK.as_millis()).ok()?;
    Some(Duration::from_millis(ticks.checked_mul(tick_ms)?))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

fn parse_ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1.
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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
        assert_eq!(parse_cpu(stat), Some(Duration::from_millis(3_030)));
        assert_eq!(parse_cpu("12 (a"), None);
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(parse_resident(status), Some(2 << 20));
        assert_eq!(parse_resident("Name:\ta\n"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024  4096  files\n";
        assert_eq!(parse_limit(limits), Some(1024.0));
        assert_eq!(parse_limit(""), None);
        assert!(parse_ignored("SigIgn:\t0000000000001001\n", SIGHUP));
        assert!(!parse_ignored("SigIgn:\t0000000000001000\n", SIGHUP));
        assert!(!parse_ignored("", SIGHUP));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let by_number = Process::Other(std::process::id());
        for process in [Process::Own, by_number] {
            assert!(process.cpu_time().is_some());
            assert!(process.resident_bytes().unwrap() > 1_000_000);
            assert!(process.is_called(&["tollgate"]));
            let open = process.open_files().unwrap();
            assert!(open >= 1 && process.open_files_max().unwrap() >= open as f64);
        }
    }
}
