//! `tollgate reconcile`: checks every invariant of DESIGN.md section 7, on the ledger by itself
//! and, where a server or a Redis is named, on the hot balances against the ledger. It changes
//! nothing but what `--repair` is given for.

mod direct;
mod live;
mod told;

use serde::Serialize;

use super::{
    client::{Address, Client, CredentialArgs},
    exit::Exit,
    offline::{LedgerArgs, Opened, unreadable},
    output::{Failure, Output},
    values,
};
use crate::{
    config::{Config, Flags},
    ledger::Finding,
};

/// Check that ledger and balances add up, on live data; changes nothing without --repair
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exits with 0 where everything adds up, and with 1 where something is off. The ledger is only read,
and may be in use by a server. With --endpoint every balance that the server has in memory is held
against the ledger, and against its own grants, at one sequence for each account; with --hot every
balance that a Redis has, and every open hold of it. A server that asks who calls wants one of the
roles support, billing and viewer, for all accounts.
--repair puts those in Redis right that differ: the ledger is the truth, open holds stay as far as
it covers them, and an entry of the kind \"repair\" says what was wrong. A server does the same by
itself where reconcile.repair is \"auto\". What was off is off: run it again to see that it is right.")]
pub(crate) struct ReconcileArgs {
    #[command(flatten)]
    ledger: LedgerArgs,

    /// Also compare with this server: host:port, https://host:port or unix:/path
    #[arg(long, value_name = "ADDRESS")]
    endpoint: Option<Address>,

    #[command(flatten)]
    redis: RedisArgs,

    /// Any key of the configuration, e.g. --set redis.tls_ca=/etc/ca.pem; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// How long to wait for each answer of the server, e.g. 500ms, 5s
    #[arg(long, default_value = "5s", value_parser = values::duration, value_name = "DURATION")]
    timeout: std::time::Duration,

    /// The most findings to print
    #[arg(long, default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,

    #[command(flatten, next_help_heading = "For the server of --endpoint")]
    credentials: CredentialArgs,
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

impl ReconcileArgs {
    /// What is configured. A flag that would be without effect is refused.
    fn config(&self) -> Result<Config, Failure> {
        let refused = |message: String| Err(Failure::new(Exit::Usage, message));
        if let Some(flag) = self.credentials.given().filter(|_| self.endpoint.is_none()) {
            return refused(format!("{flag}: no server is called without --endpoint"));
        }
        let keys = self.set.iter().filter_map(|pair| pair.split_once('='));
        if keys.map(|(key, _)| key.trim()).any(|key| key == "hot") {
            return refused("--set hot=…: --hot names the Redis to compare with".to_owned());
        }
        self.ledger.config(Flags {
            hot: self.redis.hot.clone(),
            set: self.set.clone(),
            ..Flags::default()
        })
    }
}

/// Checks, and shows what is off.
pub(crate) async fn run(args: ReconcileArgs, output: Output) -> Result<Exit, Failure> {
    let config = args.config()?;
    let client = match &args.endpoint {
        Some(address) => Some(Client::connect(address, args.timeout, &args.credentials).await?),
        None => None,
    };
    let Opened { url, ledger } = Opened::new(&config).await?;
    let limit = usize::from(args.limit);
    let found = ledger
        .audit(limit)
        .await
        .map_err(|error| unreadable(&url, &error))?;
    let mut findings: Vec<Line> = found.into_iter().map(Line::from).collect();
    let compared = match (&client, &args.redis.hot) {
        (Some(client), _) => Some(live::compare(client, ledger.as_ref(), limit).await?),
        (None, Some(_)) => {
            let hot = direct::open(&config, args.timeout, ledger.as_ref()).await?;
            let repair = args.redis.repair;
            Some(direct::compare(hot.as_ref(), repair, ledger.as_ref(), limit).await?)
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
