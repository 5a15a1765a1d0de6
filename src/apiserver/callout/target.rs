//! Where a webhook is: a URL, or a service of the server's own state. It must not open connections.

use serde_json::Value;

use super::super::Server;

/// Store key of endpoint slices.
const SLICES: &str = "endpointslices.discovery.k8s.io";
/// The label by which a slice says whose it is.
const SLICE_OF: &str = "kubernetes.io/service-name";

/// A webhook as `clientConfig` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    /// Namespace and name of the service that stands behind the host, if it is one.
    service: Option<(String, String)>,
    ca_bundle: String,
}

/// A host (or address) and a port.
pub(super) type Place = (String, u16);

impl Target {
    /// Reads a `clientConfig`. What is wrong with it was said when it was written; what is missing is empty here.
    pub(crate) fn of(config: &Value) -> Self {
        let text = |pointer: &str| {
            let found = config.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let ca_bundle = text("/caBundle");
        if let Some(service) = config.get("service").filter(|s| s.is_object()) {
            let (namespace, name) = (text("/service/namespace"), text("/service/name"));
            let port = service.get("port").and_then(Value::as_u64).unwrap_or(443);
            return Self {
                host: format!("{name}.{namespace}.svc"),
                port: u16::try_from(port).unwrap_or(443),
                path: text("/service/path"),
                service: Some((namespace, name)),
                ca_bundle,
            };
        }
        let url = text("/url");
        let rest = url.strip_prefix("https://").unwrap_or(&url);
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = split_port(authority);
        Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            service: None,
            ca_bundle,
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn ca_bundle(&self) -> &str {
        &self.ca_bundle
    }

    /// Returns what stands in the request's first line.
    pub(super) fn path(&self, seconds: u64) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{slash}{}?timeout={seconds}s", self.path)
    }

    /// Returns host and port as a URL shows them: a service always with its port, a URL as it was given.
    pub(super) fn authority(&self) -> String {
        let host = bracketed(&self.host);
        if self.service.is_none() && self.port == 443 {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Returns the whole URL.
    pub(super) fn address(&self, seconds: u64) -> String {
        format!("https://{}{}", self.authority(), self.path(seconds))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn split_port(authority: &str) -> (&str, u16) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').unwrap_or((rest, ""));
        let port = tail.strip_prefix(':').and_then(|p| p.parse().ok());
        return (host, port.unwrap_or(443));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(443)),
        None => (authority, 443),
    }
}

impl Server {
    /// Finds out where to connect to. There is no network of services here: one of the endpoints is taken if there are some, else
    /// the service's own address.
    pub(super) fn resolve(&self, target: &Target) -> Result<Place, String> {
        let Some((namespace, name)) = &target.service else {
            return Ok((target.host.clone(), target.port));
        };
        let missing = || format!("service {name:?} not found");
        let service = self
            .store()
            .get("services", namespace, name)
            .ok_or_else(missing)?;
        let spec = service.value("v1", "Service")["spec"].take();
        let kind = spec["type"].as_str().unwrap_or("ClusterIP");
        if kind == "ExternalName" {
            return Ok((
                spec["externalName"].as_str().unwrap_or_default().to_owned(),
                target.port,
            ));
        }
        let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let port = ports
            .iter()
            .find(|p| p["port"].as_u64() == Some(u64::from(target.port)))
            .ok_or_else(|| format!("no service port {} found for service {name:?}", target.port))?;
        let port_name = port["name"].as_str().unwrap_or_default();
        if let Some(place) = self
            .slice_of(namespace, name, port_name)
            .or_else(|| self.endpoint_of(namespace, name, port_name))
        {
            return Ok(place);
        }
        match spec["clusterIP"].as_str() {
            Some("None" | "") | None => Err(format!("no endpoints available for service {name:?}")),
            Some(address) => Ok((address.to_owned(), target.port)),
        }
    }

    /// Finds an address in the endpoint slices of a service.
    fn slice_of(&self, namespace: &str, service: &str, port_name: &str) -> Option<Place> {
        let (_, slices) = self.store().list(SLICES, Some(namespace));
        let own = slices.iter().filter(|s| s.labels.get(SLICE_OF) == Some(service));
        let places = own.filter_map(|slice| {
            let slice = slice.value("discovery.k8s.io/v1", "EndpointSlice");
            let port = port_of(&slice["ports"], port_name);
            let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
            let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
            let address = endpoints
                .iter()
                .filter(ready)
                .find_map(|e| e["addresses"][0].as_str());
            address.map(str::to_owned).zip(port)
        });
        any(places.collect())
    }

    /// Finds an address in the endpoints of a service.
    fn endpoint_of(&self, namespace: &str, service: &str, port_name: &str) -> Option<Place> {
        let endpoints = self.store().get("endpoints", namespace, service)?;
        let endpoints = endpoints.value("v1", "Endpoints");
        let subsets = endpoints["subsets"].as_array()?.iter();
        let places = subsets.filter_map(|subset| {
            let port = port_of(&subset["ports"], port_name);
            subset["addresses"][0]["ip"].as_str().map(str::to_owned).zip(port)
        });
        any(places.collect())
    }
}

fn port_of(ports: &Value, name: &str) -> Option<u16> {
    let named = |port: &&Value| port["name"].as_str().unwrap_or_default() == name;
    let port = ports.as_array()?.iter().find(named)?;
    u16::try_from(port["port"].as_u64()?).ok()
}

fn any(mut places: Vec<Place>) -> Option<Place> {
    (!places.is_empty()).then(|| places.swap_remove(rand::random_range(0..places.len())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_is_shown_as_it_was_given() {
        let shown = |config: Value| Target::of(&config).address(10);
        assert_eq!(
            shown(json!({"url": "https://a.b/hook"})),
            "https://a.b/hook?timeout=10s"
        );
        assert_eq!(
            shown(json!({"url": "https://127.0.0.1:8443"})),
            "https://127.0.0.1:8443/?timeout=10s"
        );
        assert_eq!(
            shown(json!({"url": "https://[::1]:1/x"})),
            "https://[::1]:1/x?timeout=10s"
        );
        assert_eq!(
            shown(json!({"service": {"namespace": "n", "name": "s", "path": "/mutate"}})),
            "https://s.n.svc:443/mutate?timeout=10s"
        );
        assert_eq!(
            Target::of(&json!({"url": "https://u:p@h:12/x"})).host(),
            "h",
            "who asks is nobody's business"
        );
    }
}
