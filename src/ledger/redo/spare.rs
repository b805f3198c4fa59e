//! The log's next file, made ready ahead: all its bytes are on disk already. A sync of what is then
//! written over them moves the bytes and nothing else, where one of a file that grows also waits
//! for the file system to write down its new length, which takes twice as long, and at times a
//! hundred times.
//!
//! It is a file that the log needs no more, or made of zeros where there is none: a log that is busy
//! for long goes round in a few files, and neither writes zeros nor deletes anything. A thread of
//! its own makes it, so no settlement waits for that. Where there is no room for it, it takes none. A
//! crash leaves the file under a name that no record stands under; the next start removes it first.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{files::sync_folder, record::END};

/// How many zeros are written and synced at once, and the pause until the next ones: what is
/// settled meanwhile must not wait behind them for the disk.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_PAUSE: Duration = Duration::from_millis(4);

/// A file that is being made ready, or is.
pub(super) struct Spare {
    path: PathBuf,
    maker: thread::JoinHandle<io::Result<()>>,
}

impl Spare {
    /// Begins to make a file of `start`, followed by zeros up to `bytes` in all: what is written
    /// to its end leaves none of them behind it.
    pub(super) fn make(path: PathBuf, start: &'static [u8], bytes: u64) -> io::Result<Self> {
        Spare::begin(path, move |path| fill(path, start, bytes))
    }

    /// Begins to make it of a file that was used: what it has keeps standing behind `start` and an
    /// end of the log.
    pub(super) fn reuse(
        path: PathBuf,
        used: PathBuf,
        start: &'static [u8],
        bytes: u64,
    ) -> io::Result<Self> {
        Spare::begin(path, move |path| recycle(&used, path, start, bytes))
    }

    fn begin(
        path: PathBuf,
        work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let own = path.clone();
        let maker = thread::Builder::new()
            .name("redo-spare".to_owned())
            .spawn(move || {
                let made = work(&own);
                if made.is_err() {
                    // Worth nothing, and what it takes of a full disk others need.
                    let _ = remove(&own);
                }
                made
            })?;
        Ok(Spare { path, maker })
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.maker.is_finished()
    }

    /// Gives the file its name, to be written to after its start. Waits until it is made.
    pub(super) fn into_file(self, name: &Path) -> io::Result<File> {
        let made = self.maker.join();
        made.unwrap_or_else(|_| Err(io::Error::other("the thread that made it has panicked")))?;
        fs::rename(&self.path, name)?;
        OpenOptions::new().write(true).open(name)
    }

    /// Removes the file, made or not.
    pub(super) fn discard(self) -> io::Result<()> {
        // Whether it could be made does not matter any more.
        let _ = self.maker.join();
        remove(&self.path)
    }
}

/// Removes what a crash may have left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fill(path: &Path, start: &[u8], bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    file.write_all(start)?;
    let zeros = vec![0; CHUNK_BYTES];
    let mut left = usize::try_from(bytes)
        .unwrap_or(usize::MAX)
        .saturating_sub(start.len());
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES);
        file.write_all(&zeros[..chunk])?;
        file.sync_data()?;
        thread::sleep(CHUNK_PAUSE);
        left -= chunk;
    }
    file.sync_all()
}

/// The name goes first, for good: no file of the log is ever seen changed.
fn recycle(used: &Path, path: &Path, start: &[u8], bytes: u64) -> io::Result<()> {
    fs::rename(used, path)?;
    sync_folder(path)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&[start, &END].concat())?;
    file.set_len(bytes)?;
    file.sync_all()
}
