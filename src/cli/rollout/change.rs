//! `rollout pause`, `resume` and `restart`: one field each.

use clap::Args;
use kube::api::Patch;
use serde_json::{Value, json};

use super::{Named, named, suffix, wait};
use crate::{
    api::labels,
    cli::{
        args::{DryRun, DryRunArgs, WaitArgs},
        context::{App, Purpose},
    },
    error::CommandError,
    time::{Clock, SystemClock, rfc3339},
};

/// Let changes of the template wait
///
/// While it is paused, a deployment is scaled but not rolled out.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Go on with what was paused, and wait until it is rolled out
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Replace all machines by new ones of the same template, and wait until that is done
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What is changed.
struct Change<'a> {
    what: &'a [String],
    /// What was done, in a word.
    done: &'static str,
    wait: Option<WaitArgs>,
    dry_run: Option<DryRun>,
}

pub(super) async fn pause(app: &App, args: PauseArgs) -> Result<(), CommandError> {
    let change = Change {
        what: &args.what,
        done: "paused",
        wait: None,
        dry_run: args.dry_run.dry_run,
    };
    change
        .run(app, |named| {
            if named.is_paused() {
                return Err(named.refuse("is already paused"));
            }
            Ok(json!({ "spec": { "paused": true } }))
        })
        .await
}

pub(super) async fn resume(app: &App, args: ResumeArgs) -> Result<(), CommandError> {
    let change = Change {
        what: &args.what,
        done: "resumed",
        wait: Some(args.wait),
        dry_run: args.dry_run.dry_run,
    };
    change
        .run(app, |named| {
            if !named.is_paused() {
                return Err(named.refuse("is not paused"));
            }
            Ok(json!({ "spec": { "paused": null } }))
        })
        .await
}

pub(super) async fn restart(app: &App, args: RestartArgs) -> Result<(), CommandError> {
    let change = Change {
        what: &args.what,
        done: "restarted",
        wait: Some(args.wait),
        dry_run: args.dry_run.dry_run,
    };
    let now = rfc3339(SystemClock.now());
    change
        .run(app, |named| {
            if named.is_paused() {
                let name = named.name();
                return Err(named
                    .refuse("is paused and can't be restarted")
                    .hinted(format!("resume it first: machinectl rollout resume machinedeployment/{name}")));
            }
            let before = named.deployment.spec.template.metadata.annotations.get(labels::RESTARTED_AT);
            if before == Some(&now) {
                return Err(named
                    .refuse("was restarted within this second")
                    .hinted("type the command again"));
            }
            Ok(json!({ "spec": { "template": { "metadata": { "annotations": { labels::RESTARTED_AT: now } } } } }))
        })
        .await
}

impl Change<'_> {
    /// Writes the change that `of` gives for each deployment, and waits for what follows from it.
    async fn run(
        self,
        app: &App,
        of: impl Fn(&Named) -> Result<Value, CommandError>,
    ) -> Result<(), CommandError> {
        let (session, _) = app.connect(Purpose::Change).await?;
        app.prepare(&session).await?;
        let all = named(&session, self.what).await?;
        for named in &all {
            let patch = of(named)?;
            named.patch(&Patch::Merge(patch), self.dry_run).await?;
            app.data(&format!(
                "{} {}{}",
                named.full_name(),
                self.done,
                suffix(self.dry_run)
            ))?;
        }
        if let (Some(wait), None) = (self.wait, self.dry_run) {
            if wait.wait {
                wait::follow(app, &session, &all, wait.timeout).await?;
            } else {
                app.say_who_acts(&session).await;
            }
        }
        if let Some(server) = session.server {
            server.stop().await;
        }
        Ok(())
    }
}
