//! The log's files: numbered, appended to one after the other, used anew or deleted once the ledger
//! behind has all of theirs.
//!
//! Each starts with [`MAGIC`], and all but the last one end with a record. The last one ends with
//! [`END`], and may have zeros or an earlier use's records behind that; a crash may leave it in the
//! middle of a record, or of an earlier use's, which the ledger behind has. A failed write is cut off
//! again; where even that fails nothing more is written, so that what was not answered never stands
//! before what was.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    RedoError,
    record::{END, Read, Record, Settlement},
    spare::{self, Spare},
};

/// What every file starts with: the format's name and version.
const MAGIC: &[u8; 8] = b"tgredo2\n";
/// A file that is longer is followed by a new one.
const FILE_BYTES: u64 = 32 << 20;
/// From this length on the next file is made ready, where none can be used anew. Who settles little
/// never needs one.
const SPARE_FROM: u64 = FILE_BYTES / 2;
/// What stands for the number in the name of the file that is made ready.
const SPARE: &str = "spare";

/// The largest record whose memory the next one is given: few are larger.
const MEMORY_BYTES_MAX: usize = 4 << 20;

/// The files of one log.
pub(super) struct Files {
    /// The ledger's path, which the names start with.
    path: PathBuf,
    /// Numbers of the files that are there, in order.
    numbers: Vec<u64>,
    open: Option<Open>,
    spare: Option<Spare>,
    next: u64,
    /// What the last record was made in.
    memory: Vec<u8>,
    /// Why nothing can be written any more.
    failed: Option<String>,
}

/// The file that is appended to.
struct Open {
    file: File,
    path: PathBuf,
    number: u64,
    /// How long it is, up to the last whole record.
    length: u64,
}

impl Files {
    /// What is there beside a ledger.
    pub(super) fn find(path: PathBuf) -> Result<Self, RedoError> {
        let prefix = named(&path, "");
        let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
        let mut numbers = Vec::new();
        let read = fs::read_dir(folder(&path)).map_err(|source| io_error(&path, source))?;
        for entry in read {
            let name = entry.map_err(|source| io_error(&path, source))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&*prefix));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(Files {
            next: numbers.last().map_or(1, |last| last + 1),
            path,
            numbers,
            open: None,
            spare: None,
            memory: Vec::new(),
            failed: None,
        })
    }

    /// Every record of every file, in order, one file in memory at a time.
    pub(super) fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<Settlement, RedoError>> + '_, RedoError> {
        let last = self.numbers.last().copied();
        Ok(self.numbers.iter().flat_map(move |number| {
            let path = named(&self.path, &number.to_string());
            match read_file(&path, Some(*number) == last) {
                Ok(records) => records,
                Err(error) => vec![Err(error)],
            }
        }))
    }

    /// What a record may be made in: memory that is there already costs no page fault.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.memory)
    }

    /// Appends a record and syncs it; answers the number of its file. Its memory is kept for the
    /// next one.
    pub(super) fn append(&mut self, mut record: Vec<u8>) -> Result<u64, RedoError> {
        let appended = self.write(&mut record);
        if record.capacity() <= MEMORY_BYTES_MAX {
            self.memory = record;
        }
        appended
    }

    fn write(&mut self, record: &mut Vec<u8>) -> Result<u64, RedoError> {
        if let Some(failed) = &self.failed {
            return Err(RedoError::Unusable(failed.clone()));
        }
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.length >= FILE_BYTES)
        {
            self.open = Some(self.create()?);
        }
        let Some(open) = &mut self.open else {
            return Err(RedoError::Unusable("no file is open".to_owned()));
        };
        match open.append(record) {
            Ok(()) => {
                let (number, is_late) = (open.number, open.length >= SPARE_FROM);
                if is_late && self.spare.is_none() {
                    self.begin_spare(Spare::make(self.spare_path(), MAGIC, FILE_BYTES));
                }
                Ok(number)
            }
            Err(source) => {
                if let Err(error) = open.cut() {
                    self.failed = Some(format!("{source}, and then {error}"));
                }
                Err(io_error(&open.path, source))
            }
        }
    }

    /// Takes every file before one out of the log, for whoever calls to delete; but one of them
    /// becomes the next file, where none is made ready yet.
    pub(super) fn take_before(&mut self, number: u64) -> Done {
        let (mut done, kept): (Vec<u64>, Vec<u64>) =
            self.numbers.iter().partition(|found| **found < number);
        self.numbers = kept;
        if self.spare.is_none()
            && let Some(number) = done.pop()
        {
            let used = named(&self.path, &number.to_string());
            self.begin_spare(Spare::reuse(self.spare_path(), used, MAGIC, FILE_BYTES));
        }
        Done {
            path: self.path.clone(),
            numbers: done,
        }
    }

    /// Deletes the file that is made ready, or what a crash left of one.
    pub(super) fn delete_spare(&mut self) -> Result<(), RedoError> {
        let path = self.spare_path();
        let removed = match self.spare.take() {
            Some(spare) => spare.discard(),
            None => spare::remove(&path),
        };
        removed.map_err(|source| io_error(&path, source))
    }

    /// Deletes every file, none of which is written to.
    pub(super) fn delete_all(&mut self) -> Result<(), RedoError> {
        self.delete_spare()?;
        delete(&self.path, &std::mem::take(&mut self.numbers))
    }

    /// Deletes every file and writes no more.
    pub(super) fn close(&mut self) -> Result<(), RedoError> {
        self.failed = Some("it is closed".to_owned());
        self.open = None;
        self.delete_all()
    }

    /// Where it can't be made the next file is made when it is needed, and says why not.
    fn begin_spare(&mut self, begun: io::Result<Spare>) {
        match begun {
            Ok(spare) => self.spare = Some(spare),
            Err(error) => tracing::warn!(%error, "the next redo file is not made ready"),
        }
    }

    fn spare_path(&self) -> PathBuf {
        named(&self.path, SPARE)
    }

    /// The next file, to be written to after its start: the spare one where it is ready.
    fn next_file(&mut self, path: &Path) -> io::Result<File> {
        if let Some(spare) = self.spare.take_if(|spare| spare.is_done()) {
            match spare.into_file(path) {
                Ok(file) => return Ok(file),
                Err(error) => tracing::warn!(%error, "the spare redo file can't be used"),
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        Ok(file)
    }

    fn create(&mut self) -> Result<Open, RedoError> {
        let number = self.next;
        let path = named(&self.path, &number.to_string());
        let made = self.next_file(&path).and_then(|file| {
            sync_folder(&path)?;
            Ok(file)
        });
        let file = made.map_err(|source| io_error(&path, source))?;
        self.next += 1;
        self.numbers.push(number);
        Ok(Open {
            file,
            path,
            number,
            length: MAGIC.len() as u64,
        })
    }
}

/// Files that nobody needs any more.
pub(super) struct Done {
    path: PathBuf,
    numbers: Vec<u64>,
}

impl Done {
    /// Deletes them. One that stays is deleted by the next start.
    pub(super) fn delete(self) -> Result<(), RedoError> {
        delete(&self.path, &self.numbers)
    }
}

impl Open {
    /// Adds a record, and the end after it where the file takes more: the next record replaces that.
    fn append(&mut self, record: &mut Vec<u8>) -> io::Result<()> {
        let length = self.length + record.len() as u64;
        if length < FILE_BYTES {
            record.extend(END);
        }
        self.file.write_all_at(record, self.length)?;
        self.file.sync_data()?;
        self.length = length;
        Ok(())
    }

    /// Takes away what a failed write may have left.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

fn read_file(path: &Path, last: bool) -> Result<Vec<Result<Settlement, RedoError>>, RedoError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| io_error(path, source))?;
    let unknown = || RedoError::Unknown {
        path: path.to_owned(),
    };
    if !bytes.starts_with(MAGIC) {
        // Its making may have been cut short.
        let torn = last && MAGIC.starts_with(&bytes);
        return if torn { Ok(Vec::new()) } else { Err(unknown()) };
    }
    let mut offset = MAGIC.len();
    let mut records = Vec::new();
    while offset < bytes.len() {
        let damaged = |detail: String| RedoError::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            detail,
        };
        match Record::read(&bytes[offset..]).map_err(damaged)? {
            Read::Whole(settled, length) => {
                records.push(Ok(*settled));
                offset += length;
            }
            Read::End if last => break,
            Read::Torn if last => {
                let bytes = bytes.len() - offset;
                tracing::warn!(path = %path.display(), bytes, "left out a record that was cut short");
                break;
            }
            Read::End | Read::Torn => {
                return Err(damaged("its checksum or its length is wrong".to_owned()));
            }
        }
    }
    Ok(records)
}

/// Deletes what can be deleted, and says which file was the first that can't.
fn delete(path: &Path, numbers: &[u64]) -> Result<(), RedoError> {
    let mut deleted = Ok(());
    for number in numbers {
        let path = named(path, &number.to_string());
        let removed = fs::remove_file(&path).map_err(|source| io_error(&path, source));
        deleted = deleted.and(removed);
    }
    deleted
}

fn named(path: &Path, number: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-redo.");
    name.push(number);
    PathBuf::from(name)
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a new file's name survive a crash.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn io_error(path: &Path, source: io::Error) -> RedoError {
    RedoError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
