//! `drain`: moves the pods off the Node of a machine, and keeps new ones away. The machine stays.

use std::{sync::Arc, time::Duration};

use clap::Args;

use super::{
    args::{DryRun, DryRunArgs, duration},
    context::{App, Purpose},
    request::requests,
};
use crate::{
    client::Session,
    cluster::{
        Story,
        drain::{self, Drained, Home},
        running::Deadline,
    },
    error::{CommandError, ErrorKind},
};

/// Move the pods off the Node of a machine, and keep new ones away
///
/// Pods of daemon sets and static pods stay; all others are evicted, as by `kubectl drain --force --ignore-daemonsets
/// --delete-emptydir-data`. Disruption budgets are heeded: while one forbids it, its pods are asked again. To let pods come back:
/// kubectl uncordon NODE.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Machines: NAME..., machine NAME..., or machine/NAME...
    #[arg(value_name = "MACHINE", required = true)]
    what: Vec<String>,
    /// Give up after this time, for example 90s; 0: never. What was evicted stays evicted
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(crate) async fn run(app: &App, args: DrainArgs) -> Result<(), CommandError> {
    let DrainArgs {
        what,
        timeout,
        dry_run,
    } = args;
    let (session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    let names = machines(&session, &what).await?;
    let namespace = session.target.namespace.clone();
    for name in names {
        let home = drain::find(&session, &namespace, &name).await?;
        match dry_run.dry_run {
            Some(how) => preview(app, &home, how).await?,
            None => Box::pin(drain_one(app, &session, &home, timeout)).await?,
        }
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

/// The names of the machines that are meant.
async fn machines(session: &Session, what: &[String]) -> Result<Vec<String>, CommandError> {
    let mut names = Vec::new();
    let requests = match requests(&session.client, what).await {
        // Nothing but machines is drained: what is no kind is the name of one.
        Err(error) if error.kind == ErrorKind::NotFound && what.iter().all(|word| !word.contains('/')) => {
            return Ok(what.to_vec());
        }
        found => found?,
    };
    for request in requests {
        let kind = &request.kind;
        if !kind.is_own("Machine") {
            let error = CommandError::new(
                ErrorKind::Usage,
                format!("a {} can't be drained, only machines can", kind.kind),
            );
            return Err(if kind.kind == "Node" {
                error.hinted(format!("kubectl drain {}", request.names.join(" ")))
            } else {
                error.hinted("machinectl drain machine NAME")
            });
        }
        names.extend(request.names);
    }
    if names.is_empty() {
        return Err(CommandError::new(ErrorKind::Usage, "say which machine to drain")
            .hinted("machinectl drain machine NAME")
            .hinted("see what there is: machinectl get machines -A"));
    }
    Ok(names)
}

async fn drain_one(app: &App, session: &Session, home: &Home, timeout: Duration) -> Result<(), CommandError> {
    let node = &home.node;
    let progress = app.story();
    progress.step(&format!("Draining Node {node}"));
    let story: Arc<dyn Story> = progress.clone();
    let deadline = Deadline::new(timeout, format!("the drain of Node {node}"));
    match Box::pin(drain::drain(session, home, &story, &deadline)).await {
        Ok(done) => {
            progress.finish();
            tell(app, node, &done, "")
        }
        Err(error) => {
            progress.fail();
            Err(error.into())
        }
    }
}

async fn preview(app: &App, home: &Home, how: DryRun) -> Result<(), CommandError> {
    let (ask, suffix) = match how {
        DryRun::Client => (false, " (dry run)"),
        DryRun::Server => (true, " (server dry run)"),
    };
    let done = drain::preview(home, ask).await?;
    tell(app, &home.node, &done, suffix)
}

fn tell(app: &App, node: &str, done: &Drained, suffix: &str) -> Result<(), CommandError> {
    if !done.existed {
        app.ui
            .say(&format!("Node {node} is gone; there is nothing to drain"));
        return Ok(());
    }
    if done.cordoned {
        app.data(&format!("node \"{node}\" cordoned{suffix}"))?;
    }
    for pod in &done.pods {
        app.data(&format!("pod \"{pod}\" evicted{suffix}"))?;
    }
    for (pod, why) in &done.refused {
        app.ui.warn(&format!("pod \"{pod}\" would stay for now: {why}"));
    }
    if done.refused.is_empty() {
        app.data(&format!("node \"{node}\" drained{suffix}"))?;
    }
    Ok(())
}
