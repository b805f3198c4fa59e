//! Which call comes next, on which account, with what in it: everything about the load that the
//! seed decides. It sends nothing.
//!
//! What a call says is a function of its number alone, so that a call whose answer got lost can
//! be made again, the same byte for byte.

mod mix;

use prost::{Message, bytes::Bytes};
use rand::{Rng, rngs::SmallRng};

pub(super) use self::mix::{Mix, Operation};
use super::wire::{BalanceCall, CommitCall, HoldCall, ReleaseCall};
use crate::pb;

/// How many conversations the calls are spread over.
const CONVERSATIONS: u64 = 256;
/// How many different usages the commits report: the n-th has n parts of the estimated output.
const USAGES: u64 = 8;
/// How long a hold stands, in seconds: longer than any run, so that none expires in one.
const HOLD_TTL_SECONDS: i64 = 6 * 3_600;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    /// So many credits, priced by nobody.
    Credits(u64),
    /// What these quantities cost.
    Usage(pb::Usage),
}

/// One call: enough to build it, and to build it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// What is called.
    pub(super) operation: Operation,
    /// On which account.
    pub(super) account: u32,
    /// Of the reservation or charge; never used twice in a run.
    pub(super) number: u64,
}

/// The load, but for its pace.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How many accounts there are.
    pub(super) accounts: u32,
    /// How the calls are mixed.
    pub(super) mix: Mix,
    /// Where the choices start from.
    pub(super) seed: u64,
    run: String,
    hot_share: f64,
    amounts: Amounts,
    actions: Vec<Bytes>,
    ttl: Bytes,
}

#[derive(Clone, Debug)]
enum Amounts {
    Credits(u64),
    Usage { estimate: Bytes, used: Vec<Bytes> },
}

/// What a [`Plan`] is made of.
#[derive(Clone, Debug)]
pub(super) struct PlanParts {
    /// Sets the ids of this run apart from those of any other.
    pub(super) run: String,
    /// How many accounts there are.
    pub(super) accounts: u32,
    /// The share of the calls that go to the first account, 0 to 1.
    pub(super) hot_share: f64,
    /// How the calls are mixed.
    pub(super) mix: Mix,
    /// Where the choices start from.
    pub(super) seed: u64,
    /// The rate card's mode.
    pub(super) mode: String,
    /// The model; may be empty.
    pub(super) model: String,
    /// What is reserved, and charged.
    pub(super) asked: Asked,
}

impl Plan {
    /// How long a hold is asked to stand, in milliseconds.
    pub(super) const HOLD_TTL_MS: u64 = HOLD_TTL_SECONDS.unsigned_abs() * 1_000;

    /// The conversations that a run's calls are spread over, in turn.
    pub(super) fn conversations(run: &str) -> impl Iterator<Item = String> {
        (0..CONVERSATIONS).map(move |number| format!("{run}-conversation-{number}"))
    }

    /// What the calls use of what they ask for, in turn.
    pub(super) fn all_used(asked: &Asked) -> Vec<Asked> {
        let part = |parts: u64| match asked {
            Asked::Credits(most) => Asked::Credits((most.saturating_mul(parts) / USAGES).max(1)),
            Asked::Usage(usage) => Asked::Usage(used(usage, parts)),
        };
        (1..=USAGES).map(part).collect()
    }

    /// Encodes once whatever is the same in many calls.
    pub(super) fn new(parts: PlanParts) -> Self {
        let action = |conversation_id: String| {
            let action = pb::Action {
                mode: parts.mode.clone(),
                model: parts.model.clone(),
                conversation_id,
                ..pb::Action::default()
            };
            Bytes::from(action.encode_to_vec())
        };
        let actions = Plan::conversations(&parts.run).map(action).collect();
        let amounts = match parts.asked {
            Asked::Credits(credits) => Amounts::Credits(credits),
            Asked::Usage(usage) => Amounts::Usage {
                estimate: Bytes::from(usage.encode_to_vec()),
                used: (1..=USAGES)
                    .map(|n| Bytes::from(used(&usage, n).encode_to_vec()))
                    .collect(),
            },
        };
        let ttl = prost_types::Duration {
            seconds: HOLD_TTL_SECONDS,
            nanos: 0,
        };
        Plan {
            accounts: parts.accounts,
            mix: parts.mix,
            seed: parts.seed,
            run: parts.run,
            hot_share: parts.hot_share,
            amounts,
            actions,
            ttl: Bytes::from(ttl.encode_to_vec()),
        }
    }

    /// The id of an account of this run.
    pub(super) fn account_id(&self, account: u32) -> String {
        format!("bench-{}-{account}", self.run)
    }

    /// The id of a reservation or charge: as long as the unique ids that callers use.
    pub(super) fn reservation_id(number: u64) -> String {
        format!("{number:032x}")
    }

    /// The number that an id was made of, where it was made here.
    pub(super) fn number_of(reservation_id: &str) -> Option<u64> {
        let number = u64::from_str_radix(reservation_id, 16).ok()?;
        (Plan::reservation_id(number) == reservation_id).then_some(number)
    }

    /// An account: the first one as often as the hot share says, else any.
    pub(super) fn pick_account(&self, random: &mut SmallRng) -> u32 {
        if self.hot_share > 0.0 && random.random::<f64>() < self.hot_share {
            return 0;
        }
        random.random_range(0..self.accounts.max(1))
    }

    /// The message of a `Reserve`.
    pub(super) fn reserve(&self, call: &Call) -> HoldCall {
        let (usage, credits) = match &self.amounts {
            Amounts::Credits(credits) => (None, Some(*credits)),
            Amounts::Usage { estimate, .. } => (Some(estimate.clone()), None),
        };
        HoldCall {
            usage,
            credits,
            ttl: Some(self.ttl.clone()),
            ..self.hold(call)
        }
    }

    /// The message of a `Charge`.
    pub(super) fn charge(&self, call: &Call) -> HoldCall {
        let (usage, credits) = self.used(call);
        HoldCall {
            usage,
            credits,
            ..self.hold(call)
        }
    }

    /// The message of a `Commit`: never more than what was reserved.
    pub(super) fn commit(&self, call: &Call) -> CommitCall {
        let (usage, credits) = self.used(call);
        CommitCall {
            account_id: self.account_id(call.account),
            reservation_id: Plan::reservation_id(call.number),
            usage,
            credits,
        }
    }

    /// The message of a `Release`.
    pub(super) fn release(&self, call: &Call) -> ReleaseCall {
        ReleaseCall {
            account_id: self.account_id(call.account),
            reservation_id: Plan::reservation_id(call.number),
        }
    }

    /// The message of a `GetBalance`.
    pub(super) fn balance(&self, call: &Call) -> BalanceCall {
        BalanceCall {
            account_id: self.account_id(call.account),
        }
    }

    fn hold(&self, call: &Call) -> HoldCall {
        HoldCall {
            account_id: self.account_id(call.account),
            id: Plan::reservation_id(call.number),
            action: pick(&self.actions, call.number),
            ..HoldCall::default()
        }
    }

    fn used(&self, call: &Call) -> (Option<Bytes>, Option<u64>) {
        match &self.amounts {
            Amounts::Credits(most) => (None, Some(1 + call.number % (*most).max(1))),
            Amounts::Usage { used, .. } => (Some(pick(used, call.number)), None),
        }
    }
}

/// What an action used of its estimate: `parts` of [`USAGES`] of the output, the rest whole.
fn used(estimate: &pb::Usage, parts: u64) -> pb::Usage {
    let output_tokens = estimate.output_tokens.saturating_mul(parts) / USAGES;
    pb::Usage {
        output_tokens,
        ..estimate.clone()
    }
}

fn pick(from: &[Bytes], number: u64) -> Bytes {
    let index = usize::try_from(number % from.len().max(1) as u64).unwrap_or(0);
    from.get(index).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn plan(asked: Asked) -> Plan {
        Plan::new(PlanParts {
            run: "r".to_owned(),
            accounts: 10,
            hot_share: 0.5,
            mix: "reserve=3,commit=1".parse().unwrap(),
            seed: 7,
            mode: "agent".to_owned(),
            model: "claude-sonnet-4-5".to_owned(),
            asked,
        })
    }

    #[test]
    fn the_first_account_gets_its_share() {
        let plan = plan(Asked::Credits(3));
        let mut random = SmallRng::seed_from_u64(1);
        let hot = (0..10_000)
            .filter(|_| plan.pick_account(&mut random) == 0)
            .count();
        assert!(
            (5_200..5_800).contains(&hot),
            "half, and a tenth of the other half: {hot}"
        );
    }

    #[test]
    fn ids_lead_back_to_their_number() {
        for number in [0, 1, 0xffff_0000_0000_0001, u64::MAX] {
            assert_eq!(Plan::number_of(&Plan::reservation_id(number)), Some(number));
        }
        for foreign in ["", "1", "x", "00000000000000000000000000000000f"] {
            assert_eq!(Plan::number_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_contract_reads_what_a_plan_builds() {
        let estimate = pb::Usage {
            input_tokens: 100,
            output_tokens: 80,
            ..pb::Usage::default()
        };
        let plan = plan(Asked::Usage(estimate.clone()));
        let call = Call {
            operation: Operation::Reserve,
            account: 4,
            number: 9,
        };

        let sent = plan.reserve(&call).encode_to_vec();
        let read = pb::ReserveRequest::decode(sent.as_slice()).unwrap();
        assert_eq!(read.account_id, "bench-r-4");
        assert_eq!(read.reservation_id, Plan::reservation_id(9));
        assert_eq!(read.ttl.unwrap().seconds, HOLD_TTL_SECONDS);
        let action = read.action.unwrap();
        assert_eq!(
            (action.mode.as_str(), action.model.as_str()),
            ("agent", "claude-sonnet-4-5")
        );
        assert_eq!(action.conversation_id, "r-conversation-9");
        assert_eq!(
            read.amount,
            Some(pb::reserve_request::Amount::Estimate(estimate))
        );

        let sent = plan.commit(&call).encode_to_vec();
        let read = pb::CommitRequest::decode(sent.as_slice()).unwrap();
        assert_eq!(read.reservation_id, Plan::reservation_id(9));
        let Some(pb::commit_request::Amount::Usage(used)) = read.amount else {
            panic!("{:?}", read.amount)
        };
        assert_eq!((used.input_tokens, used.output_tokens), (100, 20));

        let sent = plan.charge(&call).encode_to_vec();
        let read = pb::ChargeRequest::decode(sent.as_slice()).unwrap();
        assert_eq!(read.charge_id, Plan::reservation_id(9));
        assert_eq!(read.amount, Some(pb::charge_request::Amount::Usage(used)));
    }

    #[test]
    fn credits_are_asked_for_as_they_are_given() {
        let plan = plan(Asked::Credits(5));
        let call = Call {
            operation: Operation::Reserve,
            account: 0,
            number: 13,
        };
        let read =
            pb::ReserveRequest::decode(plan.reserve(&call).encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.amount, Some(pb::reserve_request::Amount::Credits(5)));
        let read =
            pb::CommitRequest::decode(plan.commit(&call).encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.amount, Some(pb::commit_request::Amount::Credits(4)));
    }
}
