//! What is installed in a cluster: kept there as a `ConfigMap`, so that a later version knows what it finds. Pure.

use std::{cmp::Ordering, collections::BTreeMap};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    INVENTORY, NAMESPACE, VERSION,
    objects::{self, ObjectName, Provider, Request, Scope},
};
use crate::api::registry;

/// Whether what is installed is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is.
    Installed,
    /// An upgrade to this version was begun.
    Upgrading(String),
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Version of the program that installed it, for example `v0.1.0`.
    pub version: String,
    /// Whether it is whole.
    pub state: State,
    /// Image of the controllers; nothing where none are installed.
    pub image: Option<String>,
    /// Providers that the controllers are set up for.
    pub providers: Vec<Provider>,
    /// Everything but the definitions and the inventory.
    pub(super) objects: Vec<ObjectName>,
    /// The version in which objects of each definition are stored, by the definition's name.
    pub definitions: BTreeMap<String, String>,
}

impl Inventory {
    /// What there is after a request was carried out.
    pub fn of(request: &Request) -> Self {
        Self {
            version: VERSION.to_owned(),
            state: State::Installed,
            image: (request.scope == Scope::Controllers).then(|| request.image.clone()),
            providers: request.providers.clone(),
            objects: objects::objects(request).iter().map(ObjectName::of).collect(),
            definitions: registry::crds()
                .iter()
                .map(|crd| (crd.name_any(), storage_version(crd).unwrap_or_default()))
                .collect(),
        }
    }

    /// Returns the `ConfigMap`.
    pub fn object(&self) -> Value {
        let providers: Vec<_> = self.providers.iter().map(|p| p.word()).collect();
        let mut data = json!({
            "version": self.version,
            "providers": providers.join(","),
            "objects": lines(self.objects.iter().map(ObjectName::line)),
            "definitions": lines(self.definitions.iter().map(|(name, version)| format!("{name} {version}"))),
        });
        data["state"] = match &self.state {
            State::Installed => json!("Installed"),
            State::Upgrading(version) => json!(format!("Upgrading {version}")),
        };
        if let Some(image) = &self.image {
            data["image"] = json!(image);
        }
        let rest = json!({ "data": data });
        objects::with_digest(objects::object(
            "v1",
            "ConfigMap",
            Some(NAMESPACE),
            INVENTORY,
            rest,
        ))
    }

    /// Reads a `ConfigMap`. What a newer version wrote and this one does not know is left out; nothing, if it has no version.
    pub fn parse(object: &Value) -> Option<Self> {
        let text = |key: &str| object["data"][key].as_str().unwrap_or_default();
        let version = Some(text("version")).filter(|v| !v.is_empty())?.to_owned();
        let state = match text("state").strip_prefix("Upgrading ") {
            Some(to) => State::Upgrading(to.to_owned()),
            None => State::Installed,
        };
        let definitions = text("definitions").lines().filter_map(|line| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        });
        Some(Self {
            version,
            state,
            image: Some(text("image").to_owned()).filter(|i| !i.is_empty()),
            providers: text("providers")
                .split(',')
                .filter_map(|p| p.parse().ok())
                .collect(),
            objects: text("objects").lines().filter_map(ObjectName::parse).collect(),
            definitions: definitions.collect(),
        })
    }

    /// Compares what is installed with this program.
    pub fn age(&self) -> Ordering {
        compare(&self.version, VERSION)
    }
}

impl Inventory {
    /// Whether an older version of the program was installed than there.
    pub fn is_older_than(&self, other: &Self) -> bool {
        compare(&self.version, &other.version) == Ordering::Less
    }
}

/// One below the other, with a line break at the end.
fn lines(all: impl Iterator<Item = String>) -> String {
    all.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// The version in which objects are stored.
pub(super) fn storage_version(crd: &CustomResourceDefinition) -> Option<String> {
    let stored = crd.spec.versions.iter().find(|v| v.storage);
    stored.map(|v| v.name.clone())
}

/// Compares versions: numbers first; a version with something after a hyphen comes before the one without (Semantic Versioning).
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.trim_start_matches('v');
        let text = text.split_once('+').map_or(text, |(before, _)| before);
        let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        (numbers, pre.is_empty(), pre.to_owned())
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_comes_back_as_it_was_written() {
        for scope in [Scope::Inventory, Scope::Controllers] {
            let mut inventory = Inventory::of(&Request::new(scope, Provider::ALL.to_vec(), "i:v1"));
            assert_eq!(Inventory::parse(&inventory.object()).unwrap(), inventory);
            inventory.state = State::Upgrading("v9.0.0".into());
            assert_eq!(Inventory::parse(&inventory.object()).unwrap(), inventory);
        }
        assert_eq!(Inventory::parse(&json!({ "data": {} })), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (a, b) in [
            ("v0.9.0", "v0.10.0"),
            ("0.1.0", "v0.1.1"),
            ("v0.1.0-rc.1", "v0.1.0"),
            ("v0.1.0", "v1"),
        ] {
            assert_eq!(compare(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(compare("v0.1.0+build", "0.1.0"), Ordering::Equal);
    }
}
