//! What the limits allow a server with hot balances in Redis, beside what it does. Nothing is
//! measured here.
//!
//! - **Latency**, one call in flight: a Reserve can't take less than a constant answer of the same
//!   transport and one run of its script, one after the other.
//! - **Throughput**: a call needs the processor time of the constant answer (server and load
//!   generator) and that of its script (Redis and its client). So many cores do at most
//!   `cores / (constant + script)` calls a second, and Redis, which runs scripts on one core, at
//!   most `1 / redis`. What settling to the ledger takes is in neither limit.

use serde::Serialize;

use super::{
    figures::{Figures, OperationFigures},
    limits::RedisLimits,
    load::Measured,
    pace::Pace,
    plan::Operation,
};
use crate::cli::output::Failure;

/// The most that a Reserve alone may take, of the sum of its two limits.
pub(super) const P50_RATIO_MAX: f64 = 1.3;
/// The least throughput, of what the limits allow.
pub(super) const THROUGHPUT_RATIO_MIN: f64 = 0.7;

/// What is compared.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Allowed {
    /// The bare scripts under the load.
    pub(super) scripts: Figures,
    /// A Reserve with one call in flight; absent where the mix has none.
    alone: Option<Alone>,
    /// Absent where a process is not known.
    together: Option<Together>,
}

/// The median of a Reserve with one call in flight, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Alone {
    tollgate_us: f64,
    constant_us: f64,
    script_us: f64,
    ratio: f64,
}

/// Throughput, and the processor time of a call in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Together {
    cores: f64,
    constant_server_us: f64,
    constant_client_us: f64,
    script_redis_us: f64,
    script_client_us: f64,
    allowed_per_second: f64,
    per_second: f64,
    /// Absent in an open loop: there it does what it is given.
    ratio: Option<f64>,
    /// What Tollgate took, to be held against the sum of the four.
    tollgate_server_us: f64,
    tollgate_client_us: f64,
    tollgate_redis_us: f64,
}

impl Allowed {
    /// Compares. `alone` is the server with one call in flight.
    pub(super) fn new(
        limits: &RedisLimits,
        constant: &Figures,
        tollgate: &Figures,
        alone: &Measured,
        pace: Pace,
    ) -> Result<Self, Failure> {
        let scripts = Figures::new(&limits.scripts)?;
        let p50 = |measured: &Measured| -> Result<Option<f64>, Failure> {
            let figures = Figures::new(measured)?;
            let name = Operation::Reserve.name();
            let mut rows = figures.operations.iter();
            let row: Option<&OperationFigures> = rows.find(|row| row.operation == name);
            Ok(row.map(|row| row.latency.p50_us))
        };
        let medians = (
            p50(alone)?,
            p50(&limits.constant_alone)?,
            p50(&limits.scripts_alone)?,
        );
        Ok(Allowed {
            alone: match medians {
                (Some(tollgate_us), Some(constant_us), Some(script_us)) => Some(Alone {
                    tollgate_us,
                    constant_us,
                    script_us,
                    ratio: tollgate_us / (constant_us + script_us),
                }),
                _ => None,
            },
            together: together(constant, &scripts, tollgate, pace),
            scripts,
        })
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        if let Some(alone) = &self.alone {
            lines.push(format!(
                "one call in flight: a Reserve takes {:.0} us (median), a constant answer {:.0} us \
                 and its script {:.0} us: ratio {:.2}, to be at most {P50_RATIO_MAX}",
                alone.tollgate_us, alone.constant_us, alone.script_us, alone.ratio
            ));
        }
        match &self.together {
            Some(it) => lines.push(format!(
                "processor time a call, us: constant = server {:.1} + generator {:.1}; script = \
                 Redis {:.1} + client {:.1}; Tollgate = server {:.1} + generator {:.1} + Redis \
                 {:.1}\n\
                 {} cores allow the lower of cores / (constant + script) and 1 / Redis: {:.0} \
                 calls/s; {}",
                it.constant_server_us,
                it.constant_client_us,
                it.script_redis_us,
                it.script_client_us,
                it.tollgate_server_us,
                it.tollgate_client_us,
                it.tollgate_redis_us,
                it.cores,
                it.allowed_per_second,
                it.done(),
            )),
            None => lines.push(
                "what the cores allow is not known: Redis runs on another machine".to_owned(),
            ),
        }
        lines.join("\n")
    }
}

impl Together {
    fn done(&self) -> String {
        let does = format!("Tollgate does {:.0}", self.per_second);
        match self.ratio {
            Some(ratio) => {
                format!("{does}: ratio {ratio:.2}, to be at least {THROUGHPUT_RATIO_MIN}")
            }
            None => format!("{does}, as many as it is given"),
        }
    }
}

fn together(
    constant: &Figures,
    scripts: &Figures,
    tollgate: &Figures,
    pace: Pace,
) -> Option<Together> {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let (constant_server_us, constant_client_us) =
        (constant.server_us_per_call?, constant.client_us_per_call?);
    let (script_redis_us, script_client_us) =
        (scripts.store_us_per_call?, scripts.client_us_per_call?);
    let sum = constant_server_us + constant_client_us + script_redis_us + script_client_us;
    let allowed = (cores / sum).min(1.0 / script_redis_us) * 1e6;
    let per_second = tollgate.all.per_second;
    Some(Together {
        cores,
        constant_server_us,
        constant_client_us,
        script_redis_us,
        script_client_us,
        allowed_per_second: allowed,
        per_second,
        ratio: match pace {
            Pace::Closed { .. } => Some(per_second / allowed),
            Pace::Open { .. } => None,
        },
        tollgate_server_us: tollgate.server_us_per_call?,
        tollgate_client_us: tollgate.client_us_per_call?,
        tollgate_redis_us: tollgate.store_us_per_call?,
    })
}
