//! `apply`: sends objects from files to the API server, by server-side apply. What they become is the controllers' business.

use clap::{Args, ValueEnum};
use http::{Request, header};
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusSummary},
};
use serde_json::Value;

use super::{
    args::{DryRun, DryRunArgs},
    context::{App, Purpose},
    error::of_api,
    manifest::{self, Manifest},
};
use crate::{
    client::{
        FIELD_MANAGER,
        kinds::{self, Kind},
    },
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
        let kind = kind_of(&session.client, manifest, &session.target.name().to_owned()).await?;
        let namespace = namespace_of(app, manifest, &kind, &session.target.namespace)?;
        addressed.push((manifest, kind, namespace));
    }
    for (manifest, kind, namespace) in addressed {
        let word = send(app, &session.client, manifest, &kind, namespace.as_deref(), &args).await?;
        let suffix = if args.dry_run.dry_run.is_some() {
            " (server dry run)"
        } else {
            ""
        };
        app.data(&format!("{} {word}{suffix}", named(&kind, manifest)))?;
    }
    if args.dry_run.dry_run.is_none() {
        app.say_who_acts(&session).await;
    }
    Ok(())
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

/// Sends an object; returns what happened to it in a word.
async fn send(
    app: &App,
    client: &Client,
    manifest: &Manifest,
    kind: &Kind,
    namespace: Option<&str>,
    args: &ApplyArgs,
) -> Result<&'static str, CommandError> {
    let name = manifest.text_at("/metadata/name").unwrap_or_default();
    let what = || format!("can't apply {}", named(kind, manifest));
    let path = kind.path(namespace, Some(name));
    let get = Request::get(&path)
        .body(Vec::new())
        .map_err(|e| of_api(what(), kube::Error::HttpError(e)))?;
    let before = match client.request::<Value>(get).await {
        Ok(object) => Some(object),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return Err(of_api(what(), error)),
    };
    let mut object = manifest.object.clone();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    let mut address = format!(
        "{path}?fieldManager={FIELD_MANAGER}&force={}&fieldValidation={}",
        args.force_conflicts,
        args.validate.parameter()
    );
    if args.dry_run.dry_run == Some(DryRun::Server) {
        address.push_str("&dryRun=All");
    }
    let body = serde_json::to_vec(&object).map_err(|e| of_api(what(), kube::Error::SerdeError(e)))?;
    let patch = Request::patch(&address)
        .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(body))
        .map_err(|e| of_api(what(), kube::Error::HttpError(e)))?;
    let response = client.send(patch).await.map_err(|e| of_api(what(), e))?;
    for warning in response.headers().get_all(header::WARNING) {
        app.ui.warn(warning_text(warning.to_str().unwrap_or_default()));
    }
    let success = response.status().is_success();
    let code = response.status().as_u16();
    let bytes = response
        .into_body()
        .collect_bytes()
        .await
        .map_err(|e| of_api(what(), e))?;
    if !success {
        return Err(refused(manifest, &what(), code, &bytes));
    }
    let after: Value =
        serde_json::from_slice(&bytes).map_err(|e| of_api(what(), kube::Error::SerdeError(e)))?;
    Ok(match before {
        None => "created",
        Some(before) if before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"] => {
            "unchanged"
        }
        Some(_) => "configured",
    })
}

/// The text of a `Warning` header: `299 - "text"`.
fn warning_text(header: &str) -> &str {
    let text = header.split_once('"').map_or(header, |(_, rest)| rest);
    text.strip_suffix('"').unwrap_or(text)
}

/// What the API server has against an object, with the line of the first field that it names.
fn refused(manifest: &Manifest, what: &str, code: u16, body: &[u8]) -> CommandError {
    let mut status: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        status: Some(StatusSummary::Failure),
        message: String::from_utf8_lossy(body).into_owned(),
        ..Status::default()
    });
    status.code = code;
    let field = status
        .details
        .as_ref()
        .and_then(|d| d.causes.first())
        .map(|c| c.field.clone())
        .filter(|f| !f.is_empty());
    let conflict = code == 409 && status.message.contains("conflict with");
    let missing = code == 404;
    let place = field.map(|f| manifest.place(&manifest::parse_path(f.trim_start_matches('.'))));
    let what = match place {
        Some(place) => format!("{place}: {what}"),
        None => format!("{}:{}: {what}", manifest.file, manifest.line),
    };
    let error = of_api(what, kube::Error::Api(Box::new(status)));
    if conflict {
        error.hinted("to take the field over: --force-conflicts")
    } else if missing {
        error
            .hinted("install the kinds of this program with: machinectl init")
            .hinted("a namespace must exist before objects in it: kubectl create namespace NAME")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_shown_without_their_wrapping() {
        assert_eq!(
            warning_text("299 - \"unknown field \\\"spec.x\\\"\""),
            "unknown field \\\"spec.x\\\""
        );
        assert_eq!(warning_text("plain"), "plain");
    }

    #[test]
    fn a_refused_object_points_at_the_field() {
        let manifest = manifest::parse(
            "m.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  x: 1\n",
        )
        .unwrap()
        .remove(0);
        let body = br#"{"kind":"Status","status":"Failure","message":"bad","reason":"Invalid","code":422,"details":{"causes":[{"field":"spec.x","message":"m","reason":"r"}]}}"#;
        let error = refused(&manifest, "can't apply pod/a", 422, body);
        assert_eq!(error.message, "m.yaml:5:3: can't apply pod/a");
        assert_eq!(error.kind, crate::error::ErrorKind::Usage);
    }
}
