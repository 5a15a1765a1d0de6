//! What stands in a certificate request (PKCS #10). It must not decide what may stand there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::super::auth::common_name;

/// Further names of a subject: the tag that each has in DER, and its bytes.
pub(super) type Name = (u8, Vec<u8>);
pub(super) const EMAIL: u8 = 0x81;
pub(super) const DNS: u8 = 0x82;
pub(super) const URI: u8 = 0x86;
pub(super) const IP: u8 = 0x87;

/// A certificate request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(super) names: Vec<Name>,
    /// The subject in DER.
    pub(super) subject: Vec<u8>,
    /// The public key in DER.
    pub(super) key: Vec<u8>,
    /// Whether who made it has the private key.
    pub(super) is_signed: bool,
}

impl Request {
    /// Reads the field `request`: PEM in Base64.
    ///
    /// # Errors
    /// It is no certificate request.
    pub(crate) fn read(field: &str) -> Result<Self, String> {
        const WRONG: &str = "PEM block type must be CERTIFICATE REQUEST";
        let pem = BASE64.decode(field).map_err(|_| WRONG)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| WRONG)?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(WRONG.to_owned());
        }
        let (rest, parsed) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("asn1: syntax error: trailing data".to_owned());
        }
        let info = &parsed.certification_request_info;
        check_subject(&info.subject)?;
        let organizations = info.subject.iter_organization().filter_map(|o| o.as_str().ok());
        Ok(Self {
            common_name: common_name(&info.subject).unwrap_or_default().to_owned(),
            organizations: organizations.map(str::to_owned).collect(),
            names: names(&parsed),
            subject: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            is_signed: parsed.verify_signature().is_ok(),
        })
    }

    /// Says whether there are further names of a sort.
    pub(super) fn has_names(&self, tag: u8) -> bool {
        self.names.iter().any(|(own, _)| *own == tag)
    }
}

/// Refuses a subject that others could read in another way: it is signed as it is, and says who its owner is.
fn check_subject(subject: &X509Name<'_>) -> Result<(), String> {
    if subject.iter_common_name().nth(1).is_some() {
        return Err("the subject has more than one common name".to_owned());
    }
    let mut names = subject.iter_common_name().chain(subject.iter_organization());
    if names.any(|name| name.as_str().is_err()) {
        return Err("a name in the subject is no text that can be read".to_owned());
    }
    Ok(())
}

fn names(request: &X509CertificationRequest<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &asked.extensions {
            let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() else {
                continue;
            };
            names.extend(alternative.general_names.iter().filter_map(|name| match name {
                GeneralName::RFC822Name(name) => Some((EMAIL, name.as_bytes().to_vec())),
                GeneralName::DNSName(name) => Some((DNS, name.as_bytes().to_vec())),
                GeneralName::URI(name) => Some((URI, name.as_bytes().to_vec())),
                GeneralName::IPAddress(bytes) => Some((IP, bytes.to_vec())),
                _ => None,
            }));
        }
    }
    names
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use rcgen::{CertificateParams, DnType, KeyPair};

    /// A request in the form of the field, and its key.
    pub(crate) fn field(common_name: &str, organization: Option<&str>, names: &[&str]) -> (String, KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organization) = organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("key");
        let pem = params
            .serialize_request(&key)
            .expect("request")
            .pem()
            .expect("pem");
        (BASE64.encode(pem), key)
    }

    #[test]
    fn subject_and_names_are_read() {
        let (field, _) = field("system:node:n", Some("system:nodes"), &["n.example", "10.0.0.1"]);
        let request = Request::read(&field).expect("request");
        assert_eq!(request.common_name, "system:node:n");
        assert_eq!(request.organizations, ["system:nodes"]);
        assert!(request.has_names(DNS) && request.has_names(IP) && !request.has_names(URI));
        assert!(request.is_signed);
    }

    /// A request whose subject has these names, each with the last number of its object identifier.
    fn field_of(subject: Vec<(u64, rcgen::DnValue)>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (at, (kind, value)) in subject.into_iter().enumerate() {
            // The library keeps one name of each kind, but can be told of the same kind by its number.
            let kind = match (kind, at) {
                (3, 0) => DnType::CommonName,
                (kind, _) => DnType::CustomDnType(vec![2, 5, 4, kind]),
            };
            params.distinguished_name.push(kind, value);
        }
        let request = params.serialize_request(&KeyPair::generate().expect("key"));
        BASE64.encode(request.expect("request").pem().expect("pem"))
    }

    #[test]
    fn a_subject_that_can_be_read_in_two_ways_is_refused() {
        let text = |text: &str| rcgen::DnValue::Utf8String(text.to_owned());
        let teletex = |text: &str| rcgen::DnValue::TeletexString(text.try_into().expect("text"));
        let one = field_of(vec![(3, text("system:node:n")), (10, text("system:nodes"))]);
        assert!(Request::read(&one).is_ok());
        for subject in [
            vec![(3, text("kubernetes-admin")), (3, text("system:node:n"))],
            vec![(3, teletex("kubernetes-admin"))],
            vec![(3, text("system:node:n")), (10, teletex("system:masters"))],
        ] {
            assert!(Request::read(&field_of(subject.clone())).is_err(), "{subject:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (good, _) = field("a", None, &[]);
        let pem = BASE64.decode(&good).expect("base64");
        let text = String::from_utf8(pem).expect("pem");
        let other = text.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        for wrong in [
            "",
            "%",
            "bm90aGluZw==",
            &BASE64.encode(other),
            &BASE64.encode(&text[..100]),
        ] {
            assert!(Request::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_for_somebody_elses_key_is_not_signed() {
        let (field, _) = field("a", None, &[]);
        let pem = BASE64.decode(&field).expect("base64");
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).expect("pem");
        let mut der = block.contents;
        // The name is changed after it was signed.
        let at = der
            .iter()
            .rposition(|b| *b == b'a')
            .map(|_| der.windows(3).position(|w| w == [0x0c, 1, b'a']));
        let at = at.flatten().expect("name");
        der[at + 2] = b'b';
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            BASE64.encode(der)
        );
        let request = Request::read(&BASE64.encode(pem)).expect("read");
        assert_eq!((request.common_name.as_str(), request.is_signed), ("b", false));
    }
}
