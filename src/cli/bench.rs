//! `tollgate bench`: a load generator that tells the truth about latency, and an auditor that
//! checks afterwards that the ledger adds up to what was answered.
//!
//! | part | what it does |
//! |---|---|
//! | `args` | what can be told |
//! | `plan` | which call comes next and what is in it, from the seed |
//! | `pace` | when calls start: open loop and closed loop |
//! | `load`, `lane`, `caller`, `wire` | the calls themselves: one thread a core, without locks |
//! | `record`, `tally` | what was measured, and what was answered |
//! | `server`, `constant`, `process` | the server as a child process; the limit in its place |
//! | `setup`, `check`, `reader` | accounts and holds before the run, the audit after it |
//! | `figures`, `report` | what comes out |
//!
//! It never changes what a server is configured to do, and leaves nothing behind but, with
//! `--endpoint`, the accounts that it made there.

mod args;
mod caller;
mod check;
pub(super) mod constant;
mod figures;
mod lane;
mod load;
mod pace;
mod plan;
mod process;
mod reader;
mod record;
mod report;
mod server;
mod setup;
mod tally;
mod wire;

use std::{sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

pub(super) use self::args::BenchArgs;
use self::{
    load::{Load, Measured},
    plan::{Plan, PlanParts},
    report::{Preparation, Report},
    server::{Kind, Server, Stand},
    setup::Helper,
    tally::Tally,
};
use super::{
    client::Address,
    exit::Exit,
    output::{Failure, Output},
};
use crate::clock::{Clock, SystemClock};

/// Before the server is killed for `--restart`: longer than the interval in which holds that
/// nobody waits for are written.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Runs it, until it is done or somebody loses patience; the server ends in either case.
pub(super) async fn run(args: BenchArgs, output: Output) -> Result<Exit, Failure> {
    let internal = |error: std::io::Error| Failure::new(Exit::Internal, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let interrupted = || {
        Err(Failure::new(
            Exit::Failed,
            "interrupted: there are no figures",
        ))
    };
    tokio::select! {
        ended = bench(&args, output) => ended,
        _ = terminate.recv() => interrupted(),
        _ = interrupt.recv() => interrupted(),
    }
}

/// The server that is measured, and how it could be started again.
struct Subject {
    endpoint: Address,
    pid: Option<u32>,
    /// In the order in which they end: the server, then its folder.
    own: Option<(Server, Stand)>,
}

async fn bench(args: &BenchArgs, output: Output) -> Result<Exit, Failure> {
    let clock = Arc::new(SystemClock::new());
    let plan = Arc::new(plan(args, &clock));
    let stand = match &args.endpoint {
        Some(_) => None,
        None => Some(own_stand(args, &clock)?),
    };
    let limit = match &stand {
        Some(stand) if args.limit => Some(measure_limit(args, output, stand, &plan, &clock).await?),
        Some(_) | None => None,
    };
    let mut subject = Subject::new(args, stand).await?;
    let tally = Arc::new(Tally::new(args.accounts));
    let helper = Helper::connect(&subject.endpoint, Arc::clone(&plan), Arc::clone(&tally)).await?;
    let mut preparation = prepare(args, output, &subject, &helper, &clock).await?;
    output.progress(format_args!("measuring {}", subject.endpoint))?;
    let load = Arc::new(load(args, &subject.endpoint, &plan, &tally, &clock));
    let mut measured = load::run(load, subject.pid).await?;
    some_time(&measured)?;
    preparation.resident_bytes_after = subject.pid.and_then(process::resident_bytes);

    let lost = std::mem::take(&mut measured.unresolved);
    let lost_answers = lost.len() as u64 + measured.forgotten;
    let unresolved = check::resolve(&helper, lost).await? + measured.forgotten;
    let mut auditor = helper;
    let mut restart = None;
    if args.restart {
        output.progress("killing the server, and starting it again on its data")?;
        restart = subject.restart().await?;
        auditor = Helper::connect(&subject.endpoint, plan, tally).await?;
    }
    output.progress("checking the ledger")?;
    let mut checked = check::check(&auditor, args.check_accounts).await?;
    checked.lost_answers = lost_answers;
    checked.unresolved = unresolved;
    checked.ok = checked.problems == 0 && unresolved == 0 && checked.accounts_checked > 0;
    let report = Report::new(
        args,
        preparation,
        limit.as_ref(),
        &measured,
        restart,
        checked,
    )?;
    output.result(&report, |report| format!("\n{}", report.text()))?;
    Ok(if report.check.ok {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

fn plan(args: &BenchArgs, clock: &SystemClock) -> Plan {
    Plan::new(PlanParts {
        // Runs against the same server must not share accounts.
        run: format!("{:x}", clock.now().millis()),
        accounts: args.accounts,
        hot_share: args.hot_share,
        mix: args.mix,
        seed: args.seed,
        mode: args.mode.clone(),
        model: args.model.clone(),
        asked: args.asked(),
    })
}

fn own_stand(args: &BenchArgs, clock: &Arc<SystemClock>) -> Result<Stand, Failure> {
    let parent = args.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    Stand::new(
        &parent,
        args.unix_socket,
        args.set.clone(),
        Arc::clone(clock),
    )
}

fn load(
    args: &BenchArgs,
    endpoint: &Address,
    plan: &Arc<Plan>,
    tally: &Arc<Tally>,
    clock: &Arc<SystemClock>,
) -> Load {
    Load {
        endpoint: endpoint.clone(),
        plan: Arc::clone(plan),
        tally: Arc::clone(tally),
        pace: args.pace(),
        connections: args.connections(),
        warm_up: args.warm_up,
        duration: args.duration,
        stock: args.stock,
        clock: Arc::clone(clock),
    }
}

/// The same load on the server that answers a constant. Its answers mean nothing, so none is
/// summed up.
async fn measure_limit(
    args: &BenchArgs,
    output: Output,
    stand: &Stand,
    plan: &Arc<Plan>,
    clock: &Arc<SystemClock>,
) -> Result<Measured, Failure> {
    let server = stand.start(Kind::Constant).await?;
    output.progress(format_args!("measuring the limit on {}", server.endpoint))?;
    let tally = Arc::new(Tally::new(0));
    let load = Arc::new(load(args, &server.endpoint, plan, &tally, clock));
    let measured = load::run(load, Some(server.pid())).await?;
    some_time(&measured)?;
    Ok(measured)
}

/// A stock that was used up before the measured time began leaves nothing to report.
fn some_time(measured: &Measured) -> Result<(), Failure> {
    if measured.window.is_zero() {
        let message = "--stock was used up before the measured time began";
        return Err(
            Failure::new(Exit::Usage, message).hint("a larger --stock, or a shorter --warm-up")
        );
    }
    Ok(())
}

/// Accounts and open holds, and what they take.
async fn prepare(
    args: &BenchArgs,
    output: Output,
    subject: &Subject,
    helper: &Helper,
    clock: &SystemClock,
) -> Result<Preparation, Failure> {
    let resident = || subject.pid.and_then(process::resident_bytes);
    let mut preparation = Preparation {
        start_up_seconds: subject
            .own
            .as_ref()
            .map(|(own, _)| own.start_up.as_secs_f64()),
        resident_bytes_at_start: resident(),
        ..Preparation::default()
    };
    output.progress(format_args!("creating {} accounts", args.accounts))?;
    let began = clock.monotonic();
    helper.create_accounts(args.pack).await?;
    let took = clock.monotonic().saturating_sub(began);
    preparation.accounts_seconds = took.as_secs_f64();
    preparation.resident_bytes_with_accounts = resident();
    if args.open_holds > 0 {
        output.progress(format_args!(
            "placing {} holds on one account",
            args.open_holds
        ))?;
        helper.place_holds(args.open_holds).await?;
    }
    preparation.resident_bytes_with_holds = resident();
    preparation.derive(args.accounts, args.open_holds);
    Ok(preparation)
}

impl Subject {
    async fn new(args: &BenchArgs, stand: Option<Stand>) -> Result<Self, Failure> {
        match (&args.endpoint, stand) {
            (Some(endpoint), _) => Ok(Subject {
                endpoint: endpoint.clone(),
                pid: args.server_pid,
                own: None,
            }),
            (None, Some(stand)) => {
                let server = stand.start(Kind::Tollgate).await?;
                Ok(Subject {
                    endpoint: server.endpoint.clone(),
                    pid: Some(server.pid()),
                    own: Some((server, stand)),
                })
            }
            (None, None) => Err(Failure::new(Exit::Internal, "no server to measure")),
        }
    }

    /// Kills the own server, starts it again, and says how long it took to answer.
    async fn restart(&mut self) -> Result<Option<Duration>, Failure> {
        let Some((server, stand)) = self.own.take() else {
            return Ok(None);
        };
        tokio::time::sleep(FLUSH_WAIT).await;
        drop(server);
        let server = stand.start(Kind::Tollgate).await?;
        let start_up = server.start_up;
        self.pid = Some(server.pid());
        self.own = Some((server, stand));
        Ok(Some(start_up))
    }
}
