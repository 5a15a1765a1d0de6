//! Which objects `delete` is about: named, chosen by labels, or written in files.

use http::Request as HttpRequest;
use serde_json::Value;

use super::DeleteArgs;
use crate::{
    cli::{
        context::App,
        error::of_api,
        manifest,
        request::{Request, query, requests},
    },
    client::{Session, kinds},
    error::{CommandError, ErrorKind},
};

/// One object to delete.
pub(super) struct Doomed {
    pub(super) kind: kinds::Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Lists the objects.
pub(super) async fn collect(
    app: &App,
    session: &Session,
    args: &DeleteArgs,
) -> Result<Vec<Doomed>, CommandError> {
    let client = &session.client;
    let mut doomed = Vec::new();
    if !args.filename.is_empty() {
        for manifest in manifest::read(&args.filename)? {
            let text = |pointer| manifest.text_at(pointer).unwrap_or_default().to_owned();
            let kind = kinds::of_object(client, &text("/apiVersion"), &text("/kind"))
                .await
                .map_err(|e| of_api("can't ask the API server for the kind", e))?
                .ok_or_else(|| {
                    manifest.error_at(
                        &manifest::parse_path("kind"),
                        format!("there is no kind {}", text("/kind")),
                    )
                })?;
            let namespace = Some(text("/metadata/namespace"))
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| session.target.namespace.clone());
            doomed.push(Doomed {
                kind,
                namespace: Some(namespace),
                name: text("/metadata/name"),
            });
        }
        // What was made last depends on what was made first.
        doomed.reverse();
        return Ok(doomed);
    }
    for Request { kind, names } in requests(client, &args.what).await? {
        let namespace = Some(session.target.namespace.clone());
        let names = if names.is_empty() {
            if !args.all && args.selector.is_none() {
                return Err(CommandError::new(ErrorKind::Usage, "say which objects to delete")
                    .hinted(format!("name them: machinectl delete {} NAME", kind.plural))
                    .hinted("or choose them with -l QUERY or --all"));
            }
            listed(app, session, &kind, args.selector.as_deref()).await?
        } else {
            names
        };
        doomed.extend(names.into_iter().map(|name| Doomed {
            kind: kind.clone(),
            namespace: namespace.clone(),
            name,
        }));
    }
    Ok(doomed)
}

async fn listed(
    app: &App,
    session: &Session,
    kind: &kinds::Kind,
    selector: Option<&str>,
) -> Result<Vec<String>, CommandError> {
    let failed = |e| of_api(format!("can't list {}", kind.full_name()), e);
    let text = selector.map_or_else(String::new, |s| query(&[("labelSelector", s)]));
    let path = kind.path(Some(&session.target.namespace), None);
    let request = HttpRequest::get(format!("{path}?{text}"))
        .body(Vec::new())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    let list: Value = session.client.request(request).await.map_err(failed)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    if items.is_empty() {
        app.ui.say("No resources found");
    }
    Ok(items
        .iter()
        .filter_map(|i| i["metadata"]["name"].as_str().map(ToOwned::to_owned))
        .collect())
}
