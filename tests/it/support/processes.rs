//! Processes by their numbers, as the kernel lists them.

use std::{fs, process::Command};

/// Sends processes a signal, e.g. `STOP`.
pub fn signal(pids: &[u32], name: &str) {
    let pids = pids.iter().map(u32::to_string);
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids)
        .output();
    // One of many may have ended by itself.
    sent.expect("kill runs");
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// The processes that another has started.
pub fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("Linux").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// A process's state and parent.
fn stat(pid: u32) -> Option<(String, u32)> {
    let told = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = told.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.to_owned();
    Some((state, words.next()?.parse().ok()?))
}
