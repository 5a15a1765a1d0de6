//! Waits until a roll-out is done. On the embedded server the controllers run meanwhile.

use std::{sync::Arc, time::Duration};

use super::{
    Named,
    progress::{Progress, judge},
};
use crate::{
    cli::context::App,
    client::Session,
    cluster::{
        ClusterError, Story,
        running::{self, Controllers, Deadline, beside},
    },
    error::{CommandError, ErrorKind},
};

/// How a wait ended, other than by an error.
pub(super) enum End {
    /// The roll-out is done; says so.
    Done(String),
    /// It gets no further, or is another one; says why.
    Failed(Progress),
}

/// Waits for a roll-out. `tell` is given each line that is new.
pub(super) async fn until_done(
    session: &Session,
    named: &Named,
    revision: Option<i64>,
    deadline: &Deadline,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<End, ClusterError> {
    let name = named.name();
    let mut last = String::new();
    loop {
        let found = named.api.get_opt(&name).await.map_err(ClusterError::api(format!(
            "can't look at machine deployment {name}"
        )))?;
        let found = found.ok_or_else(|| ClusterError::Missing {
            kind: "MachineDeployment",
            name: name.clone(),
            namespace: named.namespace.clone(),
        })?;
        match judge(&found, revision) {
            Progress::Done(text) => return Ok(End::Done(text)),
            failed @ (Progress::Failed(_) | Progress::Other(_)) => return Ok(End::Failed(failed)),
            Progress::Waiting(text) => {
                if text != last {
                    tell(&text);
                    last.clone_from(&text);
                }
                deadline.pause(session.target.is_embedded(), &text).await?;
            }
        }
    }
}

/// Starts the controllers, where it is this process that has to run them.
pub(super) async fn controllers(
    session: &Session,
    story: &Arc<dyn Story>,
) -> Result<Option<Controllers>, ClusterError> {
    // Without Docker only hollow machines can be made; whether others are needed is for the controllers to tell.
    let docker = if session.target.is_embedded() {
        running::docker(Some(Arc::clone(story))).await.ok()
    } else {
        None
    };
    let actuators = running::actuators(&session.client, docker);
    Controllers::start(session, actuators, story.as_ref()).await
}

/// Waits for roll-outs that this command began, with a story of how far they are.
pub(super) async fn follow(
    app: &App,
    session: &Session,
    all: &[Named],
    limit: Duration,
) -> Result<(), CommandError> {
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    progress.step(if all.len() == 1 {
        "Waiting for the roll-out"
    } else {
        "Waiting for the roll-outs"
    });
    let mut running = controllers(session, &story).await?;
    let wait = async {
        for named in all {
            let deadline = Deadline::new(limit, format!("the roll-out of {}", named.name()));
            let end = until_done(session, named, None, &deadline, &|text| story.detail(text)).await?;
            if let End::Failed(why) = end {
                return Ok(Some((named, why)));
            }
        }
        Ok(None)
    };
    let done = beside(&mut running, wait).await;
    if let Some(running) = running {
        running.stop().await;
    }
    let failed = match done {
        Ok(None) => {
            progress.finish();
            return Ok(());
        }
        Ok(Some((named, why))) => failure(named, why),
        Err(error) => in_words(error, all),
    };
    progress.fail();
    Err(failed)
}

/// A roll-out that gets no further, or another one than was asked for.
pub(super) fn failure(named: &Named, why: Progress) -> CommandError {
    let name = named.name();
    match why {
        Progress::Other(text) => CommandError::new(ErrorKind::Conflict, text).hinted(format!(
            "see what there is: machinectl rollout history machinedeployment/{name}"
        )),
        Progress::Failed(text) | Progress::Waiting(text) | Progress::Done(text) => {
            CommandError::new(ErrorKind::Failed, text)
                .hinted(format!("see why: machinectl describe machinedeployment {name}"))
                .hinted(format!(
                    "to go back: machinectl rollout undo machinedeployment/{name}"
                ))
        }
    }
}

/// An error of a wait.
pub(super) fn in_words(error: ClusterError, all: &[Named]) -> CommandError {
    let timed_out = matches!(error, ClusterError::TimedOut { .. });
    let error = CommandError::from(error);
    match all {
        [one] if timed_out => error.hinted(format!(
            "see why: machinectl describe machinedeployment {}",
            one.name()
        )),
        _ => error,
    }
}
