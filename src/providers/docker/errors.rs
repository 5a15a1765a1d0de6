//! What the daemon's refusals mean, and what a user can do about them. Pure.

use super::client::EngineError;
use crate::providers::ActuatorError;

/// What was tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attempt<'a> {
    /// Pulling an image.
    Pull(&'a str),
    /// Making or starting a container.
    Container(&'a str),
    /// Making the network.
    Network(&'a str),
    /// Anything else; says what, beginning with a verb.
    Other(&'a str),
}

/// Whether the daemon can't give a container all privileges.
pub(super) fn lacks_privileges(error: &EngineError) -> bool {
    let text = error.to_string();
    text.contains("unable to apply caps")
        || text.contains("rivileged mode is incompatible with user namespaces")
}

/// The path of a bind mount that does not exist on the host.
pub(super) fn missing_mount(error: &EngineError) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("bind source path does not exist: ")?;
    Some(rest.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Whether the port chosen for the API server was taken in the meantime.
pub(super) fn port_taken(error: &EngineError) -> bool {
    let text = error.to_string();
    text.contains("port is already allocated") || text.contains("address already in use")
}

/// Turns a refusal into an error with a subject and something to do.
pub(super) fn explain(attempt: Attempt<'_>, error: &EngineError) -> ActuatorError {
    if matches!(error, EngineError::Input(_)) {
        return ActuatorError::transient(format!("{}: {error}", subject(attempt)));
    }
    let EngineError::Refused { status, message } = error else {
        return ActuatorError::transient(format!(
            "{error}: start it (sudo systemctl start docker) and try again"
        ));
    };
    if let Some(error) = exhausted(attempt, message) {
        return error;
    }
    match attempt {
        Attempt::Pull(image) => pull(image, message),
        Attempt::Container(name) => container(name, *status, message),
        Attempt::Network(name) if message.contains("non-overlapping IPv4 address pool") => {
            ActuatorError::transient(format!(
                "network {name} can't be made, all address ranges of Docker are in use: free some (docker network prune)"
            ))
        }
        Attempt::Network(name) => {
            ActuatorError::transient(format!("network {name} can't be made: {message}"))
        }
        Attempt::Other(what) => ActuatorError::transient(format!("Docker can't {what}: {message}")),
    }
}

fn subject(attempt: Attempt<'_>) -> String {
    match attempt {
        Attempt::Pull(image) => format!("image {image} can't be pulled"),
        Attempt::Container(name) => format!("container {name} can't be made"),
        Attempt::Network(name) => format!("network {name} can't be made"),
        Attempt::Other(what) => format!("Docker can't {what}"),
    }
}

/// The host has too little of something.
fn exhausted(attempt: Attempt<'_>, message: &str) -> Option<ActuatorError> {
    let lower = message.to_ascii_lowercase();
    let (what, remedy) = if lower.contains("no space left on device") || lower.contains("disk quota exceeded")
    {
        (
            "the disk of the Docker host is full",
            "docker system df, docker system prune",
        )
    } else if lower.contains("cannot allocate memory") || lower.contains("out of memory") {
        (
            "the Docker host has no memory left",
            "docker stats; remove machines that are not needed",
        )
    } else if lower.contains("too many open files") {
        (
            "the Docker host has no file handles left",
            "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288",
        )
    } else {
        return None;
    };
    Some(ActuatorError::transient(format!(
        "{}: {what} ({remedy}): {message}",
        subject(attempt)
    )))
}

fn pull(image: &str, message: &str) -> ActuatorError {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let invalid = |message: String| ActuatorError::terminal("InvalidConfiguration", message);
    if has(&[
        "no basic auth credentials",
        "unauthorized",
        "authentication required",
        "denied: requested access",
    ]) && !has(&["repository does not exist"])
    {
        invalid(format!(
            "image {image} can't be pulled without logging in: fetch it yourself (docker login, docker pull {image}): {message}"
        ))
    } else if has(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "name unknown",
        "no matching manifest",
    ]) {
        invalid(format!(
            "image {image} does not exist in its registry: correct spec.image, or if it needs a login fetch it yourself (docker login, docker pull {image}): {message}"
        ))
    } else if has(&["invalid reference format", "invalid tag"]) {
        invalid(format!("spec.image: \"{image}\" names no image: {message}"))
    } else if has(&[
        "no such host",
        "dial tcp",
        "timeout",
        "network is unreachable",
        "connection refused",
        "connection reset",
        "temporary failure",
        "deadline exceeded",
        "server misbehaving",
        "proxyconnect",
        "eof",
    ]) {
        ActuatorError::transient(format!(
            "image {image} is not here and its registry can't be reached: check the network of the Docker host, or bring the image (docker load): {message}"
        ))
    } else {
        ActuatorError::transient(format!("image {image} can't be pulled: {message}"))
    }
}

fn container(name: &str, status: u16, message: &str) -> ActuatorError {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&[
        "port is already allocated",
        "address already in use",
        "ports are not available",
    ]) {
        let port = taken_port(message).map_or_else(|| "a port".to_owned(), |port| format!("port {port}"));
        return ActuatorError::transient(format!(
            "container {name}: {port} of the Docker host is taken: choose another hostPort in spec.extraPortMappings, or free it: {message}"
        ));
    }
    if has(&["is ambiguous"]) && message.contains("network") {
        return ActuatorError::transient(format!(
            "container {name} can't be made: there are several networks of the same name; remove all but one (docker network ls, docker network rm ID): {message}"
        ));
    }
    if has(&["cgroup namespaces aren't enabled"]) {
        return ActuatorError::terminal(
            "InvalidConfiguration",
            format!(
                "container {name} can't be made: the kernel of the Docker host has no cgroup namespaces: {message}"
            ),
        );
    }
    if let Some(path) = missing_mount(&EngineError::Refused {
        status,
        message: message.to_owned(),
    }) {
        return ActuatorError::terminal(
            "InvalidConfiguration",
            format!("container {name} can't be made: {path} does not exist on the Docker host"),
        );
    }
    if (status == 400 && !message.contains("OCI runtime"))
        || has(&[
            "invalid mount config",
            "invalid volume specification",
            "invalid hostPort",
        ])
    {
        return ActuatorError::terminal(
            "InvalidConfiguration",
            format!("container {name} can't be made as its spec says: {message}"),
        );
    }
    if has(&[
        "executable file not found",
        "no such file or directory: unknown",
        "exec format error",
    ]) {
        return ActuatorError::terminal(
            "InvalidConfiguration",
            format!("container {name} can't be started from this image: {message}"),
        );
    }
    ActuatorError::transient(format!("container {name} can't be made: {message}"))
}

/// The port in `Bind for 127.0.0.1:8080 failed: …` or `listen tcp4 0.0.0.0:8080: bind: …`.
fn taken_port(message: &str) -> Option<u16> {
    let at = message
        .find("Bind for ")
        .or_else(|| message.find("listen tcp"))
        .or_else(|| message.find("listen udp"))?;
    message[at..]
        .split_whitespace()
        .find_map(|word| word.trim_end_matches(':').rsplit_once(':')?.1.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> EngineError {
        EngineError::Refused {
            status,
            message: message.to_owned(),
        }
    }

    #[test]
    fn refusals_name_the_remedy() {
        let (pull, make) = (Attempt::Pull("a/b:1"), Attempt::Container("demo"));
        for (attempt, status, message, terminal, said) in [
            (
                pull,
                404,
                "manifest for a/b:1 not found: manifest unknown",
                true,
                "does not exist in its registry",
            ),
            (
                pull,
                404,
                "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                true,
                "docker login",
            ),
            (
                pull,
                500,
                "Get https://r/v2/: unauthorized: authentication required",
                true,
                "without logging in",
            ),
            (
                pull,
                500,
                "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                false,
                "registry can't be reached",
            ),
            (pull, 400, "invalid reference format", true, "names no image"),
            (
                pull,
                500,
                "write /var/lib/docker/x: no space left on device",
                false,
                "docker system prune",
            ),
            (
                make,
                500,
                "driver failed programming external connectivity on endpoint demo: Bind for 127.0.0.1:8080 failed: port is already allocated",
                false,
                "port 8080 of the Docker host is taken",
            ),
            (
                make,
                500,
                "Error starting userland proxy: listen tcp4 0.0.0.0:8081: bind: address already in use",
                false,
                "port 8081",
            ),
            (
                make,
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /nope",
                true,
                "/nope does not exist",
            ),
            (
                make,
                500,
                "fork/exec: cannot allocate memory",
                false,
                "no memory left",
            ),
            (make, 500, "something new", false, "something new"),
        ] {
            let error = explain(attempt, &refused(status, message));
            assert_eq!(
                matches!(error, ActuatorError::Terminal { .. }),
                terminal,
                "{error}"
            );
            assert!(error.to_string().contains(said), "{error}");
        }
        let error = explain(
            Attempt::Other("look"),
            &EngineError::Unreachable("gone".to_owned()),
        );
        assert!(error.to_string().contains("start it"), "{error}");
    }

    #[test]
    fn a_daemon_without_a_capability_is_recognised() {
        assert!(lacks_privileges(&refused(
            400,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: unable to apply caps: operation not permitted: unknown"
        )));
        assert!(!lacks_privileges(&refused(400, "operation not permitted")));
        assert_eq!(
            missing_mount(&refused(
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /lib/modules"
            ))
            .as_deref(),
            Some("/lib/modules")
        );
    }
}
