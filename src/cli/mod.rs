//! The command line: one file a command, each with its arguments and a `run`. Nothing below this room knows clap.
//!
//! | file | what it holds |
//! |---|---|
//! | `args.rs` | groups of flags that several commands share |
//! | `context.rs` | `App`: what every command is given |
//! | `error.rs` | how errors of the rooms below become exit codes and hints |
//! | `resources.rs` | words for kinds (`ma`, `machines.machine.crit.sh`) to addresses |
//! | `output.rs` | `-o table\|wide\|json\|yaml\|name` |
//! | `request.rs` | kinds and names on the command line |
//! | `cinder.rs` | configuration files of cinder |
//! | `logging.rs` | logs as JSON |
//! | `story.rs` | progress of the rooms below, and what is told at the end |
//! | `manifest.rs` | files of objects, with the line of each thing that is wrong |

mod apply;
mod args;
mod cinder;
mod completion;
mod context;
mod create;
mod delete;
mod describe;
mod drain;
mod error;
mod get;
mod init;
mod kubeconfig;
mod load;
mod logging;
mod manifest;
mod r#move;
mod output;
mod request;
mod resources;
mod rollout;
mod run;
mod scale;
mod serve;
mod story;
mod uninstall;
mod upgrade;
mod util;
mod version;

use std::{ffi::OsString, io, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::{args::GlobalArgs, context::App};
use crate::{
    config::Settings,
    error::{CommandError, ErrorKind},
};

/// Drive the life of Kubernetes clusters and machines
#[derive(Debug, Parser)]
#[command(
    name = "machinectl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    #[command(subcommand)]
    Upgrade(upgrade::UpgradeCommand),
    Uninstall(uninstall::UninstallArgs),
    #[command(subcommand)]
    Create(create::CreateCommand),
    Apply(apply::ApplyArgs),
    Get(get::GetArgs),
    Describe(describe::DescribeArgs),
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    Scale(scale::ScaleArgs),
    Delete(delete::DeleteArgs),
    Drain(drain::DrainArgs),
    Move(r#move::MoveArgs),
    Kubeconfig(kubeconfig::KubeconfigArgs),
    #[command(subcommand)]
    Load(load::LoadCommand),
    Run(run::RunArgs),
    Serve(serve::ServeArgs),
    Completion(completion::CompletionArgs),
    Version(version::VersionArgs),
    #[command(subcommand)]
    Util(util::UtilCommand),
}

/// Returns the whole command line as clap describes it.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match parse(arguments) {
        Ok(cli) => execute(cli),
        Err(error) => {
            // A reader that has gone away needs no help text.
            let _printed = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let name = arguments.first().map(std::path::PathBuf::from);
    if name
        .as_deref()
        .and_then(|p| p.file_name())
        .is_some_and(|n| n == "kubectl-machine")
    {
        command = command.bin_name("kubectl machine");
    }
    let mut matches = command.try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches)
}

fn execute(cli: Cli) -> ExitCode {
    let Cli { globals, command } = cli;
    let json = matches!(&command, Command::Run(args) if args.is_json());
    let app = App::new(globals, Settings::from_environment(), json);
    app.start_logging();
    match dispatch(&app, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            app.ui.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn dispatch(app: &App, command: Command) -> Result<(), CommandError> {
    match command {
        // These need no runtime: they must be quick.
        Command::Version(args) => version::run(app, args),
        Command::Completion(args) => completion::run(app, args),
        Command::Util(args) => util::run(app, args),
        // It stops by itself where that is safe.
        Command::Move(args) => in_runtime(true, r#move::run(app, args)),
        Command::Run(args) => in_runtime(true, run::run(app, args)),
        Command::Serve(args) => in_runtime(true, serve::run(app, args)),
        Command::Init(args) => in_runtime(false, or_interrupt(init::run(app, args))),
        Command::Upgrade(args) => in_runtime(false, or_interrupt(upgrade::run(app, args))),
        Command::Uninstall(args) => in_runtime(false, or_interrupt(uninstall::run(app, args))),
        Command::Create(args) => in_runtime(false, or_interrupt(create::run(app, args))),
        Command::Apply(args) => in_runtime(false, or_interrupt(apply::run(app, args))),
        Command::Get(args) => in_runtime(false, or_interrupt(get::run(app, args))),
        Command::Describe(args) => in_runtime(false, or_interrupt(describe::run(app, args))),
        Command::Drain(args) => in_runtime(false, or_interrupt(drain::run(app, args))),
        Command::Rollout(args) => in_runtime(false, or_interrupt(rollout::run(app, args))),
        Command::Scale(args) => in_runtime(false, or_interrupt(scale::run(app, args))),
        Command::Delete(args) => in_runtime(false, or_interrupt(delete::run(app, args))),
        Command::Load(args) => in_runtime(false, or_interrupt(load::run(app, args))),
        Command::Kubeconfig(args) => in_runtime(false, or_interrupt(kubeconfig::run(app, args))),
    }
}

fn in_runtime(
    threads: bool,
    work: impl Future<Output = Result<(), CommandError>>,
) -> Result<(), CommandError> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build().map_err(|source| {
        CommandError::new(ErrorKind::Failed, "can't start the asynchronous runtime").caused_by(source)
    })?;
    let result = runtime.block_on(Box::pin(work));
    // Requests that nobody waits for any more need not end first.
    runtime.shutdown_background();
    result
}

async fn or_interrupt(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    tokio::select! {
        biased;
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(CommandError::new(ErrorKind::Interrupted, "interrupted")
            .hinted("the same command goes on where this one stood")),
    }
}

fn is_broken_pipe(error: &CommandError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        if source
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = source.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_app() {
        command().debug_assert();
    }

    #[test]
    fn a_plugin_of_kubectl_is_called_so_in_its_usage() {
        let error = parse(vec!["/usr/local/bin/kubectl-machine".into(), "--help".into()]).unwrap_err();
        assert!(error.to_string().contains("kubectl machine"), "{error}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone =
            CommandError::new(ErrorKind::Failed, "x").caused_by(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&CommandError::new(ErrorKind::Failed, "x")));
    }
}
