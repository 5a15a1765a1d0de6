//! `describe`: an object with its conditions and events; clusters and groups as a tree of what belongs to them. It changes nothing.

mod group;
mod object;
mod tree;

use clap::Args;
use http::Request as HttpRequest;
use serde_json::Value;

use super::{
    context::{App, Purpose},
    error::of_api,
    request::{Request, not_found, query, requests},
};
use crate::{
    client::kinds,
    error::CommandError,
    time::{Clock, SystemClock},
};

/// Show objects in detail; clusters and groups as a tree with their machines and what is wrong with them
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Kind and names: KIND [NAME...], or KIND/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// Show objects with these labels
    #[arg(short = 'l', long, value_name = "QUERY")]
    selector: Option<String>,
    /// Show each machine of a cluster or group on a line of its own
    #[arg(long)]
    expand: bool,
}

pub(crate) async fn run(app: &App, args: DescribeArgs) -> Result<(), CommandError> {
    let DescribeArgs {
        what,
        selector,
        expand,
    } = args;
    let (target, config, paths) = app.choose(Purpose::Read)?;
    let target = match what.as_slice() {
        [kind, name] if kinds::is_cluster_word(kind) => app.home_of(name, target, &config),
        _ => target,
    };
    let session = app.connect_to(target, &paths, Purpose::Read).await?;
    app.prepare(&session).await?;
    let namespace = session.target.namespace.clone();
    let now = SystemClock.now();
    let mut texts = Vec::new();
    for Request { kind, names } in requests(&session.client, &what).await? {
        let objects = fetch(&session.client, &kind, &namespace, &names, selector.as_deref()).await?;
        for object in objects {
            let text = if kind.is_own("Cluster") {
                tree::cluster(app, &session.client, &object, expand, now).await?
            } else {
                let events = events(&session.client, &object).await;
                let machines = group::machines(app, &session.client, &kind, &object, expand).await?;
                object::text(&object, machines.as_deref(), &events, now)?
            };
            texts.push(text);
        }
    }
    if texts.is_empty() {
        app.ui
            .say(&format!("No resources found in {namespace} namespace."));
        return Ok(());
    }
    app.data(&texts.join("\n\n"))
}

async fn fetch(
    client: &kube::Client,
    kind: &kinds::Kind,
    namespace: &str,
    names: &[String],
    selector: Option<&str>,
) -> Result<Vec<Value>, CommandError> {
    let get = |path: String| async move {
        let request = HttpRequest::get(path)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        client.request::<Value>(request).await
    };
    if names.is_empty() {
        let text = selector.map_or_else(String::new, |s| query(&[("labelSelector", s)]));
        let mut list = get(format!("{}?{text}", kind.path(Some(namespace), None)))
            .await
            .map_err(|e| of_api(format!("can't list {}", kind.full_name()), e))?;
        let mut items = list
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .map(std::mem::take)
            .unwrap_or_default();
        for item in &mut items {
            item["apiVersion"] = kind.api_version().into();
            item["kind"] = kind.kind.clone().into();
        }
        return Ok(items);
    }
    let mut objects = Vec::new();
    for name in names {
        match get(kind.path(Some(namespace), Some(name))).await {
            Ok(object) => objects.push(object),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(not_found(kind, name, Some(namespace)));
            }
            Err(error) => {
                return Err(of_api(
                    format!("can't get {}/{name}", kind.singular_name()),
                    error,
                ));
            }
        }
    }
    Ok(objects)
}

/// The events of an object, the oldest first. They are an extra: a server that has none is fine.
pub(super) async fn events(client: &kube::Client, object: &Value) -> Vec<Value> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let Ok(request) = HttpRequest::get(format!("/api/v1/namespaces/{namespace}/events")).body(Vec::new())
    else {
        return Vec::new();
    };
    let list: Value = client.request(request).await.unwrap_or_default();
    let about = |e: &&Value| {
        e["involvedObject"]["uid"] == object["metadata"]["uid"]
            || (e["involvedObject"]["uid"].is_null()
                && e["involvedObject"]["kind"] == object["kind"]
                && e["involvedObject"]["name"] == object["metadata"]["name"])
    };
    let mut events: Vec<Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(about)
        .cloned()
        .collect();
    events.sort_by_key(|e| object::moment_of(e).map(str::to_owned));
    events
}
