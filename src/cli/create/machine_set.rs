//! `create machineset`: a number of equal machines, and the template that they are copied from.

use clap::Args;
use serde_json::{Map, json};

use super::group::{self, GroupArgs};
use crate::{cli::context::App, cluster::groups::GroupKind, error::CommandError};

/// Make a set of equal machines and wait until they all run
///
/// They join the cluster of the context, or the one that is named. What is left out is as with that cluster's other machines.
#[derive(Debug, Args)]
pub(crate) struct MachineSetArgs {
    #[command(flatten)]
    group: GroupArgs,
}

pub(crate) async fn run(app: &App, args: MachineSetArgs) -> Result<(), CommandError> {
    let MachineSetArgs { group } = args;
    let mut fields = Map::new();
    if let Some(policy) = group.delete_policy {
        fields.insert("deletePolicy".to_owned(), json!(policy.word()));
    }
    group::make(app, GroupKind::Set, group, fields).await
}
