//! Makes one call of the plan and keeps the account of what was answered. Every call that can
//! change an account goes through here, those of the preparation included.

use std::sync::Arc;

use tonic::transport::Channel;

use super::{
    plan::{Call, Operation, Plan},
    tally::Tally,
    wire::{AnyAnswer, Fault, HoldAnswer, SettleAnswer, Wire},
};

/// The RPCs, by the path that HTTP/2 knows them under.
const RESERVE: &str = "/tollgate.v1.QuotaService/Reserve";
const COMMIT: &str = "/tollgate.v1.QuotaService/Commit";
const RELEASE: &str = "/tollgate.v1.QuotaService/Release";
const CHARGE: &str = "/tollgate.v1.QuotaService/Charge";
const GET_BALANCE: &str = "/tollgate.v1.QuotaService/GetBalance";

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// So many credits are held.
    Held(u64),
    /// Refused; nothing changed.
    Denied,
    /// Settled, released, or looked at.
    Done,
}

/// A reservation that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The account.
    pub(super) account: u32,
    /// The number of the call that made it.
    pub(super) number: u64,
    /// What it holds.
    pub(super) credits: u64,
}

/// Calls over one connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    wire: Wire,
    plan: Arc<Plan>,
    tally: Arc<Tally>,
}

impl Caller {
    /// Calls that follow `plan` and are noted in `tally`.
    pub(super) fn new(channel: Channel, plan: Arc<Plan>, tally: Arc<Tally>) -> Self {
        Caller {
            wire: Wire::new(channel),
            plan,
            tally,
        }
    }

    /// Makes a call. `held` is what the reservation that it settles holds.
    pub(super) async fn make(&mut self, call: &Call, held: u64) -> Result<Answer, Fault> {
        match call.operation {
            Operation::Reserve => {
                let message = self.plan.reserve(call);
                let answer: HoldAnswer = self.wire.call(RESERVE, message).await?;
                let Some(reservation) = answer.reservation else {
                    return Ok(Answer::Denied);
                };
                self.tally.held(call.account, reservation.held);
                Ok(Answer::Held(reservation.held))
            }
            Operation::Commit => {
                let message = self.plan.commit(call);
                let answer: SettleAnswer = self.wire.call(COMMIT, message).await?;
                self.tally.returned(call.account, held);
                Ok(self.settled(call, &answer))
            }
            Operation::Charge => {
                let message = self.plan.charge(call);
                let answer: SettleAnswer = self.wire.call(CHARGE, message).await?;
                Ok(self.settled(call, &answer))
            }
            Operation::Release => {
                let message = self.plan.release(call);
                let AnyAnswer {} = self.wire.call(RELEASE, message).await?;
                self.tally.returned(call.account, held);
                Ok(Answer::Done)
            }
            Operation::Balance => {
                let message = self.plan.balance(call);
                let AnyAnswer {} = self.wire.call(GET_BALANCE, message).await?;
                Ok(Answer::Done)
            }
        }
    }

    fn settled(&self, call: &Call, answer: &SettleAnswer) -> Answer {
        match &answer.receipt {
            Some(receipt) => {
                self.tally.settled(call, receipt.credits, receipt.sequence);
                Answer::Done
            }
            None => Answer::Denied,
        }
    }
}
