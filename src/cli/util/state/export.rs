//! `util state export`: all objects of a state as YAML.

use clap::Args;
use serde_json::json;

use super::{FolderArgs, refused};
use crate::{
    apiserver::offline,
    cli::context::App,
    error::{CommandError, ErrorKind},
    yaml,
};

/// Print all objects of a state as one YAML List, as they are stored
///
/// Secrets are left out unless they are asked for. Namespaces and custom resource definitions come first.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Print Secrets, too
    #[arg(long)]
    include_secrets: bool,
}

pub(crate) fn run(app: &App, args: &ExportArgs) -> Result<(), CommandError> {
    let ExportArgs {
        folder,
        include_secrets,
    } = args;
    let held = folder.hold(app)?;
    let exported = offline::export(&held.dir, *include_secrets).map_err(|error| refused(&held.dir, error))?;
    let offline::Exported {
        objects,
        secrets_left_out,
        unknown,
    } = exported;
    let count = objects.len();
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects});
    let text = yaml::to_string(&list).map_err(|error| {
        CommandError::new(ErrorKind::Failed, "can't write the objects as YAML").caused_by(error)
    })?;
    app.data(&text)?;
    for (resource, count) in unknown {
        app.ui.warn(&format!(
            "{count} {resource} are left out: no definition says what they are"
        ));
    }
    app.ui.say(&format!("{count} objects exported."));
    if secrets_left_out > 0 {
        app.ui.say(&format!(
            "{secrets_left_out} Secrets are left out; to print them, too: --include-secrets"
        ));
    }
    Ok(())
}
