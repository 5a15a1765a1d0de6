//! What a request asks for, in the words in which rights are given: verb, resource, namespace, name, or a path. It knows
//! no registry, so that rights are decided before anybody learns what is there.
//! It follows kube-apiserver's `RequestInfo` (apiserver/pkg/endpoints/request/requestinfo.go).

use http::Method;

use super::object::selectors::Fields;
use super::path;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// Whether it is about objects; otherwise only `path` and `verb` count.
    pub(crate) is_resource: bool,
    pub(crate) path: String,
    /// `get`, `list`, `deletecollection` ..., or the method in lower case.
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// Of a request on a namespace itself, that namespace too.
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    /// Fields that must have a value, of lists, watches and removals of many.
    pub(crate) selected: Vec<(String, String)>,
    /// Whether the answer lasts: it is a watch.
    pub(crate) is_long: bool,
}

impl RequestInfo {
    /// Reads a request.
    pub(crate) fn of(method: &Method, path: &str, query: &str) -> Self {
        let path = path::percent_decode(path);
        let mut info = Self {
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let parts: Vec<&str> = match path.trim_matches('/') {
            "" => Vec::new(),
            text => text.split('/').collect(),
        };
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                (*version).clone_into(&mut info.version);
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                (*group).clone_into(&mut info.group);
                (*version).clone_into(&mut info.version);
                rest
            }
            _ => &[],
        };
        if !rest.is_empty() {
            info.is_resource = true;
            info.read_resource(method, rest, query);
        }
        info.path = path;
        info
    }

    fn read_resource(&mut self, method: &Method, mut parts: &[&str], query: &str) {
        // The two words with which old paths begin.
        let special = match parts {
            [verb @ ("watch" | "proxy"), rest @ ..] if !rest.is_empty() => {
                parts = rest;
                Some(*verb)
            }
            _ => None,
        };
        let verb = special.unwrap_or(match method.as_str() {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        });
        verb.clone_into(&mut self.verb);
        if let ["namespaces", namespace, rest @ ..] = parts {
            (*namespace).clone_into(&mut self.namespace);
            if !matches!(rest, [] | ["status" | "finalize", ..]) {
                parts = rest;
            }
        }
        let part = |at: usize| parts.get(at).map(|&p| p.to_owned()).unwrap_or_default();
        (self.resource, self.name) = (part(0), part(1));
        if special.is_none() {
            self.subresource = part(2);
        }
        if self.name.is_empty() {
            match verb {
                "get" => self.read_list(query),
                "delete" => {
                    "deletecollection".clone_into(&mut self.verb);
                    self.selected = selected(path::query(query));
                }
                _ => {}
            }
        }
        self.is_long = self.verb == "watch";
    }

    /// A list of one name is a request for that object.
    fn read_list(&mut self, query: &str) {
        let verb = if watches(query) { "watch" } else { "list" };
        verb.clone_into(&mut self.verb);
        let query = path::query(query);
        self.selected = selected(query.clone());
        let value = |key: &str| query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let mut terms = value("fieldSelector").unwrap_or_default().split(',');
        let exact = |term: &str| -> Option<String> {
            let rest = term.trim().strip_prefix("metadata.name")?;
            let rest = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
            Some(rest.to_owned())
        };
        let is_segment =
            |name: &String| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '%']);
        if let Some(name) = terms.find_map(exact).filter(is_segment) {
            self.name = name;
        }
    }
}

/// Returns what a field selector wants to be equal. One that can't be read wants nothing here: it is refused later.
fn selected(query: Vec<(String, String)>) -> Vec<(String, String)> {
    let text = query.into_iter().find(|(key, _)| key == "fieldSelector");
    text.map_or_else(Vec::new, |(_, text)| equal_fields(&text))
}

/// The same of a selector's text.
pub(crate) fn equal_fields(text: &str) -> Vec<(String, String)> {
    let fields = Fields::parse(text).unwrap_or_default();
    let equal = fields.terms().iter().filter(|term| term.equal);
    equal
        .map(|term| (term.field.clone(), term.value.clone()))
        .collect()
}

/// Paths that have a name in the metrics, besides resources.
const KNOWN_PATHS: [&str; 12] = [
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
    "/",
];

impl RequestInfo {
    /// Whether it asks how the server is.
    pub(crate) fn is_health(&self) -> bool {
        let roots = ["/healthz", "/livez", "/readyz"];
        !self.is_resource && roots.into_iter().any(|root| self.path.starts_with(root))
    }

    /// The path, if it is one of a few.
    pub(crate) fn known_path(&self) -> &'static str {
        let known = KNOWN_PATHS.into_iter().find(|known| *known == self.path);
        known.unwrap_or_default()
    }
}

/// Anything but `false` and `0` is true.
fn watches(query: &str) -> bool {
    let value = |(key, value)| (key == "watch").then_some(value);
    let found: Option<String> = path::query(query).into_iter().find_map(value);
    found.is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verb, group, namespace, resource, subresource and name of a request; or verb and path.
    fn of(method: &str, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::of(&method.parse().expect("method"), path, query);
        if !info.is_resource {
            return format!("{} {}", info.verb, info.path);
        }
        let fields = [
            info.verb,
            info.group,
            info.namespace,
            info.resource,
            info.subresource,
            info.name,
        ];
        fields.join("|")
    }

    #[test]
    fn requests_are_read_as_kube_apiserver_reads_them() {
        let cases = [
            ("GET", "/api/v1/namespaces", "list|||namespaces||"),
            ("GET", "/api/v1/namespaces/other", "get||other|namespaces||other"),
            (
                "PUT",
                "/api/v1/namespaces/other/finalize",
                "update||other|namespaces|finalize|other",
            ),
            (
                "GET",
                "/api/v1/namespaces/other/status",
                "get||other|namespaces|status|other",
            ),
            ("GET", "/api/v1/namespaces/other/pods", "list||other|pods||"),
            ("GET", "/api/v1/namespaces/other/pods/foo", "get||other|pods||foo"),
            (
                "HEAD",
                "/api/v1/namespaces/other/pods/foo",
                "get||other|pods||foo",
            ),
            ("GET", "/api/v1/pods", "list|||pods||"),
            ("POST", "/api/v1/pods", "create|||pods||"),
            ("GET", "/api/v1/nodes/n/proxy/metrics", "get|||nodes|proxy|n"),
            ("GET", "/api/v1/watch/pods", "watch|||pods||"),
            (
                "GET",
                "/api/v1/watch/namespaces/other/pods/foo",
                "watch||other|pods||foo",
            ),
            (
                "GET",
                "/api/v1/namespaces/other/pods?watch=true",
                "watch||other|pods||",
            ),
            (
                "GET",
                "/api/v1/namespaces/other/pods?watch=0",
                "list||other|pods||",
            ),
            (
                "GET",
                "/api/v1/namespaces/other/pods/foo?watch=true",
                "get||other|pods||foo",
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3Dfoo",
                "list|||pods||foo",
            ),
            (
                "GET",
                "/api/v1/pods?watch=1&fieldSelector=a%3Db,metadata.name%3D%3Dfoo",
                "watch|||pods||foo",
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3D..",
                "list|||pods||",
            ),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name!%3Dfoo",
                "list|||pods||",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/other/pods/foo",
                "delete||other|pods||foo",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/other/pods",
                "deletecollection||other|pods||",
            ),
            (
                "DELETE",
                "/api/v1/pods?fieldSelector=metadata.name%3Dfoo",
                "deletecollection|||pods||",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/n/deployments/d/scale",
                "patch|apps|n|deployments|scale|d",
            ),
            ("OPTIONS", "/apis/apps/v1/deployments", "|apps||deployments||"),
            ("GET", "/api/v1/namespaces/a%2Fb/pods", "get||a|b||pods"),
            ("GET", "/", "get /"),
            ("GET", "/api", "get /api"),
            ("GET", "/api/v1", "get /api/v1"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("POST", "/metrics", "post /metrics"),
        ];
        for (method, target, expected) in cases {
            assert_eq!(of(method, target), expected, "{method} {target}");
        }
    }
}
