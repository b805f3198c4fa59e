//! The keys, all of them. `S` is a shard's number; everything of one shard shares the hash tag
//! `{tg:S}`, so that one script sees all it needs on a cluster too. A script writes all or
//! nothing, so a crash leaves what the last whole script left, as far as the server's disk or
//! its replicas have it.
//!
//! | key | type | what it is | who writes it | what a crash leaves |
//! |---|---|---|---|---|
//! | `tg:shards` | string | the number of shards, fixed at the first start | processes with a ledger, by set-if-absent: when they connect, and every half second, since a server that is flushed closes no connection | nothing else without it: it is set before anything |
//! | `tg:ledger` | string | the id of the ledger that the balances are of: a process with another one is refused | the same, as often | what belongs to nobody until then |
//! | `tg:settlers` | sorted set | the processes that settle, by when they last said so: each works on its share of the shards | each of them, every second | a member that says no more, which the others take out after seconds |
//! | `tg:cold` | set | accounts that a process without a ledger waits for | whoever waits; a settler takes them out to load them | one that was taken and not loaded: whoever still waits puts it in again |
//! | `tg:bell` | string | a number that grows whenever somebody waits for the ledger | processes that wait for what others settle | nothing: the settlers come round by themselves |
//! | `tg:catalogs` | hash | the text of every version of the catalogue | processes with a ledger, set-if-absent, looked at every half second | versions that are missing until the next look |
//! | `tg:catalog` | string | the version that prices new actions | processes with a ledger, after the version's text; looked at as often | the version before; an absent one is put back at the next look |
//! | `{tg:S}:a:ACCOUNT` | string | the account with its live grants, of which those may be packed elsewhere that it is not spending from; after an unload, for a while, a tombstone with its sequence; where the ledger has no such account, for seconds, a mark that says so | `load`, every step, `unload`; a settler that looked for it sets the mark, where nothing is | |
//! | `{tg:S}:g:ACCOUNT` | string | the packed grants of an account with many; absent where none are | steps that pack them, because they looked beyond the grant at hand or it was used up; gone with `unload` or when there are few | |
//! | `{tg:S}:r:ACCOUNT/RESERVATION` | string | a reservation; an open one has no time to live, any other lives for the replay window | every step on it | an answer that is forgotten when its time is over; an open hold never is |
//! | `{tg:S}:d:ACCOUNT` | sorted set | the account's open holds by deadline; absent where there is none | every step that opens, prolongs or ends a hold | |
//! | `{tg:S}:due` | sorted set | every loaded account by when the sweeper must look at it: not later than its earliest deadline, or than when it may be idle | `load`, steps that open a hold with an earlier deadline, the sweeper, `unload` | an account that is looked at too early, never too late |
//! | `{tg:S}:out` | stream | ledger entries that the ledger may not have, with ids `POSITION-0` | every step that settles something; the settler trims it | entries that the ledger has already: its cursor refuses them |
//! | `{tg:S}:meta` | hash | `tail`: the outbox's last position; `trimmed`: the last that the ledger has; `open`: how many holds are open | every step, the settler | |
//! | | | `epoch`: under which the ledger takes the shard's entries; `server`: the replication id of the server that steps may run on; `run`: the run id of its process; `era`: the same epoch, as the one that positions are told with | the recovery's last step, and where it begins the outbox anew | no steps on the shard without `epoch`, or on a server of another name: whoever reaches the ledger verifies it first |
//! | | | `claim`, `claimed_at`: who verifies the shard, and when he last got on; `partial`: that it is being rebuilt | the recovery | no steps on the shard until the claim is old and another process begins again |
//! | | | `anew`: when the shard last began anew where the ledger was; a reservation that had been charged and had expired by then counts as forgotten | the recovery, where it begins the outbox anew | |
//! | | | `fenced`: the run id of a server that the ledger takes nothing of any more, since another one has replaced it | a settler that meets the newer epoch | |
//! | `{tg:S}:ended` | sorted set | settled reservations by when they ended, only where a clock other than the server's decides when they are forgotten | every step that ends one, the sweeper | |
//!
//! `tollgate bench --limit` runs the scripts on keys that begin with `{tg-bench-RUN:S}` instead,
//! which no store looks at, and removes them; a crash leaves them.
//!
//! An id has no `/` and no braces, and an account's own keys end with ids only, so that no two
//! names meet: between the two ids of a reservation's key stands a `/`.

use crate::domain::ids::AccountId;

/// The number of shards.
pub(super) const SHARDS: &str = "tg:shards";
/// The id of the ledger that everything here belongs to.
pub(super) const LEDGER: &str = "tg:ledger";
/// The processes that settle.
pub(super) const SETTLERS: &str = "tg:settlers";
/// The accounts that somebody waits for.
pub(super) const COLD: &str = "tg:cold";
/// Rung by who waits for the ledger.
pub(super) const BELL: &str = "tg:bell";
/// The texts of the catalogue by version.
pub(super) const CATALOGS: &str = "tg:catalogs";
/// The version of the catalogue that is in use.
pub(super) const CATALOG: &str = "tg:catalog";

/// What says that a store is a ledger's, unless it is one's already; and then, whose it is.
pub(super) fn claim(ledger_id: &str) -> (redis::Cmd, redis::Cmd) {
    let (mut set, mut get) = (redis::cmd("SET"), redis::cmd("GET"));
    set.arg(LEDGER).arg(ledger_id).arg("NX");
    get.arg(LEDGER);
    (set, get)
}

/// The keys of one shard.
#[derive(Clone, Debug)]
pub(super) struct ShardKeys {
    /// What every key of the shard starts with.
    tag: Box<str>,
    pub due: Box<str>,
    pub out: Box<str>,
    pub meta: Box<str>,
    pub ended: Box<str>,
}

impl ShardKeys {
    pub fn new(shard: u32) -> Self {
        ShardKeys::in_space("tg", shard)
    }

    /// The keys of a shard that belongs to no store: what a store's begin with is `tg`.
    pub fn in_space(space: &str, shard: u32) -> Self {
        let tag = format!("{{{space}:{shard}}}:");
        ShardKeys {
            due: format!("{tag}due").into(),
            out: format!("{tag}out").into(),
            meta: format!("{tag}meta").into(),
            ended: format!("{tag}ended").into(),
            tag: tag.into(),
        }
    }

    pub fn account(&self, id: &AccountId) -> String {
        [&self.tag, "a:", id.as_str()].concat()
    }

    pub fn packed_grants(&self, id: &AccountId) -> String {
        [&self.tag, "g:", id.as_str()].concat()
    }

    pub fn deadlines(&self, id: &AccountId) -> String {
        [&self.tag, "d:", id.as_str()].concat()
    }

    pub fn reservation(&self, account_id: &AccountId, id: &str) -> String {
        [&self.tag, "r:", account_id.as_str(), "/", id].concat()
    }

    /// The key of what `ended` calls `ACCOUNT/RESERVATION`.
    pub fn ended_reservation(&self, member: &str) -> String {
        [&self.tag, "r:", member].concat()
    }
}

/// An account's shard: FNV-1a of its id, the same in every process and every version.
pub(super) fn shard_of(id: &AccountId, shards: u32) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in id.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV mix least of short ids that differ in few characters.
    let mixed = hash ^ (hash >> 32);
    (mixed % u64::from(shards.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        AccountId::new(text).unwrap()
    }

    #[test]
    fn keys_are_these_texts() {
        let keys = ShardKeys::new(12);
        let acme = account("acme:1");
        assert_eq!(keys.account(&acme), "{tg:12}:a:acme:1");
        assert_eq!(keys.packed_grants(&acme), "{tg:12}:g:acme:1");
        assert_eq!(keys.deadlines(&acme), "{tg:12}:d:acme:1");
        assert_eq!(keys.reservation(&acme, "r:7"), "{tg:12}:r:acme:1/r:7");
        assert_eq!(keys.ended_reservation("acme:1/r:7"), "{tg:12}:r:acme:1/r:7");
        assert_eq!(&*keys.due, "{tg:12}:due");
        assert_eq!(&*keys.out, "{tg:12}:out");
        assert_eq!(&*keys.meta, "{tg:12}:meta");
        assert_eq!(&*keys.ended, "{tg:12}:ended");
        assert_eq!(SHARDS, "tg:shards");
        assert_eq!(LEDGER, "tg:ledger");
        assert_eq!(SETTLERS, "tg:settlers");
        assert_eq!(COLD, "tg:cold");
        assert_eq!(BELL, "tg:bell");
        assert_eq!(CATALOGS, "tg:catalogs");
        assert_eq!(CATALOG, "tg:catalog");
    }

    #[test]
    fn an_account_stays_in_its_shard_for_ever() {
        for (id, shard) in [("acme", 12), ("a0", 51), ("a1", 32), ("user-0001", 53)] {
            assert_eq!(shard_of(&account(id), 64), shard, "{id}");
        }
    }

    #[test]
    fn accounts_are_spread_over_all_shards() {
        let mut counts = [0; 64];
        for n in 0..6_400 {
            counts[shard_of(&account(&format!("acct-{n:07}")), 64) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (50..200).contains(count)),
            "{counts:?}"
        );
    }
}
