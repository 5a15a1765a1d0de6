//! Who a request comes from: a client certificate, a bearer token, or the process itself. Whoever is not known may only ask
//! for health and version. What a user may do, `authorize` knows.
//! It must not listen or read requests.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::time::Timestamp;

/// Name of the administrator in certificates and answers.
pub const ADMIN_NAME: &str = "kubernetes-admin";
/// The group that may do everything in any Kubernetes cluster.
pub const ADMIN_GROUP: &str = "system:masters";
/// The group of all users that are known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who are not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user that nobody knows.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The key in [`UserInfo::extra`] under which it stands by which certificate or token a user is known.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const OPEN_PATHS: &[&str] = &["/healthz", "/readyz", "/livez", "/version"];

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// User name.
    pub name: String,
    /// Unique id; empty if there is none.
    pub uid: String,
    /// Groups, without duplicates.
    pub groups: Vec<String>,
    /// What else is known of the user; the server makes nothing of it, but shows it.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Returns the user called `name` with these groups; whoever is known is in `system:authenticated` too.
    pub fn new(name: impl Into<String>, uid: impl Into<String>, groups: Vec<String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for group in groups.into_iter().chain([AUTHENTICATED.to_owned()]) {
            if !group.is_empty() && !all.contains(&group) {
                all.push(group);
            }
        }
        Self {
            name: name.into(),
            uid: uid.into(),
            groups: all,
            extra: BTreeMap::new(),
        }
    }

    /// Returns who asks if nobody is known.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            uid: String::new(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            extra: BTreeMap::new(),
        }
    }

    /// Returns the administrator: who the process itself acts as.
    pub fn admin() -> Self {
        Self::new(ADMIN_NAME, "", vec![ADMIN_GROUP.to_owned()])
    }

    /// Returns whether the user is in the administrators' group.
    pub fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| group == ADMIN_GROUP)
    }

    /// Returns who a client certificate (DER, already verified) belongs to: the common name is the user, each
    /// organization a group. `None` without a common name.
    pub fn from_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = common_name(subject).filter(|name| !name.is_empty())?;
        let groups = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect();
        let mut user = Self::new(name, "", groups);
        let id = format!("X509SHA256={}", hex(&Sha256::digest(der)));
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![id]);
        Some(user)
    }
}

/// Returns when a certificate (DER) ends.
pub(crate) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Returns the common name of a certificate's or a request's subject: of several the last one, as Go has it.
pub(crate) fn common_name<'a>(subject: &'a X509Name<'_>) -> Option<&'a str> {
    subject.iter_common_name().last()?.as_str().ok()
}

/// Returns whether a path is open to everybody.
pub fn is_open(path: &str) -> bool {
    OPEN_PATHS.iter().any(|open| {
        path.strip_prefix(open)
            .is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && *open != "/version"))
    })
}

/// Returns the namespace and the name of a service account, if a user name is that of one.
pub(crate) fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Why the tokens could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file could not be read or written.
    #[error("cannot access the token file {path}: {source}")]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line does not have the form `token,user,uid[,"group,group"]`.
    #[error("{path}:{line}: a line must read token,user,uid[,\"group,group\"]")]
    Line {
        /// Which file.
        path: std::path::PathBuf,
        /// Which line, counted from 1.
        line: usize,
    },
}

/// Bearer tokens and whose they are. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Tokens {
    known: Vec<([u8; 32], Arc<UserInfo>)>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("count", &self.known.len())
            .finish()
    }
}

/// Returns what a token is known by: tokens themselves are not kept.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Tokens {
    /// Reads a token file in the form of kube-apiserver's `--token-auth-file`. A missing file holds no tokens.
    ///
    /// # Errors
    /// The file cannot be read, or has a line of another form.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(TokensError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let mut known = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut parts = line.splitn(4, ',').map(str::trim);
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(token), Some(user), Some(uid), groups) if !token.is_empty() && !user.is_empty() => {
                    let groups = groups.unwrap_or_default().trim_matches('"');
                    let groups = groups.split(',').map(|group| group.trim().to_owned()).collect();
                    known.push((hash(token), Arc::new(UserInfo::new(user, uid, groups))));
                }
                _ => {
                    return Err(TokensError::Line {
                        path: path.to_owned(),
                        line: index + 1,
                    });
                }
            }
        }
        Ok(Self { known })
    }

    /// Adds a token for a user.
    pub fn insert(&mut self, token: &str, user: UserInfo) {
        self.known.push((hash(token), Arc::new(user)));
    }

    /// Returns whose token this is. The comparison takes the same time whatever the token.
    pub fn authenticate(&self, token: &str) -> Option<Arc<UserInfo>> {
        let wanted = hash(token);
        let mut found = None;
        for (known, user) in &self.known {
            if is_same(known, &wanted) {
                found = Some(Arc::clone(user));
            }
        }
        found
    }

    /// Appends a line to a token file with mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(path: &Path, token: &str, user: &UserInfo) -> Result<(), TokensError> {
        let failed = |source| TokensError::File {
            path: path.to_owned(),
            source,
        };
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(failed)?;
        writeln!(
            file,
            "{token},{},{},\"{}\"",
            user.name,
            user.uid,
            user.groups.join(",")
        )
        .map_err(failed)
    }
}

/// Compares two secrets; texts of one length take the same time, whatever is in them.
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Returns the token of an `Authorization` header.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_and_version_are_open() {
        for path in ["/healthz", "/readyz/etcd", "/livez", "/version"] {
            assert!(is_open(path), "{path}");
        }
        for path in ["/", "/api", "/healthzz", "/version/x", "/apis"] {
            assert!(!is_open(path), "{path}");
        }
    }

    #[test]
    fn of_several_common_names_the_last_one_counts() {
        use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "first");
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "last");
        params.distinguished_name.push(DnType::OrganizationName, "g");
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("certificate");
        let user = UserInfo::from_certificate(certificate.der()).expect("known");
        assert_eq!(user.name, "last");
        assert_eq!(user.groups, ["g", AUTHENTICATED]);
        let id = &user.extra[CREDENTIAL_ID][0];
        assert!(
            id.starts_with("X509SHA256=") && id.len() == "X509SHA256=".len() + 64,
            "{id}"
        );
    }

    #[test]
    fn tokens_are_found_and_never_shown() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("tokens.csv");
        Tokens::append(
            &path,
            "s3cret",
            &UserInfo::new("joe", "7", vec!["devs".to_owned()]),
        )
        .expect("written");
        let tokens = Tokens::load(&path).expect("read");
        assert_eq!(
            tokens.authenticate("s3cret").expect("known").groups,
            ["devs", "system:authenticated"]
        );
        assert_eq!(tokens.authenticate("other"), None);
        assert!(!format!("{tokens:?}").contains("s3cret"));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("tokens.csv");
        std::fs::write(&path, "# people\nonly-a-token\n").expect("written");
        assert!(
            Tokens::load(&path)
                .expect_err("bad")
                .to_string()
                .contains("tokens.csv:2:")
        );
        assert!(
            Tokens::load(&dir.path().join("none"))
                .expect("empty")
                .known
                .is_empty()
        );
    }

    #[test]
    fn bearer_tokens_are_read_from_the_header() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
    }
}
