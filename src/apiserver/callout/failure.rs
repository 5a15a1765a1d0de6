//! Why a webhook did not answer, in the words of kube-apiserver and of Go's HTTP client. It must not decide what follows from that.

use std::error::Error;
use std::io;

use http_body_util::LengthLimitError;
use rustls::CertificateError;
use serde_json::Value;

use super::super::handlers::json_problem;
use super::super::schema::go_quote;

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    message: String,
}

impl CallError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Says what is wrong when a webhook answers with something else than success (client-go: `NewGenericServerResponse`).
pub(super) fn of_answer(code: u16, is_text: bool, body: &[u8]) -> CallError {
    if let Some(message) = status_message(body) {
        return CallError::new(message);
    }
    let text = String::from_utf8_lossy(body);
    let said = if is_text && !text.trim().is_empty() {
        text.trim()
    } else {
        "unknown"
    };
    CallError::new(match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 406 => said.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        415 => "the server was unable to respond with a content type that the client supports".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request"
            .to_owned(),
        500.. => format!(
            "an error on the server ({}) has prevented the request from succeeding",
            go_quote(said)
        ),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    })
}

/// The message of a body that is itself a failure as the API tells it.
fn status_message(body: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(body).ok()?;
    let is_failure = status["kind"] == "Status" && status["status"] != "Success";
    is_failure
        .then(|| status["message"].as_str().map(str::to_owned))
        .flatten()
}

/// Says why an answer is no JSON.
pub(super) fn unreadable(body: &[u8], error: &serde_json::Error) -> CallError {
    CallError::new(format!(
        "couldn't get version/kind; json parse error: {}",
        json_problem(body, error)
    ))
}

/// Says why a connection could not be made.
pub(super) fn of_dial(address: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {error}"),
    };
    format!("dial tcp {address}: {why}")
}

/// Says why a handshake failed.
pub(super) fn of_handshake(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
            _ => error.to_string(),
        };
    };
    let rustls::Error::InvalidCertificate(why) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => {
                "tls: first record does not look like a TLS handshake".to_owned()
            }
            rustls::Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
            other => format!("tls: {other}"),
        };
    };
    let why = match why {
        // Somebody of the same name signed it, or it is an authority itself, but not one of the bundle.
        CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            let expected = expected.to_str();
            if names.is_empty() {
                "certificate is not valid for any names, but wanted to match ".to_owned() + &expected
            } else {
                format!("certificate is valid for {}, not {expected}", names.join(", "))
            }
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => format!("{other}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// Takes off what the library puts around a name of a certificate: `DnsName("a")`.
fn plain_name(shown: &str) -> &str {
    shown.split('"').nth(1).unwrap_or(shown)
}

/// Says why no answer began.
pub(super) fn of_http(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "EOF".to_owned();
    }
    let cause = error.source().map(ToString::to_string);
    cause.unwrap_or_else(|| error.to_string())
}

/// Says why an answer did not end.
pub(super) fn of_body(error: &(dyn Error + Send + Sync + 'static), limit: usize) -> String {
    if error.is::<LengthLimitError>() {
        return format!("the answer is longer than {limit} bytes");
    }
    "unexpected EOF".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_success_are_told_as_client_go_does() {
        let said = |code, is_text, body: &str| of_answer(code, is_text, body.as_bytes()).to_string();
        assert_eq!(
            said(500, true, "boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(
            said(500, false, "{}"),
            "an error on the server (\"unknown\") has prevented the request from succeeding"
        );
        assert_eq!(
            said(404, true, "404 page not found"),
            "the server could not find the requested resource"
        );
        assert_eq!(
            said(302, true, "x"),
            "the server responded with the status code 302 but did not return more information"
        );
        let status = r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no"}"#;
        assert_eq!(said(403, false, status), "no");
    }

    #[test]
    fn names_of_certificates_are_told_plainly() {
        assert_eq!(plain_name("DnsName(\"a.b\")"), "a.b");
        assert_eq!(plain_name("a"), "a");
    }
}
