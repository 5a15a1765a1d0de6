//! Tests of rendering: every flavour and role, all encodings, secrets that stay hidden.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{ApiEndpoint, ConfigSpec, Encoding, File, Flavour, Ntp, SecretFile, User},
    pki::{ClusterPki, KeyPair},
    providers::Role,
    yaml,
};

const CA: &str = include_str!("../../tests/fixtures/bootstrap/ca.crt");
const CRIT: &str = include_str!("../../tests/fixtures/bootstrap/crit.yaml");
const CONFIG: &str = include_str!("../../tests/fixtures/bootstrap/config.yaml");
const TOKEN: &str = "abcdef.0123456789abcdef";

fn endpoint() -> ApiEndpoint {
    ApiEndpoint {
        host: "demo".to_owned(),
        port: 6443,
    }
}

fn pki() -> ClusterPki {
    let pair = |name: &str| KeyPair {
        cert_pem: format!("{name} certificate\n"),
        key_pem: format!("{name} SECRET KEY\n").into(),
    };
    ClusterPki {
        ca: pair("ca"),
        etcd: pair("etcd"),
        proxy: pair("proxy"),
        service_account: pair("sa"),
    }
}

fn init() -> Step {
    Step::Init(InitData {
        endpoint: endpoint(),
        pki: pki(),
        extra_sans: vec!["10.1.2.3".to_owned()],
    })
}

fn join(control_plane: bool) -> Step {
    Step::Join(JoinData {
        endpoint: endpoint(),
        ca_pem: CA.to_owned(),
        token: TOKEN.into(),
        control_plane: control_plane.then(pki),
    })
}

fn inputs(flavour: Flavour, version: &str, step: Step, config: &str) -> Inputs {
    let node_name = match step {
        Step::Init(_) => "demo",
        Step::Join(_) => "demo-worker-1",
    };
    Inputs {
        flavour,
        kubernetes_version: version.to_owned(),
        cluster_name: "demo".to_owned(),
        node_name: node_name.to_owned(),
        provider_id: Some(format!("docker://{node_name}")),
        config: ConfigSpec {
            config: if config.is_empty() {
                Value::Null
            } else {
                json!(config)
            },
            ..ConfigSpec::default()
        },
        secret_files: SecretFiles::new(),
        network: None,
        remove_taints: false,
        fix_cgroup_mounts: false,
        step,
    }
}

/// The n-th document of the crit fixture.
fn crit_document(index: usize) -> String {
    yaml::to_string(&yaml::documents(CRIT).unwrap()[index].value).unwrap()
}

fn document(rendered: &Rendered) -> Value {
    yaml::from_str(rendered.cloud_config.expose()).unwrap()
}

fn content(document: &Value, path: &str) -> Option<String> {
    let file = document["write_files"]
        .as_array()?
        .iter()
        .find(|f| f["path"] == path)?;
    let bytes = STANDARD.decode(file["content"].as_str()?.trim()).unwrap();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// All of a document, for people.
fn transcript(rendered: &Rendered) -> String {
    let document = document(rendered);
    let mut out = format!("untranslated: {:#?}\n", rendered.untranslated);
    for file in document["write_files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let text = match path {
            "/etc/machinectl/kubelet-settings.sh" => "(the settings script)\n".to_owned(),
            _ => content(&document, path).unwrap(),
        };
        out.push_str("=== ");
        out = out
            + path
            + &format!(
                " {} {}\n{text}",
                file["owner"].as_str().unwrap(),
                file["permissions"].as_str().unwrap()
            );
    }
    out + &format!("=== runcmd {}\n", document["runcmd"])
}

fn generated(inputs: &Inputs) -> Vec<Value> {
    let rendered = render(inputs).unwrap();
    let text = content(&document(&rendered), "/etc/machinectl/kubeadm.yaml").unwrap();
    yaml::documents(&text)
        .unwrap()
        .into_iter()
        .map(|d| d.value)
        .collect()
}

#[test]
fn kubeadm_init() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let inputs = inputs(Flavour::Kubeadm, version, init(), "");
        insta::assert_snapshot!(
            format!("kubeadm-init-{version}"),
            transcript(&render(&inputs).unwrap())
        );
    }
}

#[test]
fn kubeadm_join() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let inputs = inputs(Flavour::Kubeadm, version, join(false), "");
        insta::assert_snapshot!(
            format!("kubeadm-join-{version}"),
            transcript(&render(&inputs).unwrap())
        );
    }
}

#[test]
fn kubeadm_join_control_plane() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let inputs = inputs(Flavour::Kubeadm, version, join(true), "");
        insta::assert_snapshot!(
            format!("kubeadm-join-control-plane-{version}"),
            transcript(&render(&inputs).unwrap())
        );
    }
}

#[test]
fn a_crit_worker_on_a_kubeadm_image() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let inputs = inputs(Flavour::Kubeadm, version, join(false), &crit_document(0));
        insta::assert_snapshot!(
            format!("crit-worker-on-kubeadm-{version}"),
            transcript(&render(&inputs).unwrap())
        );
    }
}

#[test]
fn a_crit_control_plane_on_a_kubeadm_image() {
    for version in ["v1.20.2", "v1.28.0", "v1.33.1"] {
        let inputs = inputs(Flavour::Kubeadm, version, init(), &crit_document(1));
        insta::assert_snapshot!(
            format!("crit-control-plane-on-kubeadm-{version}"),
            transcript(&render(&inputs).unwrap())
        );
    }
}

#[test]
fn crit_on_a_crit_image() {
    for version in ["v1.18.10", "v1.20.2"] {
        let worker = inputs(Flavour::Crit, version, join(false), &crit_document(0));
        insta::assert_snapshot!(
            format!("crit-worker-{version}"),
            transcript(&render(&worker).unwrap())
        );
        let control_plane = inputs(Flavour::Crit, version, init(), &crit_document(1));
        insta::assert_snapshot!(
            format!("crit-control-plane-{version}"),
            transcript(&render(&control_plane).unwrap())
        );
    }
}

#[test]
fn crit_images_have_limits_that_are_said() {
    let error = render(&inputs(Flavour::Crit, "v1.18.10", join(true), "")).unwrap_err();
    assert!(matches!(error, BootstrapError::Unsupported(_)), "{error}");
    let kubeadm = "{apiVersion: kubeadm.k8s.io/v1beta3, kind: JoinConfiguration}";
    let error = render(&inputs(Flavour::Crit, "v1.18.10", join(false), kubeadm)).unwrap_err();
    assert!(matches!(error, BootstrapError::Unsupported(_)), "{error}");
}

#[test]
fn the_older_kind_is_accepted_everywhere() {
    for flavour in [Flavour::Kubeadm, Flavour::Crit] {
        let rendered = render(&inputs(flavour, "v1.20.2", join(false), &crit_document(2))).unwrap();
        assert!(rendered.untranslated.contains(&"node.kubeProxyMode".to_owned()));
        assert!(
            rendered
                .untranslated
                .contains(&"node.kubernetesVersion".to_owned())
        );
    }
}

/// The Config of the fixture, and its Secret.
fn everything() -> (ConfigSpec, SecretFiles) {
    let documents = yaml::documents(CONFIG).unwrap();
    let spec = serde_json::from_value(documents[0].value["spec"].clone()).unwrap();
    let secrets = [(("site".to_owned(), "token.txt".to_owned()), b"c2VjcmV0".to_vec())].into();
    (spec, secrets)
}

#[test]
fn a_config_with_every_field() {
    let (config, secret_files) = everything();
    let inputs = Inputs {
        config,
        secret_files,
        ..inputs(Flavour::Kubeadm, "v1.20.2", join(false), "")
    };
    let rendered = render(&inputs).unwrap();
    let all = document(&rendered);
    assert_eq!(content(&all, "/etc/motd").unwrap(), "hello\n");
    assert_eq!(content(&all, "/opt/a.bin").unwrap(), "hello\n");
    assert_eq!(content(&all, "/opt/b.gz").unwrap(), "hello\n");
    assert_eq!(content(&all, "/etc/site/token").unwrap(), "secret");
    let script = content(&all, "/etc/machinectl/bootstrap.sh").unwrap();
    let order: Vec<usize> = ["chown -- ops", "pre-up.sh", "kubeadm join", "post-up.sh"]
        .map(|step| script.find(step).unwrap_or_else(|| panic!("{step} in {script}")))
        .to_vec();
    assert!(order.is_sorted(), "{script}");
    assert!(script.contains("-v=5"));
    let pre = content(&all, "/etc/machinectl/pre-up.sh").unwrap();
    assert_eq!(pre, "#!/bin/bash\nset -e\nsysctl -w vm.max_map_count=262144\n");
    assert_eq!(
        all["users"],
        json!([{
            "name": "ops", "passwd": "$6$hash", "gecos": "Operators", "groups": "sudo", "homedir": "/home/ops",
            "inactive": false, "lock_passwd": true, "shell": "/bin/bash", "primary_group": "ops",
            "sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": ["ssh-ed25519 AAAA ops"]
        }])
    );
    assert_eq!(
        all["ntp"],
        json!({"enabled": true, "servers": ["time.example.net"]})
    );
    assert_eq!(all["runcmd"], json!(["bash /etc/machinectl/bootstrap.sh"]));
}

#[test]
fn the_document_of_a_configs_own_secret() {
    let (config, secret_files) = everything();
    let text = config_secret(&config, &secret_files).unwrap();
    insta::assert_snapshot!("config-secret", text.replace('\r', "<CR>"));
    assert_eq!(text, config_secret(&config, &secret_files).unwrap());
}

#[test]
fn the_document_of_a_small_config() {
    let config = ConfigSpec {
        config: json!({"apiVersion": "crit.sh/v1alpha2", "kind": "ControlPlaneConfiguration"}),
        ntp: Some(Ntp {
            enabled: Some(false),
            servers: Vec::new(),
        }),
        users: vec![User {
            name: "ops".to_owned(),
            inactive: Some(false),
            lock_password: Some(false),
            ..User::default()
        }],
        verbosity: Some(false),
        ..ConfigSpec::default()
    };
    let text = config_secret(&config, &SecretFiles::new()).unwrap();
    assert!(
        text.contains("\n  - 'crit up --config /var/lib/crit/config.yaml'\n"),
        "{text}"
    );
    assert!(
        text.contains("\nntp:\n  enabled: false\n  servers:\nusers:\n"),
        "{text}"
    );
    assert!(
        text.contains("    inactive: false\n    lock_passwd: false\n"),
        "{text}"
    );
    assert!(config_secret(&ConfigSpec::default(), &SecretFiles::new()).is_err());
}

#[test]
fn a_configs_own_secret_may_hold_kubeadms_documents() {
    let config = ConfigSpec {
        config: json!("{apiVersion: kubeadm.k8s.io/v1beta3, kind: JoinConfiguration}"),
        verbosity: Some(true),
        ..ConfigSpec::default()
    };
    let text = config_secret(&config, &SecretFiles::new()).unwrap();
    assert!(
        text.contains("  - 'kubeadm join --config /etc/kubernetes/kubeadm.yaml -v=5'\n"),
        "{text}"
    );
}

#[test]
fn odd_content_survives_a_configs_own_secret() {
    let odd: [(&str, Option<Encoding>, &[u8]); 6] = [
        ("/a", None, b"  indented\n"),
        ("/b", None, b"\n\nlines\n\n"),
        ("/c", None, b"\xff\xfe\0"),
        ("/d", None, b""),
        ("/e", Some(Encoding::Gzip), b"\x1f\x8b\x08\0"),
        ("/f", None, b"{{ not a template }}\n--- \n# x\n"),
    ];
    let config = ConfigSpec {
        config: json!({"apiVersion": "crit.sh/v1alpha2", "kind": "WorkerConfiguration"}),
        secrets: odd
            .iter()
            .map(|(path, encoding, _)| SecretFile {
                path: (*path).to_owned(),
                encoding: *encoding,
                data_secret_name: "s".to_owned(),
                secret_key_name: (*path).to_owned(),
                ..SecretFile::default()
            })
            .collect(),
        ..ConfigSpec::default()
    };
    let secrets = odd
        .iter()
        .map(|(path, _, content)| (("s".to_owned(), (*path).to_owned()), content.to_vec()))
        .collect();
    let text = config_secret(&config, &secrets).unwrap();
    let body = text
        .split("\r\n\r\n")
        .nth(1)
        .unwrap()
        .split("\r\n--")
        .next()
        .unwrap();
    let back: Value = yaml::from_str(body).unwrap();
    for (index, (path, stated, content)) in odd.iter().enumerate() {
        let file = &back["write_files"][index + 1];
        let text = file["content"].as_str().unwrap();
        let bytes = match file["encoding"].as_str() {
            Some("base64" | "gzip+base64") => STANDARD.decode(text.trim()).unwrap(),
            _ => text.as_bytes().to_vec(),
        };
        assert_eq!(&bytes, content, "{path}");
        assert_eq!(
            file["encoding"] == "gzip+base64",
            *stated == Some(Encoding::Gzip),
            "{path}"
        );
    }
}

#[test]
fn a_config_for_another_role_is_refused() {
    for flavour in [Flavour::Kubeadm, Flavour::Crit] {
        let error = render(&inputs(flavour, "v1.20.2", init(), &crit_document(0))).unwrap_err();
        assert!(matches!(error, BootstrapError::WrongRole { .. }), "{error}");
        let error = render(&inputs(flavour, "v1.20.2", join(false), &crit_document(1))).unwrap_err();
        assert!(matches!(error, BootstrapError::WrongRole { .. }), "{error}");
    }
    assert_eq!(
        Document::parse(&json!(crit_document(0))).unwrap().role(),
        Some(Role::Worker)
    );
}

#[test]
fn pki_is_written_where_it_is_looked_for_and_keys_are_roots_alone() {
    let files = document(&render(&inputs(Flavour::Kubeadm, "v1.33.1", init(), "")).unwrap());
    let mode = |path: &str| {
        files["write_files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["path"] == path)
            .map(|f| f["permissions"].as_str().unwrap().to_owned())
    };
    for key in ["ca.key", "etcd/ca.key", "front-proxy-ca.key", "sa.key"] {
        assert_eq!(
            mode(&format!("/etc/kubernetes/pki/{key}")).as_deref(),
            Some("0600"),
            "{key}"
        );
    }
    for certificate in ["ca.crt", "etcd/ca.crt", "front-proxy-ca.crt", "sa.pub"] {
        assert!(
            mode(&format!("/etc/kubernetes/pki/{certificate}")).is_some(),
            "{certificate}"
        );
    }
}

#[test]
fn a_containerd_configuration_restarts_containerd_before_the_commands() {
    for (flavour, path) in [
        (Flavour::Kubeadm, "/etc/machinectl/bootstrap.sh"),
        (Flavour::Crit, "/cinder/scripts/pre-up.sh"),
    ] {
        let mut inputs = inputs(flavour, "v1.20.2", join(false), "");
        inputs.config.pre_crit_commands = vec!["true".to_owned()];
        let without = render(&inputs).unwrap();
        inputs.config.files = vec![File {
            path: "/etc/containerd/config.toml".to_owned(),
            content: "version = 2\n".to_owned(),
            ..File::default()
        }];
        let with = render(&inputs).unwrap();
        let restart = "systemctl restart containerd";
        assert!(!content(&document(&without), path).unwrap().contains(restart));
        let script = content(&document(&with), path).unwrap();
        assert!(script.find(restart).unwrap() < script.rfind("pre-up.sh").unwrap_or(usize::MAX));
        assert!(without.digest != with.digest);
    }
}

#[test]
fn taints_of_the_control_plane_stay_or_go() {
    let crit = "{apiVersion: crit.sh/v1alpha2, kind: ControlPlaneConfiguration, \
                node: {taints: [{key: dedicated, value: gpu, effect: NoSchedule}]}}";
    let mut inputs = inputs(Flavour::Kubeadm, "v1.28.0", init(), crit);
    let taints = |inputs: &Inputs| generated(inputs)[0]["nodeRegistration"]["taints"].clone();
    let gpu = json!({"key": "dedicated", "value": "gpu", "effect": "NoSchedule"});
    assert_eq!(
        taints(&inputs),
        json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}, gpu])
    );
    inputs.remove_taints = true;
    assert_eq!(taints(&inputs), json!([gpu]));
    inputs.config.config = Value::Null;
    assert_eq!(taints(&inputs), json!([]));
    inputs.remove_taints = false;
    assert_eq!(taints(&inputs), Value::Null);
}

#[test]
fn the_config_wins_over_the_cluster_and_the_cluster_over_defaults() {
    let range = |block: &str| {
        Some(crate::api::v1alpha1::NetworkRanges {
            cidr_blocks: vec![block.to_owned()],
        })
    };
    let crit = "{apiVersion: crit.sh/v1alpha2, kind: ControlPlaneConfiguration, podSubnet: 10.20.0.0/16}";
    let mut inputs = inputs(Flavour::Kubeadm, "v1.28.0", init(), crit);
    let network = |inputs: &Inputs| generated(inputs)[1]["networking"].clone();
    assert_eq!(
        network(&inputs),
        json!({"podSubnet": "10.20.0.0/16", "serviceSubnet": "10.254.0.0/16", "dnsDomain": "cluster.local"})
    );
    inputs.network = Some(crate::api::v1alpha1::ClusterNetwork {
        pods: range("10.1.0.0/16"),
        services: range("10.2.0.0/16"),
        service_domain: Some("corp.local".to_owned()),
        api_server_port: None,
    });
    assert_eq!(
        network(&inputs),
        json!({"podSubnet": "10.20.0.0/16", "serviceSubnet": "10.2.0.0/16", "dnsDomain": "corp.local"})
    );
}

#[test]
fn nothing_secret_shows_in_debug_or_errors() {
    let (config, secret_files) = everything();
    let mut inputs = Inputs {
        config,
        secret_files,
        ..inputs(Flavour::Kubeadm, "v1.20.2", join(true), "")
    };
    inputs.config.config = json!(format!(
        "{{apiVersion: crit.sh/v1alpha2, kind: ControlPlaneConfiguration, x: {TOKEN}}}"
    ));
    let rendered = render(&inputs).unwrap();
    let shown = format!(
        "{inputs:?} {rendered:?} {:?}",
        Document::parse(&inputs.config.config)
    );
    for secret in [TOKEN, "SECRET KEY", "$6$hash", "c2VjcmV0", "BEGIN CERTIFICATE\n"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(rendered.cloud_config.expose().len() > 1000);
}

#[test]
fn the_digest_is_that_of_the_config_not_of_the_token() {
    let one = inputs(Flavour::Kubeadm, "v1.20.2", join(false), "");
    let mut other = one.clone();
    if let Step::Join(join) = &mut other.step {
        join.token = "fedcba.0123456789abcdef".into();
    }
    let digest = |i: &Inputs| render(i).unwrap().digest;
    assert_eq!(digest(&one), digest(&other));
    other.node_name = "other".to_owned();
    assert_ne!(digest(&one), digest(&other));
}

#[test]
fn versions_are_checked() {
    for bad in ["", "latest", "1.20", "v1.14.0"] {
        let error = render(&inputs(Flavour::Kubeadm, bad, init(), "")).unwrap_err();
        assert!(matches!(error, BootstrapError::Version { .. }), "{bad}: {error}");
    }
}

#[test]
fn errors_say_where() {
    let error = render(&inputs(Flavour::Kubeadm, "v1.20.2", init(), "a: 1\nb: [\n")).unwrap_err();
    assert!(error.to_string().contains("line"), "{error}");
    let error = render(&inputs(
        Flavour::Kubeadm,
        "v1.20.2",
        init(),
        "kind: Pod\napiVersion: v1\n",
    ))
    .unwrap_err();
    assert!(error.to_string().contains("v1, Pod"), "{error}");
}

/// The settings script, run for real on two files.
#[test]
fn settings_of_the_machine_are_laid_over_those_of_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("config.yaml"),
        "apiVersion: kubelet.config.k8s.io/v1beta1\nauthentication:\n  anonymous:\n    enabled: false\n\
         clusterDNS:\n- 10.96.0.10\nkind: KubeletConfiguration\nmaxPods: 110\n",
    )
    .unwrap();
    std::fs::write(
        path("kubelet.yaml"),
        "clusterDNS:\n- 10.1.0.10\nmaxPods: 60\ncgroupDriver: cgroupfs\n",
    )
    .unwrap();
    let script = templates::KUBELET_SETTINGS
        .replace(
            "/var/lib/kubelet/config.yaml",
            path("config.yaml").to_str().unwrap(),
        )
        .replace(
            "/etc/machinectl/kubelet.yaml",
            path("kubelet.yaml").to_str().unwrap(),
        );
    for _ in 0..2 {
        let status = std::process::Command::new("bash")
            .arg("-c")
            .arg(&script)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(
            std::fs::read_to_string(path("config.yaml")).unwrap(),
            "apiVersion: kubelet.config.k8s.io/v1beta1\nauthentication:\n  anonymous:\n    enabled: false\n\
             kind: KubeletConfiguration\nclusterDNS:\n- 10.1.0.10\nmaxPods: 60\ncgroupDriver: cgroupfs\n"
        );
    }
}

#[test]
fn scripts_are_shell() {
    let mut inputs = inputs(Flavour::Kubeadm, "v1.20.2", join(true), "");
    inputs.config.verbosity = Some(true);
    inputs.config.post_crit_commands = vec!["true".to_owned()];
    for flavour in [Flavour::Kubeadm, Flavour::Crit] {
        inputs.flavour = flavour;
        if flavour == Flavour::Crit {
            inputs.step = init();
        }
        let all = document(&render(&inputs).unwrap());
        let script = content(&all, "/etc/machinectl/bootstrap.sh").unwrap();
        let out = std::process::Command::new("bash")
            .args(["-n", "-c", &script])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// Trees whose keys are often those that mean something.
    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
            Just(json!("10.0.0.0/16")),
        ];
        let keys = prop_oneof![
            prop::sample::select(vec![
                "node",
                "kubelet",
                "kubeAPIServer",
                "extraArgs",
                "kubeletExtraArgs",
                "featureGates",
                "etcd",
                "endpoints",
                "kubeProxy",
                "config",
                "taints",
                "controlPlaneEndpoint",
                "host",
                "port",
                "nodeRegistration",
                "apiServer",
                "certSANs",
                "discovery",
                "bootstrapToken",
                "timeouts",
                "skipPhases",
                "networking",
                "local",
                "name",
                "value",
                "dns",
                "proxy",
                "conntrack",
                "ignorePreflightErrors",
                "authentication",
                "x509",
                "controlPlane",
                "localAPIEndpoint",
            ])
            .prop_map(str::to_owned),
            "[a-z.]{1,6}",
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(keys.clone(), inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_document_makes_it_panic(
            mut tree in tree(),
            kind in prop::sample::select(vec![
                ("crit.sh/v1alpha2", "WorkerConfiguration"),
                ("crit.sh/v1alpha2", "ControlPlaneConfiguration"),
                ("crit.criticalstack.com/v1alpha1", "ControlPlaneConfiguration"),
                ("kubeadm.k8s.io/v1beta2", "InitConfiguration"),
                ("kubeadm.k8s.io/v1beta2", "ClusterConfiguration"),
                ("kubeadm.k8s.io/v1beta3", "JoinConfiguration"),
                ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration"),
                ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"),
                ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"),
            ]),
            version in prop::sample::select(vec!["v1.20.2", "v1.28.0", "v1.33.1"]),
            founds in any::<bool>(),
            crit in any::<bool>(),
        ) {
            if let Value::Object(map) = &mut tree {
                map.insert("apiVersion".to_owned(), json!(kind.0));
                map.insert("kind".to_owned(), json!(kind.1));
            }
            let step = if founds { init() } else { join(false) };
            let flavour = if crit { Flavour::Crit } else { Flavour::Kubeadm };
            let mut inputs = inputs(flavour, version, step, "");
            inputs.config.config = tree;
            drop(render(&inputs));
            drop(config_secret(&inputs.config, &SecretFiles::new()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            let mut inputs = inputs(Flavour::Kubeadm, "v1.20.2", join(false), "");
            inputs.config.config = json!(text);
            drop(render(&inputs));
            drop(cinder::parse(&text));
        }

        #[test]
        fn no_file_or_user_breaks_the_document(
            content in prop::collection::vec(any::<u8>(), 0..60),
            text in "(?s).{0,40}",
            command in "(?s)[^\0]{0,40}",
        ) {
            let config = ConfigSpec {
                config: json!({"apiVersion": "crit.sh/v1alpha2", "kind": "WorkerConfiguration"}),
                files: vec![File { path: "/a".to_owned(), content: text.clone(), ..File::default() }],
                secrets: vec![SecretFile {
                    path: "/b".to_owned(),
                    data_secret_name: "s".to_owned(),
                    secret_key_name: "k".to_owned(),
                    ..SecretFile::default()
                }],
                users: vec![User { name: text.clone(), gecos: Some(text), ..User::default() }],
                pre_crit_commands: vec![command],
                ..ConfigSpec::default()
            };
            let secrets = [(("s".to_owned(), "k".to_owned()), content)].into();
            // Read back inside: an error here is a document that says something else than it was given.
            prop_assert!(config_secret(&config, &secrets).is_ok());
        }
    }
}
