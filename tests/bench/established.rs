//! How long a kube-apiserver takes to report our definitions as Established, when they are created side by side and nothing else is done:
//! what `init` is measured against. `established KUBECONFIG` prints the milliseconds from the first connection on.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

use std::{collections::BTreeSet, time::Instant};

use futures::{StreamExt as _, future::try_join_all};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use machinectl::install::{Provider, Request, Scope, everything};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    // cargo itself adds `--bench`.
    let file = std::env::args().skip(1).find(|a| a != "--bench").unwrap();
    let begun = Instant::now();
    let file = Kubeconfig::read_from(file).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let request = Request::new(Scope::Definitions, vec![Provider::Hollow], "");
    // The oldest servers know no rules; without them there is no more to do for the others.
    let crds: Vec<CustomResourceDefinition> = everything(&request, false)
        .unwrap()
        .into_iter()
        .map(|crd| serde_json::from_value(crd).unwrap())
        .collect();
    missing.extend(crds.iter().map(kube::ResourceExt::name_any));
    let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await.unwrap());
    let params = PostParams::default();
    try_join_all(crds.iter().map(|crd| api.create(&params, crd)))
        .await
        .unwrap();
    while !missing.is_empty() {
        let (WatchEvent::Added(crd) | WatchEvent::Modified(crd)) = events.next().await.unwrap().unwrap()
        else {
            continue;
        };
        let conditions = crd.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
        if conditions
            .into_iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
        {
            missing.remove(&crd.name_any());
        }
    }
    println!("established\t{:.1}\tms", begun.elapsed().as_secs_f64() * 1e3);
}
