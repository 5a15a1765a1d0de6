//! An object as it is carried from one API server to another: its text. A tree of each of 100,000 objects would take many times the room.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{facts::Text, kinds::MovedKind};

/// An object as an API server wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Which of the moved kinds it is of.
    pub kind: usize,
    /// Its namespace; nothing if it stands outside of namespaces.
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID where it was read.
    pub uid: Box<str>,
    /// Its resource version where it was read.
    pub resource_version: Box<str>,
    /// The whole object, status and managed fields included, as JSON: for a move as the API server wrote it, for files without white space and
    /// with fields in the order of the alphabet.
    pub text: Box<str>,
}

/// What is to be known of an object before anything else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(default, borrow, deserialize_with = "said")]
    api_version: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "said")]
    kind: Option<Text<'a>>,
    #[serde(default, borrow)]
    metadata: HeadMeta<'a>,
}

/// Reads a field that is there, whatever it says.
fn said<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'a>>, D::Error> {
    Text::deserialize(deserializer).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta<'a> {
    #[serde(default, borrow)]
    namespace: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    uid: Text<'a>,
    #[serde(default, borrow)]
    resource_version: Text<'a>,
}

/// Why something is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoObject {
    /// There is no such field, or it is no text.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// It is no JSON.
    #[error("it is no JSON (column {column})")]
    Json {
        /// Where.
        column: usize,
    },
    /// It is of another kind.
    #[error("it is of another kind or version")]
    OtherKind,
}

impl Object {
    /// Takes an object in. Items of lists may not say of which kind they are: they are made to.
    ///
    /// # Errors
    /// Fails if it has no name.
    pub fn new(index: usize, kind: &MovedKind, mut value: Value) -> Result<Self, NoObject> {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), kind.api_version().into());
            fields.insert("kind".to_owned(), kind.kind.clone().into());
        }
        let text = value.to_string().into();
        Self::of(index, &value, text)
    }

    /// As [`Self::new`], but the text stays as the API server wrote it, and no tree is made of it.
    ///
    /// # Errors
    /// Fails if it has no name.
    pub(super) fn as_written(index: usize, kind: &MovedKind, written: &str) -> Result<Self, NoObject> {
        let head: Option<Head> = serde_json::from_str(written).ok();
        let text = match &head {
            Some(Head {
                api_version: None,
                kind: None,
                metadata,
            }) if !metadata.name.is_empty() => typed(kind, written),
            Some(head) if head.says(kind) => Some(written.into()),
            _ => None,
        };
        let (Some(Head { metadata, .. }), Some(text)) = (&head, text) else {
            let value = serde_json::from_str(written).map_err(|e| NoObject::Json { column: e.column() })?;
            return Self::new(index, kind, value);
        };
        let found = |text: &Text| (!text.is_empty()).then(|| Box::from(&**text));
        Ok(Self {
            kind: index,
            namespace: found(&metadata.namespace),
            name: found(&metadata.name).ok_or(NoObject::Missing("metadata.name"))?,
            uid: found(&metadata.uid).unwrap_or_default(),
            resource_version: found(&metadata.resource_version).unwrap_or_default(),
            text,
        })
    }

    /// Takes an object in whose text is to stay as it is.
    ///
    /// # Errors
    /// Fails if it is not JSON, of another kind, or has no name.
    pub fn from_text(index: usize, kind: &MovedKind, text: Box<str>) -> Result<Self, NoObject> {
        let value: Value = serde_json::from_str(&text).map_err(|e| NoObject::Json { column: e.column() })?;
        let says = |field: &str, what: &str| value.get(field).and_then(Value::as_str) == Some(what);
        if !says("apiVersion", &kind.api_version()) || !says("kind", &kind.kind) {
            return Err(NoObject::OtherKind);
        }
        Self::of(index, &value, text)
    }

    fn of(index: usize, value: &Value, whole: Box<str>) -> Result<Self, NoObject> {
        let text = |field: &str| {
            value
                .pointer(field)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(Box::from)
        };
        Ok(Self {
            kind: index,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").ok_or(NoObject::Missing("metadata.name"))?,
            uid: text("/metadata/uid").unwrap_or_default(),
            resource_version: text("/metadata/resourceVersion").unwrap_or_default(),
            text: whole,
        })
    }

    /// Reads the object as a tree.
    ///
    /// # Errors
    /// Fails if the text is no JSON; texts of this program are.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// Whether it is the same object as another one, in the same version.
    pub(super) fn is_version_of(&self, other: &Self) -> bool {
        let known = !self.uid.is_empty() && !self.resource_version.is_empty();
        known && self.uid == other.uid && self.resource_version == other.resource_version
    }

    /// Names it for people: `Machine.machine.crit.sh fleet/web-1`.
    pub fn key(&self, kinds: &[MovedKind]) -> String {
        match kinds.get(self.kind) {
            Some(kind) => format!("{kind} {}", self.address()),
            None => self.address(),
        }
    }

    /// Namespace and name: `fleet/web-1`, or `web-1` outside of namespaces.
    pub fn address(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.to_string(),
        }
    }
}

impl Head<'_> {
    fn says(&self, kind: &MovedKind) -> bool {
        let is = |said: &Option<Text>, what: &str| said.as_ref().is_some_and(|said| **said == *what);
        is(&self.api_version, &kind.api_version()) && is(&self.kind, &kind.kind)
    }
}

/// The text of an object that has fields, with its kind before them.
fn typed(kind: &MovedKind, text: &str) -> Option<Box<str>> {
    let fields = text.strip_prefix('{')?;
    let version = kind.api_version();
    Some(format!(r#"{{"apiVersion":"{version}","kind":"{}",{fields}"#, kind.kind).into())
}

/// Shows no content: it may be a Secret's.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Object(kind {}, {}, {} bytes)",
            self.kind,
            self.address(),
            self.text.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_of_a_list_learns_its_kind_and_shows_no_content() {
        let item = json!({"metadata": {"name": "demo-ca", "namespace": "fleet", "uid": "u"}, "data": {"tls.key": "c2VjcmV0"}});
        let kinds = [MovedKind::secret()];
        let object = Object::new(0, &kinds[0], item).unwrap();
        assert_eq!(object.key(&kinds), "Secret fleet/demo-ca");
        assert_eq!(object.value().unwrap()["apiVersion"], "v1");
        assert!(object.text.contains("c2VjcmV0"));
        assert!(!format!("{object:?}").contains("c2VjcmV0"), "{object:?}");
    }

    #[test]
    fn numbers_stay_what_they_are() {
        let numbers = [
            "0.30000000000000004",
            "90.42225290942383",
            "42.215889504792884",
            "1.7976931348623157e+308",
            "5e-324",
            "0.1",
            "18446744073709551615",
            "-9223372036854775808",
        ];
        for number in numbers {
            let text =
                format!(r#"{{"apiVersion":"v1","data":{number},"kind":"Secret","metadata":{{"name":"a"}}}}"#);
            let object = Object::from_text(0, &MovedKind::secret(), text.as_str().into()).unwrap();
            let again = Object::new(0, &MovedKind::secret(), object.value().unwrap()).unwrap();
            assert_eq!(&*again.text, text);
        }
    }

    proptest::proptest! {
        #[test]
        fn floats_stay_what_they_are(bits: u64) {
            let float = f64::from_bits(bits);
            proptest::prop_assume!(float.is_finite());
            let read: Value = serde_json::from_str(&json!(float).to_string()).unwrap();
            proptest::prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(bits));
        }
    }

    #[test]
    fn an_item_that_is_taken_as_it_was_written_says_the_same() {
        let kind = MovedKind::secret();
        for item in [
            r#"{"metadata":{"name":"a","namespace":"fleet","uid":"u","resourceVersion":"7"},"data":{"b":"Yg==","a":"\u0061"}}"#,
            r#"{ "kind": "Secret", "apiVersion": "v1", "metadata": { "uid": "u\"", "name": "a" }, "n": 0.1 }"#,
            r#"{"kind":"","apiVersion":"","metadata":{"name":"a"}}"#,
            r#"{"kind":"List","metadata":{"name":"a"}}"#,
            r#"{"kind":null,"metadata":{"name":"a","namespace":null}}"#,
            r#"{"apiVersion":3,"metadata":{"name":"a","uid":7}}"#,
            r#"{"data":{"kind":""},"metadata":{"name":"a"}}"#,
            "{}",
            r#"{"metadata":{}}"#,
            "3",
        ] {
            let written = Object::as_written(0, &kind, item);
            let read = Object::new(0, &kind, serde_json::from_str(item).unwrap());
            assert_eq!(written.is_ok(), read.is_ok(), "{item}");
            if let (Ok(written), Ok(read)) = (written, read) {
                assert_eq!(written.value().unwrap(), read.value().unwrap(), "{item}");
                let text = read.text.clone();
                assert_eq!(Object { text, ..written }, read, "{item}");
            }
        }
    }

    #[test]
    fn no_key_means_something_else_than_it_says() {
        let item = r#"{"$serde_json::private::RawValue":"{}","metadata":{"name":"a","annotations":{"$serde_json::private::RawValue":"{\"b\":1}"}}}"#;
        let object = Object::as_written(0, &MovedKind::secret(), item).unwrap();
        let value = object.value().unwrap();
        let key = "$serde_json::private::RawValue";
        assert_eq!(value[key], "{}");
        assert_eq!(value["metadata"]["annotations"], json!({ key: "{\"b\":1}" }));
    }

    #[test]
    fn what_has_no_name_is_no_object() {
        let refused = Object::new(0, &MovedKind::secret(), json!({"metadata": {}}));
        assert_eq!(refused, Err(NoObject::Missing("metadata.name")));
        assert!(Object::new(0, &MovedKind::secret(), json!(3)).is_err());
        let from = |text: &str| Object::from_text(0, &MovedKind::secret(), text.into());
        assert_eq!(from("{"), Err(NoObject::Json { column: 1 }));
        assert_eq!(
            from(r#"{"apiVersion":"v1","kind":"Pod"}"#),
            Err(NoObject::OtherKind)
        );
        assert_eq!(
            &*from(r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#)
                .unwrap()
                .name,
            "a"
        );
    }
}
