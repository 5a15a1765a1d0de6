//! `cinder.crit.sh/v1alpha1 ClusterConfiguration`: a local cluster in one file. It is read here and turned into Configs;
//! files of the host are read by the caller, containers are made by others.

mod mirrors;
mod types;

pub use types::{
    ClusterConfiguration, ExtraMount, ExtraPortMapping, FeatureGates, FileEncoding, HostFile, LocalRegistry,
};

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    crit::{self, ControlPlaneConfiguration, NodeConfiguration, WorkerConfiguration},
    files,
};
use crate::{
    api::v1alpha1::{ConfigSpec, Encoding, File, Mount, PortMapping},
    yaml::{self, YamlError},
};

/// API version of the configuration.
pub const API_VERSION: &str = "cinder.crit.sh/v1alpha1";
/// Kind of the configuration.
pub const KIND: &str = "ClusterConfiguration";

/// Content of files of the host, by the path that the configuration gives.
pub type HostFiles = BTreeMap<String, Vec<u8>>;

/// Why a cluster can't be made from a configuration.
#[derive(Debug, thiserror::Error)]
pub enum CinderError {
    /// It is no YAML, or a value has a wrong type.
    #[error("cluster configuration, line {}: {source}", source.line)]
    Yaml {
        /// What is wrong, and where.
        #[source]
        source: YamlError,
    },
    /// It is another kind, or there are several documents.
    #[error("cluster configuration: want one document of {API_VERSION}, {KIND}, found {found}")]
    Kind {
        /// What is there instead.
        found: String,
    },
    /// A field has a value that can't be used.
    #[error("cluster configuration: {field}: {reason}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the host was not given.
    #[error("cluster configuration: files[{index}]: \"{path}\" was not read from this machine")]
    HostFile {
        /// Place in the list.
        index: usize,
        /// Path on the host.
        path: String,
    },
}

/// A configuration and what in it will not be honoured.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The configuration, with defaults.
    pub configuration: ClusterConfiguration,
    /// What a user should know, one sentence each without a full stop.
    pub warnings: Vec<String>,
}

/// Reads a configuration.
///
/// # Errors
/// Fails for other kinds, unknown feature gates, and values of a wrong type.
pub fn parse(text: &str) -> Result<Parsed, CinderError> {
    let documents = yaml::documents(text).map_err(|source| CinderError::Yaml { source })?;
    let document = match documents.as_slice() {
        [one] => &one.value,
        many => {
            return Err(CinderError::Kind {
                found: format!("{} documents", many.len()),
            });
        }
    };
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != (API_VERSION, KIND) {
        return Err(CinderError::Kind {
            found: match (text("apiVersion"), text("kind")) {
                ("", "") => "neither apiVersion nor kind".to_owned(),
                ("", kind) => format!("\"{kind}\" without apiVersion"),
                (version, kind) => format!("\"{version}, {kind}\""),
            },
        });
    }
    let field = |field: &str, e: &dyn std::fmt::Display| CinderError::Field {
        field: field.to_owned(),
        reason: e.to_string(),
    };
    let (mut configuration, unknown) =
        crit::read::<ClusterConfiguration>(document).map_err(|e| field("document", &e))?;
    let mut warnings: Vec<String> = unknown
        .into_iter()
        .map(|path| format!("unknown field {path} is ignored"))
        .collect();
    configuration.gates = FeatureGates::parse(configuration.feature_gates.as_ref())?;
    if configuration.gates.krustlet {
        warnings
            .push("feature gate Krustlet is ignored: there is nothing left to install it from".to_owned());
    }
    let mut known = |part: Option<&mut Value>, kind: &str, name: &str| -> Result<(), CinderError> {
        let Some(Value::Object(part)) = part else {
            return Ok(());
        };
        part.entry("apiVersion")
            .or_insert_with(|| json!(crit::API_VERSION));
        part.entry("kind").or_insert_with(|| json!(kind));
        let parsed = crit::parse(&Value::Object(part.clone())).map_err(|e| field(name, &e))?;
        warnings.extend(
            parsed
                .unknown
                .into_iter()
                .map(|path| format!("unknown field {name}.{path} is ignored")),
        );
        Ok(())
    };
    known(
        configuration.control_plane_configuration.as_mut(),
        crit::CONTROL_PLANE,
        "controlPlaneConfiguration",
    )?;
    known(
        configuration.worker_configuration.as_mut(),
        crit::WORKER,
        "workerConfiguration",
    )?;
    configuration.check()?;
    Ok(Parsed {
        configuration,
        warnings,
    })
}

impl ClusterConfiguration {
    /// Returns the paths of the host's files whose content is needed.
    pub fn host_files(&self) -> Vec<&str> {
        self.files
            .iter()
            .flatten()
            .filter(|f| f.encoding == Some(FileEncoding::HostPath))
            .map(|f| f.content.as_str())
            .collect()
    }

    /// Makes the Config of the control plane.
    ///
    /// # Errors
    /// Fails when a file of the host is missing, or a value has a wrong type.
    pub fn control_plane(&self, cluster: &str, host_files: &HostFiles) -> Result<ConfigSpec, CinderError> {
        let mut configuration: ControlPlaneConfiguration =
            typed(self.control_plane_configuration.as_ref(), crit::CONTROL_PLANE)?;
        configuration.api_version = Some(crit::API_VERSION.to_owned());
        configuration.kind = Some(crit::CONTROL_PLANE.to_owned());
        configuration.cluster_name = Some(cluster.to_owned());
        configuration
            .kube_api_server
            .get_or_insert_default()
            .extra_args
            .get_or_insert_default()
            .entry("enable-admission-plugins".to_owned())
            .or_insert_with(|| "NodeRestriction".to_owned());
        configuration
            .kube_controller_manager
            .get_or_insert_default()
            .extra_args
            .get_or_insert_default()
            .insert("enable-hostpath-provisioner".to_owned(), "true".to_owned());
        self.local_node(configuration.node.get_or_insert_default());
        self.config(&configuration, host_files, self.post_crit_commands.as_deref())
    }

    /// Makes the Config of workers. Commands for after the join are those of the cluster, and run on the control plane only.
    ///
    /// # Errors
    /// Fails when a file of the host is missing, or a value has a wrong type.
    pub fn worker(&self, cluster: &str, host_files: &HostFiles) -> Result<ConfigSpec, CinderError> {
        let mut configuration: WorkerConfiguration = typed(self.worker_configuration.as_ref(), crit::WORKER)?;
        configuration.api_version = Some(crit::API_VERSION.to_owned());
        configuration.kind = Some(crit::WORKER.to_owned());
        configuration.cluster_name = Some(cluster.to_owned());
        self.local_node(configuration.node.get_or_insert_default());
        self.config(&configuration, host_files, None)
    }

    /// Returns the directories of the host that containers see. Relative paths stay relative: the caller knows where it is.
    pub fn mounts(&self) -> Vec<Mount> {
        self.extra_mounts
            .iter()
            .flatten()
            .map(|m| Mount {
                host_path: m.host_path.clone(),
                container_path: m.container_path.clone(),
                read_only: m.read_only.unwrap_or_default(),
                attrs: m.attrs.clone().unwrap_or_default(),
            })
            .collect()
    }

    /// Returns the ports that the host publishes.
    pub fn port_mappings(&self) -> Vec<PortMapping> {
        self.extra_port_mappings
            .iter()
            .flatten()
            .map(|p| PortMapping {
                container_port: p.container_port,
                host_port: p.host_port.unwrap_or_default(),
                listen_address: p.listen_address.clone(),
                protocol: p.protocol.clone(),
            })
            .collect()
    }

    /// Returns the registry that stands beside the cluster, if it is asked for.
    pub fn local_registry(&self) -> Option<LocalRegistry> {
        self.gates.local_registry.then(|| LocalRegistry {
            name: self
                .local_registry_name
                .clone()
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| "cinderegg".to_owned()),
            port: self.local_registry_port.filter(|p| *p != 0).unwrap_or(5000),
        })
    }

    /// Local clusters notice changes at once, as cinder's do.
    fn local_node(&self, node: &mut NodeConfiguration) {
        let kubelet = node.kubelet.get_or_insert_default();
        for interval in [
            "fileCheckFrequency",
            "httpCheckFrequency",
            "nodeStatusReportFrequency",
            "nodeStatusUpdateFrequency",
            "syncFrequency",
        ] {
            kubelet.insert(interval.to_owned(), json!("1s"));
        }
        kubelet.insert("serializeImagePulls".to_owned(), json!(false));
        if self.gates.fix_cgroup_mounts {
            kubelet.insert("cgroupRoot".to_owned(), json!("/kubelet"));
        }
    }

    fn config<T: serde::Serialize>(
        &self,
        configuration: &T,
        host_files: &HostFiles,
        post: Option<&[String]>,
    ) -> Result<ConfigSpec, CinderError> {
        let text = yaml::to_string(configuration).map_err(|source| CinderError::Yaml { source })?;
        let mut files = Vec::new();
        for (index, file) in self.files.iter().flatten().enumerate() {
            files.push(plain(index, file, host_files)?);
        }
        let mut pre = Vec::new();
        let mirrors = self.mirrors();
        if !mirrors.is_empty() {
            let user = files
                .iter()
                .position(|f: &File| f.path == mirrors::CONTAINERD_CONFIG);
            match user {
                Some(index) => mirrors::append(&mirrors, index, &mut files)?,
                None => pre.push(mirrors::COMMAND.to_owned()),
            }
            files.extend(mirrors::files(&mirrors));
        }
        pre.extend(self.pre_crit_commands.iter().flatten().cloned());
        Ok(ConfigSpec {
            config: Value::String(text),
            files,
            pre_crit_commands: pre,
            post_crit_commands: post.unwrap_or_default().to_vec(),
            ..ConfigSpec::default()
        })
    }

    /// Registries and where their images come from instead.
    fn mirrors(&self) -> BTreeMap<String, String> {
        let mut mirrors = self.registry_mirrors.clone().unwrap_or_default();
        if let Some(LocalRegistry { name, port }) = self.local_registry() {
            // Inside its network the registry listens on 5000, whatever port the host publishes it on.
            mirrors
                .entry(format!("{name}:{port}"))
                .or_insert_with(|| format!("http://{name}:5000"));
        }
        mirrors
    }

    fn check(&self) -> Result<(), CinderError> {
        let fail = |field: String, reason: String| CinderError::Field { field, reason };
        for (index, port) in self.extra_port_mappings.iter().flatten().enumerate() {
            if let Some(protocol) = &port.protocol
                && !matches!(protocol.to_ascii_uppercase().as_str(), "" | "TCP" | "UDP")
            {
                return Err(fail(
                    format!("extraPortMappings[{index}].protocol"),
                    format!("\"{protocol}\" is neither TCP nor UDP"),
                ));
            }
        }
        for (host, url) in self.registry_mirrors.iter().flatten() {
            let bad = |c: char| c.is_control() || c.is_whitespace() || "\"'\\".contains(c);
            if host.is_empty() || host.contains(bad) || host.contains('/') {
                return Err(fail(
                    "registryMirrors".to_owned(),
                    format!("\"{host}\" is no registry"),
                ));
            }
            if url.contains(bad) || !(url.starts_with("http://") || url.starts_with("https://")) {
                return Err(fail(
                    format!("registryMirrors[{host}]"),
                    "want an http:// or https:// address".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

/// Reads a part of the configuration as crit would.
fn typed<T: serde::de::DeserializeOwned + serde::Serialize>(
    part: Option<&Value>,
    kind: &str,
) -> Result<T, CinderError> {
    let fail = |reason: String| CinderError::Field {
        field: kind.to_owned(),
        reason,
    };
    let mut map = Map::new();
    map.insert("apiVersion".to_owned(), json!(crit::API_VERSION));
    map.insert("kind".to_owned(), json!(kind));
    if let Some(Value::Object(part)) = part {
        map.extend(part.clone());
    }
    let parsed = crit::parse(&Value::Object(map)).map_err(|e| fail(e.to_string()))?;
    let value = match parsed.configuration {
        crit::Configuration::Worker(worker) => serde_json::to_value(*worker),
        crit::Configuration::ControlPlane(control_plane) => serde_json::to_value(*control_plane),
    };
    value
        .and_then(serde_json::from_value)
        .map_err(|e| fail(e.to_string()))
}

/// Takes a file over. One of the host comes with its content.
fn plain(index: usize, file: &HostFile, host_files: &HostFiles) -> Result<File, CinderError> {
    let mut out = File {
        path: file.path.clone(),
        owner: file.owner.clone().filter(|o| !o.is_empty()),
        permissions: file.permissions.clone().filter(|p| !p.is_empty()),
        encoding: None,
        content: file.content.clone(),
    };
    match file.encoding {
        None => {}
        Some(FileEncoding::Base64) => out.encoding = Some(Encoding::Base64),
        Some(FileEncoding::Gzip) => out.encoding = Some(Encoding::Gzip),
        Some(FileEncoding::GzipBase64) => out.encoding = Some(Encoding::GzipBase64),
        Some(FileEncoding::HostPath) => {
            let content = host_files
                .get(&file.content)
                .ok_or_else(|| CinderError::HostFile {
                    index,
                    path: file.content.clone(),
                })?;
            out.encoding = Some(Encoding::Base64);
            out.content = STANDARD.encode(content);
        }
    }
    Ok(out)
}

/// Returns the text of a file.
fn text_of(file: &File) -> Result<String, CinderError> {
    let fail = |reason: String| CinderError::Field {
        field: file.path.clone(),
        reason,
    };
    let bytes = files::decode(file.encoding, file.content.as_bytes()).map_err(fail)?;
    String::from_utf8(bytes).map_err(|_| CinderError::Field {
        field: file.path.clone(),
        reason: "is no text".to_owned(),
    })
}

#[cfg(test)]
mod tests;
