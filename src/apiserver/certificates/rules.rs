//! What each signer signs, in the words of kube-controller-manager (`pkg/apis/certificates/helpers.go`). It must not sign.

use serde_json::Value;

use super::request::{DNS, EMAIL, IP, Request, URI};

pub(super) const DIGITAL_SIGNATURE: &str = "digital signature";
pub(super) const KEY_ENCIPHERMENT: &str = "key encipherment";
pub(super) const CLIENT_AUTH: &str = "client auth";
pub(super) const SERVER_AUTH: &str = "server auth";

/// Returns what the certificate shall be good for, sorted and each once.
pub(super) fn usages(object: &Value) -> Vec<String> {
    let usages = object["spec"]["usages"].as_array().into_iter().flatten();
    let mut usages: Vec<String> = usages.filter_map(Value::as_str).map(str::to_owned).collect();
    usages.sort_unstable();
    usages.dedup();
    usages
}

/// Certificates with which clients show who they are.
pub(super) fn check_client(usages: &[String]) -> Result<(), String> {
    let allowed = [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CLIENT_AUTH];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.iter().any(|usage| usage == CLIENT_AUTH) {
        return Ok(());
    }
    Err(format!(
        "missing required usage for client certificate: {CLIENT_AUTH}"
    ))
}

fn check_node(request: &Request) -> Result<(), String> {
    if request.organizations == ["system:nodes"] {
        return Ok(());
    }
    Err("subject organization is not system:nodes".to_owned())
}

fn check_node_name(request: &Request) -> Result<(), String> {
    if request.common_name.starts_with("system:node:") {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".to_owned())
}

/// The usages, which are sorted, must be these; encryption may be left away.
fn check_usages(usages: &[String], whole: [&str; 3]) -> Result<(), String> {
    let needed = whole.iter().filter(|usage| **usage != KEY_ENCIPHERMENT);
    if usages == whole || usages.iter().eq(needed) {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", whole.join(" ")))
}

fn refuse_names(request: &Request, kinds: &[(u8, &str)]) -> Result<(), String> {
    match kinds.iter().find(|(tag, _)| request.has_names(*tag)) {
        Some((_, word)) => Err(format!("{word} subjectAltNames are not allowed")),
        None => Ok(()),
    }
}

/// Certificates with which kubelets show who they are.
pub(super) fn check_kubelet_client(request: &Request, usages: &[String]) -> Result<(), String> {
    check_node(request)?;
    refuse_names(
        request,
        &[(DNS, "DNS"), (EMAIL, "Email"), (IP, "IP"), (URI, "URI")],
    )?;
    check_node_name(request)?;
    check_usages(usages, [CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT])
}

/// Certificates that kubelets show to those who reach them.
pub(super) fn check_kubelet_serving(request: &Request, usages: &[String]) -> Result<(), String> {
    check_node(request)?;
    if !request.has_names(DNS) && !request.has_names(IP) {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    refuse_names(request, &[(EMAIL, "Email"), (URI, "URI")])?;
    check_usages(usages, [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH])?;
    check_node_name(request)
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::field;
    use super::*;

    fn request(common_name: &str, organization: Option<&str>, names: &[&str]) -> Request {
        Request::read(&field(common_name, organization, names).0).expect("request")
    }

    fn sorted(usages: &[&str]) -> Vec<String> {
        super::usages(&serde_json::json!({"spec": {"usages": usages}}))
    }

    #[test]
    fn kubelets_get_client_certificates_for_nodes_only() {
        let usages = sorted(&[KEY_ENCIPHERMENT, DIGITAL_SIGNATURE, CLIENT_AUTH]);
        let told = |request: &Request, usages: &[String]| {
            check_kubelet_client(request, usages).err().unwrap_or_default()
        };
        let good = request("system:node:n", Some("system:nodes"), &[]);
        assert_eq!(told(&good, &usages), "");
        assert_eq!(told(&good, &sorted(&[DIGITAL_SIGNATURE, CLIENT_AUTH])), "");
        let wanted = "usages did not match [client auth digital signature key encipherment]";
        assert_eq!(told(&good, &sorted(&[SERVER_AUTH])), wanted);
        let cases = [
            (
                request("system:node:n", None, &[]),
                "subject organization is not system:nodes",
            ),
            (
                request("system:node:n", Some("system:masters"), &[]),
                "subject organization is not system:nodes",
            ),
            (
                request("n", Some("system:nodes"), &[]),
                "subject common name does not begin with system:node:",
            ),
            (
                request("system:node:n", Some("system:nodes"), &["a"]),
                "DNS subjectAltNames are not allowed",
            ),
            (
                request("system:node:n", Some("system:nodes"), &["10.0.0.1"]),
                "IP subjectAltNames are not allowed",
            ),
        ];
        for (request, expected) in cases {
            assert_eq!(told(&request, &usages), expected);
        }
    }

    #[test]
    fn kubelets_get_serving_certificates_for_addresses() {
        let usages = sorted(&[KEY_ENCIPHERMENT, DIGITAL_SIGNATURE, SERVER_AUTH]);
        let told = |request: &Request, usages: &[String]| {
            check_kubelet_serving(request, usages).err().unwrap_or_default()
        };
        let good = request("system:node:n", Some("system:nodes"), &["10.0.0.1"]);
        assert_eq!(told(&good, &usages), "");
        let wanted = "usages did not match [digital signature key encipherment server auth]";
        assert_eq!(told(&good, &sorted(&[CLIENT_AUTH, DIGITAL_SIGNATURE])), wanted);
        let nameless = request("system:node:n", Some("system:nodes"), &[]);
        assert_eq!(told(&nameless, &usages), "DNS or IP subjectAltName is required");
    }

    #[test]
    fn clients_get_certificates_that_serve_nothing() {
        let told = |usages: &[&str]| check_client(&sorted(usages)).err().unwrap_or_default();
        assert_eq!(told(&[CLIENT_AUTH]), "");
        assert_eq!(
            told(&[CLIENT_AUTH, SERVER_AUTH]),
            "invalid usage for client certificate: server auth"
        );
        assert_eq!(
            told(&[DIGITAL_SIGNATURE]),
            "missing required usage for client certificate: client auth"
        );
    }
}
