//! Cells of built-in kinds, without the name.

use serde_json::{Value, json};

use super::super::builtin::ResourceInfo;
use super::{created, jobs, pods, since, workloads};
use crate::time::Timestamp;

/// Returns the cells of an object, one for each column but the name.
pub(super) fn cells(info: &ResourceInfo, item: &Value, now: Timestamp) -> Vec<Value> {
    let age = || created(item, now);
    match info.kind.as_str() {
        "Namespace" => vec![text(item, "/status/phase"), age()],
        "Node" => node(item, now),
        "Secret" => vec![text(item, "/type"), count(item, &["data"]), age()],
        "ConfigMap" => vec![count(item, &["data", "binaryData"]), age()],
        "Event" => event(info, item, now),
        "Lease" => vec![text(item, "/spec/holderIdentity"), age()],
        "Pod" => pods::cells(item, now),
        "Service" => service(item, now),
        "Endpoints" => vec![endpoints(item), age()],
        "EndpointSlice" => endpoint_slice(item, now),
        "PersistentVolumeClaim" => claim(item, now),
        "Deployment"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "StatefulSet"
        | "ControllerRevision"
        | "PodDisruptionBudget" => workloads::cells(&info.kind, item, now),
        "Job" => jobs::job(item, now),
        "CronJob" => jobs::cron_job(item, now),
        "Ingress" => ingress(item, now),
        "CustomResourceDefinition" | "Role" | "ClusterRole" => {
            vec![
                item.pointer("/metadata/creationTimestamp")
                    .cloned()
                    .unwrap_or_default(),
            ]
        }
        "RoleBinding" | "ClusterRoleBinding" => binding(item, now),
        "APIService" => vec![api_service(item), available(item), age()],
        "StorageClass" => vec![
            text(item, "/provisioner"),
            text(item, "/reclaimPolicy"),
            text(item, "/volumeBindingMode"),
            flag(item, "/allowVolumeExpansion"),
            age(),
        ],
        "VolumeAttachment" => vec![
            text(item, "/spec/attacher"),
            text(item, "/spec/source/persistentVolumeName"),
            text(item, "/spec/nodeName"),
            flag(item, "/status/attached"),
            age(),
        ],
        "CSINode" => vec![length(item, "/spec/drivers"), age()],
        "RuntimeClass" => vec![text(item, "/handler"), age()],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![length(item, "/webhooks"), age()]
        }
        "ValidatingAdmissionPolicy" => {
            let kind = item.pointer("/spec/paramKind").filter(|k| k.is_object());
            let part = |kind: &Value, field: &str| kind[field].as_str().unwrap_or_default().to_owned();
            let kind = kind.map_or("<unset>".to_owned(), |k| {
                format!("{}/{}", part(k, "apiVersion"), part(k, "kind"))
            });
            vec![length(item, "/spec/validations"), kind.into(), age()]
        }
        "ValidatingAdmissionPolicyBinding" => {
            let reference = item.pointer("/spec/paramRef").filter(|r| r.is_object());
            let part = |field: &str| reference.and_then(|r| r[field].as_str()).unwrap_or_default();
            let reference = match (reference, part("namespace"), part("name")) {
                (None, _, _) => "<unset>".to_owned(),
                (_, "", name) => name.to_owned(),
                (_, namespace, name) => format!("{namespace}/{name}"),
            };
            vec![text(item, "/spec/policyName"), reference.into(), age()]
        }
        "CertificateSigningRequest" => signing_request(item, now),
        "PriorityClass" => vec![
            item.get("value").cloned().unwrap_or_else(|| 0.into()),
            flag(item, "/globalDefault"),
            age(),
            text(item, "/preemptionPolicy"),
        ],
        // Kinds with the columns name and age.
        _ => info.columns.iter().map(|_| age()).collect(),
    }
}

/// Returns the text at a place, empty if there is none.
pub(super) fn text(item: &Value, pointer: &str) -> Value {
    item.pointer(pointer)
        .filter(|value| value.is_string())
        .cloned()
        .unwrap_or_else(|| "".into())
}

fn length(item: &Value, path: &str) -> Value {
    json!(item.pointer(path).and_then(Value::as_array).map_or(0, Vec::len))
}

fn flag(item: &Value, pointer: &str) -> Value {
    item.pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or(false)
        .into()
}

pub(super) fn str_at<'a>(item: &'a Value, pointer: &str) -> &'a str {
    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(item: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    item.pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Returns a text, or what kubectl shows for none.
pub(super) fn or_none(text: impl Into<String>) -> Value {
    let text = text.into();
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

fn count(item: &Value, fields: &[&str]) -> Value {
    let entries = fields.iter().filter_map(|field| item.get(*field)?.as_object());
    entries.map(serde_json::Map::len).sum::<usize>().into()
}

fn node(item: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(item, "/status/conditions")
        .find(|c| c["type"] == "Ready")
        .map(|c| c["status"] == "True");
    let mut status = match ready {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if item.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = item
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role).filter(|role| !role.is_empty()),
                None if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
                None => None,
            },
        )
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = list(item, "/status/addresses").find(|a| a["type"] == kind);
        or_none(found.and_then(|a| a["address"].as_str()).unwrap_or_default())
    };
    let system = |field: &str| {
        let value = str_at(item, &format!("/status/nodeInfo/{field}"));
        if value.is_empty() {
            "<unknown>".into()
        } else {
            Value::from(value)
        }
    };
    vec![
        status.into(),
        or_none(roles.join(",")),
        created(item, now),
        text(item, "/status/nodeInfo/kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        system("osImage"),
        system("kernelVersion"),
        system("containerRuntimeVersion"),
    ]
}

fn event(info: &ResourceInfo, item: &Value, now: Timestamp) -> Vec<Value> {
    let mut stored = item.clone();
    info.to_storage(&mut stored);
    let item = &stored;
    let given = |field: &str| item.get(field).filter(|time| time.is_string());
    let first = since(given("firstTimestamp").or_else(|| given("eventTime")), now);
    let series = item.get("series").filter(|series| series.is_object());
    let last = match series {
        Some(series) => since(series.get("lastObservedTime"), now),
        None => given("lastTimestamp").map_or_else(|| first.clone(), |time| since(Some(time), now)),
    };
    let counted = series
        .unwrap_or(item)
        .get("count")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let (kind, name) = (
        str_at(item, "/involvedObject/kind").to_lowercase(),
        str_at(item, "/involvedObject/name"),
    );
    let target = if name.is_empty() {
        kind
    } else {
        format!("{kind}/{name}")
    };
    let part = |first: &str, second: &str| {
        if second.is_empty() {
            first.to_owned()
        } else {
            format!("{first}, {second}")
        }
    };
    let (component, host) = (str_at(item, "/source/component"), str_at(item, "/source/host"));
    let source = if component.is_empty() {
        part(
            str_at(item, "/reportingComponent"),
            str_at(item, "/reportingInstance"),
        )
    } else {
        part(component, host)
    };
    vec![
        last.into(),
        text(item, "/type"),
        text(item, "/reason"),
        target.into(),
        text(item, "/involvedObject/fieldPath"),
        source.into(),
        str_at(item, "/message").trim().into(),
        first.into(),
        // An event that was never counted happened once.
        counted.max(1).into(),
        text(item, "/metadata/name"),
    ]
}

fn service(item: &Value, now: Timestamp) -> Vec<Value> {
    let kind = str_at(item, "/spec/type");
    let ingress: Vec<&str> = list(item, "/status/loadBalancer/ingress")
        .filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()))
        .collect();
    let given: Vec<&str> = list(item, "/spec/externalIPs")
        .filter_map(Value::as_str)
        .collect();
    let external = match kind {
        "ExternalName" => str_at(item, "/spec/externalName").to_owned(),
        "LoadBalancer" if ingress.is_empty() && given.is_empty() => "<pending>".to_owned(),
        _ => ingress.into_iter().chain(given).collect::<Vec<_>>().join(","),
    };
    let ports: Vec<String> = list(item, "/spec/ports")
        .map(|port| {
            let node = port["nodePort"]
                .as_i64()
                .filter(|n| *n > 0)
                .map_or_else(String::new, |n| format!(":{n}"));
            format!(
                "{}{node}/{}",
                port["port"],
                port["protocol"].as_str().unwrap_or_default()
            )
        })
        .collect();
    vec![
        kind.into(),
        or_none(str_at(item, "/spec/clusterIP")),
        or_none(external),
        or_none(ports.join(",")),
        created(item, now),
        or_none(labels(item.pointer("/spec/selector"))),
    ]
}

/// Returns labels as `a=1,b=2`.
pub(super) fn labels(labels: Option<&Value>) -> String {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

fn ingress(item: &Value, now: Timestamp) -> Vec<Value> {
    const SHOWN: usize = 3;
    let hosts: Vec<&str> = list(item, "/spec/rules")
        .map(|rule| str_at(rule, "/host"))
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = match hosts.len() {
        0 => "*".to_owned(),
        n if n > SHOWN => {
            let shown: Vec<&str> = hosts.iter().take(SHOWN).copied().collect();
            format!("{} + {} more...", shown.join(","), n - SHOWN)
        }
        _ => hosts.join(","),
    };
    let addresses: Vec<&str> = list(item, "/status/loadBalancer/ingress")
        .map(|at| match str_at(at, "/ip") {
            "" => str_at(at, "/hostname"),
            ip => ip,
        })
        .collect();
    let ports = if list(item, "/spec/tls").next().is_some() {
        "80, 443"
    } else {
        "80"
    };
    vec![
        or_none(str_at(item, "/spec/ingressClassName")),
        hosts.into(),
        addresses.join(",").into(),
        ports.into(),
        created(item, now),
    ]
}

fn endpoints(item: &Value) -> Value {
    let mut all: Vec<String> = Vec::new();
    for subset in list(item, "/subsets") {
        for address in list(subset, "/addresses") {
            let ip = str_at(address, "/ip");
            let ports: Vec<String> = list(subset, "/ports")
                .map(|port| format!("{ip}:{}", port["port"]))
                .collect();
            all.extend(if ports.is_empty() {
                vec![ip.to_owned()]
            } else {
                ports
            });
        }
    }
    shortened(&all, 3).map_or_else(|| "<none>".into(), Value::from)
}

/// Returns the first few of a list and how many more there are; nothing for an empty list.
fn shortened(all: &[String], most: usize) -> Option<String> {
    let shown = all.iter().take(most).cloned().collect::<Vec<_>>().join(",");
    match all.len() {
        0 => None,
        n if n > most => Some(format!("{shown} + {} more...", n - most)),
        _ => Some(shown),
    }
}

fn endpoint_slice(item: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(item, "/ports")
        .map(|port| port["port"].to_string())
        .collect();
    let addresses: Vec<String> = list(item, "/endpoints")
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let unset = || Value::from("<unset>");
    vec![
        text(item, "/addressType"),
        shortened(&ports, 3).map_or_else(unset, Value::from),
        shortened(&addresses, 3).map_or_else(unset, Value::from),
        created(item, now),
    ]
}

fn claim(item: &Value, now: Timestamp) -> Vec<Value> {
    let phase = if item
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
    {
        "Terminating".into()
    } else {
        text(item, "/status/phase")
    };
    let bound = !str_at(item, "/spec/volumeName").is_empty();
    let modes: Vec<&str> = list(item, "/status/accessModes")
        .filter_map(Value::as_str)
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    let unset = |value: &str| {
        if value.is_empty() {
            "<unset>".into()
        } else {
            Value::from(value)
        }
    };
    vec![
        phase,
        text(item, "/spec/volumeName"),
        if bound {
            text(item, "/status/capacity/storage")
        } else {
            "".into()
        },
        if bound { modes.join(",").into() } else { "".into() },
        text(item, "/spec/storageClassName"),
        unset(str_at(item, "/spec/volumeAttributesClassName")),
        created(item, now),
        unset(str_at(item, "/spec/volumeMode")),
    ]
}

fn api_service(item: &Value) -> Value {
    let part = |field: &str| {
        item.pointer(&format!("/spec/service/{field}"))
            .and_then(Value::as_str)
    };
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
        _ => "Local".into(),
    }
}

fn available(item: &Value) -> Value {
    let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Available");
    let said = |field: &str| found.and_then(|c| c[field].as_str());
    match (said("status"), said("reason")) {
        (Some("True"), _) => "True".into(),
        (Some(status), Some(reason)) => format!("{status} ({reason})").into(),
        (status, _) => status.unwrap_or("Unknown").into(),
    }
}

fn binding(item: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| {
        let names: Vec<String> = list(item, "/subjects")
            .filter(|subject| subject["kind"] == kind)
            .map(|subject| {
                let name = str_at(subject, "/name");
                if kind == "ServiceAccount" {
                    format!("{}/{name}", str_at(subject, "/namespace"))
                } else {
                    name.to_owned()
                }
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        format!(
            "{}/{}",
            str_at(item, "/roleRef/kind"),
            str_at(item, "/roleRef/name")
        )
        .into(),
        created(item, now),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

fn signing_request(item: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| list(item, "/status/conditions").any(|c| c["type"] == kind);
    let mut state: Vec<&str> = ["Approved", "Denied", "Failed"]
        .into_iter()
        .filter(|kind| has(kind))
        .collect();
    if !has("Approved") && !has("Denied") {
        state.insert(0, "Pending");
    }
    if !str_at(item, "/status/certificate").is_empty() {
        state.push("Issued");
    }
    let duration = item.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    vec![
        created(item, now),
        or_none(str_at(item, "/spec/signerName")),
        text(item, "/spec/username"),
        duration.map_or_else(
            || "<none>".into(),
            |seconds| crate::time::human_age(crate::time::SignedDuration::from_secs(seconds)).into(),
        ),
        state.join(",").into(),
    ]
}
