//! Waits until applied machines and groups of them run.

use std::{sync::Arc, time::Duration};

use crate::{
    cli::context::App,
    client::Session,
    cluster::{
        Story,
        fleet::{self, GroupName},
        running::{self, Controllers, Deadline, beside},
    },
    error::CommandError,
};

/// Waits until machines run; on the embedded server the controllers run meanwhile.
pub(super) async fn until_they_run(
    app: &App,
    session: &Session,
    machines: Vec<(String, String)>,
    groups: Vec<GroupName>,
    limit: Duration,
) -> Result<(), CommandError> {
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    progress.step("Waiting until machines run");
    let docker = running::docker(Some(Arc::clone(&story))).await.ok();
    let actuators = running::actuators(&session.client, docker);
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let deadline = Deadline::new(limit, "the wait for machines");
    let wait = async {
        for (namespace, name) in machines {
            running::until_machines_run(session, &namespace, &[name], story.as_ref(), &deadline).await?;
        }
        for group in &groups {
            fleet::until_one_is_sized(session, group, story.as_ref(), &deadline).await?;
        }
        Ok(())
    };
    let done = beside(&mut controllers, wait).await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    match done {
        Ok(()) => progress.finish(),
        Err(error) => {
            progress.fail();
            return Err(CommandError::from(error).hinted("see why: machinectl describe machines"));
        }
    }
    Ok(())
}
