//! `rollout history`: which revisions of a deployment are kept, and what they are.

use clap::Args;
use kube::ResourceExt;

use super::{Named, find, named};
use crate::{
    api::{labels, v1alpha1::MachineTemplateSpec},
    cli::context::{App, Purpose},
    error::{CommandError, ErrorKind},
    ui::table::Table,
    yaml,
};

/// Show which revisions are kept, or one of them
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// Show the machine template of this revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
}

pub(super) async fn run(app: &App, args: HistoryArgs) -> Result<(), CommandError> {
    let (session, _) = app.connect(Purpose::Read).await?;
    app.prepare(&session).await?;
    for named in named(&session, &args.what).await? {
        let all = named.revisions(&session.client).await?;
        let Some(revision) = args.revision else {
            let mut table = Table::new(["revision", "change-cause"]);
            for (revision, set) in &all {
                let cause = set.annotations().get(labels::CHANGE_CAUSE);
                table.row([
                    revision.to_string(),
                    cause.cloned().unwrap_or_else(|| "<none>".to_owned()),
                ]);
            }
            app.data(&format!("{}\n{}", named.full_name(), table.render(true)))?;
            continue;
        };
        let set = find(&named, all, revision)?;
        let text = described(&named, &set.spec.template)?;
        app.data(&format!(
            "{} with revision #{revision}\n{text}",
            named.full_name()
        ))?;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

/// A template, as it is written.
pub(super) fn described(named: &Named, template: &MachineTemplateSpec) -> Result<String, CommandError> {
    let text = yaml::to_string(template).map_err(|source| {
        CommandError::new(
            ErrorKind::Failed,
            format!("can't write the template of {}", named.full_name()),
        )
        .caused_by(source)
    })?;
    let lines = text.lines().map(|line| format!("  {line}\n"));
    Ok(format!("Machine Template:\n{}", lines.collect::<String>()))
}
