//! Any sensible requests on three objects of three kinds.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The kinds: one that is only stored, one that is checked and defaulted, one whose definition says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    ConfigMap,
    Deployment,
    Thing,
}

/// All kinds.
pub(super) const KINDS: [Kind; 3] = [Kind::ConfigMap, Kind::Deployment, Kind::Thing];

/// Which version of the object a write names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// None.
    Nothing,
    /// That which was told last.
    Last,
    /// The one before.
    Stale,
}

/// What is done to an object.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Create,
    Update(Known),
    Merge(Known),
    Json,
    Strategic,
    Apply { manager: u8, force: bool },
    Status,
    Delete { right_uid: bool },
    DeleteAll,
    Get,
    List,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) name: u8,
    pub(super) deed: Deed,
    /// What it writes.
    pub(super) content: Content,
    pub(super) dry_run: bool,
}

/// What a write says; each kind has places for it.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) label: Option<u8>,
    pub(super) number: Option<u8>,
    pub(super) texts: Vec<(u8, u8)>,
    pub(super) finalizer: bool,
}

impl Kind {
    /// Path of the collection.
    pub(super) fn path(self, namespace: &str) -> String {
        match self {
            Self::ConfigMap => format!("/api/v1/namespaces/{namespace}/configmaps"),
            Self::Deployment => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            Self::Thing => format!("/apis/anything.example.com/v1/namespaces/{namespace}/things"),
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMap => ("v1", "ConfigMap"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::Thing => ("anything.example.com/v1", "Thing"),
        }
    }
}

impl Content {
    fn metadata(&self) -> Value {
        let mut metadata = json!({});
        if let Some(label) = self.label {
            metadata["labels"] = json!({"on": format!("v{label}")});
        }
        if self.finalizer {
            metadata["finalizers"] = json!(["case.test/hold"]);
        }
        metadata
    }

    /// What it says of an object besides the metadata.
    fn fields(&self, kind: Kind) -> Value {
        let texts: serde_json::Map<String, Value> = self
            .texts
            .iter()
            .map(|(k, v)| (format!("k{k}"), json!(format!("v{v}"))))
            .collect();
        let parts: Vec<Value> = texts.iter().map(|(k, v)| json!({"name": k, "text": v})).collect();
        match kind {
            Kind::ConfigMap if texts.is_empty() => json!({}),
            Kind::ConfigMap => json!({"data": texts}),
            Kind::Deployment => json!({"spec": self.number.map_or(json!({}), |n| json!({"replicas": n}))}),
            Kind::Thing => {
                let mut spec = json!({"parts": parts});
                if let Some(n) = self.number {
                    spec["number"] = n.into();
                }
                json!({"spec": spec})
            }
        }
    }

    /// What a patch of these fields is.
    pub(super) fn patch(&self, kind: Kind) -> Value {
        let mut patch = self.fields(kind);
        patch["metadata"] = self.metadata();
        patch
    }

    /// The whole object.
    pub(super) fn object(&self, kind: Kind, name: &str) -> Value {
        let mut object = self.patch(kind);
        let (version, of) = kind.names();
        object["apiVersion"] = version.into();
        object["kind"] = of.into();
        object["metadata"]["name"] = name.into();
        if kind == Kind::Deployment {
            object["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
            let containers: Vec<Value> = (0..=self.texts.len())
                .map(|n| json!({"name": format!("c{n}"), "image": "i"}))
                .collect();
            object["spec"]["template"] =
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}});
        }
        object
    }

    /// The same as operations.
    pub(super) fn operations(&self, kind: Kind) -> Value {
        let label = self
            .label
            .map(|l| json!({"op": "add", "path": "/metadata/labels", "value": {"on": format!("v{l}")}}));
        let number = self.number.filter(|_| kind != Kind::ConfigMap).map(|n| {
            let (at, op) = if kind == Kind::Thing {
                ("number", "add")
            } else {
                ("replicas", "replace")
            };
            json!({"op": op, "path": format!("/spec/{at}"), "value": n})
        });
        Value::Array(label.into_iter().chain(number).collect())
    }
}

/// What says as little as can be.
pub(super) fn plain() -> Content {
    Content {
        label: None,
        number: None,
        texts: Vec::new(),
        finalizer: false,
    }
}

fn content() -> impl Strategy<Value = Content> {
    (
        prop::option::of(0..3u8),
        prop::option::of(1..4u8),
        prop::collection::btree_map(0..3u8, 0..3u8, 0..3),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(label, number, texts, finalizer)| Content {
            label,
            number,
            texts: texts.into_iter().collect(),
            finalizer,
        })
}

fn known() -> impl Strategy<Value = Known> {
    prop_oneof![Just(Known::Nothing), Just(Known::Last), Just(Known::Stale)]
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![
        6 => Just(Deed::Create),
        3 => known().prop_map(Deed::Update),
        4 => known().prop_map(Deed::Merge),
        3 => Just(Deed::Json),
        3 => Just(Deed::Strategic),
        8 => (0..3u8, any::<bool>()).prop_map(|(manager, force)| Deed::Apply { manager, force }),
        2 => Just(Deed::Status),
        2 => any::<bool>().prop_map(|right_uid| Deed::Delete { right_uid }),
        1 => Just(Deed::DeleteAll),
        2 => Just(Deed::Get),
        1 => Just(Deed::List),
    ];
    (
        prop::sample::select(&KINDS[..]),
        0..3u8,
        deed,
        content(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(kind, name, deed, content, dry_run)| Step {
            kind,
            name,
            deed,
            content,
            dry_run,
        })
}

/// Any sequence of requests.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..40)
}
