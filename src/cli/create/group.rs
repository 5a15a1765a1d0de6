//! What `create machineset` and `create machinedeployment` have in common: what the machines are, and what is said at the end.

use std::{collections::BTreeMap, sync::Arc};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::Provider;
use crate::{
    cli::{
        args::{DryRun, DryRunArgs, WaitArgs},
        context::{App, Purpose},
        output::{self, ObjectOutput},
        resources,
        version::wanted,
    },
    client::{Session, kinds},
    cluster::{
        Story,
        create::Patience,
        fleet::{self, GroupWish},
        groups::{GroupKind, Template},
        machine::Wish,
    },
    error::{CommandError, ErrorKind},
};

/// What the machines of a group are, and how many.
#[derive(Debug, Args)]
pub(super) struct GroupArgs {
    /// Name of the group; its machines are named after it
    name: String,
    /// Number of machines
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// Cluster that they join
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Where they come from; a template of that kind is made, and goes with the group
    #[arg(
        long,
        value_enum,
        value_name = "PROVIDER",
        conflicts_with = "infrastructure_template"
    )]
    infrastructure: Option<Provider>,
    /// Template that exists already, for example `hollowmachinetemplate/big`
    #[arg(long, value_name = "KIND/NAME", conflicts_with = "image")]
    infrastructure_template: Option<String>,
    /// Node image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Config that they run first
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
    /// Kubernetes version, for example v1.35.0
    #[arg(long, alias = "version", value_name = "VERSION")]
    kubernetes_version: Option<String>,
    /// Label of the machines (can be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Which machines go first when the group shrinks
    #[arg(long, value_enum, ignore_case = true, value_name = "POLICY")]
    pub(super) delete_policy: Option<DeletePolicy>,
    /// Seconds for which a Node must be Ready before its machine counts as available
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i32).range(0..))]
    min_ready_seconds: Option<i32>,
    /// How to print what was made
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<ObjectOutput>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Which machines go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DeletePolicy {
    /// Any
    #[value(name = "Random")]
    Random,
    /// The youngest
    #[value(name = "Newest")]
    Newest,
    /// The oldest
    #[value(name = "Oldest")]
    Oldest,
}

impl DeletePolicy {
    /// Returns the word that stands in the object.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Random => "Random",
            Self::Newest => "Newest",
            Self::Oldest => "Oldest",
        }
    }
}

/// Reads `key=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => match crate::api::names::label_problem(key, value) {
            Some(problem) => Err(problem),
            None => Ok((key.to_owned(), value.to_owned())),
        },
        _ => Err("write KEY=VALUE, for example pool=blue".to_owned()),
    }
}

/// Makes a group. `fields` are those of its spec that only this kind has.
pub(super) async fn make(
    app: &App,
    kind: GroupKind,
    args: GroupArgs,
    mut fields: Map<String, Value>,
) -> Result<(), CommandError> {
    let (mut session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    if let Some(seconds) = args.min_ready_seconds {
        fields.insert("minReadySeconds".to_owned(), json!(seconds));
    }
    let GroupArgs {
        output,
        wait: WaitArgs { wait, timeout },
        dry_run: DryRunArgs { dry_run },
        ..
    } = args;
    let wish = wish(&session, kind, args, fields).await?;
    if dry_run == Some(DryRun::Client) {
        let objects = fleet::objects(&session, &wish).await?;
        return app.data(&output::made(&objects, output.unwrap_or(ObjectOutput::Yaml))?);
    }
    let server = dry_run == Some(DryRun::Server);
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let patience = Patience {
        wait: wait && !server,
        limit: timeout,
        dry_run: server,
    };
    let word = kind.kind().to_lowercase();
    let name = &wish.machine.name;
    if let Err(error) = fleet::create(&mut session, &wish, &story, patience).await {
        progress.fail();
        return Err(super::failed(error, &format!("{word} {name}")));
    }
    progress.finish();
    tell(app, &session, &wish, output, server).await?;
    if !wait && !server {
        app.say_who_acts(&session).await;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

/// Says what was made.
async fn tell(
    app: &App,
    session: &Session,
    wish: &GroupWish,
    output: Option<ObjectOutput>,
    dry_run: bool,
) -> Result<(), CommandError> {
    let word = wish.kind.kind().to_lowercase();
    match output {
        None => {
            let suffix = if dry_run { " (server dry run)" } else { "" };
            app.data(&format!(
                "{word}.machine.crit.sh/{} created{suffix}",
                wish.machine.name
            ))
        }
        Some(output) => {
            let objects = fleet::objects(session, wish).await?;
            let mut stored = Vec::new();
            for object in objects {
                let found = if dry_run {
                    None
                } else {
                    stored_of(session, &object).await?
                };
                stored.push(found.unwrap_or(object));
            }
            app.data(&output::made(&stored, output)?)
        }
    }
}

/// An object as the API server holds it.
async fn stored_of(session: &Session, object: &Value) -> Result<Option<Value>, CommandError> {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let Some(kind) = kinds::own_by_kind(&text(&object["kind"])) else {
        return Ok(None);
    };
    let namespace = text(&object["metadata"]["namespace"]);
    let name = text(&object["metadata"]["name"]);
    let failed = |e| crate::cli::error::of_api(format!("can't look at {}/{name}", kind.singular_name()), e);
    let request = http::Request::get(kind.path(Some(&namespace), Some(&name)))
        .body(Vec::new())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    session.client.request(request).await.map(Some).map_err(failed)
}

async fn wish(
    session: &Session,
    kind: GroupKind,
    args: GroupArgs,
    fields: Map<String, Value>,
) -> Result<GroupWish, CommandError> {
    let GroupArgs {
        name,
        replicas,
        cluster,
        infrastructure,
        infrastructure_template,
        image,
        config,
        kubernetes_version,
        labels,
        ..
    } = args;
    let version = kubernetes_version.map(|v| wanted(&v)).transpose()?;
    let template = match infrastructure_template {
        Some(text) => Some(template(session, &text).await?),
        None => None,
    };
    // The Cluster object stands on the embedded server or another manager; a cluster that manages itself has none.
    let of_context = session.target.cluster.clone();
    let manages_itself = matches!(session.target.why, crate::client::Why::Manages(_));
    Ok(GroupWish {
        kind,
        machine: Wish {
            name,
            namespace: session.target.namespace.clone(),
            cluster: cluster.or_else(|| of_context.filter(|_| manages_itself)),
            infrastructure: infrastructure.map(Into::into),
            image,
            config,
            version,
        },
        replicas,
        template,
        labels: BTreeMap::from_iter(labels),
        fields,
    })
}

/// Finds the template that `KIND/NAME` names.
async fn template(session: &Session, text: &str) -> Result<Template, CommandError> {
    let wrong = |message: String| {
        CommandError::new(ErrorKind::Usage, message)
            .hinted("write KIND/NAME, for example hollowmachinetemplate/big")
    };
    let (word, name) = text
        .split_once('/')
        .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        .ok_or_else(|| wrong(format!("\"{text}\" is not of the form KIND/NAME")))?;
    let kinds = resources::resolve(&session.client, word).await?;
    let [kind] = kinds.as_slice() else {
        return Err(wrong(format!("\"{word}\" stands for several kinds")));
    };
    if !kind.kind.ends_with("Template") {
        return Err(wrong(format!("{} is no kind of template", kind.kind)));
    }
    let namespace = &session.target.namespace;
    let request = http::Request::get(kind.path(Some(namespace), Some(name)))
        .body(Vec::new())
        .map_err(kube::Error::HttpError);
    let found: Result<Value, kube::Error> = match request {
        Ok(request) => session.client.request(request).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(_) => Ok(Template {
            api_version: kind.api_version(),
            kind: kind.kind.clone(),
            name: name.to_owned(),
        }),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(crate::cli::request::not_found(kind, name, Some(namespace)))
        }
        Err(error) => Err(crate::cli::error::of_api(
            format!("can't look at {}/{name}", kind.singular_name()),
            error,
        )),
    }
}
