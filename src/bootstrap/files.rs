//! Files of a Config: what their content is once its encodings are taken away. It must not write them.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;

use super::{BootstrapError, SecretFiles};
use crate::api::v1alpha1::{ConfigSpec, Encoding};

/// Largest file that is taken out of a compressed one, in bytes. Bootstrap data is not the place for more.
const MAX_SIZE: u64 = 16 << 20;
/// Permissions of a file that asks for none.
pub(crate) const DEFAULT_PERMISSIONS: &str = "0644";
/// Owner of a file that asks for none.
pub(crate) const DEFAULT_OWNER: &str = "root:root";

/// A file as it has to lie on the machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PlainFile {
    /// Absolute path.
    pub(crate) path: String,
    /// user:group.
    pub(crate) owner: String,
    /// Octal, with a leading zero.
    pub(crate) permissions: String,
    /// Bytes.
    pub(crate) content: Vec<u8>,
}

impl PlainFile {
    /// A file of root's.
    pub(crate) fn new(path: &str, permissions: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            owner: DEFAULT_OWNER.to_owned(),
            permissions: permissions.to_owned(),
            content: content.into(),
        }
    }
}

/// Returns all files of a Config, decoded, in their order, those from Secrets last.
pub(crate) fn plain(spec: &ConfigSpec, secrets: &SecretFiles) -> Result<Vec<PlainFile>, BootstrapError> {
    let mut files = Vec::new();
    for (index, file) in spec.files.iter().enumerate() {
        let field = format!("files[{index}]");
        files.push(one(
            &field,
            &file.path,
            file.owner.as_deref(),
            file.permissions.as_deref(),
            file.encoding,
            file.content.as_bytes(),
        )?);
    }
    for (index, file) in spec.secrets.iter().enumerate() {
        let field = format!("secrets[{index}]");
        let content = secrets
            .get(&(file.data_secret_name.clone(), file.secret_key_name.clone()))
            .ok_or_else(|| BootstrapError::MissingSecret {
                field: field.clone(),
                path: file.path.clone(),
                secret: file.data_secret_name.clone(),
                key: file.secret_key_name.clone(),
            })?;
        files.push(one(
            &field,
            &file.path,
            file.owner.as_deref(),
            file.permissions.as_deref(),
            file.encoding,
            content,
        )?);
    }
    Ok(files)
}

fn one(
    field: &str,
    path: &str,
    owner: Option<&str>,
    permissions: Option<&str>,
    encoding: Option<Encoding>,
    content: &[u8],
) -> Result<PlainFile, BootstrapError> {
    let fail = |reason: String| BootstrapError::File {
        field: field.to_owned(),
        path: path.to_owned(),
        reason,
    };
    Ok(PlainFile {
        path: checked_path(path).map_err(&fail)?,
        owner: checked_owner(owner.unwrap_or_default()).map_err(&fail)?,
        permissions: checked_permissions(permissions.unwrap_or_default()).map_err(&fail)?,
        content: decode(encoding, content).map_err(&fail)?,
    })
}

/// Takes an encoding away: `gzip+base64` is base64 text of gzip data. `gzip` alone may be gzip data, as a Secret can
/// hold it, or base64 text of it, which is all that fits into an object's text.
pub(crate) fn decode(encoding: Option<Encoding>, content: &[u8]) -> Result<Vec<u8>, String> {
    match encoding {
        None => Ok(content.to_vec()),
        Some(Encoding::Base64) => unbase64(content),
        Some(Encoding::GzipBase64) => gunzip(&unbase64(content)?),
        Some(Encoding::Gzip) if content.starts_with(&[0x1f, 0x8b]) => gunzip(content),
        Some(Encoding::Gzip) => {
            gunzip(&unbase64(content).map_err(|_| "is neither gzip data nor base64 text of it".to_owned())?)
        }
    }
}

fn unbase64(content: &[u8]) -> Result<Vec<u8>, String> {
    let bare: Vec<u8> = content
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    STANDARD
        .decode(bare)
        .map_err(|_| "content is no base64".to_owned())
}

fn gunzip(content: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    MultiGzDecoder::new(content)
        .take(MAX_SIZE + 1)
        .read_to_end(&mut out)
        .map_err(|e| format!("content is no gzip data: {e}"))?;
    if out.len() as u64 > MAX_SIZE {
        return Err(format!("content is larger than {} MiB", MAX_SIZE >> 20));
    }
    Ok(out)
}

fn checked_path(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("the path has to be absolute and name a file".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("the path has control characters".to_owned());
    }
    Ok(path.to_owned())
}

fn checked_owner(owner: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let mut parts = owner.split(':');
    let (user, group) = (parts.next().unwrap_or_default(), parts.next());
    if owner.is_empty() {
        return Ok(DEFAULT_OWNER.to_owned());
    }
    if parts.next().is_some()
        || user.starts_with('-')
        || ![Some(user), group].iter().flatten().all(|p| p.chars().all(good))
    {
        return Err(format!("owner \"{owner}\" is no user:group"));
    }
    Ok(owner.to_owned())
}

fn checked_permissions(permissions: &str) -> Result<String, String> {
    let bare = permissions.trim().trim_start_matches("0o");
    if bare.is_empty() {
        return Ok(DEFAULT_PERMISSIONS.to_owned());
    }
    let mode = u32::from_str_radix(bare, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("permissions \"{permissions}\" are no octal number up to 7777"))?;
    Ok(format!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::api::v1alpha1::{File, SecretFile};

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_is_taken_away() {
        let text = b"hello\n";
        let zipped = gzip(text);
        let both = STANDARD.encode(&zipped);
        for (encoding, content) in [
            (None, text.to_vec()),
            (Some(Encoding::Base64), b"aGVs\nbG8K\n".to_vec()),
            (Some(Encoding::Gzip), zipped.clone()),
            (Some(Encoding::Gzip), both.clone().into_bytes()),
            (Some(Encoding::GzipBase64), both.into_bytes()),
        ] {
            assert_eq!(decode(encoding, &content).unwrap(), text, "{encoding:?}");
        }
        // The reverse order is another thing, and not taken for it.
        assert!(decode(Some(Encoding::GzipBase64), &gzip(b"aGVsbG8K")).is_err());
        assert!(decode(Some(Encoding::GzipBase64), b"H4sIAAAA").is_err());
        assert!(decode(Some(Encoding::Base64), b"***").is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![0; usize::try_from(MAX_SIZE).unwrap() + 1]);
        assert!(
            decode(Some(Encoding::Gzip), &bomb)
                .unwrap_err()
                .contains("16 MiB")
        );
    }

    #[test]
    fn permissions_and_owners_have_defaults_and_are_checked() {
        assert_eq!(checked_permissions("").unwrap(), "0644");
        assert_eq!(checked_permissions("644").unwrap(), "0644");
        assert_eq!(checked_permissions("4755").unwrap(), "4755");
        assert_eq!(checked_permissions("0o600").unwrap(), "0600");
        assert!(checked_permissions("rw-").is_err());
        assert!(checked_permissions("99").is_err());
        assert_eq!(checked_owner("").unwrap(), "root:root");
        assert_eq!(checked_owner("ops").unwrap(), "ops");
        for bad in ["a:b:c", "-x:y", "a b", "$(id)", "a;b"] {
            assert!(checked_owner(bad).is_err(), "{bad}");
        }
        assert!(checked_path("etc/x").is_err());
        assert!(checked_path("/etc/").is_err());
        assert!(checked_path("/etc/\n").is_err());
    }

    #[test]
    fn a_missing_key_names_secret_and_key() {
        let spec = ConfigSpec {
            files: vec![File {
                path: "/a".to_owned(),
                ..File::default()
            }],
            secrets: vec![SecretFile {
                path: "/b".to_owned(),
                data_secret_name: "site".to_owned(),
                secret_key_name: "token.txt".to_owned(),
                ..SecretFile::default()
            }],
            ..ConfigSpec::default()
        };
        let error = plain(&spec, &SecretFiles::new()).err().unwrap().to_string();
        assert_eq!(
            error,
            "secrets[0] (/b): there is no key \"token.txt\" in Secret \"site\""
        );
        let secrets = [(("site".to_owned(), "token.txt".to_owned()), b"s".to_vec())].into();
        let files = plain(&spec, &secrets).unwrap();
        assert_eq!(files[1].content, b"s");
        assert_eq!(files[0].permissions, "0644");
    }
}
