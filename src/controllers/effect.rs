//! What a planner can ask for: effects, a status, and when to look again. Values only, no I/O; secrets are never shown.

use std::fmt;

use k8s_openapi::{
    api::{
        certificates::v1::CertificateSigningRequest,
        core::v1::{ObjectReference, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use crate::{providers::InstanceSpec, time::SignedDuration};

/// A Cluster object, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Which API server an effect goes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// The one that holds the objects.
    Management,
    /// That of a workload cluster.
    Cluster(ClusterKey),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Management => f.write_str("management cluster"),
            Self::Cluster(key) => write!(f, "cluster {key}"),
        }
    }
}

/// One object of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectKey {
    pub(crate) resource: ApiResource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl ObjectKey {
    /// Names an object of a kind that is known at compile time.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: &str) -> Self {
        Self {
            resource: ApiResource::erase::<K>(&()),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Names the object that it is given.
    pub(crate) fn to<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::of::<K>(object.meta().namespace.as_deref(), &object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.resource.kind, self.name),
            None => write!(f, "{} {}", self.resource.kind, self.name),
        }
    }
}

/// One pod: another one that gets the same name is not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl PodKey {
    /// Names the pod that it is given.
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Something worth telling people: becomes an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Notice {
    /// Says that something went as it should.
    pub(crate) fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// Says that something did not.
    pub(crate) fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::normal(reason, message)
        }
    }
}

/// One thing to do. Doing it twice is the same as doing it once.
#[derive(Clone, PartialEq)]
pub(crate) enum Effect {
    /// Puts a finalizer on the planned object, if that has not changed in between.
    AddFinalizer(&'static str),
    /// Takes a finalizer off the planned object. Nothing follows it.
    RemoveFinalizer(&'static str),
    /// Changes fields of an object by a merge patch. With a `resourceVersion` in it: only if it has not changed in between.
    /// An object that is gone is a success when `optional`.
    Patch {
        target: Target,
        key: ObjectKey,
        patch: Value,
        optional: bool,
    },
    /// Server-side apply, taking over fields of others.
    Apply {
        target: Target,
        object: Box<DynamicObject>,
    },
    /// Makes an object. One that exists already stays as it is.
    Create {
        target: Target,
        object: Box<DynamicObject>,
    },
    /// Makes an object, and after it those that it owns: they get a reference to it as their controller. If the object exists already,
    /// nothing is made; whoever plans sees what is missing in the next look.
    CreateOwned {
        target: Target,
        object: Box<DynamicObject>,
        owned: Vec<DynamicObject>,
    },
    /// Several of the effects on objects, some at a time and in no order. All are tried; the failures are told together.
    Together(Vec<Self>),
    /// Deletes an object; with a UID only that one. An object that is gone is a success.
    Delete {
        target: Target,
        key: ObjectKey,
        uid: Option<String>,
    },
    /// Asks for the eviction of pods, some at a time. What each was answered is given back and remembered; a refusal is no error.
    Evict {
        target: Target,
        pods: Vec<PodKey>,
        /// Seconds that each gets for its end; nothing: what the pod says itself.
        grace: Option<u32>,
    },
    /// Writes the conditions of a certificate request through its subresource `approval`, if it has not changed in between.
    Approve {
        target: Target,
        request: Box<CertificateSigningRequest>,
    },
    /// Makes an instance.
    CreateInstance(Box<InstanceSpec>),
    /// Removes an instance.
    DeleteInstance(Box<InstanceSpec>),
    /// Changes part of the status of an object by server-side apply. An object that is gone is a success.
    ApplyStatus { key: ObjectKey, status: Value },
    /// Writes an Event about the planned object.
    Emit(Notice),
    /// Writes an Event about another object.
    EmitAbout(Box<ObjectReference>, Notice),
}

impl Effect {
    /// The API server that it goes to, as far as that may be another one than that of the planned object.
    pub(crate) fn target(&self) -> Option<&Target> {
        match self {
            Self::Patch { target, .. }
            | Self::Apply { target, .. }
            | Self::Create { target, .. }
            | Self::CreateOwned { target, .. }
            | Self::Delete { target, .. }
            | Self::Evict { target, .. }
            | Self::Approve { target, .. } => Some(target),
            Self::Together(all) => all.iter().find_map(Self::target),
            Self::AddFinalizer(_)
            | Self::RemoveFinalizer(_)
            | Self::CreateInstance(_)
            | Self::DeleteInstance(_)
            | Self::ApplyStatus { .. }
            | Self::Emit(_)
            | Self::EmitAbout(..) => None,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |object: &DynamicObject| {
            let kind = object.types.as_ref().map_or("object", |t| t.kind.as_str());
            match object.namespace() {
                Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
                None => format!("{kind} {}", object.name_any()),
            }
        };
        match self {
            Self::AddFinalizer(name) => write!(f, "add finalizer {name}"),
            Self::RemoveFinalizer(name) => write!(f, "remove finalizer {name}"),
            Self::Patch {
                target, key, patch, ..
            } => {
                // Secrets are applied or created, never patched: a patch can be shown.
                write!(f, "patch {key} in {target}: {patch}")
            }
            Self::Apply { target, object } => write!(f, "apply {} in {target}", named(object)),
            Self::Create { target, object } => write!(f, "create {} in {target}", named(object)),
            Self::CreateOwned {
                target,
                object,
                owned,
            } => {
                write!(f, "create {} in {target}", named(object))?;
                owned.iter().try_for_each(|o| write!(f, " with {}", named(o)))
            }
            Self::Together(all) => {
                f.write_str("together: ")?;
                all.iter().enumerate().try_for_each(|(i, effect)| {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{effect}")
                })
            }
            Self::Delete { target, key, .. } => write!(f, "delete {key} in {target}"),
            Self::Evict { target, pods, .. } => {
                f.write_str("evict")?;
                pods.iter().enumerate().try_for_each(|(i, pod)| {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma} Pod {pod}")
                })?;
                write!(f, " in {target}")
            }
            Self::Approve { target, request } => {
                let name = request.name_any();
                write!(f, "approve CertificateSigningRequest {name} in {target}")
            }
            Self::CreateInstance(spec) => {
                write!(f, "create instance of {} (try {})", spec.key.name, spec.attempt)
            }
            Self::DeleteInstance(spec) => write!(f, "delete instance of {}", spec.key.name),
            Self::ApplyStatus { key, status } => write!(f, "apply to the status of {key}: {status}"),
            Self::Emit(notice) => write!(f, "event {}: {}", notice.reason, notice.message),
            Self::EmitAbout(about, notice) => {
                let kind = about.kind.as_deref().unwrap_or("object");
                let name = about.name.as_deref().unwrap_or_default();
                write!(
                    f,
                    "event {} about {kind} {name}: {}",
                    notice.reason, notice.message
                )
            }
        }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When to look at an object again if nothing happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When something changes; in any case after ten minutes, in case an event was lost.
    OnChange,
    /// After this time.
    After(SignedDuration),
}

impl Requeue {
    /// Returns the one that comes first.
    #[must_use]
    pub(crate) fn or_sooner(self, after: SignedDuration) -> Self {
        match self {
            Self::After(own) if own <= after => self,
            _ => Self::After(after),
        }
    }
}

/// What to do about an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// In this order; the first failure ends it.
    pub(crate) effects: Vec<Effect>,
    /// The whole status that the object should have; nothing leaves it as it is.
    pub(crate) status: Option<Value>,
    /// When to look again.
    pub(crate) requeue: Requeue,
}

impl Plan {
    /// A plan that does nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            effects: Vec::new(),
            status: None,
            requeue: Requeue::OnChange,
        }
    }
}

/// Makes a reference that leads from an object to another.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: object.meta().name.clone(),
        namespace: object.meta().namespace.clone(),
        uid: object.meta().uid.clone(),
        ..ObjectReference::default()
    }
}

/// Makes a reference by which an object says who controls it.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Makes an object from JSON that this program wrote itself.
pub(crate) fn object(value: Value) -> Box<DynamicObject> {
    Box::new(serde_json::from_value(value).expect("invariant: an object with kind and metadata"))
}

/// Leaves out texts that are empty: they say as much as none, and some builds of old API servers take them for nulls.
pub(crate) fn without_empty_texts(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| *v != "")
            .map(|(k, v)| (k.clone(), without_empty_texts(v)))
            .collect(),
        Value::Array(list) => list.iter().map(without_empty_texts).collect(),
        other => other.clone(),
    }
}

/// Whether two statuses say the same, whatever their times. An empty text says as much as none.
pub(crate) fn same_status(a: &Value, b: &Value) -> bool {
    const TIMES: [&str; 2] = ["lastTransitionTime", "lastUpdated"];
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |m: &serde_json::Map<String, Value>| {
                m.iter()
                    .filter(|(k, v)| !v.is_null() && *v != "" && !TIMES.contains(&k.as_str()))
                    .map(|(k, _)| k.clone())
                    .collect::<Vec<_>>()
            };
            let (mut left, mut right) = (keys(a), keys(b));
            left.sort();
            right.sort();
            left == right && left.iter().all(|k| same_status(&a[k], &b[k]))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_status(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_compared_without_times_and_nulls() {
        let a = json!({"phase": "Running", "lastUpdated": "a", "conditions": [{"type": "Ready", "lastTransitionTime": "1"}], "x": null});
        let b = json!({"phase": "Running", "conditions": [{"type": "Ready", "lastTransitionTime": "2"}]});
        assert!(same_status(&a, &b));
        assert!(!same_status(&a, &json!({"phase": "Running", "conditions": []})));
        assert!(!same_status(&a, &json!({"phase": "Failed"})));
        let with = json!({"conditions": [{"type": "Ready", "message": ""}]});
        let without = without_empty_texts(&with);
        assert_eq!(without, json!({"conditions": [{"type": "Ready"}]}));
        assert!(same_status(&with, &without));
    }

    #[test]
    fn an_effect_never_shows_a_secret() {
        let secret: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "stringData": {"value": "hidden-thing"}
        }))
        .unwrap();
        let shown = format!(
            "{:?}",
            Effect::Apply {
                target: Target::Management,
                object: Box::new(secret)
            }
        );
        assert_eq!(shown, "apply Secret n/s in management cluster");
    }

    #[test]
    fn the_sooner_requeue_wins() {
        let s = SignedDuration::from_secs;
        assert_eq!(Requeue::OnChange.or_sooner(s(5)), Requeue::After(s(5)));
        assert_eq!(Requeue::After(s(2)).or_sooner(s(5)), Requeue::After(s(2)));
        assert_eq!(Requeue::After(s(9)).or_sooner(s(5)), Requeue::After(s(5)));
    }
}
