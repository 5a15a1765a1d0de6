//! `scale`: sets how many machines a group has, through the scale subresource, and waits until they run.

use std::sync::Arc;

use clap::Args;
use kube::Client;
use serde_json::{Value, json};

use super::{
    args::{DryRun, DryRunArgs, WaitArgs},
    context::{App, Purpose},
    error::of_api,
    request::{Request, not_found, requests},
};
use crate::{
    client::{FIELD_MANAGER, Session, kinds::Kind},
    cluster::{
        ClusterError, Story,
        fleet::{self, GroupName},
        groups::GroupKind,
        running::Deadline,
    },
    error::{CommandError, ErrorKind},
};

/// Set how many machines a MachineSet or MachineDeployment has, and wait until they run
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is what --help shows")]
pub(crate) struct ScaleArgs {
    /// Kind and names: KIND NAME..., or KIND/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// How many there should be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// Do it only if this is the present number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    current_replicas: Option<i32>,
    /// Do it only if the object has this resource version
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// How often a number is written anew that somebody else changed in between.
const TRIES: usize = 5;

pub(crate) async fn run(app: &App, args: ScaleArgs) -> Result<(), CommandError> {
    let ScaleArgs {
        what,
        replicas,
        current_replicas,
        resource_version,
        wait: WaitArgs { wait, timeout },
        dry_run: DryRunArgs { dry_run },
    } = args;
    let (session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    let mut groups = Vec::new();
    for Request { kind, names } in requests(&session.client, &what).await? {
        if names.is_empty() {
            return Err(
                CommandError::new(ErrorKind::Usage, "a name is missing").hinted(format!(
                    "name what to scale: machinectl scale {} NAME --replicas {replicas}",
                    kind.singular
                )),
            );
        }
        for name in names {
            let wish = Wish {
                kind: kind.clone(),
                namespace: session.target.namespace.clone(),
                name,
                replicas,
                current_replicas,
                resource_version: resource_version.clone(),
                dry_run,
            };
            wish.carry_out(app, &session.client).await?;
            groups.extend(wish.group());
        }
    }
    if dry_run.is_some() {
        return Ok(());
    }
    if wait && !groups.is_empty() {
        until_sized(app, &session, groups, timeout).await?;
    } else {
        app.say_who_acts(&session).await;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

async fn until_sized(
    app: &App,
    session: &Session,
    groups: Vec<GroupName>,
    limit: std::time::Duration,
) -> Result<(), CommandError> {
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let what = match groups.as_slice() {
        [one] => one.to_string(),
        _ => "the wait for the machines".to_owned(),
    };
    let deadline = Deadline::new(limit, what);
    if let Err(error) = fleet::until_sized(session, &groups, &story, &deadline).await {
        progress.fail();
        let begun = matches!(
            error,
            ClusterError::TimedOut { .. } | ClusterError::MachineFailed { .. }
        );
        let error = CommandError::from(error);
        return Err(match groups.first().filter(|_| begun) {
            Some(group) => error.hinted(format!(
                "see why: machinectl describe {} {}",
                group.kind.kind().to_lowercase(),
                group.name
            )),
            None => error,
        });
    }
    progress.finish();
    Ok(())
}

/// One object and the number that it shall have.
struct Wish {
    kind: Kind,
    namespace: String,
    name: String,
    replicas: i32,
    current_replicas: Option<i32>,
    resource_version: Option<String>,
    dry_run: Option<DryRun>,
}

impl Wish {
    /// The group of machines that it is, if it is one.
    fn group(&self) -> Option<GroupName> {
        let kinds = [GroupKind::Set, GroupKind::Deployment];
        let kind = kinds.into_iter().find(|k| self.kind.is_own(k.kind()))?;
        Some(GroupName {
            kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        })
    }

    fn path(&self, subresource: &str) -> String {
        let path = self.kind.path(Some(&self.namespace), Some(&self.name));
        format!("{path}{subresource}")
    }

    fn failed(&self, error: kube::Error) -> CommandError {
        of_api(
            format!("can't scale {}/{}", self.kind.singular_name(), self.name),
            error,
        )
    }

    async fn get(&self, client: &Client, subresource: &str) -> Result<Value, CommandError> {
        let request = http::Request::get(self.path(subresource))
            .body(Vec::new())
            .map_err(|e| self.failed(kube::Error::HttpError(e)))?;
        match client.request(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 && subresource.is_empty() => {
                Err(not_found(&self.kind, &self.name, Some(&self.namespace)))
            }
            answer => answer.map_err(|e| self.failed(e)),
        }
    }

    /// Writes the number and says so.
    async fn carry_out(&self, app: &App, client: &Client) -> Result<(), CommandError> {
        let object = self.get(client, "").await?;
        self.warn_of_owner(app, &object);
        for _ in 0..TRIES {
            let scale = match self.get(client, "/scale").await {
                Err(error) if error.kind == ErrorKind::NotFound => {
                    return Err(CommandError::new(
                        ErrorKind::Usage,
                        format!("{} can't be scaled", self.kind.full_name()),
                    )
                    .hinted("these can: machinesets, machinedeployments"));
                }
                answer => answer?,
            };
            self.check(&scale)?;
            match self.write(client, &scale).await {
                // Somebody else wrote the object in between: what the user asked for may hold still.
                Err(kube::Error::Api(status)) if status.code == 409 && self.resource_version.is_none() => {}
                Err(error) => return Err(self.failed(error)),
                Ok(()) => {
                    let suffix = match self.dry_run {
                        None => "",
                        Some(DryRun::Client) => " (dry run)",
                        Some(DryRun::Server) => " (server dry run)",
                    };
                    return app.data(&format!(
                        "{}/{} scaled{suffix}",
                        self.kind.singular_name(),
                        self.name
                    ));
                }
            }
        }
        Err(CommandError::new(
            ErrorKind::Conflict,
            format!("{}/{} changed all the time", self.kind.singular_name(), self.name),
        )
        .hinted("type the command again"))
    }

    /// Whoever sizes a set by its deployment's number overwrites this one.
    fn warn_of_owner(&self, app: &App, object: &Value) {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let controller = owners.into_iter().flatten().find(|o| o["controller"] == true);
        if let Some(owner) = controller {
            let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
            app.ui.warn(&format!(
                "{}/{} belongs to {} {}, which sets its size; to scale that one, type: machinectl scale {} {} --replicas {}",
                self.kind.singular,
                self.name,
                text("kind"),
                text("name"),
                text("kind").to_lowercase(),
                text("name"),
                self.replicas
            ));
        }
    }

    /// Whether the object is as the user expects it.
    fn check(&self, scale: &Value) -> Result<(), CommandError> {
        let refused = |expected: &str, found: &str| {
            CommandError::new(
                ErrorKind::Conflict,
                format!(
                    "{}/{} was not scaled: expected {expected}, found {found}",
                    self.kind.singular_name(),
                    self.name
                ),
            )
            .hinted(format!(
                "look at it: machinectl get {} {}",
                self.kind.singular, self.name
            ))
        };
        let present = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if let Some(expected) = self.current_replicas
            && i64::from(expected) != present
        {
            return Err(refused(&format!("{expected} replicas"), &present.to_string()));
        }
        let version = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if let Some(expected) = &self.resource_version
            && expected != version
        {
            return Err(refused(&format!("resource version {expected}"), version));
        }
        Ok(())
    }

    /// Writes the number, only if the object is still the one that was looked at.
    async fn write(&self, client: &Client, scale: &Value) -> Result<(), kube::Error> {
        if self.dry_run == Some(DryRun::Client) {
            return Ok(());
        }
        let mut scale = scale.clone();
        scale["spec"] = json!({ "replicas": self.replicas });
        let more = if self.dry_run.is_some() { "&dryRun=All" } else { "" };
        let address = format!("{}?fieldManager={FIELD_MANAGER}{more}", self.path("/scale"));
        let request = http::Request::put(address)
            .header("Content-Type", "application/json")
            .body(scale.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        client.request::<Value>(request).await.map(drop)
    }
}
