//! `create cluster --pivot`: the cluster that was made manages itself.

use std::sync::Arc;

use crate::{
    cli::context::App,
    client::{self, Place, Session, Target, Why},
    cluster::{
        Story,
        pivot::{self, Pivot},
        request::ClusterRequest,
    },
    error::{CommandError, ErrorKind},
    kubeconfig::{self, Kubeconfig, Paths},
    pivot::Stop,
    ui::Colour,
};

/// Whether the objects of a cluster are on their way already: then nothing of it is made any more.
pub(super) async fn is_under_way(session: &Session, request: &ClusterRequest) -> Result<bool, CommandError> {
    Ok(pivot::is_under_way(session, &request.name, &request.namespace).await?)
}

/// Moves a cluster that is ready into itself, or goes on with that.
pub(super) async fn run(
    app: &App,
    home: &Session,
    request: &ClusterRequest,
    paths: &Paths,
    limit: std::time::Duration,
) -> Result<(), CommandError> {
    let name = kubeconfig::context_name(&request.name);
    let config = Kubeconfig::load(paths)?;
    let Some(context) = config.context(&name) else {
        return Err(CommandError::new(
            ErrorKind::NotFound,
            format!("there is no context \"{name}\" in the kubeconfig"),
        )
        .hinted("type the command again without --pivot first"));
    };
    if home.target.place == Place::Context(name.clone()) {
        app.ui
            .say(&format!("Cluster \"{}\" manages itself already.", request.name));
        return Ok(());
    }
    let target = Target {
        place: Place::Context(name.clone()),
        why: Why::Only,
        namespace: request.namespace.clone(),
        cluster: Some(request.name.clone()),
    };
    let itself = client::connect(target, paths).await?;
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let pivot = Pivot {
        name: &request.name,
        namespace: &request.namespace,
        story: &story,
        stop: Stop::default(),
        limit,
    };
    let moved = Box::pin(pivot.into_itself(home, &itself)).await;
    match &moved {
        Ok(_) => progress.finish(),
        Err(_) => progress.fail(),
    }
    let report = moved?;
    pivot::settle(paths, &context, &Place::Context(name.clone()))?;
    app.ui.say(&app.ui.paint(
        Colour::Green,
        &format!(
            "Cluster \"{}\" manages itself: {} objects moved into it in {:.1} s.",
            request.name, report.objects, report.seconds
        ),
    ));
    Ok(())
}
