//! The Docker daemon: the only file that calls it. It turns answers into this room's own types and decides nothing.

use std::{
    collections::HashMap,
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    Docker,
    container::LogOutput,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, CreateImageInfo,
        NetworkCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
        InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::{
    spec,
    state::{Seen, Status},
};
use crate::providers::{ActuatorError, Deletion};

/// Where a daemon listens unless `DOCKER_HOST` says something else.
const SOCKET: &str = spec::SOCKET;
/// Oldest API that has what is needed: private cgroup namespaces (Docker 20.10).
const OLDEST_API: (usize, usize) = (1, 41);
/// How long a daemon may take to say its version.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is read of an archive at most.
const MAX_ARCHIVE: usize = 8 * 1024 * 1024;
/// What to do instead of using Docker.
const HOLLOW: &str = "or use machines without containers (--infrastructure hollow)";

/// Why the daemon did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EngineError {
    /// It answered, and refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// What it was to be given could not be read.
    #[error("what is to be sent can't be read: {0}")]
    Input(String),
    /// It did not answer, or not in a form that is understood.
    #[error("the Docker daemon can't be reached: {0}")]
    Unreachable(String),
}

impl EngineError {
    /// Whether what was named does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether something else is in the way.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

impl From<bollard::errors::Error> for EngineError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::Refused {
                status: status_code,
                message: message.trim().to_owned(),
            },
            // an error in the middle of a stream that began well: the daemon's words, without a status
            Error::DockerStreamError { error } => Self::Refused {
                status: 500,
                message: error.trim().to_owned(),
            },
            Error::RequestTimeoutError => Self::Unreachable("it does not answer".to_owned()),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An image that the daemon has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Its identity.
    pub(super) id: String,
    /// Its names, as Docker shows them.
    pub(super) names: Vec<String>,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its entrypoint.
    pub(super) entrypoint: Vec<String>,
    /// Its command.
    pub(super) command: Vec<String>,
}

/// A container of a cluster, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Cluster that its label names.
    pub cluster: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// Image that it was made from.
    pub image: String,
    /// Whether it runs.
    pub running: bool,
    /// Namespace and name of the infrastructure object, if it was made for one.
    pub object: Option<(String, String)>,
    /// When it was made, in seconds since 1970.
    pub(super) created: i64,
    /// Networks that it is part of.
    pub(super) networks: Vec<String>,
}

/// How far the pull of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullProgress {
    /// It begins.
    Started,
    /// So many bytes are here, of those that are known so far.
    Bytes {
        /// Bytes that are here.
        done: u64,
        /// Bytes of the layers seen so far.
        total: u64,
    },
    /// The image is here.
    Done,
    /// It came to nothing.
    Failed,
}

/// A connection to a Docker daemon.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    local: bool,
}

impl Engine {
    /// Connects to the daemon that `DOCKER_HOST` names, or to the one of this machine, and agrees on an API version.
    pub(super) async fn connect() -> Result<Self, ActuatorError> {
        let host = env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty());
        Self::connect_to(host.as_deref()).await
    }

    async fn connect_to(host: Option<&str>) -> Result<Self, ActuatorError> {
        let (address, local) = match host {
            Some(address) if !address.starts_with("unix://") => (address.to_owned(), false),
            Some(address) => (address.to_owned(), true),
            None => (format!("unix://{}", default_socket().display()), true),
        };
        if let Some(path) = address.strip_prefix("unix://") {
            try_socket(Path::new(path)).await?;
        }
        let docker = Docker::connect_with_host(&address).map_err(|e| {
            ActuatorError::transient(format!(
                "DOCKER_HOST={address} can't be used: {} (unix:// and tcp:// without TLS can)",
                chain(&e)
            ))
        })?;
        let docker = match tokio::time::timeout(PATIENCE, docker.negotiate_version()).await {
            Ok(Ok(docker)) => docker,
            Ok(Err(e)) => {
                return Err(ActuatorError::transient(format!(
                    "no Docker daemon answers at {address}: {}: start it (sudo systemctl start docker), {HOLLOW}",
                    chain(&e)
                )));
            }
            Err(_) => {
                return Err(ActuatorError::transient(format!(
                    "the Docker daemon at {address} does not answer: restart it (sudo systemctl restart docker), {HOLLOW}"
                )));
            }
        };
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(ActuatorError::terminal(
                "InvalidConfiguration",
                format!(
                    "the Docker daemon at {address} speaks API {}.{}; Docker 20.10 or newer is needed (API 1.41), {HOLLOW}",
                    version.major_version, version.minor_version
                ),
            ));
        }
        Ok(Self { docker, local })
    }

    /// Whether the daemon runs on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    /// What is known about the daemon's host.
    pub(super) async fn host(&self) -> Result<spec::Host, EngineError> {
        let info = self.docker.info().await?;
        let options = info.security_options.unwrap_or_default();
        let driver = info.driver.unwrap_or_default();
        Ok(spec::Host {
            lib_modules: true,
            docker_socket: true,
            userns_remap: options.iter().any(|o| o.contains("name=userns")),
            device_mapper: matches!(driver.as_str(), "btrfs" | "zfs" | "devicemapper"),
        })
    }

    /// Looks at the container of exactly this name.
    pub(super) async fn inspect(&self, name: &str) -> Result<Option<Seen>, EngineError> {
        let answer = self
            .docker
            .inspect_container(name, None::<InspectContainerOptions>)
            .await;
        match answer.map_err(EngineError::from) {
            // the daemon also finds containers by the beginning of their identity
            Ok(found) => Ok(Some(seen(found)).filter(|seen| seen.name == name)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Lists containers that bear a label, running or not.
    pub(super) async fn list(&self, label: &str) -> Result<Vec<Container>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.docker.list_containers(Some(options)).await?;
        let mut containers: Vec<Container> = found.into_iter().filter_map(container).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Makes a container and returns its identity.
    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.docker.create_container(Some(options), body).await?;
        for warning in created.warnings {
            tracing::debug!(container = name, warning, "Docker warns");
        }
        Ok(created.id)
    }

    /// Unpacks an archive at the root of a container.
    pub(super) async fn put(&self, id: &str, archive: Vec<u8>) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_full(archive.into());
        Ok(self.docker.upload_to_container(id, Some(options), body).await?)
    }

    /// Reads a file or directory of a container as an archive. Nothing if there is none.
    pub(super) async fn get(&self, id: &str, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = Box::pin(self.docker.download_from_container(id, Some(options)));
        let mut archive = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk.map_err(EngineError::from) {
                Ok(chunk) => archive.extend_from_slice(&chunk),
                Err(e) if e.is_not_found() => return Ok(None),
                Err(e) => return Err(e),
            }
            if archive.len() > MAX_ARCHIVE {
                break;
            }
        }
        Ok(Some(archive))
    }

    /// Starts a container.
    pub(super) async fn start(&self, id: &str) -> Result<(), EngineError> {
        Ok(self
            .docker
            .start_container(id, None::<StartContainerOptions>)
            .await?)
    }

    /// Lets a frozen container go on.
    pub(super) async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        Ok(self.docker.unpause_container(id).await?)
    }

    /// Ends and removes a container and its anonymous volumes.
    pub(super) async fn remove(&self, id: &str) -> Result<Deletion, EngineError> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self
            .docker
            .remove_container(id, Some(options))
            .await
            .map_err(EngineError::from)
        {
            Ok(()) => Ok(Deletion::Gone),
            Err(e) if e.is_not_found() => Ok(Deletion::Gone),
            Err(e) if e.is_conflict() => Ok(Deletion::InProgress),
            Err(e) => Err(e),
        }
    }

    /// Reads the end of what a container's first process wrote.
    pub(super) async fn logs(&self, id: &str, lines: u32) -> Result<Vec<u8>, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut stream = Box::pin(self.docker.logs(id, Some(options)));
        let mut log = Vec::new();
        while let Some(chunk) = stream.next().await {
            log.extend_from_slice(chunk?.as_ref());
        }
        Ok(log)
    }

    /// Looks for an image.
    pub(super) async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        match self.docker.inspect_image(name).await.map_err(EngineError::from) {
            Ok(found) => {
                let config = found.config.unwrap_or_default();
                Ok(Some(Image {
                    id: found.id.unwrap_or_default(),
                    names: found.repo_tags.unwrap_or_default(),
                    size: found.size.and_then(|s| s.try_into().ok()).unwrap_or_default(),
                    entrypoint: config.entrypoint.unwrap_or_default(),
                    command: config.cmd.unwrap_or_default(),
                }))
            }
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Fetches an image from its registry.
    pub(super) async fn pull(
        &self,
        reference: &str,
        mut progress: impl FnMut(PullProgress),
    ) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::default().from_image(reference).build();
        let mut stream = Box::pin(self.docker.create_image(Some(options), None, None));
        let mut layers: HashMap<String, (u64, u64)> = HashMap::new();
        while let Some(step) = stream.next().await {
            if let Some((layer, size)) = layer(step?) {
                layers.insert(layer, size);
                let (done, total) = layers
                    .values()
                    .fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
                progress(PullProgress::Bytes { done, total });
            }
        }
        Ok(())
    }

    /// Address ranges of a network; nothing if there is none of this name.
    pub(super) async fn network(&self, name: &str) -> Result<Option<Vec<String>>, EngineError> {
        match self
            .docker
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
            .map_err(EngineError::from)
        {
            Ok(found) if found.name.as_deref() == Some(name) => {
                let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
                Ok(Some(
                    ranges.into_iter().filter_map(|range| range.subnet).collect(),
                ))
            }
            Ok(_) => Ok(None),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a network. One that is there already is fine.
    pub(super) async fn create_network(&self, body: NetworkCreateRequest) -> Result<(), EngineError> {
        match self.docker.create_network(body).await.map_err(EngineError::from) {
            Ok(_) => Ok(()),
            Err(e) if e.is_conflict() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Streams an image as an archive, as `docker save` writes it.
    pub(super) fn save(&self, image: &str) -> impl Stream<Item = Result<Bytes, EngineError>> + use<> {
        let (docker, image) = (self.docker.clone(), image.to_owned());
        async_stream(docker, image)
    }

    /// Runs a program in a container, feeds it, and returns its exit code and what it said.
    pub(super) async fn feed(
        &self,
        id: &str,
        argv: &[&str],
        input: impl Stream<Item = Result<Bytes, EngineError>>,
    ) -> Result<(i64, Vec<u8>), EngineError> {
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            privileged: Some(false),
            cmd: Some(argv.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(id, options).await?.id;
        let attached = self.docker.start_exec(&exec, None::<StartExecOptions>).await?;
        let StartExecResults::Attached {
            mut output,
            input: mut stdin,
        } = attached
        else {
            return Err(EngineError::Unreachable(
                "it did not attach to the program".to_owned(),
            ));
        };
        let feeding = async move {
            let mut input = std::pin::pin!(input);
            while let Some(chunk) = input.next().await {
                // a program that ends early says why by itself
                if stdin.write_all(&chunk?).await.is_err() {
                    break;
                }
            }
            drop(stdin.shutdown().await);
            Ok::<(), EngineError>(())
        };
        let listening = async {
            let mut said = Vec::new();
            while let Some(part) = output.next().await {
                if let LogOutput::StdOut { message } | LogOutput::StdErr { message } = part? {
                    said.extend_from_slice(&message);
                }
            }
            Ok::<Vec<u8>, EngineError>(said)
        };
        let ((), said) = futures::try_join!(feeding, listening)?;
        let ended = self.docker.inspect_exec(&exec).await?;
        Ok((ended.exit_code.unwrap_or(-1), said))
    }
}

fn async_stream(docker: Docker, image: String) -> impl Stream<Item = Result<Bytes, EngineError>> {
    // the stream of the client borrows the client: both are kept together in a task that fills a short queue
    let (sender, receiver) = futures::channel::mpsc::channel(4);
    let task = tokio::spawn(async move {
        let stream = docker.export_image(&image).map_err(EngineError::from).map(Ok);
        // nobody listens any more: nothing to do
        drop(stream.forward(sender).await);
    });
    let guard = AbortOnDrop(task);
    receiver.map(move |chunk| {
        let _alive = &guard;
        chunk
    })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The socket of this machine's daemon: Docker's own, that of a daemon without root, that of Docker Desktop.
fn default_socket() -> PathBuf {
    let standard = PathBuf::from(SOCKET);
    let rootless = env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("docker.sock"));
    let desktop = env::var_os("HOME").map(|dir| Path::new(&dir).join(".docker/run/docker.sock"));
    [Some(standard.clone()), rootless, desktop]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
        .unwrap_or(standard)
}

/// Says in the user's words why a socket can't be used.
async fn try_socket(path: &Path) -> Result<(), ActuatorError> {
    let shown = path.display();
    let Err(error) = tokio::net::UnixStream::connect(path).await else {
        return Ok(());
    };
    Err(ActuatorError::transient(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "no Docker daemon here: {shown} does not exist: install and start Docker (sudo systemctl start docker), {HOLLOW}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to use Docker at {shown}: join its group (sudo usermod -aG docker $USER, then log in again), {HOLLOW}"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "the Docker daemon at {shown} does not run: start it (sudo systemctl start docker), {HOLLOW}"
        ),
        _ => format!(
            "the Docker daemon at {shown} can't be reached: {error}: start it (sudo systemctl start docker), {HOLLOW}"
        ),
    }))
}

fn seen(found: ContainerInspectResponse) -> Seen {
    let state = found.state.unwrap_or_default();
    let settings = found.network_settings.unwrap_or_default();
    let port = format!("{}/tcp", spec::API_PORT);
    let api = settings
        .ports
        .unwrap_or_default()
        .remove(&port)
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .find_map(|binding| {
            Some((
                binding.host_ip.unwrap_or_default(),
                binding.host_port?.parse().ok()?,
            ))
        });
    let mut networks: Vec<(String, Vec<String>)> = settings
        .networks
        .unwrap_or_default()
        .into_iter()
        .map(|(name, endpoint)| {
            let addresses = [endpoint.ip_address, endpoint.global_ipv6_address];
            (
                name,
                addresses
                    .into_iter()
                    .flatten()
                    .filter(|a| !a.is_empty())
                    .collect(),
            )
        })
        .collect();
    networks.sort();
    Seen {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: found.config.and_then(|config| config.labels).unwrap_or_default(),
        status: match state.status {
            Some(ContainerStateStatusEnum::RUNNING) => Status::Running,
            Some(ContainerStateStatusEnum::PAUSED) => Status::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => Status::Restarting,
            Some(ContainerStateStatusEnum::REMOVING) => Status::Removing,
            Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Status::Exited,
            _ => Status::Created,
        },
        started_at: state.started_at.and_then(|at| at.parse().ok()),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        networks,
        api,
    }
}

fn container(found: bollard::models::ContainerSummary) -> Option<Container> {
    use bollard::models::ContainerSummaryStateEnum::RUNNING;
    let mut labels = found.labels.unwrap_or_default();
    let mut label = |name| labels.remove(name);
    Some(Container {
        name: found.names?.first()?.trim_start_matches('/').to_owned(),
        cluster: label(spec::CLUSTER).unwrap_or_default(),
        role: label(spec::ROLE).unwrap_or_default(),
        image: found.image.unwrap_or_default(),
        running: found.state == Some(RUNNING),
        object: label(spec::NAMESPACE).zip(label(spec::NAME)),
        created: found.created.unwrap_or_default(),
        networks: found
            .network_settings
            .and_then(|settings| settings.networks)
            .map(|networks| networks.into_keys().collect())
            .unwrap_or_default(),
    })
}

/// A layer of an image, and how much of it is here.
fn layer(step: CreateImageInfo) -> Option<(String, (u64, u64))> {
    // a layer is downloaded first and unpacked then; only the first of it counts
    if step.status.as_deref() != Some("Downloading") {
        return None;
    }
    let detail = step.progress_detail?;
    let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    Some((step.id?, (number(detail.current)?, number(detail.total)?)))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::UnixListener};

    use super::*;

    async fn refused(socket: &Path) -> ActuatorError {
        let address = format!("unix://{}", socket.display());
        Engine::connect_to(Some(&address)).await.map(|_| ()).unwrap_err()
    }

    #[tokio::test]
    async fn without_a_daemon_it_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = refused(&dir.path().join("none.sock")).await.to_string();
        assert!(nothing.contains("none.sock does not exist"), "{nothing}");
        let socket = dir.path().join("dead.sock");
        drop(UnixListener::bind(&socket).unwrap());
        let dead = refused(&socket).await.to_string();
        assert!(dead.contains("does not run: start it"), "{dead}");
        for message in [nothing, dead] {
            assert!(message.ends_with("(--infrastructure hollow)"), "{message}");
        }
        let odd = Engine::connect_to(Some("ssh://me@host"))
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(odd.contains("DOCKER_HOST=ssh://me@host can't be used"), "{odd}");
    }

    /// A daemon with a fixed answer to each path; the first whose text is in the request line counts.
    fn daemon(dir: &Path, answers: &'static [(&str, u16, &str)]) -> PathBuf {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap_or_default();
                if length == 0 {
                    continue; // only looked whether somebody listens
                }
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let line = request.lines().next().unwrap_or_default();
                let (_, status, body) = answers.iter().find(|(path, ..)| line.contains(path)).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        socket
    }

    #[tokio::test]
    async fn a_daemon_that_is_too_old_or_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let old = refused(&daemon(dir.path(), &[("", 200, r#"{"ApiVersion": "1.40"}"#)])).await;
        assert!(matches!(old, ActuatorError::Terminal { .. }));
        assert!(
            old.to_string().contains("speaks API 1.40; Docker 20.10 or newer"),
            "{old}"
        );
        let dir = tempfile::tempdir().unwrap();
        let other = refused(&daemon(dir.path(), &[("", 200, "hello")]))
            .await
            .to_string();
        assert!(other.contains("no Docker daemon answers at unix://"), "{other}");
    }

    #[tokio::test]
    async fn a_pull_tells_its_progress_and_its_end() {
        let steps = r#"{"status":"Pulling from a/b","id":"1"}
{"status":"Downloading","progressDetail":{"current":10,"total":100},"id":"aa"}
{"status":"Downloading","progressDetail":{"current":5,"total":50},"id":"bb"}
{"status":"Downloading","progressDetail":{"current":100,"total":100},"id":"aa"}
{"status":"Extracting","progressDetail":{"current":1,"total":100},"id":"aa"}
"#;
        let failure = r#"{"status":"Pulling from a/c","id":"1"}
{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}
"#;
        let answers = Box::leak(Box::new([
            ("/version", 200, r#"{"ApiVersion": "1.41"}"#),
            ("fromImage=good", 200, steps),
            ("fromImage=bad", 200, failure),
            (
                "fromImage=none",
                404,
                r#"{"message": "pull access denied for none, repository does not exist"}"#,
            ),
        ]));
        let dir = tempfile::tempdir().unwrap();
        let socket = daemon(dir.path(), answers);
        let engine = Engine::connect_to(Some(&format!("unix://{}", socket.display())))
            .await
            .unwrap();
        let mut seen = Vec::new();
        engine.pull("good", |progress| seen.push(progress)).await.unwrap();
        let bytes = |done, total| PullProgress::Bytes { done, total };
        assert_eq!(seen, [bytes(10, 100), bytes(15, 150), bytes(105, 150)]);
        let broken = engine.pull("bad", |_| {}).await.unwrap_err();
        assert_eq!(broken.to_string(), "manifest unknown");
        let missing = engine.pull("none", |_| {}).await.unwrap_err();
        assert!(missing.is_not_found() && missing.to_string().contains("repository does not exist"));
    }
}
