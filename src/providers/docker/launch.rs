//! Makes and starts a container, with all privileges or with what the daemon can give. It leaves nothing half made.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Mutex, OnceCell};

use super::{
    client::{Engine, EngineError, Image},
    errors::{self, Attempt, explain},
    script::{self, Entry},
    spec::{self, Capabilities, Host, Surroundings},
};
use crate::{
    api::v1alpha1::{DockerMachineSpec, Privileges},
    providers::{ActuatorError, InstanceSpec, Role},
};

/// How often a container is made again because its port was taken in the meantime.
const PORTS: usize = 4;

/// All that a container is made from.
pub(super) struct Work<'a> {
    /// The machine.
    pub(super) spec: &'a InstanceSpec,
    /// Its infrastructure object.
    pub(super) settings: &'a DockerMachineSpec,
    /// Its image.
    pub(super) image: &'a Image,
    /// Proxy settings for it.
    pub(super) proxy: BTreeMap<String, String>,
    /// What is put into it before it starts.
    pub(super) entries: Vec<Entry>,
}

/// Starts containers and remembers what the daemon turned out to be able to do.
pub(super) struct Launcher {
    engine: Engine,
    host: OnceCell<Host>,
    /// Things that the daemon's host turned out not to have.
    no_lib_modules: AtomicBool,
    no_docker_socket: AtomicBool,
    known: Mutex<Known>,
}

/// Nothing is known until it was tried.
#[derive(Debug, Clone, Default)]
struct Known {
    auto: Option<Capabilities>,
    restricted: Option<Capabilities>,
}

impl Known {
    fn capabilities(&self, privileges: Privileges) -> Option<Capabilities> {
        match privileges {
            Privileges::Full => Some(Capabilities::Full),
            Privileges::Auto => self.auto.clone(),
            Privileges::Restricted => self.restricted.clone(),
        }
    }

    fn remember(&mut self, privileges: Privileges, works: &Capabilities) {
        if *works != Capabilities::Full {
            self.restricted = Some(works.clone());
        }
        if privileges == Privileges::Auto {
            self.auto = Some(works.clone());
        }
    }
}

impl Launcher {
    /// Makes a launcher that knows nothing yet.
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            host: OnceCell::new(),
            no_lib_modules: AtomicBool::new(false),
            no_docker_socket: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    /// Makes and starts a container, and returns the capabilities that it lacks.
    pub(super) async fn launch(&self, work: &Work<'_>) -> Result<Vec<String>, ActuatorError> {
        let privileges = work.settings.privileges;
        let known = self.known.lock().await.capabilities(privileges);
        if let Some(capabilities) = known {
            return self.settle(work, &capabilities).await;
        }
        // held while it is found out, so that many machines do not find out the same at once
        let mut known = self.known.lock().await;
        if let Some(capabilities) = known.capabilities(privileges) {
            drop(known);
            return self.settle(work, &capabilities).await;
        }
        let here = self.engine.is_local().then(missing_here).flatten();
        let doubtful = here.as_ref().is_some_and(|missing| !missing.is_empty());
        let refused = privileges == Privileges::Auto && doubtful && self.refuses_privileges(work).await;
        for capabilities in candidates(privileges, here) {
            if refused && capabilities == Capabilities::Full {
                continue;
            }
            match self.start(work, &capabilities).await? {
                Ok(()) => {
                    known.remember(privileges, &capabilities);
                    return Ok(missing(&capabilities));
                }
                Err(error) if errors::lacks_privileges(&error) => {
                    tracing::debug!(?capabilities, %error, "the Docker daemon can't give these capabilities");
                }
                Err(error) => return Err(explain(Attempt::Container(&work.settings.container_name), &error)),
            }
        }
        Err(unable(work))
    }

    async fn settle(
        &self,
        work: &Work<'_>,
        capabilities: &Capabilities,
    ) -> Result<Vec<String>, ActuatorError> {
        match self.start(work, capabilities).await? {
            Ok(()) => Ok(missing(capabilities)),
            Err(error) if errors::lacks_privileges(&error) => Err(unable(work)),
            Err(error) => Err(explain(Attempt::Container(&work.settings.container_name), &error)),
        }
    }

    /// Asks with a container that does nothing: a node that can't start costs much more time.
    async fn refuses_privileges(&self, work: &Work<'_>) -> bool {
        let name = format!("machinectl-probe-{}", uuid::Uuid::new_v4().simple());
        let Ok(id) = self.engine.create(&name, spec::probe(&work.image.id)).await else {
            return false;
        };
        let started = self.engine.start(&id).await;
        if let Err(error) = self.engine.remove(&id).await {
            tracing::debug!(container = name, %error, "can't remove the container that asked for privileges");
        }
        started.is_err_and(|error| errors::lacks_privileges(&error))
    }

    /// Makes and starts the container once. Goes on with another port if the chosen one was taken meanwhile, and
    /// without kernel modules if the host has none.
    async fn start(
        &self,
        work: &Work<'_>,
        capabilities: &Capabilities,
    ) -> Result<Result<(), EngineError>, ActuatorError> {
        let name = &work.settings.container_name;
        let mut entries = work.entries.clone();
        if *capabilities != Capabilities::Full {
            entries.extend(script::entrypoint());
        }
        let archive = script::archive(&entries).map_err(|e| {
            ActuatorError::terminal(
                "InvalidConfiguration",
                format!("bootstrap data of container {name} can't be packed: {e}"),
            )
        })?;
        let mut ports = PORTS;
        loop {
            let api_port = self.free_port(work.spec.role);
            let around = Surroundings {
                capabilities,
                host: &self.host().await?,
                proxy: &work.proxy,
                api_port,
                entrypoint: &work.image.entrypoint,
                command: &work.image.command,
            };
            let body = spec::container(work.spec, work.settings, &around)?;
            let id = match self.engine.create(name, body).await {
                Ok(id) => id,
                Err(e) if self.goes_without(around.host, &e) => continue,
                Err(e) => return Ok(Err(e)),
            };
            let started = match self.engine.put(&id, archive.clone()).await {
                Ok(()) => self.engine.start(&id).await,
                Err(e) => Err(e),
            };
            let Err(error) = started else {
                return Ok(Ok(()));
            };
            if let Err(e) = self.engine.remove(&id).await {
                tracing::warn!(container = name, error = %e, "can't remove a container that did not start");
            }
            ports -= 1;
            if !(errors::port_taken(&error)
                && api_port.is_some_and(|p| error.to_string().contains(&p.to_string()))
                && ports > 0)
            {
                return Ok(Err(error));
            }
        }
    }

    /// Whether the container can be made without what the daemon's host does not have.
    fn goes_without(&self, asked: &Host, error: &EngineError) -> bool {
        match errors::missing_mount(error).as_deref() {
            Some(spec::LIB_MODULES) => {
                self.no_lib_modules.store(true, Ordering::Relaxed);
                asked.lib_modules
            }
            Some(spec::SOCKET) => {
                self.no_docker_socket.store(true, Ordering::Relaxed);
                asked.docker_socket
            }
            _ => false,
        }
    }

    async fn host(&self) -> Result<Host, ActuatorError> {
        let found = self.host.get_or_try_init(|| self.engine.host()).await;
        let found = found.map_err(|e| explain(Attempt::Other("say what it can"), &e))?;
        Ok(Host {
            lib_modules: !self.no_lib_modules.load(Ordering::Relaxed),
            docker_socket: !self.no_docker_socket.load(Ordering::Relaxed),
            ..found.clone()
        })
    }

    /// A port of this host that is free now. With one that the daemon chooses, the API server would be found at
    /// another one after each start of the container.
    fn free_port(&self, role: Role) -> Option<u16> {
        if role != Role::ControlPlane || !self.engine.is_local() {
            return None;
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).ok()?;
        Some(listener.local_addr().ok()?.port())
    }
}

fn unable(work: &Work<'_>) -> ActuatorError {
    let (name, privileges) = (&work.settings.container_name, work.settings.privileges);
    let remedy = if privileges == Privileges::Full {
        "set spec.privileges to Auto"
    } else {
        "run a Docker daemon with all capabilities"
    };
    ActuatorError::terminal(
        "InvalidConfiguration",
        format!("container {name} needs privileges that the Docker daemon itself does not have: {remedy}"),
    )
}

fn missing(capabilities: &Capabilities) -> Vec<String> {
    match capabilities {
        Capabilities::Full => Vec::new(),
        Capabilities::Without(missing) => missing.clone(),
    }
}

/// What to try, best first. The daemon does not say which capability it lacks: one on this machine probably lacks
/// the same as this process.
fn candidates(privileges: Privileges, here: Option<Vec<String>>) -> Vec<Capabilities> {
    let mut candidates = Vec::new();
    let mut add = |candidate: Capabilities| {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    };
    if privileges != Privileges::Restricted {
        add(Capabilities::Full);
    }
    if privileges != Privileges::Full {
        let here = here.unwrap_or_default();
        if !here.is_empty() || privileges == Privileges::Restricted {
            add(Capabilities::Without(here));
        }
        for rare in [&RARE[..1], &RARE[..5], &RARE[..]] {
            add(Capabilities::Without(
                rare.iter().map(|c| (*c).to_owned()).collect(),
            ));
        }
    }
    candidates
}

/// Capabilities that a node can do without, those that daemons lack most often first.
const RARE: [&str; 16] = [
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "PERFMON",
    "SYSLOG",
    "WAKE_ALARM",
];

/// All capabilities in the order of their bits.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What the bounding set of this process lacks. Nothing where there is no such thing, or it says nothing of the daemon: a pod without a
/// single capability was made so.
fn missing_here() -> Option<Vec<String>> {
    missing_in(&fs::read_to_string("/proc/self/status").ok()?)
}

fn missing_in(status: &str) -> Option<Vec<String>> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    let set = u64::from_str_radix(set.trim(), 16).ok().filter(|set| *set != 0)?;
    let lacks = |(bit, name): (u32, &&str)| (set >> bit & 1 == 0).then(|| (*name).to_owned());
    Some((0..).zip(&CAPABILITIES).filter_map(lacks).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounding_set_tells_what_is_missing() {
        let missing = |set: &str| missing_in(&format!("Name:\tx\nCapBnd:\t{set}\n"));
        assert_eq!(missing("000001ffffffffff"), Some(Vec::new()));
        assert_eq!(missing("000001fffeffffff"), Some(vec!["SYS_RESOURCE".to_owned()]));
        assert_eq!(missing("0000000000000000"), None);
        assert_eq!(missing("x"), None);
        assert_eq!(missing_in("Name: x"), None);
    }

    #[test]
    fn all_privileges_are_tried_first_and_less_only_where_allowed() {
        let here = Some(vec!["SYS_RESOURCE".to_owned()]);
        let full = candidates(Privileges::Full, here.clone());
        assert_eq!(full, [Capabilities::Full]);
        let auto = candidates(Privileges::Auto, here.clone());
        assert_eq!(auto[0], Capabilities::Full);
        assert_eq!(auto[1], Capabilities::Without(vec!["SYS_RESOURCE".to_owned()]));
        assert_eq!(auto.len(), 4, "nothing is tried twice: {auto:?}");
        assert_eq!(candidates(Privileges::Auto, None).len(), 4);
        let restricted = candidates(Privileges::Restricted, Some(Vec::new()));
        assert_eq!(restricted[0], Capabilities::Without(Vec::new()));
        assert!(!restricted.contains(&Capabilities::Full));
        assert!(RARE.iter().all(|rare| CAPABILITIES.contains(rare)));
    }

    #[test]
    fn what_works_is_remembered() {
        let mut known = Known::default();
        assert_eq!(known.capabilities(Privileges::Auto), None);
        assert_eq!(known.capabilities(Privileges::Full), Some(Capabilities::Full));
        let less = Capabilities::Without(vec!["BPF".to_owned()]);
        known.remember(Privileges::Auto, &less);
        assert_eq!(known.capabilities(Privileges::Auto), Some(less.clone()));
        assert_eq!(known.capabilities(Privileges::Restricted), Some(less));
    }
}
