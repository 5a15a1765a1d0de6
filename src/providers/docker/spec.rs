//! What is asked of the Docker daemon: bodies of containers and networks. Pure; it calls nobody.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum, Mount, MountType,
    NetworkCreateRequest, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::script;
use crate::{
    api::{
        names,
        v1alpha1::{DockerMachineSpec, PortMapping},
    },
    providers::{ActuatorError, InstanceSpec, Role},
};

/// Network of all containers.
pub const NETWORK: &str = "cinder";
/// Kernel modules of the host.
pub(super) const LIB_MODULES: &str = "/lib/modules";
/// Where a Docker daemon listens. Controllers that make containers from inside a cluster run on its control plane and
/// need it there, as in cinder.
pub(super) const SOCKET: &str = "/var/run/docker.sock";
/// Port of the API server in a control-plane container.
pub(super) const API_PORT: u16 = 6443;
/// How long the init system may take to come up, in seconds.
pub(super) const BOOT_TIMEOUT: i64 = 60;
/// How long the bootstrap script may take, in seconds.
pub(super) const BOOTSTRAP_TIMEOUT: i64 = 600;

/// Label: cluster of the container. kind and cinder set and read it too.
pub(super) const CLUSTER: &str = "io.x-k8s.kind.cluster";
/// Label: `control-plane` or `worker`. kind and cinder set and read it too.
pub(super) const ROLE: &str = "io.x-k8s.kind.role";
/// Label: namespace of the infrastructure object.
pub(super) const NAMESPACE: &str = "infrastructure.crit.sh/namespace";
/// Label: name of the infrastructure object.
pub(super) const NAME: &str = "infrastructure.crit.sh/name";
/// Label: UID of the infrastructure object.
pub(super) const UID: &str = "infrastructure.crit.sh/uid";
/// Label: which try made the container.
pub(super) const ATTEMPT: &str = "infrastructure.crit.sh/attempt";
/// Label: digest of the bootstrap data that was put in.
pub(super) const BOOTSTRAP: &str = "infrastructure.crit.sh/bootstrap";
/// Label: the container exists only to look into its image, and never runs.
pub(super) const LOOK: &str = "infrastructure.crit.sh/look";

/// Capabilities that a container may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Capabilities {
    /// All: `docker run --privileged`.
    Full,
    /// All but those that the daemon itself lacks, without `CAP_`.
    Without(Vec<String>),
}

/// What is known about the host of the Docker daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that has nothing to do with the others"
)]
pub(super) struct Host {
    /// It has kernel modules in files.
    pub(super) lib_modules: bool,
    /// Its daemon listens at [`SOCKET`].
    pub(super) docker_socket: bool,
    /// Containers have a user namespace of their own unless told otherwise.
    pub(super) userns_remap: bool,
    /// Its storage driver needs `/dev/mapper` (Btrfs, ZFS, device mapper).
    pub(super) device_mapper: bool,
}

/// What a container's body depends on besides the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// What the daemon can give.
    pub(super) capabilities: &'a Capabilities,
    /// Where the container will run.
    pub(super) host: &'a Host,
    /// Proxy settings of this process, as [`proxy_environment`] made them.
    pub(super) proxy: &'a BTreeMap<String, String>,
    /// Port of the host at which the API server will be found. Nothing: the daemon chooses.
    pub(super) api_port: Option<u16>,
    /// Entrypoint of the image.
    pub(super) entrypoint: &'a [String],
    /// Command of the image.
    pub(super) command: &'a [String],
}

/// Reads and checks the spec of a `DockerMachine`.
pub(super) fn settings(infrastructure: &Value) -> Result<DockerMachineSpec, ActuatorError> {
    let invalid = |message: String| ActuatorError::terminal("InvalidConfiguration", message);
    let settings: DockerMachineSpec = Deserialize::deserialize(infrastructure)
        .map_err(|e| invalid(format!("spec of the DockerMachine: {e}")))?;
    let name = &settings.container_name;
    for (field, value) in [("containerName", name), ("clusterName", &settings.cluster_name)] {
        for label in value.split('.') {
            names::dns_label(label).map_err(|e| invalid(format!("spec.{field}: {e}")))?;
        }
    }
    if name.len() > names::MAX_LENGTH {
        let length = name.len();
        return Err(invalid(format!(
            "spec.containerName: \"{name}\" has {length} characters, and a host name at most {}",
            names::MAX_LENGTH
        )));
    }
    if settings.image.trim().is_empty() || settings.image.contains(char::is_whitespace) {
        return Err(invalid(format!(
            "spec.image: \"{}\" names no image",
            settings.image
        )));
    }
    for mount in &settings.extra_mounts {
        for (field, path) in [
            ("hostPath", &mount.host_path),
            ("containerPath", &mount.container_path),
        ] {
            if !path.starts_with('/') || path.contains(':') {
                return Err(invalid(format!(
                    "spec.extraMounts: {field} \"{path}\" is no absolute path without a colon"
                )));
            }
        }
    }
    for port in &settings.extra_port_mappings {
        protocol(port)?;
        if port.container_port == 0 {
            return Err(invalid(
                "spec.extraPortMappings: containerPort can't be 0".to_owned(),
            ));
        }
    }
    Ok(settings)
}

/// Reads no more of a spec than tells which container it is: one that is no longer valid must not keep its object
/// from going.
pub(super) fn names(infrastructure: &Value) -> DockerMachineSpec {
    let text = |field: &str| infrastructure[field].as_str().unwrap_or_default().to_owned();
    DockerMachineSpec {
        cluster_name: text("clusterName"),
        container_name: text("containerName"),
        ..DockerMachineSpec::default()
    }
}

/// Digest of bootstrap data, for the label: tells whether a container was made from the same.
pub(super) fn digest(spec: &InstanceSpec) -> Option<String> {
    let data = spec.bootstrap.as_ref()?.expose();
    Some(
        Sha256::digest(data.as_bytes())
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat(),
    )
}

/// Proxy settings for a container: both spellings of each, and what must not go through the proxy.
pub(super) fn proxy_environment(
    own: &BTreeMap<String, String>,
    direct: &[String],
) -> BTreeMap<String, String> {
    let mut result = BTreeMap::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        let lower = name.to_ascii_lowercase();
        let value = [name, lower.as_str()]
            .into_iter()
            .find_map(|n| own.get(n).filter(|v| !v.is_empty()));
        if let Some(value) = value {
            result.insert(name.to_owned(), value.clone());
            result.insert(lower, value.clone());
        }
    }
    if result.is_empty() {
        return result;
    }
    let mut exceptions: Vec<&str> = result
        .get("NO_PROXY")
        .map_or("", String::as_str)
        .split(',')
        .collect();
    exceptions.extend(direct.iter().map(String::as_str));
    exceptions.extend([
        "localhost",
        "127.0.0.1",
        ".svc",
        ".svc.cluster",
        ".svc.cluster.local",
    ]);
    let mut seen = Vec::new();
    for exception in exceptions.into_iter().map(str::trim).filter(|e| !e.is_empty()) {
        if !seen.contains(&exception) {
            seen.push(exception);
        }
    }
    let joined = seen.join(",");
    result.insert("NO_PROXY".to_owned(), joined.clone());
    result.insert("no_proxy".to_owned(), joined);
    result
}

/// The network of all containers.
pub(super) fn network() -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.enable_ip_masquerade".to_owned(),
            "true".to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    }
}

/// A container that lives for a moment. Where the volume of a node would be copied from the image, it has an empty
/// file system in memory: that takes a tenth of the time.
fn passing(image: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["true".to_owned()]),
        labels: Some(HashMap::from([(LOOK.to_owned(), "true".to_owned())])),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![Mount {
                target: Some("/var".to_owned()),
                typ: Some(MountType::TMPFS),
                ..Mount::default()
            }]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// A container that never runs: the archive API reads its files.
pub(super) fn look(image: &str) -> ContainerCreateBody {
    passing(image)
}

/// A container with all privileges that does nothing: it shows whether the daemon can give them.
pub(super) fn probe(image: &str) -> ContainerCreateBody {
    let mut body = passing(image);
    body.entrypoint = Some(vec!["/bin/true".to_owned()]);
    body.cmd = Some(Vec::new());
    body.host_config.get_or_insert_default().privileged = Some(true);
    body
}

/// The container of a machine.
pub(super) fn container(
    spec: &InstanceSpec,
    settings: &DockerMachineSpec,
    around: &Surroundings<'_>,
) -> Result<ContainerCreateBody, ActuatorError> {
    let mut exposed = Vec::new();
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    let mut publish = |port: String, address: &str, host_port: u16| {
        let binding = PortBinding {
            host_ip: Some(address.to_owned()),
            host_port: Some(host_port.to_string()),
        };
        bindings
            .entry(port.clone())
            .or_default()
            .get_or_insert_default()
            .push(binding);
        exposed.push(port);
    };
    for mapping in &settings.extra_port_mappings {
        let port = format!("{}/{}", mapping.container_port, protocol(mapping)?);
        let address = mapping.listen_address.as_deref().unwrap_or("127.0.0.1");
        publish(port, address, mapping.host_port);
    }
    let mapped = |m: &PortMapping| m.container_port == API_PORT;
    if spec.role == Role::ControlPlane && !settings.extra_port_mappings.iter().any(mapped) {
        publish(
            format!("{API_PORT}/tcp"),
            "127.0.0.1",
            around.api_port.unwrap_or(0),
        );
    }
    exposed.sort();
    exposed.dedup();
    let mut environment = around.proxy.clone();
    environment.extend(settings.environment.clone());
    let mut body = ContainerCreateBody {
        image: Some(settings.image.clone()),
        hostname: Some(settings.container_name.clone()),
        tty: Some(true),
        labels: Some(labels(spec, settings)),
        env: Some(environment.into_iter().map(|(k, v)| format!("{k}={v}")).collect()),
        volumes: Some(vec!["/var".to_owned()]),
        exposed_ports: Some(exposed),
        stop_signal: Some("SIGRTMIN+3".to_owned()),
        host_config: Some(HostConfig {
            port_bindings: Some(bindings),
            ..host_config(spec.role, settings, around.host)
        }),
        ..ContainerCreateBody::default()
    };
    grant(&mut body, around);
    Ok(body)
}

fn protocol(port: &PortMapping) -> Result<&'static str, ActuatorError> {
    match port.protocol.as_deref().unwrap_or_default() {
        "" | "TCP" | "tcp" => Ok("tcp"),
        "UDP" | "udp" => Ok("udp"),
        "SCTP" | "sctp" => Ok("sctp"),
        other => Err(ActuatorError::terminal(
            "InvalidConfiguration",
            format!("spec.extraPortMappings: protocol \"{other}\" is unknown (use TCP, UDP or SCTP)"),
        )),
    }
}

fn labels(spec: &InstanceSpec, settings: &DockerMachineSpec) -> HashMap<String, String> {
    let role = match spec.role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    };
    let mut labels = HashMap::from([
        (CLUSTER.to_owned(), settings.cluster_name.clone()),
        (ROLE.to_owned(), role.to_owned()),
        (NAMESPACE.to_owned(), spec.key.namespace.clone()),
        (NAME.to_owned(), spec.key.name.clone()),
        (UID.to_owned(), spec.key.uid.clone()),
        (ATTEMPT.to_owned(), spec.attempt.to_string()),
    ]);
    if let Some(digest) = digest(spec) {
        labels.insert(BOOTSTRAP.to_owned(), digest);
    }
    labels
}

/// What containers of all machines have in common. The cgroup namespace is private on hosts with cgroup v1 too:
/// with the host's own, systemd and kubelet leave cgroups behind on the host.
fn host_config(role: Role, settings: &DockerMachineSpec, host: &Host) -> HostConfig {
    let exec = || "exec".to_owned();
    let bind = |path: &str, read_only: bool| Mount {
        target: Some(path.to_owned()),
        source: Some(path.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let mut mounts = Vec::new();
    if host.lib_modules {
        mounts.push(bind(LIB_MODULES, true));
    }
    let mounted = |m: &crate::api::v1alpha1::Mount| m.container_path == SOCKET;
    if role == Role::ControlPlane && host.docker_socket && !settings.extra_mounts.iter().any(mounted) {
        mounts.push(bind(SOCKET, false));
    }
    if host.device_mapper {
        mounts.push(bind("/dev/mapper", false));
    }
    let binds = settings.extra_mounts.iter().map(|mount| {
        let mut attributes = mount.attrs.clone();
        if mount.read_only && !attributes.iter().any(|a| a == "ro") {
            attributes.insert(0, "ro".to_owned());
        }
        let mut bind = format!("{}:{}", mount.host_path, mount.container_path);
        if !attributes.is_empty() {
            bind = format!("{bind}:{}", attributes.join(","));
        }
        bind
    });
    HostConfig {
        binds: Some(binds.collect()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        init: Some(false),
        mounts: Some(mounts),
        network_mode: Some(NETWORK.to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        security_opt: Some(vec![
            "seccomp=unconfined".to_owned(),
            "apparmor=unconfined".to_owned(),
        ]),
        tmpfs: Some(HashMap::from([
            ("/run".to_owned(), exec()),
            ("/tmp".to_owned(), exec()),
        ])),
        userns_mode: host.userns_remap.then(|| "host".to_owned()),
        ..HostConfig::default()
    }
}

/// Adds what depends on the capabilities. A container that is not privileged gets all the same by name, and a script
/// before its entrypoint that makes writable what Docker mounts read-only there.
fn grant(body: &mut ContainerCreateBody, around: &Surroundings<'_>) {
    let host_config = body.host_config.get_or_insert_default();
    let missing = match around.capabilities {
        Capabilities::Full => {
            host_config.privileged = Some(true);
            return;
        }
        Capabilities::Without(missing) => missing,
    };
    host_config.cap_add = Some(vec!["ALL".to_owned()]);
    host_config.cap_drop = Some(missing.clone());
    host_config.masked_paths = Some(Vec::new());
    host_config.readonly_paths = Some(Vec::new());
    host_config.device_cgroup_rules = Some(vec!["a *:* rwm".to_owned()]);
    host_config.devices = Some(vec![DeviceMapping {
        path_on_host: Some("/dev/kmsg".to_owned()),
        path_in_container: Some("/dev/kmsg".to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    }]);
    let before = ["/bin/bash".to_owned(), script::ENTRYPOINT.to_owned()];
    body.entrypoint = Some(before.into_iter().chain(around.entrypoint.to_vec()).collect());
    body.cmd = Some(around.command.to_vec());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::{BootstrapData, InstanceKey, Known};

    const HOST: Host = Host {
        lib_modules: true,
        docker_socket: true,
        userns_remap: false,
        device_mapper: false,
    };

    fn spec(role: Role, infrastructure: Value) -> InstanceSpec {
        InstanceSpec {
            key: InstanceKey {
                namespace: "default".to_owned(),
                name: "demo-worker-1".to_owned(),
                uid: "11111111-2222".to_owned(),
            },
            infrastructure,
            machine: "demo-worker-1".to_owned(),
            cluster: Some("demo".to_owned()),
            role,
            version: None,
            bootstrap: Some(BootstrapData::new("#cloud-config\n")),
            attempt: 1,
            known: Known::default(),
        }
    }

    fn body(role: Role, infrastructure: Value, capabilities: &Capabilities, host: &Host) -> Value {
        let spec = spec(role, infrastructure);
        let (entrypoint, command) = (["/entry".to_owned()], ["/sbin/init".to_owned()]);
        let around = Surroundings {
            capabilities,
            host,
            proxy: &BTreeMap::from([("NO_PROXY".to_owned(), "a".to_owned())]),
            api_port: Some(40_001),
            entrypoint: &entrypoint,
            command: &command,
        };
        let settings = settings(&spec.infrastructure).unwrap();
        let body = serde_json::to_value(container(&spec, &settings, &around).unwrap()).unwrap();
        // through a map with ordered keys
        serde_json::from_str(&body.to_string()).unwrap()
    }

    fn shown(value: &Value) -> String {
        serde_json::to_string_pretty(value).unwrap()
    }

    fn plain() -> Value {
        json!({"clusterName": "demo", "containerName": "demo-worker-1", "image": "kindest/node:v1.33.1"})
    }

    #[test]
    fn a_worker_with_all_privileges() {
        insta::assert_snapshot!(shown(&body(Role::Worker, plain(), &Capabilities::Full, &HOST)));
    }

    #[test]
    fn a_control_plane_without_a_capability() {
        let without = Capabilities::Without(vec!["SYS_RESOURCE".to_owned()]);
        insta::assert_snapshot!(shown(&body(Role::ControlPlane, plain(), &without, &HOST)));
    }

    #[test]
    fn all_that_can_be_asked_for() {
        let mut infrastructure = plain();
        infrastructure["extraMounts"] = json!([
            {"hostPath": "/srv", "containerPath": "/data", "readOnly": true, "attrs": ["z"]},
            {"hostPath": "/a", "containerPath": "/b"}
        ]);
        infrastructure["extraPortMappings"] = json!([
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "protocol": "UDP", "listenAddress": "0.0.0.0"},
            {"containerPort": 6443, "hostPort": 6443}
        ]);
        infrastructure["environment"] = json!({"NO_PROXY": "b", "X": "y"});
        let host = Host {
            lib_modules: false,
            docker_socket: false,
            userns_remap: true,
            device_mapper: true,
        };
        insta::assert_snapshot!(shown(&body(
            Role::ControlPlane,
            infrastructure,
            &Capabilities::Full,
            &host
        )));
    }

    #[test]
    fn a_bad_spec_is_refused_for_good_and_named() {
        for (field, bad, said) in [
            ("containerName", json!("Node_1"), "spec.containerName"),
            ("containerName", json!(""), "spec.containerName"),
            ("containerName", json!("a".repeat(64)), "64 characters"),
            ("clusterName", json!("-"), "spec.clusterName"),
            ("image", json!(" "), "names no image"),
            (
                "extraMounts",
                json!([{"hostPath": "x", "containerPath": "/y"}]),
                "hostPath \"x\"",
            ),
            (
                "extraPortMappings",
                json!([{"containerPort": 1, "protocol": "ICMP"}]),
                "protocol \"ICMP\"",
            ),
            ("privileges", json!("Some"), "unknown variant"),
        ] {
            let mut infrastructure = plain();
            infrastructure[field] = bad;
            let error = settings(&infrastructure).unwrap_err();
            assert!(
                matches!(&error, ActuatorError::Terminal { reason, .. } if reason == "InvalidConfiguration")
            );
            assert!(error.to_string().contains(said), "{field}: {error}");
        }
    }

    #[test]
    fn proxies_are_passed_on_in_both_spellings() {
        let own = BTreeMap::from([
            ("https_proxy".to_owned(), "http://p:3128".to_owned()),
            ("NO_PROXY".to_owned(), "corp, localhost".to_owned()),
            ("HTTP_PROXY".to_owned(), String::new()),
        ]);
        let passed = proxy_environment(&own, &["172.18.0.0/16".to_owned(), "demo".to_owned()]);
        assert_eq!(passed["HTTPS_PROXY"], "http://p:3128");
        assert_eq!(passed["https_proxy"], "http://p:3128");
        assert_eq!(
            passed["no_proxy"],
            "corp,localhost,172.18.0.0/16,demo,127.0.0.1,.svc,.svc.cluster,.svc.cluster.local"
        );
        assert!(!passed.contains_key("HTTP_PROXY"));
        assert!(proxy_environment(&BTreeMap::new(), &["demo".to_owned()]).is_empty());
    }
}
