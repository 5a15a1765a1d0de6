//! The types of `cinder.crit.sh/v1alpha1`, as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CinderError;

/// A local cluster in one file.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfiguration {
    /// `cinder.crit.sh/v1alpha1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `ClusterConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Files in the containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<HostFile>>,
    /// Commands to run before a node is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_crit_commands: Option<Vec<String>>,
    /// Commands to run on the control plane when the cluster is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_crit_commands: Option<Vec<String>>,
    /// Feature gates as written. See [`ClusterConfiguration::gates`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_gates: Option<BTreeMap<String, bool>>,
    /// A crit `ControlPlaneConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_configuration: Option<Value>,
    /// A crit `WorkerConfiguration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_configuration: Option<Value>,
    /// Directories of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_mounts: Option<Vec<ExtraMount>>,
    /// Ports that the host publishes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_port_mappings: Option<Vec<ExtraPortMapping>>,
    /// Name of the local registry's container. Default cinderegg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_registry_name: Option<String>,
    /// Port of the local registry on the host. Default 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_registry_port: Option<u16>,
    /// Registries, and the address that their images come from instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_mirrors: Option<BTreeMap<String, String>>,
    /// Feature gates, understood.
    #[serde(skip)]
    pub gates: FeatureGates,
}

/// Feature gates of cinder. All are off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the file"
)]
pub struct FeatureGates {
    /// Nodes that run `WebAssembly`.
    pub krustlet: bool,
    /// A registry beside the cluster.
    pub local_registry: bool,
    /// The Machine API in the cluster.
    pub machine_api: bool,
    /// Mended cgroup mounts in the control plane's container.
    pub fix_cgroup_mounts: bool,
}

impl FeatureGates {
    /// Reads gates by name. `AllAlpha` sets those that are not named: all of them are alpha.
    pub(super) fn parse(written: Option<&BTreeMap<String, bool>>) -> Result<Self, CinderError> {
        let empty = BTreeMap::new();
        let written = written.unwrap_or(&empty);
        let all = written.get("AllAlpha").copied().unwrap_or_default();
        let mut gates = Self {
            krustlet: all,
            local_registry: all,
            machine_api: all,
            fix_cgroup_mounts: all,
        };
        for (name, on) in written {
            match name.as_str() {
                "Krustlet" => gates.krustlet = *on,
                "LocalRegistry" => gates.local_registry = *on,
                "MachineAPI" => gates.machine_api = *on,
                "FixCgroupMounts" => gates.fix_cgroup_mounts = *on,
                // There are no beta gates; the name is known all the same.
                "AllAlpha" | "AllBeta" => {}
                other => {
                    return Err(CinderError::Field {
                        field: "featureGates".to_owned(),
                        reason: format!(
                            "\"{other}\" is none of Krustlet, LocalRegistry, MachineAPI, FixCgroupMounts, AllAlpha"
                        ),
                    });
                }
            }
        }
        Ok(gates)
    }
}

/// A file in the containers.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HostFile {
    /// Absolute path in the container.
    pub path: String,
    /// user:group. Default root:root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Octal. Default 0644.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// How content is written down. Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<FileEncoding>,
    /// Content, or a path of the host.
    pub content: String,
}

/// How the content of a file is written down.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileEncoding {
    /// Base64.
    #[serde(rename = "base64")]
    Base64,
    /// Gzip.
    #[serde(rename = "gzip")]
    Gzip,
    /// Gzip, then base64.
    #[serde(rename = "gzip+base64")]
    GzipBase64,
    /// It lies on the host, at this path.
    #[serde(rename = "hostpath")]
    HostPath,
}

/// A directory of the host that containers see.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtraMount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Whether it may only be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Further attributes, for example z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attrs: Option<Vec<String>>,
}

/// A port that the host publishes.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtraPortMapping {
    /// Port in the container.
    pub container_port: u16,
    /// Port on the host. 0: any that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Address on the host. Default 127.0.0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<String>,
    /// TCP or UDP. Default TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// The registry beside a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRegistry {
    /// Name of its container, and its host name in the cluster's network.
    pub name: String,
    /// Port on the host. In the container it is 5000.
    pub port: u16,
}
