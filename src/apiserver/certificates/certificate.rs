//! Signing: the certificate that a request gets, as kube-controller-manager fills it in. It is written here because the library keeps
//! one group in a subject. It must not decide what is signed.

use rcgen::SigningKey as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::super::identity::Authority;
use super::der::{bits, integer, octets, oid, sequence, value};
use super::request::Request;
use super::rules::{CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH};
use crate::time::{SignedDuration, Timestamp};

/// How long a certificate is good, in seconds, unless less is asked for.
const LIFETIME: i64 = 365 * 24 * 3600;
const SHORTEST: i64 = 600;
/// Clocks of machines differ: good from so many seconds ago.
const BACKDATED: i64 = 300;
/// What is good for less than so many seconds is so from now on.
const SHORT: i64 = 8 * 3600;

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Returns the name of the algorithm with which a key signs, in DER.
fn algorithm(key: &rcgen::KeyPair) -> Result<Vec<u8>, String> {
    let of = key.algorithm();
    if *of == rcgen::PKCS_ECDSA_P256_SHA256 {
        return Ok(sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]));
    }
    if *of == rcgen::PKCS_ECDSA_P384_SHA384 {
        return Ok(sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3])]));
    }
    if *of == rcgen::PKCS_RSA_SHA256 {
        let name = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b]);
        return Ok(sequence(&[&name, &[5, 0]]));
    }
    Err("the key of the CA is of a kind that signs no certificates here".to_owned())
}

/// Writes a moment as certificates do: with two digits of the year as long as those are enough.
fn time(moment: Timestamp) -> Vec<u8> {
    let year = moment.to_zoned(jiff::tz::TimeZone::UTC).year();
    if (1950..2050).contains(&year) {
        value(0x17, moment.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        value(0x18, moment.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// Returns from when until when a certificate is good.
fn validity(
    now: Timestamp,
    seconds: Option<i64>,
    signer_ends: i64,
) -> Result<(Timestamp, Timestamp), String> {
    let lifetime = seconds.map_or(LIFETIME, |s| s.clamp(SHORTEST, LIFETIME));
    let shift = |seconds: i64| {
        now.saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(now)
    };
    let end = if lifetime < SHORT {
        shift(lifetime)
    } else {
        shift(lifetime - BACKDATED)
    };
    if now.as_second() >= signer_ends {
        return Err("the certificate of the CA is no longer good".to_owned());
    }
    let last = Timestamp::from_second(signer_ends).unwrap_or(end);
    Ok((shift(-BACKDATED), end.min(last)))
}

fn extension(name: &[u8], is_critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if is_critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&oid(name), critical, &octets(content)])
}

fn key_usage(usages: &[String]) -> Option<Vec<u8>> {
    let has = |usage: &str| usages.iter().any(|own| own == usage);
    // Bits are counted from the left; those at the end that are not set are left away.
    let (unused, bits) = match (has(DIGITAL_SIGNATURE), has(KEY_ENCIPHERMENT)) {
        (false, false) => return None,
        (true, false) => (7, 0x80),
        (false, true) => (5, 0x20),
        (true, true) => (5, 0xa0),
    };
    Some(value(0x03, &[unused, bits]))
}

fn extended_usage(usages: &[String]) -> Option<Vec<u8>> {
    let known = [(CLIENT_AUTH, CLIENT), (SERVER_AUTH, SERVER)];
    let wanted = known
        .iter()
        .filter(|(usage, _)| usages.iter().any(|own| own == usage));
    let names: Vec<u8> = wanted.flat_map(|(_, name)| oid(name)).collect();
    (!names.is_empty()).then(|| value(0x30, &names))
}

fn extensions(request: &Request, usages: &[String], signer_key: Option<&[u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(usage) = key_usage(usages) {
        all.extend(extension(KEY_USAGE, true, &usage));
    }
    if let Some(usage) = extended_usage(usages) {
        all.extend(extension(EXTENDED_USAGE, false, &usage));
    }
    all.extend(extension(BASIC_CONSTRAINTS, true, &sequence(&[])));
    if let Some(key) = signer_key {
        all.extend(extension(AUTHORITY_KEY, false, &sequence(&[&value(0x80, key)])));
    }
    if !request.names.is_empty() {
        let names: Vec<u8> = request
            .names
            .iter()
            .flat_map(|(tag, name)| value(*tag, name))
            .collect();
        all.extend(extension(ALTERNATIVE_NAME, false, &value(0x30, &names)));
    }
    value(0xa3, &value(0x30, &all))
}

/// Returns a certificate in PEM form.
///
/// # Errors
/// Who made the request doesn't have the key in it, or the CA can't sign.
pub(super) fn issue(
    authority: &Authority,
    request: &Request,
    usages: &[String],
    seconds: Option<i64>,
    now: Timestamp,
) -> Result<String, String> {
    if !request.is_signed {
        return Err("unable to verify certificate request signature".to_owned());
    }
    let (_, block) =
        x509_parser::pem::parse_x509_pem(authority.ca_cert.as_bytes()).map_err(|error| error.to_string())?;
    let (_, signer) = X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
    let (begin, end) = validity(now, seconds, signer.validity().not_after.timestamp())?;
    let signer_key = signer
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
    let algorithm = algorithm(&authority.ca_key)?;
    let serial = uuid::Uuid::new_v4();
    let content = sequence(&[
        // The third version, the only one with extensions.
        &value(0xa0, &integer(&[2])),
        &integer(serial.as_bytes()),
        &algorithm,
        signer.subject().as_raw(),
        &sequence(&[&time(begin), &time(end)]),
        &request.subject,
        &request.key,
        &extensions(request, usages, signer_key),
    ]);
    let signature = authority
        .ca_key
        .sign(&content)
        .map_err(|error| error.to_string())?;
    let der = sequence(&[&content, &algorithm, &bits(&signature)]);
    Ok(crate::pki::pem("CERTIFICATE", &der))
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::field;
    use super::*;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    fn now() -> Timestamp {
        "2026-11-20T09:00:00Z".parse().expect("time")
    }

    fn usages(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn issued(seconds: Option<i64>) -> (Authority, CertificateDer<'static>) {
        let authority = Authority::in_memory(now()).expect("keys");
        let (field, _) = field("system:node:n", Some("system:nodes"), &["n", "10.0.0.1"]);
        let request = Request::read(&field).expect("request");
        let usages = usages(&[DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH]);
        let pem = issue(&authority, &request, &usages, seconds, now()).expect("issued");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("pem");
        (authority, der)
    }

    #[test]
    fn a_certificate_says_what_was_asked_for_and_its_signer_stands_for_it() {
        let (authority, der) = issued(None);
        let (rest, certificate) = X509Certificate::from_der(&der).expect("certificate");
        assert!(rest.is_empty());
        let ca = CertificateDer::from_pem_slice(authority.ca_cert.as_bytes()).expect("pem");
        let (_, ca) = X509Certificate::from_der(&ca).expect("ca");
        certificate
            .verify_signature(Some(ca.public_key()))
            .expect("its signature");
        assert_eq!(certificate.issuer(), ca.subject());
        assert_eq!(
            certificate.subject().to_string(),
            "O=system:nodes, CN=system:node:n"
        );
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().expect("readable").expect("there");
        assert!(usage.value.digital_signature() && usage.value.key_encipherment() && usage.critical);
        assert!(!usage.value.key_cert_sign());
        let extended = certificate
            .extended_key_usage()
            .expect("readable")
            .expect("there");
        assert!(extended.value.server_auth && !extended.value.client_auth);
        let names = certificate
            .subject_alternative_name()
            .expect("readable")
            .expect("there");
        assert_eq!(names.value.general_names.len(), 2);
        let validity = certificate.validity();
        assert_eq!(validity.not_before.timestamp(), now().as_second() - 300);
        assert_eq!(validity.not_after.timestamp(), now().as_second() + LIFETIME - 300);
    }

    #[test]
    fn a_certificate_lives_as_long_as_asked_but_within_bounds() {
        let ends = |seconds: i64| {
            let (_, der) = issued(Some(seconds));
            let (_, certificate) = X509Certificate::from_der(&der).expect("certificate");
            certificate.validity().not_after.timestamp() - now().as_second()
        };
        assert_eq!(ends(3600), 3600);
        assert_eq!(ends(1), 600);
        assert_eq!(ends(10 * LIFETIME), LIFETIME - 300);
        assert_eq!(ends(24 * 3600), 24 * 3600 - 300);
        let (_, last) = validity(now(), None, now().as_second() + 60).expect("good");
        assert_eq!(last.as_second(), now().as_second() + 60);
        assert!(validity(now(), None, now().as_second()).is_err());
    }

    #[test]
    fn nobody_gets_a_certificate_for_a_key_that_he_does_not_have() {
        let authority = Authority::in_memory(now()).expect("keys");
        let (field, _) = field("joe", None, &[]);
        let mut request = Request::read(&field).expect("request");
        request.is_signed = false;
        assert!(issue(&authority, &request, &usages(&[CLIENT_AUTH]), None, now()).is_err());
    }
}
