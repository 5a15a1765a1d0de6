//! From what was observed to bootstrap data: inputs of the renderer, the Secrets that carry data and token. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::json;

use super::{
    observe::{ClusterView, ConfigView, Infrastructure, Ingredients, Observed, container_endpoint},
    plan::{TOKEN_EXPIRES, TOKEN_ID, trouble},
};
use crate::{
    api::{
        labels, names,
        v1alpha1::{ApiEndpoint, ApiServerKind, Flavour, NodeImage},
    },
    bootstrap::{self, BootstrapError, InitData, Inputs, JoinData, Rendered, Step},
    controllers::{
        config::plan::Revision,
        effect::{Effect, ObjectKey, Target, controller_reference, object},
    },
    time::{SignedDuration, Timestamp, rfc3339},
};

/// How long a token lives.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(30);
/// A token that lives no longer than this is replaced while the machine is not there.
const TOKEN_REST: SignedDuration = SignedDuration::from_mins(5);
/// Annotation on a control-plane Machine, any value: pods may run there, its taint is taken away.
pub(super) const REMOVE_TAINTS: &str = "machine.crit.sh/remove-taints";
/// Annotation on a control-plane Machine, any value: cgroup mounts are mended first (crit images).
pub(super) const FIX_CGROUP_MOUNTS: &str = "machine.crit.sh/fix-cgroup-mounts";

/// What is to be done about bootstrap data.
#[derive(Debug)]
pub(super) enum Data {
    /// It is there.
    Ready,
    /// It can't be made yet: reason and message.
    Waiting(&'static str, String),
    /// It can't be made from what the Config says.
    Invalid(String),
    /// It is made now by these effects. The fields have no counterpart.
    Made {
        effects: Vec<Effect>,
        untranslated: Vec<String>,
    },
}

/// Makes bootstrap data, if it has to be made.
pub(super) fn data(
    o: &Observed,
    infrastructure: &Infrastructure,
    ingredients: &Ingredients,
    now: Timestamp,
) -> Data {
    let (config, files) = match &ingredients.config {
        ConfigView::Found(config, files) => (config, files),
        ConfigView::Missing(name) => {
            return Data::Waiting(
                "ConfigMissing",
                format!("there is no Config \"{name}\" in this namespace"),
            );
        }
        ConfigView::NotNamed => return Data::Waiting("NoConfig", "set spec.configRef".to_owned()),
    };
    let revision = match Revision::of(&config.spec, files) {
        Ok(revision) => revision,
        Err(error) => return failed(&error),
    };
    if is_current(o, infrastructure, &revision, now) {
        return Data::Ready;
    }
    let image = match node_image(o, infrastructure, ingredients) {
        Ok(image) => image,
        Err(waiting) => return waiting,
    };
    let (step, token) = match step(o, infrastructure, ingredients) {
        Ok(step) => step,
        Err(waiting) => return waiting,
    };
    let spec = &infrastructure.object.data["spec"];
    let provider_id = spec["providerID"].as_str().map(str::to_owned);
    let container = provider_id.as_deref().and_then(|id| id.strip_prefix("docker://"));
    let annotated = |name: &str| o.machine.annotations().contains_key(name);
    let inputs = Inputs {
        flavour: image.flavour,
        kubernetes_version: image.kubernetes_version,
        cluster_name: o
            .machine
            .spec
            .cluster_name
            .clone()
            .or_else(|| spec["clusterName"].as_str().map(str::to_owned))
            .unwrap_or_else(|| "kubernetes".to_owned()),
        node_name: container.map_or_else(|| o.machine.name_any(), str::to_owned),
        provider_id,
        config: config.spec.clone(),
        secret_files: files.clone(),
        network: match &o.cluster {
            ClusterView::Found(cluster) => cluster.spec.cluster_network.clone(),
            ClusterView::NotNamed | ClusterView::Missing(_) => None,
        },
        remove_taints: annotated(REMOVE_TAINTS),
        fix_cgroup_mounts: annotated(FIX_CGROUP_MOUNTS),
        step,
    };
    match bootstrap::render(&inputs) {
        Ok(rendered) => {
            let mut effects = Vec::new();
            let expires = now + TOKEN_LIFE;
            if let Some(target) = token.as_ref().and(o.target.as_ref()) {
                effects.push(token_secret(o, target, ingredients, image.flavour, expires));
            }
            effects.push(data_secret(
                o,
                &rendered,
                &revision,
                token.map(|id| (id, expires)),
            ));
            Data::Made {
                effects,
                untranslated: rendered.untranslated,
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &BootstrapError) -> Data {
    match error {
        BootstrapError::MissingSecret { .. } => Data::Waiting("SecretMissing", error.to_string()),
        _ => Data::Invalid(error.to_string()),
    }
}

/// Whether the data that exists will do.
fn is_current(o: &Observed, infrastructure: &Infrastructure, revision: &Revision, now: Timestamp) -> bool {
    let Some(data) = &o.data else { return false };
    let lives = data
        .token_expires
        .is_none_or(|expires| expires.duration_since(now) > TOKEN_REST);
    // Once something was made from it, a change of the Config comes too late for this machine.
    let attempts = infrastructure.object.data.pointer("/status/attempts");
    let begun = attempts.and_then(serde_json::Value::as_i64).unwrap_or(0) > 0;
    lives && (begun || data.revision.as_ref() == Some(&revision.digest))
}

/// What the machine's image is.
fn node_image(
    o: &Observed,
    infrastructure: &Infrastructure,
    ingredients: &Ingredients,
) -> Result<NodeImage, Data> {
    let object = &infrastructure.object.data;
    if let Some(image) = object
        .pointer("/status/nodeImage")
        .and_then(|image| Deserialize::deserialize(image).ok())
    {
        return Ok(image);
    }
    // Kinds with an image say what it is, once somebody has looked into it.
    if object.pointer("/spec/image").is_some() {
        let kind = &infrastructure.resource.kind;
        // Where that fails, whoever looks at the Machine should read why.
        let message = trouble(&infrastructure.object)
            .unwrap_or_else(|| format!("waiting until the {kind} says what its image is"));
        return Err(Data::Waiting("WaitingForNodeImage", message));
    }
    let cluster = match &o.cluster {
        ClusterView::Found(cluster) => Some(cluster),
        ClusterView::NotNamed | ClusterView::Missing(_) => None,
    };
    let version = o
        .machine
        .spec
        .version
        .clone()
        .or_else(|| cluster.and_then(|c| c.spec.version.clone()))
        .or_else(|| cluster.and_then(|c| c.status.as_ref()?.version.clone()))
        .or_else(|| ingredients.facts.as_ref()?.version.clone());
    match version {
        Some(kubernetes_version) => Ok(NodeImage {
            flavour: Flavour::Kubeadm,
            kubernetes_version,
        }),
        None => Err(Data::Waiting(
            "NoVersion",
            "set spec.version of the Machine or its Cluster".to_owned(),
        )),
    }
}

/// Whether the machine founds its cluster or joins, and with which token.
fn step(
    o: &Observed,
    infrastructure: &Infrastructure,
    ingredients: &Ingredients,
) -> Result<(Step, Option<String>), Data> {
    let (id, secret) = &ingredients.fresh_token;
    let join = |endpoint: ApiEndpoint, ca_pem: String| {
        let join = JoinData {
            endpoint,
            ca_pem,
            token: format!("{id}.{}", secret.expose()).into(),
            control_plane: ingredients.pki.clone(),
        };
        (Step::Join(join), Some(id.clone()))
    };
    let control_plane = o.machine.is_control_plane();
    match &o.cluster {
        ClusterView::Missing(name) => Err(Data::Waiting(
            "WaitingForCluster",
            format!("there is no Cluster \"{name}\" in this namespace"),
        )),
        ClusterView::Found(cluster) if cluster.spec.api_server == ApiServerKind::Own => {
            let keys = || {
                Data::Waiting(
                    "WaitingForCluster",
                    "waiting for the Cluster's keys and endpoint".to_owned(),
                )
            };
            let endpoint = cluster.spec.control_plane_endpoint.clone().ok_or_else(keys)?;
            let ca = ingredients.ca_pem.clone().ok_or_else(keys)?;
            let ready = cluster.status.as_ref().is_some_and(|s| s.control_plane_ready);
            let founds = control_plane && o.control_plane.first() == Some(&o.machine.name_any());
            if founds && !ready {
                let pki = ingredients.pki.clone().ok_or_else(keys)?;
                let init = InitData {
                    endpoint,
                    pki,
                    extra_sans: Vec::new(),
                };
                return Ok((Step::Init(init), None));
            }
            if !ready || !o.reachable {
                return Err(Data::Waiting(
                    "WaitingForControlPlane",
                    "waiting until the cluster's API server answers".to_owned(),
                ));
            }
            Ok(join(endpoint, ca))
        }
        ClusterView::Found(_) | ClusterView::NotNamed => {
            if control_plane {
                return Err(Data::Invalid(
                    "a control-plane machine needs a Cluster with its own API server: set spec.clusterName"
                        .to_owned(),
                ));
            }
            let facts = ingredients.facts.clone().unwrap_or_default();
            let endpoint = facts.endpoint.or_else(|| container_endpoint(infrastructure));
            match (endpoint, facts.ca_pem) {
                (Some(endpoint), Some(ca)) => Ok(join(endpoint, ca)),
                _ => Err(Data::Waiting(
                    "WaitingForEndpoint",
                    "this cluster says nowhere how to join it: ConfigMap kube-public/cluster-info is missing"
                        .to_owned(),
                )),
            }
        }
    }
}

fn token_secret(
    o: &Observed,
    target: &Target,
    ingredients: &Ingredients,
    flavour: Flavour,
    expires: Timestamp,
) -> Effect {
    let (id, secret) = &ingredients.fresh_token;
    let group = match flavour {
        Flavour::Kubeadm => "system:bootstrappers:kubeadm:default-node-token",
        Flavour::Crit => "system:bootstrappers:crit:default-node-token",
    };
    let namespace = o.machine.namespace().unwrap_or_default();
    let data = [
        ("token-id", id.as_str()),
        ("token-secret", secret.expose()),
        ("expiration", &rfc3339(expires)),
        ("usage-bootstrap-authentication", "true"),
        ("usage-bootstrap-signing", "true"),
        ("auth-extra-groups", group),
        (
            "description",
            &format!("Machine {namespace}/{}", o.machine.name_any()),
        ),
    ]
    .map(|(key, value)| (key, STANDARD.encode(value)));
    Effect::Apply {
        target: target.clone(),
        object: object(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": token_name(id), "namespace": "kube-system" },
            "type": "bootstrap.kubernetes.io/token",
            "data": std::collections::BTreeMap::from(data),
        })),
    }
}

fn data_secret(
    o: &Observed,
    rendered: &Rendered,
    revision: &Revision,
    token: Option<(String, Timestamp)>,
) -> Effect {
    let machine = &o.machine;
    let mut annotations = json!({ labels::CONFIG_REVISION: revision.digest });
    if let Some((id, expires)) = token {
        annotations[TOKEN_ID] = json!(id);
        annotations[TOKEN_EXPIRES] = json!(rfc3339(expires));
    }
    Effect::Apply {
        target: Target::Management,
        object: object(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": names::bootstrap_secret(&machine.name_any()),
                "namespace": machine.namespace(),
                "annotations": annotations,
                "ownerReferences": [controller_reference(&**machine)],
            },
            "type": "Opaque",
            "data": {
                "value": STANDARD.encode(rendered.cloud_config.expose()),
                "format": STANDARD.encode("cloud-config"),
            },
        })),
    }
}

fn token_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// Takes the token away that the machine no longer needs.
pub(super) fn delete_token(o: &Observed) -> Option<Effect> {
    let id = o.data.as_ref()?.token_id.as_ref()?;
    let target = o.target.clone().filter(|_| o.reachable)?;
    Some(Effect::Delete {
        target,
        key: ObjectKey::of::<k8s_openapi::api::core::v1::Secret>(Some("kube-system"), &token_name(id)),
        uid: None,
    })
}
