//! What bounds the server: the same transport answering a constant, and with hot balances in
//! Redis the bare scripts. Both under the same load, and with one call in flight.

use std::sync::Arc;

use super::{
    args::BenchArgs,
    load::{self, Load, Measured, Processes, Target},
    pace::Pace,
    plan::{Plan, PlanParts},
    scripts::{Commands, Scripts},
    server::{Kind, Stand},
    stores::Stores,
    tally::Tally,
};
use crate::{
    cli::{
        client::Remote,
        exit::Exit,
        output::{Failure, Output},
    },
    clock::SystemClock,
    hot::redis::{BareScripts, RedisOptions},
};

/// The pace of one call at a time.
const ALONE: Pace = Pace::Closed { in_flight: 1 };

/// What every load of one run has in common.
pub(super) struct Runs<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) output: Output,
    pub(super) plan: Arc<Plan>,
    /// What the plan was made of.
    pub(super) parts: PlanParts,
    /// Sets this run's ids and keys apart.
    pub(super) run: String,
    pub(super) stores: Stores,
    /// The process of the Redis behind the server.
    pub(super) redis: Option<u32>,
    pub(super) clock: Arc<SystemClock>,
}

/// What was measured of the limits.
pub(super) struct Limits {
    /// The same server answering a constant.
    pub(super) constant: Measured,
    /// With hot balances in Redis.
    pub(super) redis: Option<RedisLimits>,
}

/// The limits of a server with hot balances in Redis.
pub(super) struct RedisLimits {
    /// A constant answer, one call in flight.
    pub(super) constant_alone: Measured,
    /// The scripts under the load.
    pub(super) scripts: Measured,
    /// One script in flight.
    pub(super) scripts_alone: Measured,
}

impl Runs<'_> {
    /// The load that was asked for, on a server.
    pub(super) async fn server(
        &self,
        remote: &Remote,
        server: Option<u32>,
        tally: &Arc<Tally>,
    ) -> Result<Measured, Failure> {
        let target = Target::Server(remote.clone());
        let load = self.load(target, tally, self.args.pace(), 0);
        self.measure(load, server).await
    }

    /// One call in flight, on a server that has had its load.
    pub(super) async fn server_alone(
        &self,
        remote: &Remote,
        server: Option<u32>,
        tally: &Arc<Tally>,
    ) -> Result<Measured, Failure> {
        let target = Target::Server(remote.clone());
        self.measure(self.load(target, tally, ALONE, 1), server)
            .await
    }

    /// All limits. Their answers mean nothing, so none is summed up.
    pub(super) async fn limits(&self, stand: &Stand) -> Result<Limits, Failure> {
        let nobody = Arc::new(Tally::new(0));
        let server = stand.start(Kind::Constant).await?;
        let (remote, pid) = (&server.remote, Some(server.pid()));
        self.output
            .progress(format_args!("measuring the limit on {remote}"))?;
        let constant = self.server(remote, pid, &nobody).await?;
        let Some(options) = &self.stores.redis else {
            return Ok(Limits {
                constant,
                redis: None,
            });
        };
        let constant_alone = self.server_alone(remote, pid, &nobody).await?;
        drop(server);
        let (scripts, scripts_alone) = self.scripts(options, &nobody).await?;
        Ok(Limits {
            constant,
            redis: Some(RedisLimits {
                constant_alone,
                scripts,
                scripts_alone,
            }),
        })
    }

    /// The bare scripts, under the load and one at a time. What they wrote is removed.
    async fn scripts(
        &self,
        options: &RedisOptions,
        nobody: &Arc<Tally>,
    ) -> Result<(Measured, Measured), Failure> {
        let unreachable = |fault| Failure::new(Exit::Unavailable, fault);
        // Each lane has a connection of its own.
        let options = RedisOptions {
            connections: 1,
            ..options.clone()
        };
        let bare = BareScripts::connect(options.clone(), &self.run);
        let bare = Arc::new(bare.map_err(|error| Failure::new(Exit::Usage, error))?);
        self.output
            .progress(format_args!("measuring the scripts on {}", options.address))?;
        let commands = Arc::new(Commands::new(&self.parts)?);
        let plan = Arc::clone(&self.plan);
        let scripts = Scripts::new(Arc::clone(&bare), Arc::clone(&commands), plan);
        scripts.load_accounts(&self.clock).await?;
        let target = Target::Scripts {
            options: Box::new(options),
            run: self.run.clone(),
            commands,
        };
        let together = self.load(target.clone(), nobody, self.args.pace(), 0);
        let together = self.measure(together, None).await?;
        let alone = self
            .measure(self.load(target, nobody, ALONE, 1), None)
            .await?;
        bare.remove().await.map_err(unreachable)?;
        Ok((together, alone))
    }

    fn load(&self, target: Target, tally: &Arc<Tally>, pace: Pace, round: u32) -> Load {
        let args = self.args;
        Load {
            target,
            round,
            plan: Arc::clone(&self.plan),
            tally: Arc::clone(tally),
            pace,
            connections: args.connections(),
            warm_up: args.warm_up,
            duration: args.duration,
            stock: if round == 0 { args.stock } else { 0 },
            clock: Arc::clone(&self.clock),
        }
    }

    async fn measure(&self, load: Load, server: Option<u32>) -> Result<Measured, Failure> {
        let processes = Processes {
            server,
            store: self.redis,
        };
        let measured = load::run(Arc::new(load), processes).await?;
        some_time(&measured)?;
        Ok(measured)
    }
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
