//! Images in the container runtimes of nodes: which are there, and how others get there. containerd's own program does it, `ctr`,
//! as with kind; it has no wishes about names, platforms and registries beyond those of the archive.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::Value;

use super::{
    DockerActuator,
    client::EngineError,
    errors::{Attempt, explain},
    log,
};
use crate::providers::ActuatorError;

/// containerd's program, and the namespace of kubelet's images.
const CTR: [&str; 2] = ["ctr", "--namespace=k8s.io"];
/// Parts of an image that are read to tell what it is: an index of as many platforms is rare.
const MAX_PARTS: usize = 24;

/// Why an image did not get into a node.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Docker did not do its part.
    #[error(transparent)]
    Docker(#[from] ActuatorError),
    /// There is no room.
    #[error("the disk of node {node} is full: {said}")]
    DiskFull {
        /// The node.
        node: String,
        /// The runtime's words.
        said: String,
    },
    /// containerd does not run there.
    #[error("the container runtime of node {node} does not answer: {said}")]
    NoRuntime {
        /// The node.
        node: String,
        /// The words of its program.
        said: String,
    },
    /// containerd does not take it.
    #[error("node {node} does not take the image: {said}")]
    Refused {
        /// The node.
        node: String,
        /// The runtime's words.
        said: String,
    },
}

/// An image that the Docker daemon has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// Its id: the digest of its configuration, or of its manifest where Docker keeps images in containerd.
    pub id: String,
    /// Its names, as Docker shows them.
    pub names: Vec<String>,
    /// Its size in bytes, unpacked.
    pub size: u64,
}

/// What a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The digest that each name stands for.
    images: BTreeMap<String, String>,
    /// Where kubelet's images are unpacked, if it is not containerd's own choice.
    snapshotter: Option<String>,
}

impl DockerActuator {
    /// Looks for an image of the Docker daemon by name or id.
    pub async fn local_image(&self, name: &str) -> Result<Option<LocalImage>, ActuatorError> {
        let what = format!("look for image {name}");
        let found = self.engine.image(name).await;
        let found = found.map_err(|e| explain(Attempt::Other(&what), &e))?;
        Ok(found.map(|image| LocalImage {
            id: image.id,
            names: image.names,
            size: image.size,
        }))
    }

    /// Streams an image of the Docker daemon as an archive, as `docker save` writes it.
    pub fn saved(&self, name: &str) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        self.engine
            .save(name)
            .map(|chunk| chunk.map_err(io::Error::other))
    }

    /// Asks a node which images it has.
    pub async fn images_in(&self, node: &str) -> Result<Held, LoadError> {
        let list = [CTR[0], CTR[1], "images", "list"];
        let settings = ["containerd", "config", "dump"];
        let (list, settings) = futures::join!(
            self.ask(node, &list, "list images"),
            self.ask(node, &settings, "read settings"),
        );
        let list = list?;
        Ok(Held {
            images: images(&list),
            // Without it containerd chooses.
            snapshotter: settings.ok().and_then(|text| snapshotter(&text)),
        })
    }

    /// Whether a node has, under a name, an image of one of these digests: of its manifest, or of its configuration.
    pub async fn has_image(
        &self,
        node: &str,
        held: &Held,
        name: &str,
        digests: &[String],
    ) -> Result<bool, LoadError> {
        let Some(target) = held.images.get(name) else {
            return Ok(false);
        };
        let mut open = vec![target.clone()];
        let mut read = 0;
        while let Some(digest) = open.pop() {
            if digests.contains(&digest) {
                return Ok(true);
            }
            read += 1;
            if read > MAX_PARTS {
                break;
            }
            let get = [CTR[0], CTR[1], "content", "get", &digest];
            // Parts for other platforms are not there.
            if let Ok(text) = self.ask(node, &get, "read an image").await {
                let (configuration, parts) = parts(&text);
                if configuration.is_some_and(|c| digests.contains(&c)) {
                    return Ok(true);
                }
                open.extend(parts);
            }
        }
        Ok(false)
    }

    /// Puts the images of an archive into a node. Of several platforms it takes the node's own.
    pub async fn import(
        &self,
        node: &str,
        held: &Held,
        archive: impl Stream<Item = io::Result<Bytes>>,
    ) -> Result<(), LoadError> {
        let snapshotter = held.snapshotter.as_ref().map(|s| format!("--snapshotter={s}"));
        let mut argv = vec![CTR[0], CTR[1], "images", "import"];
        argv.extend(snapshotter.as_deref());
        argv.push("-");
        let archive = archive.map(|chunk| chunk.map_err(|e| EngineError::Input(e.to_string())));
        self.run(node, &argv, "load an image", archive).await.map(|_| ())
    }

    async fn ask(&self, node: &str, argv: &[&str], what: &str) -> Result<String, LoadError> {
        let said = self.run(node, argv, what, stream::empty()).await?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    async fn run(
        &self,
        node: &str,
        argv: &[&str],
        what: &str,
        input: impl Stream<Item = Result<Bytes, EngineError>>,
    ) -> Result<Vec<u8>, LoadError> {
        let what = format!("{what} in container {node}");
        let answer = self.engine.feed(node, argv, input).await;
        let (code, said) = answer.map_err(|e| explain(Attempt::Other(&what), &e))?;
        if code == 0 {
            return Ok(said);
        }
        Err(refused(node, code, &said))
    }
}

/// What a runtime's words mean.
fn refused(node: &str, code: i64, said: &[u8]) -> LoadError {
    let (node, said) = (node.to_owned(), log::tail(said));
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["no space left on device", "disk quota exceeded"]) {
        LoadError::DiskFull { node, said }
    } else if has(&["containerd.sock", "failed to dial"]) {
        LoadError::NoRuntime { node, said }
    } else if said.is_empty() {
        let said = format!("its program ended with exit code {code}");
        LoadError::Refused { node, said }
    } else {
        LoadError::Refused { node, said }
    }
}

/// Reads `ctr images list`: a name, a type and a digest in each line below the first.
fn images(list: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, digest) = (words.next()?, words.nth(1)?);
        digest
            .starts_with("sha256:")
            .then(|| (name.to_owned(), digest.to_owned()))
    };
    list.lines().filter_map(entry).collect()
}

/// Finds in containerd's settings where the images of kubelet are unpacked (kind: `nodeutils.parseSnapshotter`).
fn snapshotter(settings: &str) -> Option<String> {
    let mut in_section = false;
    for line in settings.lines().map(str::trim) {
        if line.starts_with('[') {
            // Version 2 and version 3 of the settings.
            let section = line.replace('\'', "\"");
            in_section = section == "[plugins.\"io.containerd.grpc.v1.cri\".containerd]"
                || section == "[plugins.\"io.containerd.cri.v1.images\"]";
        } else if in_section
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "snapshotter"
        {
            let value = value.trim().trim_matches(['"', '\'']);
            return (!value.is_empty()).then(|| value.to_owned());
        }
    }
    None
}

/// The digest of a manifest's configuration, and those of an index's manifests.
fn parts(text: &str) -> (Option<String>, Vec<String>) {
    let digest = |part: &Value| part["digest"].as_str().map(str::to_owned);
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return (None, Vec::new());
    };
    let manifests = value["manifests"].as_array().into_iter().flatten();
    (digest(&value["config"]), manifests.filter_map(digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_containerd_are_read() {
        let list = "REF                            TYPE                                       DIGEST      SIZE     PLATFORMS   LABELS\n\
                    docker.io/library/a:1          application/vnd.oci.image.manifest.v1+json sha256:ab   2.1 KiB  linux/amd64 io.cri-containerd.image=managed\n\
                    sha256:cd                      application/vnd.oci.image.manifest.v1+json sha256:ef   2.1 KiB  linux/amd64 -\n";
        let read: Vec<_> = images(list).into_iter().collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            read,
            [
                pair("docker.io/library/a:1", "sha256:ab"),
                pair("sha256:cd", "sha256:ef")
            ]
        );
        assert!(images("ctr: odd words of another kind\n").is_empty());
    }

    #[test]
    fn the_place_of_kubelets_images_is_found_in_both_forms_of_the_settings() {
        let second = "[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    snapshotter = \"x\"\n    [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n      discard = false\n      snapshotter = \"native\"\n";
        assert_eq!(snapshotter(second).as_deref(), Some("native"));
        let third = "[plugins]\n  [plugins.'io.containerd.cri.v1.images']\n    snapshotter = 'fuse-overlayfs'\n    [plugins.'io.containerd.cri.v1.images'.registry]\n      snapshotter = 'y'\n";
        assert_eq!(snapshotter(third).as_deref(), Some("fuse-overlayfs"));
        assert_eq!(snapshotter("snapshotter = 'z'"), None);
        assert_eq!(
            snapshotter("[plugins.'io.containerd.cri.v1.images']\nsnapshotter = ''"),
            None
        );
    }

    #[test]
    fn parts_of_images_are_told_apart() {
        let manifest = r#"{"config":{"digest":"sha256:ab"},"layers":[{"digest":"sha256:cd"}]}"#;
        assert_eq!(parts(manifest), (Some("sha256:ab".to_owned()), vec![]));
        let index = r#"{"manifests":[{"digest":"sha256:12"},{"digest":"sha256:34"}]}"#;
        assert_eq!(
            parts(index),
            (None, vec!["sha256:12".to_owned(), "sha256:34".to_owned()])
        );
        assert_eq!(parts("no JSON"), (None, vec![]));
    }

    #[test]
    fn refusals_name_the_node_and_what_is_wrong() {
        let full = refused("n1", 1, b"ctr: failed to extract layer: no space left on device");
        assert!(matches!(full, LoadError::DiskFull { .. }));
        assert!(
            full.to_string().starts_with("the disk of node n1 is full"),
            "{full}"
        );
        let dead = refused(
            "n1",
            1,
            b"ctr: failed to dial \"/run/containerd/containerd.sock\": connection refused",
        );
        assert!(matches!(dead, LoadError::NoRuntime { .. }));
        assert_eq!(
            refused("n1", 137, b"").to_string(),
            "node n1 does not take the image: its program ended with exit code 137"
        );
    }
}
