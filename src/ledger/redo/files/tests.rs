use std::{thread, time::Duration};

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
    let mut number = 0;
    while files.numbers.len() < 2 {
        if files
            .open
            .as_ref()
            .is_some_and(|open| open.length >= FILE_BYTES)
        {
            wait_for_spare(&files);
        }
        files.append(large(number)).unwrap();
        number += 1;
    }
    files.append(large(number)).unwrap();
    files
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
fn what_a_crash_leaves_of_a_spare_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fs::write(named(&path, SPARE), [0; 100]).unwrap();
    assert!(ends(&path).unwrap().is_empty());
    Files::find(path).unwrap().delete_all().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
