//! Workload clusters: a client and a Node watch for each, made from its kubeconfig Secret. It decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Node},
    storage::v1::VolumeAttachment,
};
use kube::{
    Api, Client,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use tokio::{sync::watch, task::JoinSet};

use super::{
    apply::within,
    cache::Cache,
    effect::{ClusterKey, Target},
    evict::Memory,
    machine::turn::Turns,
    runtime::{Queue, ReconcileError},
};
use crate::api::v1alpha1::ApiEndpoint;

/// How long a connection to a workload cluster may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a list of attached volumes is shared.
const SHARED: Duration = Duration::from_secs(2);
/// How long a health check may take.
const PROBE: Duration = Duration::from_secs(3);

/// A cluster that machines join.
pub(crate) struct Workload {
    pub(crate) client: Client,
    pub(crate) nodes: Cache<Node>,
    pub(crate) node_queue: Queue<Node>,
    /// Pods that were asked to leave and stay.
    pub(crate) refusals: Memory,
    /// Which control-plane machine of each cluster is being drained.
    pub(crate) turns: Turns,
    attachments: Attachments,
    reachable: AtomicBool,
    facts: tokio::sync::Mutex<Option<Facts>>,
    /// Ends the Node watch and the Node controller.
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// How machines join a cluster that no Cluster object describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// Where its API server is, if it says so itself.
    pub(crate) endpoint: Option<ApiEndpoint>,
    /// Its CA.
    pub(crate) ca_pem: Option<String>,
    /// Version that it reports.
    pub(crate) version: Option<String>,
}

impl Workload {
    /// Puts a cluster together. `tasks` end with it.
    pub(crate) fn new(
        client: Client,
        nodes: Cache<Node>,
        node_queue: Queue<Node>,
        stop: watch::Sender<bool>,
        tasks: JoinSet<()>,
    ) -> Self {
        Self {
            client,
            nodes,
            node_queue,
            refusals: Memory::default(),
            turns: Turns::default(),
            attachments: Attachments::default(),
            reachable: AtomicBool::new(true),
            facts: tokio::sync::Mutex::new(None),
            stop,
            tasks: Mutex::new(tasks),
        }
    }

    /// Whether its API server answered when it was last asked.
    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Asks `/readyz`; returns the version that the API server reports.
    pub(crate) async fn probe(&self) -> Result<String, String> {
        let result = probe(&self.client).await;
        self.reachable.store(result.is_ok(), Ordering::Relaxed);
        result
    }

    /// Remembers that it did not answer.
    pub(crate) fn lost(&self) {
        self.reachable.store(false, Ordering::Relaxed);
    }

    /// How machines join it, as it says itself. Asked once.
    pub(crate) async fn facts(&self) -> Result<Facts, ReconcileError> {
        let mut known = self.facts.lock().await;
        if let Some(facts) = &*known {
            return Ok(facts.clone());
        }
        let facts = ask(&self.client).await?;
        *known = Some(facts.clone());
        Ok(facts)
    }

    /// Volumes that are attached to each Node, as their `VolumeAttachments` say. Whoever asks within two seconds shares one list, so that
    /// detaching volumes of many Nodes costs no more than of one; whoever gives a time shares only lists that were begun since.
    pub(crate) async fn attachments(
        &self,
        since: Option<Instant>,
    ) -> Result<Arc<BTreeMap<String, Vec<String>>>, ReconcileError> {
        let mut known = self.attachments.lock().await;
        let good = |at: &Instant| since.map_or_else(|| at.elapsed() < SHARED, |since| *at >= since);
        if let Some((_, list)) = known.as_ref().filter(|(at, _)| good(at)) {
            return Ok(Arc::clone(list));
        }
        let begun = Instant::now();
        let list = Arc::new(list_attachments(&self.client).await?);
        *known = Some((begun, Arc::clone(&list)));
        Ok(list)
    }

    /// Ends its watches. Looks that run now come to their end.
    pub(crate) fn close(&self) {
        let _ = self.stop.send(true);
    }

    /// Ends its watches and looks at once.
    pub(crate) fn abort(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

/// Volumes by Node, and when the list of them was begun.
type Attachments = tokio::sync::Mutex<Option<(Instant, Arc<BTreeMap<String, Vec<String>>>)>>;

async fn list_attachments(client: &Client) -> Result<BTreeMap<String, Vec<String>>, ReconcileError> {
    let api: Api<VolumeAttachment> = Api::all(client.clone());
    let doing = "listing VolumeAttachments".to_owned();
    let all = match within(doing, api.list(&ListParams::default())).await {
        Ok(list) => list.items,
        // An API server without that kind attaches nothing.
        Err(ReconcileError::Api {
            source: kube::Error::Api(status),
            ..
        }) if status.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut by_node = BTreeMap::<String, Vec<String>>::new();
    for attachment in all {
        let source = &attachment.spec.source;
        let volume = source.persistent_volume_name.clone();
        let volume = volume.or(attachment.metadata.name).unwrap_or_default();
        by_node.entry(attachment.spec.node_name).or_default().push(volume);
    }
    for volumes in by_node.values_mut() {
        volumes.sort();
    }
    Ok(by_node)
}

/// Asks `/readyz`; returns the version that the API server reports, or why it does not answer.
pub(crate) async fn probe(client: &Client) -> Result<String, String> {
    let ask = async {
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .map_err(|e| e.to_string())?;
        client.request_text(request).await.map_err(|e| e.to_string())?;
        let info = client.apiserver_version().await.map_err(|e| e.to_string())?;
        Ok(info.git_version)
    };
    tokio::time::timeout(PROBE, ask)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PROBE.as_secs())))
}

/// kubeadm and machinectl publish `kube-public/cluster-info`; crit publishes `kube-system/crit-config`; each cluster has `kube-root-ca.crt`.
async fn ask(client: &Client) -> Result<Facts, ReconcileError> {
    let map = |namespace: &'static str, name: &'static str| {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        async move {
            let found = within(format!("reading ConfigMap {namespace}/{name}"), api.get_opt(name)).await?;
            Ok::<BTreeMap<String, String>, ReconcileError>(found.and_then(|m| m.data).unwrap_or_default())
        }
    };
    let mut facts = Facts::default();
    if let Some(kubeconfig) = map("kube-public", "cluster-info").await?.get("kubeconfig") {
        (facts.endpoint, facts.ca_pem) = from_kubeconfig(kubeconfig);
    }
    if facts.endpoint.is_none() {
        let data = map("kube-system", "crit-config").await?;
        facts.endpoint = data.values().find_map(|text| endpoint_in_crit_config(text));
    }
    if facts.ca_pem.is_none() {
        facts.ca_pem = map("kube-system", "kube-root-ca.crt").await?.remove("ca.crt");
    }
    let version = within("asking for the version".to_owned(), client.apiserver_version()).await?;
    facts.version = Some(version.git_version);
    Ok(facts)
}

/// Reads server and CA out of a kubeconfig.
fn from_kubeconfig(text: &str) -> (Option<ApiEndpoint>, Option<String>) {
    let Ok(document) = crate::yaml::from_str::<serde_json::Value>(text) else {
        return (None, None);
    };
    let cluster = &document["clusters"][0]["cluster"];
    let endpoint = cluster["server"].as_str().and_then(endpoint_of_url);
    let ca = cluster["certificate-authority-data"].as_str().and_then(|data| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok()?;
        String::from_utf8(bytes).ok()
    });
    (endpoint, ca)
}

/// Reads `controlPlaneEndpoint` (`host:port` or an object) out of a crit configuration.
fn endpoint_in_crit_config(text: &str) -> Option<ApiEndpoint> {
    let document = crate::yaml::from_str::<serde_json::Value>(text).ok()?;
    let endpoint = &document["controlPlaneEndpoint"];
    match endpoint.as_str() {
        Some(text) => endpoint_of_url(&format!("https://{text}")),
        None => ApiEndpoint::deserialize(endpoint).ok(),
    }
}

/// Reads host and port out of `https://host:port`.
pub(crate) fn endpoint_of_url(url: &str) -> Option<ApiEndpoint> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some(ApiEndpoint {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(443),
    })
}

/// Where a process in a pod reaches an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FromPod {
    /// The address.
    pub(crate) address: ApiEndpoint,
    /// The name that its certificate bears, if that is not the address.
    pub(crate) name: Option<String>,
}

impl FromPod {
    /// Where machines of a cluster reach it: pods can, too. A name is one of the machines' network, which pods may not be able to resolve: an
    /// address of a control-plane machine takes its place.
    pub(crate) fn new(endpoint: &ApiEndpoint, control_plane: Option<&str>) -> Self {
        let is_name = endpoint.host.parse::<std::net::IpAddr>().is_err();
        match control_plane.filter(|_| is_name) {
            Some(address) => Self {
                address: ApiEndpoint {
                    host: address.to_owned(),
                    port: endpoint.port,
                },
                name: Some(endpoint.host.clone()),
            },
            None => Self {
                address: endpoint.clone(),
                name: None,
            },
        }
    }

    /// The address, if a server is at the host's loopback (a published port of a container), which leads nowhere in a pod.
    fn instead_of(&self, server: &str) -> Option<http::Uri> {
        let host = endpoint_of_url(server)?.host;
        let ip = host.parse::<std::net::IpAddr>();
        let loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        loopback.then(|| format!("https://{}", self.address).parse().ok())?
    }
}

/// Makes a client from the content of a kubeconfig Secret. A process in a pod says where it reaches the server.
pub(crate) async fn client_from(kubeconfig: &str, in_pod: Option<&FromPod>) -> Result<Client, String> {
    let kubeconfig: serde_json::Value = crate::yaml::from_str(kubeconfig).map_err(|e| e.to_string())?;
    let kubeconfig = Kubeconfig::deserialize(&kubeconfig).map_err(|e| e.to_string())?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|e| e.to_string())?;
    let there = in_pod.and_then(|at| Some((at.instead_of(&config.cluster_url.to_string())?, &at.name)));
    if let Some((server, name)) = there {
        config.cluster_url = server;
        config.tls_server_name.clone_from(name);
    }
    config.connect_timeout = Some(CONNECT);
    // A refused eviction (429) is an answer that the drain waits for, and errors are tried again by whoever planned the request.
    config.default_retry = false;
    Client::try_from(config).map_err(|e| e.to_string())
}

/// All workload clusters that can be talked to.
#[derive(Default)]
pub(crate) struct Workloads {
    all: RwLock<HashMap<Target, Entry>>,
}

struct Entry {
    /// What it was made from: the kubeconfig's digest.
    made_from: String,
    workload: Arc<Workload>,
}

impl Workloads {
    /// Finds a cluster.
    pub(crate) fn get(&self, target: &Target) -> Option<Arc<Workload>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).map(|e| Arc::clone(&e.workload))
    }

    /// Whether a cluster is known as made from just this.
    pub(crate) fn is_current(&self, target: &Target, made_from: &str) -> bool {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).is_some_and(|e| e.made_from == made_from)
    }

    /// Puts a cluster in; the one that was there ends.
    pub(crate) fn put(&self, target: Target, made_from: String, workload: Arc<Workload>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = all.insert(target, Entry { made_from, workload }) {
            old.workload.close();
        }
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, key: &ClusterKey) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = all.remove(&Target::Cluster(key.clone())) {
            old.workload.close();
            old.workload.abort();
        }
    }

    /// Ends all of them.
    pub(crate) fn clear(&self) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        for (_, entry) in all.drain() {
            entry.workload.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> ApiEndpoint {
        ApiEndpoint {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_pod_goes_where_machines_go_when_the_kubeconfig_means_the_hosts_loopback() {
        let machines = FromPod::new(&endpoint("172.18.0.2", 6443), Some("172.18.0.9"));
        let of = |server: &str| machines.instead_of(server).map(|uri| uri.to_string());
        for loopback in [
            "https://127.0.0.1:32768",
            "https://localhost:1",
            "https://[::1]:6443",
        ] {
            assert_eq!(
                of(loopback).as_deref(),
                Some("https://172.18.0.2:6443/"),
                "{loopback}"
            );
        }
        assert_eq!(of("https://10.0.0.7:6443"), None);
        assert_eq!(machines.name, None);
    }

    #[test]
    fn a_pod_need_not_resolve_the_names_of_machines() {
        let named = FromPod::new(&endpoint("dev", 6443), Some("172.18.0.2"));
        assert_eq!(
            (named.address, named.name.as_deref()),
            (endpoint("172.18.0.2", 6443), Some("dev"))
        );
        assert_eq!(
            FromPod::new(&endpoint("dev", 6443), None).address,
            endpoint("dev", 6443)
        );
    }

    #[test]
    fn endpoints_are_read_from_urls_and_crit_configurations() {
        assert_eq!(
            endpoint_of_url("https://cinder:6443"),
            Some(endpoint("cinder", 6443))
        );
        assert_eq!(
            endpoint_of_url("https://[fd00::1]:6443"),
            Some(endpoint("fd00::1", 6443))
        );
        assert_eq!(
            endpoint_of_url("https://example.net"),
            Some(endpoint("example.net", 443))
        );
        assert_eq!(
            endpoint_in_crit_config("kind: ControlPlaneConfiguration\ncontrolPlaneEndpoint: cinder:6443\n"),
            Some(endpoint("cinder", 6443))
        );
        assert_eq!(
            endpoint_in_crit_config("controlPlaneEndpoint: {host: cinder, port: 6443}\n"),
            Some(endpoint("cinder", 6443))
        );
        assert_eq!(endpoint_in_crit_config("nothing: here\n"), None);
    }

    #[test]
    fn cluster_info_gives_server_and_ca() {
        let text = "clusters:\n- name: ''\n  cluster:\n    server: https://10.0.0.1:6443\n    certificate-authority-data: Q0E=\n";
        assert_eq!(
            from_kubeconfig(text),
            (Some(endpoint("10.0.0.1", 6443)), Some("CA".to_owned()))
        );
    }
}
