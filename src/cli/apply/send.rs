//! Sends one object by server-side apply, and says what the API server has against it.

use http::{Request, header};
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusSummary},
};
use serde_json::Value;

use crate::{
    cli::{
        context::App,
        error::of_api,
        manifest::{self, Manifest},
    },
    client::{FIELD_MANAGER, kinds::Kind},
    error::CommandError,
};

/// How an object is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    /// Namespace, for kinds that have one.
    pub(super) namespace: Option<&'a str>,
    /// `fieldValidation`.
    pub(super) validation: &'a str,
    /// Whether fields of others are taken over.
    pub(super) force: bool,
    /// Whether the server only checks it.
    pub(super) dry_run: bool,
}

/// Sends an object; returns what happened to it in a word.
pub(super) async fn send(
    app: &App,
    client: &Client,
    manifest: &Manifest,
    kind: &Kind,
    options: Options<'_>,
) -> Result<&'static str, CommandError> {
    let Options {
        namespace,
        validation,
        force,
        dry_run,
    } = options;
    let name = manifest.text_at("/metadata/name").unwrap_or_default();
    let what = || format!("can't apply {}", super::named(kind, manifest));
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
    let mut address =
        format!("{path}?fieldManager={FIELD_MANAGER}&force={force}&fieldValidation={validation}");
    if dry_run {
        address.push_str("&dryRun=All");
    }
    let body = serde_json::to_vec(&object).map_err(|e| of_api(what(), kube::Error::SerdeError(e)))?;
    let request = Request::patch(&address)
        .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(body))
        .map_err(|e| of_api(what(), kube::Error::HttpError(e)))?;
    let response = client.send(request).await.map_err(|e| of_api(what(), e))?;
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
