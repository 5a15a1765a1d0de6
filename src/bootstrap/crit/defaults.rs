//! What crit puts where nothing is written. It must not know the machine: defaults that crit finds there are left out.

use serde_json::{Map, Value, json};

use super::{
    API_VERSION, BootstrapServer, CONTROL_PLANE, Component, ContainerRuntime, ControlPlaneConfiguration,
    Etcd, KubeApiServer, KubeProxy, NodeConfiguration, WORKER, WorkerConfiguration,
};

/// Fills a worker's configuration.
pub fn set_worker_defaults(worker: &mut WorkerConfiguration) {
    worker.api_version = Some(API_VERSION.to_owned());
    worker.kind = Some(WORKER.to_owned());
    or(&mut worker.cluster_name, "crit");
    set_node_defaults(worker.node.get_or_insert_default());
}

/// Fills a control plane's configuration.
pub fn set_control_plane_defaults(control_plane: &mut ControlPlaneConfiguration) {
    control_plane.api_version = Some(API_VERSION.to_owned());
    control_plane.kind = Some(CONTROL_PLANE.to_owned());
    or(&mut control_plane.cluster_name, "crit");
    or(&mut control_plane.pod_subnet, "10.253.0.0/16");
    or(&mut control_plane.service_subnet, "10.254.0.0/16");
    or(&mut control_plane.core_dns_version, "1.6.9");
    control_plane.etcd.get_or_insert_with(Etcd::default);

    let api_server: &mut KubeApiServer = control_plane.kube_api_server.get_or_insert_default();
    port(&mut api_server.bind_port, 6443);
    or_version(&mut api_server.healthcheck_proxy_version, "0.1.0");
    port(&mut api_server.healthcheck_proxy_bind_port, 6444);
    control_plane
        .kube_controller_manager
        .get_or_insert_with(Component::default);
    control_plane
        .kube_scheduler
        .get_or_insert_with(Component::default);

    let proxy: &mut KubeProxy = control_plane.kube_proxy.get_or_insert_default();
    proxy.disabled.get_or_insert(false);
    set_proxy_defaults(proxy.config.get_or_insert_default());

    let server: &mut BootstrapServer = control_plane.crit_bootstrap_server.get_or_insert_default();
    or_version(&mut server.version, "0.3.0");
    port(&mut server.bind_port, 8080);
    set_node_defaults(control_plane.node.get_or_insert_default());
}

/// Fills the part about the machine.
pub fn set_node_defaults(node: &mut NodeConfiguration) {
    if let Some(version) = &mut node.kubernetes_version {
        *version = bare_version(version);
    }
    or(&mut node.kube_dir, "/etc/kubernetes");
    node.container_runtime.get_or_insert(ContainerRuntime::Containerd);
    let kubelet = node.kubelet.get_or_insert_default();
    *kubelet = kubelet_defaults(kubelet);
}

/// Returns kubelet settings with crit's defaults under what is written.
pub fn kubelet_defaults(written: &Map<String, Value>) -> Map<String, Value> {
    // If only the update frequency is set, reports are as frequent.
    let report = written
        .get("nodeStatusUpdateFrequency")
        .filter(|f| !is_empty(f))
        .cloned()
        .unwrap_or_else(|| json!("5m0s"));
    let mut all = json!({
        "clusterDomain": "cluster.local",
        "syncFrequency": "1m0s",
        "fileCheckFrequency": "20s",
        "httpCheckFrequency": "20s",
        "address": "0.0.0.0",
        "port": 10250,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true, "cacheTTL": "2m0s"}},
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "registryPullQPS": 5,
        "registryBurst": 10,
        "eventRecordQPS": 5,
        "eventBurst": 10,
        "enableDebuggingHandlers": true,
        "healthzPort": 10248,
        "healthzBindAddress": "127.0.0.1",
        "oomScoreAdj": -999,
        "streamingConnectionIdleTimeout": "4h0m0s",
        "nodeStatusReportFrequency": report,
        "nodeStatusUpdateFrequency": "10s",
        "nodeLeaseDurationSeconds": 40,
    });
    let resources = json!({
        "imageMinimumGCAge": "2m0s",
        "imageGCHighThresholdPercent": 85,
        "imageGCLowThresholdPercent": 80,
        "volumeStatsAggPeriod": "1m0s",
        "cgroupsPerQOS": true,
        "cgroupDriver": "cgroupfs",
        "cpuManagerPolicy": "none",
        "cpuManagerReconcilePeriod": "10s",
        "topologyManagerPolicy": "none",
        "runtimeRequestTimeout": "2m0s",
        "hairpinMode": "promiscuous-bridge",
        "maxPods": 110,
        "podPidsLimit": -1,
        "resolvConf": "/etc/resolv.conf",
        "cpuCFSQuota": true,
        "cpuCFSQuotaPeriod": "100ms",
        "maxOpenFiles": 1_000_000,
        "contentType": "application/vnd.kubernetes.protobuf",
        "kubeAPIQPS": 5,
        "kubeAPIBurst": 10,
        "serializeImagePulls": true,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
        },
        "evictionPressureTransitionPeriod": "5m0s",
        "enableControllerAttachDetach": true,
        "makeIPTablesUtilChains": true,
        "iptablesMasqueradeBit": 14,
        "iptablesDropBit": 15,
        "failSwapOn": true,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5,
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "enforceNodeAllocatable": ["pods"],
    });
    if let (Some(all), Value::Object(resources)) = (all.as_object_mut(), resources) {
        all.extend(resources);
    }
    // These are maps and lists of their own: what is written replaces the default, even when it is empty.
    for whole in ["evictionHard", "enforceNodeAllocatable"] {
        if written.get(whole).is_some_and(|v| !v.is_null()) {
            all[whole] = Value::Null;
        }
    }
    under(&mut all, written)
}

/// Fills kube-proxy's settings.
pub fn set_proxy_defaults(proxy: &mut Map<String, Value>) {
    let mut all = json!({
        "bindAddress": "0.0.0.0",
        "clientConnection": {
            "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf",
            "contentType": "application/vnd.kubernetes.protobuf",
            "qps": 5,
            "burst": 10,
        },
        "configSyncPeriod": "15m0s",
        "conntrack": {
            "maxPerCore": 32_768,
            "min": 131_072,
            "tcpEstablishedTimeout": "24h0m0s",
            "tcpCloseWaitTimeout": "1h0m0s",
        },
        "featureGates": {},
        "healthzBindAddress": "0.0.0.0:10256",
        "iptables": {"masqueradeBit": 14, "syncPeriod": "30s"},
        "ipvs": {"syncPeriod": "30s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "iptables",
        "oomScoreAdj": -999,
        "udpIdleTimeout": "250ms",
    });
    *proxy = under(&mut all, proxy);
}

/// Puts `written` over `all`. An empty text counts as not written, as in Go.
fn under(all: &mut Value, written: &Map<String, Value>) -> Map<String, Value> {
    let mut base = match all.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, value) in written {
        match (base.get_mut(key), value) {
            (Some(slot @ Value::Object(_)), Value::Object(inner)) => {
                *slot = Value::Object(under(&mut slot.take(), inner));
            }
            (Some(_), value) if is_empty(value) => {}
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
    base.retain(|_, v| !v.is_null());
    base
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// Strips the leading v, as crit does.
pub(crate) fn bare_version(version: &str) -> String {
    version.strip_prefix('v').unwrap_or(version).to_owned()
}

fn or(slot: &mut Option<String>, default: &str) {
    if slot.as_deref().is_none_or(str::is_empty) {
        *slot = Some(default.to_owned());
    }
}

fn or_version(slot: &mut Option<String>, default: &str) {
    or(slot, default);
    *slot = slot.as_deref().map(bare_version);
}

fn port(slot: &mut Option<u16>, default: u16) {
    if slot.is_none_or(|p| p == 0) {
        *slot = Some(default);
    }
}
