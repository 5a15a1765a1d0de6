//! A crit configuration becomes kubeadm's documents. What has no counterpart is named; nothing is dropped in silence.

use serde_json::{Map, Value, json};

use super::{
    BootstrapError, Inputs, Step,
    crit::{
        self, BootstrapServer, Component, ContainerRuntime, ControlPlaneConfiguration, Etcd, Gates,
        HostPathMount, KubeApiServer, KubeProxy, NodeConfiguration, StringMap, WorkerConfiguration,
    },
    kubeadm::{CA_CERT, Documents, KubernetesVersion, node_settings, remove_arg, set_arg},
    retired,
};
use crate::providers::Role;

/// What a crit configuration becomes.
#[derive(Debug)]
pub(crate) struct Translated {
    /// Documents for kubeadm.
    pub(crate) documents: Documents,
    /// Settings of this machine's kubelet, laid over those of the cluster.
    pub(crate) kubelet: Map<String, Value>,
    /// Paths without counterpart.
    pub(crate) untranslated: Vec<String>,
}

/// Translates a worker's configuration.
pub(crate) fn worker(
    inputs: &Inputs,
    version: &KubernetesVersion,
    configuration: WorkerConfiguration,
) -> Result<Translated, BootstrapError> {
    let WorkerConfiguration {
        api_version: _,
        kind: _,
        cluster_name,
        control_plane_endpoint,
        feature_gates,
        bootstrap_server_url,
        bootstrap_token,
        ca_cert,
        node,
    } = configuration;
    let mut out = Translation::new(inputs, version);
    out.cluster(cluster_name.as_deref(), control_plane_endpoint.as_ref());
    out.crit_gates(feature_gates.as_ref());
    out.note(bootstrap_server_url.is_some(), "bootstrapServerURL");
    let given = match &inputs.step {
        Step::Join(join) => Some(&join.token),
        Step::Init(_) => None,
    };
    out.note(
        bootstrap_token.as_ref().is_some_and(|t| Some(t) != given),
        "bootstrapToken",
    );
    let mut join = Map::new();
    if let Some(path) = ca_cert.filter(|p| !p.is_empty()) {
        join.insert("caCertPath".to_owned(), json!(path));
    }
    let registration = out.node(node.unwrap_or_default())?;
    join.insert("nodeRegistration".to_owned(), Value::Object(registration));
    Ok(out.finish(Documents {
        join: Some(join),
        ..Documents::default()
    }))
}

/// Translates a control plane's configuration.
pub(crate) fn control_plane(
    inputs: &Inputs,
    version: &KubernetesVersion,
    configuration: ControlPlaneConfiguration,
) -> Result<Translated, BootstrapError> {
    let ControlPlaneConfiguration {
        api_version: _,
        kind: _,
        cluster_name,
        control_plane_endpoint,
        pod_subnet,
        service_subnet,
        core_dns_version,
        feature_gates,
        etcd,
        kube_api_server,
        kube_controller_manager,
        kube_scheduler,
        kube_proxy,
        crit_bootstrap_server,
        node,
    } = configuration;
    let mut out = Translation::new(inputs, version);
    out.cluster(cluster_name.as_deref(), control_plane_endpoint.as_ref());
    out.crit_gates(feature_gates.as_ref());
    out.bootstrap_server(crit_bootstrap_server.unwrap_or_default());

    let node = node.unwrap_or_default();
    let cloud_provider = node.cloud_provider.clone();
    let address = node.host_ipv4.clone().filter(|a| !a.is_empty());
    let domain = node
        .kubelet
        .as_ref()
        .and_then(|k| k.get("clusterDomain"))
        .cloned();
    let registration = out.node(node)?;

    let mut cluster = Map::new();
    cluster.insert(
        "networking".to_owned(),
        Value::Object(out.networking(pod_subnet, service_subnet, domain)),
    );
    if let Some(version) = core_dns_version.filter(|v| !v.is_empty()) {
        let bare = crit::bare_version(&version);
        let tag = if out.version.at_least(21) {
            format!("v{bare}")
        } else {
            bare
        };
        cluster.insert("dns".to_owned(), json!({"imageTag": tag}));
    }
    if let Some(etcd) = etcd.and_then(|etcd| out.etcd(etcd)) {
        cluster.insert("etcd".to_owned(), json!({"external": etcd}));
    }
    let mut api_server = out.api_server(kube_api_server.unwrap_or_default());
    let mut manager = out.component(
        "kubeControllerManager",
        "kube-controller-manager",
        kube_controller_manager.unwrap_or_default(),
    );
    if let Some(endpoint) = control_plane_endpoint.filter(|e| !e.host.is_empty()) {
        sans(&mut api_server).push(json!(endpoint.host));
    }
    if let Some(provider) = cloud_provider.filter(|p| out.has_cloud_provider(p)) {
        for component in [&mut api_server, &mut manager] {
            let before = remove_arg(component, "extraArgs", "cloud-provider");
            set_arg(
                component,
                "extraArgs",
                "cloud-provider",
                before.as_deref().unwrap_or(&provider),
            );
        }
    }
    let scheduler = out.component(
        "kubeScheduler",
        "kube-scheduler",
        kube_scheduler.unwrap_or_default(),
    );
    cluster.insert("apiServer".to_owned(), Value::Object(api_server));
    cluster.insert("controllerManager".to_owned(), Value::Object(manager));
    cluster.insert("scheduler".to_owned(), Value::Object(scheduler));

    let mut local = json!({"nodeRegistration": registration});
    if let Some(address) = address {
        local["localAPIEndpoint"] = json!({"advertiseAddress": address});
    }
    let (proxy, disabled) = out.proxy(kube_proxy.unwrap_or_default());
    if disabled {
        local["skipPhases"] = json!(["addon/kube-proxy"]);
    }
    let local = local.as_object().cloned().unwrap_or_default();
    let joins = matches!(inputs.step, Step::Join(_));
    let documents = if joins {
        let mut join = local;
        join.remove("skipPhases");
        if let Some(endpoint) = join.remove("localAPIEndpoint") {
            join.insert("controlPlane".to_owned(), json!({"localAPIEndpoint": endpoint}));
        }
        Documents {
            join: Some(join),
            ..Documents::default()
        }
    } else {
        Documents {
            init: Some(local),
            cluster: Some(cluster),
            proxy: Some(proxy),
            ..Documents::default()
        }
    };
    Ok(out.finish(documents))
}

/// What is gathered on the way.
struct Translation<'a> {
    inputs: &'a Inputs,
    version: &'a KubernetesVersion,
    kubelet: Map<String, Value>,
    untranslated: Vec<String>,
}

impl<'a> Translation<'a> {
    fn new(inputs: &'a Inputs, version: &'a KubernetesVersion) -> Self {
        Self {
            inputs,
            version,
            kubelet: Map::new(),
            untranslated: Vec::new(),
        }
    }

    fn finish(self, documents: Documents) -> Translated {
        Translated {
            documents,
            kubelet: self.kubelet,
            untranslated: self.untranslated,
        }
    }

    fn note(&mut self, lost: bool, path: impl Into<String>) {
        if lost {
            self.untranslated.push(path.into());
        }
    }

    /// The Cluster decides its name and where its API server is.
    fn cluster(&mut self, name: Option<&str>, endpoint: Option<&crit::Endpoint>) {
        let other = name.is_some_and(|n| !n.is_empty() && n != self.inputs.cluster_name);
        self.note(other, "clusterName");
        let own = self.inputs.endpoint();
        let other = endpoint.is_some_and(|e| {
            let port = if e.port == 0 { 6443 } else { e.port };
            !e.host.is_empty() && (e.host != own.host || port != own.port)
        });
        self.note(other, "controlPlaneEndpoint");
    }

    /// Gates of crit itself: one that is off asks for nothing.
    fn crit_gates(&mut self, gates: Option<&Gates>) {
        for (name, on) in gates.into_iter().flatten() {
            self.note(*on, crit::join("featureGates", name));
        }
    }

    fn bootstrap_server(&mut self, server: BootstrapServer) {
        let BootstrapServer {
            version,
            bind_port,
            cloud_provider,
            extra_args,
        } = server;
        self.note(version.is_some(), "critBootstrapServer.version");
        self.note(bind_port.is_some(), "critBootstrapServer.bindPort");
        self.note(cloud_provider.is_some(), "critBootstrapServer.cloudProvider");
        self.note(extra_args.is_some(), "critBootstrapServer.extraArgs");
    }

    /// Returns `nodeRegistration`, and keeps kubelet's settings.
    fn node(&mut self, node: NodeConfiguration) -> Result<Map<String, Value>, BootstrapError> {
        let NodeConfiguration {
            kubernetes_version,
            hostname,
            kube_dir,
            host_ipv4,
            cloud_provider,
            container_runtime,
            taints,
            kubelet,
            kubelet_extra_args,
        } = node;
        if let Some(asked) = kubernetes_version.filter(|v| !v.is_empty()) {
            let asked: KubernetesVersion = asked.parse()?;
            self.note(asked != *self.version, "node.kubernetesVersion");
        }
        let other =
            |value: Option<String>, default: &str| value.is_some_and(|v| !v.is_empty() && v != default);
        self.note(other(hostname, &self.inputs.node_name), "node.hostname");
        self.note(other(kube_dir, "/etc/kubernetes"), "node.kubeDir");

        let mut registration = Map::new();
        if let Some(socket) = self.socket(container_runtime.unwrap_or_default()) {
            registration.insert("criSocket".to_owned(), json!(socket));
        }
        self.taints(taints, &mut registration);
        for (name, value) in kubelet_extra_args.unwrap_or_default() {
            // crit puts the machine's address in place of these, whatever stands there.
            let replaced = matches!(name.as_str(), "address" | "node-ip");
            if replaced || retired::flag(self.version, "kubelet", &name) {
                self.note(true, crit::join("node.kubeletExtraArgs", &name));
            } else {
                set_arg(&mut registration, "kubeletExtraArgs", &name, &value);
            }
        }
        if let Some(address) = host_ipv4.filter(|a| !a.is_empty()) {
            set_arg(&mut registration, "kubeletExtraArgs", "node-ip", &address);
        }
        if let Some(provider) = cloud_provider.filter(|p| !p.is_empty()) {
            if self.has_cloud_provider(&provider) {
                set_arg(&mut registration, "kubeletExtraArgs", "cloud-provider", &provider);
            } else {
                self.note(true, "node.cloudProvider");
            }
        }
        self.kubelet_settings(&kubelet.unwrap_or_default());
        Ok(registration)
    }

    fn taints(&self, taints: Option<Vec<crit::Taint>>, registration: &mut Map<String, Value>) {
        let Some(taints) = taints.filter(|t| !t.is_empty()) else {
            return;
        };
        let mut all = Vec::new();
        // A list of taints takes the place of those that a control plane gets by itself.
        if self.inputs.role() == Role::ControlPlane && !self.inputs.remove_taints {
            all.extend(
                self.version
                    .control_plane_taints()
                    .iter()
                    .map(|key| json!({"key": key, "effect": "NoSchedule"})),
            );
        }
        for taint in taints {
            if !all
                .iter()
                .any(|t: &Value| t["key"] == taint.key.as_str() && t["effect"] == taint.effect.as_str())
            {
                all.push(json!(taint));
            }
        }
        registration.insert("taints".to_owned(), Value::Array(all));
    }

    /// Returns the socket of a runtime that is not the usual one.
    fn socket(&mut self, runtime: ContainerRuntime) -> Option<&'static str> {
        match runtime {
            ContainerRuntime::Containerd => None,
            ContainerRuntime::Docker if self.version.at_least(24) => {
                self.note(true, "node.containerRuntime");
                None
            }
            ContainerRuntime::Docker => Some("/var/run/dockershim.sock"),
            ContainerRuntime::Crio if self.version.at_least(22) => Some("unix:///var/run/crio/crio.sock"),
            ContainerRuntime::Crio => Some("/var/run/crio/crio.sock"),
        }
    }

    /// Cloud providers in the tree of Kubernetes went with 1.27 (AWS) to 1.31 (all of them).
    fn has_cloud_provider(&self, name: &str) -> bool {
        let gone = if name == "aws" { 27 } else { 29 };
        !name.is_empty() && (name == "external" || !self.version.at_least(gone))
    }

    /// Settings of kubelet as crit would write them, but for what the node image knows better.
    fn kubelet_settings(&mut self, written: &Map<String, Value>) {
        let mut settings = crit::kubelet_defaults(written);
        let from_cluster = ["clusterDomain", "clusterDNS", "staticPodPath"];
        let from_image = ["cgroupDriver", "imageGCLowThresholdPercent"];
        let ours = node_settings();
        let ours = ours.keys().map(String::as_str);
        for key in from_cluster.into_iter().chain(from_image).chain(ours) {
            if written.get(key).is_none_or(Value::is_null) {
                settings.remove(key);
            }
        }
        // A machine may be a container on a host that swaps.
        if settings.remove("failSwapOn") == Some(json!(true)) {
            self.note(true, "node.kubelet.failSwapOn");
        }
        // The image makes this one if it needs it; the script finds out.
        if settings.get("cgroupRoot") == Some(&json!("/kubelet")) {
            settings.remove("cgroupRoot");
        }
        settings.remove("apiVersion");
        settings.remove("kind");
        if let Some(Value::Object(gates)) = settings.get_mut("featureGates") {
            let gone: Vec<String> = gates
                .keys()
                .filter(|g| retired::gate(self.version, g))
                .cloned()
                .collect();
            for gate in gone {
                gates.remove(&gate);
                self.untranslated
                    .push(crit::join("node.kubelet.featureGates", &gate));
            }
        }
        // Settings are laid over the cluster's by their first level: this part has to be whole.
        if let Some(Value::Object(authentication)) = settings.get_mut("authentication") {
            let x509 = authentication.entry("x509").or_insert_with(|| json!({}));
            if let Value::Object(x509) = x509 {
                x509.entry("clientCAFile").or_insert_with(|| json!(CA_CERT));
            }
        }
        self.kubelet = settings;
    }

    /// The Config wins, then the Cluster, then crit's defaults.
    fn networking(
        &self,
        pods: Option<String>,
        services: Option<String>,
        domain: Option<Value>,
    ) -> Map<String, Value> {
        let network = self.inputs.network.clone().unwrap_or_default();
        let asked = |range: Option<crate::api::v1alpha1::NetworkRanges>| {
            range.is_some_and(|r| !r.cidr_blocks.is_empty())
        };
        let mut networking = Map::new();
        let subnets = [
            ("podSubnet", pods, asked(network.pods), "10.253.0.0/16"),
            (
                "serviceSubnet",
                services,
                asked(network.services),
                "10.254.0.0/16",
            ),
        ];
        for (key, written, by_cluster, default) in subnets {
            match written.filter(|w| !w.is_empty()) {
                Some(written) => drop(networking.insert(key.to_owned(), json!(written))),
                None if by_cluster => {}
                None => drop(networking.insert(key.to_owned(), json!(default))),
            }
        }
        if let Some(domain) = domain.filter(|d| d.as_str().is_some_and(|d| !d.is_empty())) {
            networking.insert("dnsDomain".to_owned(), domain);
        }
        networking
    }

    /// Returns `etcd.external` if etcd runs elsewhere. etcd on the machine itself is kubeadm's.
    fn etcd(&mut self, etcd: Etcd) -> Option<Value> {
        let Etcd {
            endpoints,
            ca_file,
            cert_file,
            key_file,
            ca_key,
        } = etcd;
        self.note(ca_key.is_some(), "etcd.caKey");
        let endpoints = endpoints.unwrap_or_default();
        let own = [
            "localhost",
            "127.0.0.1",
            "::1",
            &self.inputs.node_name,
            &self.inputs.endpoint().host,
        ];
        let here = |url: &String| {
            let bare = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            crit::Endpoint::parse(bare).is_ok_and(|e| own.contains(&e.host.as_str()))
        };
        if endpoints.iter().all(here) {
            self.note(ca_file.is_some(), "etcd.caFile");
            self.note(cert_file.is_some(), "etcd.certFile");
            self.note(key_file.is_some(), "etcd.keyFile");
            return None;
        }
        let secure = endpoints.iter().any(|e| e.starts_with("https://"));
        let path = |given: Option<String>, name: &str| {
            given.or_else(|| secure.then(|| format!("/etc/kubernetes/pki/etcd/{name}")))
        };
        let mut external = json!({"endpoints": endpoints});
        for (key, value) in [
            ("caFile", path(ca_file, "ca.crt")),
            ("certFile", path(cert_file, "client.crt")),
            ("keyFile", path(key_file, "client.key")),
        ] {
            if let Some(value) = value {
                external[key] = json!(value);
            }
        }
        Some(external)
    }

    fn api_server(&mut self, server: KubeApiServer) -> Map<String, Value> {
        let KubeApiServer {
            bind_port,
            mut extra_args,
            extra_volumes,
            mut feature_gates,
            extra_sans,
            healthcheck_proxy_version,
            healthcheck_proxy_bind_port,
            extra_labels,
        } = server;
        let at = "kubeAPIServer";
        let port = self.inputs.endpoint().port;
        self.note(
            bind_port.is_some_and(|p| p != 0 && p != port),
            "kubeAPIServer.bindPort",
        );
        self.note(
            healthcheck_proxy_version.is_some(),
            "kubeAPIServer.healthcheckProxyVersion",
        );
        self.note(
            healthcheck_proxy_bind_port.is_some(),
            "kubeAPIServer.healthcheckProxyBindPort",
        );
        if let Some(args) = &mut extra_args {
            // crit itself takes the port from bindPort. Without anonymous requests kubeadm's probes fail, and nobody
            // can read cluster-info to join: crit has a proxy for that, kubeadm has not.
            for name in ["secure-port", "anonymous-auth"] {
                let harmless = name == "anonymous-auth" && args.get(name).is_some_and(|v| v == "true");
                if args.remove(name).is_some() && !harmless {
                    self.note(true, format!("kubeAPIServer.extraArgs.{name}"));
                }
            }
            if let Some(list) = args.get("enable-admission-plugins") {
                let (kept, gone) = retired::admission_plugins(self.version, list);
                self.note(
                    !gone.is_empty(),
                    "kubeAPIServer.extraArgs.enable-admission-plugins",
                );
                args.insert("enable-admission-plugins".to_owned(), kept);
            }
        }
        if !self.version.at_least(21) {
            // On by itself since then; crit switches it on.
            feature_gates
                .get_or_insert_default()
                .entry("TTLAfterFinished".to_owned())
                .or_insert(true);
        }
        let mut out = self.component(
            at,
            "kube-apiserver",
            Component {
                extra_args,
                extra_volumes,
                feature_gates,
                extra_labels,
            },
        );
        if let Some(names) = extra_sans.filter(|s| !s.is_empty()) {
            out.insert("certSANs".to_owned(), json!(names));
        }
        out
    }

    fn component(&mut self, at: &str, program: &str, component: Component) -> Map<String, Value> {
        let Component {
            extra_args,
            extra_volumes,
            feature_gates,
            extra_labels,
        } = component;
        self.note(
            extra_labels.is_some_and(|l: StringMap| !l.is_empty()),
            format!("{at}.extraLabels"),
        );
        let mut out = Map::new();
        let mut gates = Vec::new();
        for (name, on) in feature_gates.unwrap_or_default() {
            if retired::gate(self.version, &name) {
                self.note(true, format!("{at}.featureGates.{name}"));
            } else {
                gates.push(format!("{name}={on}"));
            }
        }
        if !gates.is_empty() {
            set_arg(&mut out, "extraArgs", "feature-gates", &gates.join(","));
        }
        for (name, value) in extra_args.unwrap_or_default() {
            if retired::flag(self.version, program, &name) {
                self.note(true, crit::join(&format!("{at}.extraArgs"), &name));
            } else {
                set_arg(&mut out, "extraArgs", &name, &value);
            }
        }
        let volumes: Vec<Value> = extra_volumes
            .unwrap_or_default()
            .into_iter()
            .map(volume)
            .collect();
        if !volumes.is_empty() {
            out.insert("extraVolumes".to_owned(), Value::Array(volumes));
        }
        out
    }

    /// Returns the settings of kube-proxy and whether it is left out.
    fn proxy(&mut self, proxy: KubeProxy) -> (Map<String, Value>, bool) {
        let KubeProxy {
            config,
            disabled,
            affinity,
            extra_labels,
        } = proxy;
        self.note(affinity.is_some_and(|a| !a.is_null()), "kubeProxy.affinity");
        self.note(
            extra_labels.is_some_and(|l: StringMap| !l.is_empty()),
            "kubeProxy.extraLabels",
        );
        let mut config = config.unwrap_or_default();
        config.remove("apiVersion");
        config.remove("kind");
        if config
            .get("mode")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            config.insert("mode".to_owned(), json!("iptables"));
        }
        if let Some(Value::Object(conntrack)) = config.get_mut("conntrack")
            && conntrack
                .remove("maxPerCore")
                .is_some_and(|v| !v.is_null() && v != 0)
        {
            self.note(true, "kubeProxy.config.conntrack.maxPerCore");
        }
        if let Some(Value::Object(gates)) = config.get_mut("featureGates") {
            let gone: Vec<String> = gates
                .keys()
                .filter(|g| retired::gate(self.version, g))
                .cloned()
                .collect();
            for gate in gone {
                gates.remove(&gate);
                self.untranslated
                    .push(crit::join("kubeProxy.config.featureGates", &gate));
            }
        }
        (config, disabled.unwrap_or_default())
    }
}

fn sans(api_server: &mut Map<String, Value>) -> &mut Vec<Value> {
    let slot = api_server.entry("certSANs").or_insert_with(|| json!([]));
    slot.as_array_mut()
        .expect("invariant: made as a list, here or above")
}

fn volume(mount: HostPathMount) -> Value {
    let HostPathMount {
        name,
        host_path,
        mount_path,
        read_only,
        host_path_type,
    } = mount;
    let mut out = json!({
        "name": name.unwrap_or_default(),
        "hostPath": host_path.unwrap_or_default(),
        "mountPath": mount_path.unwrap_or_default(),
    });
    if read_only == Some(true) {
        out["readOnly"] = json!(true);
    }
    if let Some(kind) = host_path_type.filter(|k| !k.is_empty()) {
        out["pathType"] = json!(kind);
    }
    out
}
