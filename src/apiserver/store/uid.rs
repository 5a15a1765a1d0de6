//! The uid of an object, in little room. It must not know objects.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Who an object is, for as long as it exists. The server gives its objects random UUIDs, but a reference to an owner may have any text as
/// uid: a text that is no UUID is known by its digest, which no random UUID is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Uid(Uuid);

impl Uid {
    pub(super) const FIRST: Self = Self(Uuid::nil());
    pub(super) const LAST: Self = Self(Uuid::max());

    /// Returns the uid that is written like this.
    pub(crate) fn of(text: &str) -> Self {
        let uuid = Uuid::try_parse(text).ok();
        let mut written = Uuid::encode_buffer();
        // Written in another way it is another text, and so another uid.
        let uuid = uuid.filter(|uuid| uuid.hyphenated().encode_lower(&mut written) == text);
        Self(uuid.unwrap_or_else(|| {
            let mut half = [0; 16];
            half.copy_from_slice(&Sha256::digest(text)[..16]);
            Builder::from_custom_bytes(half).into_uuid()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_another_uid() {
        let texts = [
            "3cd4cfe7-f54e-4e45-9331-99f3a6d0ce68",
            "3cd4cfe7-f54e-4e45-9331-99f3a6d0ce69",
            "3CD4CFE7-F54E-4E45-9331-99F3A6D0CE68",
            "3cd4cfe7f54e4e45933199f3a6d0ce68",
            "",
            "u-a",
            "u-b",
        ];
        let uids: std::collections::BTreeSet<_> = texts.iter().map(|t| Uid::of(t)).collect();
        assert_eq!(uids.len(), texts.len());
        for (text, uid) in texts.iter().map(|t| (t, Uid::of(t))) {
            assert_eq!(Uid::of(text), uid);
            assert!(Uid::FIRST < uid && uid < Uid::LAST);
        }
    }
}
