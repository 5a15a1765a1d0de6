//! `crit.criticalstack.com/v1alpha1` becomes `crit.sh/v1alpha2`. Keys that have no place there stay, so that they are reported.

use serde_json::{Map, Value, json};

use super::{API_VERSION, CONTROL_PLANE, Endpoint};
use crate::bootstrap::BootstrapError;

/// Turns a document of the older version into the newer one, in place.
pub(super) fn convert(document: &mut Value, kind: &str) -> Result<(), BootstrapError> {
    let Value::Object(root) = document else {
        return Ok(());
    };
    root.insert("apiVersion".to_owned(), json!(API_VERSION));
    endpoint(root)?;
    // The domain of services is a setting of kubelet in the newer version.
    if let Some(node) = object(root, "node")
        && let Some(domain) = node.remove("dnsDomain")
    {
        let kubelet = node.entry("kubelet").or_insert_with(|| json!({}));
        if let Value::Object(kubelet) = kubelet {
            kubelet.entry("clusterDomain").or_insert(domain);
        }
    }
    if kind == CONTROL_PLANE {
        control_plane(root)?;
    }
    Ok(())
}

/// `apiServerURL` wins over `controlPlaneEndpoint`, which is a host alone.
fn endpoint(root: &mut Map<String, Value>) -> Result<(), BootstrapError> {
    let url = take_text(root, "apiServerURL")?;
    let host = take_text(root, "controlPlaneEndpoint")?;
    let field = |field: &str, reason| BootstrapError::Field {
        field: field.to_owned(),
        reason,
    };
    let endpoint = match (url, host) {
        (Some(url), _) => Endpoint::parse(&url).map_err(|e| field("apiServerURL", e))?,
        (None, Some(host)) => Endpoint::parse(&host).map_err(|e| field("controlPlaneEndpoint", e))?,
        (None, None) => return Ok(()),
    };
    root.insert(
        "controlPlaneEndpoint".to_owned(),
        json!({"host": endpoint.host, "port": endpoint.port}),
    );
    Ok(())
}

fn control_plane(root: &mut Map<String, Value>) -> Result<(), BootstrapError> {
    // The bootstrap server could not be switched off.
    let gates = root.entry("featureGates").or_insert_with(|| json!({}));
    if let Value::Object(gates) = gates {
        gates.insert("BootstrapServer".to_owned(), json!(true));
    }
    let mut moved = Vec::new();
    let mut mode = None;
    if let Some(node) = object(root, "node") {
        for subnet in ["podSubnet", "serviceSubnet"] {
            if let Some(value) = node.remove(subnet) {
                moved.push((subnet.to_owned(), value));
            }
        }
        mode = take_text(node, "kubeProxyMode")?;
    }
    root.extend(moved);
    match mode.as_deref() {
        None => {}
        Some("disabled") => {
            root.insert("kubeProxy".to_owned(), json!({"disabled": true}));
        }
        Some(mode @ ("iptables" | "ipvs")) => {
            root.insert("kubeProxy".to_owned(), json!({"config": {"mode": mode}}));
        }
        Some(other) => {
            return Err(BootstrapError::Field {
                field: "node.kubeProxyMode".to_owned(),
                reason: format!("\"{other}\" is not one of iptables, ipvs, disabled"),
            });
        }
    }
    Ok(())
}

fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_object_mut)
}

/// Takes a text out. An empty one counts as absent.
fn take_text(map: &mut Map<String, Value>, key: &str) -> Result<Option<String>, BootstrapError> {
    match map.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|t| !t.is_empty())),
        Some(_) => Err(BootstrapError::Field {
            field: key.to_owned(),
            reason: "is no text".to_owned(),
        }),
    }
}
