//! Names: what is a valid one, and the names that are derived from others. Pure.

use crate::digest::fnv1a;

/// Longest name of a cluster or machine: it becomes a host name, a Node name and a label value.
pub const MAX_LENGTH: usize = 63;

/// Says why a name can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// There is nothing.
    #[error("a name can't be empty")]
    Empty,
    /// It has more than [`MAX_LENGTH`] characters.
    #[error("\"{0}\" has {length} characters, at most {MAX_LENGTH} are allowed", length = .0.len())]
    TooLong(String),
    /// It is no DNS label.
    #[error(
        "\"{0}\" is no valid name: use lower-case letters, digits and '-', beginning and ending with a letter or digit"
    )]
    NotALabel(String),
}

/// Checks that a name is a DNS label (RFC 1123), as cluster and machine names have to be.
pub fn dns_label(name: &str) -> Result<&str, InvalidName> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > MAX_LENGTH {
        return Err(InvalidName::TooLong(name.to_owned()));
    }
    if !name.chars().all(|c| good(c) || c == '-') || !name.starts_with(good) || !name.ends_with(good) {
        return Err(InvalidName::NotALabel(name.to_owned()));
    }
    Ok(name)
}

/// Says what is wrong with a label, if anything is (Kubernetes: syntax of labels).
pub fn label_problem(key: &str, value: &str) -> Option<String> {
    let ends = |c: char| c.is_ascii_alphanumeric();
    let good = |text: &str| {
        text.len() <= MAX_LENGTH
            && text.starts_with(ends)
            && text.ends_with(ends)
            && text.chars().all(|c| ends(c) || "-_.".contains(c))
    };
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let domain = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(|part| dns_label(part).is_ok());
    if !good(name) || !prefix.is_none_or(domain) {
        return Some(format!(
            "\"{key}\" can't be the key of a label: use letters, digits, '-', '_' and '.', for example pool or example.com/pool"
        ));
    }
    (!value.is_empty() && !good(value)).then(|| {
        format!("\"{value}\" can't be the value of a label: use at most {MAX_LENGTH} letters, digits, '-', '_' and '.'")
    })
}

/// Secret with a machine's bootstrap data.
pub fn bootstrap_secret(machine: &str) -> String {
    format!("{machine}-bootstrap")
}

/// Secret with a cluster's admin kubeconfig (key `value`; Cluster API: `<cluster>-kubeconfig`).
pub fn kubeconfig_secret(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

/// The key pairs of a cluster, each in the Secret `<cluster>-<suffix>` (keys `tls.crt`, `tls.key`; Cluster API).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterKeyPair {
    /// CA of the API server, of kubelets and of users.
    Ca,
    /// CA of etcd.
    Etcd,
    /// CA of the aggregation layer.
    Proxy,
    /// Key that signs service account tokens.
    ServiceAccount,
}

impl ClusterKeyPair {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ca, Self::Etcd, Self::Proxy, Self::ServiceAccount];

    /// Returns the Secret that holds it.
    pub fn secret(self, cluster: &str) -> String {
        let suffix = match self {
            Self::Ca => "ca",
            Self::Etcd => "etcd",
            Self::Proxy => "proxy",
            Self::ServiceAccount => "sa",
        };
        format!("{cluster}-{suffix}")
    }
}

/// `ConfigMap` that says which Node conditions make a machine broken, for the health checks of its namespace that do not (`OpenShift` of 2019).
pub const UNHEALTHY_CONDITIONS: &str = "node-unhealthy-conditions";

/// Name of a cluster's N-th worker, counted from 1.
pub fn worker(cluster: &str, number: usize) -> String {
    format!("{cluster}-worker-{number}")
}

/// A name as the value of a label: itself, or if it is too long for one its beginning with a digest, so that two names stay two (Cluster
/// API: `MustFormatValue`).
pub fn label_value(name: &str) -> String {
    if name.len() <= MAX_LENGTH {
        return name.to_owned();
    }
    let digest = fnv1a(name.as_bytes());
    let room = MAX_LENGTH - 17;
    let start = name.get(..room).unwrap_or_default();
    format!("{start}-{digest:016x}")
}

/// Name of the `MachineSet` that keeps a cluster's workers.
pub fn workers(cluster: &str) -> String {
    format!("{cluster}-workers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_any_name_and_tells_two_apart() {
        assert_eq!(label_value("workers"), "workers");
        let long = |end: &str| label_value(&format!("{}{end}", "x".repeat(70)));
        assert_eq!(long("a").len(), MAX_LENGTH);
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
    }

    #[test]
    fn labels_that_no_server_takes_are_told() {
        for (key, value) in [("a", ""), ("A_b.c-d", "1"), ("example.com/pool", "Blue")] {
            assert_eq!(label_problem(key, value), None, "{key}={value}");
        }
        let long = "x".repeat(64);
        for (key, value) in [
            ("a b", "c"),
            ("", ""),
            ("-a", ""),
            ("a/", ""),
            ("/a", ""),
            ("A.b/c", ""),
            ("a/b/c", ""),
            (&*long, ""),
            ("a", "b c"),
            ("a", "-"),
            ("a", &*long),
            ("a", "ä"),
        ] {
            assert!(label_problem(key, value).is_some(), "{key}={value}");
        }
    }

    #[test]
    fn labels_are_told_from_other_names() {
        for good in ["a", "demo", "demo-worker-1", "0x"] {
            assert!(dns_label(good).is_ok(), "{good}");
        }
        for bad in ["", "Demo", "-a", "a-", "a.b", "a_b", "ä", &"x".repeat(64)] {
            assert!(dns_label(bad).is_err(), "{bad}");
        }
    }
}
