//! `delete`: removes objects, and for a cluster everything that belongs to it.

use std::sync::Arc;

use clap::Args;
use http::Request as HttpRequest;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{
    args::{DryRun, DryRunArgs, WaitArgs},
    context::{App, Purpose},
    error::of_api,
    manifest,
    request::{Request, not_found, query, requests},
};
use crate::{
    client::{Session, kinds},
    cluster::{
        Story, delete as cluster,
        running::{self, Controllers, Deadline, beside},
    },
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

/// One object to delete.
struct Doomed {
    kind: kinds::Kind,
    namespace: Option<String>,
    name: String,
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
    let doomed = collect(app, &session, &args).await?;
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
    if args.wait.wait && args.dry_run.dry_run.is_none() && !waiting.is_empty() {
        wait_until_gone(app, &session, &waiting, &args).await?;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

async fn collect(app: &App, session: &Session, args: &DeleteArgs) -> Result<Vec<Doomed>, CommandError> {
    let client = &session.client;
    let mut doomed = Vec::new();
    if !args.filename.is_empty() {
        for manifest in manifest::read(&args.filename)? {
            let text = |pointer| manifest.text_at(pointer).unwrap_or_default().to_owned();
            let kind = kinds::of_object(client, &text("/apiVersion"), &text("/kind"))
                .await
                .map_err(|e| of_api("can't ask the API server for the kind", e))?
                .ok_or_else(|| {
                    manifest.error_at(
                        &manifest::parse_path("kind"),
                        format!("there is no kind {}", text("/kind")),
                    )
                })?;
            let namespace = Some(text("/metadata/namespace"))
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| session.target.namespace.clone());
            doomed.push(Doomed {
                kind,
                namespace: Some(namespace),
                name: text("/metadata/name"),
            });
        }
        // What was made last depends on what was made first.
        doomed.reverse();
        return Ok(doomed);
    }
    for Request { kind, names } in requests(client, &args.what).await? {
        let namespace = Some(session.target.namespace.clone());
        let names = if names.is_empty() {
            if !args.all && args.selector.is_none() {
                return Err(CommandError::new(ErrorKind::Usage, "say which objects to delete")
                    .hinted(format!("name them: machinectl delete {} NAME", kind.plural))
                    .hinted("or choose them with -l QUERY or --all"));
            }
            listed(app, session, &kind, args.selector.as_deref()).await?
        } else {
            names
        };
        doomed.extend(names.into_iter().map(|name| Doomed {
            kind: kind.clone(),
            namespace: namespace.clone(),
            name,
        }));
    }
    Ok(doomed)
}

async fn listed(
    app: &App,
    session: &Session,
    kind: &kinds::Kind,
    selector: Option<&str>,
) -> Result<Vec<String>, CommandError> {
    let failed = |e| of_api(format!("can't list {}", kind.full_name()), e);
    let text = selector.map_or_else(String::new, |s| query(&[("labelSelector", s)]));
    let path = kind.path(Some(&session.target.namespace), None);
    let request = HttpRequest::get(format!("{path}?{text}"))
        .body(Vec::new())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    let list: Value = session.client.request(request).await.map_err(failed)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    if items.is_empty() {
        app.ui.say("No resources found");
    }
    Ok(items
        .iter()
        .filter_map(|i| i["metadata"]["name"].as_str().map(ToOwned::to_owned))
        .collect())
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
    let mut options = json!({ "propagationPolicy": "Background" });
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

/// Waits until objects are gone. On the embedded server the controllers run meanwhile: somebody has to take finalizers off.
async fn wait_until_gone(
    app: &App,
    session: &Session,
    waiting: &[&Doomed],
    args: &DeleteArgs,
) -> Result<(), CommandError> {
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let deadline = Deadline::new(args.wait.timeout, "the deletion");
    let left = |one: &Doomed| {
        let api = kube::Api::<DynamicObject>::namespaced_with(
            session.client.clone(),
            one.namespace.as_deref().unwrap_or_default(),
            &one.kind.api_resource(),
        );
        let all = kube::Api::<DynamicObject>::all_with(session.client.clone(), &one.kind.api_resource());
        let (namespaced, name) = (one.kind.namespaced, one.name.clone());
        async move {
            if namespaced {
                api.get_opt(&name).await
            } else {
                all.get_opt(&name).await
            }
        }
    };
    let wait = async {
        for one in waiting {
            while left(one)
                .await
                .map_err(crate::cluster::ClusterError::api(format!(
                    "can't look at {}",
                    one.name
                )))?
                .is_some()
            {
                let text = format!("{}/{} is still there", one.kind.singular_name(), one.name);
                story.detail(&text);
                deadline.pause(session.target.is_embedded(), &text).await?;
            }
        }
        Ok(())
    };
    let mut wait = std::pin::pin!(wait);
    // What goes at once needs no controllers.
    if let Ok(done) = tokio::time::timeout(std::time::Duration::from_millis(20), &mut wait).await {
        return Ok(done?);
    }
    progress.step("Waiting until they are gone");
    let docker = running::docker(None).await.ok();
    let actuators = running::actuators(&session.client, docker);
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let done = beside(&mut controllers, wait).await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    match done {
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

async fn delete_cluster(
    app: &App,
    session: &mut Session,
    one: &Doomed,
    paths: &Paths,
    config: &Kubeconfig,
    args: &DeleteArgs,
) -> Result<(), CommandError> {
    let namespace = one.namespace.clone().unwrap_or_default();
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
