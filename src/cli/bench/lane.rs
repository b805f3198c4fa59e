//! One thread of the load generator: a runtime, its connections and their workers, all on one
//! core, so that nothing of what they share needs a lock.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{Semaphore, oneshot},
    task::LocalSet,
};

use super::{
    caller::{Answer, Caller, Hold},
    load::{Load, Target},
    pace::{Schedule, Span, Stop},
    plan::{Call, Operation, Plan},
    record::Records,
    scripts::Scripts,
    setup::failed,
    tally::mix,
    wire::{Fault, Wire},
};
use crate::{
    cli::{exit::Exit, output::Failure},
    clock::{Clock, SystemClock},
    hot::redis::BareScripts,
};

/// A worker whose calls fail so often in a row gives up.
const FAULTS_IN_A_ROW_MAX: u32 = 100;
/// The most calls of one lane that are kept to be made again because their answer got lost.
const UNRESOLVED_MAX: usize = 100_000;
/// The numbers of the calls of one lane: its index comes above so many bits.
const NUMBER_BITS: u32 = 40;
/// More lanes than any machine has cores.
const LANES_MAX: u64 = 1 << 12;

/// What a lane is told.
pub(super) struct LaneSpec {
    /// Which one, from 0.
    pub(super) index: u32,
    /// How many there are.
    pub(super) lanes: u32,
    /// Its connections.
    pub(super) connections: usize,
    /// Its workers: the most calls that it has in flight.
    pub(super) workers: usize,
    /// Reservations to make before the run, for the run to settle.
    pub(super) stock: u64,
    /// The permits of an open loop.
    pub(super) permits: Option<Arc<Semaphore>>,
    /// The load.
    pub(super) load: Arc<Load>,
    /// Ends the run early.
    pub(super) stop: Arc<Stop>,
    /// Told once everything is connected.
    pub(super) ready: oneshot::Sender<Result<(), Failure>>,
    /// Says when to start.
    pub(super) go: oneshot::Receiver<Go>,
    /// Told what came of it.
    pub(super) done: oneshot::Sender<LaneResult>,
}

/// When a run takes place, and the schedule of an open loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Go {
    /// The run.
    pub(super) span: Span,
    /// The starts, in an open loop.
    pub(super) schedule: Option<Schedule>,
}

/// What came of a lane.
pub(super) struct LaneResult {
    /// What it measured.
    pub(super) records: Records,
    /// Calls whose answer got lost, with what the reservation held.
    pub(super) unresolved: Vec<(Call, u64)>,
    /// Such calls beyond those that are kept.
    pub(super) forgotten: u64,
}

/// Runs a lane on this thread until its run is over.
pub(super) fn run(spec: LaneSpec) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(Exit::Internal, format!("starting a lane: {error}"));
            // Nobody waits any more: then nobody needs to know.
            let _ = spec.ready.send(Err(failure));
            return;
        }
    };
    LocalSet::new().block_on(&runtime, drive(spec));
}

async fn drive(spec: LaneSpec) {
    let LaneSpec {
        ready, go, done, ..
    } = spec;
    let parts = LaneParts {
        index: spec.index,
        lanes: spec.lanes,
        stock: spec.stock,
        permits: spec.permits,
        load: spec.load,
        stop: spec.stop,
    };
    let prepared = prepare(parts, spec.connections, spec.workers).await;
    let (lane, callers) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            let _ = ready.send(Err(failure));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let Ok(go) = go.await else {
        return;
    };
    let lead = go.span.start.saturating_sub(lane.clock.monotonic());
    tokio::time::sleep(lead).await;
    let mut workers = Vec::with_capacity(callers.len());
    for caller in callers {
        workers.push(tokio::task::spawn_local(worker(
            Rc::clone(&lane),
            caller,
            go,
        )));
    }
    for worker in workers {
        // A worker that panicked has nothing more to tell; its calls are missing in the sums.
        let _ = worker.await;
    }
    if let Some(lane) = Rc::into_inner(lane) {
        let result = LaneResult {
            records: lane.records.into_inner(),
            unresolved: lane.unresolved.into_inner(),
            forgotten: lane.forgotten.get(),
        };
        let _ = done.send(result);
    }
}

struct LaneParts {
    index: u32,
    lanes: u32,
    stock: u64,
    permits: Option<Arc<Semaphore>>,
    load: Arc<Load>,
    stop: Arc<Stop>,
}

/// What the workers of a lane share.
struct Lane {
    parts: LaneParts,
    plan: Arc<Plan>,
    clock: Arc<SystemClock>,
    next_number: Cell<u64>,
    next_ticket: Cell<u64>,
    open: RefCell<VecDeque<Hold>>,
    random: RefCell<SmallRng>,
    records: RefCell<Records>,
    unresolved: RefCell<Vec<(Call, u64)>>,
    forgotten: Cell<u64>,
}

/// The number of a lane's first call: no lane of any round gets to another's. Those below are the
/// preparation's.
fn first_number(round: u32, lane: u32) -> u64 {
    (u64::from(round) * LANES_MAX + u64::from(lane) + 1) << NUMBER_BITS
}

/// As many callers as there are workers, over so many connections.
async fn callers(load: &Load, connections: usize, workers: usize) -> Result<Vec<Caller>, Failure> {
    let (plan, tally) = (&load.plan, &load.tally);
    let mut made = Vec::with_capacity(connections);
    match &load.target {
        Target::Server(remote) => {
            for _ in 0..connections {
                let wire = Wire::connect(remote).await?;
                made.push(Caller::new(wire, Arc::clone(plan), Arc::clone(tally)));
            }
        }
        Target::Scripts {
            options,
            run,
            commands,
        } => {
            let bare = BareScripts::connect((**options).clone(), run);
            let bare = bare.map_err(|error| Failure::new(Exit::Usage, error))?;
            let scripts = Scripts::new(Arc::new(bare), Arc::clone(commands), Arc::clone(plan));
            made.push(Caller::of_scripts(
                scripts,
                Arc::clone(plan),
                Arc::clone(tally),
            ));
        }
    }
    Ok(made.iter().cycle().take(workers).cloned().collect())
}

/// Connects, and makes the stock of reservations.
async fn prepare(
    parts: LaneParts,
    connections: usize,
    workers: usize,
) -> Result<(Rc<Lane>, Vec<Caller>), Failure> {
    let load = Arc::clone(&parts.load);
    let callers = callers(&load, connections.max(1), workers).await?;
    let seed = mix(load.plan.seed ^ u64::from(parts.index));
    let lane = Rc::new(Lane {
        plan: Arc::clone(&load.plan),
        clock: Arc::clone(&load.clock),
        next_number: Cell::new(first_number(load.round, parts.index)),
        next_ticket: Cell::new(0),
        open: RefCell::new(VecDeque::new()),
        random: RefCell::new(SmallRng::seed_from_u64(seed)),
        records: RefCell::new(Records::new()?),
        unresolved: RefCell::new(Vec::new()),
        forgotten: Cell::new(0),
        parts,
    });
    let left = Rc::new(Cell::new(lane.parts.stock));
    let mut stocking = Vec::with_capacity(callers.len());
    for caller in callers.iter().cloned() {
        stocking.push(tokio::task::spawn_local(stock(
            Rc::clone(&lane),
            caller,
            Rc::clone(&left),
        )));
    }
    for task in stocking {
        let failed = |error| Failure::new(Exit::Internal, format!("making the stock: {error}"));
        task.await.map_err(failed)??;
    }
    Ok((lane, callers))
}

/// Makes reservations until none is left to be made.
async fn stock(lane: Rc<Lane>, mut caller: Caller, left: Rc<Cell<u64>>) -> Result<(), Failure> {
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let call = lane.reserve();
        match caller.make(&call, 0).await {
            Ok(Answer::Held(credits)) => lane.keep(&call, credits),
            Ok(Answer::Denied | Answer::Done) => {
                let message = "a reservation of the stock was denied: the accounts hold too little";
                return Err(Failure::new(Exit::Denied, message));
            }
            Err(fault) => return Err(failed("making the stock of reservations", &fault)),
        }
    }
    Ok(())
}

/// Makes one call after the other until the run is over.
async fn worker(lane: Rc<Lane>, mut caller: Caller, go: Go) {
    let mut faults_in_a_row = 0;
    while faults_in_a_row < FAULTS_IN_A_ROW_MAX {
        let Some(intended) = lane.start(&go).await else {
            return;
        };
        let Some((call, held)) = lane.next_call() else {
            return;
        };
        let sent = lane.clock.monotonic();
        let answer = caller.make(&call, held).await;
        let answered = lane.clock.monotonic();
        lane.note(
            &go.span,
            &call,
            Times {
                intended,
                sent,
                answered,
            },
            &answer,
        );
        match answer {
            Ok(Answer::Held(credits)) => lane.keep(&call, credits),
            Ok(Answer::Done | Answer::Denied) => {}
            Err(fault) => {
                faults_in_a_row += 1;
                if fault.is_uncertain() {
                    lane.remember(call, held);
                }
                continue;
            }
        }
        faults_in_a_row = 0;
    }
}

#[derive(Clone, Copy)]
struct Times {
    intended: Duration,
    sent: Duration,
    answered: Duration,
}

impl Lane {
    /// The intended start of the next call, once it has come; `None` when the run is over.
    async fn start(&self, go: &Go) -> Option<Duration> {
        let (Some(permits), Some(schedule)) = (&self.parts.permits, &go.schedule) else {
            let now = self.clock.monotonic();
            let is_over = now >= go.span.end || self.parts.stop.is_stopped();
            return (!is_over).then_some(now);
        };
        permits.acquire().await.ok()?.forget();
        let own = self.next_ticket.get();
        self.next_ticket.set(own + 1);
        let ticket = own * u64::from(self.parts.lanes) + u64::from(self.parts.index);
        Some(schedule.start(ticket))
    }

    /// What to call next, and what the reservation that it settles holds. `None`: the stock is
    /// used up, and the mix makes no reservations.
    fn next_call(&self) -> Option<(Call, u64)> {
        let operation = self.plan.mix.pick(&mut self.random.borrow_mut());
        match operation {
            Operation::Reserve => Some((self.reserve(), 0)),
            Operation::Charge | Operation::Balance => Some((
                Call {
                    operation,
                    ..self.reserve()
                },
                0,
            )),
            Operation::Commit | Operation::Release => match self.open.borrow_mut().pop_front() {
                Some(hold) => {
                    let call = Call {
                        operation,
                        account: hold.account,
                        number: hold.number,
                    };
                    Some((call, hold.credits))
                }
                None if self.parts.stock > 0 && self.plan.mix.weight(Operation::Reserve) == 0 => {
                    self.parts.stop.stop(self.clock.monotonic());
                    None
                }
                None => Some((self.reserve(), 0)),
            },
        }
    }

    fn reserve(&self) -> Call {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let account = self.plan.pick_account(&mut self.random.borrow_mut());
        Call {
            operation: Operation::Reserve,
            account,
            number,
        }
    }

    fn keep(&self, call: &Call, credits: u64) {
        let hold = Hold {
            account: call.account,
            number: call.number,
            credits,
        };
        self.open.borrow_mut().push_back(hold);
    }

    fn note(&self, span: &Span, call: &Call, times: Times, answer: &Result<Answer, Fault>) {
        let mut records = self.records.borrow_mut();
        if let Err(fault) = answer {
            records.failed(call.operation, fault);
        }
        if times.intended < span.warm {
            return;
        }
        let latency_ns = nanos(times.answered.saturating_sub(times.intended));
        records.note(
            call.operation,
            latency_ns,
            answer,
            times.answered <= span.end,
        );
        let lag_ns = nanos(times.sent.saturating_sub(times.intended));
        records.lag.saturating_record(lag_ns);
        records.begun += 1;
    }

    fn remember(&self, call: Call, held: u64) {
        let mut unresolved = self.unresolved.borrow_mut();
        if unresolved.len() < UNRESOLVED_MAX {
            unresolved.push((call, held));
        } else {
            self.forgotten.set(self.forgotten.get() + 1);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
