//! `delete cluster` of a cluster that manages itself: its objects come back first. Whoever is deleted can't delete himself.

use std::sync::Arc;

use crate::{
    cli::context::App,
    client::{self, Place, Session, Target, Why},
    cluster::{
        ClusterError, Story,
        pivot::{self, Pivot, PivotError},
    },
    error::CommandError,
    kubeconfig::{Context, Kubeconfig, Management, Paths},
    pivot::{MoveError, Stop},
};

/// The context of a cluster that manages itself, if it is the one that a session leads to.
pub(super) fn manages_itself(session: &Session, config: &Kubeconfig, cluster: &str) -> Option<Context> {
    let context = config.context_of_cluster(cluster)?;
    let itself = *context.extension.as_ref()?.home() == Management::Itself;
    (itself && session.target.place == Place::Context(context.name.clone())).then_some(context)
}

/// Brings the objects of such a cluster to the embedded API server; returns a session there. A cluster that does not answer any more is lost
/// with its objects: what is left of it is removed from there.
pub(super) async fn take_back(
    app: &App,
    itself: &Session,
    context: &Context,
    cluster: &str,
    namespace: &str,
    paths: &Paths,
    limit: std::time::Duration,
) -> Result<Session, CommandError> {
    let state = app
        .settings
        .embedded_state()
        .ok_or(client::ClientError::NoState)?;
    let target = Target {
        place: Place::Embedded(state),
        why: Why::Only,
        namespace: namespace.to_owned(),
        cluster: Some(cluster.to_owned()),
    };
    let home = client::connect(target, paths).await?;
    app.prepare(&home).await?;
    app.ui.say(&format!(
        "Cluster \"{cluster}\" manages itself: its objects move to the API server in this program first"
    ));
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let pivot = Pivot {
        name: cluster,
        namespace,
        story: &story,
        stop: Stop::default(),
        limit,
    };
    match Box::pin(pivot.out_of_itself(itself, &home)).await {
        // Everything has moved before; what followed was interrupted.
        Ok(_) | Err(PivotError::Move(MoveError::Nothing { .. })) => progress.finish(),
        Err(error) if is_silent(&error) => {
            progress.fail();
            app.ui.warn(&format!(
                "cluster \"{cluster}\" does not answer; its objects are lost with it"
            ));
        }
        Err(error) => {
            progress.fail();
            return Err(error.into());
        }
    }
    pivot::settle(paths, context, &home.target.place)?;
    Ok(home)
}

/// Whether nobody answers, in contrast to somebody who refuses.
fn is_silent(error: &PivotError) -> bool {
    let (PivotError::Cluster(ClusterError::Api { source, .. })
    | PivotError::Move(MoveError::Api { source, .. })) = error
    else {
        return false;
    };
    !matches!(**source, kube::Error::Api(_))
}
