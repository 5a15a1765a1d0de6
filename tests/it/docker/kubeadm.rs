//! A real cluster of two containers, made by kubeadm from cloud-config documents as Cluster API's kubeadm provider
//! writes them.

use super::*;

const TOKEN: &str = "abcdef.0123456789abcdef";

const CONTROL_PLANE: &str = r#"## template: jinja
#cloud-config
write_files:
- path: /run/kubeadm/kubeadm.yaml
  owner: root:root
  permissions: '0640'
  content: |
    ---
    apiVersion: kubeadm.k8s.io/v1beta2
    kind: InitConfiguration
    bootstrapTokens:
    - token: TOKEN
    nodeRegistration:
      name: '{{ ds.meta_data.local_hostname }}'
      criSocket: /run/containerd/containerd.sock
      ignorePreflightErrors: IGNORED
    ---
    apiVersion: kubeadm.k8s.io/v1beta2
    kind: ClusterConfiguration
    kubernetesVersion: VERSION
    controlPlaneEndpoint: dk-kube:6443
    apiServer: {certSANs: [localhost, 127.0.0.1]}
    controllerManager: {extraArgs: {controllers: "*,bootstrapsigner,tokencleaner,-nodeipam", allocate-node-cidrs: "false"}}
    networking: {podSubnet: 10.244.0.0/16}
    ---
    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    cgroupDriver: cgroupfs
    failSwapOn: false
    nodeStatusUpdateFrequency: 1s
    imageGCHighThresholdPercent: 100
    evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
    ---
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    conntrack: {maxPerCore: 0}
runcmd:
- 'kubeadm init --config /run/kubeadm/kubeadm.yaml --skip-phases=addon/coredns && echo success > /run/cluster-api/bootstrap-success.complete'
"#;

const WORKER: &str = "## template: jinja
#cloud-config
write_files:
- path: /run/kubeadm/kubeadm-join-config.yaml
  permissions: '0640'
  content: |
    apiVersion: kubeadm.k8s.io/v1beta2
    kind: JoinConfiguration
    discovery:
      bootstrapToken:
        apiServerEndpoint: dk-kube:6443
        token: TOKEN
        caCertHashes: [HASH]
    nodeRegistration:
      name: '{{ ds.meta_data.local_hostname }}'
      criSocket: /run/containerd/containerd.sock
      ignorePreflightErrors: IGNORED
runcmd:
- kubeadm join --config /run/kubeadm/kubeadm-join-config.yaml
";

const IGNORED: &str = "[SystemVerification, Swap, NumCPU, Mem, ImagePull, FileExisting-tc, \
FileContent--proc-sys-net-bridge-bridge-nf-call-iptables, FileContent--proc-sys-net-bridge-bridge-nf-call-ip6tables]";

fn kubectl(arguments: &[&str]) -> String {
    let mut all = vec![
        "exec",
        "dk-kube",
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
    ];
    all.extend(arguments);
    try_docker(&all).1
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1800 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "not within three minutes: {what}\n{}",
        kubectl(&["get", "nodes,pods", "-A", "-o", "wide"])
    );
}

#[tokio::test]
async fn a_control_plane_and_a_worker_become_a_cluster() {
    let actuator = actuator().await;
    let infrastructure =
        serde_json::json!({"clusterName": "dk-kube", "containerName": "dk-kube", "image": image()});
    let version = actuator
        .node_image(&infrastructure)
        .await
        .unwrap()
        .unwrap()
        .kubernetes_version;
    let filled = |text: &str, hash: &str| {
        text.replace("TOKEN", TOKEN)
            .replace("IGNORED", IGNORED)
            .replace("VERSION", &version)
            .replace("HASH", hash)
    };

    let plane = Machine::new("dk-kube", Role::ControlPlane, &filled(CONTROL_PLANE, ""));
    actuator.create(&plane.spec).await.unwrap();
    let instance = plane.settled(&actuator).await;
    assert_eq!(instance.state, InstanceState::Running);
    let endpoint = instance.api_endpoint.unwrap();
    tokio::net::TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .expect("the API server is published on this host");
    let log = plane.file("/etc/machine-bootstrap/log");
    assert!(log.contains("initialized successfully"), "{log}");
    assert!(!docker(&["logs", "dk-kube"]).contains(TOKEN));
    let hash = docker(&[
        "exec",
        "dk-kube",
        "bash",
        "-c",
        "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform DER | sha256sum",
    ]);
    let hash = format!("sha256:{}", hash.split(' ').next().unwrap());

    let mut worker = Machine::worker("dk-kube-worker-1", &filled(WORKER, &hash));
    worker.spec.infrastructure["clusterName"] = "dk-kube".into();
    actuator.create(&worker.spec).await.unwrap();
    assert_eq!(worker.settled(&actuator).await.state, InstanceState::Running);
    until("both nodes are Ready", || {
        kubectl(&["get", "nodes", "--no-headers"])
            .matches(" Ready ")
            .count()
            == 2
    })
    .await;
    until("a pod runs on the worker", || {
        let selector = "--field-selector=spec.nodeName=dk-kube-worker-1,status.phase=Running";
        kubectl(&["get", "pods", "-n", "kube-system", selector, "-o", "name"]).contains("kube-proxy")
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_finds_no_cluster_says_so() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let text = WORKER
        .replace("dk-kube:6443", "127.0.0.1:1")
        .replace(
            "    nodeRegistration:",
            "      timeout: 2s\n    nodeRegistration:",
        )
        .replace("TOKEN", TOKEN)
        .replace("IGNORED", IGNORED)
        .replace("HASH", &hash);
    let worker = Machine::worker("dk-lost", &text);
    let actuator = actuator().await;
    actuator.create(&worker.spec).await.unwrap();
    let InstanceState::Failed { reason, message } = worker.settled(&actuator).await.state else {
        panic!("it should fail")
    };
    assert_eq!(reason, "BootstrapFailed");
    assert!(
        message.contains("couldn't validate the identity of the API Server"),
        "{message}"
    );
    assert!(
        message.contains("command 1 of 1 in runcmd (kubeadm) failed"),
        "{message}"
    );
    assert!(!message.contains(TOKEN), "{message}");
}
