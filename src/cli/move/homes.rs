//! After a move: contexts of clusters that moved say where their Cluster object stands now.

use crate::{
    cli::context::{App, Purpose},
    client::{Place, Session},
    cluster::pivot::settle,
    error::CommandError,
    kubeconfig::{Context, Extension, Kubeconfig, Management},
    pivot::report::Report,
};

/// Rewrites what the contexts of the clusters that moved say. Contexts of other programs are left as they are.
pub(super) fn rewrite(
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
    }
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
