//! The kubeconfig of a cluster's administrator: write it, and tell whether one still fits. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{pki::KeyPair, yaml};

/// Writes a kubeconfig.
pub(super) fn write(cluster: &str, server: &str, ca_pem: &str, admin: &KeyPair) -> Option<String> {
    let user = format!("{cluster}-admin");
    let context = format!("{user}@{cluster}");
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(ca_pem) } }],
        "users": [{ "name": user, "user": {
            "client-certificate-data": STANDARD.encode(&admin.cert_pem),
            "client-key-data": STANDARD.encode(admin.key_pem.expose()),
        } }],
        "contexts": [{ "name": context, "context": { "cluster": cluster, "user": user } }],
        "current-context": context,
    });
    yaml::to_string(&document).ok()
}

/// Whether a kubeconfig leads to this server and trusts this CA.
pub(super) fn fits(text: &str, server: &str, ca_pem: &str) -> bool {
    let Ok(document) = yaml::from_str::<Value>(text) else {
        return false;
    };
    let cluster = &document["clusters"][0]["cluster"];
    cluster["server"] == server && cluster["certificate-authority-data"] == STANDARD.encode(ca_pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_fits_until_server_or_ca_change() {
        let admin = KeyPair {
            cert_pem: "certificate".into(),
            key_pem: "key".into(),
        };
        let text = write("demo", "https://127.0.0.1:32768", "ca", &admin).unwrap();
        assert!(fits(&text, "https://127.0.0.1:32768", "ca"));
        assert!(!fits(&text, "https://127.0.0.1:32769", "ca"));
        assert!(!fits(&text, "https://127.0.0.1:32768", "another"));
        assert!(!fits("nonsense: [", "https://127.0.0.1:32768", "ca"));
        let read: Value = yaml::from_str(&text).unwrap();
        assert_eq!(read["current-context"], "demo-admin@demo");
    }
}
