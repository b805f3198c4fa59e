//! Single fields: ids, credits, texts, durations, instants, choices; and the problems found.

use prost_types::Timestamp as ProtoTimestamp;

use super::Limits;
use crate::{
    domain::{
        credits::{Credits, MAX_CREDITS},
        ids::IdError,
        timestamp::{EARLIEST, LATEST, Timestamp},
        usage::TEXT_BYTES_MAX,
    },
    enforcer::error::{EnforceError, Violation},
};

/// The most problems of one request that are noted; those beyond it are not looked at.
const PROBLEMS_MAX: usize = 64;
/// Nanoseconds in a millisecond.
const NANOS_PER_MS: i32 = 1_000_000;
/// Nanoseconds in a second.
const NANOS_PER_S: i32 = 1_000_000_000;

/// What is wrong with a request, as far as it was read.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Violation>,
    /// How many of them are the rate card's.
    unpriced: usize,
}

impl Problems {
    /// Notes that a field can't be accepted.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < PROBLEMS_MAX {
            let (field, description) = (field.into(), description.into());
            self.found.push(Violation { field, description });
        }
    }

    /// Notes that the rate card has no price for a field.
    pub fn unpriced(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let before = self.found.len();
        self.add(field, description);
        self.unpriced += self.found.len() - before;
    }

    /// Adds those of another part of the request.
    pub fn also(&mut self, other: Problems) {
        for Violation { field, description } in other.found {
            self.add(field, description);
        }
    }

    /// What was found, for whoever decides whether it counts.
    pub fn into_found(self) -> Vec<Violation> {
        self.found
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The request, if every part of it could be read and nothing was found.
    pub fn finish<T>(self, request: Option<T>) -> Result<T, EnforceError> {
        match request {
            Some(request) if self.found.is_empty() => Ok(request),
            Some(_) | None => Err(EnforceError::BadRequest(self.found)),
        }
    }

    /// The same, where a price may be missing: the request, and what it lacks then.
    pub fn finish_unpriced<T>(
        self,
        request: Option<T>,
    ) -> Result<(T, Option<EnforceError>), EnforceError> {
        if self.unpriced < self.found.len() {
            return Err(EnforceError::BadRequest(self.found));
        }
        let lacks = self.unpriced > 0;
        match request {
            Some(request) if lacks => Ok((request, Some(EnforceError::BadRequest(self.found)))),
            request => self.finish(request).map(|request| (request, None)),
        }
    }

    /// An identifier.
    pub fn id<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Option<T> {
        match parse(text) {
            Ok(id) => Some(id),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// An identifier that may be left out.
    pub fn optional_id<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Option<Option<T>> {
        if text.is_empty() {
            return Some(None);
        }
        self.id(field, text, parse).map(Some)
    }

    /// A number of credits, zero included.
    pub fn credits(&mut self, field: &str, credits: u64) -> Option<Credits> {
        match Credits::new(credits) {
            Ok(credits) => Some(credits),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// A number of credits above zero.
    pub fn some_credits(&mut self, field: &str, credits: u64) -> Option<Credits> {
        match Credits::new(credits) {
            Ok(some) if !some.is_zero() => Some(some),
            Ok(_) | Err(_) => {
                let why = format!("{credits} is out of range: 1 to {MAX_CREDITS} credits");
                self.add(field, why);
                None
            }
        }
    }

    /// A short text on one line, or none.
    pub fn text(&mut self, field: &str, text: String) -> Option<String> {
        match wrong_text(&text, TEXT_BYTES_MAX) {
            Some(why) => {
                self.add(field, why);
                None
            }
            None => Some(text),
        }
    }

    /// How long a hold stands, in milliseconds; what is below one is rounded up.
    pub fn ttl(
        &mut self,
        duration: Option<prost_types::Duration>,
        limits: &Limits,
    ) -> Option<Option<u64>> {
        let Some(duration) = duration else {
            return Some(None);
        };
        let bounds = limits.ttl_min_ms..=limits.ttl_max_ms;
        match whole_millis(&duration) {
            Some(ms) if bounds.contains(&ms) => Some(Some(ms)),
            Some(_) | None => {
                let (min, max) = (seconds(limits.ttl_min_ms), seconds(limits.ttl_max_ms));
                self.add(
                    "ttl",
                    format!("is out of range: {min} to {max}; absent: the default"),
                );
                None
            }
        }
    }

    /// An instant, to the millisecond, or none.
    pub fn instant(
        &mut self,
        field: &str,
        instant: Option<ProtoTimestamp>,
    ) -> Option<Option<Timestamp>> {
        let Some(instant) = instant else {
            return Some(None);
        };
        let read = (0..NANOS_PER_S).contains(&instant.nanos).then(|| {
            let ms = i64::from(instant.nanos / NANOS_PER_MS);
            Timestamp::from_millis(instant.seconds.saturating_mul(1000).saturating_add(ms))
        });
        match read {
            Some(read) if (EARLIEST..=LATEST).contains(&read) => Some(Some(read)),
            Some(_) | None => {
                self.add(field, format!("is out of range: {EARLIEST} to {LATEST}"));
                None
            }
        }
    }

    /// The fields `from` and `until`: from when on, and up to when, exclusive.
    pub fn range(
        &mut self,
        from: Option<ProtoTimestamp>,
        until: Option<ProtoTimestamp>,
    ) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
        let (from, until) = (self.instant("from", from), self.instant("until", until));
        if let (Some(Some(from)), Some(Some(until))) = (from, until)
            && from >= until
        {
            let why = format!("{until} is not after from, {from}: nothing is in between");
            self.add("until", why);
        }
        Some((from?, until?))
    }

    /// One of the values of an enum, `name` being how the contract writes it.
    pub fn choice<E, T>(
        &mut self,
        field: &str,
        number: i32,
        name: fn(&E) -> &'static str,
        choices: &[(E, T)],
    ) -> Option<T>
    where
        E: Copy + Into<i32>,
        T: Copy,
    {
        let chosen = choices.iter().find(|(value, _)| (*value).into() == number);
        if let Some((_, chosen)) = chosen {
            return Some(*chosen);
        }
        let accepted: Vec<String> = choices
            .iter()
            .map(|(value, _)| format!("{} ({})", name(value), (*value).into()))
            .collect();
        self.add(
            field,
            format!("{number} is not accepted: one of {}", accepted.join(", ")),
        );
        None
    }
}

/// Why a text can't be kept as it is: too long, or with characters that no line shows.
pub(super) fn wrong_text(text: &str, bytes_max: usize) -> Option<String> {
    if text.len() > bytes_max {
        return Some(format!("is {} bytes long: at most {bytes_max}", text.len()));
    }
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return None;
    }
    let control = text.chars().find(|c| c.is_control())?;
    Some(format!(
        "has the control character {control:?}: printable text on one line"
    ))
}

/// A duration that is not negative, in whole milliseconds, rounded up.
fn whole_millis(duration: &prost_types::Duration) -> Option<u64> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u64::try_from(duration.nanos).ok()?;
    if duration.nanos >= NANOS_PER_S {
        return None;
    }
    seconds
        .checked_mul(1000)?
        .checked_add(nanos.div_ceil(NANOS_PER_MS as u64))
}

/// Milliseconds as the seconds that a protobuf duration is written in.
fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{}s", ms / 1000),
        rest => format!("{}.{rest:03}s", ms / 1000),
    }
}

/// An instant as the contract writes it.
pub(super) fn timestamp(instant: Timestamp) -> ProtoTimestamp {
    let ms = instant.millis();
    // Less than a thousand million: it fits.
    let nanos = ms.rem_euclid(1000) as i32 * NANOS_PER_MS;
    ProtoTimestamp {
        seconds: ms.div_euclid(1000),
        nanos,
    }
}
