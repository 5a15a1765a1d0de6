//! After a move: contexts of clusters that moved say where their Cluster object stands now.

use kube::Api;

use crate::{
    api::v1alpha1::{ApiServerKind, Cluster},
    cli::{
        context::{App, Purpose},
        error::of_api,
    },
    client::{Place, Session},
    cluster::{access, pivot::settle},
    error::CommandError,
    kubeconfig::{self, Context, Entry, Extension, Kubeconfig, Management, Paths, Secret},
    pivot::report::Report,
};

/// Rewrites what the contexts of the clusters that moved say. Contexts of other programs are left as they are.
pub(super) async fn rewrite(
    app: &App,
    source: &Session,
    target: &Session,
    report: &Report,
) -> Result<(), CommandError> {
    let (_, config, paths) = app.choose(Purpose::Read)?;
    for (namespace, cluster) in &report.clusters {
        let Some(context) = config.context_of_cluster(cluster) else {
            continue;
        };
        let Some(extension) = &context.extension else {
            continue;
        };
        if extension.namespace.as_ref().is_some_and(|n| n != namespace)
            || !stood(extension, &context.name, source)
        {
            continue;
        }
        settle(&paths, &context, &place_of(&context, &config, target))?;
        if let Some(entry) = hollow(target, namespace, cluster, &context, &config).await? {
            lead_there(&paths, entry, &context)?;
        }
    }
    Ok(())
}

/// A hollow cluster has no API server of its own: its context has to lead to the one that holds its objects now.
async fn hollow(
    target: &Session,
    namespace: &str,
    name: &str,
    context: &Context,
    config: &Kubeconfig,
) -> Result<Option<Entry>, CommandError> {
    let found = Api::<Cluster>::namespaced(target.client.clone(), namespace)
        .get_opt(name)
        .await;
    let found = found.map_err(|e| of_api(format!("can't look for cluster {name}"), e))?;
    let Some(cluster) = found.filter(|c| c.spec.api_server == ApiServerKind::Management) else {
        return Ok(None);
    };
    let Place::Context(there) = &target.target.place else {
        return Ok(access::entry(target, &cluster, namespace, false).await?);
    };
    // What a file leads to that is none of the kubeconfig is not brought into it.
    Ok(config.bodies(there).map(|(cluster_body, user_body)| Entry {
        context: context.name.clone(),
        cluster: name.to_owned(),
        user: context.name.clone(),
        cluster_body: cluster_body.clone(),
        user_body: Secret(user_body.clone()),
        namespace: Some(namespace.to_owned()),
        extension: None,
    }))
}

/// Has a context lead where an entry leads. What it says of who manages the cluster is settled already.
fn lead_there(paths: &Paths, mut entry: Entry, context: &Context) -> Result<(), CommandError> {
    let settled = Kubeconfig::load(paths)?.context(&context.name);
    entry.extension = settled.and_then(|context| context.extension);
    kubeconfig::merge(paths, &entry, false)?;
    Ok(())
}

/// Whether a context says that its Cluster stands in the source.
fn stood(extension: &Extension, context: &str, source: &Session) -> bool {
    match (extension.home(), &source.target.place) {
        (Management::Embedded, Place::Embedded(_)) => true,
        (Management::Context(name), Place::Context(source)) => name == source,
        (Management::Itself, Place::Context(source)) => context == source,
        _ => false,
    }
}

/// Where its Cluster object stands now. A cluster that manages itself is the one whose own context was moved to.
fn place_of(context: &Context, config: &Kubeconfig, target: &Session) -> Place {
    match &target.target.place {
        Place::Context(name) if config.context(name).is_some_and(|c| c.cluster == context.cluster) => {
            Place::Context(context.name.clone())
        }
        other => other.clone(),
    }
}
