//! How the user gets at a cluster: kubeconfig entries and their removal.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::ClusterError;
use crate::{
    api::{
        names,
        v1alpha1::{ApiServerKind, Cluster},
    },
    client::{Place, Session, embedded},
    kubeconfig::{self, Entry, Extension, Management, Paths},
    time::SystemClock,
};

/// Returns the admin kubeconfig of a cluster that has an API server of its own; `None` if it is not made yet. It is a secret.
pub async fn admin_kubeconfig(
    session: &Session,
    cluster: &str,
    namespace: &str,
) -> Result<Option<String>, ClusterError> {
    let secrets: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    let secret = secrets
        .get_opt(&names::kubeconfig_secret(cluster))
        .await
        .map_err(ClusterError::api(format!(
            "can't read the kubeconfig of cluster {cluster}"
        )))?;
    Ok(secret
        .and_then(|s| s.data)
        .and_then(|mut d| d.remove("value"))
        .and_then(|v| String::from_utf8(v.0).ok()))
}

/// Returns the kubeconfig entry of a cluster; `None` if it is not made yet.
pub async fn entry(
    session: &Session,
    cluster: &Cluster,
    namespace: &str,
    machine_api: bool,
) -> Result<Option<Entry>, ClusterError> {
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let home = match &session.target.place {
        Place::Embedded(_) => Management::Embedded,
        Place::Context(context) if *context == kubeconfig::context_name(&name) => Management::Itself,
        Place::Context(context) => Management::Context(context.clone()),
        Place::InCluster => Management::Itself,
    };
    let mut extension = Extension {
        management: home.clone(),
        home: None,
        cluster: Some(name.clone()),
        namespace: Some(namespace.to_owned()),
        state: None,
    };
    if let Place::Embedded(dir) = &session.target.place {
        extension.state = Some(dir.clone());
    }
    match cluster.spec.api_server {
        ApiServerKind::Own => {
            if machine_api {
                // Machines that are applied there live there; the Cluster itself stays where it is.
                extension.management = Management::Itself;
                extension.home = Some(home);
            }
            let text = admin_kubeconfig(session, &name, namespace).await?;
            Ok(text
                .map(|text| Entry::for_cluster(&name, &text, Some(extension)))
                .transpose()?)
        }
        ApiServerKind::Management => match &session.target.place {
            Place::Embedded(dir) => {
                let mut entry = match &session.server {
                    Some(server) => server.kubeconfig_entry(),
                    None => embedded::entry(dir, None, &SystemClock),
                }
                .map_err(crate::client::ClientError::from)?;
                let context = kubeconfig::context_name(&name);
                entry.user.clone_from(&context);
                entry.context = context;
                entry.cluster = name;
                entry.namespace = Some(namespace.to_owned());
                entry.extension = Some(extension);
                Ok(Some(entry))
            }
            // The context that leads there is in the kubeconfig already.
            Place::Context(_) | Place::InCluster => Ok(None),
        },
    }
}

/// Takes the entries of a cluster out of the kubeconfig. Returns whether there were any.
pub fn forget(paths: &Paths, cluster: &str) -> Result<bool, ClusterError> {
    let context = kubeconfig::context_name(cluster);
    Ok(kubeconfig::remove(paths, &context, cluster, &context)?)
}
