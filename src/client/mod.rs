//! A client for the cluster that a command talks to: a real one, or the embedded API server here or in another process.
//!
//! Code above can't tell which it is. Nothing here prints.

pub mod embedded;
pub(crate) mod kinds;
mod patient;
mod target;

use std::sync::Arc;

use kube::{Client, config::KubeConfigOptions};
use serde::Deserialize;
use serde_json::Value;

pub use patient::Patience;
pub(crate) use patient::{Count, Direct, patient};
pub use target::{Place, Selection, Target, Why};

use self::embedded::{Embedded, EmbeddedError, Opened};
use crate::{
    config::Settings,
    kubeconfig::{Kubeconfig, KubeconfigError, Paths},
    time::SystemClock,
};

/// Field manager of what commands write.
pub const FIELD_MANAGER: &str = "machinectl";

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig can't be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The file that `--kubeconfig` names does not exist.
    #[error("{} does not exist", .0.display())]
    NoSuchFile(std::path::PathBuf),
    /// A context is named that does not exist.
    #[error("there is no context \"{name}\" in the kubeconfig")]
    NoSuchContext {
        /// The context.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// A context says that another one manages it, and that one does not exist.
    #[error("context \"{context}\" is managed from context \"{manager}\", which is not in the kubeconfig")]
    NoManager {
        /// The context.
        context: String,
        /// The one that is missing.
        manager: String,
    },
    /// There is no place for the embedded server's state.
    #[error("there is no place for the embedded API server's state: HOME is not set")]
    NoState,
    /// A context holds something that can't be used.
    #[error("context \"{context}\" can't be used")]
    Context {
        /// The context.
        context: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The embedded server can't be opened.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}

/// A client, and the embedded server if it runs in this process.
pub struct Session {
    /// The client.
    pub client: Client,
    /// Which cluster it is.
    pub target: Target,
    /// Host and port of the API server; `embedded` for the one in this program.
    pub host: String,
    /// The embedded server, when this process holds it.
    pub server: Option<Embedded>,
}

impl Session {
    /// Whether the embedded server runs in another process.
    pub const fn is_elsewhere(&self) -> bool {
        self.target.is_embedded() && self.server.is_none()
    }
}

/// Reads the kubeconfig and chooses the cluster. `may_be_missing` says whether the file of `--kubeconfig` may not exist yet.
pub fn choose(
    selection: &Selection,
    settings: &Settings,
    may_be_missing: bool,
) -> Result<(Target, Kubeconfig, Paths), ClientError> {
    let paths = settings.kubeconfig_paths(selection.kubeconfig.as_deref());
    if paths.is_explicit()
        && !may_be_missing
        && let [file] = paths.files()
        && !file.exists()
    {
        return Err(ClientError::NoSuchFile(file.clone()));
    }
    let config = Kubeconfig::load(&paths)?;
    let target = Target::choose(selection, &config, settings)?;
    Ok((target, config, paths))
}

/// Makes a client for a target.
pub async fn connect(target: Target, paths: &Paths) -> Result<Session, ClientError> {
    let (client, host, server) = match &target.place {
        Place::Embedded(dir) => {
            let host = "embedded".to_owned();
            match embedded::open(dir, Arc::new(SystemClock)).await? {
                Opened::Here(server) => (server.client(), host, Some(server)),
                Opened::Elsewhere(client) => (client, host, None),
            }
        }
        Place::Context(name) => {
            let (client, host) = of_context(name, paths).await?;
            (client, host, None)
        }
        Place::InCluster => {
            let name = "in-cluster";
            let config = kube::Config::incluster().map_err(unusable(name))?;
            let host = host_of(&config);
            let client = client_of(config).map_err(unusable(name))?;
            (client, host, None)
        }
    };
    Ok(Session {
        client,
        target,
        host,
        server,
    })
}

/// A client that passes on each answer as it comes: a refused eviction (429) is news to whoever drains, and not to be repeated in silence.
fn client_of(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Client::try_from(config)
}

fn host_of(config: &kube::Config) -> String {
    let authority = config.cluster_url.authority();
    authority.map_or_else(String::new, ToString::to_string)
}

/// A client for a context, and host and port of its API server.
async fn of_context(name: &str, paths: &Paths) -> Result<(Client, String), ClientError> {
    let context = Some(name.to_owned());
    let config = configured(name, Kubeconfig::load(paths)?.merged(), context).await?;
    let host = host_of(&config);
    Ok((client_of(config).map_err(unusable(name))?, host))
}

/// Makes a client from the text of a kubeconfig with one context, such as a cluster's admin kubeconfig.
pub async fn from_text(cluster: &str, text: &str) -> Result<Client, ClientError> {
    let file = crate::yaml::from_str(text).map_err(unusable(cluster))?;
    let config = configured(cluster, file, None).await?;
    client_of(config).map_err(unusable(cluster))
}

async fn configured(name: &str, file: Value, context: Option<String>) -> Result<kube::Config, ClientError> {
    let file = kube::config::Kubeconfig::deserialize(&file).map_err(unusable::<serde_json::Error>(name))?;
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    config.map_err(unusable(name))
}

/// Says which context something is wrong with.
fn unusable<E: std::error::Error + Send + Sync + 'static>(context: &str) -> impl Fn(E) -> ClientError {
    move |source| ClientError::Context {
        context: context.to_owned(),
        source: Box::new(source),
    }
}
