//! Records of the redo log, as the fuzzer makes them.

use super::record::{Read, Record};

/// As they are, and behind a header that fits: the checksum would keep the fuzzer out.
pub(crate) fn record(bytes: &[u8]) {
    let _ = Record::read(bytes);
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    let mut whole = length.to_le_bytes().to_vec();
    whole.extend(crc32fast::hash(bytes).to_le_bytes());
    whole.extend(bytes);
    if let Ok(Read::Whole(settled, end)) = Record::read(&whole) {
        assert_eq!(end, whole.len());
        let (now, batches) = *settled;
        for kept in batches.iter().flat_map(|batch| batch.reservations.iter()) {
            if let ((account, id), Some(packed)) = kept {
                let _ = packed.unpack(account, id);
            }
        }
        assert!(Record::write(&batches, now, Vec::new()).is_ok());
    }
}
