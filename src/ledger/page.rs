//! Pages of entries, and where the next one starts.

use std::fmt;

use super::Recorded;
use crate::domain::{entry::Entry, timestamp::Timestamp};

/// What every page token of entries starts with, so that another list's token is told apart.
const PAGE_TOKEN_PREFIX: char = 'e';
/// What is between its numbers.
const PAGE_TOKEN_SEPARATOR: char = '-';

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Recorded>,
    /// Where the next page starts; absent on the last page.
    pub next: Option<PageToken>,
}

impl EntryPage {
    /// Of what was found, with the backend's own number of each, where one more was asked for than
    /// a page has.
    pub(super) fn cut(mut found: Vec<(u64, Recorded)>, max: usize) -> Self {
        let more = found.len() > max;
        found.truncate(max);
        let last = found.last().filter(|_| more);
        EntryPage {
            next: last.map(|(number, last)| PageToken::after(&last.entry, *number)),
            entries: found.into_iter().map(|(_, recorded)| recorded).collect(),
        }
    }
}

/// A place in a list of entries, in whichever order that is: after one entry, which need not be there
/// any more. Its text is opaque to callers; any filter takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    pub(super) sequence: u64,
    pub(super) occurred_at: Timestamp,
    /// The backend's own number of the entry.
    pub(super) number: u64,
}

/// A text that no list of entries has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a page token that a list of entries gave out")]
pub struct PageTokenError;

impl PageToken {
    /// Reads what [`fmt::Display`] wrote.
    pub fn new(text: &str) -> Result<Self, PageTokenError> {
        let numbers = text.strip_prefix(PAGE_TOKEN_PREFIX).ok_or(PageTokenError)?;
        let mut numbers = numbers.split(PAGE_TOKEN_SEPARATOR);
        let mut next = || {
            let digits = numbers.next().ok_or(PageTokenError)?;
            u64::from_str_radix(digits, 16).map_err(|_| PageTokenError)
        };
        let token = PageToken {
            sequence: next()?,
            occurred_at: Timestamp::from_millis(next()?.cast_signed()),
            number: next()?,
        };
        // One text for each place: no sign, no leading zeros, lower case.
        if token.to_string() == text {
            Ok(token)
        } else {
            Err(PageTokenError)
        }
    }

    /// Where a list that goes forward in time starts: after an entry of this time, in milliseconds,
    /// and this number.
    pub(super) fn forward(page: Option<Self>) -> (i64, u64) {
        page.map_or((i64::MIN, 0), |page| {
            (page.occurred_at.millis(), page.number)
        })
    }

    /// The place after an entry, by the backend's own number of it.
    fn after(entry: &Entry, number: u64) -> Self {
        PageToken {
            sequence: entry.sequence,
            occurred_at: entry.occurred_at,
            number,
        }
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let occurred_at = self.occurred_at.millis().cast_unsigned();
        let between = PAGE_TOKEN_SEPARATOR;
        write!(
            f,
            "{PAGE_TOKEN_PREFIX}{:x}{between}{occurred_at:x}{between}{:x}",
            self.sequence, self.number
        )
    }
}
