//! Images for the nodes of local clusters: where they come from, which nodes need them, and their way there. The image of this
//! program is one of them: the controllers of a cluster run from it.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _, stream, stream::BoxStream};

use super::Story;
use crate::{
    install::{
        self,
        image::{
            self, ImageError, Packing,
            archive::{self, Named},
            reference::{InvalidReference, Reference},
        },
    },
    providers::{
        ActuatorError,
        docker::{DockerActuator, LoadError},
    },
};

pub use crate::install::image::archive::ArchiveError;

/// Nodes into which an image is put at the same time.
const AT_ONCE: usize = 4;
/// Bytes of an archive that are read at a time, and how many such pieces wait for a node.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;

/// Why images did not get into nodes.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// Docker refused something.
    #[error(transparent)]
    Docker(#[from] ActuatorError),
    /// Nothing is called so.
    #[error("there is no image \"{0}\": neither the Docker daemon has it, nor is there such a file")]
    NoImage(String),
    /// The Docker daemon does not have it.
    #[error("the Docker daemon has no image \"{0}\"")]
    NotInDocker(String),
    /// An archive can't be opened.
    #[error("can't read {}", .0.display())]
    NoFile(PathBuf, #[source] io::Error),
    /// It is no archive of images.
    #[error("{} is no archive of images", .0.display())]
    Archive(PathBuf, #[source] ArchiveError),
    /// Without a name no pod could ask for it.
    #[error("image {0} has no name, so that no pod could ask for it")]
    Nameless(String),
    /// There is no such cluster.
    #[error("cluster \"{0}\" has no containers here")]
    NoCluster(String),
    /// A node is named that the cluster does not have.
    #[error("cluster \"{cluster}\" has no node \"{node}\"")]
    NoNode {
        /// The cluster.
        cluster: String,
        /// The name.
        node: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A node does not run.
    #[error("node {0} does not run")]
    Stopped(String),
}

/// Where the bytes of an image come from.
#[derive(Debug, Clone)]
enum Source {
    /// The Docker daemon, under this name.
    Docker(String),
    /// A file.
    Archive(PathBuf),
    /// Memory.
    Memory(Bytes),
}

/// What is to be put into nodes.
#[derive(Debug, Clone)]
pub struct Load {
    /// What the user calls it.
    pub title: String,
    /// The images in it.
    images: Vec<Named>,
    /// How many bytes they are, about.
    pub size: u64,
    source: Source,
}

/// Where to look for what the user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Wherever it is.
    Anywhere,
    /// In the Docker daemon.
    Docker,
    /// In the file system.
    Files,
}

/// What became of it in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was put there.
    Loaded,
    /// It was there.
    Present,
}

impl Load {
    /// Finds what a user names: an archive, or an image of the Docker daemon. What looks like a file is one.
    pub async fn find(docker: &DockerActuator, word: &str, place: Place) -> Result<Self, ImagesError> {
        let is_file = match place {
            Place::Files => true,
            Place::Docker => false,
            Place::Anywhere => looks_like_file(word),
        };
        if is_file {
            return Self::archive(word.into()).await;
        }
        match Self::local(docker, word).await? {
            Some(found) => Ok(found),
            None if place == Place::Docker => Err(ImagesError::NotInDocker(word.to_owned())),
            None if Path::new(word).is_file() => Self::archive(word.into()).await,
            None => Err(ImagesError::NoImage(word.to_owned())),
        }
    }

    async fn archive(path: PathBuf) -> Result<Self, ImagesError> {
        let file = fs::File::open(&path).map_err(|e| ImagesError::NoFile(path.clone(), e))?;
        let size = file.metadata().map(|m| m.len()).unwrap_or_default();
        let listed = tokio::task::spawn_blocking(move || archive::list(file)).await;
        let listed = listed.unwrap_or_else(|e| Err(io::Error::other(e).into()));
        let images = listed.map_err(|e| match e {
            ArchiveError::Read(e) => ImagesError::NoFile(path.clone(), e),
            e => ImagesError::Archive(path.clone(), e),
        })?;
        Ok(Self {
            title: path.display().to_string(),
            images,
            size,
            source: Source::Archive(path),
        })
    }

    async fn local(docker: &DockerActuator, word: &str) -> Result<Option<Self>, ImagesError> {
        // Docker is not asked for what is neither a name nor an id.
        if !matches!(word.parse::<Reference>(), Ok(_) | Err(InvalidReference::Id)) {
            return Ok(None);
        }
        let Some(found) = docker.local_image(word).await? else {
            return Ok(None);
        };
        let full = |name: &str| name.parse::<Reference>().ok().map(|r| r.to_string());
        // Asked for by id or digest, Docker saves an image without its names.
        let asked = full(word);
        let name = found.names.iter().find(|name| full(name) == asked);
        let name = name
            .or_else(|| found.names.first())
            .ok_or_else(|| ImagesError::Nameless(word.to_owned()))?;
        let images = full(name).map(|name| Named {
            name,
            digests: vec![found.id.clone()],
        });
        Ok(Some(Self {
            title: word.to_owned(),
            images: images.into_iter().collect(),
            size: found.size,
            source: Source::Docker(name.clone()),
        }))
    }

    /// The names of the images in it, as kubelets spell them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|image| image.name.as_str())
    }

    /// The archive, piece by piece.
    fn pieces(&self, docker: &DockerActuator) -> BoxStream<'static, io::Result<Bytes>> {
        match &self.source {
            Source::Docker(name) => docker.saved(name).boxed(),
            Source::Archive(path) => file(path.clone()).boxed(),
            Source::Memory(bytes) => stream::once(std::future::ready(Ok(bytes.clone()))).boxed(),
        }
    }

    /// Puts it into a node unless that has it. `sent` counts the bytes.
    async fn put(
        &self,
        docker: &DockerActuator,
        node: &str,
        sent: &Arc<AtomicU64>,
        moved: &(dyn Fn() + Send + Sync),
    ) -> Result<Outcome, LoadError> {
        let held = docker.images_in(node).await?;
        let mut present = true;
        for Named { name, digests } in &self.images {
            present = present && docker.has_image(node, &held, name, digests).await?;
        }
        if present {
            sent.fetch_add(self.size, Ordering::Relaxed);
            return Ok(Outcome::Present);
        }
        let counted = self.pieces(docker).inspect(|piece| {
            if let Ok(piece) = piece {
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                moved();
            }
        });
        docker.import(node, &held, counted).await?;
        Ok(Outcome::Loaded)
    }

    /// Puts it into nodes, several at once, and returns what became of it in each, in their order. One that fails keeps no other
    /// from getting it. `told` hears of each node that is done, and how many bytes have gone in all.
    pub async fn put_into(
        &self,
        docker: &DockerActuator,
        nodes: &[String],
        told: &(dyn Fn(usize, u64) + Send + Sync),
    ) -> Vec<(String, Result<Outcome, LoadError>)> {
        let (sent, done) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let (sent, done) = (&sent, &done);
        let tell = move || {
            let done = usize::try_from(done.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            told(done, sent.load(Ordering::Relaxed));
        };
        let tell = &tell;
        stream::iter(nodes)
            .map(|node| async move {
                let outcome = self.put(docker, node, sent, tell).await;
                done.fetch_add(1, Ordering::Relaxed);
                tell();
                (node.clone(), outcome)
            })
            .buffered(AT_ONCE)
            .collect()
            .await
    }
}

/// Whether a word can be no name of an image, or is a file's by custom.
fn looks_like_file(word: &str) -> bool {
    let path = Path::new(word);
    let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    path.is_absolute()
        || word.starts_with("./")
        || word.starts_with("../")
        || is("tar")
        || is("tgz")
        || (is("gz")
            && path
                .file_stem()
                .is_some_and(|s| Path::new(s).extension().is_some_and(|e| e == "tar")))
}

/// Reads an archive, unpacked, in a thread of its own, as fast as somebody takes it.
fn file(path: PathBuf) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (mut sender, receiver) = futures::channel::mpsc::channel::<io::Result<Bytes>>(PIECES);
    let read = move |sender: &mut futures::channel::mpsc::Sender<io::Result<Bytes>>| -> io::Result<()> {
        let mut archive = archive::unpacked(fs::File::open(&path)?).map_err(io::Error::other)?;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            archive.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            // Nobody listens any more: nothing is left to do.
            if piece.is_empty() || futures::executor::block_on(sender.send(Ok(piece.into()))).is_err() {
                return Ok(());
            }
        }
    };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&mut sender) {
            futures::executor::block_on(sender.send(Err(error))).ok();
        }
    });
    receiver
}

/// Lists the nodes of a local cluster that are to get an image: those that are named, or else all.
///
/// # Errors
/// There is no such cluster or node, or one of them does not run.
pub async fn nodes(
    docker: &DockerActuator,
    cluster: &str,
    named: &[String],
) -> Result<Vec<String>, ImagesError> {
    let containers = docker.containers_of(cluster).await?;
    if containers.is_empty() {
        return Err(ImagesError::NoCluster(cluster.to_owned()));
    }
    for node in named {
        if !containers.iter().any(|c| c.name == *node) {
            return Err(ImagesError::NoNode {
                cluster: cluster.to_owned(),
                node: node.clone(),
                known: containers.into_iter().map(|c| c.name).collect(),
            });
        }
    }
    let chosen: Vec<_> = containers
        .into_iter()
        .filter(|c| named.is_empty() || named.contains(&c.name))
        .collect();
    match chosen.iter().find(|c| !c.running) {
        Some(stopped) => Err(ImagesError::Stopped(stopped.name.clone())),
        None => Ok(chosen.into_iter().map(|c| c.name).collect()),
    }
}

/// Why there is no image of this program.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("this program can't be read: {0}")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Reads the file of this program, the one that runs even if another has taken its place, and returns its path, too.
///
/// # Errors
/// The system does not tell which file it is, or it can't be read.
pub fn own_program() -> io::Result<(PathBuf, Vec<u8>)> {
    let path = env::current_exe()?;
    let running = Path::new("/proc/self/exe");
    let content = fs::read(if running.exists() { running } else { &path })?;
    Ok((path, content))
}

/// The image of this program on its way into the nodes of a cluster, from which its controllers run there.
///
/// It fails nobody: a cluster is of use without controllers. What goes wrong is a warning, once.
pub struct ControllerImage {
    docker: Arc<DockerActuator>,
    cluster: String,
    state: State,
    /// Nodes that have it.
    done: BTreeSet<String>,
}

enum State {
    /// It is being made.
    Making(tokio::task::JoinHandle<Result<Load, ProgramError>>),
    /// It is made.
    Made(Load),
    /// There is none.
    Missing,
}

impl ControllerImage {
    /// Begins to make it, in a thread of its own.
    pub fn prepare(docker: Arc<DockerActuator>, cluster: &str) -> Self {
        Self {
            docker,
            cluster: cluster.to_owned(),
            state: State::Making(tokio::task::spawn_blocking(program)),
            done: BTreeSet::new(),
        }
    }

    /// Puts it into the nodes of the cluster that run and do not have it.
    pub async fn load(&mut self, story: &dyn Story) {
        let Some(load) = self.made(story).await else {
            return;
        };
        let problem = match self.docker.containers_of(&self.cluster).await {
            Ok(containers) => {
                let missing = |name: &String| !self.done.contains(name);
                let running = containers.into_iter().filter(|c| c.running);
                let nodes: Vec<_> = running.map(|c| c.name).filter(missing).collect();
                let mut problem = None;
                for (node, outcome) in load.put_into(&self.docker, &nodes, &|_, _| {}).await {
                    match outcome {
                        Ok(_) => drop(self.done.insert(node)),
                        Err(error) => problem = Some(error.to_string()),
                    }
                }
                problem
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            self.state = State::Missing;
            self.warn(story, &problem, "type later");
        }
    }

    /// Waits until it is made.
    async fn made(&mut self, story: &dyn Story) -> Option<Load> {
        if let State::Making(task) = &mut self.state {
            let made = task.await;
            self.state = State::Missing;
            match made {
                Ok(Ok(load)) => self.state = State::Made(load),
                Ok(Err(error)) => {
                    let hint = match error {
                        ProgramError::Image(ImageError::Dynamic) => image::HOW_TO_BUILD,
                        _ => "with a program for Linux, type",
                    };
                    self.warn(story, &error.to_string(), hint);
                }
                // The program ends.
                Err(_) => {}
            }
        }
        match &self.state {
            State::Made(load) => Some(load.clone()),
            State::Making(_) | State::Missing => None,
        }
    }

    fn warn(&self, story: &dyn Story, problem: &str, hint: &str) {
        story.warn(&format!(
            "the cluster has no image to run controllers from: {problem}; {hint}: machinectl util image && machinectl load image machinectl-image.tar --cluster {}",
            self.cluster
        ));
    }
}

/// Makes the image of this program, to be read once.
fn program() -> Result<Load, ProgramError> {
    let (_, content) = own_program().map_err(ProgramError::Read)?;
    let name: Reference = install::IMAGE
        .parse()
        .map_err(|e| ProgramError::Read(io::Error::other(e)))?;
    let made = image::image(&content, &name, Packing::Plain)?;
    Ok(Load {
        title: install::IMAGE.to_owned(),
        images: vec![Named {
            name: name.to_string(),
            digests: vec![made.id, made.manifest],
        }],
        size: made.archive.len() as u64,
        source: Source::Memory(made.archive.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_names() {
        for file in ["/a", "./a", "../a", "a.tar", "b/a.tar.gz", "a.TGZ"] {
            assert!(looks_like_file(file), "{file}");
        }
        for name in ["a", "a:1", "r.io/a", "a.gz", "me/a.b"] {
            assert!(!looks_like_file(name), "{name}");
        }
    }

    #[tokio::test]
    async fn archives_are_read_whole_and_unpacked() {
        use std::io::Write as _;
        let content: Vec<u8> = (0..3 * PIECE + 17)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&content).unwrap();
        for (name, bytes) in [("plain", content.clone()), ("packed", packed.finish().unwrap())] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let read: Vec<Bytes> = file(path).map(Result::unwrap).collect().await;
            assert_eq!(read.concat(), content, "{name}");
        }
        let missing: Vec<_> = file(dir.path().join("none")).collect().await;
        assert!(matches!(missing.as_slice(), [Err(_)]));
    }
}
