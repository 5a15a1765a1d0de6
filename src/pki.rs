//! Keys and certificates of a cluster: ECDSA P-256, PEM. It must not read the clock or write files.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use sha2::{Digest, Sha256};

use crate::{secret::SecretString, time::Timestamp};

/// How long a CA is valid: ten years, in seconds.
const CA_LIFETIME: u64 = 10 * 365 * 24 * 3600;
/// How long a certificate for a client is valid: a year, in seconds.
const CLIENT_LIFETIME: u64 = 365 * 24 * 3600;
/// Clocks of machines differ: everything is valid from this many seconds before it was made.
const BACKDATED: u64 = 300;

/// Why a key or certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The key or certificate could not be made.
    #[error("can't make {what}: {source}")]
    Make {
        /// What should have been made.
        what: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The text is no certificate in PEM form.
    #[error("{what} is no PEM certificate: {reason}")]
    NoCertificate {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate library keeps one group in a certificate.
    #[error("can't put {0} groups into one client certificate: give one")]
    Groups(usize),
    /// The moment lies before 1970.
    #[error("can't make {0}: the clock stands before 1970")]
    Clock(String),
}

/// A private key with its certificate or, for service accounts, its public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Certificate, or public key, in PEM form.
    pub cert_pem: String,
    /// Private key in PEM form (PKCS #8).
    pub key_pem: SecretString,
}

/// The four key pairs of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPki {
    /// CA of the API server, of kubelets and of users.
    pub ca: KeyPair,
    /// CA of etcd.
    pub etcd: KeyPair,
    /// CA of the aggregation layer.
    pub proxy: KeyPair,
    /// Key that signs service account tokens.
    pub service_account: KeyPair,
}

/// Makes all key pairs of a cluster. CAs are valid for ten years.
pub fn generate_cluster(now: Timestamp) -> Result<ClusterPki, PkiError> {
    Ok(ClusterPki {
        ca: generate_ca("kubernetes", now)?,
        etcd: generate_ca("etcd-ca", now)?,
        proxy: generate_ca("front-proxy-ca", now)?,
        service_account: generate_service_account()?,
    })
}

/// Makes a CA with its certificate, valid for ten years.
pub fn generate_ca(common_name: &str, now: Timestamp) -> Result<KeyPair, PkiError> {
    let fail = |source| PkiError::Make {
        what: format!("the CA \"{common_name}\""),
        source,
    };
    let key = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
    let mut params = parameters(common_name, now, CA_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let certificate = params.self_signed(&key).map_err(fail)?;
    Ok(KeyPair {
        cert_pem: certificate.pem(),
        key_pem: key.serialize_pem().into(),
    })
}

/// Makes the key pair that signs service account tokens. `cert_pem` is the public key.
pub fn generate_service_account() -> Result<KeyPair, PkiError> {
    let key = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| PkiError::Make {
        what: "the service account key".to_owned(),
        source,
    })?;
    Ok(KeyPair {
        cert_pem: pem("PUBLIC KEY", &key.subject_public_key_info()),
        key_pem: key.serialize_pem().into(),
    })
}

/// Makes a certificate with which `common_name`, a member of `organizations`, may log in. Valid for a year.
///
/// # Errors
/// Fails when the CA can't be used, and for more than one organization.
pub fn client_certificate(
    ca: &KeyPair,
    common_name: &str,
    organizations: &[&str],
    now: Timestamp,
) -> Result<KeyPair, PkiError> {
    let fail = |source| PkiError::Make {
        what: format!("the client certificate \"{common_name}\""),
        source,
    };
    let ca_key = rcgen::KeyPair::from_pem(ca.key_pem.expose()).map_err(fail)?;
    let issuer = Issuer::from_ca_cert_pem(&ca.cert_pem, ca_key).map_err(fail)?;
    let key = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
    let mut params = parameters(common_name, now, CLIENT_LIFETIME)?;
    match organizations {
        [] => {}
        [one] => params.distinguished_name.push(DnType::OrganizationName, *one),
        many => return Err(PkiError::Groups(many.len())),
    }
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(fail)?;
    Ok(KeyPair {
        cert_pem: certificate.pem(),
        key_pem: key.serialize_pem().into(),
    })
}

/// Returns `sha256:<hex>` of the CA's public key, as kubeadm pins it. With several certificates the first one counts.
pub fn ca_hash(ca_pem: &str) -> Result<String, PkiError> {
    let no_certificate = |reason: String| PkiError::NoCertificate {
        what: "the CA",
        reason,
    };
    let (_, block) =
        x509_parser::pem::parse_x509_pem(ca_pem.as_bytes()).map_err(|e| no_certificate(e.to_string()))?;
    let certificate = block.parse_x509().map_err(|e| no_certificate(e.to_string()))?;
    Ok(format!(
        "sha256:{}",
        hex(&Sha256::digest(certificate.public_key().raw))
    ))
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

fn parameters(common_name: &str, now: Timestamp, lifetime: u64) -> Result<CertificateParams, PkiError> {
    let seconds = u64::try_from(now.as_second()).map_err(|_| PkiError::Clock(common_name.to_owned()))?;
    let moment = |s: u64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(s);
    let mut params = CertificateParams::default();
    params.not_before = moment(seconds.saturating_sub(BACKDATED));
    params.not_after = moment(seconds.saturating_add(lifetime));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// Writes DER in PEM form.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for chunk in text.as_bytes().chunks(64) {
        out.extend(chunk.iter().copied().map(char::from));
        out.push('\n');
    }
    out + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_client_certificate_is_signed_by_the_ca_and_names_user_and_groups() {
        let ca = generate_ca("kubernetes", now()).unwrap();
        let client = client_certificate(&ca, "kubernetes-admin", &["system:masters"], now()).unwrap();
        let (_, ca_pem) = parse_x509_pem(ca.cert_pem.as_bytes()).unwrap();
        let ca_cert = ca_pem.parse_x509().unwrap();
        let (_, pem) = parse_x509_pem(client.cert_pem.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        cert.verify_signature(Some(ca_cert.public_key())).unwrap();
        assert!(ca_cert.is_ca());
        assert!(!cert.is_ca());
        assert_eq!(
            cert.subject()
                .iter_common_name()
                .next()
                .unwrap()
                .as_str()
                .unwrap(),
            "kubernetes-admin"
        );
        let groups: Vec<_> = cert
            .subject()
            .iter_organization()
            .map(|o| o.as_str().unwrap())
            .collect();
        assert_eq!(groups, ["system:masters"]);
        assert_eq!(
            cert.validity().not_after.timestamp(),
            now().as_second() + 365 * 86_400
        );
    }

    #[test]
    fn the_hash_is_that_of_the_public_key_so_it_survives_a_renewal() {
        // Certificate and hash made with openssl for this test.
        let pem = include_str!("../tests/fixtures/bootstrap/ca.crt");
        assert_eq!(
            ca_hash(pem).unwrap(),
            include_str!("../tests/fixtures/bootstrap/ca.hash").trim()
        );
        assert!(ca_hash("nothing").is_err());
    }

    #[test]
    fn keys_do_not_show_in_debug() {
        let pki = generate_cluster(now()).unwrap();
        assert!(!format!("{pki:?}").contains("PRIVATE"));
        assert!(pki.service_account.cert_pem.starts_with("-----BEGIN PUBLIC KEY"));
        assert!(pki.ca.key_pem.expose().contains("PRIVATE KEY"));
    }

    #[test]
    fn a_second_group_is_refused_not_lost() {
        let ca = generate_ca("kubernetes", now()).unwrap();
        assert!(matches!(
            client_certificate(&ca, "x", &["a", "b"], now()),
            Err(PkiError::Groups(2))
        ));
    }

    #[test]
    fn a_clock_before_1970_is_an_error() {
        assert!(generate_ca("x", "1960-01-01T00:00:00Z".parse().unwrap()).is_err());
    }
}
