//! The positions and codes of what is stored in Redis: one table for both languages. A `.lua`
//! file names them in capitals, and [`with_numbers`] puts the numbers in when a script is built,
//! so that a script creates no constants each time it runs.

/// The format of every account and every reservation that this version writes, the record's first
/// value. Those of another one are refused by name; 1 was never released.
pub(super) const FORMAT: i64 = 3;
/// The same of a ledger entry.
pub(super) const ENTRY_FORMAT: i64 = 1;
/// The first value of a reservation that nothing can be settled on any more: of it only what a
/// replay or a conflict needs is kept.
pub(super) const FINAL: i64 = 2;
/// The first value of what an unloaded account leaves for a while. It is no format: a record of
/// an account never has it where a tombstone does.
pub(super) const TOMBSTONE: i64 = 127;
/// The first and only value of what stands for a while in place of an account that the ledger
/// does not have.
pub(super) const ABSENT: i64 = 126;
/// The most due holds that one step reclaims before it denies.
pub(super) const RECLAIM_MAX: i64 = crate::domain::book::RECLAIM_MAX as i64;
/// How many grants an account must have for those to be packed that it is not spending from.
pub(super) const FOLD_MIN: i64 = 4;
/// Later than every deadline: the largest number that Lua keeps exactly.
pub(super) const NEVER: i64 = MAX;

const MAX: i64 = crate::domain::credits::MAX_CREDITS as i64;

/// What a step answers, its reply's first value.
pub(super) mod code {
    pub const OK: i64 = 0;
    pub const NOT_LOADED: i64 = 1;
    pub const CYCLE_ENDED: i64 = 2;
    pub const REPRICE: i64 = 3;
    pub const NOT_FOUND: i64 = 4;
    pub const KNOWN: i64 = 5;
    pub const NOT_OPEN: i64 = 6;
    pub const OUT_OF_RANGE: i64 = 7;
    pub const TOO_MANY: i64 = 8;
    pub const CHANGE_GAP: i64 = 9;
    pub const DENIED: i64 = 10;
    pub const DUE: i64 = 11;
    pub const FULL: i64 = 12;
    pub const NO_ACCOUNT: i64 = 13;
}

/// The number of commits of an open reservation of which one is lost: none that the ledger can have,
/// nor what stands for one that has ended there.
pub(super) const LOST: i64 = -2;

/// What a look at a shard finds.
pub(super) mod look {
    /// Steps may run on it.
    pub const VERIFIED: i64 = 0;
    /// The ledger takes another server's entries, and never this one's again.
    pub const REPLACED: i64 = 1;
    /// Another process verifies it.
    pub const BUSY: i64 = 2;
    /// Nobody has verified it for this server.
    pub const UNVERIFIED: i64 = 3;
}

/// The kinds of changes that `apply.lua` knows.
pub(super) mod change {
    pub const CREATE: i64 = 0;
    pub const SET_STATUS: i64 = 1;
    pub const CHANGE_PLAN: i64 = 2;
    pub const GRANT: i64 = 3;
    pub const VOID: i64 = 4;
    pub const REFUND: i64 = 5;
}

/// Every name that a script may use.
const NAMES: &[(&str, i64)] = &[
    ("FORMAT", FORMAT),
    ("ENTRY_FORMAT", ENTRY_FORMAT),
    ("FINAL", FINAL),
    ("TOMBSTONE", TOMBSTONE),
    ("ABSENT", ABSENT),
    ("LOST", LOST),
    ("RECLAIM_MAX", RECLAIM_MAX),
    ("NEVER", NEVER),
    ("CREDITS_MAX", MAX),
    ("FOLD_MIN", FOLD_MIN),
    ("GRANTS_MAX", crate::domain::grant::GRANTS_MAX as i64),
    (
        "EXTENSIONS_MAX",
        crate::domain::reservation::EXTENSIONS_MAX as i64,
    ),
    (
        "DEFAULT_PRIORITY",
        crate::domain::grant::DEFAULT_PRIORITY as i64,
    ),
    // An account: the values from status to change are also an entry's head.
    ("A_FORMAT", 1),
    ("A_STATUS", 2),
    ("A_OVERAGE", 3),
    ("A_PLAN", 4),
    ("A_ALLOWANCE", 5),
    ("A_NEXT_PLAN", 6),
    ("A_NEXT_ALLOWANCE", 7),
    ("A_ANCHOR", 8),
    ("A_CYCLE", 9),
    ("A_START", 10),
    ("A_END", 11),
    ("A_DEBT", 12),
    ("A_CHANGE", 13),
    ("A_SEQUENCE", 14),
    ("A_VERSION", 15),
    // When it was last written; its score in `due`; the outbox position of its newest entry.
    ("A_SEEN", 16),
    ("A_DUE", 17),
    ("A_MARK", 18),
    ("A_GRANTS", 19),
    // Only where most grants are packed in a key of their own: the account's version then, what
    // they have to spend, until when that is so, what is held of them, what of the plan's grant
    // is used and left if it is among them, what those have that are not a plan's, what of the
    // plan's grant is held, or comes with it, where another plan or time can make more of it, and
    // what those have that are not a plan's and outlast the cycle.
    ("A_FOLD", 20),
    ("A_FOLD_LEFT", 21),
    ("A_FOLD_UNTIL", 22),
    ("A_FOLD_HELD", 23),
    ("A_FOLD_PLAN_USED", 24),
    ("A_FOLD_PLAN_LEFT", 25),
    ("A_FOLD_PACKS", 26),
    ("A_FOLD_PLAN_GRANT", 27),
    ("A_FOLD_LASTING", 28),
    ("A_FOLD_LAST", 28),
    ("ACTIVE", 0),
    ("SUSPENDED", 1),
    ("CLOSED", 2),
    ("ABSORB", 1),
    // A grant.
    ("G_ID", 1),
    ("G_KIND", 2),
    ("G_AMOUNT", 3),
    ("G_USED", 4),
    ("G_HELD", 5),
    ("G_EXPIRED", 6),
    ("G_PRIORITY", 7),
    ("G_FROM", 8),
    ("G_UNTIL", 9),
    ("G_VOIDED", 10),
    ("G_SOURCE", 11),
    ("PLAN", 0),
    ("PROMO", 2),
    ("ADJUSTMENT", 3),
    // A reservation.
    ("R_FORMAT", 1),
    ("R_STATE", 2),
    ("R_ORIGIN", 3),
    ("R_ACTION", 4),
    ("R_ASKED", 5),
    ("R_VERSION", 6),
    ("R_TTL", 7),
    ("R_EXPIRES", 8),
    ("R_HOLDS", 9),
    // Not there yet in what has only been reserved: an open hold is kept as short as it can be.
    ("R_ENDED", 10),
    ("R_CHARGED", 11),
    ("R_DEBT", 12),
    ("R_WRITTEN_OFF", 13),
    ("R_COMMITS", 14),
    ("R_RETURNED", 15),
    ("R_CHARGES", 16),
    ("R_LAST", 17),
    ("R_EXTENSIONS", 18),
    ("OPEN", 0),
    ("COMMITTED", 1),
    ("RELEASED", 2),
    ("EXPIRED", 3),
    ("BY_RESERVE", 0),
    ("BY_CHARGE", 1),
    ("BY_COMMIT", 2),
    // One that is final: the first six are the same.
    ("F_EXPIRES", 7),
    ("F_CHARGED", 8),
    ("F_RETURNED", 9),
    ("F_REQUEST", 10),
    ("F_RECEIPT", 11),
    ("F_EXTENSIONS", 12),
    ("F_DENIAL", 13),
    ("F_PRICE", 14),
    // Its last commit.
    ("L_REQUEST", 1),
    ("L_RECEIPT", 2),
    ("L_DENIAL", 3),
    ("L_PRICE", 4),
    // A receipt: what is seldom there stands last, so that it can be left out.
    ("C_SEQUENCE", 2),
    ("C_RETURNED", 4),
    ("C_OVERAGE", 5),
    ("C_DEBT", 6),
    ("C_WRITTEN_OFF", 7),
    ("C_CORRECTED", 8),
    ("C_LATE", 9),
    // A commit's request.
    ("Q_AMOUNT", 1),
    // Reasons of a denial.
    ("DENY_INSUFFICIENT", 0),
    ("DENY_EXHAUSTED", 1),
    ("DENY_DEBT", 2),
    ("DENY_SUSPENDED", 3),
    ("DENY_CLOSED", 4),
    // Kinds of entries.
    ("ENTRY_GRANT", 0),
    ("USAGE", 1),
    ("ENTRY_REFUND", 2),
    ("EXPIRY", 3),
    ("ENTRY_VOID", 4),
    ("RENEWAL", 5),
    ("PLAN_CHANGE", 6),
    ("DEBT_REPAID", 7),
    ("ENTRY_STATUS", 8),
    ("REPAIR", 9),
    ("CREATE", change::CREATE),
    ("SET_STATUS", change::SET_STATUS),
    ("CHANGE_PLAN", change::CHANGE_PLAN),
    ("GRANT", change::GRANT),
    ("VOID", change::VOID),
    ("REFUND", change::REFUND),
    ("OK", code::OK),
    ("NOT_LOADED", code::NOT_LOADED),
    ("CYCLE_ENDED", code::CYCLE_ENDED),
    ("REPRICE", code::REPRICE),
    ("NOT_FOUND", code::NOT_FOUND),
    ("KNOWN", code::KNOWN),
    ("NOT_OPEN", code::NOT_OPEN),
    ("OUT_OF_RANGE", code::OUT_OF_RANGE),
    ("TOO_MANY", code::TOO_MANY),
    ("CHANGE_GAP", code::CHANGE_GAP),
    ("DENIED", code::DENIED),
    ("DUE", code::DUE),
    ("FULL", code::FULL),
    ("NO_ACCOUNT", code::NO_ACCOUNT),
    ("VERIFIED", look::VERIFIED),
    ("REPLACED", look::REPLACED),
    ("BUSY", look::BUSY),
    ("UNVERIFIED", look::UNVERIFIED),
];

/// A script's text without its comments, its names replaced by their numbers.
pub(super) fn with_numbers(lua: &str) -> String {
    let mut text = String::with_capacity(lua.len());
    for line in lua.lines() {
        let code = line.trim_end();
        if code.is_empty() || code.trim_start().starts_with("--") {
            continue;
        }
        number_line(code, &mut text);
        text.push('\n');
    }
    text
}

fn number_line(line: &str, text: &mut String) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = line;
    let mut quoted = false;
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        quoted ^= word == "'";
        match NAMES.iter().find(|(name, _)| *name == word && !quoted) {
            Some((_, number)) => text.push_str(&number.to_string()),
            None => text.push_str(word),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_texts_stay() {
        let lua = "-- A comment: OPEN.\nlocal state = known[R_STATE] == OPEN -- no\n\n  call('OK', \
                   OPENED, OK)";
        assert_eq!(
            with_numbers(lua),
            "local state = known[2] == 0 -- no\n  call('OK', OPENED, 0)\n"
        );
    }

    #[test]
    fn every_name_is_there_once() {
        for (place, (name, _)) in NAMES.iter().enumerate() {
            assert!(
                NAMES[..place].iter().all(|(other, _)| other != name),
                "{name}"
            );
        }
    }
}
