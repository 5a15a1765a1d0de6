//! crit's configurations: `crit.sh/v1alpha2`, and the older `crit.criticalstack.com/v1alpha1` which becomes it.
//! Reading and writing only; what a field means on a node is said elsewhere.

mod defaults;
mod legacy;
mod types;

pub(crate) use defaults::bare_version;
pub use defaults::{
    kubelet_defaults, set_control_plane_defaults, set_node_defaults, set_proxy_defaults, set_worker_defaults,
};
pub use types::*;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::BootstrapError;

/// API version of the configurations that are written.
pub const API_VERSION: &str = "crit.sh/v1alpha2";
/// API version of the older configurations.
pub const LEGACY_API_VERSION: &str = "crit.criticalstack.com/v1alpha1";
/// Kind of a worker's configuration.
pub const WORKER: &str = "WorkerConfiguration";
/// Kind of a control plane's configuration.
pub const CONTROL_PLANE: &str = "ControlPlaneConfiguration";

/// A crit configuration as it was written, without defaults.
#[derive(Debug, Clone, PartialEq)]
pub enum Configuration {
    /// Of a worker.
    Worker(Box<WorkerConfiguration>),
    /// Of a control plane.
    ControlPlane(Box<ControlPlaneConfiguration>),
}

/// A configuration and what in it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What was understood.
    pub configuration: Configuration,
    /// Paths of the keys that nobody knows, in the order in which they stand.
    pub unknown: Vec<String>,
}

/// Says whether a document is one of crit's, whatever its version.
pub fn is_crit(document: &Value) -> bool {
    let group = document["apiVersion"]
        .as_str()
        .and_then(|v| v.split_once('/'))
        .map(|(g, _)| g);
    matches!(group, Some("crit.sh" | "crit.criticalstack.com"))
}

/// Reads a document of crit's.
///
/// # Errors
/// Fails for kinds and versions that crit does not have, and for values of a wrong type.
pub fn parse(document: &Value) -> Result<Parsed, BootstrapError> {
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let mut document = document.clone();
    match version.as_str() {
        API_VERSION => {}
        LEGACY_API_VERSION => legacy::convert(&mut document, &kind)?,
        _ => {
            return Err(BootstrapError::UnknownKind {
                found: format!("{version}, {kind}").trim_start_matches(", ").to_owned(),
            });
        }
    }
    match kind.as_str() {
        WORKER => {
            let (worker, unknown) = read::<WorkerConfiguration>(&document)?;
            Ok(Parsed {
                configuration: Configuration::Worker(Box::new(worker)),
                unknown,
            })
        }
        CONTROL_PLANE => {
            let (control_plane, unknown) = read::<ControlPlaneConfiguration>(&document)?;
            Ok(Parsed {
                configuration: Configuration::ControlPlane(Box::new(control_plane)),
                unknown,
            })
        }
        _ => Err(BootstrapError::UnknownKind {
            found: format!("{version}, {kind}").trim_start_matches(", ").to_owned(),
        }),
    }
}

/// Reads a part of a document as a type, and lists the keys that the type does not have.
pub(crate) fn read<T: DeserializeOwned + Serialize>(
    document: &Value,
) -> Result<(T, Vec<String>), BootstrapError> {
    let value: T = T::deserialize(document).map_err(|e| BootstrapError::Field {
        field: document["kind"].as_str().unwrap_or("document").to_owned(),
        reason: e.to_string(),
    })?;
    let written = serde_json::to_value(&value).map_err(|e| BootstrapError::Field {
        field: "document".to_owned(),
        reason: e.to_string(),
    })?;
    let mut unknown = Vec::new();
    lost(document, &written, "", &mut unknown);
    Ok((value, unknown))
}

/// Lists the paths that are in `given` and not in `kept`. Null counts as absent.
fn lost(given: &Value, kept: &Value, path: &str, out: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let path = join(path, key);
                match kept.get(key) {
                    Some(kept) => lost(value, kept, &path, out),
                    None if value.is_null() => {}
                    None => out.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                lost(given, kept, &format!("{path}[{index}]"), out);
            }
        }
        _ => {}
    }
}

/// Adds a key to a path. Keys with dots are put in brackets.
pub(crate) fn join(path: &str, key: &str) -> String {
    if key.contains(['.', '/']) {
        format!("{path}[{key}]")
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

#[cfg(test)]
mod tests;
