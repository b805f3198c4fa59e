//! What a crash left in the log, put into the ledger behind.

use std::collections::BTreeMap;

use super::{RedoError, files::Files};
use crate::{hot::Cursor, ledger::Ledger};

/// Gives a ledger what it lacks of what the files have; answers how many records that were.
pub(super) async fn redo(ledger: &dyn Ledger, files: &Files) -> Result<usize, RedoError> {
    let cursors = ledger.cursors().await?.into_iter();
    let mut cursors: BTreeMap<u32, Cursor> = cursors.map(|at| (at.shard, at)).collect();
    let mut redone = 0;
    for found in files.records()? {
        let (now, batches) = found?;
        let mut lacking = Vec::new();
        for batch in batches {
            let cursor = cursors.entry(batch.shard).or_insert(Cursor {
                shard: batch.shard,
                ..Cursor::default()
            });
            if batch.to <= cursor.position {
                continue;
            }
            if batch.start() != *cursor {
                return Err(RedoError::Foreign {
                    shard: batch.shard,
                    cursor: cursor.position,
                    from: batch.from,
                    to: batch.to,
                });
            }
            *cursor = batch.end();
            lacking.push(batch);
        }
        if !lacking.is_empty() {
            if ledger.settle(&lacking, now).await?.cursor_conflict {
                // Nothing of it is written, so the files must stay.
                let why = "somebody else has moved the ledger's cursors meanwhile";
                return Err(RedoError::Unusable(why.to_owned()));
            }
            redone += 1;
        }
    }
    Ok(redone)
}
