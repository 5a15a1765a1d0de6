//! `util state compact`: gives back the room that removed objects have left.

use clap::Args;

use super::{FolderArgs, megabytes, refused};
use crate::{apiserver::offline, cli::context::App, error::CommandError};

/// Make the file of a state small: the room of removed objects is given back to the disk
///
/// A state that is not whole is refused, and stays as it is.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    #[command(flatten)]
    folder: FolderArgs,
}

pub(crate) fn run(app: &App, args: &CompactArgs) -> Result<(), CommandError> {
    let CompactArgs { folder } = args;
    let held = folder.hold(app)?;
    let offline::Compacted { before, after } =
        offline::compact(&held.dir).map_err(|error| refused(&held.dir, error))?;
    app.ui.say(&format!(
        "The state in {} had {}, and has {} now.",
        held.dir.display(),
        megabytes(before),
        megabytes(after)
    ));
    Ok(())
}
