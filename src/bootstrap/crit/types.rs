//! The types of `crit.sh/v1alpha2`, as written: every field may be absent. No defaults here.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::secret::SecretString;

/// Flags or labels by name.
pub type StringMap = BTreeMap<String, String>;
/// Feature gates by name.
pub type Gates = BTreeMap<String, bool>;

/// Configuration of a worker.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfiguration {
    /// `crit.sh/v1alpha2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `WorkerConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the cluster. Default crit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Where the API server answers: `host[:port]`, or an object.
    #[serde(
        default,
        deserialize_with = "endpoint",
        skip_serializing_if = "Option::is_none"
    )]
    pub control_plane_endpoint: Option<Endpoint>,
    /// Feature gates of crit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<Gates>,
    /// Server that hands out bootstrap tokens. Default `https://<endpoint host>:8080`.
    #[serde(rename = "bootstrapServerURL", skip_serializing_if = "Option::is_none")]
    pub bootstrap_server_url: Option<String>,
    /// Bootstrap token. Wins over the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_token: Option<SecretString>,
    /// Path of the cluster's CA certificate. Default `<kubeDir>/pki/ca.crt`.
    #[serde(rename = "caCert", skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// The machine itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeConfiguration>,
}

/// Configuration of a control plane.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneConfiguration {
    /// `crit.sh/v1alpha2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `ControlPlaneConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the cluster. Default crit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Where the API server answers. Default: the machine's address and `kubeAPIServer.bindPort`.
    #[serde(
        default,
        deserialize_with = "endpoint",
        skip_serializing_if = "Option::is_none"
    )]
    pub control_plane_endpoint: Option<Endpoint>,
    /// Network of pods. Default 10.253.0.0/16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_subnet: Option<String>,
    /// Network of services. Default 10.254.0.0/16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_subnet: Option<String>,
    /// Version of `CoreDNS`. Default 1.6.9.
    #[serde(rename = "coreDNSVersion", skip_serializing_if = "Option::is_none")]
    pub core_dns_version: Option<String>,
    /// `AuthProxyCA`, `BootstrapServer`, `UploadETCDSecrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<Gates>,
    /// etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
    /// API server.
    #[serde(rename = "kubeAPIServer", skip_serializing_if = "Option::is_none")]
    pub kube_api_server: Option<KubeApiServer>,
    /// Controller manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_controller_manager: Option<Component>,
    /// Scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_scheduler: Option<Component>,
    /// kube-proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<KubeProxy>,
    /// crit's bootstrap server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crit_bootstrap_server: Option<BootstrapServer>,
    /// The machine itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeConfiguration>,
}

/// The machine.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfiguration {
    /// Kubernetes version. Needed by crit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Name of the Node. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where configuration lies. Default /etc/kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_dir: Option<String>,
    /// Address of the machine. Default: its first one that is not loopback.
    #[serde(rename = "hostIPv4", skip_serializing_if = "Option::is_none")]
    pub host_ipv4: Option<String>,
    /// Cloud provider in the tree of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_provider: Option<String>,
    /// Default containerd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_runtime: Option<ContainerRuntime>,
    /// Taints of the Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
    /// kubelet's `KubeletConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<Map<String, Value>>,
    /// Flags of kubelet.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub kubelet_extra_args: Option<StringMap>,
}

/// Program that runs containers.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ContainerRuntime {
    /// containerd.
    #[default]
    Containerd,
    /// Docker.
    Docker,
    /// CRI-O.
    Crio,
}

/// A taint of a Node.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// How etcd is reached.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// URLs. Default `https://<endpoint host>:2379`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// CA certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// Client key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Key that encrypts the files shared through etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_key: Option<String>,
}

/// API server.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KubeApiServer {
    /// Port. Default 6443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_port: Option<u16>,
    /// Flags.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_args: Option<StringMap>,
    /// Directories of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_volumes: Option<Vec<HostPathMount>>,
    /// Feature gates of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<Gates>,
    /// Further names in the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_sans: Option<Vec<String>>,
    /// Version of the healthcheck proxy. Default 0.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_proxy_version: Option<String>,
    /// Port of the healthcheck proxy. Default 6444.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_proxy_bind_port: Option<u16>,
    /// Labels of the pod.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_labels: Option<StringMap>,
}

/// Controller manager or scheduler.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Flags.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_args: Option<StringMap>,
    /// Directories of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_volumes: Option<Vec<HostPathMount>>,
    /// Feature gates of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<Gates>,
    /// Labels of the pod.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_labels: Option<StringMap>,
}

/// A directory of the machine that a static pod sees.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HostPathMount {
    /// Name of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Path in the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Whether the pod may only read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Type as in a pod's hostPath volume. Found out when it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path_type: Option<String>,
}

/// kube-proxy.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubeProxy {
    /// Its `KubeProxyConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// Whether it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// On which Nodes it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Value>,
    /// Labels of the pods.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_labels: Option<StringMap>,
}

/// crit's bootstrap server.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapServer {
    /// Version. Default 0.3.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Port. Default 8080.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_port: Option<u16>,
    /// Cloud whose identity documents it accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_provider: Option<String>,
    /// Flags.
    #[serde(
        default,
        deserialize_with = "string_map",
        skip_serializing_if = "Option::is_none"
    )]
    pub extra_args: Option<StringMap>,
}

/// Where the API server answers. Written as an object.
#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port. 0: 6443.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host`, `host:port`, `[v6]:port`, with or without `https://`.
    ///
    /// # Errors
    /// Fails when the port is no number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bare = text
            .strip_prefix("https://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (bare, None),
        };
        let port = match port {
            None => 0,
            Some(port) => port
                .parse()
                .map_err(|_| format!("\"{text}\" is no host[:port]"))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = if self.port == 0 { 6443 } else { self.port };
        if self.host.contains(':') {
            write!(f, "[{}]:{port}", self.host)
        } else {
            write!(f, "{}:{port}", self.host)
        }
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Endpoint::parse(&text).map(Some).map_err(D::Error::custom),
        Value::Object(map) => {
            let host = match map.get("host") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(host)) => host.clone(),
                Some(_) => return Err(D::Error::custom("controlPlaneEndpoint.host is no text")),
            };
            let port = match map.get("port") {
                None | Some(Value::Null) => 0,
                Some(port) => port
                    .as_u64()
                    .and_then(|p| u16::try_from(p).ok())
                    .ok_or_else(|| D::Error::custom("controlPlaneEndpoint.port is no port number"))?,
            };
            Ok(Some(Endpoint { host, port }))
        }
        _ => Err(D::Error::custom(
            "controlPlaneEndpoint is neither text nor an object",
        )),
    }
}

/// Flags and labels are text, but YAML makes numbers and booleans of `2` and `true`: taken as they were written.
fn string_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StringMap>, D::Error> {
    let Some(map) = Option::<Map<String, Value>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    map.into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            Value::Number(number) => Ok((key, number.to_string())),
            Value::Bool(flag) => Ok((key, flag.to_string())),
            Value::Null => Ok((key, String::new())),
            _ => Err(D::Error::custom(format!("\"{key}\" is no text"))),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}
