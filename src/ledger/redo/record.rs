//! One record of the log: everything that one call settled, as bytes.
//!
//! A record is its length (4 bytes), its CRC-32 (4 bytes), both little-endian, and its body.
//! Entries are the bytes that the ledger keeps of them, reservations those that the hot store does.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::RedoError;
use crate::{
    domain::{
        ids::{AccountId, ReservationId},
        packed::Packed,
        timestamp::Timestamp,
    },
    hot::OutboxBatch,
    ledger::{
        kept_entry::kept_entry,
        raw::{Mention, Raw, mention},
    },
};

/// Length and checksum.
const HEADER_BYTES: usize = 8;
/// Where a header could be: no record follows. A record's length is never zero.
pub(super) const END: [u8; HEADER_BYTES] = [0; HEADER_BYTES];
/// The longest body. One call settles far less; a length beyond it is damage.
const BODY_BYTES_MAX: usize = 1 << 30;

/// What is written of one call.
pub(super) struct Record;

#[derive(Serialize, Deserialize)]
struct Body<B> {
    now: i64,
    batches: B,
}

#[derive(Serialize, Deserialize)]
struct Batch<E, R> {
    shard: u32,
    epoch: u64,
    from: u64,
    to: u64,
    entries: E,
    reservations: R,
}

/// A batch as it is read.
type ReadBatch<'a> = Batch<Vec<Raw<'a>>, Vec<Mention<'a>>>;

/// A sequence that is written as it is walked, from what the batches have.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// What was settled, and when.
pub(super) type Settlement = (Timestamp, Vec<OutboxBatch>);

/// What the start of some bytes is.
pub(super) enum Read {
    /// A record, and how many bytes it has.
    Whole(Box<Settlement>, usize),
    /// [`END`]: nothing was written there yet, or what follows is of the file's earlier use.
    End,
    /// Nothing that was written to its end.
    Torn,
}

impl Record {
    /// The bytes of a record, in the memory of an earlier one.
    pub(super) fn write(
        batches: &[OutboxBatch],
        now: Timestamp,
        mut memory: Vec<u8>,
    ) -> Result<Vec<u8>, RedoError> {
        let body = Body {
            now: now.millis(),
            batches: Each(|| batches.iter().map(written)),
        };
        memory.clear();
        memory.resize(HEADER_BYTES, 0);
        let bytes = postcard::to_extend(&body, memory).map_err(|error| unwritable(&error))?;
        finish(bytes)
    }

    /// Reads the record that some bytes start with. `Err`: it is whole, but can't be read.
    pub(super) fn read(bytes: &[u8]) -> Result<Read, String> {
        let Some((length, sum)) = header(bytes) else {
            return Ok(Read::Torn);
        };
        if bytes.starts_with(&END) {
            return Ok(Read::End);
        }
        let end = HEADER_BYTES + length;
        let Some(body) = bytes.get(HEADER_BYTES..end) else {
            return Ok(Read::Torn);
        };
        if length == 0 || crc32fast::hash(body) != sum {
            return Ok(Read::Torn);
        }
        let body: Body<Vec<ReadBatch<'_>>> =
            postcard::from_bytes(body).map_err(|error| error.to_string())?;
        let batches = body.batches.into_iter().map(unbatch);
        let batches = batches.collect::<Result<_, String>>()?;
        let settled = (Timestamp::from_millis(body.now), batches);
        Ok(Read::Whole(Box::new(settled), end))
    }
}

fn finish(mut bytes: Vec<u8>) -> Result<Vec<u8>, RedoError> {
    let (header, body) = bytes.split_at_mut(HEADER_BYTES);
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length as usize <= BODY_BYTES_MAX)
        .ok_or_else(|| unwritable(&format!("a record of {} bytes", body.len())))?;
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    Ok(bytes)
}

fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, _) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length <= BODY_BYTES_MAX).then_some((length, u32::from_le_bytes(*sum)))
}

/// A batch as it is written.
fn written(batch: &OutboxBatch) -> Batch<impl Serialize, impl Serialize> {
    Batch {
        shard: batch.shard,
        epoch: batch.epoch,
        from: batch.from,
        to: batch.to,
        entries: Each(|| batch.entries.iter().map(|line| Raw(line.packed()))),
        reservations: Each(|| {
            let changed = batch.reservations.iter();
            changed.map(|((account_id, id), kept)| mention((account_id, id), kept.as_ref()))
        }),
    }
}

fn unbatch(batch: ReadBatch<'_>) -> Result<OutboxBatch, String> {
    let entry = |raw: Raw<'_>| {
        let entry = kept_entry(raw.0).map_err(|error| error.to_string())?;
        Ok(Arc::new(entry.into()))
    };
    let reservation = |(account, id, kept): Mention<'_>| {
        let account = AccountId::new(account).map_err(|error| error.to_string())?;
        let id = ReservationId::new(id).map_err(|error| error.to_string())?;
        let kept = kept.map(|raw| Packed::from_bytes(raw.0));
        Ok(((account, id), kept))
    };
    let reservations = batch.reservations.into_iter().map(reservation);
    Ok(OutboxBatch {
        shard: batch.shard,
        from: batch.from,
        to: batch.to,
        epoch: batch.epoch,
        era: 0,
        entries: batch
            .entries
            .into_iter()
            .map(entry)
            .collect::<Result<_, String>>()?,
        reservations: reservations.collect::<Result<_, String>>()?,
    })
}

fn unwritable(error: &impl std::fmt::Display) -> RedoError {
    RedoError::Unusable(format!("can't be written as a record: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry, as JSON and packed.
    const ENTRY: &str = r#"{"account_id":"acme","sequence":2,"kind":"void","credits":-5,"available_after":0,"debt_after":0,"occurred_at":1769853600000,"head":{"status":"active","plan":{"id":"free","allowance":50},"overage":"debt","anchor":0,"cycle":{"index":0,"start":0,"end":1},"debt":0,"applied_change":1}}"#;

    /// Before entries were packed, a record had their JSON in the same place.
    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let written = |entry: &[u8]| {
            let body: Body<Vec<ReadBatch<'_>>> = Body {
                now: 7,
                batches: vec![Batch {
                    shard: 3,
                    epoch: 1,
                    from: 4,
                    to: 5,
                    entries: vec![Raw(entry)],
                    reservations: Vec::new(),
                }],
            };
            finish(postcard::to_extend(&body, vec![0; HEADER_BYTES]).unwrap()).unwrap()
        };
        let read = |bytes: &[u8]| match Record::read(bytes) {
            Ok(Read::Whole(settled, _)) => *settled,
            Ok(Read::End | Read::Torn) | Err(_) => panic!("not read"),
        };
        let (now, batches) = read(&written(ENTRY.as_bytes()));
        assert_eq!(now, Timestamp::from_millis(7));
        let text = serde_json::to_string(&**batches[0].entries[0]).unwrap();
        assert_eq!(text, ENTRY);
        let again = Record::write(&batches, now, vec![9; 3]).unwrap();
        assert_eq!(again, written(batches[0].entries[0].packed()));
        assert_eq!(read(&again), (now, batches));
        assert!(Record::read(&written(b"{}")).is_err());
        assert!(Record::read(&written(b"\x01")).is_err());
    }
}
