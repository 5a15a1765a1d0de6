//! `uninstall`: takes away what `init` has installed.

use clap::Args;

use super::{
    args::{DryRun, DryRunArgs},
    context::{App, Purpose},
};
use crate::{
    client::Session,
    error::{CommandError, ErrorKind},
    install::uninstall::{self, Found, Options, Removed},
    ui::prompt::Answer,
};

/// Take away what `init` has installed
///
/// Machines are never touched. Definitions, and with them all objects of their kinds, stay unless they are asked for, too.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Remove the definitions too, and all objects of their kinds; what these stand for keeps running
    #[arg(long)]
    include_crds: bool,
    /// Do it though machines exist: they run on, and nobody looks after them
    #[arg(long)]
    leave_machines: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: TimeoutArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

#[derive(Debug, Args)]
struct TimeoutArgs {
    /// Give up after this time, for example 90s; 0: never
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = super::args::duration)]
    timeout: std::time::Duration,
}

pub(crate) async fn run(app: &App, args: UninstallArgs) -> Result<(), CommandError> {
    let UninstallArgs {
        include_crds,
        leave_machines,
        yes,
        wait: TimeoutArgs { timeout },
        dry_run: DryRunArgs { dry_run },
    } = args;
    let purpose = if dry_run.is_some() {
        Purpose::Read
    } else {
        Purpose::Change
    };
    let session = app.connect_itself(purpose).await?;
    let found = uninstall::look(&session.client).await?;
    if found.is_empty() {
        app.ui.say("Nothing is installed there.");
        return Ok(());
    }
    let options = Options {
        include_crds,
        leave_machines,
        timeout,
    };
    uninstall::check(&found, options)?;
    if let Some(dry_run) = dry_run {
        let server = dry_run == DryRun::Server;
        let removed = uninstall::rehearse(&session.client, &found, options, server).await?;
        let suffix = if server { " (server dry run)" } else { " (dry run)" };
        return tell(app, &removed, suffix);
    }
    if !yes {
        confirm(app, &session, &found, options)?;
    }
    let progress = app.story();
    let done = uninstall::uninstall(&session.client, &found, options, |step| progress.step(step)).await;
    let removed = match done {
        Ok(removed) => removed,
        Err(error) => {
            progress.fail();
            return Err(error.into());
        }
    };
    progress.finish();
    tell(app, &removed, "")
}

fn tell(app: &App, removed: &Removed, suffix: &str) -> Result<(), CommandError> {
    for name in &removed.names {
        app.data(&format!("{name} deleted{suffix}"))?;
    }
    if let Some(holder) = &removed.waits_for {
        app.ui.say(&format!(
            "Nothing is removed before {holder} lets go of the Lease of the controllers: stop that run first."
        ));
    }
    if let Some(other) = &removed.kept {
        app.ui.say(&format!(
            "Namespace {} stays: {other} is in it, which was not installed.",
            crate::install::NAMESPACE
        ));
    }
    Ok(())
}

fn confirm(app: &App, session: &Session, found: &Found, options: Options) -> Result<(), CommandError> {
    let version = found
        .inventory
        .as_ref()
        .map_or_else(String::new, |i| format!(" {}", i.version));
    let mut what = format!("machinectl{version} from context \"{}\"", session.target.name());
    if options.include_crds {
        let counts: Vec<_> = found
            .counts
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        what.push_str(", with the definitions");
        if !counts.is_empty() {
            what.push_str(" and all objects (");
            what.push_str(&counts.join(", "));
            what.push(')');
        }
    }
    match app.ui.confirm(&format!("Remove {what}?")) {
        Answer::Yes => Ok(()),
        Answer::No => Err(CommandError::new(ErrorKind::Failed, "nothing was removed")),
        Answer::Nobody => Err(CommandError::new(
            ErrorKind::Usage,
            format!("this would remove {what}, and there is nobody to ask"),
        )
        .hinted("to remove it without a question: --yes")),
    }
}
