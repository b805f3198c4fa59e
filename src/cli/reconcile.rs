//! `tollgate reconcile`: checks every invariant of DESIGN.md section 7, on the ledger by itself
//! and, where a server or a Redis is named, on the hot balances against the ledger. It changes
//! nothing but what `--repair` is given for.

mod direct;
mod live;
mod told;

use serde::Serialize;

use super::{
    client::{Address, connect},
    exit::Exit,
    offline::{LedgerArgs, unreadable},
    output::{Failure, Output},
    values,
};
use crate::ledger::Finding;

/// Check that ledger and balances add up, on live data; changes nothing without --repair
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exits with 0 where everything adds up, and with 1 where something is off. The ledger is only read,
and may be in use by a server. With --endpoint every balance that the server has in memory is held
against the ledger, and against its own grants, at one sequence for each account; with --hot every
balance that a Redis has, and every open hold of it.
--repair puts those in Redis right that differ: the ledger is the truth, open holds stay as far as
it covers them, and an entry of the kind \"repair\" says what was wrong. A server does the same by
itself where reconcile.repair is \"auto\". What was off is off: run it again to see that it is right.")]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Also compare with this server: host:port, http://host:port or unix:/path
    #[arg(long, value_name = "ADDRESS")]
    endpoint: Option<Address>,

    #[command(flatten)]
    redis: RedisArgs,

    /// How long to wait for each answer of the server, e.g. 500ms, 5s
    #[arg(long, default_value = "5s", value_parser = values::duration, value_name = "DURATION")]
    timeout: std::time::Duration,

    /// The most findings to print
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u16,
}

/// Which Redis.
#[derive(Clone, Debug, clap::Args)]
struct RedisArgs {
    /// Also compare with this Redis: redis://HOST:PORT and its kin
    #[arg(long, value_name = "URL", conflicts_with = "endpoint")]
    hot: Option<String>,

    /// Put right what differs in Redis
    #[arg(long, requires = "hot")]
    repair: bool,

    /// Any key of the configuration, e.g. --set redis.tls_ca=/etc/ca.pem; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What was compared.
#[derive(Debug, Default, Serialize)]
struct Compared {
    /// Accounts at one sequence in both.
    accounts: usize,
    /// Accounts that changed too fast to be seen at one sequence.
    moving: usize,
    /// Accounts that differed and were put right.
    repaired: usize,
    /// What is off.
    #[serde(skip)]
    findings: Vec<Finding>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    ledger: String,
    ok: bool,
    findings: Vec<Line>,
    compared: Option<Compared>,
}

/// One thing that is off.
#[derive(Debug, Serialize)]
struct Line {
    account: Option<String>,
    invariant: u8,
    detail: String,
}

/// Checks, and shows what is off.
pub(crate) async fn run(args: ReconcileArgs, output: Output) -> Result<Exit, Failure> {
    let url = args.ledger.url()?;
    let ledger = args.ledger.open().await?;
    let limit = usize::from(args.limit);
    let found = ledger
        .audit(limit)
        .await
        .map_err(|error| unreadable(&url, &error))?;
    let mut findings: Vec<Line> = found.into_iter().map(Line::from).collect();
    let compared = match (&args.endpoint, &args.redis.hot) {
        (Some(address), _) => {
            let channel = connect(address, args.timeout).await?;
            Some(live::compare(channel, ledger.as_ref(), limit).await?)
        }
        (None, Some(_)) => {
            Some(direct::compare(&args.redis, args.timeout, ledger.as_ref(), limit).await?)
        }
        (None, None) => None,
    };
    let off = compared.iter().flat_map(|compared| &compared.findings);
    findings.extend(off.cloned().map(Line::from));
    let report = Report {
        ledger: url.to_string(),
        ok: findings.is_empty(),
        findings,
        compared,
    };
    let exit = if report.ok { Exit::Ok } else { Exit::Failed };
    output.result(&report, Report::text)?;
    Ok(exit)
}

impl From<Finding> for Line {
    fn from(finding: Finding) -> Self {
        Line {
            account: finding.account_id.map(|id| id.to_string()),
            invariant: finding.invariant,
            detail: finding.detail,
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for line in &self.findings {
            let account = line.account.as_deref().unwrap_or("-");
            lines.push(format!(
                "invariant {}  {account}: {}",
                line.invariant, line.detail
            ));
        }
        if let Some(compared) = &self.compared {
            lines.push(format!(
                "{} accounts compared with the balances, {} were moving too fast to compare, {} \
                 were put right",
                compared.accounts, compared.moving, compared.repaired
            ));
        }
        lines.push(match self.findings.len() {
            0 => format!("{}: everything adds up", self.ledger),
            1 => format!("{}: 1 thing is off", self.ledger),
            more => format!("{}: {more} things are off", self.ledger),
        });
        lines.join("\n")
    }
}
