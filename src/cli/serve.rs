//! `serve`: the embedded API server alone, until interrupted. It runs no controllers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;

use super::context::{App, Purpose};
use crate::{
    apiserver::AuditLog,
    client::{ClientError, Place, Session, Target, Why, embedded},
    error::{CommandError, ErrorKind},
    kubeconfig::{self, Management, Paths},
};

/// Serve the API server in this program to kubectl and others, until interrupted
///
/// It listens on loopback and merges the context "embedded" into the kubeconfig.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder of the state, made if it is missing; by default that of the API server in this program
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    audit: AuditArgs,
}

/// Where the embedded server listens.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ListenArgs {
    /// Address to listen on; by default a port of 127.0.0.1 that stays the same
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// Where the embedded server tells what it is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditArgs {
    /// Write a line of JSON for each request (audit.k8s.io/v1, level Metadata) to the end of this file
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl AuditArgs {
    /// Whether an audit log is asked for.
    pub(crate) const fn is_given(&self) -> bool {
        self.audit_log.is_some()
    }

    /// Begins the audit log, if this process has the server and a log is asked for.
    pub(crate) fn begin(&self, app: &App, session: &Session) -> Result<(), CommandError> {
        let (Some(path), Some(server)) = (&self.audit_log, &session.server) else {
            return Ok(());
        };
        let ui = app.ui.clone();
        let log = AuditLog::open(path, move |why| ui.warn(why)).map_err(|source| {
            let message = format!("can't write the audit log {}", path.display());
            CommandError::new(ErrorKind::Failed, message)
                .caused_by(source)
                .hinted("name another file: --audit-log FILE")
        })?;
        server.audit_to(log);
        app.ui.say(&format!("Audit log in {}", path.display()));
        Ok(())
    }
}

pub(crate) async fn run(app: &App, args: ServeArgs) -> Result<(), CommandError> {
    let ServeArgs { state, listen, audit } = args;
    let (chosen, _, paths) = app.choose(Purpose::WriteKubeconfig)?;
    let target = match (state, chosen.is_embedded()) {
        (Some(dir), _) => embedded_in(absolute(&dir)?, Why::Flag("--state")),
        (None, true) => chosen,
        (None, false) => {
            let dir = app.settings.embedded_state().ok_or(ClientError::NoState)?;
            embedded_in(dir, Why::Only)
        }
    };
    let mut session = app.connect_to(target, &paths, Purpose::WriteKubeconfig).await?;
    app.prepare(&session).await?;
    audit.begin(app, &session)?;
    listen_and_merge(app, &mut session, &paths, listen).await?;
    stopped().await;
    app.ui.say("Stopping.");
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

fn embedded_in(dir: PathBuf, why: Why) -> Target {
    Target {
        place: Place::Embedded(dir),
        why,
        namespace: crate::config::NAMESPACE.to_owned(),
        cluster: None,
    }
}

/// A folder as the kubeconfig has to name it: whoever reads that may stand elsewhere.
fn absolute(dir: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(dir).map_err(|source| {
        let message = format!("can't use the folder {}", dir.display());
        CommandError::new(ErrorKind::Usage, message)
            .caused_by(source)
            .hinted("name another folder: --state FOLDER")
    })
}

/// Starts to listen, brings the kubeconfig up to date and says that it is ready.
pub(crate) async fn listen_and_merge(
    app: &App,
    session: &mut Session,
    paths: &Paths,
    listen: ListenArgs,
) -> Result<(), CommandError> {
    let Some(server) = &mut session.server else {
        return Err(CommandError::new(
            ErrorKind::Conflict,
            "another machinectl serves the embedded API server already",
        )
        .hinted("use it: kubectl --context embedded get machines"));
    };
    let address = server.serve(listen.listen).await?;
    let entry = server.kubeconfig_entry()?;
    app.prepare(session).await?;
    let state = entry.extension.as_ref().and_then(|e| e.state.clone());
    let first = crate::kubeconfig::Kubeconfig::load(paths)?
        .current_context()
        .is_none();
    let file = kubeconfig::merge(paths, &entry, first)?;
    // Contexts of hollow clusters lead to this server too; its port may have changed.
    kubeconfig::update_clusters(
        paths,
        |context| {
            context.extension.as_ref().is_some_and(|e| {
                e.management == Management::Embedded
                    && e.state.is_some()
                    && e.state == state
                    && context.name != embedded::CONTEXT
            })
        },
        &entry.cluster_body,
    )?;
    app.ui.say(&format!(
        "API server ready at https://{address}, context \"{}\" in {}",
        embedded::CONTEXT,
        file.display()
    ));
    Ok(())
}

/// Waits until somebody asks this process to end: Ctrl-C or SIGTERM.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without the one signal there is still the other.
        let _interrupted = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
