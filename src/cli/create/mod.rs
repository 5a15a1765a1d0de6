//! `create`: makes things and waits until they are there.

mod cluster;
mod group;
mod machine;
mod machine_deployment;
mod machine_health_check;
mod machine_set;
mod pivot;

use clap::{Subcommand, ValueEnum};

use super::context::App;
use crate::{
    cluster::{ClusterError, Infrastructure},
    error::CommandError,
};

/// Make a cluster, a machine or a group of machines, and wait until it runs
#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    Cluster(cluster::ClusterArgs),
    Machine(machine::MachineArgs),
    #[command(name = "machineset", visible_alias = "ms")]
    MachineSet(machine_set::MachineSetArgs),
    #[command(name = "machinedeployment", visible_alias = "md")]
    MachineDeployment(machine_deployment::MachineDeploymentArgs),
    #[command(name = "machinehealthcheck", visible_alias = "mhc")]
    MachineHealthCheck(machine_health_check::MachineHealthCheckArgs),
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

/// What went wrong with `what`; if it was begun, where to look for the reason.
fn failed(error: ClusterError, what: &str) -> CommandError {
    let begun = matches!(
        error,
        ClusterError::TimedOut { .. } | ClusterError::MachineFailed { .. }
    );
    let error = CommandError::from(error);
    if begun {
        error.hinted(format!("see why: machinectl describe {what}"))
    } else {
        error
    }
}

pub(crate) async fn run(app: &App, command: CreateCommand) -> Result<(), CommandError> {
    match command {
        CreateCommand::Cluster(args) => cluster::run(app, args).await,
        CreateCommand::Machine(args) => machine::run(app, args).await,
        CreateCommand::MachineSet(args) => machine_set::run(app, args).await,
        CreateCommand::MachineDeployment(args) => machine_deployment::run(app, args).await,
        CreateCommand::MachineHealthCheck(args) => machine_health_check::run(app, args).await,
    }
}
