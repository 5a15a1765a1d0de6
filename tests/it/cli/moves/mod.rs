//! `move` as a user meets it: two homes, each with an API server of its own; one of the two is served, and reached through a kubeconfig.

mod directories;
mod interrupted;
mod refused;
mod whole;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Home, embedded::Serving};
use crate::{
    pivot::world::{difference, still},
    proxy::{Asked, Fate, Proxy},
};

/// Everything that moves here, and the journals of moves.
const KINDS: &str =
    "clusters,machines,machinesets,hollowmachines,hollowmachinetemplates,nodes,secrets,configmaps";

/// A home whose embedded server holds a Cluster of two machines, with a Secret of its own.
fn fleet() -> Home {
    let home = Home::new();
    cluster(&home, "demo");
    home
}

fn cluster(home: &Home, name: &str) {
    let create = [
        "create",
        "cluster",
        name,
        "--infrastructure",
        "hollow",
        "--workers",
        "2",
        "--embedded",
    ];
    home.good(&create);
    home.write(
        "secret.yaml",
        &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-ca, namespace: default}}\nstringData: {{value: topsecret}}\n"),
    );
    home.good(&["apply", "-f", "secret.yaml", "--embedded"]);
}

/// Everything that there is, as it is.
fn raw(home: &Home, place: &[&str]) -> String {
    home.good(&[&["get", KINDS, "-A", "-o", "json"], place].concat())
}

/// What there is of the fleet, without what differs from place to place: UIDs are names of their objects.
fn state(home: &Home, place: &[&str]) -> BTreeMap<String, Value> {
    let list: Value = serde_json::from_str(&raw(home, place)).unwrap();
    let items: Vec<(String, Value)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["metadata"]["namespace"] != "machinectl-system")
        // Each server puts its own certificate into each namespace.
        .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt")
        .map(|item| {
            let metadata = &item["metadata"];
            (
                format!(
                    "{} {}",
                    item["kind"].as_str().unwrap(),
                    metadata["name"].as_str().unwrap()
                ),
                item.clone(),
            )
        })
        .collect();
    let uids = items
        .iter()
        .map(|(key, item)| (item["metadata"]["uid"].as_str().unwrap().to_owned(), key.clone()))
        .collect();
    items
        .into_iter()
        .map(|(key, item)| {
            let mut item = still(item, &uids);
            // A taint of a server's own comes to be owned by whoever makes the Node.
            if item["kind"] == "Node" {
                item["metadata"]["managedFields"] = Value::Null;
                for id in ["bootID", "machineID", "systemUUID"] {
                    item["status"]["nodeInfo"][id] = Value::Null;
                }
            }
            (key, item)
        })
        .collect()
}

/// Asserts that two states are one.
#[track_caller]
fn same(is: &BTreeMap<String, Value>, was: &BTreeMap<String, Value>) {
    if let Some(difference) = difference(was, is) {
        panic!("{difference}");
    }
}

/// The other management cluster: served by another process, known by a kubeconfig that says nothing of machinectl.
struct There {
    home: Home,
    _serving: Serving,
}

impl There {
    fn start() -> Self {
        let home = Home::new();
        let serving = Serving::start(&home, "serve");
        let plain = without_extensions(&home.good(&["kubeconfig"]));
        home.write("far", &plain);
        Self {
            home,
            _serving: serving,
        }
    }

    /// A kubeconfig whose context `far` leads to it.
    fn kubeconfig(&self) -> String {
        self.home.path("far").to_str().unwrap().to_owned()
    }

    fn state(&self) -> BTreeMap<String, Value> {
        state(&self.home, &["--embedded"])
    }

    fn raw(&self) -> String {
        raw(&self.home, &["--embedded"])
    }

    fn client(&self) -> impl Future<Output = kube::Client> + use<> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        async move { machinectl::client::from_text("far", &text).await.unwrap() }
    }
}

/// A kubeconfig without what machinectl adds to it, its context called `far`.
fn without_extensions(text: &str) -> String {
    let mut config: Value = serde_yaml::from_str(text).unwrap();
    config["current-context"] = json!("far");
    let context = &mut config["contexts"][0];
    context["name"] = json!("far");
    context["context"].as_object_mut().unwrap().remove("extensions");
    config.to_string()
}

/// A proxy before a server, with a runtime to live in.
struct Proxied {
    proxy: Proxy,
    runtime: Runtime,
    kubeconfig: PathBuf,
}

impl Proxied {
    /// Begins; the kubeconfig that leads to it, through a context called `far`, is written into `home`.
    fn start<F>(home: &Home, there: &There, rule: impl Fn(Asked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Fate> + Send + 'static,
    {
        let runtime = Runtime::new().unwrap();
        let client = there.client();
        let proxy = runtime.block_on(async { Proxy::start(client.await, rule).await });
        let kubeconfig = home.write("proxied", &proxy.kubeconfig("far"));
        Self {
            proxy,
            runtime,
            kubeconfig,
        }
    }

    fn kubeconfig(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// Lets it go.
    fn stop(self) {
        drop(self.proxy);
        self.runtime.shutdown_background();
    }
}

/// The command that moves everything of a home to a kubeconfig.
fn to<'a>(kubeconfig: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["move", "--embedded", "--to-kubeconfig", kubeconfig, "--yes"],
        more,
    ]
    .concat()
}

/// Starts a command whose output can be read in the end.
fn begun(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asserts how a command ended and what it said, and that the Secret was not among it.
#[track_caller]
fn ended(home: &Home, output: &Output, code: i32, said: &[&str]) {
    let told = home.tell(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for part in said {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    assert!(
        !told.contains("topsecret") && !told.contains("dG9wc2VjcmV0"),
        "{told}"
    );
}
