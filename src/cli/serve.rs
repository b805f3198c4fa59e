//! `tollgate serve`: the sidecar itself.

use super::{
    exit::Exit,
    output::{Failure, Output},
};
use crate::{
    app,
    config::{self, Config, Flags},
    telemetry,
};

/// Run the sidecar: gRPC on TCP and on a Unix socket, health and metrics over HTTP
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    flags: Flags,

    /// Print every key with its value, its meaning and where it comes from, and exit
    #[arg(long)]
    print_config: bool,
}

/// Loads the configuration, and serves until it is told to stop.
pub async fn run(args: ServeArgs, output: Output) -> Result<Exit, Failure> {
    if args.print_config {
        let text = Config::print(&args.flags, config::environment())?;
        output.result(&text.trim_end(), |text| (*text).to_owned())?;
    }
    // A configuration that is wrong is printed too, and then refused.
    let config = Config::load(&args.flags, config::environment())?;
    if args.print_config {
        return Ok(Exit::Ok);
    }
    telemetry::init_log(&config.log)
        .map_err(|error| Failure::new(Exit::Internal, format!("starting the log: {error}")))?;
    app::serve(config, output).await
}
