//! `create cluster`: a cluster out of containers, or of hollow machines.

use std::sync::Arc;

use clap::Args;

use super::{Provider, pivot};
use crate::{
    cli::{
        args::WaitArgs,
        cinder,
        context::{App, Purpose},
        version::wanted,
    },
    cluster::{
        ClusterError, Infrastructure, Story,
        create::{self, Created, Patience},
        request::ClusterRequest,
    },
    config,
    error::{CommandError, ErrorKind},
    ui::Colour,
};

/// Make a local cluster and wait until it can be used
///
/// The same command again goes on where an interrupted one stood. Configuration files of cinder are understood.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Name of the cluster
    #[arg(default_value = "cinder")]
    name: String,
    /// Where its machines come from
    #[arg(long, value_enum, default_value_t = Provider::Docker, value_name = "PROVIDER")]
    infrastructure: Provider,
    /// Node image; by default kindest/node of the Kubernetes version
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Number of workers
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
    /// Kubernetes version, for example v1.35.0
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<String>,
    /// Configuration file, a `ClusterConfiguration` of cinder; - is standard input
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,
    /// Let the cluster manage itself: install the controllers in it and move its objects there
    #[arg(long)]
    pivot: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How often a command goes on after the process that served the embedded API server has ended.
const RECONNECTS: usize = 3;

pub(crate) async fn run(app: &App, args: ClusterArgs) -> Result<(), CommandError> {
    let name = args.name.clone();
    let work = tokio::select! {
        biased;
        result = make(app, args) => return result,
        _ = tokio::signal::ctrl_c() => CommandError::new(ErrorKind::Interrupted, "interrupted"),
    };
    Err(work
        .hinted("the same command goes on where this one stood")
        .hinted(format!("to clean up, type: machinectl delete cluster {name}")))
}

async fn make(app: &App, args: ClusterArgs) -> Result<(), CommandError> {
    let ClusterArgs {
        name,
        infrastructure,
        image,
        workers,
        kubernetes_version,
        config,
        pivot: pivots,
        wait: WaitArgs { wait, timeout },
    } = args;
    if pivots && (infrastructure == Provider::Hollow || !wait) {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "only a cluster of containers that is waited for can manage itself",
        )
        .hinted("leave --pivot out"));
    }
    let version = kubernetes_version.map(|v| wanted(&v)).transpose()?;
    let cinder = config.map(|file| cinder::read(app, &file)).transpose()?;
    let patience = Patience {
        wait,
        limit: timeout,
        dry_run: false,
    };
    let mut tries = 0;
    loop {
        let (target, _, paths) = app.choose(Purpose::WriteKubeconfig)?;
        // A context that belongs to another cluster names that one's management cluster; the namespace comes along.
        let namespace = target.namespace.clone();
        let infrastructure = Infrastructure::from(infrastructure);
        let mut request = ClusterRequest::new(&name, &namespace, infrastructure);
        request.workers = workers;
        request.version.clone_from(&version);
        if infrastructure == Infrastructure::Docker {
            request.image = image
                .clone()
                .unwrap_or_else(|| config::node_image(version.as_deref()));
        } else if image.is_some() {
            return Err(
                CommandError::new(ErrorKind::Usage, "hollow machines have no image")
                    .hinted("leave --image out, or take --infrastructure docker"),
            );
        }
        if infrastructure == Infrastructure::Docker {
            cinder::fill(cinder.as_ref(), &mut request)?;
        } else if cinder.is_some() {
            return Err(
                CommandError::new(ErrorKind::Usage, "hollow machines need no configuration")
                    .hinted("leave -c out, or take --infrastructure docker"),
            );
        }
        request.validate()?;
        let mut session = app.connect_to(target, &paths, Purpose::WriteKubeconfig).await?;
        let progress = app.story();
        let story: Arc<dyn Story> = progress.clone();
        if pivots && pivot::is_under_way(&session, &request).await? {
            let done = pivot::run(app, &session, &request, &paths, timeout).await;
            return ended(session, done).await;
        }
        app.ui.say(&format!("Creating cluster \"{name}\" …"));
        match create::create(&mut session, &request, &paths, &story, patience).await {
            Ok(created) => {
                progress.finish();
                let mut done = Ok(());
                if pivots {
                    done = pivot::run(app, &session, &request, &paths, timeout).await;
                }
                if done.is_ok() {
                    done = tell(app, &session, &request, created, wait).await;
                }
                return ended(session, done).await;
            }
            // Whoever served the embedded API server has ended: now this process can.
            Err(ClusterError::Api { source, .. })
                if session.is_elsewhere()
                    && !matches!(*source, kube::Error::Api(_))
                    && tries < RECONNECTS =>
            {
                progress.fail();
                tries += 1;
            }
            Err(error) => {
                progress.fail();
                let timed_out = matches!(error, ClusterError::TimedOut { .. });
                let begun = timed_out || matches!(error, ClusterError::MachineFailed { .. });
                let mut error = CommandError::from(error);
                if begun {
                    error = error
                        .hinted(format!("see why: machinectl describe cluster {name}"))
                        .hinted(format!("to clean up: machinectl delete cluster {name}"));
                }
                return Err(error);
            }
        }
    }
}

/// Ends what was begun for a command.
async fn ended(session: crate::client::Session, done: Result<(), CommandError>) -> Result<(), CommandError> {
    if let Some(server) = session.server {
        server.stop().await;
    }
    done
}

async fn tell(
    app: &App,
    session: &crate::client::Session,
    request: &ClusterRequest,
    created: Created,
    waited: bool,
) -> Result<(), CommandError> {
    let name = &request.name;
    if !waited {
        app.ui
            .say("The objects are there. To make them come alive, type: machinectl run");
        return Ok(());
    }
    let Created { context } = created;
    app.ui.say(
        &app.ui
            .paint(Colour::Green, &format!("Cluster \"{name}\" is ready.")),
    );
    if request.infrastructure == Infrastructure::Hollow {
        app.data(&app.machine_table(session, request).await?)?;
    }
    match context {
        Some((context, file)) => {
            app.ui.say(&format!(
                "Set kubectl context to \"{context}\" in {}",
                file.display()
            ));
            app.ui.say("");
            if request.infrastructure == Infrastructure::Hollow {
                app.ui.say("While machinectl run is up:");
            }
            app.ui.say(&format!("  kubectl --context {context} get nodes"));
            app.ui.say(&format!("  machinectl describe cluster {name}"));
        }
        None => app.ui.say(&format!(
            "\n  kubectl --context {} get nodes\n  machinectl describe cluster {name}",
            session.target.name()
        )),
    }
    Ok(())
}
