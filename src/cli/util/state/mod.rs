//! `util state`: what can be done with the state of the embedded API server while nobody serves it.

mod check;
mod compact;
mod export;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{
    apiserver::OpenError,
    cli::context::App,
    client::{
        ClientError,
        embedded::{self, EmbeddedError, Unserved},
    },
    error::{CommandError, ErrorKind},
};

/// Look after the state of the API server in this program, while it does not run
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    Check(check::CheckArgs),
    Compact(compact::CompactArgs),
    Export(export::ExportArgs),
}

/// Which state.
#[derive(Debug, Args)]
struct FolderArgs {
    /// Folder of the state; by default that of the API server in this program
    #[arg(long = "state", value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(app: &App, command: StateCommand) -> Result<(), CommandError> {
    match command {
        StateCommand::Check(args) => check::run(app, &args),
        StateCommand::Compact(args) => compact::run(app, &args),
        StateCommand::Export(args) => export::run(app, &args),
    }
}

/// A state that this process alone has now.
struct Held {
    dir: PathBuf,
    _lock: Unserved,
}

impl FolderArgs {
    /// Makes sure that there is a state, and that no process serves it.
    fn hold(&self, app: &App) -> Result<Held, CommandError> {
        let dir = match &self.folder {
            Some(dir) => dir.clone(),
            None => app.settings.embedded_state().ok_or(ClientError::NoState)?,
        };
        if !dir.join(crate::apiserver::STATE_FILE).is_file() {
            let message = format!("there is no state in {}", dir.display());
            return Err(CommandError::new(ErrorKind::NotFound, message)
                .hinted("name the folder it is in: --state FOLDER"));
        }
        let lock = embedded::hold(&dir).map_err(|error| match &error {
            EmbeddedError::Held { pid, .. } => {
                let refused = CommandError::new(ErrorKind::Conflict, error.to_string());
                let refused = match pid {
                    Some(pid) => refused.hinted(format!("end it: kill {pid}")),
                    None => refused.hinted("end it"),
                };
                refused.hinted("or work on a copy of the folder: --state FOLDER")
            }
            _ => error.into(),
        })?;
        Ok(Held { dir, _lock: lock })
    }
}

/// How what went wrong becomes what the user sees.
fn refused(dir: &Path, source: OpenError) -> CommandError {
    EmbeddedError::Store {
        dir: dir.to_owned(),
        source: Box::new(source),
    }
    .into()
}

/// A number of bytes as people read it.
#[expect(clippy::cast_precision_loss, reason = "the first digits are shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
