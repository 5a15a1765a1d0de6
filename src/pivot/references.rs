//! What a spec refers to, found by its form, so that kinds of other software need no code here. Pure.
//!
//! A reference is anything with a `kind` and a `name`; a Secret or `ConfigMap` is also meant by a field such as `dataSecretName: x` or
//! `secretRef: {name: x}`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};

use super::facts::Text;

/// What a spec says about other objects.
#[derive(Default)]
pub(super) struct References<'a> {
    /// All references, in the order of the text.
    pub(super) all: Vec<Reference<'a>>,
    /// Its `clusterName`.
    pub(super) cluster: Option<Text<'a>>,
    /// That of the machines that are made from its template.
    pub(super) template_cluster: Option<Text<'a>>,
    /// Its `providerID`.
    pub(super) provider_id: Option<Text<'a>>,
    /// Its `apiServer`.
    pub(super) api_server: Option<Text<'a>>,
    /// Whether it has `unhealthyConditions`.
    pub(super) has_conditions: bool,
}

impl References<'_> {
    /// The Cluster that it names, or whose machines its template describes.
    pub(super) fn cluster_name(&self) -> Option<&str> {
        let named = self.cluster.as_deref().filter(|name| !name.is_empty());
        named.or(self.template_cluster.as_deref().filter(|name| !name.is_empty()))
    }
}

/// One reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// API group, if it says which one.
    pub(super) group: Option<Cow<'a, str>>,
    pub(super) kind: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    /// Nothing: that of the object.
    pub(super) namespace: Option<Cow<'a, str>>,
    /// Whether it is the `infrastructureRef` of a machine or of a template of machines.
    pub(super) is_infrastructure: bool,
}

/// Where in a spec a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// It is the spec.
    Spec,
    /// It is `spec.template`.
    Template,
    /// It is `spec.template.spec`.
    TemplateSpec,
    Elsewhere,
}

/// What an object with nothing but a name is, by the field that it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    Secret,
    ConfigMap,
    Nothing,
}

impl Means {
    /// By fields as they are in Kubernetes, Cluster API and its providers.
    fn of(key: &str) -> Self {
        match key {
            "secret" | "secretRef" | "secretKeyRef" => Self::Secret,
            "configMap" | "configMapRef" | "configMapKeyRef" => Self::ConfigMap,
            _ if key.ends_with("SecretRef") => Self::Secret,
            _ if key.ends_with("ConfigMapRef") => Self::ConfigMap,
            _ => Self::Nothing,
        }
    }

    /// As a field whose value is the name.
    fn named_by(key: &str) -> Self {
        match key {
            "secretName" => Self::Secret,
            "configMapName" => Self::ConfigMap,
            _ if key.ends_with("SecretName") => Self::Secret,
            _ if key.ends_with("ConfigMapName") => Self::ConfigMap,
            _ => Self::Nothing,
        }
    }

    const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Secret => Some("Secret"),
            Self::ConfigMap => Some("ConfigMap"),
            Self::Nothing => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for References<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = References::default();
        let walk = Walk {
            found: &mut found,
            at: At::Spec,
            means: Means::Nothing,
            is_infrastructure: false,
        };
        walk.deserialize(deserializer)?;
        Ok(found)
    }
}

/// Goes through one value. Gives back the text if it is one.
struct Walk<'w, 'de> {
    found: &'w mut References<'de>,
    at: At,
    means: Means,
    is_infrastructure: bool,
}

impl<'w, 'de> Walk<'w, 'de> {
    /// What stands in a field of this value.
    fn inside<'x>(&'x mut self, key: &str) -> Walk<'x, 'de>
    where
        'w: 'x,
    {
        let at = match (self.at, key) {
            (At::Spec, "template") => At::Template,
            (At::Template, "spec") => At::TemplateSpec,
            _ => At::Elsewhere,
        };
        Walk {
            at,
            means: Means::of(key),
            is_infrastructure: key == "infrastructureRef" && matches!(self.at, At::Spec | At::TemplateSpec),
            found: &mut *self.found,
        }
    }

    /// Takes down a field.
    fn field(&mut self, key: &str, text: Option<Cow<'de, str>>, parts: &mut Parts<'de>) {
        match (self.at, key) {
            (At::Spec, "clusterName") => self.found.cluster = text.clone().map(Text),
            (At::TemplateSpec, "clusterName") => self.found.template_cluster = text.clone().map(Text),
            (At::Spec, "providerID") => self.found.provider_id = text.clone().map(Text),
            (At::Spec, "apiServer") => self.found.api_server = text.clone().map(Text),
            (At::Spec, "unhealthyConditions") => self.found.has_conditions = true,
            _ => {}
        }
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        if let Some(kind) = Means::named_by(key).kind() {
            self.found.all.push(Reference {
                group: Some(Cow::Borrowed("")),
                kind: Cow::Borrowed(kind),
                name: text,
                namespace: None,
                is_infrastructure: false,
            });
            return;
        }
        match key {
            "kind" => parts.kind = Some(text),
            "name" => parts.name = Some(text),
            "namespace" => parts.namespace = Some(text),
            "apiGroup" => parts.group = Some(text),
            "apiVersion" => {
                parts.group = Some(match text {
                    Cow::Borrowed(text) => Cow::Borrowed(group(text)),
                    Cow::Owned(text) => Cow::Owned(group(&text).to_owned()),
                });
            }
            _ => {}
        }
    }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Fields of an object that make it a reference.
#[derive(Default)]
struct Parts<'de> {
    group: Option<Cow<'de, str>>,
    kind: Option<Cow<'de, str>>,
    name: Option<Cow<'de, str>>,
    namespace: Option<Cow<'de, str>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        loop {
            let item = Walk {
                found: &mut *self.found,
                at: At::Elsewhere,
                means: self.means,
                is_infrastructure: false,
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(None);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut parts = Parts::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let text = map.next_value_seed(self.inside(&key))?;
            self.field(&key, text, &mut parts);
        }
        let Some(name) = parts.name else { return Ok(None) };
        let (group, kind) = match (parts.kind, self.means.kind()) {
            (Some(kind), _) => (parts.group, kind),
            (None, Some(kind)) => (Some(Cow::Borrowed("")), Cow::Borrowed(kind)),
            (None, None) => return Ok(None),
        };
        self.found.all.push(Reference {
            group,
            kind,
            name,
            namespace: parts.namespace,
            is_infrastructure: self.is_infrastructure,
        });
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// References of a spec as `group/kind namespace/name`.
    fn found(spec: &Value) -> Vec<String> {
        let text = spec.to_string();
        let found: References = serde_json::from_str(&text).unwrap();
        let show = |r: &Reference| {
            let part = |text: &Option<Cow<str>>| text.as_deref().unwrap_or("?").to_owned();
            format!("{}/{} {}/{}", part(&r.group), r.kind, part(&r.namespace), r.name)
        };
        found.all.iter().map(show).collect()
    }

    #[test]
    fn references_are_found_wherever_they_are() {
        assert_eq!(
            found(&json!({
                "configRef": { "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Config", "name": "c" },
                "infrastructureRef": { "kind": "DockerMachine", "name": "d", "namespace": "other" },
                "template": { "spec": { "infrastructureRef": { "apiGroup": "infrastructure.crit.sh", "kind": "T", "name": "t" } } },
                "deep": [{ "refs": [{ "apiVersion": "v1", "kind": "Secret", "name": "s" }] }],
            })),
            [
                "machine.crit.sh/Config ?/c",
                "/Secret ?/s",
                "?/DockerMachine other/d",
                "infrastructure.crit.sh/T ?/t",
            ]
        );
    }

    #[test]
    fn secrets_and_config_maps_are_meant_by_the_name_of_the_field() {
        let mut all = found(&json!({
            "bootstrap": { "dataSecretName": "b" },
            "secrets": [{ "dataSecretName": "c", "secretKeyName": "k" }],
            "secretRef": { "name": "d", "namespace": "n" },
            "credentialsSecretRef": { "name": "e" },
            "contentFrom": { "secret": { "name": "f", "key": "x" } },
            "valueFrom": { "configMapKeyRef": { "name": "g", "key": "x" } },
            "secretName": "",
            "selector": { "name": "no" },
        }));
        all.sort();
        let secrets = [
            "/Secret ?/b",
            "/Secret ?/c",
            "/Secret ?/e",
            "/Secret ?/f",
            "/Secret n/d",
        ];
        assert_eq!(all, [&["/ConfigMap ?/g"][..], &secrets].concat());
    }

    #[test]
    fn what_a_machine_or_its_template_says_of_its_place_is_told_apart() {
        let read = |spec: &Value| {
            let text = spec.to_string();
            let found: References = serde_json::from_str(&text).unwrap();
            let infrastructure = found.all.iter().filter(|r| r.is_infrastructure).count();
            (found.cluster_name().map(str::to_owned), infrastructure)
        };
        let reference = json!({ "kind": "HollowMachine", "name": "x" });
        let spec = json!({ "clusterName": "a", "infrastructureRef": reference });
        assert_eq!(read(&spec), (Some("a".into()), 1));
        assert_eq!(
            read(&json!({ "template": { "spec": spec } })),
            (Some("a".into()), 1)
        );
        assert_eq!(read(&json!({ "other": { "spec": spec } })), (None, 0));
        assert_eq!(
            read(&json!({ "clusterName": "", "template": { "spec": spec } })),
            (Some("a".into()), 1)
        );
        for odd in [
            json!(null),
            json!("text"),
            json!([1, 2.5, true, null, -1]),
            json!({ "clusterName": 3 }),
        ] {
            assert_eq!(read(&odd), (None, 0), "{odd}");
        }
    }
}
