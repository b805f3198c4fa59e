//! The command line: which commands there are, and how they end. What a command does stands in
//! its own file under `cli/`.
//!
//! Whatever is wrong with the command line or the configuration exits 64 before anything is
//! opened, bound or called.

mod admin;
mod amounts;
mod bench;
mod check;
pub(crate) mod client;
mod demo;
mod document;
pub mod exit;
mod metrics;
mod migrate;
mod offline;
pub mod output;
mod quota;
mod reconcile;
mod serve;
mod show;
mod token;
mod values;

use std::ffi::OsString;

use clap::{Parser, Subcommand, error::ErrorKind};

use self::{
    exit::Exit,
    output::{Failure, Output},
};

/// Shown under the help of `tollgate`; a test holds it to [`Exit`].
const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  check, demo, bench or reconcile found something wrong
   3  denied: not enough credits, or the account is not active
   4  no such account, reservation, grant, …
   5  the id is taken by another request, the state does not allow it, or the hold has ended
  64  the command line or the configuration is wrong
  65  the server refused the input
  69  the server is out of reach or not ready
  70  a fault of Tollgate's own
  73  a port in use, or a folder that is not usable or in use
  77  the server does not know the caller, or does not let it do that";

/// The quota sidecar: reserve, commit and release credits around every AI action
#[derive(Clone, Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Write one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Metrics(metrics::MetricsArgs),
    Migrate(migrate::MigrateArgs),
    #[command(flatten)]
    Quota(quota::QuotaCommand),
    #[command(flatten)]
    Admin(admin::AdminCommand),
    Bench(bench::BenchArgs),
    #[command(hide = true)]
    BenchConstant(bench::constant::ConstantArgs),
    Demo(demo::DemoArgs),
    Reconcile(reconcile::ReconcileArgs),
    Token(token::TokenArgs),
}

/// Runs the command that the arguments name and says how it ended. `arguments` starts with the
/// name of the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, arguments.iter().any(|word| word == "--json")),
    };
    let output = Output::new(cli.json);
    let ended = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let ended = runtime.block_on(run(cli.command, output));
            // What nobody waits for any more, such as a start that was given up, holds up no end.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::new(
            Exit::Internal,
            format!("starting the runtime: {error}"),
        )),
    };
    match ended {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    }
}

async fn run(command: Command, output: Output) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => serve::run(args, output).await,
        Command::Check(args) => check::run(args, output).await,
        Command::Metrics(args) => metrics::run(args, output),
        Command::Migrate(args) => migrate::run(args, output).await,
        Command::Quota(command) => quota::run(command, output).await,
        Command::Admin(command) => admin::run(command, output).await,
        Command::Bench(args) => bench::run(args, output).await,
        Command::BenchConstant(args) => bench::constant::run(args).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Reconcile(args) => reconcile::run(args, output).await,
        Command::Token(args) => token::run(args, output),
    }
}

/// Help and version are answers; everything else that clap reports is a wrong command line.
fn refuse(error: &clap::Error, json: bool) -> Exit {
    let is_answer = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if json && !is_answer {
        let text = error.to_string();
        let message = text.trim_end().trim_start_matches("error: ");
        Output::new(true).failure(&Failure::new(Exit::Usage, message));
    } else {
        // There is nobody left to tell where the terminal is gone.
        let _ = error.print();
    }
    if is_answer { Exit::Ok } else { Exit::Usage }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let listed: Vec<u8> = EXIT_CODES
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(listed, codes);
    }

    #[test]
    fn a_wrong_command_line_is_64_and_help_is_0() {
        for (words, exit) in [
            (&["tollgate"][..], Exit::Usage),
            (&["tollgate", "nope"], Exit::Usage),
            (&["tollgate", "serve", "--nope"], Exit::Usage),
            (&["tollgate", "serve", "--json", "--set"], Exit::Usage),
            (&["tollgate", "serve", "--set", "nope=1"], Exit::Usage),
            (
                &["tollgate", "serve", "--config", "/nowhere/at/all"],
                Exit::Usage,
            ),
            (&["tollgate", "--help"], Exit::Ok),
            (&["tollgate", "--version"], Exit::Ok),
            (&["tollgate", "serve", "--help"], Exit::Ok),
        ] {
            assert_eq!(main(words.iter().map(OsString::from)), exit, "{words:?}");
        }
    }
}
