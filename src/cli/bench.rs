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
//! | `server`, `constant` | the server as a child process; the limit in its place |
//! | `stores`, `limits`, `scripts` | Redis and Postgres behind the server, and what bounds it |
//! | `settler` | the settler beside a bare COPY, in place of all that |
//! | `setup`, `check`, `reader` | accounts and holds before the run, the audit after it |
//! | `figures`, `allowed`, `report` | what comes out |
//!
//! It never changes what a server is configured to do, and leaves nothing behind but, with
//! `--endpoint`, the accounts that it made there.

mod allowed;
mod args;
mod caller;
mod check;
pub(super) mod constant;
mod figures;
mod lane;
mod limits;
mod load;
mod pace;
mod plan;
mod reader;
mod record;
mod report;
mod scripts;
mod server;
mod settler;
mod setup;
mod stores;
mod tally;
mod verdict;
mod wire;

use std::{sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

pub(super) use self::args::BenchArgs;
use self::{
    limits::Runs,
    plan::{Plan, PlanParts},
    report::{Found, Preparation, Report},
    server::{Kind, Server, Stand},
    setup::Helper,
    stores::Stores,
    tally::Tally,
    verdict::Calls,
};
use super::{
    client::Remote,
    exit::Exit,
    output::{Failure, Output},
};
use crate::{
    clock::{Clock, SystemClock},
    telemetry::procfs::Process,
};

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
    remote: Remote,
    pid: Option<u32>,
    /// In the order in which they end: the server, then its folder.
    own: Option<(Server, Stand)>,
}

impl Subject {
    fn resident_bytes(&self) -> Option<u64> {
        self.pid
            .and_then(|pid| Process::Other(pid).resident_bytes())
    }
}

async fn bench(args: &BenchArgs, output: Output) -> Result<Exit, Failure> {
    let clock = Arc::new(SystemClock::new());
    let remote = args.remote()?;
    let runs = runs(args, output, &clock).await?;
    if args.settler {
        return settler::measure(&runs).await;
    }
    let stand = match &remote {
        Some(_) => None,
        None => Some(Stand::new(args, Arc::clone(&clock))?),
    };
    let limits = match &stand {
        Some(stand) if args.limit => Some(runs.limits(stand).await?),
        Some(_) | None => None,
    };
    let mut subject = Subject::new(args, remote, stand).await?;
    let tally = Arc::new(Tally::new(args.accounts));
    let helper =
        Helper::connect(&subject.remote, Arc::clone(&runs.plan), Arc::clone(&tally)).await?;
    let mut preparation = prepare(&runs, &subject, &helper).await?;
    output.progress(format_args!("measuring {}", subject.remote))?;
    let (remote, pid) = (subject.remote.clone(), subject.pid);
    let mut measured = runs.server(&remote, pid, &tally).await?;
    let waiting = runs.stores.waiting(&runs.run).await?;
    let is_compared = limits.as_ref().is_some_and(|limits| limits.redis.is_some());
    let mut alone = match is_compared {
        true => Some(runs.server_alone(&remote, pid, &tally).await?),
        false => None,
    };
    preparation.resident_bytes_after = subject.resident_bytes();

    let mut lost = std::mem::take(&mut measured.unresolved);
    let mut forgotten = measured.forgotten;
    if let Some(alone) = &mut alone {
        lost.append(&mut alone.unresolved);
        forgotten += alone.forgotten;
    }
    let lost_answers = lost.len() as u64 + forgotten;
    let unresolved = check::resolve(&helper, lost).await? + forgotten;
    let mut auditor = helper;
    let mut restart = None;
    if args.restart {
        output.progress("killing the server, and starting it again on its data")?;
        restart = subject.restart().await?;
        auditor = Helper::connect(&subject.remote, Arc::clone(&runs.plan), tally).await?;
    }
    output.progress("checking the ledger")?;
    let mut checked = check::check(&auditor, args.check_accounts).await?;
    let measurements = [Some(&measured), alone.as_ref()].into_iter().flatten();
    checked.judge(&Calls {
        lost: lost_answers,
        unresolved,
        is_anothers: args.endpoint.is_some(),
        ..Calls::new(&args.mix, measurements.map(|measured| &measured.records))
    });
    let found = Found {
        measured,
        alone,
        waiting,
        restart,
    };
    let report = Report::new(args, preparation, limits.as_ref(), &found, checked)?;
    output.result(&report, |report| format!("\n{}", report.text()))?;
    Ok(if report.check.ok {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// Looks at what was asked for, and at the stores that are to be filled.
async fn runs<'a>(
    args: &'a BenchArgs,
    output: Output,
    clock: &Arc<SystemClock>,
) -> Result<Runs<'a>, Failure> {
    let parts = plan_parts(args, clock);
    let run = parts.run.clone();
    let stores = match &args.endpoint {
        Some(_) => Stores::default(),
        None => Stores::new(args)?,
    };
    if !args.fill_anyway {
        stores.check_empty(&run, clock.now()).await?;
    }
    Ok(Runs {
        args,
        output,
        plan: Arc::new(Plan::new(parts.clone())),
        parts,
        redis: stores.redis_process(&run).await,
        stores,
        run,
        clock: Arc::clone(clock),
    })
}

fn plan_parts(args: &BenchArgs, clock: &SystemClock) -> PlanParts {
    PlanParts {
        // Runs against the same server must not share accounts.
        run: format!("{:x}", clock.now().millis()),
        accounts: args.accounts,
        hot_share: args.hot_share,
        mix: args.mix,
        seed: args.seed,
        mode: args.mode.clone(),
        model: args.model.clone(),
        asked: args.asked(),
    }
}

/// Accounts and open holds, and what they take.
async fn prepare(
    runs: &Runs<'_>,
    subject: &Subject,
    helper: &Helper,
) -> Result<Preparation, Failure> {
    let (args, output) = (runs.args, runs.output);
    let redis = || runs.stores.redis_memory(&runs.run);
    let mut preparation = Preparation {
        start_up_seconds: subject
            .own
            .as_ref()
            .map(|(own, _)| own.start_up.as_secs_f64()),
        resident_bytes_at_start: subject.resident_bytes(),
        ..Preparation::default()
    };
    let start = redis().await;
    output.progress(format_args!("creating {} accounts", args.accounts))?;
    let began = runs.clock.monotonic();
    helper.create_accounts(args.pack).await?;
    helper.add_promotions(args.grants).await?;
    let took = runs.clock.monotonic().saturating_sub(began);
    preparation.accounts_seconds = took.as_secs_f64();
    preparation.resident_bytes_with_accounts = subject.resident_bytes();
    let accounts = redis().await;
    if args.open_holds > 0 {
        output.progress(format_args!(
            "placing {} holds on one account",
            args.open_holds
        ))?;
        helper.place_holds(args.open_holds).await?;
    }
    preparation.resident_bytes_with_holds = subject.resident_bytes();
    preparation.redis_bytes = [start, accounts, redis().await];
    preparation.derive(args.accounts, args.open_holds);
    Ok(preparation)
}

impl Subject {
    async fn new(
        args: &BenchArgs,
        remote: Option<Remote>,
        stand: Option<Stand>,
    ) -> Result<Self, Failure> {
        match (remote, stand) {
            (Some(remote), _) => Ok(Subject {
                remote,
                pid: args.server_pid,
                own: None,
            }),
            (None, Some(stand)) => {
                let server = stand.start(Kind::Tollgate).await?;
                Ok(Subject {
                    remote: server.remote.clone(),
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
