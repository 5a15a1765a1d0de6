//! The bootstrap data of a machine: which files and which script, for each flavour of node image.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    BootstrapError, Inputs, Rendered, Step,
    cloud_config::{CloudConfig, WriteFile, ntp, users},
    config_secret::CRIT_CONFIG,
    crit::{self, Configuration, ControlPlaneConfiguration, NodeConfiguration, WorkerConfiguration},
    document::Document,
    files::{self, DEFAULT_OWNER, PlainFile},
    kubeadm::{self, CA_CERT, Documents, KubernetesVersion},
    templates, translate,
};
use crate::{
    api::v1alpha1::Flavour,
    pki::{ClusterPki, hex},
    providers::{BootstrapData, Role},
    yaml,
};

/// Where our own files lie on a machine.
const HERE: &str = "/etc/machinectl";
/// The script that makes the machine a node.
const SCRIPT: &str = "/etc/machinectl/bootstrap.sh";
/// A file whose presence asks for containerd to be started anew.
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Runs the settings script before kubelet.
const KUBELET_UNIT: &str = "/etc/systemd/system/kubelet.service.d/20-machinectl.conf";

/// Makes the bootstrap data of a machine.
///
/// # Errors
/// Says what in the Config can't be used, and why.
pub fn render(inputs: &Inputs) -> Result<Rendered, BootstrapError> {
    let version: KubernetesVersion = inputs.kubernetes_version.parse()?;
    let document = Document::parse(&inputs.config.config)?;
    check_role(inputs, &document)?;
    let (mut files, owners) = owned(files::plain(&inputs.config, &inputs.secret_files)?);
    let restart_containerd = files.iter().any(|f| f.path == CONTAINERD_CONFIG);
    let shared = Shared {
        owners,
        restart_containerd,
        verbose: inputs.config.verbosity == Some(true),
        control_plane: inputs.role() == Role::ControlPlane,
    };
    let mut untranslated = match inputs.flavour {
        Flavour::Kubeadm => with_kubeadm(inputs, &version, document, shared, &mut files)?,
        Flavour::Crit => with_crit(inputs, &version, document, shared, &mut files)?,
    };
    untranslated.sort();
    untranslated.dedup();
    let cloud_config = CloudConfig {
        jinja: false,
        files: last_of_each_path(files)
            .into_iter()
            .map(WriteFile::base64)
            .collect(),
        pre_commands: Vec::new(),
        command: format!("bash {SCRIPT}"),
        post_commands: Vec::new(),
        ntp: ntp(inputs.config.ntp.as_ref()),
        users: users(&inputs.config.users),
    };
    Ok(Rendered {
        cloud_config: BootstrapData::new(cloud_config.to_text()?),
        untranslated,
        digest: digest(inputs)?,
    })
}

/// What both scripts need to know.
#[derive(Serialize)]
struct Shared {
    /// Files that belong to somebody else than root. Their users may be made by the same document, after the files.
    owners: Vec<Owner>,
    restart_containerd: bool,
    verbose: bool,
    control_plane: bool,
}

#[derive(Serialize)]
struct Owner {
    path: String,
    owner: String,
}

/// Inputs of the kubeadm script.
#[derive(Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the template"
)]
struct KubeadmScript {
    owners: Vec<Owner>,
    restart_containerd: bool,
    verbose: bool,
    control_plane: bool,
    verb: &'static str,
    /// Whether the configuration has to go once it was used.
    secret_config: bool,
    /// Separated by commas.
    skip_phases: String,
    pre_up: bool,
    post_up: bool,
}

/// Inputs of the crit script.
#[derive(Serialize)]
struct CritScript {
    owners: Vec<Owner>,
    verbose: bool,
    control_plane: bool,
    fix_cgroup_mounts: bool,
}

fn check_role(inputs: &Inputs, document: &Document) -> Result<(), BootstrapError> {
    let name = |role| match role {
        Role::ControlPlane => "control plane",
        Role::Worker => "worker",
    };
    let found = match (document, document.role()) {
        (_, role) if role.is_none_or(|r| r == inputs.role()) => return Ok(()),
        (Document::Crit(_), Some(Role::Worker)) => crit::WORKER,
        (Document::Crit(_), Some(Role::ControlPlane)) => crit::CONTROL_PLANE,
        (_, Some(Role::Worker)) => "kubeadm JoinConfiguration of a worker",
        // A cluster's settings say nothing about a worker: they are left aside and reported.
        _ => return Ok(()),
    };
    Err(BootstrapError::WrongRole {
        found,
        role: name(inputs.role()),
    })
}

fn with_kubeadm(
    inputs: &Inputs,
    version: &KubernetesVersion,
    document: Document,
    shared: Shared,
    files: &mut Vec<PlainFile>,
) -> Result<Vec<String>, BootstrapError> {
    let (documents, mut kubelet, mut untranslated) = match document {
        Document::None => (Documents::default(), Map::new(), Vec::new()),
        Document::Kubeadm(documents) => {
            let kubelet = own_settings(inputs, &documents);
            (*documents, kubelet, Vec::new())
        }
        Document::Crit(parsed) => {
            let out = match parsed.configuration {
                Configuration::Worker(worker) => translate::worker(inputs, version, *worker)?,
                Configuration::ControlPlane(control_plane) => {
                    translate::control_plane(inputs, version, *control_plane)?
                }
            };
            let mut untranslated = parsed.unknown;
            untranslated.extend(out.untranslated);
            (out.documents, out.kubelet, untranslated)
        }
    };
    let generated = kubeadm::generate(inputs, documents)?;
    untranslated.extend(generated.untranslated);

    kubelet.retain(|_, v| !v.is_null());
    let settings = if kubelet.is_empty() {
        String::new()
    } else {
        yaml::to_string(&kubelet).map_err(|source| BootstrapError::Yaml { source })?
    };
    pki_files(inputs, files);
    let (pre, post) = (
        &inputs.config.pre_crit_commands,
        &inputs.config.post_crit_commands,
    );
    if !pre.is_empty() {
        files.push(PlainFile::new(
            &format!("{HERE}/pre-up.sh"),
            "0700",
            commands(&[], pre),
        ));
    }
    if !post.is_empty() {
        files.push(PlainFile::new(
            &format!("{HERE}/post-up.sh"),
            "0700",
            commands(&[], post),
        ));
    }
    files.push(PlainFile::new(
        &format!("{HERE}/kubeadm.yaml"),
        "0600",
        generated.config.expose(),
    ));
    if let Some(discovery) = &generated.discovery {
        files.push(PlainFile::new(kubeadm::DISCOVERY, "0600", discovery.expose()));
    }
    files.push(PlainFile::new(&format!("{HERE}/kubelet.yaml"), "0644", settings));
    let settings_script = format!("{HERE}/kubelet-settings.sh");
    files.push(PlainFile::new(
        &settings_script,
        "0755",
        templates::KUBELET_SETTINGS,
    ));
    files.push(PlainFile::new(
        KUBELET_UNIT,
        "0644",
        format!("[Service]\nExecStartPre={settings_script}\n"),
    ));
    let script = KubeadmScript {
        owners: shared.owners,
        restart_containerd: shared.restart_containerd,
        verbose: shared.verbose,
        control_plane: shared.control_plane,
        verb: match inputs.step {
            Step::Init(_) => "init",
            Step::Join(_) => "join",
        },
        secret_config: matches!(inputs.step, Step::Join(_)),
        skip_phases: generated.skip_phases.join(","),
        pre_up: !pre.is_empty(),
        post_up: !post.is_empty(),
    };
    files.push(PlainFile::new(
        SCRIPT,
        "0700",
        templates::render(templates::KUBEADM, &script)?,
    ));
    Ok(untranslated)
}

/// Returns the settings of this machine's kubelet that a user's kubeadm documents ask for. On the first control plane
/// they are the cluster's; only what the script would find out by itself has to be repeated here.
fn own_settings(inputs: &Inputs, documents: &Documents) -> Map<String, Value> {
    let mut kubelet = documents.kubelet.clone().unwrap_or_default();
    if matches!(inputs.step, Step::Init(_)) {
        kubelet.retain(|key, _| matches!(key.as_str(), "cgroupDriver" | "cgroupRoot"));
    }
    kubelet
}

fn with_crit(
    inputs: &Inputs,
    version: &KubernetesVersion,
    document: Document,
    shared: Shared,
    files: &mut Vec<PlainFile>,
) -> Result<Vec<String>, BootstrapError> {
    let parsed = match document {
        Document::Crit(parsed) => parsed,
        Document::None => crit::Parsed {
            configuration: if shared.control_plane {
                Configuration::ControlPlane(Box::default())
            } else {
                Configuration::Worker(Box::default())
            },
            unknown: Vec::new(),
        },
        Document::Kubeadm(_) => {
            return Err(BootstrapError::Unsupported(
                "the node image runs crit: give a crit configuration, or use a node image with kubeadm"
                    .to_owned(),
            ));
        }
    };
    let mut untranslated = parsed.unknown;
    let config = match (parsed.configuration, &inputs.step) {
        (Configuration::Worker(worker), _) => {
            yaml::to_string(&crit_worker(inputs, version, *worker, &mut untranslated))
        }
        (Configuration::ControlPlane(control_plane), Step::Init(_)) => yaml::to_string(&crit_control_plane(
            inputs,
            version,
            *control_plane,
            &mut untranslated,
        )),
        (Configuration::ControlPlane(_), Step::Join(_)) => {
            return Err(BootstrapError::Unsupported(
                "node images with crit form control planes of one machine: use one control-plane Machine, or a \
                 node image with kubeadm"
                    .to_owned(),
            ));
        }
    }
    .map_err(|source| BootstrapError::Yaml { source })?;

    pki_files(inputs, files);
    files.push(PlainFile::new(CRIT_CONFIG, "0640", config));
    let mut first: Vec<&str> = Vec::new();
    let mut last: Vec<&str> = Vec::new();
    if shared.restart_containerd {
        first.push("systemctl restart containerd");
    }
    if shared.control_plane {
        first.extend(["e2d pki gencerts", "systemctl enable --now e2d"]);
        if inputs.remove_taints {
            last.push("kubectl taint nodes --all node-role.kubernetes.io/master- || true");
        }
    }
    let config = &inputs.config;
    for (name, ours, theirs) in [
        ("pre-up.sh", first, &config.pre_crit_commands),
        ("post-up.sh", last, &config.post_crit_commands),
    ] {
        files.push(PlainFile::new(
            &format!("/cinder/scripts/{name}"),
            "0755",
            commands(&ours, theirs),
        ));
    }
    let script = CritScript {
        owners: shared.owners,
        verbose: shared.verbose,
        control_plane: shared.control_plane,
        fix_cgroup_mounts: !shared.control_plane || inputs.fix_cgroup_mounts,
    };
    files.push(PlainFile::new(
        SCRIPT,
        "0700",
        templates::render(templates::CRIT, &script)?,
    ));
    Ok(untranslated)
}

fn crit_worker(
    inputs: &Inputs,
    version: &KubernetesVersion,
    mut worker: WorkerConfiguration,
    untranslated: &mut Vec<String>,
) -> WorkerConfiguration {
    let endpoint = inputs.endpoint();
    let ours = crit::Endpoint {
        host: endpoint.host.clone(),
        port: endpoint.port,
    };
    if worker
        .control_plane_endpoint
        .as_ref()
        .is_some_and(|e| !e.host.is_empty() && e.to_string() != ours.to_string())
    {
        untranslated.push("controlPlaneEndpoint".to_owned());
    }
    worker.control_plane_endpoint = Some(ours);
    if let Step::Join(join) = &inputs.step {
        if worker.bootstrap_token.as_ref().is_some_and(|t| *t != join.token) {
            untranslated.push("bootstrapToken".to_owned());
        }
        worker.bootstrap_token = Some(join.token.clone());
    }
    crit_node(inputs, version, worker.node.get_or_insert_default(), untranslated);
    crit::set_worker_defaults(&mut worker);
    worker
}

fn crit_control_plane(
    inputs: &Inputs,
    version: &KubernetesVersion,
    mut control_plane: ControlPlaneConfiguration,
    untranslated: &mut Vec<String>,
) -> ControlPlaneConfiguration {
    if control_plane
        .cluster_name
        .as_ref()
        .is_some_and(|n| !n.is_empty() && *n != inputs.cluster_name)
    {
        untranslated.push("clusterName".to_owned());
    }
    control_plane.cluster_name = Some(inputs.cluster_name.clone());
    // crit takes the machine's address for its endpoint; others come by the name, which has to be in the certificate.
    let server = control_plane.kube_api_server.get_or_insert_default();
    let names = server.extra_sans.get_or_insert_default();
    let mut ours = vec![
        inputs.endpoint().host.clone(),
        inputs.node_name.clone(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    if let Step::Init(init) = &inputs.step {
        ours.extend(init.extra_sans.iter().cloned());
    }
    for name in ours {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let network = inputs.network.clone().unwrap_or_default();
    for (slot, range) in [
        (&mut control_plane.pod_subnet, network.pods),
        (&mut control_plane.service_subnet, network.services),
    ] {
        let range = range.and_then(|r| r.cidr_blocks.into_iter().next());
        if slot.as_deref().is_none_or(str::is_empty) {
            *slot = range;
        }
    }
    crit_node(
        inputs,
        version,
        control_plane.node.get_or_insert_default(),
        untranslated,
    );
    crit::set_control_plane_defaults(&mut control_plane);
    control_plane
}

fn crit_node(
    inputs: &Inputs,
    version: &KubernetesVersion,
    node: &mut NodeConfiguration,
    untranslated: &mut Vec<String>,
) {
    let image = crit::bare_version(&version.to_string());
    if node
        .kubernetes_version
        .as_deref()
        .is_some_and(|v| !v.is_empty() && crit::bare_version(v) != image)
    {
        untranslated.push("node.kubernetesVersion".to_owned());
    }
    node.kubernetes_version = Some(image);
    if node
        .hostname
        .take()
        .is_some_and(|h| !h.is_empty() && h != inputs.node_name)
    {
        untranslated.push("node.hostname".to_owned());
    }
    // crit reads these and does nothing with them.
    let args = node.kubelet_extra_args.get_or_insert_default();
    if let Some(taints) = node.taints.as_ref().filter(|t| !t.is_empty()) {
        args.entry("register-with-taints".to_owned()).or_insert_with(|| {
            let text = |t: &crit::Taint| {
                let value = t.value.as_deref().unwrap_or_default();
                if value.is_empty() {
                    format!("{}:{}", t.key, t.effect)
                } else {
                    format!("{}={value}:{}", t.key, t.effect)
                }
            };
            taints.iter().map(text).collect::<Vec<_>>().join(",")
        });
    }
    if let Some(id) = &inputs.provider_id
        && args
            .insert("provider-id".to_owned(), id.clone())
            .is_some_and(|b| b != *id)
    {
        untranslated.push("node.kubeletExtraArgs.provider-id".to_owned());
    }
}

/// The cluster's keys, where kubeadm and crit look for them.
fn pki_files(inputs: &Inputs, files: &mut Vec<PlainFile>) {
    let pki = match &inputs.step {
        Step::Init(init) => Some(&init.pki),
        Step::Join(join) => {
            files.push(PlainFile::new(CA_CERT, "0644", join.ca_pem.clone()));
            join.control_plane.as_ref()
        }
    };
    let Some(ClusterPki {
        ca,
        etcd,
        proxy,
        service_account,
    }) = pki
    else {
        return;
    };
    let mut pairs = vec![("ca", "crt", ca), ("etcd/ca", "crt", etcd)];
    if inputs.flavour == Flavour::Kubeadm {
        // crit makes these itself and shares them through etcd.
        pairs.extend([("front-proxy-ca", "crt", proxy), ("sa", "pub", service_account)]);
    }
    for (name, extension, pair) in pairs {
        let path = |extension: &str| format!("/etc/kubernetes/pki/{name}.{extension}");
        files.push(PlainFile::new(&path(extension), "0644", pair.cert_pem.clone()));
        files.push(PlainFile::new(&path("key"), "0600", pair.key_pem.expose()));
    }
}

/// A script of commands, one a line. The first that fails ends it.
fn commands(ours: &[&str], theirs: &[String]) -> String {
    let mut script = String::from("#!/bin/bash\nset -e\n");
    for command in ours.iter().copied().chain(theirs.iter().map(String::as_str)) {
        script.push_str(command);
        script.push('\n');
    }
    script
}

/// Gives all files to root, and lists those that have to be given on.
fn owned(files: Vec<PlainFile>) -> (Vec<PlainFile>, Vec<Owner>) {
    let mut owners = Vec::new();
    let files = files
        .into_iter()
        .map(|mut file| {
            if !matches!(file.owner.as_str(), "root" | "root:root") {
                owners.push(Owner {
                    path: file.path.clone(),
                    owner: std::mem::replace(&mut file.owner, DEFAULT_OWNER.to_owned()),
                });
            }
            file
        })
        .collect();
    (files, owners)
}

/// Of files with one path the last counts, and ours come after a user's.
fn last_of_each_path(files: Vec<PlainFile>) -> Vec<PlainFile> {
    let mut out: Vec<PlainFile> = Vec::with_capacity(files.len());
    for file in files {
        out.retain(|f| f.path != file.path);
        out.push(file);
    }
    out
}

/// Digest of all inputs but those that a new join changes.
fn digest(inputs: &Inputs) -> Result<String, BootstrapError> {
    let Inputs {
        flavour,
        kubernetes_version,
        cluster_name,
        node_name,
        provider_id,
        config,
        secret_files,
        network,
        remove_taints,
        fix_cgroup_mounts,
        step: _,
    } = inputs;
    let secrets: Vec<(&String, &String, String)> = secret_files
        .iter()
        .map(|((secret, key), content)| (secret, key, STANDARD.encode(Sha256::digest(content))))
        .collect();
    let all = json!([
        flavour,
        kubernetes_version,
        cluster_name,
        node_name,
        provider_id,
        config,
        secrets,
        network,
        remove_taints,
        fix_cgroup_mounts,
    ]);
    let text = serde_json::to_vec(&all).map_err(|e| BootstrapError::Field {
        field: "inputs".to_owned(),
        reason: e.to_string(),
    })?;
    Ok(hex(&Sha256::digest(text)))
}
