//! What a certificate request asks for: the PKCS #10 text inside of a `CertificateSigningRequest`. Pure.
//!
//! Whoever signs reads the same bytes with another parser: everything that could be read in two ways is refused.

use std::net::IpAddr;

use x509_parser::{
    asn1_rs::{FromDer as _, Header},
    certification_request::X509CertificationRequest,
    cri_attributes::{ParsedCriAttribute, X509CriAttribute},
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_PKCS9_EXTENSION_REQUEST, OID_X509_EXT_SUBJECT_ALT_NAME},
    prelude::parse_x509_pem,
    x509::AttributeTypeAndValue,
};

const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Common names of the subject.
    pub(super) common_names: Vec<String>,
    /// Organizations of the subject.
    pub(super) organizations: Vec<String>,
    /// DNS names.
    pub(super) dns: Vec<String>,
    /// IP addresses.
    pub(super) ips: Vec<IpAddr>,
    /// Names of other kinds, for people.
    pub(super) others: Vec<String>,
}

/// Reads a request, and checks that whoever made it has its key.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(pem: &[u8]) -> Result<Asked, String> {
    let text = std::str::from_utf8(pem).map_err(|_| "it is no PEM text".to_owned())?;
    if !text.trim_start().starts_with(BEGIN) || text.matches("-----BEGIN").count() != 1 {
        return Err(format!("it is not one PEM block that begins with {BEGIN}"));
    }
    let (_, block) = parse_x509_pem(pem).map_err(|e| format!("it is no PEM text: {e}"))?;
    let (rest, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|e| format!("it is no PKCS #10 request: {e}"))?;
    if !rest.is_empty() {
        return Err("something follows the PKCS #10 request".to_owned());
    }
    request
        .verify_signature()
        .map_err(|e| format!("it is not signed with its own key: {e}"))?;
    let subject = &request.certification_request_info.subject;
    let texts = |found: Vec<Result<&str, _>>| -> Result<Vec<String>, String> {
        let found: Result<Vec<&str>, x509_parser::error::X509Error> = found.into_iter().collect();
        let found = found.map_err(|e| format!("its subject can't be read: {e}"))?;
        Ok(found.into_iter().map(str::to_owned).collect())
    };
    let mut asked = Asked {
        common_names: texts(
            subject
                .iter_common_name()
                .map(AttributeTypeAndValue::as_str)
                .collect(),
        )?,
        organizations: texts(
            subject
                .iter_organization()
                .map(AttributeTypeAndValue::as_str)
                .collect(),
        )?,
        ..Asked::default()
    };
    for name in names(request.certification_request_info.attributes())? {
        match name {
            GeneralName::DNSName(name) => asked.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => asked.ips.push(address(bytes)?),
            other => asked.others.push(other.to_string()),
        }
    }
    Ok(asked)
}

/// The alternative names that a request asks for.
fn names<'a>(attributes: &'a [X509CriAttribute<'a>]) -> Result<Vec<&'a GeneralName<'a>>, String> {
    let mut requests = attributes.iter().filter(|a| a.oid == OID_PKCS9_EXTENSION_REQUEST);
    let Some(request) = requests.next() else {
        return Ok(Vec::new());
    };
    if requests.next().is_some() || !is_one_value(request.value) {
        return Err("it asks for extensions more than once".to_owned());
    }
    let ParsedCriAttribute::ExtensionRequest(request) = request.parsed_attribute() else {
        return Err("the extensions that it asks for can't be read".to_owned());
    };
    let mut found = request
        .extensions
        .iter()
        .filter(|e| e.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
    let Some(extension) = found.next() else {
        return Ok(Vec::new());
    };
    if found.next().is_some() {
        return Err("it asks for alternative names more than once".to_owned());
    }
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Ok(names.general_names.iter().collect()),
        _ => Err("the alternative names that it asks for can't be read".to_owned()),
    }
}

/// Whether the value that was read is all that the set of an attribute's values holds.
fn is_one_value(set: &[u8]) -> bool {
    Header::from_der(set).is_ok_and(|(content, header)| header.length().definite() == Ok(content.len()))
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address
        .map(|address| address.to_canonical())
        .map_err(|_| format!("an IP address has {} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use rcgen::{Attribute, CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, "system:node:m-1");
        params.subject_alt_names = vec![
            SanType::DnsName("m-1".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("fd00::7".parse().unwrap()),
        ];
        params
    }

    fn der(params: &CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    fn pem(der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|l| std::str::from_utf8(l).unwrap())
            .collect();
        format!(
            "{BEGIN}\n{}\n-----END CERTIFICATE REQUEST-----\n",
            lines.join("\n")
        )
    }

    fn why(pem: &str) -> String {
        read(pem.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_a_kubelet_asks_for_is_read() {
        let asked = read(pem(&der(&params())).as_bytes()).unwrap();
        assert_eq!(
            asked,
            Asked {
                common_names: vec!["system:node:m-1".into()],
                organizations: vec!["system:nodes".into()],
                dns: vec!["m-1".into()],
                ips: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
                others: Vec::new(),
            }
        );
    }

    #[test]
    fn names_of_other_kinds_are_told() {
        let mut params = params();
        params.subject_alt_names = vec![
            SanType::URI("https://example.net".try_into().unwrap()),
            SanType::Rfc822Name("joe@example.net".try_into().unwrap()),
        ];
        let asked = read(pem(&der(&params)).as_bytes()).unwrap();
        assert_eq!(asked.others.len(), 2);
        params.subject_alt_names.clear();
        let asked = read(pem(&der(&params)).as_bytes()).unwrap();
        assert!(asked.dns.is_empty() && asked.ips.is_empty() && asked.others.is_empty());
    }

    #[test]
    fn what_is_no_request_or_two_is_refused() {
        let good = pem(&der(&params()));
        for (text, told) in [
            (String::new(), "not one PEM block"),
            ("hello".to_owned(), "not one PEM block"),
            (
                good.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
                "not one PEM block",
            ),
            (format!("{good}{good}"), "not one PEM block"),
            (format!("words before\n{good}"), "not one PEM block"),
            (pem(b"hello"), "no PKCS #10"),
            (pem(&[der(&params()), vec![0]].concat()), "something follows"),
        ] {
            assert!(why(&text).contains(told), "{}", why(&text));
        }
        assert!(read(&[0xff, 0xfe]).is_err());
    }

    /// The DER of the request for an extension: the DNS name `evil`.
    const EVIL: [u8; 19] = [
        0x30, 0x11, 0x30, 0x0f, 0x06, 0x03, 0x55, 0x1d, 0x11, 0x04, 0x08, 0x30, 0x06, 0x82, 0x04, b'e', b'v',
        b'i', b'l',
    ];

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |params: &CertificateParams, set: Vec<u8>| {
            let attribute = Attribute {
                oid: &[1, 2, 840, 113_549, 1, 9, 14],
                values: [vec![0x31, u8::try_from(set.len()).unwrap()], set].concat(),
            };
            let key = KeyPair::generate().unwrap();
            let request = params.serialize_request_with_attributes(&key, vec![attribute]);
            pem(request.unwrap().der())
        };
        let mut bare = params();
        bare.subject_alt_names.clear();
        let once = read(with(&bare, EVIL.to_vec()).as_bytes()).unwrap();
        assert_eq!(once.dns, ["evil"]);
        for text in [
            with(&params(), EVIL.to_vec()),
            with(&bare, [EVIL, EVIL].concat()),
            with(
                &bare,
                [vec![0x30, 0x22], EVIL[2..].to_vec(), EVIL[2..].to_vec()].concat(),
            ),
        ] {
            assert!(why(&text).contains("more than once"), "{}", why(&text));
        }
    }

    #[test]
    fn a_request_that_was_changed_is_refused() {
        let mut bytes = der(&params());
        let at = bytes.windows(3).position(|w| w == b"m-1").unwrap();
        bytes[at + 2] = b'2';
        assert!(why(&pem(&bytes)).contains("not signed with its own key"));
    }

    #[test]
    fn what_is_asked_for_can_not_be_changed_and_no_bytes_make_it_panic() {
        let good = der(&params());
        let asked = read(pem(&good).as_bytes());
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            let changed = read(pem(&bytes).as_bytes());
            // Around what is signed there is a byte or two that says nothing.
            assert!(changed.is_err() || changed == asked, "{at}");
            assert!(read(pem(&good[..at]).as_bytes()).is_err(), "{at}");
        }
    }
}
