//! What a request path names. It must not look at what the server serves.

/// A path taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Version { group: String, version: String },
    /// Objects or one object.
    Resource(ResourcePath),
    /// Anything else.
    Other,
}

/// A path that names objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Empty: all namespaces, or a resource that has none.
    pub(crate) namespace: String,
    pub(crate) resource: String,
    /// Empty: the collection.
    pub(crate) name: String,
    /// What follows the name: empty, or `status`, `scale`, `log` ...
    pub(crate) subresource: String,
    /// Whether the path itself asks for a watch, as paths did before there was a parameter for it.
    pub(crate) watches: bool,
}

/// Takes a path (without the query) apart.
pub(crate) fn parse(path: &str) -> Target {
    // Decoded first, as rights are decided on the same path.
    let decoded = percent_decode(path);
    let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api"] => return Target::CoreVersions,
        ["apis"] => return Target::Groups,
        ["apis", group] => return Target::Group((*group).to_owned()),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Target::Other,
    };
    let (group, version) = (group.to_owned(), version.to_owned());
    let (watches, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, resource, name, tail) = match rest {
        [] => return Target::Version { group, version },
        ["namespaces", name, sub @ ("status" | "finalize")] => ("", "namespaces", *name, vec![*sub]),
        ["namespaces", namespace, resource, tail @ ..] => (
            *namespace,
            *resource,
            tail.first().copied().unwrap_or_default(),
            tail.get(1..).unwrap_or_default().to_vec(),
        ),
        [resource, tail @ ..] => (
            "",
            *resource,
            tail.first().copied().unwrap_or_default(),
            tail.get(1..).unwrap_or_default().to_vec(),
        ),
    };
    Target::Resource(ResourcePath {
        group,
        version,
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        subresource: tail.join("/"),
        watches,
    })
}

/// Undoes percent encoding. What is not valid stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        // A sign, which numbers may have, makes no escape.
        let hex = hex.filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Takes a query string apart, in order.
pub(crate) fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                percent_decode(&key.replace('+', " ")),
                percent_decode(&value.replace('+', " ")),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group, version, namespace, resource, name and subresource.
    fn resource(path: &str) -> [String; 6] {
        let Target::Resource(p) = parse(path) else {
            panic!("{path} names no resource")
        };
        [p.group, p.version, p.namespace, p.resource, p.name, p.subresource]
    }

    #[test]
    fn objects_are_found_with_and_without_namespace() {
        assert_eq!(resource("/api/v1/nodes"), (["", "v1", "", "nodes", "", ""]));
        assert_eq!(
            resource("/api/v1/namespaces/x"),
            (["", "v1", "", "namespaces", "x", ""])
        );
        assert_eq!(
            resource("/api/v1/namespaces/x/status"),
            (["", "v1", "", "namespaces", "x", "status"])
        );
        assert_eq!(
            resource("/api/v1/namespaces/x/pods/y/log"),
            (["", "v1", "x", "pods", "y", "log"])
        );
        assert_eq!(
            resource("/apis/apps/v1/namespaces/x/deployments/y/scale"),
            (["apps", "v1", "x", "deployments", "y", "scale"])
        );
    }

    #[test]
    fn discovery_paths_are_told_apart() {
        assert_eq!(parse("/api"), Target::CoreVersions);
        assert_eq!(parse("/apis/"), Target::Groups);
        assert_eq!(parse("/apis/apps"), Target::Group("apps".to_owned()));
        assert_eq!(
            parse("/api/v1"),
            Target::Version {
                group: String::new(),
                version: "v1".to_owned()
            }
        );
        assert_eq!(parse("/"), Target::Other);
        assert_eq!(parse("/healthz"), Target::Other);
    }

    #[test]
    fn percent_signs_are_undone_once() {
        assert_eq!(resource("/api/v1/nodes/a%2Fb")[4..], ["a", "b"]);
        assert_eq!(resource("/api/v1/nodes/a%252Fb")[4], "a%2Fb");
        assert_eq!(percent_decode("%zz%4%+f%-1"), "%zz%4%+f%-1");
        assert_eq!(
            query("labelSelector=a%3D2&x"),
            [
                ("labelSelector".into(), "a=2".into()),
                ("x".into(), String::new())
            ]
        );
    }
}
