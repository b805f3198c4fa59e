//! The data folder, which one process has at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use super::error::StartError;

/// The file whose lock says that the folder is in use. It stays; only its lock goes with the
/// process, however that ends.
const LOCK_FILE: &str = "lock";
/// What others may do in a folder that is made: nothing. Who may read the ledger is for the access
/// file to say, not for an account on the machine.
const MODE: u32 = 0o700;

/// A data folder that this process has until it drops this.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is missing, and takes it.
    pub fn lock(path: &Path) -> Result<Self, StartError> {
        let refused = |source| StartError::DataDir {
            path: path.to_owned(),
            source,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(MODE);
        builder.create(path).map_err(refused)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(DataDir { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::DataDirInUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(refused(source)),
        }
    }
}
