//! A management cluster on paper, for tests: kinds and objects that are told in a few words.

use serde_json::{Value, json};

use super::{
    kinds::{MovedKind, Role},
    object::Object,
};
use crate::client::kinds as known;

/// Kinds and objects of a management cluster.
pub(super) struct Paper {
    pub(super) kinds: Vec<MovedKind>,
    pub(super) objects: Vec<Object>,
}

impl std::fmt::Debug for Paper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.objects.iter().map(|o| &o.text))
            .finish()
    }
}

impl Paper {
    /// One with all kinds of this program, and some of others.
    pub(super) fn new() -> Self {
        let own = known::own().map(|k| MovedKind {
            role: if k.kind == "Cluster" {
                Role::Root
            } else {
                Role::Forced
            },
            group: k.group,
            version: k.version,
            kind: k.kind,
            plural: k.plural,
            namespaced: k.namespaced,
            has_status: true,
            own: true,
        });
        let foreign = |kind: &str, namespaced: bool, role: Role| MovedKind {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
            namespaced,
            has_status: true,
            role,
            own: false,
        };
        let mut kinds: Vec<MovedKind> = own.collect();
        kinds.extend([
            foreign("FooMachine", true, Role::Linked),
            foreign("Identity", false, Role::Linked),
            foreign("Host", true, Role::Forced),
            foreign("Pool", true, Role::Root),
            MovedKind::secret(),
            MovedKind::config_map(),
            MovedKind::node(),
        ]);
        Self {
            kinds,
            objects: Vec::new(),
        }
    }

    fn kind(&self, name: &str) -> (usize, &MovedKind) {
        let mut all = self.kinds.iter().enumerate();
        all.find(|(_, k)| k.kind == name).unwrap()
    }

    /// Adds an object, `Machine fleet/web-1`. `more` is merged into it; `owners` of metadata are written in the same words, the first one is the
    /// controller.
    pub(super) fn add(&mut self, key: &str, mut more: Value) -> usize {
        let (kind, address) = key.split_once(' ').unwrap();
        let (namespace, name) = match address.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, address),
        };
        let mut owners: Vec<Value> = Vec::new();
        for owner in more["owners"].take().as_array().into_iter().flatten() {
            let owner = owner.as_str().unwrap();
            let (kind, address) = owner.split_once(' ').unwrap();
            let known = self.kinds.iter().find(|k| k.kind == kind);
            let api_version =
                known.map_or_else(|| "unknown.example.com/v1".to_owned(), MovedKind::api_version);
            let name = address.rsplit('/').next().unwrap();
            owners.push(json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": owner, "controller": owners.is_empty() }));
        }
        let mut value = json!({
            "metadata": { "name": name, "uid": key, "resourceVersion": "1" },
        });
        if let Some(namespace) = namespace {
            value["metadata"]["namespace"] = namespace.into();
        }
        if !owners.is_empty() {
            value["metadata"]["ownerReferences"] = owners.into();
        }
        for field in ["labels", "annotations"] {
            if !more[field].is_null() {
                value["metadata"][field] = more[field].take();
            }
        }
        for (field, content) in more
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, v)| !v.is_null())
        {
            value[field] = content.clone();
        }
        let (index, kind) = self.kind(kind);
        let object = Object::new(index, kind, value).unwrap();
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// The words for an object.
    pub(super) fn words(&self, index: usize) -> String {
        let object = &self.objects[index];
        format!("{} {}", self.kinds[object.kind].kind, object.address())
    }
}

/// A reference by kind and name.
pub(super) fn to(key: &str) -> Value {
    let (kind, name) = key.split_once(' ').unwrap();
    json!({ "kind": kind, "name": name })
}
