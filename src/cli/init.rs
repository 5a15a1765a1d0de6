//! `init`: makes a cluster able to hold machines. It starts nothing.

use clap::Args;

use super::{
    args::{DryRun, DryRunArgs},
    context::{App, Purpose},
    error::of_api,
};
use crate::{
    controllers::lease,
    error::CommandError,
    install::{self, Change},
    time::{Clock, SystemClock},
};

/// Make a cluster able to hold machines: install the custom resource definitions
///
/// It can be repeated: what is there already is left alone or brought up to date.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(crate) async fn run(app: &App, args: InitArgs) -> Result<(), CommandError> {
    let InitArgs { dry_run } = args;
    if dry_run.dry_run == Some(DryRun::Client) {
        for crd in crate::api::registry::crds() {
            app.data(&format!(
                "customresourcedefinition.apiextensions.k8s.io/{} (dry run)",
                crd.metadata.name.unwrap_or_default()
            ))?;
        }
        return Ok(());
    }
    let server_side = dry_run.dry_run == Some(DryRun::Server);
    let (session, _) = app.connect(Purpose::Change).await?;
    let changes = install::definitions(&session.client, server_side).await?;
    let suffix = if server_side { " (server dry run)" } else { "" };
    for (name, change) in changes {
        let word = match change {
            Change::Created => "created",
            Change::Updated => "configured",
            Change::Unchanged => "unchanged",
        };
        app.data(&format!(
            "customresourcedefinition.apiextensions.k8s.io/{name} {word}{suffix}"
        ))?;
    }
    if server_side {
        return Ok(());
    }
    app.ui.say(&format!(
        "Context \"{}\" can hold machines.",
        session.target.name()
    ));
    let flag = if session.target.is_embedded() {
        " --embedded".to_owned()
    } else {
        format!(" --context {}", session.target.name())
    };
    let holder = lease::holder(&session.client, SystemClock.now())
        .await
        .map_err(|e| of_api("can't see whether controllers run there", e))?;
    if holder.is_none() {
        app.ui.say(&format!(
            "Its machines come alive while controllers run: machinectl run{flag}"
        ));
    }
    Ok(())
}
