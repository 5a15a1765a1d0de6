//! What kubeadm is given: a user's documents merged with what has to be so on a machine of ours.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    ApiVersion, Documents, KubernetesVersion, convert,
    documents::{list, merge, object},
    set_arg,
};
use crate::{
    bootstrap::{BootstrapError, InitData, Inputs, JoinData, Step},
    pki,
    providers::Role,
    secret::SecretString,
    yaml,
};

/// Where the cluster's CA certificate lies.
pub(crate) const CA_CERT: &str = "/etc/kubernetes/pki/ca.crt";
/// Where the file lies from which a machine that joins learns the cluster.
pub const DISCOVERY: &str = "/etc/machinectl/discovery.conf";

/// What kubeadm's checks find wrong with a container, and with files that are put there before it runs. `all` is
/// refused in a configuration, so they are named; names that a version does not know do no harm.
const IGNORED_CHECKS: [&str; 18] = [
    "DirAvailable--etc-kubernetes-manifests",
    "FileAvailable--etc-kubernetes-pki-ca.crt",
    "FileContent--proc-sys-net-bridge-bridge-nf-call-ip6tables",
    "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
    "FileContent--proc-sys-net-ipv4-ip_forward",
    "FileContent--proc-sys-net-ipv6-conf-default-forwarding",
    "FileExisting-conntrack",
    "FileExisting-crictl",
    "FileExisting-ebtables",
    "FileExisting-ethtool",
    "FileExisting-socat",
    "FileExisting-tc",
    "Hostname",
    "ImagePull",
    "Mem",
    "NumCPU",
    "Swap",
    "SystemVerification",
];

/// kubeadm's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The documents, as YAML. A token may stand in them when the machine joins.
    pub config: SecretString,
    /// Content of the file that the documents name for finding the cluster, [`DISCOVERY`].
    pub discovery: Option<SecretString>,
    /// Phases that are left out.
    pub skip_phases: Vec<String>,
    /// Paths that the machine will not honour.
    pub untranslated: Vec<String>,
}

/// Merges a user's documents with what has to be so, in the API version that the Kubernetes version wants.
///
/// # Errors
/// Fails when the CA can't be read.
pub fn generate(inputs: &Inputs, mut documents: Documents) -> Result<Generated, BootstrapError> {
    let version: KubernetesVersion = inputs.kubernetes_version.parse()?;
    let api = version.kubeadm_api();
    let mut lost = std::mem::take(&mut documents.untranslated);
    let mut skip = Vec::new();
    let mut discovery = None;
    let mut parts: Vec<(String, &str, Map<String, Value>)> = Vec::new();
    match &inputs.step {
        Step::Init(data) => {
            let mut init = documents.init.take().unwrap_or_default();
            let mut cluster = documents.cluster.take().unwrap_or_default();
            fill_init(inputs, data, &version, &mut init, &mut lost);
            fill_cluster(inputs, data, &version, &mut cluster, &mut lost);
            time_limits(api, &mut init, &mut cluster);
            convert::lower(api, "InitConfiguration", &mut init, &mut lost, &mut skip);
            convert::lower(api, "ClusterConfiguration", &mut cluster, &mut lost, &mut skip);
            let mut kubelet = node_settings();
            let asked = documents.kubelet.unwrap_or_default();
            if asked.contains_key("evictionHard") {
                kubelet.remove("evictionHard"); // thresholds that somebody gave are all thresholds
            }
            merge(&mut kubelet, &asked);
            let mut proxy = documents.proxy.unwrap_or_default();
            fill_proxy(&mut proxy, &mut lost);
            parts.push((api.as_str().to_owned(), "InitConfiguration", init));
            parts.push((api.as_str().to_owned(), "ClusterConfiguration", cluster));
            parts.push((
                "kubelet.config.k8s.io/v1beta1".to_owned(),
                "KubeletConfiguration",
                kubelet,
            ));
            parts.push((
                "kubeproxy.config.k8s.io/v1alpha1".to_owned(),
                "KubeProxyConfiguration",
                proxy,
            ));
            unused(&[("JoinConfiguration", documents.join.is_some())], &mut lost);
        }
        Step::Join(data) => {
            let mut join = documents.join.take().unwrap_or_default();
            fill_join(inputs, data, &version, &mut join, &mut lost)?;
            if join.get("discovery").is_some_and(|d| d["file"].is_object()) {
                discovery = Some(discovery_file(inputs, data)?);
            }
            if data.control_plane.is_some() && !version.at_least(26) {
                // Its check of the shared keys wants RSA for service accounts (mended in 1.22.15 to 1.25.2). The join
                // itself takes ours, which are ECDSA.
                skip.push("preflight".to_owned());
            }
            convert::lower(api, "JoinConfiguration", &mut join, &mut lost, &mut skip);
            parts.push((api.as_str().to_owned(), "JoinConfiguration", join));
            // The cluster has these already. KubeletConfiguration is laid over the cluster's on the machine.
            unused(
                &[
                    ("InitConfiguration", documents.init.is_some()),
                    ("ClusterConfiguration", documents.cluster.is_some()),
                    ("KubeProxyConfiguration", documents.proxy.is_some()),
                ],
                &mut lost,
            );
        }
    }
    let mut texts = Vec::new();
    for (api_version, kind, body) in parts {
        let mut document = Map::new();
        document.insert("apiVersion".to_owned(), json!(api_version));
        document.insert("kind".to_owned(), json!(kind));
        document.extend(body);
        texts.push(yaml::to_string(&document).map_err(|source| BootstrapError::Yaml { source })?);
    }
    skip.sort();
    skip.dedup();
    Ok(Generated {
        config: texts.join("---\n").into(),
        discovery,
        skip_phases: skip,
        untranslated: lost,
    })
}

/// Settings of kubelet without which it does not run in a container, or not for long on a full disk.
pub(crate) fn node_settings() -> Map<String, Value> {
    let settings = json!({
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
    });
    match settings {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn fill_init(
    inputs: &Inputs,
    data: &InitData,
    version: &KubernetesVersion,
    init: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) {
    // kubeadm makes a token of its own otherwise, good for a day. Ours are made when somebody joins.
    init.entry("bootstrapTokens")
        .or_insert_with(|| json!([{"ttl": "1m0s"}]));
    force(
        object(init, "localAPIEndpoint"),
        "bindPort",
        &json!(data.endpoint.port),
        "InitConfiguration.localAPIEndpoint",
        lost,
    );
    fill_node(inputs, version, init, "InitConfiguration", lost);
}

fn fill_node(
    inputs: &Inputs,
    version: &KubernetesVersion,
    document: &mut Map<String, Value>,
    kind: &str,
    lost: &mut Vec<String>,
) {
    let path = format!("{kind}.nodeRegistration");
    let node = object(document, "nodeRegistration");
    force(node, "name", &json!(inputs.node_name), &path, lost);
    node.entry("criSocket")
        .or_insert_with(|| json!(version.containerd_socket()));
    add_missing(list(node, "ignorePreflightErrors"), &IGNORED_CHECKS);
    list(node, "ignorePreflightErrors").retain(|c| c != "all");
    if inputs.remove_taints && inputs.role() == Role::ControlPlane {
        // A list that is there, even an empty one, takes the place of the taints that kubeadm would give.
        let roles = version.control_plane_taints();
        list(node, "taints").retain(|t| !roles.iter().any(|r| t["key"] == *r));
    }
    if let Some(id) = &inputs.provider_id
        && set_arg(node, "kubeletExtraArgs", "provider-id", id).is_some()
    {
        lost.push(format!("{path}.kubeletExtraArgs.provider-id"));
    }
}

fn fill_cluster(
    inputs: &Inputs,
    data: &InitData,
    version: &KubernetesVersion,
    cluster: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) {
    let kind = "ClusterConfiguration";
    force(cluster, "clusterName", &json!(inputs.cluster_name), kind, lost);
    force(
        cluster,
        "kubernetesVersion",
        &json!(version.to_string()),
        kind,
        lost,
    );
    force(
        cluster,
        "controlPlaneEndpoint",
        &json!(data.endpoint.to_string()),
        kind,
        lost,
    );
    let network = inputs.network.clone().unwrap_or_default();
    let ranges = |ranges: Option<crate::api::v1alpha1::NetworkRanges>, default: &str| {
        let blocks = ranges.map(|r| r.cidr_blocks).unwrap_or_default();
        if blocks.is_empty() {
            default.to_owned()
        } else {
            blocks.join(",")
        }
    };
    let networking = object(cluster, "networking");
    for (key, value) in [
        ("podSubnet", ranges(network.pods, "10.244.0.0/16")),
        ("serviceSubnet", ranges(network.services, "10.96.0.0/16")),
        (
            "dnsDomain",
            network
                .service_domain
                .unwrap_or_else(|| "cluster.local".to_owned()),
        ),
    ] {
        let slot = networking.entry(key).or_insert(Value::Null);
        if slot.as_str().is_none_or(str::is_empty) {
            *slot = json!(value);
        }
    }
    let sans = list(object(cluster, "apiServer"), "certSANs");
    let ours = ["localhost", "127.0.0.1", &inputs.node_name, &data.endpoint.host];
    let further = data.extra_sans.iter().map(String::as_str);
    add_missing(sans, &ours.into_iter().chain(further).collect::<Vec<_>>());
}

/// The time limit for the control plane stands in `ClusterConfiguration` up to `v1beta3`, in `InitConfiguration` after.
fn time_limits(api: ApiVersion, init: &mut Map<String, Value>, cluster: &mut Map<String, Value>) {
    let (from, to) = if api >= ApiVersion::V1Beta4 {
        (cluster, init)
    } else {
        (init, cluster)
    };
    let name = "controlPlaneComponentHealthCheck";
    let limit = from
        .get_mut("timeouts")
        .and_then(Value::as_object_mut)
        .and_then(|t| t.remove(name));
    if from
        .get("timeouts")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        from.remove("timeouts");
    }
    if let Some(limit) = limit {
        object(to, "timeouts").entry(name).or_insert(limit);
    }
}

fn fill_proxy(proxy: &mut Map<String, Value>, lost: &mut Vec<String>) {
    // The size of the connection table can only be changed in the host's network namespace.
    force(
        object(proxy, "conntrack"),
        "maxPerCore",
        &json!(0),
        "KubeProxyConfiguration.conntrack",
        lost,
    );
}

fn fill_join(
    inputs: &Inputs,
    data: &JoinData,
    version: &KubernetesVersion,
    join: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) -> Result<(), BootstrapError> {
    let kind = "JoinConfiguration";
    let discovery = object(join, "discovery");
    for other in ["file", "tlsBootstrapToken"] {
        if discovery.remove(other).is_some_and(|v| !v.is_null()) {
            lost.push(format!("{kind}.discovery.{other}"));
        }
    }
    // With the CA itself at hand nobody has to wait until the cluster has signed its public description for the token,
    // which a young one does after some 10 s. Who asks for discovery by token gets it, with the CA pinned by its hash.
    if discovery.get("bootstrapToken").is_some_and(Value::is_object) {
        discover_by_token(data, discovery, lost)?;
    } else {
        pki::ca_hash(&data.ca_pem)?; // a CA that can't be read is better found here than on the machine
        discovery.remove("bootstrapToken");
        discovery.insert("file".to_owned(), json!({"kubeConfigPath": DISCOVERY}));
    }
    if data.control_plane.is_some() {
        force(
            object(object(join, "controlPlane"), "localAPIEndpoint"),
            "bindPort",
            &json!(data.endpoint.port),
            "JoinConfiguration.controlPlane.localAPIEndpoint",
            lost,
        );
    } else if join.remove("controlPlane").is_some() {
        lost.push(format!("{kind}.controlPlane"));
    }
    fill_node(inputs, version, join, kind, lost);
    Ok(())
}

fn discover_by_token(
    data: &JoinData,
    discovery: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) -> Result<(), BootstrapError> {
    let token = object(discovery, "bootstrapToken");
    let path = "JoinConfiguration.discovery.bootstrapToken";
    let endpoint = data.endpoint.to_string();
    force(token, "apiServerEndpoint", &json!(endpoint), path, lost);
    force(token, "token", &json!(data.token.expose()), path, lost);
    let hashes = json!([pki::ca_hash(&data.ca_pem)?]);
    force(token, "caCertHashes", &hashes, path, lost);
    if token.remove("unsafeSkipCAVerification") == Some(json!(true)) {
        lost.push(format!("{path}.unsafeSkipCAVerification"));
    }
    Ok(())
}

/// The file that says where the cluster is, what its CA is, and who the machine is until it has a certificate.
fn discovery_file(inputs: &Inputs, data: &JoinData) -> Result<SecretString, BootstrapError> {
    let user = "tls-bootstrap-token-user";
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": inputs.cluster_name,
            "cluster": {
                "certificate-authority-data": STANDARD.encode(&data.ca_pem),
                "server": format!("https://{}", data.endpoint),
            },
        }],
        "contexts": [{
            "name": inputs.cluster_name,
            "context": {"cluster": inputs.cluster_name, "user": user},
        }],
        "current-context": inputs.cluster_name,
        "users": [{"name": user, "user": {"token": data.token.expose()}}],
    });
    let text = yaml::to_string(&document).map_err(|source| BootstrapError::Yaml { source })?;
    Ok(text.into())
}

/// Sets a field. If it stood there with another value, its path is named.
fn force(holder: &mut Map<String, Value>, key: &str, value: &Value, path: &str, lost: &mut Vec<String>) {
    let before = holder.insert(key.to_owned(), value.clone());
    if before.is_some_and(|b| !b.is_null() && b != "" && b != *value) {
        lost.push(format!("{path}.{key}"));
    }
}

fn unused(kinds: &[(&str, bool)], lost: &mut Vec<String>) {
    lost.extend(
        kinds
            .iter()
            .filter(|(_, given)| *given)
            .map(|(kind, _)| (*kind).to_owned()),
    );
}

fn add_missing(list: &mut Vec<Value>, items: &[&str]) {
    for item in items {
        if !item.is_empty() && !list.iter().any(|i| i == item) {
            list.push(json!(item));
        }
    }
}
