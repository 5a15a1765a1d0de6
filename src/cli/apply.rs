//! `apply`: sends objects from files to the API server, by server-side apply. What they become is the controllers' business.

mod send;
mod wait;

use std::time::Duration;

use clap::{Args, ValueEnum};
use kube::Client;

use super::{
    args::{DryRun, DryRunArgs, duration},
    context::{App, Purpose},
    error::of_api,
    manifest::{self, Manifest},
};
use crate::{
    client::kinds::{self, Kind},
    cluster::{fleet::GroupName, groups::GroupKind},
    error::CommandError,
};

/// Make objects be what files say
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// File or folder with objects as YAML or JSON; - is standard input (can be repeated)
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<String>,
    /// What to do about fields that the kind does not have
    #[arg(long, value_enum, default_value_t = Validate::Warn, default_missing_value = "strict", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    validate: Validate,
    /// Take over fields that somebody else has set
    #[arg(long)]
    force_conflicts: bool,
    /// Wait until the Machines run; by default where this command runs the controllers itself
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    wait: Option<bool>,
    /// Give up waiting after this time, for example 90s; 0: never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// What to do about unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Validate {
    /// Refuse the object
    Strict,
    /// Warn, and leave the field out
    Warn,
    /// Leave the field out
    Ignore,
}

impl Validate {
    const fn parameter(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Warn => "Warn",
            Self::Ignore => "Ignore",
        }
    }
}

pub(crate) async fn run(app: &App, args: ApplyArgs) -> Result<(), CommandError> {
    let mut manifests = manifest::read(&args.filename)?;
    // All files are looked at before the first object is sent, so that nothing is half done.
    for manifest in &mut manifests {
        check_fields(app, manifest, args.validate)?;
        check_kind(manifest)?;
    }
    if args.dry_run.dry_run == Some(DryRun::Client) {
        for manifest in &manifests {
            app.data(&format!("{} (dry run)", short(manifest)))?;
        }
        return Ok(());
    }
    let (session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    let mut addressed = Vec::new();
    for manifest in &manifests {
        let kind = kind_of(&session.client, manifest, session.target.name()).await?;
        let namespace = namespace_of(app, manifest, &kind, &session.target.namespace)?;
        addressed.push((manifest, kind, namespace));
    }
    let (mut machines, mut groups) = (Vec::new(), Vec::new());
    for (manifest, kind, namespace) in addressed {
        let options = send::Options {
            namespace: namespace.as_deref(),
            validation: args.validate.parameter(),
            force: args.force_conflicts,
            dry_run: args.dry_run.dry_run.is_some(),
        };
        let word = send::send(app, &session.client, manifest, &kind, options).await?;
        let group = [GroupKind::Set, GroupKind::Deployment]
            .into_iter()
            .find(|g| kind.is_own(g.kind()));
        let (namespace, name) = (namespace.unwrap_or_default(), named_in(manifest));
        if let Some(kind) = group {
            groups.push(GroupName {
                kind,
                namespace,
                name,
            });
        } else if kind.is_own("Machine") {
            machines.push((namespace, name));
        }
        let suffix = if args.dry_run.dry_run.is_some() {
            " (server dry run)"
        } else {
            ""
        };
        app.data(&format!("{} {word}{suffix}", named(&kind, manifest)))?;
    }
    if args.dry_run.dry_run.is_some() {
        return Ok(());
    }
    let nothing = machines.is_empty() && groups.is_empty();
    if args.wait.unwrap_or(session.server.is_some()) && !nothing {
        wait::until_they_run(app, &session, machines, groups, args.timeout).await?;
    } else {
        app.say_who_acts(&session).await;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

fn named_in(manifest: &Manifest) -> String {
    manifest.text_at("/metadata/name").unwrap_or_default().to_owned()
}

fn named(kind: &Kind, manifest: &Manifest) -> String {
    let name = manifest.text_at("/metadata/name").unwrap_or_default();
    format!("{}/{name}", kind.singular_name())
}

fn short(manifest: &Manifest) -> String {
    let text = |pointer| manifest.text_at(pointer).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(g, _)| g);
    let dot = if group.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{group}/{}",
        text("/kind").to_lowercase(),
        text("/metadata/name")
    )
}

fn check_fields(app: &App, manifest: &mut Manifest, validate: Validate) -> Result<(), CommandError> {
    for path in manifest.prune() {
        let message = format!("unknown field \"{}\"", manifest::dotted(&path));
        match validate {
            Validate::Strict => {
                return Err(manifest
                    .error_at(&path, message)
                    .hinted("see what a kind has: kubectl explain KIND.spec; to leave unknown fields out: --validate=warn"));
            }
            Validate::Warn => app.ui.warn(&format!("{}: {message}", manifest.place(&path))),
            Validate::Ignore => {}
        }
    }
    Ok(())
}

/// Refuses what looks like a kind of this program and is none, before anything is sent.
fn check_kind(manifest: &Manifest) -> Result<(), CommandError> {
    let (api_version, kind) = (
        manifest.text_at("/apiVersion").unwrap_or_default(),
        manifest.text_at("/kind").unwrap_or_default(),
    );
    let Some(own) = kinds::own_by_kind(kind).filter(|k| k.api_version() != api_version) else {
        return Ok(());
    };
    let ours = [crate::api::MACHINE_GROUP, crate::api::INFRASTRUCTURE_GROUP];
    let group = api_version.split('/').next().unwrap_or_default();
    if ours.contains(&group) {
        return Err(manifest
            .error_at(
                &manifest::parse_path("apiVersion"),
                format!("there is no kind {kind} in {api_version}"),
            )
            .hinted(format!("write apiVersion: {}", own.api_version())));
    }
    Ok(())
}

async fn kind_of(client: &Client, manifest: &Manifest, context: &str) -> Result<Kind, CommandError> {
    let (api_version, kind) = (
        manifest.text_at("/apiVersion").unwrap_or_default(),
        manifest.text_at("/kind").unwrap_or_default(),
    );
    kinds::of_object(client, api_version, kind)
        .await
        .map_err(|e| of_api(format!("can't ask the API server for {api_version}"), e))?
        .ok_or_else(|| {
            manifest
                .error_at(
                    &manifest::parse_path("kind"),
                    format!("the API server of context \"{context}\" knows no kind {kind} in {api_version}"),
                )
                .hinted(format!(
                    "the kinds of this program are: {}",
                    kinds::own_names().join(", ")
                ))
                .hinted("a kind of another program needs its custom resource definition first")
        })
}

fn namespace_of(
    app: &App,
    manifest: &Manifest,
    kind: &Kind,
    default: &str,
) -> Result<Option<String>, CommandError> {
    if !kind.namespaced {
        return Ok(None);
    }
    let written = manifest.text_at("/metadata/namespace").filter(|n| !n.is_empty());
    match (written, app.selection.namespace.as_deref()) {
        (Some(written), Some(flag)) if written != flag => Err(manifest
            .error_at(
                &manifest::parse_path("metadata.namespace"),
                format!("the object says namespace \"{written}\", the command line says \"{flag}\""),
            )
            .hinted("leave -n out, or change the file")),
        (written, _) => Ok(Some(written.unwrap_or(default).to_owned())),
    }
}
