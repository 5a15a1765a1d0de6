//! `rollout`: follows roll-outs of machine deployments, stops them, takes them back. Commands, flags and output are those of kubectl.

mod change;
mod history;
mod progress;
mod status;
mod undo;
mod wait;

use clap::Subcommand;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};

use super::{
    args::DryRun,
    context::App,
    error::of_api,
    request::{Request, not_found, requests},
};
use crate::{
    api::v1alpha1::{MachineDeployment, MachineSet, revision},
    client::{FIELD_MANAGER, Session, kinds::Kind},
    error::{CommandError, ErrorKind},
};

/// Follow roll-outs of machine deployments, stop them, take them back
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    Status(status::StatusArgs),
    History(history::HistoryArgs),
    Undo(undo::UndoArgs),
    Pause(change::PauseArgs),
    Resume(change::ResumeArgs),
    Restart(change::RestartArgs),
}

pub(crate) async fn run(app: &App, command: RolloutCommand) -> Result<(), CommandError> {
    match command {
        RolloutCommand::Status(args) => status::run(app, args).await,
        RolloutCommand::History(args) => history::run(app, args).await,
        RolloutCommand::Undo(args) => undo::run(app, args).await,
        RolloutCommand::Pause(args) => change::pause(app, args).await,
        RolloutCommand::Resume(args) => change::resume(app, args).await,
        RolloutCommand::Restart(args) => change::restart(app, args).await,
    }
}

/// A deployment that the command line names.
struct Named {
    kind: Kind,
    namespace: String,
    api: Api<MachineDeployment>,
    deployment: MachineDeployment,
}

/// Finds the deployments of a command line; each has to exist.
async fn named(session: &Session, words: &[String]) -> Result<Vec<Named>, CommandError> {
    let namespace = session.target.namespace.clone();
    let mut all = Vec::new();
    for Request { kind, names } in requests(&session.client, words).await? {
        if !kind.is_own("MachineDeployment") {
            return Err(CommandError::new(
                ErrorKind::Usage,
                format!("{} have no roll-outs", kind.full_name()),
            )
            .hinted("these have: machinedeployments"));
        }
        if names.is_empty() {
            return Err(CommandError::new(ErrorKind::Usage, "a name is missing")
                .hinted("see what there is: machinectl get machinedeployments"));
        }
        for name in names {
            let api: Api<MachineDeployment> = Api::namespaced(session.client.clone(), &namespace);
            let found = api
                .get_opt(&name)
                .await
                .map_err(|e| cannot("look at", &kind, &name, e))?;
            all.push(Named {
                deployment: found.ok_or_else(|| not_found(&kind, &name, Some(&namespace)))?,
                kind: kind.clone(),
                namespace: namespace.clone(),
                api,
            });
        }
    }
    Ok(all)
}

fn cannot(what: &str, kind: &Kind, name: &str, error: kube::Error) -> CommandError {
    of_api(format!("can't {what} {} {name}", kind.singular), error)
}

impl Named {
    fn name(&self) -> String {
        self.deployment.name_any()
    }

    /// `machinedeployment.machine.crit.sh/web`.
    fn full_name(&self) -> String {
        format!("{}/{}", self.kind.singular_name(), self.name())
    }

    fn is_paused(&self) -> bool {
        self.deployment.spec.paused == Some(true)
    }

    /// Refuses what can't be done as things are.
    fn refuse(&self, why: &str) -> CommandError {
        CommandError::new(
            ErrorKind::Conflict,
            format!("{} \"{}\" {why}", self.kind.singular, self.name()),
        )
    }

    /// Changes the deployment, unless this is a dry run of the client.
    async fn patch<P>(&self, patch: &Patch<P>, dry_run: Option<DryRun>) -> Result<(), CommandError>
    where
        P: serde::Serialize + std::fmt::Debug + Sync,
    {
        if dry_run == Some(DryRun::Client) {
            return Ok(());
        }
        let params = PatchParams {
            dry_run: dry_run.is_some(),
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let done = self.api.patch(&self.name(), &params, patch).await;
        done.map(drop)
            .map_err(|e| cannot("change", &self.kind, &self.name(), e))
    }

    /// The sets of the deployment with the numbers of their revisions, the lowest first.
    async fn revisions(&self, client: &Client) -> Result<Vec<(i64, MachineSet)>, CommandError> {
        let api: Api<MachineSet> = Api::namespaced(client.clone(), &self.namespace);
        let list = api
            .list(&ListParams::default())
            .await
            .map_err(|e| of_api(format!("can't list the machine sets of {}", self.name()), e))?;
        let uid = self.deployment.uid();
        let controls =
            |owner: &OwnerReference| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref();
        let mut all: Vec<_> = list
            .items
            .into_iter()
            .filter(|set| set.owner_references().iter().any(controls))
            .filter_map(|set| Some((revision(&set)?, set)))
            .collect();
        all.sort_by_key(|(revision, _)| *revision);
        Ok(all)
    }
}

/// What stands behind a message of something that was not really done.
const fn suffix(dry_run: Option<DryRun>) -> &'static str {
    match dry_run {
        None => "",
        Some(DryRun::Client) => " (dry run)",
        Some(DryRun::Server) => " (server dry run)",
    }
}

/// Looks for a revision.
fn find(named: &Named, all: Vec<(i64, MachineSet)>, wanted: i64) -> Result<MachineSet, CommandError> {
    let known: Vec<String> = all.iter().map(|(revision, _)| revision.to_string()).collect();
    let found = all.into_iter().find(|(revision, _)| *revision == wanted);
    found.map(|(_, set)| set).ok_or_else(|| {
        let error = CommandError::new(
            ErrorKind::NotFound,
            format!(
                "unable to find revision {wanted} of {} \"{}\" in history",
                named.kind.singular,
                named.name()
            ),
        );
        if known.is_empty() {
            error
        } else {
            error.hinted(format!("it has these: {}", known.join(", ")))
        }
    })
}
