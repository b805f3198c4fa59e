//! One step on one account: the keys, the script, the reply.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use redis::Cmd;

use super::{
    RedisHot,
    faults::Failure,
    layout::code,
    link::Request,
    packed::{Broken, Reader, Writer},
    records::{self, AccountRecord},
    scripts::Script,
};
use crate::{
    clock::Clock,
    domain::{
        decision::{CycleEnded, Refusal},
        ids::{AccountId, ReservationId},
        reservation::Reservation,
        timestamp::Timestamp,
    },
    hot::{HotFault, Mark},
};

/// How often one step is asked again because holds of its account were due.
const DUE_ATTEMPTS: usize = 4;

/// The keys and arguments that every step has, before its own.
const STEP_KEYS: usize = 7;
const STEP_ARGUMENTS: usize = 7;
/// About how many bytes a step's command has without its own arguments.
const COMMAND_BYTES: usize = 448;

/// One argument of a script.
pub(super) type Argument = Vec<u8>;

/// What a step is called with.
pub(super) struct Step<'a> {
    pub operation: &'static str,
    pub script: &'a Script,
    pub account_id: &'a AccountId,
    pub reservation_id: Option<&'a ReservationId>,
    pub arguments: Vec<Argument>,
}

/// What a step answered.
pub(super) struct Told {
    pub code: i64,
    pub now: Timestamp,
    pub mark: Mark,
    pub account: AccountRecord,
    pub reservation: Option<Reservation>,
    /// What else it said.
    pub rest: Vec<u8>,
}

/// The outbox is full, since the ledger has taken nothing for long.
#[derive(Debug, thiserror::Error)]
#[error("the outbox of shard {shard} is full: {records} records wait for the ledger")]
struct OutboxFull {
    shard: u32,
    records: u64,
}

impl Told {
    /// What the step brought besides.
    pub fn extra(&self) -> Reader<'_> {
        Reader::new(&self.rest)
    }

    /// The reservation that the step must have brought.
    pub fn known(&mut self) -> Result<Reservation, Broken> {
        self.reservation
            .take()
            .ok_or(Broken("no reservation in the reply"))
    }
}

pub(super) fn text(number: u64) -> Argument {
    number.to_string().into_bytes()
}

/// The time by a clock that counts in place of the server's, or nothing.
pub(super) fn given_now(clock: Option<&Arc<dyn Clock>>) -> Argument {
    clock.map_or_else(Vec::new, |clock| {
        clock.now().millis().to_string().into_bytes()
    })
}

/// `1` or `0`.
pub(super) fn flag(value: bool) -> Argument {
    vec![if value { b'1' } else { b'0' }]
}

impl RedisHot {
    /// Runs a step; what it refuses for every operation alike is refused here.
    pub(super) async fn step(&self, step: Step<'_>) -> Result<Result<Told, Refusal>, HotFault> {
        self.step_with(step, Vec::new()).await
    }

    /// Runs a step that has further keys besides its reservation's.
    pub(super) async fn step_with(
        &self,
        step: Step<'_>,
        further: Vec<String>,
    ) -> Result<Result<Told, Refusal>, HotFault> {
        let shard = self.shard_of(step.account_id);
        let mut due: Vec<String> = Vec::new();
        for _ in 0..DUE_ATTEMPTS {
            let reply = self.run_step(&step, shard, (&further, &due)).await;
            let reply = reply.map_err(|failure| failure.of(step.operation))?;
            let read = self.read_reply(&step, shard, &reply);
            match read.map_err(|broken| Failure::unknown(broken).of(step.operation))? {
                Read::Told(told) => return Ok(check_cycle(told)),
                Read::Refused(refusal) => return Ok(Err(refusal)),
                Read::Due(ids) => due = ids,
                Read::Full(records) => {
                    let full = OutboxFull { shard, records };
                    return Err(Failure::not_sent(full).of(step.operation));
                }
            }
        }
        let busy = Failure::not_sent("holds of the account fall due faster than they are expired");
        Err(busy.of(step.operation))
    }

    /// The call of a step's script, by its name or with its whole text, on a server of some name.
    fn command(
        &self,
        step: &Step<'_>,
        shard: u32,
        (further, due): (&[String], &[String]),
        (verb, script): (&str, &str),
        server: &str,
    ) -> Cmd {
        let keys = &self.shards[shard as usize];
        let id = step.account_id;
        let records = step.reservation_id.iter().map(|id| id.as_str());
        let given = STEP_KEYS + records.len() + further.len() + due.len();
        let size = COMMAND_BYTES + step.arguments.iter().map(Vec::len).sum::<usize>();
        let values = 4 + given + STEP_ARGUMENTS + step.arguments.len() + due.len();
        let mut command = Cmd::with_capacity(values, size);
        command.arg(verb).arg(script).arg(given);
        command.arg(keys.account(id)).arg(keys.deadlines(id));
        for key in [&keys.due, &keys.out, &keys.meta, &keys.ended] {
            command.arg(&**key);
        }
        command.arg(keys.packed_grants(id));
        for record in records {
            command.arg(keys.reservation(id, record));
        }
        for key in further {
            command.arg(key);
        }
        for record in due {
            command.arg(keys.reservation(id, record));
        }
        command.arg(self.given_now()).arg(self.window_ms());
        command.arg(self.options.outbox_max).arg(due.len());
        command.arg(id.as_str());
        for argument in &step.arguments {
            command.arg(argument.as_slice());
        }
        for id in due {
            command.arg(id);
        }
        let (era, position) = self.known.get(shard);
        command.arg(era).arg(position).arg(server);
        command
    }

    /// Runs a step's script, with further keys, which is told of some due holds.
    pub(super) async fn run_step(
        &self,
        step: &Step<'_>,
        shard: u32,
        given: (&[String], &[String]),
    ) -> Result<Vec<u8>, Failure> {
        let request = |server: &str, is_whole: bool| {
            let script = match is_whole {
                true => ("EVAL", step.script.text.as_str()),
                false => ("EVALSHA", step.script.hash.as_str()),
            };
            self.command(step, shard, given, script, server)
        };
        self.guarded(shard, &request).await
    }

    /// The time that a script is given: nothing where the server's clock counts.
    pub(super) fn given_now(&self) -> Argument {
        given_now(self.options.clock.as_ref())
    }

    /// The time to live of a settled reservation, none where another clock than the server's
    /// decides.
    fn window_ms(&self) -> u64 {
        match &self.options.clock {
            Some(_) => 0,
            None => self.options.replay_window_ms.clamp(1, super::WINDOW_MS_MAX),
        }
    }

    /// Runs a script and answers the one text that it replies with.
    pub(super) async fn eval(
        &self,
        shard: u32,
        script: &Script,
        keys: &[String],
        arguments: &[Argument],
    ) -> Result<Vec<u8>, Failure> {
        let request = |server: &str, is_whole| script.call(keys, arguments, server, is_whole);
        self.guarded(shard, &request).await
    }

    /// Sends a script's call. Where its shard must be verified first it waits for that, all within
    /// the deadline.
    async fn guarded(&self, shard: u32, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
        let started = self.clock.monotonic();
        let deadline = self.link.deadline();
        let first = self.link.request(shard, request, deadline);
        match first.await {
            Err(failure) if failure.is_unverified => {}
            answer => return answer,
        }
        let left = || {
            let taken = self.clock.monotonic().saturating_sub(started);
            deadline.saturating_sub(taken)
        };
        self.gate.verified(shard, left()).await?;
        self.link.request(shard, request, left()).await
    }

    fn read_reply(&self, step: &Step<'_>, shard: u32, reply: &[u8]) -> Result<Read, Broken> {
        let mut reader = Reader::new(reply);
        let code = reader.int()?;
        match code {
            code::NOT_LOADED => return Ok(Read::Refused(Refusal::NotLoaded)),
            code::NO_ACCOUNT => return Ok(Read::Refused(Refusal::Absent)),
            code::FULL => return Ok(Read::Full(reader.uint()?)),
            code::DUE => {
                let mut ids = Vec::new();
                for _ in 0..reader.array()? {
                    ids.push(reader.text()?.to_owned());
                }
                return Ok(Read::Due(ids));
            }
            _ => {}
        }
        let now = records::time(&mut reader)?;
        let mark = read_mark(shard, &mut reader)?;
        self.known.meet(mark);
        let account = records::read_account(step.account_id, reader.blob()?)?;
        let stored = reader.maybe(Reader::blob)?;
        let reservation = match (stored, step.reservation_id) {
            (Some(bytes), Some(id)) => Some(records::read_reservation(step.account_id, id, bytes)?),
            _ => None,
        };
        let account = account.unfold(reader.maybe(Reader::blob)?)?;
        if let Some(broken) = account.broken_invariant(now.min(account.seen)) {
            self.violations.count(step.account_id, &broken);
        }
        Ok(Read::Told(Box::new(Told {
            code,
            now,
            mark,
            account,
            reservation,
            rest: reader.rest().to_vec(),
        })))
    }

    /// Everything that an unstepped script is called with besides its keys.
    pub(super) async fn run(
        &self,
        operation: &'static str,
        shard: u32,
        script: &Script,
        keys: &[String],
        arguments: &[Argument],
    ) -> Result<Vec<u8>, HotFault> {
        let reply = self.eval(shard, script, keys, arguments).await;
        reply.map_err(|failure| failure.of(operation))
    }
}

/// Where a step's shard stood after it.
pub(super) fn read_mark(shard: u32, reader: &mut Reader<'_>) -> Result<Mark, Broken> {
    let position = reader.uint()?;
    let era = reader.uint()?;
    Ok(Mark {
        shard,
        era,
        position,
    })
}

enum Read {
    Told(Box<Told>),
    Refused(Refusal),
    Due(Vec<String>),
    Full(u64),
}

fn check_cycle(told: Box<Told>) -> Result<Told, Refusal> {
    if told.code != code::CYCLE_ENDED {
        return Ok(*told);
    }
    let head = &told.account.account.head;
    let plan = head.next_plan.as_ref().unwrap_or(&head.plan);
    Err(Refusal::CycleEnded(CycleEnded {
        anchor: head.anchor,
        ended: head.cycle,
        plan_id: plan.id.clone(),
        allowance: plan.allowance,
        now: told.now,
    }))
}

/// Counts steps after which an invariant of their account did not hold.
#[derive(Debug, Default)]
pub(super) struct Violations(AtomicU64);

impl Violations {
    fn count(&self, account_id: &AccountId, broken: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        tracing::error!(account = %account_id, broken, "an invariant is broken");
    }

    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The three values of a cycle, as a script reads them.
pub(super) fn cycle(cycle: crate::domain::cycle::Cycle) -> Argument {
    let mut writer = Writer::new();
    writer.array(3);
    records::write_cycle(&mut writer, cycle);
    writer.finish()
}
