//! The server's own certificates: a CA, a server certificate and an administrator's client certificate, kept in a
//! folder that only its owner can read. It must not listen or know who may do what.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::FromDer;

use super::auth::{ADMIN_GROUP, ADMIN_NAME};
use crate::time::{SignedDuration, Timestamp};

/// Names and addresses that the server certificate is always good for.
const OWN_NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default.svc",
];
/// File with the certificate of the CA.
pub(crate) const CA_CERTIFICATE: &str = "ca.crt";
const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;
/// A certificate with less than this left is made anew.
const RENEW_DAYS: i64 = 30;

/// Why certificates could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the folder could not be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the folder does not hold what its name says.
    #[error("{path} is damaged: {reason}; remove the folder it lies in and new certificates are made")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate of {subject}: {source}")]
    Make {
        /// Whose certificate.
        subject: String,
        /// What the library says.
        source: rcgen::Error,
    },
    /// The TLS library refuses the certificates.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// Certificates and keys in PEM form. Keys appear in no debug output.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The CA that signed the others.
    pub ca_cert: String,
    /// What the server shows to clients.
    pub server_cert: String,
    server_key: String,
    /// What the administrator shows to the server; goes into the kubeconfig.
    pub admin_cert: String,
    admin_key: String,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("ca_cert", &self.ca_cert)
            .finish_non_exhaustive()
    }
}

impl TlsMaterial {
    /// Loads the certificates in `dir`, making what is missing, about to expire, or not good for one of `names`
    /// (further DNS names and IP addresses of the server). The folder gets mode 0700, keys 0600.
    ///
    /// # Errors
    /// The folder cannot be used, or a file in it is damaged.
    pub fn ensure(dir: &Path, names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        make_folder(dir)?;
        let (ca_cert, ca_key) = ensure_ca(dir, now)?;
        let issuer = Issuer::from_ca_cert_pem(&ca_cert, &ca_key).map_err(|error| TlsError::Damaged {
            path: dir.join(CA_CERTIFICATE),
            reason: error.to_string(),
        })?;
        let mut server_names: Vec<String> = OWN_NAMES.iter().map(|&n| n.to_owned()).collect();
        server_names.extend(names.iter().filter(|n| !OWN_NAMES.contains(&n.as_str())).cloned());
        let server = Leaf {
            file: "server",
            subject: "machinectl-apiserver",
            group: None,
            names: server_names,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        };
        let admin = Leaf {
            file: "admin",
            subject: ADMIN_NAME,
            group: Some(ADMIN_GROUP),
            names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        };
        let (server_cert, server_key) = server.ensure(dir, &ca_cert, &issuer, now)?;
        let (admin_cert, admin_key) = admin.ensure(dir, &ca_cert, &issuer, now)?;
        Ok(Self {
            ca_cert,
            server_cert,
            server_key,
            admin_cert,
            admin_key,
        })
    }

    /// Returns the administrator's key in PEM form, for the kubeconfig. It is a secret.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Returns the TLS settings of the server: HTTP/2 and HTTP/1.1, client certificates of this CA welcome but not
    /// needed.
    ///
    /// # Errors
    /// The TLS library refuses the certificates.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let unusable = |error: &dyn fmt::Display| TlsError::Unusable(error.to_string());
        let certs = |pem: &str| {
            CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| unusable(&error))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for ca in certs(&self.ca_cert)? {
            roots.add(ca).map_err(|error| unusable(&error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| unusable(&error))?;
        let key =
            PrivateKeyDer::from_pem_slice(self.server_key.as_bytes()).map_err(|error| unusable(&error))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certs(&self.server_cert)?, key)
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

struct Leaf<'a> {
    file: &'a str,
    subject: &'a str,
    group: Option<&'a str>,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
}

impl Leaf<'_> {
    fn ensure(
        &self,
        dir: &Path,
        ca_cert: &str,
        issuer: &Issuer<'_, &KeyPair>,
        now: Timestamp,
    ) -> Result<(String, String), TlsError> {
        let (cert_path, key_path) = (
            dir.join(format!("{}.crt", self.file)),
            dir.join(format!("{}.key", self.file)),
        );
        if let (Some(cert), Some(key)) = (read(&cert_path)?, read(&key_path)?)
            && self.is_good(&cert, ca_cert, now)
            && KeyPair::from_pem(&key).is_ok_and(|key| belongs(&cert, &key))
        {
            return Ok((cert, key));
        }
        let failed = |source| TlsError::Make {
            subject: self.subject.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = self.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, self.subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS);
        let cert = params.signed_by(&key, issuer).map_err(failed)?.pem();
        let key = key.serialize_pem();
        write(&key_path, &key, 0o600)?;
        write(&cert_path, &cert, 0o644)?;
        Ok((cert, key))
    }

    /// Returns whether a certificate is signed by this CA, good for all names, and has time left.
    fn is_good(&self, cert: &str, ca_cert: &str, now: Timestamp) -> bool {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
        let (Some(cert), Some(ca)) = (der(cert), der(ca_cert)) else {
            return false;
        };
        let (Ok((_, cert)), Ok((_, ca))) = (
            x509_parser::certificate::X509Certificate::from_der(&cert),
            x509_parser::certificate::X509Certificate::from_der(&ca),
        ) else {
            return false;
        };
        let known: Vec<String> = cert
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| {
                names
                    .value
                    .general_names
                    .iter()
                    .filter_map(alternative_name)
                    .collect()
            })
            .unwrap_or_default();
        let renew = now.as_second() + RENEW_DAYS * 86_400;
        cert.verify_signature(Some(ca.public_key())).is_ok()
            && cert.validity().not_after.timestamp() > renew
            && cert.validity().not_before.timestamp() <= now.as_second()
            && self.names.iter().all(|name| known.contains(name))
    }
}

/// Returns whether a certificate is that of a key. They are two files: a crash between them can leave an old one beside a new one.
fn belongs(cert: &str, key: &KeyPair) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(cert.as_bytes()) else {
        return false;
    };
    x509_parser::certificate::X509Certificate::from_der(&der)
        .is_ok_and(|(_, cert)| *cert.public_key().raw == *key.subject_public_key_info())
}

fn alternative_name(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| std::net::Ipv4Addr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| std::net::Ipv6Addr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the CA in `dir`, its certificate in PEM form and its key; makes it, and the folder, if there is none.
pub(super) fn authority(dir: &Path, now: Timestamp) -> Result<(String, KeyPair), TlsError> {
    make_folder(dir)?;
    ensure_ca(dir, now)
}

fn ensure_ca(dir: &Path, now: Timestamp) -> Result<(String, KeyPair), TlsError> {
    let (cert_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join("ca.key"));
    if let (Some(cert), Some(key)) = (read(&cert_path)?, read(&key_path)?) {
        let key = KeyPair::from_pem(&key).map_err(|error| TlsError::Damaged {
            path: key_path.clone(),
            reason: error.to_string(),
        })?;
        if !belongs(&cert, &key) {
            return Err(TlsError::Damaged {
                path: cert_path,
                reason: "it is not the certificate of ca.key".to_owned(),
            });
        }
        return Ok((cert, key));
    }
    let (cert, key) = new_authority(now)?;
    write(&key_path, &key.serialize_pem(), 0o600)?;
    write(&cert_path, &cert, 0o644)?;
    Ok((cert, key))
}

/// Makes a CA: its certificate in PEM form and its key.
pub(super) fn new_authority(now: Timestamp) -> Result<(String, KeyPair), TlsError> {
    let failed = |source| TlsError::Make {
        subject: "the certificate authority".to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "machinectl-embedded-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    set_validity(&mut params, now, CA_DAYS);
    let cert = params.self_signed(&key).map_err(failed)?.pem();
    Ok((cert, key))
}

/// Valid from a day ago, so that a clock that is a little behind does no harm.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let date = |moment: Timestamp| {
        let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(
            i32::from(date.year()),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    let shift = |days: i64| {
        now.saturating_add(SignedDuration::from_hours(days * 24))
            .unwrap_or(now)
    };
    params.not_before = date(shift(-1));
    params.not_after = date(shift(days));
}

fn make_folder(dir: &Path) -> Result<(), TlsError> {
    let failed = |source| TlsError::File {
        path: dir.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes beside the file and renames, so that a file is there whole or not at all, after a power cut as well.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    // Each file has its own: what a certificate leaves behind can be read by all, and must never become that of a key.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode);
    }
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::auth::UserInfo;
    use super::*;

    fn moment() -> Timestamp {
        "2026-11-20T09:00:00Z".parse().expect("time")
    }

    #[test]
    fn certificates_are_made_once_and_the_admin_is_known_by_his() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("pki");
        let first = TlsMaterial::ensure(&folder, &[], moment()).expect("made");
        let again = TlsMaterial::ensure(&folder, &[], moment()).expect("loaded");
        assert_eq!(
            (&first.server_cert, &first.admin_cert),
            (&again.server_cert, &again.admin_cert)
        );
        let der = CertificateDer::from_pem_slice(first.admin_cert.as_bytes()).expect("pem");
        let user = UserInfo::from_certificate(&der).expect("subject");
        assert_eq!(user.name, ADMIN_NAME);
        assert!(user.is_admin());
        first.server_config().expect("usable");
        assert!(!format!("{first:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_new_name_or_an_old_certificate_makes_a_new_one() {
        let dir = tempfile::tempdir().expect("folder");
        let first = TlsMaterial::ensure(dir.path(), &[], moment()).expect("made");
        let named = TlsMaterial::ensure(dir.path(), &["10.1.2.3".to_owned()], moment()).expect("made");
        assert_ne!(first.server_cert, named.server_cert);
        assert_eq!(first.ca_cert, named.ca_cert);
        let later = moment() + SignedDuration::from_hours(24 * 350);
        let renewed = TlsMaterial::ensure(dir.path(), &["10.1.2.3".to_owned()], later).expect("made");
        assert_ne!(named.admin_cert, renewed.admin_cert);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_keys() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("pki");
        TlsMaterial::ensure(&folder, &[], moment()).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for key in ["ca.key", "server.key", "admin.key"] {
            assert_eq!(mode(&folder.join(key)), 0o600, "{key}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_a_crash_left_behind_opens_no_key_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("folder");
        let pid = std::process::id();
        // Both of this release, and those of older ones.
        for left in [format!("ca.key.{pid}.new"), format!("ca.{pid}.new")] {
            let left = dir.path().join(left);
            fs::write(&left, "left").expect("written");
            fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).expect("set");
        }
        TlsMaterial::ensure(dir.path(), &[], moment()).expect("made");
        let key = fs::metadata(dir.path().join("ca.key")).expect("there");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_beside_the_key_of_another_is_noticed() {
        let dir = tempfile::tempdir().expect("folder");
        let first = TlsMaterial::ensure(dir.path(), &[], moment()).expect("made");
        let other = KeyPair::generate().expect("key").serialize_pem();
        fs::write(dir.path().join("server.key"), &other).expect("written");
        let mended = TlsMaterial::ensure(dir.path(), &[], moment()).expect("made anew");
        assert_ne!(first.server_cert, mended.server_cert);
        assert_eq!(first.admin_cert, mended.admin_cert);
        mended.server_config().expect("usable");
        fs::write(dir.path().join("ca.key"), &other).expect("written");
        let error = TlsMaterial::ensure(dir.path(), &[], moment()).expect_err("another key");
        assert!(
            error
                .to_string()
                .contains("ca.crt is damaged: it is not the certificate of ca.key"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().expect("folder");
        TlsMaterial::ensure(dir.path(), &[], moment()).expect("made");
        fs::write(dir.path().join("ca.key"), "nonsense").expect("written");
        let error = TlsMaterial::ensure(dir.path(), &[], moment()).expect_err("damaged");
        assert!(error.to_string().contains("ca.key is damaged"), "{error}");
    }
}
