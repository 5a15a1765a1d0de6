//! Node images: fetching them, and finding out what is in them. It runs nothing of an image.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    client::{Engine, Image, PullProgress},
    errors::{Attempt, explain},
    spec,
};
use crate::{
    api::v1alpha1::{Flavour, NodeImage},
    providers::ActuatorError,
    time::Clock,
};

/// Files that tell what a node image is, and where its Kubernetes version stands.
const MARKS: [(&str, Flavour); 2] = [
    ("/kind/version", Flavour::Kubeadm),
    ("/cinder/kubernetes_version", Flavour::Crit),
];
/// Containers that only exist to look into an image are left over when they are older than this, in seconds.
const STALE: i64 = 300;

/// Is told how pulls go on: image and progress.
pub type Watcher = Arc<dyn Fn(&str, PullProgress) + Send + Sync>;

/// Fetches images and remembers what is in them.
pub(super) struct Images {
    engine: Engine,
    watcher: Watcher,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, NodeImage>>,
    /// One at a time: many machines ask for the same image at once.
    busy: tokio::sync::Mutex<()>,
}

impl Images {
    /// Makes an empty memory.
    pub(super) fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self {
            engine,
            clock,
            watcher: Arc::new(|image, progress| tracing::debug!(image, ?progress, "pull")),
            known: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
        }
    }

    /// Sets who is told how pulls go on.
    pub(super) fn watch(&mut self, watcher: Watcher) {
        self.watcher = watcher;
    }

    /// Returns an image. Pulls it if it is missing.
    pub(super) async fn get(&self, name: &str) -> Result<Image, ActuatorError> {
        if let Some(image) = self.find(name).await? {
            return Ok(image);
        }
        let _one = self.busy.lock().await;
        if let Some(image) = self.find(name).await? {
            return Ok(image);
        }
        (self.watcher)(name, PullProgress::Started);
        let pulled = self
            .engine
            .pull(&reference(name), |progress| (self.watcher)(name, progress))
            .await;
        if let Err(error) = pulled {
            (self.watcher)(name, PullProgress::Failed);
            return Err(explain(Attempt::Pull(name), &error));
        }
        (self.watcher)(name, PullProgress::Done);
        self.find(name)
            .await?
            .ok_or_else(|| ActuatorError::transient(format!("image {name} was pulled and is gone again")))
    }

    /// Says what a node image is. Fails for good if it is none.
    pub(super) async fn describe(&self, name: &str) -> Result<NodeImage, ActuatorError> {
        let image = self.get(name).await?;
        if let Some(known) = self.remembered(&image.id) {
            return Ok(known);
        }
        let _one = self.busy.lock().await;
        if let Some(known) = self.remembered(&image.id) {
            return Ok(known);
        }
        let found = self.look(name, &image.id).await?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image.id, found.clone());
        Ok(found)
    }

    fn remembered(&self, id: &str) -> Option<NodeImage> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    async fn find(&self, name: &str) -> Result<Option<Image>, ActuatorError> {
        let what = format!("look for image {name}");
        self.engine
            .image(name)
            .await
            .map_err(|e| explain(Attempt::Other(&what), &e))
    }

    /// Reads the marks of an image from a container that is never started.
    async fn look(&self, name: &str, id: &str) -> Result<NodeImage, ActuatorError> {
        let what = format!("look into image {name}");
        let failed = |e| explain(Attempt::Other(&what), &e);
        let container = format!("machinectl-look-{}", uuid::Uuid::new_v4().simple());
        let made = self
            .engine
            .create(&container, spec::look(id))
            .await
            .map_err(failed)?;
        let mut found = Ok(None);
        for (path, flavour) in MARKS {
            match self.engine.get(&made, path).await {
                Ok(Some(archive)) => {
                    found = Ok(version(&archive).map(|kubernetes_version| NodeImage {
                        flavour,
                        kubernetes_version,
                    }));
                    break;
                }
                Ok(None) => {}
                Err(e) => {
                    found = Err(failed(e));
                    break;
                }
            }
        }
        if let Err(error) = self.engine.remove(&made).await {
            tracing::debug!(container, %error, "can't remove the container that looked into an image");
        }
        self.sweep().await;
        found?.ok_or_else(|| {
            ActuatorError::terminal(
                "InvalidConfiguration",
                format!(
                    "{name} is no node image (neither /kind/version nor /cinder/kubernetes_version): use for example kindest/node:v1.33.1"
                ),
            )
        })
    }

    /// Removes what looks that were interrupted left behind.
    async fn sweep(&self) {
        let left = self.engine.list(spec::LOOK).await.unwrap_or_default();
        let now = self.clock.now().as_second();
        for container in left {
            if now - container.created > STALE && self.engine.remove(&container.name).await.is_ok() {
                tracing::debug!(container = container.name, "removed a leftover");
            }
        }
    }
}

/// The version in the file of an archive, as `v1.2.3`.
fn version(archive: &[u8]) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let mut text = String::new();
    entry.by_ref().take(256).read_to_string(&mut text).ok()?;
    let bare = text.trim().trim_start_matches('v');
    semver::Version::parse(bare).ok()?;
    Some(format!("v{bare}"))
}

/// A name as a registry is asked for it. Without a tag the daemon would pull all there are.
fn reference(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if name.contains('@') || last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_latest() {
        for (name, expected) in [
            ("kindest/node", "kindest/node:latest"),
            ("kindest/node:v1", "kindest/node:v1"),
            ("localhost:5000/node", "localhost:5000/node:latest"),
            ("a/b@sha256:00", "a/b@sha256:00"),
        ] {
            assert_eq!(reference(name), expected);
        }
    }

    #[test]
    fn a_version_is_read_with_and_without_its_letter() {
        let archive = |text: &str| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, "version", text.as_bytes())
                .unwrap();
            builder.into_inner().unwrap()
        };
        assert_eq!(version(&archive("v1.20.2")).as_deref(), Some("v1.20.2"));
        assert_eq!(version(&archive("1.18.10\n")).as_deref(), Some("v1.18.10"));
        assert_eq!(
            version(&archive("v1.36.0-alpha.1+x")).as_deref(),
            Some("v1.36.0-alpha.1+x")
        );
        assert_eq!(version(&archive("hello")), None);
        assert_eq!(version(b""), None);
    }
}
