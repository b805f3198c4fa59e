//! Runs the load: starts the lanes, gives them one common start, and gathers what they measured.

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::{Semaphore, oneshot};

use super::{
    lane::{self, Go, LaneResult, LaneSpec},
    pace::{self, Pace, Schedule, Span, Stop},
    plan::{Call, Plan},
    record::Records,
    scripts::Commands,
    tally::Tally,
};
use crate::{
    cli::{client::Remote, exit::Exit, output::Failure},
    clock::{Clock, SystemClock},
    hot::redis::RedisOptions,
    telemetry::procfs::Process,
};

/// The most calls in flight in an open loop. Later ones wait, and the waiting is measured.
pub(super) const OPEN_IN_FLIGHT_MAX: usize = 1_024;
/// From the moment that all lanes are ready to the first call.
const LEAD: Duration = Duration::from_millis(20);
/// How long the last answers are waited for.
const DRAIN: Duration = Duration::from_secs(15);

/// Who gets the calls.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A server.
    Server(Remote),
    /// Redis itself, by scripts that run on keys of their own.
    Scripts {
        /// How it is reached.
        options: Box<RedisOptions>,
        /// Sets the keys apart.
        run: String,
        /// The calls, as the hot store gets them.
        commands: Arc<Commands>,
    },
}

/// What to run against whom.
#[derive(Debug)]
pub(super) struct Load {
    /// Who gets the calls.
    pub(super) target: Target,
    /// Which run of this plan it is, from 0: no two use the same ids.
    pub(super) round: u32,
    /// The calls.
    pub(super) plan: Arc<Plan>,
    /// Where the answers are summed.
    pub(super) tally: Arc<Tally>,
    /// How the calls follow each other.
    pub(super) pace: Pace,
    /// How many connections they are spread over.
    pub(super) connections: usize,
    /// Calls that start in the first so long are not measured.
    pub(super) warm_up: Duration,
    /// How long is measured.
    pub(super) duration: Duration,
    /// Reservations to make beforehand, for the run to settle.
    pub(super) stock: u64,
    /// The time.
    pub(super) clock: Arc<SystemClock>,
}

/// What came of a run.
pub(super) struct Measured {
    /// Latencies, denials and errors.
    pub(super) records: Records,
    /// How long was measured.
    pub(super) window: Duration,
    /// Calls of an open loop that were due and never begun.
    pub(super) unsent: u64,
    /// The server's processor time within the measured time, where its process is known.
    pub(super) server_cpu: Option<Duration>,
    /// The load generator's own.
    pub(super) client_cpu: Option<Duration>,
    /// That of the Redis behind the server, where its process is known.
    pub(super) store_cpu: Option<Duration>,
    /// Calls whose answer got lost, with what the reservation held.
    pub(super) unresolved: Vec<(Call, u64)>,
    /// Such calls beyond those that are kept.
    pub(super) forgotten: u64,
}

/// The processes whose time is looked at, where they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Processes {
    /// The server.
    pub(super) server: Option<u32>,
    /// The Redis behind it.
    pub(super) store: Option<u32>,
}

/// Runs the load once.
pub(super) async fn run(load: Arc<Load>, processes: Processes) -> Result<Measured, Failure> {
    let stop = Arc::new(Stop::new());
    // Whatever ends this future ends the lanes.
    let _guard = StopOnDrop {
        stop: Arc::clone(&stop),
        clock: Arc::clone(&load.clock),
    };
    let started = start_lanes(&load, &stop)?;
    for ready in started.ready {
        ready.await.map_err(|_| lane_lost())??;
    }
    let start = load.clock.monotonic() + LEAD;
    let warm = start + load.warm_up;
    let span = Span {
        start,
        warm,
        end: warm + load.duration,
    };
    let schedule = match load.pace {
        Pace::Open { per_second } => Some(Schedule::new(span, per_second)),
        Pace::Closed { .. } => None,
    };
    for go in started.go {
        go.send(Go { span, schedule }).map_err(|_| lane_lost())?;
    }
    if let Some(schedule) = schedule {
        let clock = Arc::clone(&load.clock);
        pace::spawn(schedule, started.permits, clock, Arc::clone(&stop)).map_err(|error| {
            Failure::new(Exit::Internal, format!("starting the pacer: {error}"))
        })?;
    }
    let mut finished = tokio::spawn(gather(started.done));
    let before = sample_at(span.warm, &load.clock, processes).await;
    let mut results = None;
    let after = tokio::select! {
        gathered = &mut finished => {
            results = Some(gathered);
            Sample::take(processes)
        }
        after = sample_at(span.end, &load.clock, processes) => after,
    };
    let results = match results {
        Some(results) => results,
        None => tokio::time::timeout(DRAIN, finished).await.map_err(|_| {
            let message = format!(
                "calls without an answer {} s after the end",
                DRAIN.as_secs()
            );
            Failure::new(Exit::Unavailable, message)
        })?,
    };
    let results = results.map_err(|_| lane_lost())??;
    let window = stop.at(span.end).saturating_sub(span.warm);
    let due = schedule.map(|schedule| schedule.before(span.end) - schedule.before(span.warm));
    measured(results, window, due, &before, &after)
}

fn measured(
    lanes: Vec<LaneResult>,
    window: Duration,
    due: Option<u64>,
    before: &Sample,
    after: &Sample,
) -> Result<Measured, Failure> {
    let mut records = Records::new()?;
    let mut unresolved = Vec::new();
    let mut forgotten = 0;
    for lane in lanes {
        records.add(&lane.records)?;
        unresolved.extend(lane.unresolved);
        forgotten += lane.forgotten;
    }
    Ok(Measured {
        unsent: due.map_or(0, |due| due.saturating_sub(records.begun)),
        records,
        window,
        server_cpu: elapsed(before.server, after.server),
        client_cpu: elapsed(before.client, after.client),
        store_cpu: elapsed(before.store, after.store),
        unresolved,
        forgotten,
    })
}

/// The ends of the lanes' wires that are held here.
struct Started {
    ready: Vec<oneshot::Receiver<Result<(), Failure>>>,
    go: Vec<oneshot::Sender<Go>>,
    done: Vec<oneshot::Receiver<LaneResult>>,
    permits: Vec<Arc<Semaphore>>,
}

/// One lane for each core, or for each connection where those are fewer.
fn start_lanes(load: &Arc<Load>, stop: &Arc<Stop>) -> Result<Started, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = match load.pace {
        Pace::Open { .. } => OPEN_IN_FLIGHT_MAX,
        Pace::Closed { in_flight } => in_flight,
    };
    let lanes = cores.min(load.connections).min(workers).max(1);
    let mut started = Started {
        ready: Vec::new(),
        go: Vec::new(),
        done: Vec::new(),
        permits: Vec::new(),
    };
    for index in 0..lanes {
        let (ready, is_ready) = oneshot::channel();
        let (go, goes) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let permits = match load.pace {
            Pace::Open { .. } => Some(Arc::new(Semaphore::new(0))),
            Pace::Closed { .. } => None,
        };
        started.permits.extend(permits.clone());
        let spec = LaneSpec {
            index: u32::try_from(index).unwrap_or(0),
            lanes: u32::try_from(lanes).unwrap_or(1),
            connections: share(load.connections, lanes, index),
            workers: share(workers, lanes, index),
            stock: load.stock / lanes as u64,
            permits,
            load: Arc::clone(load),
            stop: Arc::clone(stop),
            ready,
            go: goes,
            done,
        };
        thread::Builder::new()
            .name(format!("lane-{index}"))
            .spawn(move || lane::run(spec))
            .map_err(|error| Failure::new(Exit::Internal, format!("starting a lane: {error}")))?;
        started.ready.push(is_ready);
        started.go.push(go);
        started.done.push(is_done);
    }
    Ok(started)
}

/// The part of `whole` that the `index`-th of so many gets; the first ones get what is left over.
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

async fn gather(done: Vec<oneshot::Receiver<LaneResult>>) -> Result<Vec<LaneResult>, Failure> {
    let mut results = Vec::with_capacity(done.len());
    for lane in done {
        results.push(lane.await.map_err(|_| lane_lost())?);
    }
    Ok(results)
}

fn lane_lost() -> Failure {
    Failure::new(
        Exit::Internal,
        "a thread of the load generator ended before its time",
    )
}

/// Processor time at one moment.
struct Sample {
    server: Option<Duration>,
    client: Option<Duration>,
    store: Option<Duration>,
}

impl Sample {
    fn take(processes: Processes) -> Self {
        let cpu_time = |pid| Process::Other(pid).cpu_time();
        Sample {
            server: processes.server.and_then(cpu_time),
            client: Process::Own.cpu_time(),
            store: processes.store.and_then(cpu_time),
        }
    }
}

async fn sample_at(instant: Duration, clock: &SystemClock, processes: Processes) -> Sample {
    tokio::time::sleep(instant.saturating_sub(clock.monotonic())).await;
    Sample::take(processes)
}

fn elapsed(before: Option<Duration>, after: Option<Duration>) -> Option<Duration> {
    Some(after?.saturating_sub(before?))
}

struct StopOnDrop {
    stop: Arc<Stop>,
    clock: Arc<SystemClock>,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.stop.stop(self.clock.monotonic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (whole, parts) in [(64, 2), (7, 3), (2, 5), (0, 1)] {
            let sum: usize = (0..parts).map(|index| share(whole, parts, index)).sum();
            assert_eq!(sum, whole, "{whole} in {parts}");
        }
    }
}
