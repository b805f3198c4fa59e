//! What the ledger brings: administrative changes, new cycles, accounts in and out.

use super::{
    RedisHot,
    answers::broken_reply,
    layout::{change, code},
    packed::{Broken, Reader, Writer},
    records::{self, status_code, write_account, write_grant},
    scripts,
    steps::{Argument, Step, cycle, text},
};
use crate::{
    domain::{
        account::Account,
        change::{Applied, Change, ChangeBody, Refund, plan_grant},
        command::Renewal,
        decision::Refusal,
        ids::{AccountId, ReservationId},
    },
    hot::{Answer, Done, HotFault, Loading},
};

/// How long an unloaded account refuses to be loaded from an older state of the ledger: far
/// longer than whoever read it takes to say so.
const TOMBSTONE_MS: u64 = 3_600_000;

impl RedisHot {
    pub(super) async fn apply_step(&self, change: &Change) -> Answer<Applied> {
        const OPERATION: &str = "apply";
        let (kind, body) = pack_body(&change.body);
        let step = Step {
            operation: OPERATION,
            script: &scripts::APPLY,
            account_id: &change.account_id,
            reservation_id: refunded(&change.body),
            arguments: vec![text(change.number), text(kind as u64), body],
        };
        let told = match self.step(step).await? {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let broken = |broken| broken_reply(broken, OPERATION);
        match told.code {
            code::OK => Ok(Ok(Done {
                value: Applied {
                    now: told.extra().bool().map_err(broken)?,
                    balance: told.account.balance(told.now),
                },
                mark: told.mark,
            })),
            code::CHANGE_GAP => {
                let next = told.extra().uint().map_err(broken)?;
                Ok(Err(Refusal::ChangeGap { next }))
            }
            _ => Err(broken(Broken("a code that this version does not know"))),
        }
    }

    pub(super) async fn renew_step(&self, renewal: &Renewal) -> Answer<()> {
        let step = Step {
            operation: "renew",
            script: &scripts::RENEW,
            account_id: &renewal.account_id,
            reservation_id: None,
            arguments: vec![
                cycle(renewal.ended),
                cycle(renewal.cycle),
                renewal.plan.id.as_str().into(),
                text(renewal.plan.allowance),
            ],
        };
        let answer = self.step(step).await?;
        Ok(answer.map(|told| Done {
            value: (),
            mark: told.mark,
        }))
    }

    pub(super) async fn loading_step(&self, account_id: &AccountId) -> Result<Loading, HotFault> {
        const OPERATION: &str = "loading";
        let shard = self.shard_of(account_id);
        let given = [self.shards[shard as usize].meta.to_string()];
        let arguments = [self.given_now()];
        let reply = self
            .run(OPERATION, shard, &scripts::LOADING, &given, &arguments)
            .await?;
        let read = |mut reader: Reader<'_>| -> Result<Loading, Broken> {
            Ok(Loading {
                now: records::time(&mut reader)?,
                era: reader.uint()?,
            })
        };
        read(Reader::new(&reply)).map_err(|broken| broken_reply(broken, OPERATION))
    }

    /// Set-if-absent: whoever comes second changes nothing.
    pub(super) async fn load_account(
        &self,
        account: &Account,
        loading: Loading,
    ) -> Result<(), HotFault> {
        let shard = self.shard_of(&account.id);
        let keys = &self.shards[shard as usize];
        let given = [
            keys.account(&account.id),
            keys.due.to_string(),
            keys.meta.to_string(),
        ];
        let arguments = [
            self.given_now(),
            account.id.as_str().into(),
            write_account(account),
            text(self.options.unload_idle_ms),
            text(loading.era),
        ];
        self.run("load", shard, &scripts::LOAD, &given, &arguments)
            .await?;
        Ok(())
    }

    /// Drops an account that has no open holds, nothing that the ledger does not have, and has
    /// not changed for `idle_ms` milliseconds; answers whether it is gone. A load from a state of
    /// the ledger that is older than what was dropped is refused for an hour.
    pub async fn unload(&self, account_id: &AccountId, idle_ms: u64) -> Answer<bool> {
        const OPERATION: &str = "unload";
        let step = Step {
            operation: OPERATION,
            script: &scripts::UNLOAD,
            account_id,
            reservation_id: None,
            arguments: vec![text(TOMBSTONE_MS), text(idle_ms)],
        };
        match self.step(step).await? {
            Ok(told) => Ok(Ok(Done {
                value: told
                    .extra()
                    .bool()
                    .map_err(|broken| broken_reply(broken, OPERATION))?,
                mark: told.mark,
            })),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

fn refunded(body: &ChangeBody) -> Option<&ReservationId> {
    match body {
        ChangeBody::Refund(refund) => Some(&refund.reservation_id),
        ChangeBody::Create(_)
        | ChangeBody::SetStatus { .. }
        | ChangeBody::ChangePlan { .. }
        | ChangeBody::Grant { .. }
        | ChangeBody::Void { .. } => None,
    }
}

/// A change's kind and body, as `apply.lua` reads them.
fn pack_body(body: &ChangeBody) -> (i64, Argument) {
    let mut writer = Writer::new();
    let kind = match body {
        ChangeBody::Create(create) => {
            writer.array(1);
            write_grant(&mut writer, &plan_grant(&create.plan, create.cycle));
            change::CREATE
        }
        ChangeBody::SetStatus { status, reason } => {
            writer.array(2).int(status_code(*status)).text(reason);
            change::SET_STATUS
        }
        ChangeBody::ChangePlan { plan, at_renewal } => {
            writer.array(3).text(plan.id.as_str()).uint(plan.allowance);
            match at_renewal {
                Some(at_renewal) => writer.bool(*at_renewal),
                None => writer.text("auto"),
            };
            change::CHANGE_PLAN
        }
        ChangeBody::Grant { grant, reason } => {
            writer.array(2);
            write_grant(&mut writer, grant);
            writer.text(reason);
            change::GRANT
        }
        ChangeBody::Void { grant_id, reason } => {
            writer.array(2).text(grant_id.as_str()).text(reason);
            change::VOID
        }
        ChangeBody::Refund(refund) => {
            pack_refund(&mut writer, refund);
            change::REFUND
        }
    };
    (kind, writer.finish())
}

fn pack_refund(writer: &mut Writer, refund: &Refund) {
    let fields = 5 + usize::from(refund.refunded.is_some());
    writer.array(fields).text(refund.reservation_id.as_str());
    writer.array(2 * refund.parts.len());
    for part in &refund.parts {
        write_grant(writer, &part.grant);
        writer.uint(part.credits);
    }
    writer
        .uint(refund.of_debt)
        .text(&refund.reason)
        .text(&refund.actor);
    if let Some(refunded) = refund.refunded {
        writer.uint(refunded);
    }
}
