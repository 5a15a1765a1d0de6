//! Which cluster a command talks to, and why. Pure: it opens no connection.

use std::{fmt, path::PathBuf};

use super::ClientError;
use crate::{
    config::{NAMESPACE, Settings},
    kubeconfig::{Extension, Kubeconfig, Management},
};

/// What the command line says about the cluster.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `--context`.
    pub context: Option<String>,
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--embedded`.
    pub embedded: bool,
    /// `--namespace`.
    pub namespace: Option<String>,
}

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On the embedded API server with this state folder.
    Embedded(PathBuf),
    /// On the cluster of this context.
    Context(String),
    /// On the cluster that this process is a pod of.
    InCluster,
}

/// Why it is that cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A flag says so.
    Flag(&'static str),
    /// It is the current context.
    Current,
    /// It manages the cluster of this context.
    Manages(String),
    /// There is no kubeconfig, or none with a current context.
    NothingElse,
    /// This process is a pod of it.
    Pod,
    /// The command works with nothing else.
    Only,
    /// The Cluster object that the command names stands there.
    Home(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag} says so"),
            Self::Current => f.write_str("it is the current context"),
            Self::Manages(context) => write!(f, "it manages the cluster of context {context}"),
            Self::NothingElse => f.write_str("the kubeconfig has no current context"),
            Self::Pod => f.write_str("this process is one of its pods"),
            Self::Only => f.write_str("this command works with no other"),
            Self::Home(cluster) => write!(f, "it holds the Cluster {cluster}"),
        }
    }
}

/// The cluster that a command talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the objects are.
    pub place: Place,
    /// Why there.
    pub why: Why,
    /// Namespace that the command works in.
    pub namespace: String,
    /// Cluster that the chosen context belongs to, if the context says so.
    pub cluster: Option<String>,
}

impl Target {
    /// Returns the name under which the user knows the place.
    pub fn name(&self) -> &str {
        match &self.place {
            Place::Embedded(_) => "embedded",
            Place::Context(name) => name,
            Place::InCluster => "in-cluster",
        }
    }

    /// Whether it is the embedded API server.
    pub const fn is_embedded(&self) -> bool {
        matches!(self.place, Place::Embedded(_))
    }

    /// Chooses the cluster.
    ///
    /// # Errors
    /// Fails when a context is named that does not exist, or there is no state folder for the embedded server.
    pub fn choose(
        selection: &Selection,
        config: &Kubeconfig,
        settings: &Settings,
    ) -> Result<Self, ClientError> {
        let embedded = |why, namespace: Option<String>, cluster, state: Option<PathBuf>| {
            let dir = state
                .or_else(|| settings.embedded_state())
                .ok_or(ClientError::NoState)?;
            Ok(Self {
                place: Place::Embedded(dir),
                why,
                namespace: selection
                    .namespace
                    .clone()
                    .or(namespace)
                    .unwrap_or_else(|| NAMESPACE.to_owned()),
                cluster,
            })
        };
        if selection.embedded {
            return embedded(Why::Flag("--embedded"), None, None, None);
        }
        let named = selection.context.as_deref().or(config.current_context());
        let Some(name) = named else {
            if settings.in_cluster {
                return Ok(Self {
                    place: Place::InCluster,
                    why: Why::Pod,
                    namespace: selection
                        .namespace
                        .clone()
                        .unwrap_or_else(|| NAMESPACE.to_owned()),
                    cluster: None,
                });
            }
            return embedded(Why::NothingElse, None, None, None);
        };
        let flag = selection.context.is_some();
        let why = if flag {
            Why::Flag("--context")
        } else {
            Why::Current
        };
        let Some(context) = config.context(name) else {
            if name == "embedded" {
                return embedded(why, None, None, None);
            }
            return Err(ClientError::NoSuchContext {
                name: name.to_owned(),
                known: config
                    .context_names()
                    .into_iter()
                    .map(ToOwned::to_owned)
                    .collect(),
            });
        };
        let here = |name: &str, why, namespace: Option<String>, cluster| Self {
            place: Place::Context(name.to_owned()),
            why,
            namespace: selection
                .namespace
                .clone()
                .or(namespace)
                .unwrap_or_else(|| NAMESPACE.to_owned()),
            cluster,
        };
        let Some(Extension {
            management,
            home: _,
            cluster,
            namespace,
            state,
        }) = context.extension
        else {
            return Ok(here(name, why, context.namespace, None));
        };
        match management {
            Management::Itself => Ok(here(name, why, context.namespace.or(namespace), cluster)),
            Management::Embedded => {
                let why = if name == "embedded" {
                    why
                } else {
                    Why::Manages(name.to_owned())
                };
                embedded(why, namespace, cluster, state)
            }
            Management::Context(manager) => {
                if config.context(&manager).is_none() {
                    return Err(ClientError::NoManager {
                        context: name.to_owned(),
                        manager,
                    });
                }
                Ok(here(&manager, Why::Manages(name.to_owned()), namespace, cluster))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeconfig::Paths;

    const CONFIG: &str = "
kind: Config
current-context: kubernetes-admin@dev
contexts:
- name: plain
  context: {cluster: plain, user: u, namespace: team}
- name: kubernetes-admin@dev
  context:
    cluster: dev
    user: u
    extensions:
    - {name: other, extension: {management: nonsense}}
    - {name: machinectl.crit.sh, extension: {management: embedded, cluster: dev, namespace: ns1}}
- name: far
  context:
    cluster: far
    user: u
    extensions:
    - {name: machinectl.crit.sh, extension: {management: plain, cluster: far, namespace: ns2}}
- name: lost
  context:
    cluster: far
    user: u
    extensions:
    - {name: machinectl.crit.sh, extension: {management: gone}}
- name: own
  context:
    cluster: own
    user: u
    extensions:
    - {name: machinectl.crit.sh, extension: {management: self, home: embedded, cluster: own}}
";

    #[expect(
        clippy::unwrap_in_result,
        reason = "what goes wrong before the choice is a failed test"
    )]
    fn choose(context: Option<&str>, embedded: bool, text: &str) -> Result<Target, ClientError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, text).unwrap();
        let config = Kubeconfig::load(&Paths::choose(Some(&path), None, None)).unwrap();
        let selection = Selection {
            context: context.map(ToOwned::to_owned),
            embedded,
            ..Selection::default()
        };
        let settings = Settings {
            state: Some("/state".into()),
            ..Settings::default()
        };
        Target::choose(&selection, &config, &settings)
    }

    fn short(target: &Target) -> (String, String, String, Option<String>) {
        (
            target.name().to_owned(),
            target.why.to_string(),
            target.namespace.clone(),
            target.cluster.clone(),
        )
    }

    #[test]
    fn a_command_goes_to_the_cluster_that_manages_the_current_context() {
        let target = choose(None, false, CONFIG).unwrap();
        assert_eq!(target.place, Place::Embedded("/state/embedded".into()));
        assert_eq!(
            short(&target),
            (
                "embedded".into(),
                "it manages the cluster of context kubernetes-admin@dev".into(),
                "ns1".into(),
                Some("dev".into())
            )
        );
        let far = choose(Some("far"), false, CONFIG).unwrap();
        assert_eq!(
            short(&far),
            (
                "plain".into(),
                "it manages the cluster of context far".into(),
                "ns2".into(),
                Some("far".into())
            )
        );
    }

    #[test]
    fn a_context_without_our_word_or_with_self_manages_itself() {
        let plain = choose(Some("plain"), false, CONFIG).unwrap();
        assert_eq!(
            short(&plain),
            ("plain".into(), "--context says so".into(), "team".into(), None)
        );
        assert_eq!(choose(Some("own"), false, CONFIG).unwrap().name(), "own");
    }

    #[test]
    fn without_a_kubeconfig_it_is_the_embedded_server() {
        assert_eq!(choose(None, false, "").unwrap().why, Why::NothingElse);
        assert_eq!(choose(None, true, CONFIG).unwrap().why, Why::Flag("--embedded"));
        assert!(choose(Some("embedded"), false, "").unwrap().is_embedded());
    }

    #[test]
    fn contexts_that_lead_nowhere_are_named() {
        assert!(matches!(
            choose(Some("nope"), false, CONFIG),
            Err(ClientError::NoSuchContext { .. })
        ));
        assert!(matches!(
            choose(Some("lost"), false, CONFIG),
            Err(ClientError::NoManager { .. })
        ));
    }
}
