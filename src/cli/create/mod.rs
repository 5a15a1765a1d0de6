//! `create`: makes things and waits until they are there.

mod cluster;
mod machine;

use clap::{Subcommand, ValueEnum};

use super::context::App;
use crate::{cluster::Infrastructure, error::CommandError};

/// Make a cluster or a machine, and wait until it runs
#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    Cluster(cluster::ClusterArgs),
    Machine(machine::MachineArgs),
}

/// Where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// Containers on a Docker host
    Docker,
    /// Node objects without hardware
    Hollow,
}

impl From<Provider> for Infrastructure {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Docker => Self::Docker,
            Provider::Hollow => Self::Hollow,
        }
    }
}

pub(crate) async fn run(app: &App, command: CreateCommand) -> Result<(), CommandError> {
    match command {
        CreateCommand::Cluster(args) => cluster::run(app, args).await,
        CreateCommand::Machine(args) => machine::run(app, args).await,
    }
}
