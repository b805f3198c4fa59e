use std::{os::unix::fs::symlink, thread, time::Duration};

use super::*;
use crate::{
    domain::{
        ids::{AccountId, ReservationId},
        packed::Packed,
        timestamp::Timestamp,
    },
    hot::OutboxBatch,
};

/// How long the spare file is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A record of a bit more than a mebibyte.
fn large(number: u64) -> Vec<u8> {
    let key = (
        AccountId::new("acme").unwrap(),
        ReservationId::new("r1").unwrap(),
    );
    let batch = OutboxBatch {
        from: number,
        to: number + 1,
        reservations: [(key, Some(Packed::from_bytes(&[7; 1 << 20])))].into(),
        ..OutboxBatch::default()
    };
    Record::write(&[batch], Timestamp::from_millis(0), Vec::new()).unwrap()
}

/// The cursors that the records of a log in a folder end at.
fn ends(path: &Path) -> Result<Vec<u64>, RedoError> {
    let files = Files::find(path.to_owned()).unwrap();
    let found = files.records()?;
    found
        .map(|record| record.map(|(_, batches)| batches[0].to))
        .collect()
}

fn wait_for_spare(files: &Files) {
    let mut looks = 0;
    while !files.spare.as_ref().is_some_and(Spare::is_done) {
        looks += 1;
        assert!(LOOK * looks < PATIENCE, "no spare file");
        thread::sleep(LOOK);
    }
}

/// Two files long: the first one grows, the second one is made of zeros.
fn two_files(path: &Path) -> Files {
    let mut files = Files::find(path.to_owned()).unwrap();
    let number = next_file(&mut files, 0);
    let number = next_file(&mut files, number);
    files.append(large(number)).unwrap();
    files
}

/// Appends records until the next file has its first one; answers the number after it.
fn next_file(files: &mut Files, mut number: u64) -> u64 {
    let before = files.next;
    while files.next == before {
        if files
            .open
            .as_ref()
            .is_some_and(|open| open.length >= FILE_BYTES)
        {
            wait_for_spare(files);
        }
        files.append(large(number)).unwrap();
        number += 1;
    }
    number
}

#[test]
fn a_file_of_zeros_is_read_up_to_its_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut files = two_files(&path);
    let second = named(&path, "2");
    // Not longer: a file that is followed by another one ends with a record.
    assert_eq!(fs::metadata(&second).unwrap().len(), FILE_BYTES);
    let found = ends(&path).unwrap();
    let last = found.len() as u64;
    assert!(found.into_iter().eq(1..=last));

    // A record that was cut short, with zeros after it, was never answered.
    let whole = fs::read(&second).unwrap();
    let mut torn = whole.clone();
    let record = large(last - 1).len();
    let end = MAGIC.len() + 2 * record;
    torn[end - 1000..end].fill(0);
    fs::write(&second, &torn).unwrap();
    assert!(ends(&path).unwrap().into_iter().eq(1..last));
    // In a file that another one follows it is damage, and so are zeros.
    fs::write(named(&path, "3"), MAGIC).unwrap();
    for bytes in [&torn, &whole] {
        fs::write(&second, bytes).unwrap();
        assert!(matches!(ends(&path), Err(RedoError::Damaged { .. })));
    }

    files.close().unwrap();
    fs::remove_file(named(&path, "3")).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_not_needed_is_used_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut files = two_files(&path);
    let in_two = ends(&path).unwrap().len() as u64;
    let in_first = FILE_BYTES.div_ceil(large(0).len() as u64);

    // The first file is the third now, and the ledger behind has all of its records.
    files.take_before(2).delete().unwrap();
    wait_for_spare(&files);
    assert!(!named(&path, "1").exists());
    // Under its next name, before it has a record of its own, it has none.
    let crashed = folder.path().join("crashed.db");
    fs::copy(named(&path, SPARE), named(&crashed, "3")).unwrap();
    assert!(ends(&crashed).unwrap().is_empty());
    fs::remove_file(named(&crashed, "3")).unwrap();

    let written = next_file(&mut files, in_two);
    let third = named(&path, "3");
    assert!(ends(&path).unwrap().into_iter().eq(in_first + 1..=written));
    let bytes = fs::read(&third).unwrap();
    assert_eq!(bytes.len() as u64, FILE_BYTES);
    assert_eq!(bytes.last(), Some(&7), "what the first use left");

    // Where the end did not reach the disk, what it left of the first use is not believed.
    let end = MAGIC.len() + large(written).len();
    let mut torn = bytes.clone();
    torn[end..end + END.len()].fill(7);
    fs::write(&third, &torn).unwrap();
    assert!(ends(&path).unwrap().into_iter().eq(in_first + 1..=written));
    fs::write(&third, &bytes).unwrap();

    // Nothing stands behind the last record of a file that is full, so the next one may follow it.
    let written = next_file(&mut files, written);
    assert!(ends(&path).unwrap().into_iter().eq(in_first + 1..=written));

    // One spare file is enough.
    files.take_before(3).delete().unwrap();
    wait_for_spare(&files);
    files.take_before(4).delete().unwrap();
    assert!(!third.exists());
    assert!(named(&path, SPARE).exists());
    files.close().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_a_crash_leaves_of_a_spare_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fs::write(named(&path, SPARE), [0; 100]).unwrap();
    assert!(ends(&path).unwrap().is_empty());
    Files::find(path).unwrap().delete_all().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_spare_file_for_which_there_is_no_room_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = named(&folder.path().join("ledger.db"), SPARE);
    // Nothing can be written to this.
    symlink("/dev/full", &path).unwrap();
    let spare = Spare::make(path.clone(), MAGIC, FILE_BYTES).unwrap();
    let error = spare.into_file(&folder.path().join("next")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
