//! Waits until deleted objects are gone.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde::Deserialize;

use super::{DeleteArgs, choice::Doomed};
use crate::{
    cli::context::App,
    client::Session,
    cluster::{
        Story, farewell,
        running::{self, Controllers, Deadline, beside},
    },
    error::CommandError,
};

/// Waits until objects are gone. On the embedded server the controllers run meanwhile: somebody has to take finalizers off.
pub(super) async fn until_gone(
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
            while let Some(object) = left(one)
                .await
                .map_err(crate::cluster::ClusterError::api(format!(
                    "can't look at {}",
                    one.name
                )))?
            {
                let text = still_there(one, &object);
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

/// How far the end of an object is. A machine tells it itself: pods that are left, what blocks.
fn still_there(one: &Doomed, object: &DynamicObject) -> String {
    let what = format!("{}/{}", one.kind.singular_name(), one.name);
    let step = Some(object)
        .filter(|o| one.kind.is_own("Machine") && o.metadata.deletion_timestamp.is_some())
        .and_then(|o| Deserialize::deserialize(o.data.pointer("/status/conditions")?).ok())
        .and_then(|conditions: Vec<Condition>| farewell(&conditions));
    match step {
        Some(step) => format!("{what}: {step}"),
        None => format!("{what} is still there"),
    }
}
