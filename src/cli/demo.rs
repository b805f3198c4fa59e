//! `tollgate demo`: two months of one account, played through real gRPC against a sidecar that
//! runs in this process, on free ports, in a temporary folder, by a clock that is set by hand.
//!
//! Every answer is compared with what the rules say; a difference is printed where it happened
//! and makes the command exit 1. It touches nothing outside its folder, which it removes, and
//! reads no variable of the environment but the one that says where temporary files go.

mod agent;
mod dispute;
mod empty;
mod ledger;
mod limits;
mod months;
mod morning;
mod play;
mod render;
mod stage;
mod words;

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use self::{
    ledger::Row,
    play::{Play, Step, Stopped},
    stage::{Folder, Stage},
};
use super::{
    exit::Exit,
    output::{Failure, Output},
};
use tokio_util::sync::CancellationToken;

use crate::{app, clock::ManualClock, domain::timestamp::Timestamp};

/// The account whose days are played.
const ACCOUNT: &str = "acme";
/// When the play begins: 2026-01-31T10:00:00Z, a day that the next month lacks.
const OPENING: Timestamp = Timestamp::from_millis(1_769_853_600_000);

/// Play two months of one account against a sidecar of its own, and check every answer
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Play on this catalogue; what differs from the one that is built in is reported
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
}

/// What a play left behind.
#[derive(Debug, Serialize)]
struct Document {
    /// Where the sidecar answered.
    grpc: String,
    /// Whether every check held.
    passed: bool,
    /// How many checks there were.
    checks: usize,
    /// How many of them did not hold.
    differences: usize,
    /// What was done, in order.
    steps: Vec<Step>,
    /// The account's ledger, oldest entry first.
    ledger: Vec<Row>,
}

/// Starts a sidecar, plays, stops it, and says what held.
pub async fn run(args: DemoArgs, output: Output) -> Result<Exit, Failure> {
    let folder = Folder::make()?;
    let clock = Arc::new(ManualClock::new(OPENING));
    let config = stage::config(&folder, args.catalog)?;
    let running = app::start(config, Arc::clone(&clock) as _).await?;
    let stage = Stage::connect(&running, clock).await?;
    let mut play = Play::default();
    let mut rows = Vec::new();
    if let Err(stopped) = perform(&mut play, &stage, &mut rows).await {
        play.stopped(stopped);
        // The ledger says how far it came.
        rows = ledger::read(&stage).await.unwrap_or_default();
    }
    if let Some(ledger) = &running.ledger {
        match ledger.audit(ledger::FINDINGS_MAX).await {
            Ok(findings) => ledger::check_audit(&mut play, &findings),
            Err(fault) => play.stopped(Stopped::new("audit", "its findings", fault)),
        }
    }
    let grpc = running.grpc_addr.to_string();
    drop(stage);
    let stopped = running.stop(&CancellationToken::new()).await;
    play.step("Stop the sidecar")
        .answer("calls finished, everything flushed")
        .expect("stopped in time", true, stopped.drained && stopped.flushed);

    let (checks, differences) = (play.checks(), play.differences());
    let passed = differences == 0;
    let steps = play.into_steps();
    let document = Document {
        grpc,
        passed,
        checks,
        differences,
        steps,
        ledger: rows,
    };
    output.result(&document, render::text)?;
    Ok(if passed { Exit::Ok } else { Exit::Failed })
}

/// The acts, in order, and then the ledger. One that stops ends the play: those after it build on
/// its balance.
async fn perform(play: &mut Play, stage: &Stage, rows: &mut Vec<Row>) -> Result<(), Stopped> {
    morning::quotes(play, stage).await?;
    morning::subscription(play, stage).await?;
    morning::chat(play, stage).await?;
    morning::lost_answer(play, stage).await?;
    agent::run(play, stage).await?;
    morning::outcomes(play, stage).await?;
    limits::crowd(play, stage).await?;
    limits::vanished_client(play, stage).await?;
    limits::short_balance(play, stage).await?;
    limits::cut_stream(play, stage).await?;
    empty::blocked(play, stage).await?;
    empty::debt(play, stage).await?;
    empty::pack(play, stage).await?;
    months::short_month(play, stage).await?;
    months::upgrade(play, stage).await?;
    months::long_month(play, stage).await?;
    dispute::conversation(play, stage).await?;
    dispute::refund(play, stage).await?;
    *rows = ledger::read(stage).await?;
    ledger::check(play, stage, rows).await
}
