//! How the rooms below tell what happens: their story goes to the progress display; and what is told of a cluster at its end.

use std::sync::Arc;

use super::{
    context::App,
    error::of_api,
    output::{self, Columns},
    request::query,
};
use crate::{
    api::labels,
    client::{Place, Session, Target, Why, kinds},
    cluster::{Story, request::ClusterRequest},
    error::{CommandError, ErrorKind},
    kubeconfig::{Kubeconfig, Management},
    ui::progress::Progress,
};

impl Story for Progress {
    fn step(&self, name: &str) {
        Self::step(self, name);
    }

    fn detail(&self, text: &str) {
        Self::detail(self, text);
    }

    fn warn(&self, text: &str) {
        Self::warn(self, text);
    }
}

impl App {
    /// Begins a story.
    pub(crate) fn story(&self) -> Arc<Progress> {
        Arc::new(self.ui.progress())
    }

    /// Returns where the Cluster object of a cluster stands, if the kubeconfig says so and the command line does not.
    pub(crate) fn home_of(&self, cluster: &str, target: Target, config: &Kubeconfig) -> Target {
        if self.selection.embedded || self.selection.context.is_some() {
            return target;
        }
        let Some(extension) = config.context_of_cluster(cluster).and_then(|c| c.extension) else {
            return target;
        };
        let place = match extension.home() {
            Management::Embedded => extension
                .state
                .clone()
                .or_else(|| self.settings.embedded_state())
                .map(Place::Embedded),
            Management::Context(name) => Some(Place::Context(name.clone())),
            Management::Itself => config
                .context_of_cluster(cluster)
                .map(|context| Place::Context(context.name)),
        };
        let Some(place) = place else { return target };
        let namespace = self.selection.namespace.clone().or(extension.namespace);
        Target {
            namespace: namespace.unwrap_or_else(|| target.namespace.clone()),
            why: if place == target.place {
                target.why
            } else {
                Why::Home(cluster.to_owned())
            },
            place,
            cluster: Some(cluster.to_owned()),
        }
    }

    /// Returns the machines of a cluster as a table.
    pub(crate) async fn machine_table(
        &self,
        session: &Session,
        request: &ClusterRequest,
    ) -> Result<String, CommandError> {
        let failed = |e| of_api("can't list the machines", e);
        let kind = kinds::own_by_kind("Machine")
            .ok_or_else(|| CommandError::new(ErrorKind::Failed, "there is no kind Machine"))?;
        let selector = format!("{}={}", labels::CLUSTER_NAME, request.name);
        let path = kind.path(Some(&request.namespace), None);
        let list = http::Request::get(format!("{path}?{}", query(&[("labelSelector", &selector)])))
            .header("Accept", output::TABLE)
            .body(Vec::new())
            .map_err(|e| failed(kube::Error::HttpError(e)))?;
        let answer = session.client.request(list).await.map_err(failed)?;
        Ok(output::table(&answer, &kind, Columns::default(), true))
    }
}
