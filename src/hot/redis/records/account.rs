//! The records of accounts, in the order of `layout.rs`.

use std::mem;

use super::{format, id, time};
use crate::{
    domain::{
        account::{Account, AccountHead, OveragePolicy, PlanTerm, Status},
        credits::MAX_CREDITS,
        cycle::Cycle,
        decision::{Balance, PlanGrant},
        grant::{GRANTS_MAX, Grant, GrantKind},
        ids::{AccountId, GrantId, PlanId},
        timestamp::Timestamp,
    },
    hot::redis::{
        layout,
        packed::{Broken, Reader, Writer},
    },
};

/// How many values an account's record has.
const ACCOUNT_VALUES: usize = 19;
/// How many more where most of its grants are packed.
const FOLD_VALUES: usize = 9;
/// And as many where they were packed before the last two were there.
const FOLD_VALUES_BEFORE: usize = 7;
const GRANT_VALUES: usize = 11;

/// An account as a step answers it.
#[derive(Debug)]
pub(in crate::hot::redis) struct AccountRecord {
    /// Of one with many grants it has the one that is being spent from, unless the others were
    /// put back.
    pub account: Account,
    /// When it was last written.
    pub seen: Timestamp,
    /// What is known of its other grants, which are packed in a key of their own.
    fold: Option<Fold>,
}

/// What an account's record says of its grants that are packed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fold {
    /// The account's version when they were packed.
    version: u64,
    /// What they have to spend, as long as none of them begins or ends.
    left: u64,
    until: Timestamp,
    held: u64,
    /// Of the plan's grant, if it is among them.
    plan_used: u64,
    plan_left: u64,
    /// What those have to spend that are not a plan's.
    packs: u64,
    /// What open holds have of the plan's grant, or what it brings once it begins; absent where it
    /// is not among them, or over.
    plan_grant: Option<u64>,
    /// What those have to spend that are not a plan's and outlast the cycle.
    lasting: u64,
}

impl AccountRecord {
    /// What the account has, packed or not.
    pub fn balance(&self, now: Timestamp) -> Balance {
        let mut balance = self.account.balance(now);
        if let Some(fold) = &self.fold {
            if balance.debt == 0 {
                balance.available = (balance.available + fold.left).min(MAX_CREDITS);
            }
            balance.held += fold.held;
            balance.plan_used += fold.plan_used;
            balance.plan_remaining += fold.plan_left;
            balance.pack_remaining += fold.packs;
            balance.pack_lasting += fold.lasting;
            balance.plan_grant = match (fold.plan_grant, balance.plan_grant) {
                (Some(credits), PlanGrant::ToCome { .. }) => PlanGrant::ToCome { credits },
                (Some(held), PlanGrant::Open { .. } | PlanGrant::Over) => PlanGrant::Open { held },
                (None, at_hand) => at_hand,
            };
        }
        balance
    }

    /// The first invariant that does not hold, as far as the record shows it. What is packed was
    /// looked at when it was.
    pub fn broken_invariant(&self, now: Timestamp) -> Option<String> {
        let left = self.fold.map_or(0, |fold| fold.left);
        let debt = self.account.head.debt;
        if debt > 0 && left > 0 {
            return Some(format!("debt {debt} stands beside {left} packed credits"));
        }
        self.account.broken_invariant(now)
    }

    /// Puts packed grants back in their places.
    pub fn unfold(mut self, packed: Option<&[u8]>) -> Result<Self, Broken> {
        if let (Some(fold), Some(packed)) = (self.fold, packed) {
            let at_hand = mem::take(&mut self.account.grants);
            self.account.grants = fold.read(packed, at_hand)?;
            self.fold = None;
        }
        Ok(self)
    }

    /// The account with all of its grants, for a look at whatever is stored: where the packed ones
    /// are lost or another's, it has those at hand, and why.
    pub fn found(self, packed: Option<&[u8]>) -> (Account, Option<&'static str>) {
        let at_hand = self.account.clone();
        match self.unfold(packed).and_then(AccountRecord::whole) {
            Ok(account) => (account, None),
            Err(Broken(why)) => (at_hand, Some(why)),
        }
    }

    /// The account with all of its grants.
    pub fn whole(self) -> Result<Account, Broken> {
        match self.fold {
            None => Ok(self.account),
            Some(_) => Err(Broken("no packed grants")),
        }
    }
}

impl Fold {
    fn take(reader: &mut Reader<'_>, values: usize) -> Result<Self, Broken> {
        let mut fold = Fold {
            version: reader.uint()?,
            left: sum(reader)?,
            until: time(reader)?,
            held: sum(reader)?,
            plan_used: sum(reader)?,
            plan_left: sum(reader)?,
            packs: sum(reader)?,
            plan_grant: None,
            lasting: 0,
        };
        if values == FOLD_VALUES {
            fold.plan_grant = reader.maybe(credits)?;
            fold.lasting = sum(reader)?;
        }
        Ok(fold)
    }

    /// The packed grants around those at hand. What the account's record says that they have to
    /// spend is what they have: the scripts spend by it.
    fn read(&self, packed: &[u8], at_hand: Vec<Grant>) -> Result<Vec<Grant>, Broken> {
        let mut reader = Reader::new(packed);
        reader.array_of(3)?;
        if reader.uint()? != self.version {
            return Err(Broken("packed grants that are not the account's"));
        }
        let mut grants = Vec::new();
        read_grants(&mut reader, &mut grants)?;
        let before = grants.len();
        read_grants(&mut reader, &mut grants)?;
        reader.finish()?;
        let just_before = Timestamp::from_millis(self.until.millis().saturating_sub(1));
        let active = grants.iter().filter(|grant| grant.is_active(just_before));
        if active.map(Grant::remaining).sum::<u64>() != self.left {
            return Err(Broken("packed grants that do not add up"));
        }
        grants.splice(before..before, at_hand);
        Ok(grants)
    }
}

/// An account as it is stored.
pub(in crate::hot::redis) fn read_account(
    id: &AccountId,
    bytes: &[u8],
) -> Result<AccountRecord, Broken> {
    let mut reader = Reader::new(bytes);
    let values = reader.array()?;
    format(&mut reader, layout::FORMAT)?;
    let head = read_head(&mut reader)?;
    let sequence = reader.uint()?;
    let version = reader.uint()?;
    let seen = time(&mut reader)?;
    let (_due, _mark) = (reader.int()?, reader.int()?);
    let mut grants = Vec::new();
    read_grants(&mut reader, &mut grants)?;
    let fold = match values.checked_sub(ACCOUNT_VALUES) {
        Some(0) => None,
        Some(more @ (FOLD_VALUES | FOLD_VALUES_BEFORE)) => Some(Fold::take(&mut reader, more)?),
        Some(_) | None => return Err(Broken("an account of another length")),
    };
    reader.finish()?;
    let account = Account {
        id: id.clone(),
        head,
        grants,
        sequence,
        version,
    };
    Ok(AccountRecord {
        account,
        seen,
        fold,
    })
}

fn read_grants(reader: &mut Reader<'_>, grants: &mut Vec<Grant>) -> Result<(), Broken> {
    let count = reader.array()?;
    grants.reserve(count.min(GRANTS_MAX));
    for _ in 0..count {
        grants.push(read_grant(reader)?);
    }
    Ok(())
}

/// An account for a load: no time has acted on it, nothing of it is due, and the ledger has
/// everything.
pub(in crate::hot::redis) fn write_account(account: &Account) -> Vec<u8> {
    let head = &account.head;
    let mut writer = Writer::new();
    writer.array(ACCOUNT_VALUES).int(layout::FORMAT);
    writer
        .int(status_code(head.status))
        .int(match head.overage {
            OveragePolicy::Debt => 0,
            OveragePolicy::Absorb => 1,
        });
    writer.text(head.plan.id.as_str()).uint(head.plan.allowance);
    match &head.next_plan {
        Some(next) => writer.text(next.id.as_str()).uint(next.allowance),
        None => writer.bool(false).uint(0),
    };
    writer.int(head.anchor.millis());
    write_cycle(&mut writer, head.cycle);
    writer.uint(head.debt).uint(head.applied_change);
    writer.uint(account.sequence).uint(account.version);
    writer.int(0).int(layout::NEVER).int(0);
    writer.array(account.grants.len());
    for grant in &account.grants {
        write_grant(&mut writer, grant);
    }
    writer.finish()
}

/// Credits of one grant: what is beyond them no script has written, and it would not add up.
fn credits(reader: &mut Reader<'_>) -> Result<u64, Broken> {
    at_most(MAX_CREDITS, reader)
}

/// Credits of as many grants as there may be.
fn sum(reader: &mut Reader<'_>) -> Result<u64, Broken> {
    at_most(MAX_CREDITS * GRANTS_MAX as u64, reader)
}

fn at_most(max: u64, reader: &mut Reader<'_>) -> Result<u64, Broken> {
    let number = reader.uint()?;
    match number <= max {
        true => Ok(number),
        false => Err(Broken("credits out of range")),
    }
}

pub(in crate::hot::redis) fn write_cycle(writer: &mut Writer, cycle: Cycle) {
    writer
        .uint(u64::from(cycle.index))
        .int(cycle.start.millis())
        .int(cycle.end.millis());
}

/// An account's head: its values one after the other, as an entry ends in them.
pub(in crate::hot::redis) fn read_head(reader: &mut Reader<'_>) -> Result<AccountHead, Broken> {
    let status = match reader.int()? {
        0 => Status::Active,
        1 => Status::Suspended,
        2 => Status::Closed,
        _ => return Err(Broken("no such status")),
    };
    let overage = match reader.int()? {
        0 => OveragePolicy::Debt,
        1 => OveragePolicy::Absorb,
        _ => return Err(Broken("no such overage policy")),
    };
    let plan = PlanTerm {
        id: id(reader, PlanId::new)?,
        allowance: reader.uint()?,
    };
    let next_id = reader.maybe(|reader| id(reader, PlanId::new))?;
    let allowance = reader.uint()?;
    let next_plan = next_id.map(|id| PlanTerm { id, allowance });
    Ok(AccountHead {
        status,
        plan,
        next_plan,
        overage,
        anchor: time(reader)?,
        cycle: Cycle {
            index: reader.u32()?,
            start: time(reader)?,
            end: time(reader)?,
        },
        debt: reader.uint()?,
        applied_change: reader.uint()?,
    })
}

pub(in crate::hot::redis) fn status_code(status: Status) -> i64 {
    match status {
        Status::Active => 0,
        Status::Suspended => 1,
        Status::Closed => 2,
    }
}

pub(in crate::hot::redis) fn write_grant(writer: &mut Writer, grant: &Grant) {
    let kind: u64 = match grant.kind {
        GrantKind::Plan => 0,
        GrantKind::Pack => 1,
        GrantKind::Promo => 2,
        GrantKind::Adjustment => 3,
    };
    writer.array(GRANT_VALUES);
    writer.text(grant.id.as_str()).uint(kind).uint(grant.amount);
    writer
        .uint(grant.used)
        .uint(grant.held)
        .uint(grant.expired)
        .int(i64::from(grant.priority));
    writer
        .int(grant.effective_at.millis())
        .maybe_int(grant.expires_at.map(Timestamp::millis))
        .maybe_int(grant.voided_at.map(Timestamp::millis))
        .text(&grant.source);
}

pub(in crate::hot::redis) fn read_grant(reader: &mut Reader<'_>) -> Result<Grant, Broken> {
    reader.array_of(GRANT_VALUES)?;
    let id = id(reader, GrantId::new)?;
    let kind = match reader.int()? {
        0 => GrantKind::Plan,
        1 => GrantKind::Pack,
        2 => GrantKind::Promo,
        3 => GrantKind::Adjustment,
        _ => return Err(Broken("no such kind of grant")),
    };
    let (amount, used) = (credits(reader)?, credits(reader)?);
    let (held, expired) = (credits(reader)?, credits(reader)?);
    let priority = i32::try_from(reader.int()?).map_err(|_| Broken("a priority out of range"))?;
    Ok(Grant {
        id,
        kind,
        amount,
        used,
        held,
        expired,
        priority,
        effective_at: time(reader)?,
        expires_at: reader.maybe(time)?,
        voided_at: reader.maybe(time)?,
        source: reader.text()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folded account of 21 grants, and its packed ones, as a server had them: what the fuzzer
    /// starts from, behind the byte that chooses the parser and the account's length.
    const STORED: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/replies/seed-23");
    /// The same, as it was packed before the last two values were there.
    const STORED_BEFORE: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/replies/seed-22");

    fn read(stored: &'static [u8]) -> (AccountRecord, &'static [u8]) {
        let (account, packed) = stored[2..].split_at(usize::from(stored[1]));
        let id = AccountId::new("acme").unwrap();
        (read_account(&id, account).unwrap(), packed)
    }

    fn stored() -> (AccountRecord, &'static [u8]) {
        read(STORED)
    }

    #[test]
    fn what_was_packed_before_is_read_too() {
        let (before, packed) = read(STORED_BEFORE);
        let (now, _) = stored();
        let lasting = now.balance(now.seen).pack_lasting;
        assert!(lasting > 0);
        let known = Balance {
            pack_lasting: lasting,
            ..before.balance(before.seen)
        };
        assert_eq!(known, now.balance(now.seen));
        let whole = |record: AccountRecord| record.unfold(Some(packed)).unwrap().whole().unwrap();
        assert_eq!(whole(before), whole(now));
    }

    #[test]
    fn the_balance_is_the_same_packed_or_not() {
        let (folded, packed) = stored();
        let seen = folded.seen;
        let balance = folded.balance(seen);
        assert_eq!(folded.account.grants.len(), 1);
        let account = folded.unfold(Some(packed)).unwrap().whole().unwrap();
        assert_eq!(account.grants.len(), 21);
        assert_eq!(account.broken_invariant(seen), None);
        assert_eq!(account.balance(seen), balance);
        assert!(balance.pack_remaining > 0 && balance.plan_remaining > 0);
    }

    #[test]
    fn packed_grants_of_another_version_of_the_account_are_refused() {
        let (mut folded, packed) = stored();
        folded.account.version += 1;
        assert!(
            folded.unfold(Some(packed)).is_ok(),
            "only when it was packed counts"
        );
        let (mut folded, packed) = stored();
        folded.fold.as_mut().unwrap().version += 1;
        let (account, lacks) = folded.found(Some(packed));
        assert_eq!(account.grants.len(), 1);
        assert_eq!(lacks, Some("packed grants that are not the account's"));
        let (folded, _) = stored();
        assert!(folded.whole().is_err());
    }
}
