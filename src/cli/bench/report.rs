//! The figures as people and machines read them. Nothing is measured here.

use std::time::Duration;

use serde::Serialize;

use super::{
    allowed::Allowed,
    args::BenchArgs,
    check::Checked,
    figures::{Figures, OperationFigures, Ratio, ratios},
    limits::Limits,
    load::Measured,
    pace::Pace,
};
use crate::cli::output::{Column, Failure, table};

/// Fewer accounts or holds than this say nothing of what one of them takes.
const EACH_MIN: u32 = 1_000;

/// What the runs on the server came to.
pub(super) struct Found {
    /// Under the load.
    pub(super) measured: Measured,
    /// With one call in flight, where that is compared.
    pub(super) alone: Option<Measured>,
    /// Records that waited for the ledger right after the load.
    pub(super) waiting: Option<u64>,
    /// How long the server took to start again.
    pub(super) restart: Option<Duration>,
}

/// Everything that is reported.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    load: Settings,
    preparation: Preparation,
    /// The constant server's figures, with `--limit`.
    limit: Option<Figures>,
    tollgate: Figures,
    /// Tollgate's figures over the limit's, with `--limit`.
    ratios: Option<Vec<Ratio>>,
    /// What the limits allow, with `--limit` and hot balances in Redis.
    allowed: Option<Allowed>,
    /// Records that waited for the ledger at the end of the measured time, with a Redis.
    waiting: Option<u64>,
    /// From the start to the first answer with all data, with `--restart`.
    restart_seconds: Option<f64>,
    /// Whether the ledger adds up.
    pub(super) check: Checked,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
struct Settings {
    rate: Option<f64>,
    in_flight: Option<usize>,
    seconds: f64,
    warm_up_seconds: f64,
    connections: usize,
    accounts: u32,
    hot_share: f64,
    open_holds: u32,
    grants: u32,
    seed: u64,
}

/// What it took to get there, in seconds and in bytes of the server's resident memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Preparation {
    /// From the server's start to its first answer.
    pub(super) start_up_seconds: Option<f64>,
    /// Creating the accounts.
    pub(super) accounts_seconds: f64,
    /// Before there was an account.
    pub(super) resident_bytes_at_start: Option<u64>,
    /// With all accounts.
    pub(super) resident_bytes_with_accounts: Option<u64>,
    /// With the open holds.
    pub(super) resident_bytes_with_holds: Option<u64>,
    /// After the run.
    pub(super) resident_bytes_after: Option<u64>,
    /// What an account takes.
    pub(super) bytes_per_account: Option<u64>,
    /// What an open hold takes.
    pub(super) bytes_per_hold: Option<u64>,
    /// By Redis's own count: before there was an account, with all accounts, with the open holds.
    pub(super) redis_bytes: [Option<u64>; 3],
    /// What an account takes there.
    pub(super) redis_bytes_per_account: Option<u64>,
    /// What an open hold takes there.
    pub(super) redis_bytes_per_hold: Option<u64>,
}

impl Preparation {
    /// Derives the bytes for each account and hold.
    pub(super) fn derive(&mut self, accounts: u32, holds: u32) {
        let each = |before: Option<u64>, after: Option<u64>, number: u32| {
            let grown = after?.checked_sub(before?)?;
            (number >= EACH_MIN).then(|| grown / u64::from(number))
        };
        let (start, accounted) = (
            self.resident_bytes_at_start,
            self.resident_bytes_with_accounts,
        );
        self.bytes_per_account = each(start, accounted, accounts);
        self.bytes_per_hold = each(accounted, self.resident_bytes_with_holds, holds);
        let [start, accounted, held] = self.redis_bytes;
        self.redis_bytes_per_account = each(start, accounted, accounts);
        self.redis_bytes_per_hold = each(accounted, held, holds);
    }
}

impl Report {
    /// Puts the figures together.
    pub(super) fn new(
        args: &BenchArgs,
        preparation: Preparation,
        limits: Option<&Limits>,
        found: &Found,
        check: Checked,
    ) -> Result<Self, Failure> {
        let limit = limits.map(|limits| Figures::new(&limits.constant));
        let limit = limit.transpose()?;
        let tollgate = Figures::new(&found.measured)?;
        let redis = limits.and_then(|limits| limits.redis.as_ref());
        let allowed = match (redis, &limit, &found.alone) {
            (Some(redis), Some(constant), Some(alone)) => {
                let pace = args.pace();
                Some(Allowed::new(redis, constant, &tollgate, alone, pace)?)
            }
            _ => None,
        };
        Ok(Report {
            load: Settings::new(args),
            preparation,
            ratios: limit
                .as_ref()
                .map(|limit| ratios(limit, &tollgate, args.pace())),
            allowed,
            waiting: found.waiting,
            limit,
            tollgate,
            restart_seconds: found.restart.map(|took| took.as_secs_f64()),
            check,
        })
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![self.tollgate.text("tollgate")];
        if let Some(limit) = &self.limit {
            parts.insert(0, limit.text("limit (the same server, constant answers)"));
        }
        if let Some(allowed) = &self.allowed {
            parts.insert(1, allowed.scripts.text("limit (the scripts alone)"));
        }
        parts.push(self.preparation.text());
        if let Some(seconds) = self.restart_seconds {
            parts.push(format!(
                "killed, and started again on its data in {seconds:.2} s"
            ));
        }
        if let (Some(limit), Some(ratios)) = (&self.limit, &self.ratios) {
            let is_open = self.load.rate.is_some();
            parts.push(comparison(limit, &self.tollgate, ratios, is_open));
        }
        parts.extend(self.allowed.as_ref().map(Allowed::text));
        if let Some(records) = self.waiting {
            parts.push(format!(
                "records that waited for the ledger right after the load: {records}"
            ));
        }
        parts.push(self.check.text());
        parts.join("\n\n")
    }
}

impl Settings {
    fn new(args: &BenchArgs) -> Self {
        let (rate, in_flight) = match args.pace() {
            Pace::Open { per_second } => (Some(per_second), None),
            Pace::Closed { in_flight } => (None, Some(in_flight)),
        };
        Settings {
            rate,
            in_flight,
            seconds: args.duration.as_secs_f64(),
            warm_up_seconds: args.warm_up.as_secs_f64(),
            connections: args.connections(),
            accounts: args.accounts,
            hot_share: args.hot_share,
            open_holds: args.open_holds,
            grants: args.grants,
            seed: args.seed,
        }
    }
}

impl Preparation {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "accounts created in {:.1} s",
            self.accounts_seconds
        )];
        let mebibytes = |bytes: Option<u64>| {
            bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
        };
        lines.push(format!(
            "resident memory of the server: {} at start, {} with accounts, {} with open holds, \
             {} after the run",
            mebibytes(self.resident_bytes_at_start),
            mebibytes(self.resident_bytes_with_accounts),
            mebibytes(self.resident_bytes_with_holds),
            mebibytes(self.resident_bytes_after),
        ));
        if let Some(bytes) = self.bytes_per_account {
            lines.push(format!("  {bytes} bytes an account"));
        }
        if let Some(bytes) = self.bytes_per_hold {
            lines.push(format!("  {bytes} bytes an open hold"));
        }
        let [start, accounts, holds] = self.redis_bytes.map(mebibytes);
        if self.redis_bytes.iter().any(Option::is_some) {
            lines.push(format!(
                "memory of Redis: {start} at start, {accounts} with accounts, {holds} with open holds"
            ));
        }
        if let Some(bytes) = self.redis_bytes_per_account {
            lines.push(format!(
                "  {bytes} bytes an account, its entry for the ledger included"
            ));
        }
        if let Some(bytes) = self.redis_bytes_per_hold {
            lines.push(format!("  {bytes} bytes an open hold"));
        }
        lines.join("\n")
    }
}

impl Figures {
    fn text(&self, name: &str) -> String {
        let columns = [
            Column::Text("operation"),
            Column::Number("/s"),
            Column::Number("p50"),
            Column::Number("p90"),
            Column::Number("p99"),
            Column::Number("p99.9"),
            Column::Number("max"),
            Column::Number("denied"),
            Column::Text("errors"),
        ];
        let rows = self
            .operations
            .iter()
            .chain([&self.all])
            .map(OperationFigures::row);
        let mut text = format!(
            "{name}: {:.1} s measured\n{}",
            self.seconds,
            table(&columns, rows)
        );
        let number =
            |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{value:.2}"));
        text.push_str(&format!(
            "\ncores: server {}, load generator {}; server time a call: {} us\n\
             generator's own lateness: p50 {}, p99 {}",
            number(self.server_cores),
            number(self.client_cores),
            number(self.server_us_per_call),
            time(self.lag.p50_us),
            time(self.lag.p99_us),
        ));
        if self.unsent > 0 {
            text.push_str(&format!("\n{} calls were due and never begun", self.unsent));
        }
        if let Some(error) = &self.first_error {
            text.push_str(&format!("\nfirst error: {error}"));
        }
        text
    }
}

impl OperationFigures {
    fn row(&self) -> Vec<String> {
        let errors: Vec<String> = self
            .errors
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        vec![
            self.operation.to_owned(),
            format!("{:.0}", self.per_second),
            time(self.latency.p50_us),
            time(self.latency.p90_us),
            time(self.latency.p99_us),
            time(self.latency.p99_9_us),
            time(self.latency.max_us),
            self.denials.to_string(),
            errors.join(", "),
        ]
    }
}

/// The table that the text ends in.
fn comparison(limit: &Figures, tollgate: &Figures, ratios: &[Ratio], is_open: bool) -> String {
    let columns = [
        Column::Text("operation"),
        Column::Number("limit /s"),
        Column::Number("tollgate /s"),
        Column::Number("ratio"),
        Column::Number("p50 limit"),
        Column::Number("p50"),
        Column::Number("ratio"),
        Column::Number("p99 limit"),
        Column::Number("p99"),
        Column::Number("ratio"),
    ];
    let find = |figures: &Figures, name: &str| -> Option<OperationFigures> {
        let mut all = figures.operations.iter().chain([&figures.all]);
        all.find(|row| row.operation == name).cloned()
    };
    let number = |ratio: Option<f64>, none: &str| {
        ratio.map_or_else(|| none.to_owned(), |ratio| format!("{ratio:.2}"))
    };
    let no_throughput = if is_open { "-" } else { "?" };
    let rows = ratios.iter().filter_map(|ratio| {
        let (of, to) = (
            find(tollgate, ratio.operation)?,
            find(limit, ratio.operation)?,
        );
        Some(vec![
            ratio.operation.to_owned(),
            format!("{:.0}", to.per_second),
            format!("{:.0}", of.per_second),
            number(ratio.throughput, no_throughput),
            time(to.latency.p50_us),
            time(of.latency.p50_us),
            number(ratio.p50, "?"),
            time(to.latency.p99_us),
            time(of.latency.p99_us),
            number(ratio.p99, "?"),
        ])
    });
    let mut text = table(&columns, rows);
    if is_open {
        text.push_str("\ncalls a second are what was asked for: they have no ratio");
    }
    if let Some(cpu) = ratios.last().and_then(|all| all.server_us_per_call) {
        text.push_str(&format!(
            "\nserver's processor time a call: {cpu:.2} times the limit's"
        ));
    }
    text
}

/// A time in its best unit.
fn time(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1_000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time(12.4), "12 us");
        assert_eq!(time(1_234.0), "1.23 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
    }

    #[test]
    fn memory_is_divided_where_it_is_known() {
        let mut preparation = Preparation {
            resident_bytes_at_start: Some(1_000_000),
            resident_bytes_with_accounts: Some(1_400_000),
            resident_bytes_with_holds: Some(1_300_000),
            ..Preparation::default()
        };
        preparation.derive(1_000, 1_000);
        assert_eq!(preparation.bytes_per_account, Some(400));
        assert_eq!(preparation.bytes_per_hold, None, "memory may also go down");
    }
}
