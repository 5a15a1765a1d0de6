//! `create machine`: a Machine with its infrastructure object, and a Config if none is named.

use std::sync::Arc;

use clap::Args;

use super::Provider;
use crate::{
    cli::{
        args::{DryRun, DryRunArgs, WaitArgs},
        context::{App, Purpose},
        output::{self, Output},
        version::wanted,
    },
    cluster::{
        Story,
        create::Patience,
        machine::{self, Wish},
    },
    error::CommandError,
};

/// Make a machine and wait until its Node exists
///
/// It joins the cluster of the context, or the one that is named. What is left out is as with that cluster's other machines.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Name of the machine and of its Node
    name: String,
    /// Cluster that it joins
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Where it comes from
    #[arg(long, value_enum, value_name = "PROVIDER")]
    infrastructure: Option<Provider>,
    /// Node image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Config that it runs first
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
    /// Kubernetes version, for example v1.35.0
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(crate) async fn run(app: &App, args: MachineArgs) -> Result<(), CommandError> {
    let MachineArgs {
        name,
        cluster,
        infrastructure,
        image,
        config,
        kubernetes_version,
        wait: WaitArgs { wait, timeout },
        dry_run: DryRunArgs { dry_run },
    } = args;
    let version = kubernetes_version.map(|v| wanted(&v)).transpose()?;
    let (mut session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    // The Cluster object stands on the embedded server or another manager; a cluster that manages itself has none.
    let of_context = session.target.cluster.clone();
    let manages_itself = matches!(session.target.why, crate::client::Why::Manages(_));
    let wish = Wish {
        name: name.clone(),
        namespace: session.target.namespace.clone(),
        cluster: cluster.or_else(|| of_context.filter(|_| manages_itself)),
        infrastructure: infrastructure.map(Into::into),
        image,
        config,
        version,
    };
    if dry_run == Some(DryRun::Client) {
        let objects = machine::objects(&session, &wish).await?;
        let text = objects
            .iter()
            .map(|o| output::document(o, Output::Yaml))
            .collect::<Result<Vec<_>, _>>()?;
        return app.data(&text.join("---\n"));
    }
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let server = dry_run == Some(DryRun::Server);
    let patience = Patience {
        wait: wait && !server,
        limit: timeout,
        dry_run: server,
    };
    let made = machine::create(&mut session, &wish, &story, patience).await;
    let cluster = wish.cluster.clone();
    if let Err(error) = made {
        progress.fail();
        return Err(super::failed(error, &format!("machine {name}")));
    }
    progress.finish();
    if server {
        return app.data(&format!(
            "machine.machine.crit.sh/{name} created (server dry run)"
        ));
    }
    app.data(&format!("machine.machine.crit.sh/{name} created"))?;
    if !wait {
        app.say_who_acts(&session).await;
    } else if let Some(cluster) = cluster {
        app.ui.say(&format!(
            "It is a Node of cluster \"{cluster}\" now: machinectl describe cluster {cluster}"
        ));
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}
