//! `util state check`: whether a state is whole, and what is in it.

use clap::Args;

use super::{FolderArgs, megabytes, refused};
use crate::{
    apiserver::offline,
    cli::context::App,
    error::{CommandError, ErrorKind},
    ui::table::Table,
};

/// Read all of a state against its checksums, and say what is in it
///
/// Nothing in it changes. A state that is not whole is a failure, with what is wrong.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    folder: FolderArgs,
}

pub(crate) fn run(app: &App, args: &CheckArgs) -> Result<(), CommandError> {
    let CheckArgs { folder } = args;
    let held = folder.hold(app)?;
    let contents = offline::check(&held.dir).map_err(|error| refused(&held.dir, error))?;
    let mut table = Table::new(["resource", "objects"]);
    for (resource, count) in &contents.objects {
        table.row([resource.clone(), count.to_string()]);
    }
    app.data(&table.render(true))?;
    let total: usize = contents.objects.iter().map(|(_, count)| count).sum();
    let summary = format!(
        "{total} objects up to resourceVersion {}, format {}, {}",
        contents.version,
        contents.format,
        megabytes(contents.bytes)
    );
    if contents.flaws.is_empty() {
        app.ui.say(&format!(
            "The state in {} is whole: {summary}",
            held.dir.display()
        ));
        return Ok(());
    }
    for flaw in &contents.flaws {
        app.ui.warn(flaw);
    }
    let message = format!("the state in {} is damaged", held.dir.display());
    Err(CommandError::new(ErrorKind::Failed, message)
        .caused_by(format!("{} flaws beside {summary}", contents.flaws.len()))
        .hinted("put a copy of the folder from before back, or put this one aside"))
}
