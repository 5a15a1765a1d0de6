//! The CSR approver, one for each cluster that machines join: approves the serving certificates that kubelets of machines ask for
//! (`serverTLSBootstrap: true`), and nothing else. It signs nothing and denies nothing: what it does not approve stays pending for somebody
//! else, and the Machine's Events say why.
//!
//! Rights that it needs there: `certificatesigningrequests` (certificates.k8s.io) get, list, watch; `certificatesigningrequests/approval`
//! update; `signers` with the name `kubernetes.io/kubelet-serving` approve; `subjectaccessreviews` (authorization.k8s.io) create;
//! `nodes` get, list, watch. In the management cluster: `events` create and patch.

mod observe;
mod plan;
mod request;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{
    Api, Client, ResourceExt as _,
    api::GroupVersionKind,
    discovery,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::watch;

use super::{
    apply::{Subject, Writer, execute},
    cache::{Cache, Guarded, Indexed, Sink, readable},
    effect::{Requeue, Target},
    runtime::{Controller, Queue, ReconcileError, drive},
    world::World,
};

const WRITER: Writer = Writer {
    source: "csr-controller",
    manager: "machinectl-csr",
};
/// An API server that can't say whether it serves the kind is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// So many requests may be known to have been told of before the ones that are gone are forgotten.
const MANY: usize = 1000;

impl Indexed for CertificateSigningRequest {}

/// Requests, by UID, of which people were told why they are not approved.
type Told = Mutex<HashSet<String>>;

/// Runs the approver of one cluster until `stop`. A cluster that does not serve the kind is left alone.
pub(super) async fn controller(
    world: Weak<World>,
    target: Target,
    client: Client,
    mut stop: watch::Receiver<bool>,
) {
    let Some(strong) = world.upgrade() else { return };
    strong.ready().await;
    let metrics = Arc::clone(&strong.metrics);
    drop(strong);
    let is_served = tokio::select! {
        served = is_served(&client) => served,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if !is_served {
        return;
    }
    let (cache, feeder) = Cache::new(());
    let (queue, work) = Queue::new();
    let requests: Api<Guarded<CertificateSigningRequest>> = Api::all(client.clone());
    let serving = watcher::Config::default().fields(&format!("spec.signerName={}", plan::SIGNER));
    let events = watcher(requests, serving)
        .default_backoff()
        .filter_map(|event| futures::future::ready(readable(event)));
    let sink: Sink<CertificateSigningRequest> = {
        let cache = cache.clone();
        Box::new(move |request| queue.push(cache.key(None, &request.name_any())))
    };
    let broken = |error: &watcher::Error| {
        tracing::warn!(kind = "CertificateSigningRequest", %error, "the watch broke off; trying again");
    };
    let told = Arc::new(Told::default());
    let controller = Controller {
        name: "csr",
        cache: cache.clone(),
        work,
        paused: Box::new(|_| false),
        paced: false,
        stop,
    };
    let looks = drive(controller, metrics, move |request| {
        let (world, target, told) = (world.clone(), target.clone(), Arc::clone(&told));
        let cache = cache.clone();
        async move { reconcile(world, target, request, &told, &cache).await }
    });
    tokio::select! {
        () = feeder.run(events, sink, broken) => {}
        () = looks => {}
    }
}

/// Waits until the API server says whether it serves the kind.
async fn is_served(client: &Client) -> bool {
    let kind = GroupVersionKind::gvk("certificates.k8s.io", "v1", "CertificateSigningRequest");
    loop {
        match discovery::pinned_kind(client, &kind).await {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if status.is_not_found() => return false,
            Err(kube::Error::Discovery(_)) => return false,
            Err(error) => tracing::debug!(%error, "asking for the kind CertificateSigningRequest"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Judges one request.
async fn reconcile(
    world: Weak<World>,
    target: Target,
    request: Arc<CertificateSigningRequest>,
    told: &Told,
    all: &Cache<CertificateSigningRequest>,
) -> Result<Requeue, ReconcileError> {
    let Some(world) = world.upgrade() else {
        return Ok(Requeue::OnChange);
    };
    let uid = request.uid().unwrap_or_default();
    let is_told = lock(told).contains(&uid);
    let observed = observe::observe(&world, &target, request, is_told).await?;
    let plan = plan::plan(&observed, world.ctx.clock.now());
    // What is to be told is told of the Machine.
    let subject = match &observed.machine {
        plan::Found::One(machine) => Subject::of(&**machine),
        plan::Found::None | plan::Found::Several(_) => Subject::of(&*observed.request),
    };
    execute(&world, WRITER, &subject, &plan, None).await?;
    if !plan.effects.is_empty() {
        let mut told = lock(told);
        if told.len() >= MANY {
            let known: HashSet<_> = all.all().iter().filter_map(|r| r.uid()).collect();
            told.retain(|uid| known.contains(uid));
        }
        told.insert(uid);
    }
    Ok(plan.requeue)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kube::client::Body;

    use super::*;

    /// A client of a server that knows no path.
    fn bare() -> Client {
        let service = tower::service_fn(|_: http::Request<Body>| async {
            let status = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the server could not find the requested resource", "reason": "NotFound", "code": 404
            });
            let response = http::Response::builder().status(404);
            response.body(Body::from(status.to_string().into_bytes()))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_cluster_that_does_not_serve_the_kind_is_left_alone() {
        assert!(!is_served(&bare()).await);
        let server = crate::apiserver::Server::in_memory(Arc::new(crate::time::SystemClock));
        assert!(is_served(&server.client()).await);
    }
}
