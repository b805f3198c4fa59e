//! What `tollgate bench` can be told.

use std::{path::PathBuf, time::Duration};

use super::{
    pace::Pace,
    plan::{Asked, Mix},
};
use crate::{
    cli::{
        client::{Address, CredentialArgs, Remote},
        exit::Exit,
        output::Failure,
        values,
    },
    domain::credits::MAX_CREDITS,
    pb,
};

/// Calls in flight where neither a rate nor a number is given.
const IN_FLIGHT: usize = 64;
/// The longest run.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// The worked example of the rate card: 18 credits in agent mode with a standard model.
const ESTIMATE: &str = "input_tokens=12400,cached_input_tokens=30000,output_tokens=1850,\
                        tool_calls=7,file_operations=9";

/// Load a server, and check afterwards that its ledger adds up to what it answered
///
/// Without --endpoint it starts a server of its own, as a child process on free ports, with its
/// data in a temporary folder, and ends it afterwards. With --rate the loop is open: every start
/// is fixed beforehand and latency counts from there, so that a server that falls behind can't
/// hide it. Exits 1 where the ledger does not add up, and where the load was not done: calls were refused,
/// or nothing was settled. What is denied is no throughput.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct BenchArgs {
    /// A running server to load instead: host:port, https://host:port or unix:/path. One that asks
    /// who calls wants the roles gateway and billing, for all accounts
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["unix_socket", "data_dir", "set", "limit", "restart", "hot", "ledger", "fill_anyway", "settler"])]
    pub(super) endpoint: Option<Address>,

    /// The process of that server, for its processor time and memory
    #[arg(long, value_name = "PID", requires = "endpoint")]
    pub(super) server_pid: Option<u32>,

    /// Where the own server keeps the hot balances: a Redis that may be filled, redis://HOST:PORT
    /// and its kin. With --limit its scripts are measured too [default: the server's memory]
    #[arg(long, value_name = "URL")]
    pub(super) hot: Option<String>,

    /// Where the own server keeps the ledger: one that may be filled, sqlite://PATH or
    /// postgres://USER@HOST:PORT/DATABASE [default: SQLite in the temporary folder]
    #[arg(long, value_name = "URL")]
    pub(super) ledger: Option<String>,

    /// Fill that Redis and that ledger though there is something in them
    #[arg(long)]
    pub(super) fill_anyway: bool,

    /// Call the own server over a Unix socket instead of TCP
    #[arg(long)]
    pub(super) unix_socket: bool,

    /// Where the own server's temporary folder is made [default: the system's]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data_dir: Option<PathBuf>,

    /// Any key of the own server's configuration, e.g. --set settle.ack=hot; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,

    /// Calls a second, whatever the answers do (an open loop)
    #[arg(long, value_name = "CALLS", conflicts_with = "in_flight", value_parser = rate)]
    rate: Option<f64>,

    /// Calls in flight at any time (a closed loop) [default: 64]
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: Option<u32>,

    /// How long is measured, e.g. 500ms, 10s, 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,

    /// How long calls are made before that
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration_or_none)]
    pub(super) warm_up: Duration,

    /// Connections that the calls are spread over
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,

    /// Accounts, created beforehand
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) accounts: u32,

    /// Give each account a pack besides its plan
    #[arg(long)]
    pub(super) pack: bool,

    /// The share of the calls that go to one account, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(super) hot_share: f64,

    /// How often each operation is called, as weights: reserve, commit, release, charge, balance.
    /// A commit or release settles an earlier reserve; where none is open, a reserve is made
    #[arg(long, value_name = "WEIGHTS", default_value = "reserve=1,commit=1")]
    pub(super) mix: Mix,

    /// Reservations to make before the measured time, for it to settle; with no reserve in the
    /// mix it ends when they are used up
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    pub(super) stock: u64,

    /// Holds to place on the first account before the run, and to leave open
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub(super) open_holds: u32,

    /// Promotions to give the first account besides, so that it has many grants
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=200))]
    pub(super) grants: u32,

    /// What is reserved and charged, as quantities that are priced
    #[arg(long, value_name = "METER=NUMBER,…", default_value = ESTIMATE, value_parser = usage)]
    usage: pb::Usage,

    /// What is reserved and charged, in credits, priced by nobody
    #[arg(long, conflicts_with = "usage", value_parser = clap::value_parser!(u64).range(1..=MAX_CREDITS))]
    credits: Option<u64>,

    /// The mode of every action
    #[arg(long, default_value = "agent")]
    pub(super) mode: String,

    /// The model of every action
    #[arg(long, default_value = "claude-sonnet-4-5")]
    pub(super) model: String,

    /// Where the random choices start from
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,

    /// First measure the same server answering a constant, and print every figure as a ratio to
    /// it, but for the calls a second of --rate; with --hot redis:// also the bare scripts, and one call at a time
    #[arg(long)]
    pub(super) limit: bool,

    /// Measure the settler instead, on the --ledger: entries a second beside a bare COPY of the
    /// same rows into the same database
    #[arg(long, requires = "ledger", conflicts_with_all = ["limit", "restart"])]
    pub(super) settler: bool,

    /// After the run kill the server, start it again on its data, say how long that took, and
    /// check the ledger there
    #[arg(long)]
    pub(super) restart: bool,

    /// The most accounts that are checked at the end, one after the other
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) check_accounts: u32,

    #[command(flatten, next_help_heading = "For the server of --endpoint")]
    credentials: CredentialArgs,
}

impl BenchArgs {
    /// The server of `--endpoint`, with who calls it; `None`: an own one is measured. A flag that would
    /// be without effect is refused.
    pub(super) fn remote(&self) -> Result<Option<Remote>, Failure> {
        match (&self.endpoint, self.credentials.given()) {
            (Some(address), _) => Remote::new(address, &self.credentials).map(Some),
            (None, Some(flag)) => Err(Failure::new(
                Exit::Usage,
                format!("{flag}: the own server asks nobody who calls; --endpoint names another"),
            )),
            (None, None) => Ok(None),
        }
    }

    /// How the calls follow each other.
    pub(super) fn pace(&self) -> Pace {
        match (self.rate, self.in_flight) {
            (Some(per_second), _) => Pace::Open { per_second },
            (None, given) => Pace::Closed {
                in_flight: given
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(IN_FLIGHT),
            },
        }
    }

    /// What is reserved and charged.
    pub(super) fn asked(&self) -> Asked {
        match self.credits {
            Some(credits) => Asked::Credits(credits),
            None => Asked::Usage(self.usage.clone()),
        }
    }

    /// Connections.
    pub(super) fn connections(&self) -> usize {
        usize::try_from(self.connections).unwrap_or(1)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text
        .parse()
        .map_err(|_| "a number of calls a second".to_owned())?;
    match (0.1..=10_000_000.0).contains(&rate) {
        true => Ok(rate),
        false => Err("from 0.1 to 10000000 calls a second".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let accepted = || "a share from 0 to 1".to_owned();
    let share: f64 = text.parse().map_err(|_| accepted())?;
    (0.0..=1.0)
        .contains(&share)
        .then_some(share)
        .ok_or_else(accepted)
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    (duration <= DURATION_MAX)
        .then_some(duration)
        .ok_or_else(|| "at most an hour".to_owned())
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

fn usage(text: &str) -> Result<pb::Usage, String> {
    let mut usage = pb::Usage::default();
    for part in text.split(',') {
        let (meter, number) = values::quantity(part.trim())?;
        match meter.as_str() {
            "input_tokens" => usage.input_tokens = number,
            "cached_input_tokens" => usage.cached_input_tokens = number,
            "output_tokens" => usage.output_tokens = number,
            "tool_calls" => usage.tool_calls = number,
            "file_operations" => usage.file_operations = number,
            "build_seconds" => usage.build_seconds = number,
            _ => {
                usage.custom.insert(meter, number);
            }
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_usages_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration_or_none("0s"), Ok(Duration::ZERO));
        for text in ["", "10", "0s", "61m", "2h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        let read = usage("output_tokens=5, gpu_seconds=2").unwrap();
        assert_eq!(
            (read.output_tokens, read.custom.get("gpu_seconds")),
            (5, Some(&2))
        );
        assert!(usage("output_tokens").is_err());
        assert!(usage("output_tokens=x").is_err());
        assert_eq!(usage(ESTIMATE).unwrap().file_operations, 9);
    }

    #[test]
    fn rates_and_shares_have_bounds() {
        assert_eq!(rate("2500"), Ok(2_500.0));
        assert_eq!(share("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["-0.1", "1.1", "NaN", "x"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
