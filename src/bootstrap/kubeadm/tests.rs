//! Tests of kubeadm documents: one for each version of their API, and what crit configurations become.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{ApiEndpoint, ConfigSpec, Flavour},
    bootstrap::{InitData, Inputs, JoinData, Step},
    pki, yaml,
};

const CA: &str = include_str!("../../../tests/fixtures/bootstrap/ca.crt");

fn inputs(version: &str, founds: bool) -> Inputs {
    let endpoint = ApiEndpoint {
        host: "demo".to_owned(),
        port: 6443,
    };
    let step = if founds {
        Step::Init(InitData {
            endpoint,
            pki: pki::generate_cluster("2026-01-02T03:04:05Z".parse().unwrap()).unwrap(),
            extra_sans: Vec::new(),
        })
    } else {
        Step::Join(JoinData {
            endpoint,
            ca_pem: CA.to_owned(),
            token: "abcdef.0123456789abcdef".into(),
            control_plane: None,
        })
    };
    Inputs {
        flavour: Flavour::Kubeadm,
        kubernetes_version: version.to_owned(),
        cluster_name: "demo".to_owned(),
        node_name: "node".to_owned(),
        provider_id: Some("docker://node".to_owned()),
        config: ConfigSpec::default(),
        secret_files: crate::bootstrap::SecretFiles::new(),
        network: None,
        remove_taints: false,
        fix_cgroup_mounts: false,
        step,
    }
}

fn run(version: &str, founds: bool, text: &str) -> (Vec<Value>, Generated) {
    let given: Vec<Value> = yaml::documents(text)
        .unwrap()
        .into_iter()
        .map(|d| d.value)
        .collect();
    let generated = generate(&inputs(version, founds), Documents::parse(&given).unwrap()).unwrap();
    let documents = yaml::documents(generated.config.expose()).unwrap();
    (documents.into_iter().map(|d| d.value).collect(), generated)
}

#[test]
fn the_api_version_follows_the_kubernetes_version() {
    for (version, api) in [
        ("v1.15.0", "kubeadm.k8s.io/v1beta2"),
        ("1.21.14", "kubeadm.k8s.io/v1beta2"),
        ("v1.22.0", "kubeadm.k8s.io/v1beta3"),
        ("v1.30.9", "kubeadm.k8s.io/v1beta3"),
        ("v1.31.0-rc.1", "kubeadm.k8s.io/v1beta4"),
        ("v1.36.2", "kubeadm.k8s.io/v1beta4"),
    ] {
        let (documents, _) = run(version, true, "");
        assert_eq!(documents[0]["apiVersion"], api, "{version}");
        assert_eq!(documents[1]["apiVersion"], api, "{version}");
    }
}

/// Asks for the same in each version's own words.
const OLD: &str = "
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
useHyperKubeImage: false
dns: {type: CoreDNS}
apiServer: {extraArgs: {audit-log-maxage: '7'}, timeoutForControlPlane: 2m0s, certSANs: [api.example.net]}
etcd: {local: {extraArgs: {quota-backend-bytes: '1000'}}}
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration: {kubeletExtraArgs: {node-labels: a=b}, ignorePreflightErrors: [Swap, all]}
";
const NEW: &str = "
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer: {extraArgs: [{name: audit-log-maxage, value: '7'}], certSANs: [api.example.net]}
etcd: {local: {extraArgs: [{name: quota-backend-bytes, value: '1000'}]}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
timeouts: {controlPlaneComponentHealthCheck: 2m0s}
nodeRegistration: {kubeletExtraArgs: [{name: node-labels, value: a=b}], ignorePreflightErrors: [Swap, all]}
";

#[test]
fn old_and_new_words_mean_the_same_in_every_version() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let (old, from_old) = run(version, true, OLD);
        let (new, from_new) = run(version, true, NEW);
        assert_eq!(old, new, "{version}");
        assert_eq!(from_old.untranslated, from_new.untranslated);
        assert!(from_old.untranslated.is_empty(), "{:?}", from_old.untranslated);
    }
    let (documents, _) = run("v1.33.1", true, OLD);
    assert_eq!(
        documents[1]["apiServer"]["extraArgs"],
        json!([{"name": "audit-log-maxage", "value": "7"}])
    );
    assert_eq!(
        documents[0]["timeouts"],
        json!({"controlPlaneComponentHealthCheck": "2m0s"})
    );
    assert_eq!(documents[1].get("timeouts"), None);
    let (documents, _) = run("v1.20.2", true, NEW);
    assert_eq!(
        documents[1]["apiServer"]["extraArgs"],
        json!({"audit-log-maxage": "7"})
    );
    assert_eq!(documents[1]["apiServer"]["timeoutForControlPlane"], "2m0s");
    let checks = documents[0]["nodeRegistration"]["ignorePreflightErrors"]
        .as_array()
        .unwrap();
    assert!(!checks.contains(&json!("all")) && checks.contains(&json!("ImagePull")));
}

#[test]
fn what_an_older_version_cannot_say_is_named() {
    let text = "
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
encryptionAlgorithm: ECDSA-P256
proxy: {disabled: true}
apiServer:
  extraEnvs: [{name: A, value: b}]
  extraArgs: [{name: x, value: '1'}, {name: x, value: '2'}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
skipPhases: [addon/coredns]
patches: {directory: /p}
timeouts: {etcdAPICall: 1m}
nodeRegistration: {imagePullPolicy: Never, imagePullSerial: false}
";
    let (_, generated) = run("v1.20.2", true, text);
    let mut lost = generated.untranslated.clone();
    lost.sort();
    assert_eq!(
        lost,
        [
            "ClusterConfiguration.apiServer.extraArgs.x",
            "ClusterConfiguration.apiServer.extraEnvs",
            "ClusterConfiguration.encryptionAlgorithm",
            "InitConfiguration.nodeRegistration.imagePullPolicy",
            "InitConfiguration.nodeRegistration.imagePullSerial",
            "InitConfiguration.patches",
            "InitConfiguration.timeouts.etcdAPICall",
        ]
    );
    assert_eq!(generated.skip_phases, ["addon/coredns", "addon/kube-proxy"]);
    let (_, generated) = run("v1.33.1", true, text);
    assert!(generated.untranslated.is_empty(), "{:?}", generated.untranslated);
    assert_eq!(generated.skip_phases, ["addon/coredns"]);
}

#[test]
fn what_the_cluster_decides_is_set_and_what_it_replaces_is_named() {
    let text = "
apiVersion: kubeadm.k8s.io/v1beta3
kind: JoinConfiguration
discovery:
  bootstrapToken: {token: zzzzzz.zzzzzzzzzzzzzzzz, apiServerEndpoint: 'other:6443', unsafeSkipCAVerification: true}
  timeout: 90s
controlPlane: {}
nodeRegistration: {name: other, criSocket: unix:///x.sock, taints: [], kubeletExtraArgs: {provider-id: x}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 3
---
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
";
    let (documents, mut generated) = run("v1.28.0", false, text);
    generated.untranslated.sort();
    assert_eq!(
        generated.untranslated,
        [
            "ClusterConfiguration",
            "JoinConfiguration.controlPlane",
            "JoinConfiguration.discovery.bootstrapToken.apiServerEndpoint",
            "JoinConfiguration.discovery.bootstrapToken.token",
            "JoinConfiguration.discovery.bootstrapToken.unsafeSkipCAVerification",
            "JoinConfiguration.nodeRegistration.kubeletExtraArgs.provider-id",
            "JoinConfiguration.nodeRegistration.name",
        ]
    );
    let join = &documents[0];
    assert_eq!(
        join["discovery"],
        json!({
            "bootstrapToken": {
                "apiServerEndpoint": "demo:6443",
                "caCertHashes": [pki::ca_hash(CA).unwrap()],
                "token": "abcdef.0123456789abcdef",
            },
            "timeout": "90s",
        })
    );
    assert_eq!(join["nodeRegistration"]["criSocket"], "unix:///x.sock");
    assert_eq!(join["nodeRegistration"]["taints"], json!([]));
    assert_eq!(
        join["nodeRegistration"]["kubeletExtraArgs"],
        json!({"provider-id": "docker://node"})
    );
    assert_eq!(documents.len(), 1);
}

#[test]
fn the_cluster_is_found_by_a_file_that_pins_its_ca() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let (documents, generated) = run(version, false, "");
        assert_eq!(
            documents[0]["discovery"],
            json!({"file": {"kubeConfigPath": DISCOVERY}})
        );
        assert!(!generated.config.expose().contains("abcdef"));
        let file: Value = yaml::from_str(generated.discovery.unwrap().expose()).unwrap();
        let cluster = &file["clusters"][0]["cluster"];
        assert_eq!(cluster["server"], "https://demo:6443");
        assert_eq!(cluster["certificate-authority-data"], STANDARD.encode(CA));
        assert_eq!(file["users"][0]["user"]["token"], "abcdef.0123456789abcdef");
    }
    let mut inputs = inputs("v1.33.1", false);
    if let Step::Join(join) = &mut inputs.step {
        join.ca_pem = "nothing".to_owned();
    }
    assert!(generate(&inputs, Documents::default()).is_err());
}

#[test]
fn thresholds_that_are_given_are_all_thresholds() {
    let text = "{apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, evictionHard: {memory.available: 50Mi}}";
    let (documents, _) = run("v1.20.2", true, text);
    assert_eq!(documents[2]["evictionHard"], json!({"memory.available": "50Mi"}));
    assert_eq!(documents[2]["failSwapOn"], false);
    assert_eq!(documents[3]["conntrack"], json!({"maxPerCore": 0}));
}

#[test]
fn other_kinds_doubles_and_odd_flags_are_refused() {
    let parse = |text: &str| {
        let given: Vec<Value> = yaml::documents(text)
            .unwrap()
            .into_iter()
            .map(|d| d.value)
            .collect();
        Documents::parse(&given)
    };
    for text in [
        "{apiVersion: v1, kind: ConfigMap}",
        "{apiVersion: kubeadm.k8s.io/v1alpha1, kind: InitConfiguration}",
        "{apiVersion: kubeadm.k8s.io/v1beta3, kind: Other}",
        "{apiVersion: kubeadm.k8s.io/v1beta3, kind: InitConfiguration}\n---\n{apiVersion: kubeadm.k8s.io/v1beta2, kind: InitConfiguration}",
        "{apiVersion: kubeadm.k8s.io/v1beta3, kind: ClusterConfiguration, apiServer: {extraArgs: 3}}",
        "{apiVersion: kubeadm.k8s.io/v1beta4, kind: ClusterConfiguration, apiServer: {extraArgs: [{x: 1}]}}",
        "text",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert_eq!(
        parse("{apiVersion: kubeadm.k8s.io/v1beta4, kind: ResetConfiguration}")
            .unwrap()
            .untranslated,
        ["ResetConfiguration"]
    );
}
