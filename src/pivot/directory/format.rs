//! What the manifest says, and what files are called. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    pivot::{kinds::MovedKind, object::Object},
    pki::hex,
};

/// Name of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// The form of the directory that is written and read here.
pub(super) const VERSION: u64 = 1;
/// What the manifest says it is.
const KIND: &str = "MachineBackup";
/// Folders at the top.
pub(super) const PARTS: [&str; 2] = ["cluster", "namespaces"];
/// Names of files may have 255 bytes on common file systems; this leaves room for endings.
const LONGEST: usize = 200;
/// Longer names keep so much of their beginning, before a digest of all of them.
const BEGINNING: usize = 150;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// `MachineBackup`.
    pub kind: String,
    /// Form of the directory.
    pub format_version: u64,
    /// What wrote it: `machinectl 0.1.0`.
    pub tool: String,
    /// Where the objects were read: context and API server.
    pub source: String,
    /// When, in UTC.
    pub time: String,
    /// Who can read the objects, if they are encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Kinds of the objects.
    pub kinds: Vec<MovedKind>,
    /// The objects, in the order in which they can be made.
    pub files: Vec<Entry>,
    /// SHA-256 of all that stands above.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A file with one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Where it is, from the directory on, with `/` on every system.
    pub file: String,
    /// Number of its kind.
    pub kind: usize,
    /// Namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    /// Its name.
    pub name: Box<str>,
    /// Length of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Manifest {
    /// An empty one.
    pub(super) fn new(source: &str, time: String, kinds: &[MovedKind]) -> Self {
        Self {
            kind: KIND.to_owned(),
            format_version: VERSION,
            tool: format!("machinectl {}", env!("CARGO_PKG_VERSION")),
            source: source.to_owned(),
            time,
            recipients: Vec::new(),
            kinds: kinds.to_vec(),
            files: Vec::new(),
            digest: String::new(),
        }
    }

    /// The manifest as text, with its digest.
    pub(super) fn text(mut self) -> Result<String, serde_json::Error> {
        self.digest = self.expected()?;
        serde_json::to_string_pretty(&self).map(|text| text + "\n")
    }

    /// The digest that it must have.
    pub(super) fn expected(&self) -> Result<String, serde_json::Error> {
        let bare = Self {
            digest: String::new(),
            ..self.clone()
        };
        // As a tree: its fields are in the order of the alphabet, whatever their order in the file.
        serde_json::to_value(bare).map(|tree| digest(tree.to_string().as_bytes()))
    }
}

/// Whether a text is a manifest of ours, in whatever version: version and what wrote it.
pub(super) fn is_ours(text: &[u8]) -> Option<(u64, String)> {
    let tree: Value = serde_json::from_slice(text).ok()?;
    if tree.get("kind")?.as_str()? != KIND {
        return None;
    }
    let tool = tree.get("tool").and_then(Value::as_str).unwrap_or("unknown");
    Some((tree.get("formatVersion")?.as_u64()?, tool.to_owned()))
}

/// SHA-256 of bytes, as hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Where the file of an object is. No two objects have the same, on file systems that do not tell upper from lower case either.
pub(super) fn file_name(kind: &MovedKind, namespace: Option<&str>, name: &str, encrypted: bool) -> String {
    let place = match namespace {
        Some(namespace) => format!("namespaces/{}", part(namespace)),
        None => "cluster".to_owned(),
    };
    let ending = if encrypted { ".yaml.age" } else { ".yaml" };
    format!("{place}/{}/{}{ending}", part(&kind.full_name()), part(name))
}

/// The file of an object.
pub(super) fn file_of(kinds: &[MovedKind], object: &Object, encrypted: bool) -> Option<String> {
    let kind = kinds.get(object.kind)?;
    Some(file_name(
        kind,
        object.namespace.as_deref(),
        &object.name,
        encrypted,
    ))
}

/// A name as part of a path: small letters, digits, `-`, `_` and inner dots stand for themselves, all else is `%xx`.
fn part(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            b'.' if index > 0 => text.push('.'),
            other => text.extend(["%", &hex(&[other])]),
        }
    }
    if text.len() <= LONGEST {
        return text;
    }
    // Nothing else has a hyphen after the percent sign.
    let beginning = text.get(..BEGINNING).unwrap_or_default();
    format!("{beginning}%-{}", &digest(name.as_bytes())[..32])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_paths_that_no_file_system_mistakes() {
        let secret = MovedKind::secret();
        let path = |namespace: Option<&str>, name: &str| file_name(&secret, namespace, name, false);
        assert_eq!(
            path(Some("fleet"), "web-ca"),
            "namespaces/fleet/secrets/web-ca.yaml"
        );
        assert_eq!(path(None, "a.b"), "cluster/secrets/a.b.yaml");
        assert_eq!(path(None, "../../x"), "cluster/secrets/%2e.%2f..%2fx.yaml");
        assert_eq!(
            path(None, "System:Node"),
            "cluster/secrets/%53ystem%3a%4eode.yaml"
        );
        assert_eq!(file_name(&secret, None, "a", true), "cluster/secrets/a.yaml.age");
        let long = path(None, &"x".repeat(253));
        assert!(long.len() < 230 && long.contains("%-"), "{long}");
    }

    proptest! {
        #[test]
        fn no_two_names_have_the_same_file(names in prop::collection::btree_set("(?s).{0,8}|[aA%.]{1,6}|[xX]{195,260}", 0..20)) {
            let files: BTreeSet<String> = names.iter().map(|name| part(name).to_lowercase()).collect();
            prop_assert_eq!(files.len(), names.len());
            for file in files {
                prop_assert!(file.len() <= LONGEST && !file.contains('/') && !file.starts_with('.'));
            }
        }
    }
}
