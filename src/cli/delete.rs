//! `delete`: removes objects, and for a cluster everything that belongs to it.

mod choice;
mod take_back;
mod wait;

use std::sync::Arc;

use clap::Args;
use http::Request as HttpRequest;
use serde_json::{Value, json};

use self::choice::Doomed;
use super::{
    args::{DryRun, DryRunArgs, WaitArgs},
    context::{App, Purpose},
    error::of_api,
    request::not_found,
};
use crate::{
    client::{Session, kinds},
    cluster::{Story, delete as cluster},
    error::{CommandError, ErrorKind},
    kubeconfig::{Kubeconfig, Paths},
    ui::prompt::Answer,
};

/// Delete objects; delete a cluster with all that belongs to it
///
/// `delete cluster NAME` removes its machines, containers, kubeconfig entries and objects, also when the objects are lost.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Kind and names: KIND NAME..., or KIND/NAME...
    #[arg(value_name = "KIND", required_unless_present = "filename")]
    what: Vec<String>,
    /// File or folder with the objects to delete; - is standard input (can be repeated)
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["what", "all", "selector"])]
    filename: Vec<String>,
    /// Delete objects with these labels
    #[arg(short = 'l', long, value_name = "QUERY")]
    selector: Option<String>,
    /// Delete all objects of the kind in the namespace
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Succeed when an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(crate) async fn run(app: &App, args: DeleteArgs) -> Result<(), CommandError> {
    let (target, config, paths) = app.choose(Purpose::WriteKubeconfig)?;
    // A cluster is looked for where its Cluster object stands, whatever the current context is.
    let target = match args.what.as_slice() {
        [kind, name] if kinds::is_cluster_word(kind) => app.home_of(name, target, &config),
        [one] => match one.split_once('/') {
            Some((kind, name)) if kinds::is_cluster_word(kind) => app.home_of(name, target, &config),
            _ => target,
        },
        _ => target,
    };
    let mut session = app.connect_to(target, &paths, Purpose::Change).await?;
    app.prepare(&session).await?;
    let doomed = choice::collect(app, &session, &args).await?;
    if args.all {
        confirm(app, &args, doomed.len())?;
    }
    let mut waiting = Vec::new();
    for one in &doomed {
        if one.kind.is_own("Cluster") && args.dry_run.dry_run.is_none() {
            delete_cluster(app, &mut session, one, &paths, &config, &args).await?;
        } else if delete_one(app, &session, one, &args).await? {
            waiting.push(one);
        }
    }
    let is_own = |one: &&Doomed| kinds::own_by_kind(&one.kind.kind).as_ref() == Some(&one.kind);
    if args.dry_run.dry_run.is_some() || waiting.is_empty() {
        // Nothing goes.
    } else if args.wait.wait {
        wait::until_gone(app, &session, &waiting, &args).await?;
    } else if waiting.iter().any(is_own) {
        app.say_who_acts(&session).await;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

fn confirm(app: &App, args: &DeleteArgs, count: usize) -> Result<(), CommandError> {
    if args.yes || count == 0 || args.dry_run.dry_run.is_some() {
        return Ok(());
    }
    let noun = if count == 1 { "object" } else { "objects" };
    match app.ui.confirm(&format!("Delete {count} {noun}?")) {
        Answer::Yes => Ok(()),
        Answer::No => Err(CommandError::new(ErrorKind::Failed, "nothing was deleted")),
        Answer::Nobody => Err(CommandError::new(
            ErrorKind::Usage,
            format!("{count} {noun} would be deleted, and there is nobody to ask"),
        )
        .hinted("to delete them without a question: --yes")),
    }
}

/// Deletes an object. Returns whether it was there.
async fn delete_one(
    app: &App,
    session: &Session,
    one: &Doomed,
    args: &DeleteArgs,
) -> Result<bool, CommandError> {
    let Doomed {
        kind,
        namespace,
        name,
    } = one;
    let what = format!("{}/{name}", kind.singular_name());
    let suffix = match args.dry_run.dry_run {
        Some(DryRun::Client) => {
            app.data(&format!("{} \"{name}\" deleted (dry run)", kind.singular_name()))?;
            return Ok(false);
        }
        Some(DryRun::Server) => " (server dry run)",
        None => "",
    };
    let failed = |e| of_api(format!("can't delete {what}"), e);
    // A group that is waited for goes last: its machines need somebody who takes their finalizers off.
    let group = kind.is_own("MachineSet") || kind.is_own("MachineDeployment");
    let policy = if group && args.wait.wait {
        "Foreground"
    } else {
        "Background"
    };
    let mut options = json!({ "propagationPolicy": policy });
    if !suffix.is_empty() {
        options["dryRun"] = json!(["All"]);
    }
    let request = HttpRequest::delete(kind.path(namespace.as_deref(), Some(name)))
        .header("Content-Type", "application/json")
        .body(options.to_string().into_bytes())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    match session.client.request::<Value>(request).await {
        Ok(_) => {
            app.data(&format!("{} \"{name}\" deleted{suffix}", kind.singular_name()))?;
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.code == 404 && args.ignore_not_found => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(not_found(kind, name, namespace.as_deref()))
        }
        Err(error) => Err(failed(error)),
    }
}

async fn delete_cluster(
    app: &App,
    session: &mut Session,
    one: &Doomed,
    paths: &Paths,
    config: &Kubeconfig,
    args: &DeleteArgs,
) -> Result<(), CommandError> {
    let namespace = one.namespace.clone().unwrap_or_default();
    if let Some(context) = take_back::manages_itself(session, config, &one.name) {
        let limit = args.wait.timeout;
        let back = take_back::take_back(app, session, &context, &one.name, &namespace, paths, limit);
        *session = Box::pin(back).await?;
    }
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    app.ui.say(&format!("Deleting cluster \"{}\" …", one.name));
    let result = cluster::delete(session, &one.name, &namespace, paths, &story, args.wait.timeout).await;
    let deleted = match result {
        Ok(deleted) => deleted,
        Err(crate::cluster::ClusterError::NoCluster { .. }) if args.ignore_not_found => return Ok(()),
        Err(error) => {
            progress.fail();
            return Err(error.into());
        }
    };
    progress.finish();
    let cluster::Deleted {
        machines,
        containers,
        kubeconfig,
    } = deleted;
    for machine in machines {
        app.data(&format!("machine.machine.crit.sh \"{machine}\" deleted"))?;
    }
    for container in containers {
        app.data(&format!("container \"{container}\" deleted"))?;
    }
    app.data(&format!("cluster.machine.crit.sh \"{}\" deleted", one.name))?;
    if kubeconfig && config.current_context() == Some(&crate::kubeconfig::context_name(&one.name)) {
        app.ui
            .say("It was kubectl's current context; choose another: kubectl config use-context NAME");
    }
    Ok(())
}
