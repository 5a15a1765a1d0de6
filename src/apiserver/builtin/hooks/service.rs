//! Rules of Service. Addresses are given out by name, so that none needs to be remembered.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::plain::default;

pub(in super::super) struct Service;

impl BuiltinHooks for Service {
    fn set_defaults(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        default(spec, "sessionAffinity", "None");
        default(spec, "type", "ClusterIP");
        if spec["type"] != "ExternalName" {
            default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if spec["type"] == "LoadBalancer" {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            default(port, "protocol", "TCP");
            if let Some(number) = port.get("port").cloned()
                && port
                    .get("targetPort")
                    .is_none_or(|t| t.is_null() || *t == 0 || *t == "")
            {
                port["targetPort"] = number;
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
        give_address(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if new["spec"]["type"] == "ExternalName" || !new["spec"].is_object() {
            return;
        }
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old["spec"].get(field) {
                default(&mut new["spec"], field, value.clone());
            }
        }
        give_address(new);
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &new["spec"];
        let kind = spec["type"].as_str().unwrap_or_default();
        if !matches!(kind, "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort") {
            errors.push(FieldError::not_supported(
                "spec.type",
                kind,
                ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
                    .map(str::to_owned)
                    .to_vec(),
            ));
        }
        let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
        if ports.is_empty() && kind != "ExternalName" && spec["clusterIP"] != "None" {
            errors.push(FieldError::required("spec.ports", ""));
        }
        for (index, port) in ports.iter().enumerate() {
            let at = format!("spec.ports[{index}]");
            if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required(format!("{at}.name"), ""));
            }
            if let Some(number) = port["port"].as_i64().filter(|n| !(1..=65535).contains(n)) {
                errors.push(FieldError::invalid(
                    format!("{at}.port"),
                    number,
                    "must be between 1 and 65535, inclusive",
                ));
            }
        }
        if let Some(before) = old
            .and_then(|old| old["spec"]["clusterIP"].as_str())
            .filter(|ip| !ip.is_empty())
            && kind != "ExternalName"
            && spec["clusterIP"].as_str() != Some(before)
        {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                json!([spec["clusterIP"]]),
                "may not change once set",
            ));
        }
        errors
    }
}

/// Gives a service its address in 10.96.0.0/12, derived from its name: nothing is routed here, clients only want to
/// see one.
fn give_address(object: &mut Value) {
    if object["spec"]["type"] == "ExternalName" || !object["spec"].is_object() {
        return;
    }
    let key = format!(
        "{}/{}",
        object["metadata"]["namespace"], object["metadata"]["name"]
    );
    let digest = Sha256::digest(key.as_bytes());
    let address = format!("10.{}.{}.{}", 96 + digest[0] % 16, digest[1], 1 + digest[2] % 254);
    let spec = &mut object["spec"];
    default(spec, "clusterIP", address);
    let own = spec["clusterIP"].clone();
    default(spec, "clusterIPs", json!([own]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_and_keeps_an_address() {
        let mut service =
            json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 80}]}});
        Service.set_defaults(&mut service);
        Service.prepare_create(&mut service);
        assert!(
            service["spec"]["clusterIP"]
                .as_str()
                .expect("address")
                .starts_with("10.")
        );
        assert_eq!(
            service["spec"]["ports"][0],
            json!({"port": 80, "protocol": "TCP", "targetPort": 80})
        );
        let mut changed =
            json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": [{"port": 81}]}});
        Service.set_defaults(&mut changed);
        Service.prepare_update(&mut changed, &service);
        assert_eq!(changed["spec"]["clusterIP"], service["spec"]["clusterIP"]);
        assert!(Service.validate(&changed, Some(&service)).is_empty());
    }
}
