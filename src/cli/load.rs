//! `load`: copies images of the Docker daemon into the nodes of a local cluster.

use clap::{Args, Subcommand};

use super::context::{App, Purpose};
use crate::{
    cluster::running,
    error::{CommandError, ErrorKind},
};

/// Copy images into the nodes of a local cluster
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    Image(ImageArgs),
}

/// Copy images of the Docker daemon into the nodes of a local cluster
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Images, as `docker images` shows them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Cluster; by default that of the current context
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

pub(crate) async fn run(app: &App, command: LoadCommand) -> Result<(), CommandError> {
    let LoadCommand::Image(ImageArgs { images, cluster }) = command;
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
    for image in images {
        let progress = app.story();
        progress.step(&format!("Loading {image} into cluster \"{cluster}\""));
        let told = progress.clone();
        let nodes = docker
            .load_image(&cluster, &image, move |node| told.detail(node))
            .await
            .map_err(|source| {
                progress.fail();
                CommandError::new(ErrorKind::Failed, format!("can't load image {image}")).caused_by(source)
            })?;
        progress.finish();
        for node in nodes {
            app.data(&format!("{image} loaded into {node}"))?;
        }
    }
    Ok(())
}
