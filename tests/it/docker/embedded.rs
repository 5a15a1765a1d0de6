//! A real kubelet and the API server in this program: it joins with a bootstrap token, gets its certificate, and runs what it is told to.

use std::sync::Arc;

use machinectl::{
    apiserver::{KEYS, Server, auth::Tokens, tls::TlsMaterial},
    time::{Clock as _, SystemClock},
};
use serde_json::{Value, json};

use super::*;

const NODE: &str = "dk-joined";
const TOKEN: &str = "abcdef.0123456789abcdef";

/// What the machine does when it starts. It knows the server by a name that is in its certificate, at the address of its host.
const BOOTSTRAP: &str = r#"#cloud-config
write_files:
- path: /etc/kubernetes/bootstrap-kubelet.conf
  permissions: '0600'
  content: |
    apiVersion: v1
    kind: Config
    current-context: c
    clusters: [{name: c, cluster: {server: "https://kubernetes:PORT", certificate-authority: /etc/kubernetes/pki/ca.crt}}]
    users: [{name: u, user: {token: TOKEN}}]
    contexts: [{name: c, context: {cluster: c, user: u}}]
- path: /etc/kubernetes/pki/ca.crt
  encoding: base64
  content: AUTHORITY
- path: /var/lib/kubelet/config.yaml
  content: |
    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
    authorization: {mode: Webhook}
    staticPodPath: /etc/kubernetes/manifests
    cgroupDriver: cgroupfs
    failSwapOn: false
    nodeStatusUpdateFrequency: 1s
    imageGCHighThresholdPercent: 100
    evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
- path: /var/lib/kubelet/kubeadm-flags.env
  content: |
    KUBELET_KUBEADM_ARGS="--container-runtime=remote --container-runtime-endpoint=/run/containerd/containerd.sock --hostname-override=NODE"
- path: /etc/kubernetes/manifests/static.yaml
  content: |
    apiVersion: v1
    kind: Pod
    metadata: {name: static, namespace: default}
    spec: {containers: [{name: pause, image: "k8s.gcr.io/pause:3.2", imagePullPolicy: Never}]}
runcmd:
- "ip -4 route show default | sed -n 's/^default via \\([0-9.]*\\).*/\\1 kubernetes/p' >>/etc/hosts"
- systemctl restart kubelet
"#;

struct Served {
    client: kube::Client,
    port: u16,
    ca: String,
    /// The state goes with it.
    _dir: tempfile::TempDir,
}

/// Serves on all addresses: which of them the machine reaches, Docker decides.
async fn serve() -> Served {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let tls = TlsMaterial::ensure(&dir.path().join(KEYS), &[], SystemClock.now()).unwrap();
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, serving) = (tls.server_config().unwrap(), server.clone());
    tokio::spawn(async move {
        serving
            .serve(listener, config, Tokens::default(), std::future::pending())
            .await
    });
    Served {
        client: server.client(),
        port,
        ca: tls.ca_cert,
        _dir: dir,
    }
}

impl Served {
    async fn send(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", "application/json");
        let body = serde_json::to_vec(body).unwrap();
        self.client.request(request.body(body).unwrap()).await.ok()
    }

    async fn make(&self, path: &str, object: Value) -> Value {
        let made = self.send("POST", path, &object).await;
        made.unwrap_or_else(|| panic!("{path}: {object}"))
    }

    /// Waits until an object is as it should be.
    async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..1200 {
            last = self.send("GET", path, &Value::Null).await.unwrap_or_default();
            if holds(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What it was about, and why it ended if it did.
        let log = try_docker(&[
            "exec",
            NODE,
            "bash",
            "-c",
            "journalctl -u kubelet --no-pager | grep -E 'kubelet.*: [EF]' | tail -n 20",
        ])
        .1;
        panic!("not within two minutes: {what}\n{last}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_joins_the_embedded_server_and_runs_pods() {
    use base64::Engine as _;
    let served = serve().await;
    let (id, secret) = TOKEN.split_once('.').unwrap();
    let token = json!({
        "metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true"},
    });
    served.make("/api/v1/namespaces/kube-system/secrets", token).await;
    for role in [
        "system:node-bootstrapper",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
    ] {
        let binding = json!({
            "metadata": {"generateName": "join-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}],
        });
        served
            .make("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
            .await;
    }

    let bootstrap = BOOTSTRAP
        .replace("PORT", &served.port.to_string())
        .replace("TOKEN", TOKEN)
        .replace("NODE", NODE)
        .replace(
            "AUTHORITY",
            &base64::engine::general_purpose::STANDARD.encode(&served.ca),
        );
    let actuator = actuator().await;
    let machine = Machine::worker(NODE, &bootstrap);
    actuator.create(&machine.spec).await.unwrap();
    assert_eq!(machine.settled(&actuator).await.state, InstanceState::Running);

    let is_ready = |node: &Value| {
        let conditions = node["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    served
        .until(&format!("/api/v1/nodes/{NODE}"), "the node is Ready", is_ready)
        .await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let requests = served.send("GET", requests, &Value::Null).await.unwrap();
    let own = requests["items"].as_array().unwrap();
    assert!(
        own.iter()
            .any(|csr| csr["status"]["conditions"][0]["reason"] == "AutoApproved"),
        "{own:?}"
    );

    // A pod that stands for a file of the machine, and one that the API server holds and that needs a token and a certificate.
    let is_running = |pod: &Value| pod["status"]["phase"] == "Running";
    let pods = "/api/v1/namespaces/default/pods";
    served
        .until(
            &format!("{pods}/static-{NODE}"),
            "the static pod runs",
            is_running,
        )
        .await;
    let bound = json!({"metadata": {"name": "bound"}, "spec": {
        "nodeName": NODE, "serviceAccountName": "default", "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "pause", "image": "k8s.gcr.io/pause:3.2", "imagePullPolicy": "Never",
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        }],
        "volumes": [{"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]}}],
    }});
    served.make(pods, bound).await;
    served
        .until(&format!("{pods}/bound"), "the bound pod runs", is_running)
        .await;
    // The kubelet removes it from the API when it has ended.
    served
        .send("DELETE", &format!("{pods}/bound"), &json!({}))
        .await
        .expect("accepted");
    served
        .until(&format!("{pods}/bound"), "the bound pod is gone", Value::is_null)
        .await;
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}");
    let holds = |lease: &Value| lease["spec"]["holderIdentity"] == NODE;
    served.until(&lease, "the node has its lease", holds).await;
}
