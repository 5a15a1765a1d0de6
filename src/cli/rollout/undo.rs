//! `rollout undo`: goes back to an earlier revision.

use clap::Args;
use json_patch::{Patch as Operations, PatchOperation};
use kube::{ResourceExt, api::Patch};
use serde_json::{Value, json};

use super::{Named, find, history::described, named, suffix, wait};
use crate::{
    api::{
        labels,
        v1alpha1::{MachineSet, MachineTemplateSpec, revision},
    },
    cli::{
        args::{DryRun, DryRunArgs, WaitArgs},
        context::{App, Purpose},
    },
    client::Session,
    error::{CommandError, ErrorKind},
};

/// Go back to an earlier revision, and wait until it is rolled out
///
/// The template of that revision becomes the present one; its MachineSet gets machines again.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is what --help shows")]
pub(crate) struct UndoArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// Revision to go back to; 0: the one before the present one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    to_revision: i64,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(super) async fn run(app: &App, args: UndoArgs) -> Result<(), CommandError> {
    let (session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    let dry_run = args.dry_run.dry_run;
    let mut begun = Vec::new();
    for named in named(&session, &args.what).await? {
        if go_back(app, &session, &named, args.to_revision, dry_run).await? {
            begun.push(named);
        }
    }
    if dry_run.is_none() && !begun.is_empty() {
        if args.wait.wait {
            wait::follow(app, &session, &begun, args.wait.timeout).await?;
        } else {
            app.say_who_acts(&session).await;
        }
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

/// Writes the template of an earlier revision. Returns whether that changed anything.
async fn go_back(
    app: &App,
    session: &Session,
    named: &Named,
    to: i64,
    dry_run: Option<DryRun>,
) -> Result<bool, CommandError> {
    if named.is_paused() {
        let name = named.name();
        return Err(named.refuse("is paused and can't be rolled back").hinted(format!(
            "resume it first: machinectl rollout resume machinedeployment/{name}"
        )));
    }
    let all = named.revisions(&session.client).await?;
    let set = match to {
        0 => before(named, all)?,
        to => find(named, all, to)?,
    };
    let present = &named.deployment.spec.template;
    let template = restored(&set, present);
    let name = named.full_name();
    if template == *present {
        let number = revision(&set).unwrap_or_default();
        app.data(&format!(
            "{name} skipped rollback (current template already matches revision {number})"
        ))?;
        return Ok(false);
    }
    if dry_run == Some(DryRun::Client) {
        app.data(&described(named, &template)?)?;
    }
    named
        .patch(&Patch::<()>::Json(operations(named, &set, &template)?), dry_run)
        .await?;
    app.data(&format!("{name} rolled back{}", suffix(dry_run)))?;
    Ok(true)
}

/// The revision before the present one: the highest but one.
fn before(named: &Named, mut all: Vec<(i64, MachineSet)>) -> Result<MachineSet, CommandError> {
    all.pop();
    all.pop().map(|(_, set)| set).ok_or_else(|| {
        CommandError::new(
            ErrorKind::NotFound,
            format!(
                "no rollout history found for {} \"{}\"",
                named.kind.singular,
                named.name()
            ),
        )
        .hinted("how many old revisions are kept stands in spec.revisionHistoryLimit")
    })
}

/// The template of a set as the deployment had it: without the labels that its controller put on.
fn restored(set: &MachineSet, present: &MachineTemplateSpec) -> MachineTemplateSpec {
    let mut template = set.spec.template.clone();
    template.metadata.labels.remove(labels::TEMPLATE_HASH);
    if !present.metadata.labels.contains_key(labels::DEPLOYMENT_NAME) {
        template.metadata.labels.remove(labels::DEPLOYMENT_NAME);
    }
    template
}

/// Puts the template in the place of the present one, and says again what it was made for.
fn operations(
    named: &Named,
    set: &MachineSet,
    template: &MachineTemplateSpec,
) -> Result<Operations, CommandError> {
    let mut all = vec![json!({ "op": "replace", "path": "/spec/template", "value": template })];
    let present = named.deployment.annotations();
    let cause = set.annotations().get(labels::CHANGE_CAUSE);
    let path = format!(
        "/metadata/annotations/{}",
        labels::CHANGE_CAUSE.replace('/', "~1")
    );
    match cause {
        Some(cause) if !present.is_empty() => {
            all.push(json!({ "op": "add", "path": path, "value": cause }));
        }
        None if present.contains_key(labels::CHANGE_CAUSE) => {
            all.push(json!({ "op": "remove", "path": path }));
        }
        _ => {}
    }
    let operations: Result<Vec<PatchOperation>, _> = serde_json::from_value(Value::Array(all));
    operations.map(Operations).map_err(|source| {
        CommandError::new(
            ErrorKind::Failed,
            format!("can't write the change of {}", named.full_name()),
        )
        .caused_by(source)
    })
}
