//! `kubeconfig`: prints how to get at a cluster, or merges it into the kubeconfig.

use clap::Args;
use kube::Api;

use super::{
    context::{App, Purpose},
    error::of_api,
    output::{self, Output},
};
use crate::{
    api::v1alpha1::Cluster,
    client::{ClientError, Place, embedded},
    cluster::access,
    error::{CommandError, ErrorKind},
    kubeconfig::{self, Entry},
    time::SystemClock,
};

/// Print the kubeconfig of a cluster, or merge it into your own
///
/// Without a name it is that of the embedded API server. It holds credentials: treat the output as a secret.
#[derive(Debug, Args)]
pub(crate) struct KubeconfigArgs {
    /// Cluster
    name: Option<String>,
    /// Merge it into the kubeconfig in place of printing it
    #[arg(long)]
    merge: bool,
}

pub(crate) async fn run(app: &App, args: KubeconfigArgs) -> Result<(), CommandError> {
    let KubeconfigArgs { name, merge } = args;
    let (target, config, paths) = app.choose(Purpose::WriteKubeconfig)?;
    let entry = match name {
        None => of_embedded(app, &target.place)?,
        Some(name) => {
            let target = app.home_of(&name, target, &config);
            let session = app.connect_to(target, &paths, Purpose::Read).await?;
            app.prepare(&session).await?;
            let namespace = session.target.namespace.clone();
            let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), &namespace);
            let cluster = clusters
                .get_opt(&name)
                .await
                .map_err(|e| of_api(format!("can't look for cluster {name}"), e))?
                .ok_or_else(|| {
                    CommandError::new(
                        ErrorKind::NotFound,
                        format!("there is no cluster \"{name}\" in namespace {namespace}"),
                    )
                    .hinted("see what there is: machinectl get clusters -A")
                })?;
            let managed = config
                .context_of_cluster(&name)
                .and_then(|c| c.extension)
                .is_some_and(|e| e.home.is_some());
            access::entry(&session, &cluster, &namespace, managed)
                .await?
                .ok_or_else(|| {
                    CommandError::new(
                        ErrorKind::NotFound,
                        format!("cluster \"{name}\" has no kubeconfig yet"),
                    )
                    .hinted(format!("see how far it is: machinectl describe cluster {name}"))
                })?
        }
    };
    if !merge {
        return app.data(&output::document(&entry.document(), Output::Yaml)?);
    }
    let file = kubeconfig::merge(&paths, &entry, true)?;
    app.ui.say(&format!(
        "Set kubectl context to \"{}\" in {}",
        entry.context,
        file.display()
    ));
    Ok(())
}

fn of_embedded(app: &App, place: &Place) -> Result<Entry, CommandError> {
    let dir = match place {
        Place::Embedded(dir) => dir.clone(),
        Place::Context(_) | Place::InCluster => app.settings.embedded_state().ok_or(ClientError::NoState)?,
    };
    if !dir.exists() {
        return Err(CommandError::new(
            ErrorKind::NotFound,
            "the embedded API server has not been used yet",
        )
        .hinted("begin with: machinectl init --embedded"));
    }
    Ok(embedded::entry(&dir, None, &SystemClock).map_err(ClientError::from)?)
}
