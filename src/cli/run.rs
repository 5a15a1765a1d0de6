//! `run`: the controllers, and on the embedded API server that one too, until interrupted.

use std::{sync::Arc, time::Duration};

use clap::Args;
use tokio::sync::watch;

use super::{
    context::{App, Purpose},
    serve::{ListenArgs, listen_and_merge, stopped},
};
use crate::{
    client::Session,
    cluster::running,
    controllers::{self, lease},
    error::{CommandError, ErrorKind},
    install,
    time::SystemClock,
};

/// Run the controllers until interrupted
///
/// On the embedded API server they run together with it: it listens on loopback for kubectl, as context "embedded".
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    listen: ListenArgs,
}

/// How long to wait before the controllers are started again after a failure.
const AGAIN: Duration = Duration::from_secs(3);

/// How often a server in another process is asked whether it is still there, and how often it may fail to answer.
const LOOK: Duration = Duration::from_secs(2);
const PATIENCE: usize = 3;

/// Why the controllers ended.
enum End {
    /// Somebody asked for it.
    Asked,
    /// The process that served the embedded API server has ended.
    ServerGone,
}

pub(crate) async fn run(app: &App, args: RunArgs) -> Result<(), CommandError> {
    let RunArgs { listen } = args;
    loop {
        let (mut session, paths) = app.connect(Purpose::WriteKubeconfig).await?;
        if session.server.is_some() {
            listen_and_merge(app, &mut session, &paths, listen).await?;
            // Whoever held the Lease in this state folder has died: the folder could be opened.
            lease::remove(&session.client)
                .await
                .map_err(|e| super::error::of_api("can't remove the lease of a process that has died", e))?;
        } else {
            check_installed(app, &session).await?;
        }
        let end = control(app, &session).await;
        if let Some(server) = session.server {
            server.stop().await;
        }
        match end {
            End::Asked => return Ok(()),
            End::ServerGone => app
                .ui
                .say("The process that served the embedded API server has ended; this one takes over."),
        }
    }
}

/// Runs the controllers until somebody asks for their end, or there is nothing to talk to any more.
async fn control(app: &App, session: &Session) -> End {
    let docker = match running::docker(None).await {
        Ok(docker) => Some(docker),
        Err(error) => {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            app.ui
                .warn(&format!("no Docker machines, only hollow ones: {why}"));
            None
        }
    };
    let actuators = running::actuators(&session.client, docker);
    let (stop, _) = watch::channel(false);
    app.ui.say(&format!(
        "Controllers ready on context \"{}\"; Ctrl-C ends them",
        session.target.name()
    ));
    let work = async {
        loop {
            let mut stopping = stop.subscribe();
            let context =
                controllers::Context::new(session.client.clone(), actuators.clone(), Arc::new(SystemClock));
            let until = async move {
                // The sender lives as long as this command.
                let _ended = stopping.wait_for(|stop| *stop).await;
            };
            let ended = controllers::run(context, until).await;
            if *stop.borrow() {
                return;
            }
            if let Err(error) = ended {
                let why = std::error::Error::source(&error).map_or_else(String::new, |s| format!(": {s}"));
                app.ui.warn(&format!("{error}{why}; trying again"));
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let mut work = std::pin::pin!(work);
    let end = tokio::select! {
        () = &mut work => End::Asked,
        () = stopped() => {
            app.ui.say("Stopping.");
            End::Asked
        }
        () = gone(session) => End::ServerGone,
    };
    stop.send_replace(true);
    // The controllers give the Lease back; nobody has to wait for its end then.
    let _late = tokio::time::timeout(AGAIN, work).await;
    end
}

/// Returns when the embedded server in another process has ended. Other servers may come back, and are waited for.
async fn gone(session: &Session) {
    if !session.is_elsewhere() {
        return std::future::pending().await;
    }
    let mut missed = 0;
    while missed < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let asked = tokio::time::timeout(LOOK, session.client.apiserver_version()).await;
        missed = if matches!(asked, Ok(Ok(_))) { 0 } else { missed + 1 };
    }
}

async fn check_installed(app: &App, session: &Session) -> Result<(), CommandError> {
    let name = session.target.name();
    match install::is_installed(&session.client).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandError::new(
            ErrorKind::Conflict,
            format!("context \"{name}\" can't hold machines yet"),
        )
        .hinted(format!(
            "install the kinds first: machinectl init --context {name}"
        ))),
        // An API server that is away may come back: the controllers wait for it.
        Err(error) if !matches!(error, kube::Error::Api(_)) => {
            app.ui
                .warn(&format!("context \"{name}\" does not answer yet: {error}"));
            Ok(())
        }
        Err(error) => Err(super::error::of_api(
            format!("can't ask context \"{name}\" whether it can hold machines"),
            error,
        )),
    }
}
