//! What is wrong with a `clientConfig`, in the words of kube-apiserver. It must not call anybody.

use serde_json::Value;

use super::super::builtin::meta::subdomain_problems;
use super::super::schema::FieldError;
use super::tls;

/// Says what is wrong with the place where a webhook is said to be. `path` names the field in messages.
pub(crate) fn check(config: &Value, path: &str) -> Vec<FieldError> {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|s| s.is_object());
    match (url, service) {
        (Some(url), None) => check_url(url, &format!("{path}.url")),
        (None, Some(service)) => check_service(service, &format!("{path}.service")),
        _ => vec![FieldError::required(
            path,
            "exactly one of url or service is required",
        )],
    }
}

/// Says what is wrong with a bundle of authorities.
pub(crate) fn check_bundle(config: &Value, path: &str) -> Option<FieldError> {
    let bundle = config
        .get("caBundle")
        .and_then(Value::as_str)
        .filter(|b| !b.is_empty())?;
    let why = tls::certificates(bundle).err()?;
    Some(FieldError::invalid(format!("{path}.caBundle"), bundle, why))
}

fn check_url(url: &str, path: &str) -> Vec<FieldError> {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut errors = Vec::new();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("", url.strip_prefix("//").unwrap_or("")),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, why));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(
            path,
            "",
            format!("host must be specified{FORM}"),
        ));
    }
    if user.is_some() {
        // It may hold a password: the value is not shown.
        errors.push(FieldError::invalid(
            path,
            "",
            "user information is not permitted in the URL",
        ));
    }
    if !fragment.is_empty() {
        errors.push(FieldError::invalid(
            path,
            fragment,
            "fragments are not permitted in the URL",
        ));
    }
    if !query.is_empty() {
        errors.push(FieldError::invalid(
            path,
            query,
            "query parameters are not permitted in the URL",
        ));
    }
    errors
}

fn check_service(service: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    if text("name").is_empty() {
        errors.push(FieldError::required(
            format!("{path}.name"),
            "service name is required",
        ));
    }
    if text("namespace").is_empty() {
        errors.push(FieldError::required(
            format!("{path}.namespace"),
            "service namespace is required",
        ));
    }
    if let Some(port) = service["port"].as_i64()
        && !(1..=65535).contains(&port)
    {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(format!("{path}.port"), port, why));
    }
    errors.extend(check_path(text("path"), &format!("{path}.path")));
    errors
}

fn check_path(given: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if matches!(given, "" | "/") {
        return errors;
    }
    if given == "//" {
        return vec![FieldError::invalid(path, given, "segment[0] may not be empty")];
    }
    if !given.starts_with('/') {
        errors.push(FieldError::invalid(path, given, "must start with a '/'"));
    }
    let rest = given.get(1..).unwrap_or_default();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (i, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            errors.push(FieldError::invalid(
                path,
                given,
                format!("segment[{i}] may not be empty"),
            ));
            continue;
        }
        let problems = subdomain_problems(segment).into_iter();
        errors.extend(problems.map(|p| FieldError::invalid(path, given, format!("segment[{i}]: {p}"))));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_must_be_one_that_can_be_called() {
        let said = |config: Value| -> Vec<String> {
            let errors = check(&config, "config");
            errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(said(json!({"url": "https://a.b/c"})), [""; 0]);
        assert_eq!(
            said(json!({"service": {"namespace": "n", "name": "s", "path": "/a/b.c", "port": 443}})),
            [""; 0]
        );
        assert_eq!(
            said(json!({})),
            ["config: Required value: exactly one of url or service is required"]
        );
        assert_eq!(
            said(json!({"url": "http://a.b"})),
            [
                "config.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"
            ]
        );
        assert_eq!(
            said(json!({"service": {"name": "s", "path": "x//y", "port": 0}})),
            [
                "config.service.namespace: Required value: service namespace is required",
                "config.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "config.service.path: Invalid value: \"x//y\": must start with a '/'",
                "config.service.path: Invalid value: \"x//y\": segment[0] may not be empty",
                "config.service.path: Invalid value: \"x//y\": segment[1] may not be empty",
            ]
        );
    }

    #[test]
    fn a_bundle_must_hold_certificates() {
        let said = |bundle: &str| check_bundle(&json!({"caBundle": bundle}), "config").map(|e| e.to_string());
        assert_eq!(said(""), None);
        let why = said("Ym9ndXM=").unwrap();
        assert!(
            why.ends_with("unable to load root certificates: unable to parse bytes as PEM block"),
            "{why}"
        );
    }
}
