//! What of an object matters for whether it moves: read from its text in one go, without a tree. Pure.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};

use super::references::References;

/// What of an object matters.
#[derive(Deserialize)]
pub(super) struct Facts<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
    /// What its spec refers to.
    #[serde(default, borrow)]
    pub(super) spec: References<'a>,
    #[serde(default, borrow)]
    pub(super) status: Status<'a>,
    /// Type of a Secret.
    #[serde(default, borrow, rename = "type")]
    pub(super) type_: Text<'a>,
}

/// What of its metadata matters.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta<'a> {
    #[serde(default, borrow)]
    pub(super) labels: Pairs<'a>,
    #[serde(default, borrow)]
    pub(super) annotations: Pairs<'a>,
    #[serde(default, borrow)]
    pub(super) owner_references: Vec<Owner<'a>>,
}

/// An owner, as an object names it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner<'a> {
    #[serde(default, borrow)]
    pub(super) api_version: Text<'a>,
    #[serde(default, borrow)]
    pub(super) kind: Text<'a>,
    #[serde(default, borrow)]
    pub(super) name: Text<'a>,
    #[serde(default, borrow)]
    pub(super) uid: Text<'a>,
    #[serde(default)]
    pub(super) controller: bool,
}

impl Owner<'_> {
    /// Its API group; empty for the core group.
    pub(super) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// `Foo.example.com a`.
    pub(super) fn describe(&self) -> String {
        let group = self.group();
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group} {}", &*self.kind, &*self.name)
    }
}

/// Text that is borrowed from the object where it has no escapes. What is no text is taken for an empty one.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Labels or annotations: their keys and values, in the order of the text.
#[derive(Default)]
pub(super) struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Pairs<'_> {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| **k == *key)
            .map(|(_, value)| &**value)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels or annotations")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What of its status matters.
#[derive(Default)]
pub(super) struct Status<'a> {
    /// Secret with what was made from it (Config: `status.dataSecretName`).
    pub(super) data_secret: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Status<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Status<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Status::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut status = Status::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if &*key == "dataSecretName" {
                        status.data_secret = map.next_value()?;
                    } else {
                        let IgnoredAny = map.next_value()?;
                    }
                }
                Ok(status)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
