//! Makes one call of the plan and keeps the account of what was answered. Every call that can
//! change an account goes through here, those of the preparation included.

use std::sync::Arc;

use super::{
    plan::{Call, Operation, Plan},
    scripts::Scripts,
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

/// Where calls go.
#[derive(Clone, Debug)]
enum Via {
    Server(Wire),
    Scripts(Scripts),
}

/// Calls over one connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    via: Via,
    plan: Arc<Plan>,
    tally: Arc<Tally>,
}

impl Caller {
    /// Calls that follow `plan` and are noted in `tally`.
    pub(super) fn new(wire: Wire, plan: Arc<Plan>, tally: Arc<Tally>) -> Self {
        Caller {
            via: Via::Server(wire),
            plan,
            tally,
        }
    }

    /// Calls that no server gets: their scripts are run. Nothing is noted.
    pub(super) fn of_scripts(scripts: Scripts, plan: Arc<Plan>, tally: Arc<Tally>) -> Self {
        Caller {
            via: Via::Scripts(scripts),
            plan,
            tally,
        }
    }

    /// Makes a call. `held` is what the reservation that it settles holds.
    pub(super) async fn make(&mut self, call: &Call, held: u64) -> Result<Answer, Fault> {
        let wire = match &mut self.via {
            Via::Server(wire) => wire,
            Via::Scripts(scripts) => return scripts.make(call).await,
        };
        match call.operation {
            Operation::Reserve => {
                let message = self.plan.reserve(call);
                let answer: HoldAnswer = wire.call(RESERVE, message).await?;
                let Some(reservation) = answer.reservation else {
                    return Ok(Answer::Denied);
                };
                self.tally.held(call.account, reservation.held);
                Ok(Answer::Held(reservation.held))
            }
            Operation::Commit => {
                let message = self.plan.commit(call);
                let answer: SettleAnswer = wire.call(COMMIT, message).await?;
                self.tally.returned(call.account, held);
                Ok(self.settled(call, &answer))
            }
            Operation::Charge => {
                let message = self.plan.charge(call);
                let answer: SettleAnswer = wire.call(CHARGE, message).await?;
                Ok(self.settled(call, &answer))
            }
            Operation::Release => {
                let message = self.plan.release(call);
                let AnyAnswer {} = wire.call(RELEASE, message).await?;
                self.tally.returned(call.account, held);
                Ok(Answer::Done)
            }
            Operation::Balance => {
                let message = self.plan.balance(call);
                let AnyAnswer {} = wire.call(GET_BALANCE, message).await?;
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
