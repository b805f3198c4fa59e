//! Word of a changed catalogue file.
//!
//! The file's folder is watched, not the file: editors replace a file by renaming, and a
//! Kubernetes ConfigMap swaps the symlink `..data` beside it. Only a change of the text that is
//! found behind the path counts, so other files in the folder make no noise. A symlink into a
//! folder elsewhere is followed, but a change over there is not seen. Nothing is parsed
//! here, and nothing is said about a text that was there before the watch began: begin the watch
//! first, then read the file.

use std::{
    collections::hash_map::DefaultHasher,
    fs::File,
    hash::{Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use super::FILE_BYTES_MAX;

#[cfg(test)]
mod tests;

/// How long the folder must be quiet before the file is looked at.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How many disturbances in a row put off the look at the file: a folder that is never quiet is
/// looked at all the same.
const DEBOUNCE_ROUNDS_MAX: u32 = 50;

/// The file can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The operating system refuses to watch the folder.
    #[error("cannot watch the catalogue's folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: notify::Error,
    },
    /// The thread that waits for events could not be started.
    #[error("cannot start the thread that watches the catalogue")]
    Thread(#[source] io::Error),
}

/// Watches until it is dropped; a change seen just before may still be told.
#[must_use = "the watch ends when this is dropped"]
#[derive(Debug)]
pub struct WatchGuard {
    _watcher: RecommendedWatcher,
}

/// Notifies `changed` once for each settled change of the text behind `path`, its disappearance
/// included. The folder of `path` must exist; the file need not.
pub fn watch(path: &Path, changed: Arc<Notify>) -> Result<WatchGuard, WatchError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    // One event waiting says all there is to say: look at the file.
    let (disturb, disturbed) = sync_channel(1);
    let failed = |source| WatchError::Folder {
        folder: folder.clone(),
        source,
    };
    let mut watcher =
        notify::recommended_watcher(move |event| on_event(event, &disturb)).map_err(failed)?;
    watcher
        .watch(&folder, RecursiveMode::NonRecursive)
        .map_err(failed)?;
    let before = fingerprint(path);
    let path = path.to_owned();
    thread::Builder::new()
        .name("catalog-watch".to_owned())
        .spawn(move || follow(&path, before, &disturbed, &changed))
        .map_err(WatchError::Thread)?;
    Ok(WatchGuard { _watcher: watcher })
}

/// Runs on the watcher's own thread and never waits.
fn on_event(event: notify::Result<Event>, disturb: &SyncSender<()>) {
    let relevant = match event.map(|event| event.kind) {
        // Our own reading is an access too, and must not wake us.
        Ok(EventKind::Access(kind)) => kind == AccessKind::Close(AccessMode::Write),
        Ok(
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other,
        ) => true,
        // Events may have been lost.
        Err(_) => true,
    };
    if relevant {
        match disturb.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Ends when the watcher, which has the other end of `disturbed`, is gone.
fn follow(path: &Path, mut seen: Option<u64>, disturbed: &Receiver<()>, changed: &Notify) {
    while disturbed.recv().is_ok() {
        for _ in 0..DEBOUNCE_ROUNDS_MAX {
            if disturbed.recv_timeout(DEBOUNCE).is_err() {
                break;
            }
        }
        let found = fingerprint(path);
        if found != seen {
            seen = found;
            changed.notify_one();
        }
    }
}

/// Stands for the text behind the path; `None` where there is none to be read.
fn fingerprint(path: &Path) -> Option<u64> {
    // One byte above the limit: that file is refused whatever follows.
    let most = FILE_BYTES_MAX as u64 + 1;
    let mut text = Vec::new();
    File::open(path)
        .ok()?
        .take(most)
        .read_to_end(&mut text)
        .ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}
