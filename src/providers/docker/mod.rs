//! Machines that are containers on a Docker host. It knows nothing of Kubernetes but what it is given.
//!
//! A container is made, gets its bootstrap data as an archive, and is started; from then on it is only looked at.
//! All that has to be remembered lies in the container itself: its labels say for whom and from what it was made,
//! its files say how its bootstrap script ended. So a process that stops in the middle loses nothing.

mod client;
pub mod cloud_config;
mod errors;
mod image;
mod launch;
mod load;
mod local;
mod log;
pub mod script;
mod spec;
mod state;

use std::{collections::BTreeMap, env, io::Read as _, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

pub use self::{
    client::{Container, PullProgress},
    image::Watcher,
    load::{Held, LoadError, LocalImage},
    spec::NETWORK,
};
use self::{
    client::{Engine, EngineError},
    cloud_config::Metadata,
    errors::{Attempt, explain},
    image::Images,
    launch::{Launcher, Work},
    script::Entry,
    state::{Ownership, Seen, Status, Verdict},
};
use super::{Actuator, ActuatorError, Deletion, Instance, InstanceSpec, InstanceState};
use crate::{
    api::v1alpha1::{DockerMachineSpec, NodeImage},
    time::{Clock, SystemClock},
};

/// Containers that are removed at the same time.
const REMOVALS: usize = 8;

/// Makes containers and looks after them.
pub struct DockerActuator {
    engine: Engine,
    clock: Arc<dyn Clock>,
    images: Images,
    launcher: Launcher,
    /// One at a time: the daemon makes two networks of the same name if it is asked twice at once.
    network: tokio::sync::Mutex<()>,
}

impl DockerActuator {
    /// Connects to the Docker daemon that `DOCKER_HOST` names, or to the one of this machine.
    ///
    /// # Errors
    /// Says how to start the daemon, how to get permission, or what to use instead.
    pub async fn connect() -> Result<Self, ActuatorError> {
        let engine = Engine::connect().await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            images: Images::new(engine.clone(), Arc::clone(&clock)),
            launcher: Launcher::new(engine.clone()),
            network: tokio::sync::Mutex::default(),
            engine,
            clock,
        })
    }

    /// Sets who is told how pulls of images go on.
    #[must_use]
    pub fn watching_pulls(mut self, watcher: Watcher) -> Self {
        self.images.watch(watcher);
        self
    }

    /// Lists the containers of a cluster, running or not, by name.
    pub async fn containers_of(&self, cluster: &str) -> Result<Vec<Container>, ActuatorError> {
        let what = format!("list the containers of cluster {cluster}");
        let found = self.engine.list(&format!("{}={cluster}", spec::CLUSTER)).await;
        let mut containers = found.map_err(|e| explain(Attempt::Other(&what), &e))?;
        // clusters that kind made bear the same label; they live in a network of their own
        containers.retain(|c| c.object.is_some() || c.networks.iter().any(|n| n == spec::NETWORK));
        Ok(containers)
    }

    /// Removes all containers of a cluster with their volumes, whether or not objects for them exist, and returns
    /// their names.
    pub async fn remove_cluster(&self, cluster: &str) -> Result<Vec<String>, ActuatorError> {
        let containers = self.containers_of(cluster).await?;
        stream::iter(containers)
            .map(|container| async move {
                self.remove(&container.name, &container.name).await?;
                Ok(container.name)
            })
            .buffered(REMOVALS)
            .try_collect()
            .await
    }

    async fn inspect(&self, name: &str) -> Result<Option<Seen>, ActuatorError> {
        let what = format!("look at container {name}");
        self.engine
            .inspect(name)
            .await
            .map_err(|e| explain(Attempt::Other(&what), &e))
    }

    async fn remove(&self, id: &str, name: &str) -> Result<Deletion, ActuatorError> {
        let what = format!("remove container {name}");
        self.engine
            .remove(id)
            .await
            .map_err(|e| explain(Attempt::Other(&what), &e))
    }

    /// What the container is now. One look at the container, and one at its verdict if that matters.
    async fn judge(
        &self,
        seen: &Seen,
        spec: &InstanceSpec,
        settings: &DockerMachineSpec,
    ) -> Result<Instance, ActuatorError> {
        let what = format!("read how far container {} is", seen.name);
        let mut verdict = Verdict::default();
        if seen.has_bootstrap() && matches!(seen.status, Status::Running | Status::Exited) {
            let archive = self.engine.get(&seen.id, script::VERDICT).await;
            let archive = archive.map_err(|e| explain(Attempt::Other(&what), &e))?;
            verdict = archive.map_or_else(Verdict::default, |archive| Verdict::read(&archive));
        }
        let mut state = seen.state(&verdict, settings, self.clock.now());
        if let InstanceState::Failed { reason, message } = &state
            && verdict.result.is_none()
        {
            let log = self.log_of(seen, &verdict).await;
            state = state::with_log(reason, message, &log);
        }
        Ok(Instance {
            provider_id: format!("docker://{}", seen.name),
            node_name: seen.name.clone(),
            state,
            addresses: seen.addresses(),
            api_endpoint: seen.api_endpoint(spec.role),
            attempt: seen.attempt(spec.attempt),
            notes: Vec::new(),
            settled_for: None,
        })
    }

    /// The log that says most about a container that did not come up: its script's, or else its first process'.
    async fn log_of(&self, seen: &Seen, verdict: &Verdict) -> Vec<u8> {
        if verdict.begun
            && let Ok(Some(archive)) = self.engine.get(&seen.id, script::LOG).await
            && let Some(log) = first_file(&archive)
        {
            return log;
        }
        self.engine.logs(&seen.id, 40).await.unwrap_or_default()
    }

    /// Makes sure that the network is there and returns its address ranges.
    async fn network(&self) -> Result<Vec<String>, ActuatorError> {
        let failed = |e: EngineError| explain(Attempt::Network(spec::NETWORK), &e);
        let _one = self.network.lock().await;
        if let Some(ranges) = self.engine.network(spec::NETWORK).await.map_err(failed)? {
            return Ok(ranges);
        }
        self.engine
            .create_network(spec::network())
            .await
            .map_err(failed)?;
        let made = self.engine.network(spec::NETWORK).await.map_err(failed)?;
        Ok(made.unwrap_or_default())
    }

    /// Makes and starts a new container, and returns what is worth telling about it.
    async fn make(
        &self,
        spec: &InstanceSpec,
        settings: &DockerMachineSpec,
    ) -> Result<Vec<(String, String)>, ActuatorError> {
        let (image, mut direct) = futures::try_join!(self.images.get(&settings.image), self.network())?;
        direct.extend([settings.cluster_name.clone(), settings.container_name.clone()]);
        let (entries, ignored) = bootstrap(spec, settings)?;
        let work = Work {
            spec,
            settings,
            image: &image,
            proxy: spec::proxy_environment(&own_environment(), &direct),
            entries,
        };
        let missing = self.launcher.launch(&work).await?;
        let name = &settings.container_name;
        let mut notes = Vec::new();
        if !missing.is_empty() {
            let missing: Vec<String> = missing.iter().map(|c| format!("CAP_{c}")).collect();
            notes.push((
                "PrivilegesRestricted".to_owned(),
                format!(
                    "container {name} has all capabilities one by one instead of --privileged: the Docker daemon can't give {}",
                    missing.join(", ")
                ),
            ));
        }
        if !ignored.is_empty() {
            notes.push((
                "BootstrapFieldsIgnored".to_owned(),
                format!(
                    "bootstrap data has fields without meaning in a container: {}",
                    ignored.join(", ")
                ),
            ));
        }
        Ok(notes)
    }

    /// Removes what stands in the way of a new container, or fails if that is somebody else's.
    async fn clear(&self, seen: &Seen) -> Result<(), ActuatorError> {
        match self.remove(&seen.id, &seen.name).await? {
            Deletion::Gone => Ok(()),
            Deletion::InProgress | Deletion::Takes(_) => Err(being_removed(&seen.name)),
        }
    }
}

#[async_trait]
impl Actuator for DockerActuator {
    fn needs_bootstrap(&self) -> bool {
        true
    }

    async fn node_image(&self, infrastructure: &Value) -> Result<Option<NodeImage>, ActuatorError> {
        let settings = spec::settings(infrastructure)?;
        self.images.describe(&settings.image).await.map(Some)
    }

    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError> {
        let settings = spec::settings(&spec.infrastructure)?;
        let Some(seen) = self.inspect(&settings.container_name).await? else {
            return Ok(None);
        };
        match seen.ownership(spec, &settings) {
            _ if seen.status == Status::Removing => Err(being_removed(&seen.name)),
            Ownership::Own | Ownership::Adoptable => self.judge(&seen, spec, &settings).await.map(Some),
            other => Err(taken(&seen, other)),
        }
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError> {
        let settings = spec::settings(&spec.infrastructure)?;
        let name = &settings.container_name;
        let mut notes = Vec::new();
        match self.inspect(name).await? {
            None => notes = self.make(spec, &settings).await?,
            Some(seen) if seen.status == Status::Removing => return Err(being_removed(name)),
            Some(seen) => match seen.ownership(spec, &settings) {
                Ownership::Own | Ownership::Adoptable => {
                    // one that was never started may lack its bootstrap data
                    if seen.attempt(spec.attempt) < spec.attempt || seen.status == Status::Created {
                        self.clear(&seen).await?;
                        notes = self.make(spec, &settings).await?;
                    } else {
                        self.wake(&seen, spec, &settings).await?;
                    }
                }
                other => return Err(taken(&seen, other)),
            },
        }
        let seen = self.inspect(name).await?;
        let seen = seen.ok_or_else(|| {
            ActuatorError::transient(format!("container {name} was made and is gone again"))
        })?;
        let mut instance = self.judge(&seen, spec, &settings).await?;
        instance.notes = notes;
        Ok(instance)
    }

    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError> {
        let settings = spec::names(&spec.infrastructure);
        if settings.container_name.is_empty() {
            return Ok(Deletion::Gone);
        }
        let Some(seen) = self.inspect(&settings.container_name).await? else {
            return Ok(Deletion::Gone);
        };
        match seen.ownership(spec, &settings) {
            Ownership::Own | Ownership::Adoptable => self.remove(&seen.id, &seen.name).await,
            Ownership::Former | Ownership::Foreign => Ok(Deletion::Gone),
        }
    }
}

impl DockerActuator {
    /// Lets a container that stands still go on, unless it has failed.
    async fn wake(
        &self,
        seen: &Seen,
        spec: &InstanceSpec,
        settings: &DockerMachineSpec,
    ) -> Result<(), ActuatorError> {
        let woken = match seen.status {
            Status::Paused => self.engine.unpause(&seen.id).await,
            Status::Exited if self.judge(seen, spec, settings).await?.state == InstanceState::Stopped => {
                self.engine.start(&seen.id).await
            }
            _ => return Ok(()),
        };
        woken.map_err(|e| explain(Attempt::Container(&seen.name), &e))
    }
}

/// What is put into a container before it starts, and the fields that have no meaning there.
fn bootstrap(
    spec: &InstanceSpec,
    settings: &DockerMachineSpec,
) -> Result<(Vec<Entry>, Vec<String>), ActuatorError> {
    let Some(data) = &spec.bootstrap else {
        return Ok((Vec::new(), Vec::new()));
    };
    let meta = Metadata {
        local_hostname: &settings.container_name,
        instance_id: &settings.container_name,
    };
    let (_, time_limit) = state::timeouts(settings);
    let translated = script::translate(data.expose(), meta, time_limit).map_err(|e| {
        ActuatorError::terminal("InvalidConfiguration", format!("machine {}: {e}", spec.machine))
    })?;
    Ok((translated.entries, translated.ignored))
}

/// The proxy settings of this process.
fn own_environment() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY"))
        .collect()
}

fn being_removed(name: &str) -> ActuatorError {
    ActuatorError::transient(format!("container {name} is still being removed"))
}

/// The name is in use by a container that is not this machine's.
fn taken(seen: &Seen, ownership: Ownership) -> ActuatorError {
    let (name, labels) = (&seen.name, &seen.labels);
    let whose = match (ownership, labels.get(spec::CLUSTER)) {
        (Ownership::Former, Some(cluster)) => {
            format!(
                "was made for an earlier cluster {cluster} (machinectl delete cluster {cluster}, or docker rm -f -v {name}, removes it)"
            )
        }
        (_, Some(cluster)) => match (labels.get(spec::NAMESPACE), labels.get(spec::NAME)) {
            (Some(namespace), Some(object)) => {
                format!(
                    "belongs to {namespace}/{object} of cluster {cluster}: choose another name, or docker rm -f -v {name}"
                )
            }
            _ => format!("belongs to cluster {cluster}: choose another name, or docker rm -f -v {name}"),
        },
        (_, None) => format!("is no machine: choose another name, or docker rm -f -v {name}"),
    };
    ActuatorError::terminal(
        "InvalidConfiguration",
        format!("the name {name} is taken by a container that {whose}"),
    )
}

/// Content of the first file of an archive.
fn first_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let mut content = Vec::new();
    entry.read_to_end(&mut content).ok()?;
    Some(content)
}
