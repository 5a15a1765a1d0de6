//! What a container is, judged by what was read from it. Pure; it reads nothing itself.

use std::{collections::HashMap, io::Read as _};

use jiff::{SignedDuration, Timestamp};

use super::{log, spec};
use crate::{
    api::v1alpha1::{ApiEndpoint, DockerMachineSpec, MachineAddress},
    providers::{InstanceSpec, InstanceState, Role},
};

/// How long after its deadline a script may still be at work, until it is given up: it is being stopped.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// A container, as the daemon describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// Its identity.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its labels.
    pub(super) labels: HashMap<String, String>,
    /// What it is doing.
    pub(super) status: Status,
    /// When it was last started.
    pub(super) started_at: Option<Timestamp>,
    /// Exit code of its first process.
    pub(super) exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub(super) oom_killed: bool,
    /// What the daemon says went wrong.
    pub(super) error: String,
    /// Its address in each network.
    pub(super) networks: Vec<(String, Vec<String>)>,
    /// Address and port of the host where [`spec::API_PORT`] is published.
    pub(super) api: Option<(String, u16)>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// It was never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// The daemon starts it again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
}

/// Whose a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// It was made for this object.
    Own,
    /// It belongs to the right cluster and nobody claims it: made by cinder or kind.
    Adoptable,
    /// It was made for an object of the same name, which is another one now.
    Former,
    /// It is somebody else's.
    Foreign,
}

/// What the bootstrap script left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It began.
    pub(super) begun: bool,
    /// It ended, with this exit code.
    pub(super) result: Option<i64>,
    /// The end of what it said.
    pub(super) tail: Vec<u8>,
}

impl Verdict {
    /// Reads the archive of the directory [`super::script::VERDICT`]. A broken archive is no verdict yet.
    pub(super) fn read(archive: &[u8]) -> Self {
        let mut verdict = Self::default();
        let mut reader = tar::Archive::new(archive);
        let Ok(entries) = reader.entries() else {
            return verdict;
        };
        for mut entry in entries.flatten() {
            let name = entry
                .path()
                .ok()
                .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()))
                .unwrap_or_default();
            let mut content = Vec::new();
            if entry.by_ref().take(64 * 1024).read_to_end(&mut content).is_err() {
                continue;
            }
            let text = String::from_utf8_lossy(&content);
            match name.as_str() {
                "state" => verdict.begun = true,
                "result" => verdict.result = text.trim().parse().ok(),
                "tail" => verdict.tail = content,
                _ => {}
            }
        }
        verdict
    }
}

impl Seen {
    /// Whose it is.
    pub(super) fn ownership(&self, spec: &InstanceSpec, settings: &DockerMachineSpec) -> Ownership {
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        let object = (label(spec::NAMESPACE), label(spec::NAME));
        let same_object = object == (Some(spec.key.namespace.as_str()), Some(spec.key.name.as_str()));
        if same_object && label(spec::UID) == Some(spec.key.uid.as_str()) {
            return Ownership::Own;
        }
        if label(spec::CLUSTER) != Some(settings.cluster_name.as_str()) {
            return Ownership::Foreign;
        }
        if object == (None, None) {
            return Ownership::Adoptable;
        }
        if !same_object {
            return Ownership::Foreign;
        }
        // an object that moved to another cluster has a new UID, but its bootstrap data came along
        match (spec::digest(spec), label(spec::BOOTSTRAP)) {
            (Some(wanted), Some(given)) if wanted != given => Ownership::Former,
            _ => Ownership::Own,
        }
    }

    /// Which try made it. One that was adopted counts as the present try.
    pub(super) fn attempt(&self, present: i64) -> i64 {
        self.labels
            .get(spec::ATTEMPT)
            .and_then(|attempt| attempt.parse().ok())
            .unwrap_or(present)
    }

    /// Whether a verdict is to be expected in it.
    pub(super) fn has_bootstrap(&self) -> bool {
        self.labels.contains_key(spec::BOOTSTRAP)
    }

    /// Its addresses: those of the network of all machines first.
    pub(super) fn addresses(&self) -> Vec<MachineAddress> {
        let own = self.networks.iter().filter(|(name, _)| name == spec::NETWORK);
        let other = self.networks.iter().filter(|(name, _)| name != spec::NETWORK);
        let internal = own
            .chain(other)
            .flat_map(|(_, addresses)| addresses)
            .map(|address| MachineAddress {
                type_: "InternalIP".to_owned(),
                address: address.clone(),
            });
        internal
            .chain([MachineAddress {
                type_: "Hostname".to_owned(),
                address: self.name.clone(),
            }])
            .collect()
    }

    /// Control plane: where the host reaches the API server.
    pub(super) fn api_endpoint(&self, role: Role) -> Option<ApiEndpoint> {
        if role != Role::ControlPlane {
            return None;
        }
        let published = self.api.as_ref().map(|(address, port)| ApiEndpoint {
            host: match address.as_str() {
                "" | "0.0.0.0" => "127.0.0.1".to_owned(),
                "::" => "::1".to_owned(),
                other => other.to_owned(),
            },
            port: *port,
        });
        published.or_else(|| {
            let first = self.addresses().into_iter().find(|a| a.type_ == "InternalIP")?;
            Some(ApiEndpoint {
                host: first.address,
                port: spec::API_PORT,
            })
        })
    }

    /// How far it is.
    pub(super) fn state(
        &self,
        verdict: &Verdict,
        settings: &DockerMachineSpec,
        now: Timestamp,
    ) -> InstanceState {
        match (self.status, verdict.result) {
            (Status::Created | Status::Paused, _) => InstanceState::Stopped,
            (Status::Restarting | Status::Removing, _) => InstanceState::Booting,
            (_, Some(code)) if code != 0 => self.bootstrap_failed(code, verdict, settings),
            (Status::Exited, Some(_)) => InstanceState::Stopped,
            (Status::Exited, None) => self.ended(),
            (Status::Running, Some(_)) => InstanceState::Running,
            (Status::Running, None) if !self.has_bootstrap() => InstanceState::Running,
            (Status::Running, None) => self.in_time(verdict, settings, now),
        }
    }

    fn in_time(&self, verdict: &Verdict, settings: &DockerMachineSpec, now: Timestamp) -> InstanceState {
        let age = self
            .started_at
            .map_or(SignedDuration::ZERO, |start| now.duration_since(start));
        let (boot, bootstrap) = timeouts(settings);
        let name = &self.name;
        if !verdict.begun {
            if age <= boot {
                return InstanceState::Booting;
            }
            return failed(
                "BootTimeout",
                format!("systemd in container {name} did not come up within {boot:#}"),
            );
        }
        if age <= boot + bootstrap + GRACE {
            return InstanceState::Bootstrapping;
        }
        failed(
            "BootstrapTimeout",
            format!("the bootstrap script in container {name} did not end within {bootstrap:#}"),
        )
    }

    fn bootstrap_failed(&self, code: i64, verdict: &Verdict, settings: &DockerMachineSpec) -> InstanceState {
        let name = &self.name;
        let (reason, what) = if code == 124 {
            let limit = timeouts(settings).1;
            ("BootstrapTimeout", format!("did not end within {limit:#}"))
        } else {
            ("BootstrapFailed", format!("failed with exit code {code}"))
        };
        with_log(
            reason,
            &format!("the bootstrap script in container {name} {what}"),
            &verdict.tail,
        )
    }

    /// It ended before its bootstrap script did.
    fn ended(&self) -> InstanceState {
        let name = &self.name;
        if self.oom_killed {
            return failed(
                "OutOfMemory",
                format!(
                    "container {name} was ended for want of memory: give the Docker host more, or make fewer machines"
                ),
            );
        }
        let code = self.exit_code;
        let why = match code {
            // stopped by a signal or by docker stop: it can be started again
            0 | 130 | 137 | 143 => return InstanceState::Stopped,
            32 => " (its entrypoint may not mount file systems)",
            125 | 128 => " (the container runtime could not start it)",
            126 => " (its entrypoint can't be executed: is the image made for this processor?)",
            127 => " (its entrypoint does not exist)",
            255 => " (systemd could not start, or the Docker daemon went away)",
            _ => "",
        };
        let mut message = format!("container {name} ended with exit code {code}{why}");
        if !self.error.is_empty() {
            message = format!("{message}: {}", self.error);
        }
        failed("ContainerExited", message)
    }
}

/// How long booting and bootstrapping may take.
pub(super) fn timeouts(settings: &DockerMachineSpec) -> (SignedDuration, SignedDuration) {
    let or = |given: Option<crate::api::duration::Duration>, seconds| {
        given.map_or(
            SignedDuration::from_secs(seconds),
            crate::api::duration::Duration::span,
        )
    };
    (
        or(settings.boot_timeout, spec::BOOT_TIMEOUT),
        or(settings.bootstrap_timeout, spec::BOOTSTRAP_TIMEOUT),
    )
}

/// A failure whose message ends with the end of a log.
pub(super) fn with_log(reason: &str, what: &str, log: &[u8]) -> InstanceState {
    let tail = log::tail(log);
    if tail.is_empty() {
        failed(reason, what.to_owned())
    } else {
        failed(reason, format!("{what}; its log ends with:\n{tail}"))
    }
}

fn failed(reason: &str, message: String) -> InstanceState {
    InstanceState::Failed {
        reason: reason.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::{BootstrapData, InstanceKey, Known};

    fn settings() -> DockerMachineSpec {
        spec::settings(&json!({"clusterName": "demo", "containerName": "demo", "image": "i"})).unwrap()
    }

    fn machine() -> InstanceSpec {
        InstanceSpec {
            key: InstanceKey {
                namespace: "default".to_owned(),
                name: "demo".to_owned(),
                uid: "1".to_owned(),
            },
            infrastructure: json!({}),
            machine: "demo".to_owned(),
            cluster: None,
            role: Role::ControlPlane,
            version: None,
            bootstrap: Some(BootstrapData::new("data")),
            attempt: 2,
            known: Known::default(),
        }
    }

    fn seen(status: Status) -> Seen {
        Seen {
            name: "demo".to_owned(),
            labels: HashMap::from([(spec::BOOTSTRAP.to_owned(), "x".to_owned())]),
            status,
            started_at: Some(Timestamp::UNIX_EPOCH),
            ..Seen::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn verdict(begun: bool, result: Option<i64>) -> Verdict {
        Verdict {
            begun,
            result,
            tail: b"trying --token s3cret\nit broke\n".to_vec(),
        }
    }

    fn state(seen: &Seen, verdict: &Verdict, seconds: i64) -> String {
        match seen.state(verdict, &settings(), at(seconds)) {
            InstanceState::Failed { reason, message } => format!("{reason}: {message}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_machine_comes_up_step_by_step() {
        let running = seen(Status::Running);
        assert_eq!(state(&running, &verdict(false, None), 60), "Booting");
        assert_eq!(state(&running, &verdict(true, None), 660), "Bootstrapping");
        assert_eq!(state(&running, &verdict(true, Some(0)), 10_000), "Running");
        let adopted = Seen {
            labels: HashMap::new(),
            ..running
        };
        assert_eq!(state(&adopted, &Verdict::default(), 10_000), "Running");
    }

    #[test]
    fn what_takes_too_long_fails() {
        let running = seen(Status::Running);
        assert_eq!(
            state(&running, &verdict(false, None), 61),
            "BootTimeout: systemd in container demo did not come up within 1m"
        );
        assert_eq!(
            state(&running, &verdict(true, None), 691),
            "BootstrapTimeout: the bootstrap script in container demo did not end within 10m"
        );
        assert!(state(&running, &verdict(true, Some(124)), 1).starts_with("BootstrapTimeout: "));
    }

    #[test]
    fn a_failed_script_is_told_with_its_log_and_without_secrets() {
        for status in [Status::Running, Status::Exited] {
            assert_eq!(
                state(&seen(status), &verdict(true, Some(7)), 1),
                "BootstrapFailed: the bootstrap script in container demo failed with exit code 7; its log ends with:\n\
                 trying --token <redacted>\nit broke"
            );
        }
    }

    #[test]
    fn a_container_that_ended_says_why() {
        let ended = |exit_code, oom_killed| {
            let container = Seen {
                exit_code,
                oom_killed,
                ..seen(Status::Exited)
            };
            state(&container, &verdict(true, None), 1)
        };
        assert!(ended(32, false).contains(
            "ContainerExited: container demo ended with exit code 32 (its entrypoint may not mount"
        ));
        assert!(ended(137, true).starts_with("OutOfMemory: "));
        assert_eq!(ended(137, false), "Stopped");
        assert_eq!(ended(130, false), "Stopped");
        assert!(ended(1, false).starts_with("ContainerExited: "));
        let was_running = state(
            &Seen {
                exit_code: 255,
                ..seen(Status::Exited)
            },
            &verdict(true, Some(0)),
            1,
        );
        assert_eq!(was_running, "Stopped");
        assert_eq!(state(&seen(Status::Created), &Verdict::default(), 1), "Stopped");
    }

    #[test]
    fn whose_a_container_is_follows_from_its_labels() {
        let with = |labels: &[(&str, &str)]| {
            Seen {
                labels: labels
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                ..Seen::default()
            }
            .ownership(&machine(), &settings())
        };
        let cluster = (spec::CLUSTER, "demo");
        let own = [cluster, (spec::NAMESPACE, "default"), (spec::NAME, "demo")];
        let digest = spec::digest(&machine()).unwrap();
        assert_eq!(with(&[]), Ownership::Foreign);
        assert_eq!(with(&[(spec::CLUSTER, "other")]), Ownership::Foreign);
        assert_eq!(with(&[cluster]), Ownership::Adoptable);
        assert_eq!(with(&[&own[..], &[(spec::UID, "1")]].concat()), Ownership::Own);
        assert_eq!(
            with(&[&own[..], &[(spec::UID, "2"), (spec::BOOTSTRAP, &digest)]].concat()),
            Ownership::Own
        );
        assert_eq!(
            with(&[&own[..], &[(spec::UID, "2"), (spec::BOOTSTRAP, "0")]].concat()),
            Ownership::Former
        );
        assert_eq!(
            with(&[cluster, (spec::NAMESPACE, "else"), (spec::NAME, "demo")]),
            Ownership::Foreign
        );
    }

    #[test]
    fn addresses_and_endpoint() {
        let container = Seen {
            name: "demo".to_owned(),
            networks: vec![
                ("bridge".to_owned(), vec!["172.17.0.2".to_owned()]),
                (spec::NETWORK.to_owned(), vec!["172.18.0.2".to_owned()]),
            ],
            api: Some(("0.0.0.0".to_owned(), 4000)),
            ..Seen::default()
        };
        let addresses: Vec<_> = container.addresses().into_iter().map(|a| a.address).collect();
        assert_eq!(addresses, ["172.18.0.2", "172.17.0.2", "demo"]);
        let endpoint = |c: &Seen, role| c.api_endpoint(role).map(|e| e.to_string());
        assert_eq!(
            endpoint(&container, Role::ControlPlane).as_deref(),
            Some("127.0.0.1:4000")
        );
        assert_eq!(endpoint(&container, Role::Worker), None);
        let unpublished = Seen {
            api: None,
            ..container
        };
        assert_eq!(
            endpoint(&unpublished, Role::ControlPlane).as_deref(),
            Some("172.18.0.2:6443")
        );
    }

    #[test]
    fn a_verdict_is_read_from_an_archive() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [
            ("verdict/state", "running x\n"),
            ("verdict/result", "7\n"),
            ("verdict/tail", "oh\n"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        let archive = builder.into_inner().unwrap();
        let verdict = Verdict::read(&archive);
        assert_eq!(
            (verdict.begun, verdict.result, verdict.tail.as_slice()),
            (true, Some(7), &b"oh\n"[..])
        );
        assert_eq!(Verdict::read(b"no archive"), Verdict::default());
        assert!(!Verdict::read(&archive[..200]).begun);
    }
}
