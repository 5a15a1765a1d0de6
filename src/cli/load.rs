//! `load`: puts images into the nodes of a local cluster, from archives and from the Docker daemon.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::context::{App, Purpose};
use crate::{
    cluster::{
        images::{self, ImagesError, Load, Outcome, Place},
        running,
    },
    error::{CommandError, ErrorKind},
    providers::docker::{DockerActuator, LoadError},
    ui::progress::Progress,
};

/// Put images into the nodes of a local cluster
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    Image(ImageArgs),
    /// Put images of the Docker daemon into nodes, as kind does
    #[command(hide = true)]
    DockerImage(ImageArgs),
    /// Put the images of archives into nodes, as kind does
    #[command(hide = true)]
    ImageArchive(ImageArgs),
}

/// Put images into the nodes of a local cluster: archives, or images of the Docker daemon
///
/// An archive is what docker save, machinectl util image and builders of OCI images write, compressed with gzip or not. What begins
/// with / or ./ or ends in .tar, .tar.gz or .tgz is one. Nodes that have the same image are left alone.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Archives, and images as `docker images` shows them
    #[arg(required = true, value_name = "ARCHIVE|IMAGE")]
    images: Vec<String>,
    /// Cluster; by default that of the current context
    #[arg(long, alias = "name", value_name = "NAME")]
    cluster: Option<String>,
    /// Only these nodes
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Print what became of each image in each node as JSON
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<LoadOutput>,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadOutput {
    /// JSON
    Json,
}

pub(crate) async fn run(app: &App, command: LoadCommand) -> Result<(), CommandError> {
    let (place, args) = match command {
        LoadCommand::Image(args) => (Place::Anywhere, args),
        LoadCommand::DockerImage(args) => (Place::Docker, args),
        LoadCommand::ImageArchive(args) => (Place::Files, args),
    };
    let ImageArgs {
        images,
        cluster,
        nodes,
        output,
    } = args;
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => app.choose(Purpose::Read)?.0.cluster.ok_or_else(|| {
            CommandError::new(
                ErrorKind::Usage,
                "the current context belongs to no local cluster",
            )
            .hinted("name one: --cluster NAME")
            .hinted("see what there is: machinectl get clusters -A")
        })?,
    };
    let docker = running::docker(None).await?;
    // All that can be wrong with what was typed comes first.
    let nodes = images::nodes(&docker, &cluster, &nodes).await.map_err(refused)?;
    let mut loads = Vec::new();
    for image in &images {
        loads.push(Load::find(&docker, image, place).await.map_err(refused)?);
    }
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for load in &loads {
        let progress = app.story();
        progress.step(&format!("Loading {} into cluster \"{cluster}\"", load.title));
        let outcomes = put(&docker, load, &nodes, &progress).await;
        if outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            progress.finish();
        } else {
            progress.fail();
        }
        for (node, outcome) in outcomes {
            match outcome {
                Ok(outcome) => results.push((load, node, outcome)),
                Err(error) => failures.push((load.title.clone(), node, error)),
            }
        }
    }
    tell(app, &results, output)?;
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failed(failures))
    }
}

async fn put(
    docker: &DockerActuator,
    load: &Load,
    nodes: &[String],
    progress: &Progress,
) -> Vec<(String, Result<Outcome, LoadError>)> {
    let total = load.size * nodes.len() as u64;
    let told = |done: usize, sent: u64| {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        progress.detail(&format!(
            "{done} of {} nodes, {} of {} MB",
            nodes.len(),
            // How large it is is not known so exactly.
            megabytes(sent.min(total)),
            megabytes(total),
        ));
    };
    load.put_into(docker, nodes, &told).await
}

/// Prints what became of each image in each node.
fn tell(
    app: &App,
    results: &[(&Load, String, Outcome)],
    output: Option<LoadOutput>,
) -> Result<(), CommandError> {
    if output == Some(LoadOutput::Json) {
        let entry = |(load, node, outcome): &(&Load, String, Outcome)| {
            let result = match outcome {
                Outcome::Loaded => "loaded",
                Outcome::Present => "present",
            };
            json!({
                "source": load.title,
                "images": load.names().collect::<Vec<_>>(),
                "node": node,
                "result": result,
            })
        };
        let all: Vec<_> = results.iter().map(entry).collect();
        return app.data(&format!("{:#}", json!(all)));
    }
    for (load, node, outcome) in results {
        let image = &load.title;
        app.data(&match outcome {
            Outcome::Loaded => format!("{image} loaded into {node}"),
            Outcome::Present => format!("{image} is in {node} already"),
        })?;
    }
    Ok(())
}

/// What was typed can't be done.
fn refused(error: ImagesError) -> CommandError {
    let message = error.to_string();
    let new = |kind| CommandError::new(kind, message.clone());
    match error {
        ImagesError::Docker(source) => {
            CommandError::new(ErrorKind::Failed, "Docker can't tell what there is").caused_by(source)
        }
        ImagesError::NoImage(image) => new(ErrorKind::NotFound)
            .hinted(format!("fetch it: docker pull {image}"))
            .hinted("or name an archive: docker save IMAGE -o FILE.tar"),
        ImagesError::NotInDocker(image) => {
            new(ErrorKind::NotFound).hinted(format!("fetch it: docker pull {image}"))
        }
        ImagesError::NoFile(_, source) => {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Usage,
            };
            new(kind).caused_by(source)
        }
        ImagesError::Archive(path, source) => {
            use images::ArchiveError::{Compressed, Nameless};
            let hint = match &source {
                Compressed(program) => format!("unpack it first: {program} -d {}", path.display()),
                Nameless => {
                    "give the image a name when you write it: docker save NAME:TAG -o FILE.tar".to_owned()
                }
                _ => "write one: docker save IMAGE -o FILE.tar".to_owned(),
            };
            new(ErrorKind::Usage).caused_by(source).hinted(hint)
        }
        ImagesError::Nameless(image) => {
            new(ErrorKind::Usage).hinted(format!("give it one: docker tag {image} NAME:TAG"))
        }
        ImagesError::NoCluster(_) => new(ErrorKind::NotFound)
            .hinted("see what there is: machinectl get clusters -A")
            .hinted("only clusters of Docker containers take images"),
        ImagesError::NoNode { known, .. } => {
            new(ErrorKind::NotFound).hinted(format!("it has these: {}", known.join(", ")))
        }
        ImagesError::Stopped(node) => new(ErrorKind::Conflict)
            .hinted(format!("start it: docker start {node}"))
            .hinted("or leave it out: --nodes NODE,…"),
    }
}

/// Some nodes did not get an image. Each is named; each kind of failure says once what to do.
fn failed(failures: Vec<(String, String, LoadError)>) -> CommandError {
    let mut told = Vec::new();
    let mut hints = Vec::new();
    let mut lines = Vec::new();
    for (image, node, error) in failures {
        let hint = match &error {
            LoadError::DiskFull { .. } => format!(
                "make room there: docker exec {node} crictl rmi --prune; on the host: docker system df, docker system prune"
            ),
            LoadError::NoRuntime { .. } => {
                format!("see why: docker exec {node} journalctl -u containerd -n 50")
            }
            LoadError::Refused { .. } | LoadError::Docker(_) => {
                format!("see how it is: docker exec {node} ctr -n k8s.io images list")
            }
        };
        let kind = std::mem::discriminant(&error);
        lines.push(format!("{image}: {error}"));
        if !told.contains(&kind) {
            told.push(kind);
            hints.push(hint);
        }
    }
    let message = format!("not all nodes have what was to be loaded: {}", lines.join("; "));
    let mut error = CommandError::new(ErrorKind::Failed, message);
    for hint in hints {
        error = error.hinted(hint);
    }
    error.hinted("then type the command again: nodes that have the image are left alone")
}
