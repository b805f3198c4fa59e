//! Why the log can't be used.

use std::path::PathBuf;

use crate::ledger::LedgerFault;

/// Why the log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RedoError {
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what this version writes.
    #[error("{path}: not a redo log that this version of Tollgate can read")]
    Unknown {
        /// Which one.
        path: PathBuf,
    },
    /// A record in the middle is damaged: what follows it can't be trusted.
    #[error("{path}: the record at byte {offset} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it starts.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// The log continues another ledger than the one it lies beside.
    #[error(
        "the redo log does not continue the ledger: shard {shard} is at {cursor}, and the log \
         goes from {from} to {to}"
    )]
    Foreign {
        /// The shard.
        shard: u32,
        /// Where the ledger has it.
        cursor: u64,
        /// Where the log's batch starts.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// An earlier failure left it unknown what is on disk.
    #[error("the redo log failed before ({0}): restart to read what is on disk")]
    Unusable(String),
    /// The ledger behind does not keep up, or fails.
    #[error("the ledger does not take what was settled{detail}")]
    Behind {
        /// Its last error, if it had one.
        detail: String,
    },
    /// The ledger behind failed.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
}
