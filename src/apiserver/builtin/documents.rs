//! What is made of a whole set of resources, such as `OpenAPI`: bytes, made once and kept as long as the set is.
//! It must not know what documents there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// A document.
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// Changes when the document does.
    pub(crate) tag: String,
}

impl Document {
    /// Returns a document that is known by its content.
    pub(crate) fn new(body: Vec<u8>) -> Self {
        Self {
            tag: tag(&Sha256::digest(&body)),
            body: body.into(),
        }
    }
}

/// Writes a hash as a tag.
pub(crate) fn tag(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02X}").ok();
        hex
    })
}

/// The documents of one set of resources. Only such that can be made are kept, so their number is bounded.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<String, Arc<Document>>>);

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    /// Returns a document that has been made.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Document>> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(name).map(Arc::clone)
    }

    /// Keeps a document. Who comes second has made the same one.
    pub(crate) fn keep(&self, name: &str, document: Document) -> Arc<Document> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry(name.to_owned()).or_insert_with(|| Arc::new(document)))
    }
}
