//! `upgrade plan | apply`: brings what is installed to the version of this program.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    args::{DryRun, DryRunArgs, WaitArgs},
    context::{App, Purpose},
    init,
    output::{self, Output},
};
use crate::{
    client::Session,
    error::{CommandError, ErrorKind},
    install::{self, upgrade},
    ui::table::Table,
};

/// Bring what is installed to the version of this program
#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    Plan(PlanArgs),
    Apply(ApplyArgs),
}

/// Show what an upgrade would change
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// How to print it: json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "yaml"])]
    output: Option<String>,
}

/// Upgrade: definitions, stored objects, rights, controllers
///
/// Whatever interrupts it, the same command goes on. Machines keep running.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

#[derive(Debug, Args)]
struct ImageArgs {
    /// Image of the controllers (default: the installed one with the tag of the new version)
    #[arg(long, value_name = "IMAGE")]
    controller_image: Option<String>,
}

pub(crate) async fn run(app: &App, command: UpgradeCommand) -> Result<(), CommandError> {
    match command {
        UpgradeCommand::Plan(args) => plan(app, args).await,
        UpgradeCommand::Apply(args) => apply(app, args).await,
    }
}

async fn plan(app: &App, args: PlanArgs) -> Result<(), CommandError> {
    let PlanArgs { image, output } = args;
    let session = app.connect_itself(Purpose::Read).await?;
    let plan = upgrade::plan(&session.client, image.controller_image.as_deref()).await?;
    if let Some(format) = output {
        let value = serde_json::to_value(&plan)
            .map_err(|e| CommandError::new(ErrorKind::Failed, "can't print the plan").caused_by(e))?;
        let format = if format == "json" {
            Output::Json
        } else {
            Output::Yaml
        };
        return app.data(&output::document(&value, format)?);
    }
    if plan.is_empty() {
        return app.data(&format!("{} is installed, and nothing is to be done.", plan.to));
    }
    for paragraph in paragraphs(&plan) {
        app.data(&paragraph)?;
    }
    app.ui.say("To do it: machinectl upgrade apply");
    Ok(())
}

/// The plan for people.
fn paragraphs(plan: &upgrade::Plan) -> Vec<String> {
    let mut all = vec![format!("Version: {} -> {}", plan.from, plan.to)];
    if plan.unfinished {
        all.push("An upgrade was begun and is not finished.".to_owned());
    }
    if let Some(image) = plan.image.as_ref().filter(|i| i.from != i.to) {
        all.push(format!("Image: {} -> {}", image.from, image.to));
    }
    if !plan.definitions.is_empty() {
        let columns = [
            "Definition",
            "Change",
            "Storage",
            "Migrated from",
            "New fields",
            "Removed fields",
        ];
        let mut table = Table::new(columns.map(str::to_owned).to_vec());
        let some = |list: &[String]| {
            if list.is_empty() {
                "-".to_owned()
            } else {
                list.join(",")
            }
        };
        for one in &plan.definitions {
            table.row(vec![
                one.name.clone(),
                one.change.to_owned(),
                one.storage.clone(),
                some(&one.migrated),
                some(&one.new_fields),
                some(&one.removed_fields),
            ]);
        }
        all.push(format!("\n{}", table.render(true)));
    }
    if !plan.objects.is_empty() {
        let mut table = Table::new(["Object", "Change"].map(str::to_owned).to_vec());
        for one in &plan.objects {
            table.row(vec![one.name.clone(), one.change.to_owned()]);
        }
        all.push(format!("\n{}", table.render(true)));
    }
    all.extend(plan.restarts.iter().map(|what| format!("Restarts: {what}")));
    all
}

/// Says what [`apply`] would do; on the server's word, if that is wanted. The cluster is read in either case: what changes hangs on what is
/// installed.
async fn rehearse(app: &App, image: Option<&str>, dry_run: DryRun) -> Result<(), CommandError> {
    let session = app.connect_itself(Purpose::Read).await?;
    let suffix = match dry_run {
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let definition = |name: &str| format!("customresourcedefinition.apiextensions.k8s.io/{name}");
    let (mut lines, plan) = (Vec::new(), upgrade::plan(&session.client, image).await?);
    if dry_run == DryRun::Client {
        let of = |name: &str, change: &str| format!("{name} {change}");
        lines.extend(
            plan.definitions
                .iter()
                .map(|d| of(&definition(&d.name), d.change)),
        );
        let changed = plan.objects.iter().filter(|o| o.change != "removed");
        lines.extend(changed.map(|o| of(&o.name, o.change)));
        let migrated = plan.definitions.iter().filter(|d| !d.migrated.is_empty());
        lines.extend(migrated.map(|d| format!("{} migrated", definition(&d.name))));
        let removed = plan.objects.iter().filter(|o| o.change == "removed");
        lines.extend(removed.map(|o| of(&o.name, o.change)));
    } else {
        let done = upgrade::rehearse(&session.client, image).await?;
        init::tell(app, &done.applied, true)?;
        for (name, written) in &done.migrated {
            let name = definition(name);
            lines.push(format!("{name} migrated, {written} objects written again"));
        }
        lines.extend(done.removed.iter().map(|name| format!("{name} removed")));
    }
    for line in lines {
        app.data(&format!("{line}{suffix}"))?;
    }
    if plan.is_empty() {
        app.ui.say("Nothing is to be done.");
    }
    Ok(())
}

async fn apply(app: &App, args: ApplyArgs) -> Result<(), CommandError> {
    let ApplyArgs { image, wait, dry_run } = args;
    let image = image.controller_image.as_deref();
    if let Some(dry_run) = dry_run.dry_run {
        return rehearse(app, image, dry_run).await;
    }
    let session = app.connect_itself(Purpose::Change).await?;
    let progress = app.story();
    let done = upgrade::apply(&session.client, image, |step| progress.step(step)).await;
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            progress.fail();
            return Err(error.into());
        }
    };
    progress.finish();
    init::tell(app, &done.applied, false)?;
    for (name, written) in &done.migrated {
        app.data(&format!(
            "customresourcedefinition.apiextensions.k8s.io/{name} migrated, {written} objects written again"
        ))?;
    }
    for name in &done.removed {
        app.data(&format!("{name} removed"))?;
    }
    if done.applied.is_empty() {
        app.ui.say("Nothing is to be done.");
        return Ok(());
    }
    let has_controllers = install::inventory_of(&session.client)
        .await?
        .is_some_and(|i| i.image.is_some());
    if wait.wait && has_controllers {
        self::wait(app, &session, wait.timeout).await?;
    }
    upgrade::finish(&session.client, image).await?;
    app.ui.say(&format!(
        "Context \"{}\" is at {}.",
        session.target.name(),
        install::VERSION
    ));
    Ok(())
}

/// Waits until the controllers are up, and tells how far they are.
pub(super) async fn wait(app: &App, session: &Session, timeout: Duration) -> Result<(), CommandError> {
    let progress = app.story();
    progress.step("Waiting for the controllers");
    match install::wait_available(&session.client, timeout, |text| progress.detail(text)).await {
        Ok(()) => {
            progress.finish();
            Ok(())
        }
        Err(error) => {
            progress.fail();
            Err(error.into())
        }
    }
}
