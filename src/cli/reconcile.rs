//! `tollgate reconcile`: checks every invariant of DESIGN.md section 7, on the ledger by itself
//! and, where a server is named, on what the server has in memory against the ledger. It changes
//! nothing.

mod live;

use serde::Serialize;

use super::{
    client::{Address, connect},
    exit::Exit,
    offline::{LedgerArgs, unreadable},
    output::{Failure, Output},
    values,
};
use crate::ledger::Finding;

/// Check that ledger and balances add up, on live data; changes nothing
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exits with 0 where everything adds up, and with 1 where something is off. The ledger is only read,
and may be in use by a server. With --endpoint every balance that the server has in memory is held
against the ledger too, at one sequence for each account.")]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Also compare with this server: host:port, http://host:port or unix:/path
    #[arg(long, value_name = "ADDRESS")]
    endpoint: Option<Address>,

    /// How long to wait for each answer of the server, e.g. 500ms, 5s
    #[arg(long, default_value = "5s", value_parser = values::duration, value_name = "DURATION")]
    timeout: std::time::Duration,

    /// The most findings to print
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u16,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    ledger: String,
    ok: bool,
    findings: Vec<Line>,
    compared: Option<live::Compared>,
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
    let compared = match &args.endpoint {
        Some(address) => {
            let channel = connect(address, args.timeout).await?;
            let compared = live::compare(channel, ledger.as_ref(), limit).await?;
            findings.extend(compared.findings.iter().cloned().map(Line::from));
            Some(compared)
        }
        None => None,
    };
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
                "{} accounts compared with the server, {} were moving too fast to compare",
                compared.accounts, compared.moving
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
