//! Between API versions of kubeadm's configuration. What a version can't say is named, never lost in silence.

use serde_json::{Map, Value, json};

use super::{
    ApiVersion,
    documents::{list, object},
};
use crate::bootstrap::BootstrapError;

type Object = Map<String, Value>;

/// Where flags stand, by kind.
fn arg_places(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "ClusterConfiguration" => &[
            &["apiServer"],
            &["controllerManager"],
            &["scheduler"],
            &["etcd", "local"],
        ],
        "InitConfiguration" | "JoinConfiguration" => &[&["nodeRegistration"]],
        _ => &[],
    }
}

/// Raises a document to the form of `v1beta4`.
pub(super) fn raise(from: ApiVersion, kind: &str, document: &mut Object) -> Result<(), BootstrapError> {
    for place in arg_places(kind) {
        if let Some(holder) = find(document, place) {
            for key in ["extraArgs", "kubeletExtraArgs"] {
                raise_args(&format!("{kind}.{}.{key}", place.join(".")), holder, key)?;
            }
        }
    }
    if from < ApiVersion::V1Beta4 {
        if let Some(limit) = find(document, &["discovery"]).and_then(|d| d.remove("timeout")) {
            object(document, "timeouts").insert("discovery".to_owned(), limit);
        }
        // Stands in another document in the newer version; `lower` and `generate` look here.
        if let Some(limit) = find(document, &["apiServer"]).and_then(|a| a.remove("timeoutForControlPlane")) {
            object(document, "timeouts").insert("controlPlaneComponentHealthCheck".to_owned(), limit);
        }
    }
    if from < ApiVersion::V1Beta3 && kind == "ClusterConfiguration" {
        // Both say what is so anyway: there is one DNS server, and each program has its own image.
        if let Some(dns) = find(document, &["dns"])
            && dns.get("type").is_some_and(|t| t == "CoreDNS" || t == "")
        {
            dns.remove("type");
            if dns.is_empty() {
                document.remove("dns");
            }
        }
        if document.get("useHyperKubeImage") == Some(&json!(false)) {
            document.remove("useHyperKubeImage");
        }
    }
    Ok(())
}

/// Makes a list of a map of flags.
fn raise_args(path: &str, holder: &mut Object, key: &str) -> Result<(), BootstrapError> {
    let fail = |reason: &str| BootstrapError::Field {
        field: path.to_owned(),
        reason: reason.to_owned(),
    };
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Ok(String::new()),
        _ => Err(fail("a flag's value has to be text")),
    };
    let args = match holder.get(key) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| Ok(json!({"name": name, "value": text(value)?})))
            .collect::<Result<Vec<_>, BootstrapError>>()?,
        Some(Value::Array(list)) => list
            .iter()
            .map(|arg| match arg["name"].as_str() {
                Some(name) => Ok(json!({"name": name, "value": text(&arg["value"])?})),
                None => Err(fail("want a list of {name, value}")),
            })
            .collect::<Result<Vec<_>, BootstrapError>>()?,
        Some(_) => return Err(fail("want flags by name")),
    };
    holder.insert(key.to_owned(), Value::Array(args));
    Ok(())
}

/// Lowers a document to an API version. Adds the paths of what is lost to `lost`, and phases that have to be skipped on
/// the command line to `skip`.
pub(super) fn lower(
    to: ApiVersion,
    kind: &str,
    document: &mut Object,
    lost: &mut Vec<String>,
    skip: &mut Vec<String>,
) {
    // Phases are skipped by a flag: it is there in all versions.
    if let Some(Value::Array(phases)) = document.remove("skipPhases") {
        skip.extend(phases.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if to >= ApiVersion::V1Beta4 {
        return;
    }
    for place in arg_places(kind) {
        if let Some(holder) = find(document, place) {
            for key in ["extraArgs", "kubeletExtraArgs"] {
                lower_args(&format!("{kind}.{}.{key}", place.join(".")), holder, key, lost);
            }
            drop_field(holder, "extraEnvs", &format!("{kind}.{}", place.join(".")), lost);
            drop_field(
                holder,
                "imagePullSerial",
                &format!("{kind}.{}", place.join(".")),
                lost,
            );
        }
    }
    if let Some(Value::Object(timeouts)) = document.remove("timeouts") {
        for (name, limit) in timeouts {
            match (kind, name.as_str()) {
                ("JoinConfiguration", "discovery") => {
                    object(document, "discovery").insert("timeout".to_owned(), limit);
                }
                ("ClusterConfiguration", "controlPlaneComponentHealthCheck") => {
                    object(document, "apiServer").insert("timeoutForControlPlane".to_owned(), limit);
                }
                _ => lost.push(format!("{kind}.timeouts.{name}")),
            }
        }
    }
    for field in [
        "certificateValidityPeriod",
        "caCertificateValidityPeriod",
        "encryptionAlgorithm",
        "dryRun",
    ] {
        drop_field(document, field, kind, lost);
    }
    for (part, phase) in [("proxy", "addon/kube-proxy"), ("dns", "addon/coredns")] {
        if let Some(holder) = find(document, &[part])
            && holder.remove("disabled") == Some(json!(true))
        {
            skip.push(phase.to_owned());
        }
    }
    if let Some(proxy) = document.remove("proxy")
        && proxy.as_object().is_some_and(|p| !p.is_empty())
    {
        lost.push(format!("{kind}.proxy"));
    }
    if to >= ApiVersion::V1Beta3 {
        return;
    }
    drop_field(document, "patches", kind, lost);
    if let Some(node) = find(document, &["nodeRegistration"]) {
        drop_field(node, "imagePullPolicy", &format!("{kind}.nodeRegistration"), lost);
    }
}

/// Makes a map of a list of flags. The last of several with one name stays.
fn lower_args(path: &str, holder: &mut Object, key: &str, lost: &mut Vec<String>) {
    if !holder.contains_key(key) {
        return;
    }
    let mut map = Object::new();
    for arg in list(holder, key).iter() {
        let name = arg["name"].as_str().unwrap_or_default();
        if map.insert(name.to_owned(), arg["value"].clone()).is_some() {
            lost.push(format!("{path}.{name}"));
        }
    }
    holder.insert(key.to_owned(), Value::Object(map));
}

fn drop_field(holder: &mut Object, field: &str, path: &str, lost: &mut Vec<String>) {
    if holder.remove(field).is_some_and(|v| !v.is_null()) {
        lost.push(format!("{path}.{field}"));
    }
}

/// Walks down objects that are there.
fn find<'a>(document: &'a mut Object, place: &[&str]) -> Option<&'a mut Object> {
    place
        .iter()
        .try_fold(document, |holder, key| holder.get_mut(*key)?.as_object_mut())
}
