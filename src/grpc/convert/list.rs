//! Lists: how many a page has, where it starts, and which entries are asked for.
//!
//! A token for entries carries a check of the list that it came from, so that one that was
//! mistyped, or given to another list, is refused instead of answering something else.

use std::fmt::Write;

use super::{entry::KINDS, fields::Problems};
use crate::{
    domain::{
        entry::EntryKind,
        ids::{AccountId, ReservationId},
    },
    enforcer::error::EnforceError,
    ledger::{EntryFilter, PageToken},
    pb,
};

/// How many a page has where the caller does not say.
const PAGE_DEFAULT: usize = 100;
/// The most that a page has, however many were asked for.
pub const PAGE_MAX: usize = 1000;
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;
/// What a list of entries answers to a token that is not its own.
const NOT_A_TOKEN: &str = "is not from this list: leave it out to start anew, or give the \
                           next_page_token of a list with the same fields";

/// A page of accounts: after which one it starts, and how many it has.
pub fn accounts(
    request: &pb::ListAccountsRequest,
) -> Result<(Option<AccountId>, usize), EnforceError> {
    let mut problems = Problems::default();
    let size = page_size(request.page_size, &mut problems);
    let read = |token: &str| AccountId::new(token).ok();
    let after = page_token(&request.page_token, read, &mut problems);
    problems.finish(after.zip(size))
}

/// A page of entries.
#[derive(Debug)]
pub struct EntryQuery {
    /// Which entries.
    pub filter: EntryFilter,
    /// Where the page starts.
    pub page: Option<PageToken>,
    /// How many it has.
    pub size: usize,
    /// Stands for the filter.
    check: u64,
}

impl EntryQuery {
    /// The token for the page that follows.
    pub fn token(&self, next: PageToken) -> String {
        token(self.check, &next.to_string())
    }
}

/// Which entries to list.
pub fn entries(request: &pb::ListEntriesRequest) -> Result<EntryQuery, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.optional_id("account_id", &request.account_id, AccountId::new);
    let reservation_id = problems.optional_id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    let conversation_id = problems.text("conversation_id", request.conversation_id.clone());
    let given = [
        &request.account_id,
        &request.conversation_id,
        &request.reservation_id,
    ];
    if given.iter().all(|id| id.is_empty()) {
        let why = "is missing: give account_id, conversation_id or reservation_id, or several";
        problems.add("account_id", why);
    }
    let kinds = kinds(&request.kinds, &mut problems);
    let range = problems.range(request.from, request.until);
    let size = page_size(request.page_size, &mut problems);
    let check = check_of(request);
    let page = page_token(
        &request.page_token,
        |token| read(token, check),
        &mut problems,
    );
    let parsed = || {
        let (from, until) = range?;
        let filter = EntryFilter {
            account_id: account_id?,
            conversation_id: conversation_id.filter(|id| !id.is_empty()),
            reservation_id: reservation_id?,
            kinds: kinds?,
            from,
            until,
        };
        Some(EntryQuery {
            filter,
            page: page?,
            size: size?,
            check,
        })
    };
    problems.finish(parsed())
}

/// A page of a conversation.
#[derive(Debug)]
pub struct ConversationQuery {
    /// Which conversation.
    pub conversation_id: String,
    /// Where the page starts.
    pub page: Option<PageToken>,
    /// How many entries it has.
    pub size: usize,
}

impl ConversationQuery {
    /// The token for the page that follows.
    pub fn token(&self, next: PageToken) -> String {
        token(check(0, &self.conversation_id), &next.to_string())
    }
}

/// One conversation. Its pages are as long as they may be: nearly every one has a single page.
pub fn conversation(
    request: pb::GetConversationRequest,
) -> Result<ConversationQuery, EnforceError> {
    let mut problems = Problems::default();
    if request.conversation_id.is_empty() {
        problems.add(
            "conversation_id",
            "must not be empty: the one that the actions were given",
        );
    }
    let size = sized(request.page_size, PAGE_MAX, &mut problems);
    let check = check(0, &request.conversation_id);
    let page = page_token(
        &request.page_token,
        |token| read(token, check),
        &mut problems,
    );
    let conversation_id = problems.text("conversation_id", request.conversation_id);
    let parsed = || {
        Some(ConversationQuery {
            conversation_id: conversation_id?,
            page: page?,
            size: size?,
        })
    };
    problems.finish(parsed())
}

fn kinds(numbers: &[i32], problems: &mut Problems) -> Option<Vec<EntryKind>> {
    let mut kinds: Vec<EntryKind> = Vec::new();
    for number in numbers {
        let kind = problems.choice("kinds", *number, pb::EntryKind::as_str_name, &KINDS)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Some(kinds)
}

pub(super) fn page_size(size: i32, problems: &mut Problems) -> Option<usize> {
    sized(size, PAGE_DEFAULT, problems)
}

fn sized(size: i32, default: usize, problems: &mut Problems) -> Option<usize> {
    match usize::try_from(size) {
        Ok(0) => Some(default),
        Ok(size) => Some(size.min(PAGE_MAX)),
        Err(_) => {
            let accepted = format!("1 to {PAGE_MAX}, or 0 for {default}");
            problems.add("page_size", format!("{size} is out of range: {accepted}"));
            None
        }
    }
}

/// Where a page starts; the outer one is absent where `read` can't make a place of the token.
pub(super) fn page_token<T>(
    token: &str,
    read: impl FnOnce(&str) -> Option<T>,
    problems: &mut Problems,
) -> Option<Option<T>> {
    if token.is_empty() {
        return Some(None);
    }
    let place = read(token);
    if place.is_none() {
        problems.add("page_token", NOT_A_TOKEN);
    }
    place.map(Some)
}

/// The token for a place in the list that `list` stands for.
pub(super) fn token(list: u64, place: &str) -> String {
    format!("{:016x}.{place}", check(list, place))
}

/// The place that a token of the list is for; none for any other token.
pub(super) fn place(token: &str, list: u64) -> Option<&str> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (_, place) = token.split_once('.')?;
    (token == self::token(list, place)).then_some(place)
}

fn read(token: &str, list: u64) -> Option<PageToken> {
    PageToken::new(place(token, list)?).ok()
}

/// Stands for everything that decides what a list has.
fn check_of(request: &pb::ListEntriesRequest) -> u64 {
    let pb::ListEntriesRequest {
        account_id,
        conversation_id,
        reservation_id,
        ..
    } = request;
    let mut text = format!("{account_id}\n{conversation_id}\n{reservation_id}");
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\n{:?}\n{:?}\n{:?}",
        request.kinds, request.from, request.until
    );
    check(0, &text)
}

/// FNV-1a: tells mistakes apart, and keeps nothing secret.
pub(super) fn check(start: u64, text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(start ^ 0xcbf2_9ce4_8422_2325, step)
}
