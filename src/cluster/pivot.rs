//! Lets a cluster manage itself, and takes it back: controllers are installed in it, and its objects move there or away from there.

use std::{sync::Arc, time::Duration};

use kube::{Api, ResourceExt as _, api::ListParams};

use super::{ClusterError, Story};
use crate::{
    api::v1alpha1::Cluster,
    client::{Patience, Place, Session},
    install::{self, Options, Provider},
    kubeconfig::{self, Context, Extension, Management, Paths},
    pivot::{
        Site, Stop,
        journal::{Book, Extent, Phase},
        report::Report,
        sequence::{Move, Unsettled},
    },
    time::SystemClock,
};

/// Why a cluster does not manage itself, or can't be taken back.
#[derive(Debug, thiserror::Error)]
pub enum PivotError {
    /// Something of the cluster could not be asked or done.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The controllers could not be installed.
    #[error(transparent)]
    Install(#[from] install::InstallError),
    /// The objects could not be moved.
    #[error(transparent)]
    Move(#[from] crate::pivot::MoveError),
    /// It manages others, too, which would be left alone.
    #[error("cluster \"{name}\" manages other clusters, too: {}", others.join(", "))]
    ManagesOthers {
        /// The cluster.
        name: String,
        /// The others, with their namespaces.
        others: Vec<String>,
    },
}

/// A cluster that is to manage itself, or to be managed from elsewhere again.
pub struct Pivot<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// Namespace of its objects.
    pub namespace: &'a str,
    /// Is told what happens.
    pub story: &'a Arc<dyn Story>,
    /// Says when to stop.
    pub stop: Stop,
    /// How long to wait.
    pub limit: Duration,
}

impl Pivot<'_> {
    /// Installs the controllers in the cluster, and moves its objects from `home` there. The same call goes on where an interrupted one stood.
    ///
    /// # Errors
    /// Fails when the controllers do not come up or the objects can't be moved; the cluster is managed as before then, unless the error says
    /// otherwise.
    pub async fn into_itself(&self, home: &Session, itself: &Session) -> Result<Report, PivotError> {
        self.story.step("Installing the controllers in the cluster");
        let wanted = install::Request::new(
            install::Scope::Controllers,
            Provider::ALL.to_vec(),
            install::IMAGE,
        );
        let options = Options {
            dry_run: false,
            take_over: false,
        };
        install::install(&itself.client, &wanted, options).await?;
        install::wait_available(&itself.client, self.limit, |text| self.story.detail(text)).await?;
        Ok(self.moved(home, itself, Unsettled::Wait(self.limit)).await?)
    }

    /// Moves the objects of a cluster that manages itself to `home`, so that it can be deleted from there.
    ///
    /// # Errors
    /// Fails when it manages other clusters, too, or the objects can't be moved.
    pub async fn out_of_itself(&self, itself: &Session, home: &Session) -> Result<Report, PivotError> {
        let clusters: Api<Cluster> = Api::all(itself.client.clone());
        let all = clusters.list(&ListParams::default()).await;
        let all = all.map_err(ClusterError::api(format!(
            "can't see what cluster {} manages",
            self.name
        )))?;
        let others: Vec<String> = all
            .into_iter()
            .filter(|c| c.name_any() != self.name || c.namespace().as_deref() != Some(self.namespace))
            .map(|c| format!("{}/{}", c.namespace().unwrap_or_default(), c.name_any()))
            .collect();
        if !others.is_empty() {
            return Err(PivotError::ManagesOthers {
                name: self.name.to_owned(),
                others,
            });
        }
        Ok(self.moved(itself, home, Unsettled::Take).await?)
    }

    async fn moved(
        &self,
        source: &Session,
        target: &Session,
        unsettled: Unsettled,
    ) -> Result<Report, crate::pivot::MoveError> {
        let patience = Patience::default();
        let asked = Move {
            source: Site::new(&source.client, source.target.name(), patience).await?,
            target: Site::new(&target.client, target.target.name(), patience).await?,
            extent: Extent {
                namespace: Some(self.namespace.to_owned()),
                cluster: Some(self.name.to_owned()),
            },
            unsettled,
            story: Arc::clone(self.story),
            clock: Arc::new(SystemClock),
            stop: self.stop.clone(),
        };
        Box::pin(asked.run()).await
    }
}

/// Whether the pivot of a cluster was interrupted: its journal stands in `home`.
pub async fn is_under_way(home: &Session, name: &str, namespace: &str) -> Result<bool, ClusterError> {
    let found = Book::new(&home.client).read().await;
    let found = found.map_err(ClusterError::api("can't see whether objects move"))?;
    Ok(found.is_some_and(|(journal, _)| {
        journal.phase != Phase::Done
            && journal.extent.cluster.as_deref() == Some(name)
            && journal.extent.namespace.as_deref() == Some(namespace)
    }))
}

/// Writes into the kubeconfig who manages the cluster of a context from now on.
pub fn settle(paths: &Paths, context: &Context, home: &Place) -> Result<(), ClusterError> {
    let Some(extension) = &context.extension else {
        return Ok(());
    };
    let (management, state) = match home {
        Place::Embedded(dir) => (Management::Embedded, Some(dir.clone())),
        Place::Context(name) if *name != context.name => (Management::Context(name.clone()), None),
        Place::Context(_) | Place::InCluster => (Management::Itself, None),
    };
    let changed = Extension {
        management,
        home: None,
        state,
        ..extension.clone()
    };
    Ok(kubeconfig::set_extension(paths, &context.name, &changed)?)
}
