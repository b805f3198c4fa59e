use proptest::prelude::*;

use super::*;
use crate::domain::entry::strategies;

proptest! {
    #[test]
    fn every_byte_is_serde_s(entry in strategies::usage_entry()) {
        let expected = serde_json::to_string(&entry).unwrap();
        match usage_entry(&entry) {
            Some(json) => prop_assert_eq!(json, expected),
            None => prop_assert!(expected.contains('\\'), "declined {expected}"),
        }
        let read: Entry = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
        prop_assert_eq!(read, entry);
    }

    #[test]
    fn what_is_not_plain_is_declined(entry in strategies::usage_entry(), which in 0..4) {
        let mut entry = entry;
        match which {
            0 => entry.kind = EntryKind::Refund,
            1 => entry.reason = "asked for".to_owned(),
            2 => entry.actor = "support".to_owned(),
            _ => entry.change = Some(1),
        }
        prop_assert_eq!(usage_entry(&entry), None);
    }
}
