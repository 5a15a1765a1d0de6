//! Controllers on both sides of a move: they stand still while objects move, and make and delete nothing because of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kube::Client;
use machinectl::{
    apiserver::Server,
    controllers::{self, Context, fence},
    providers::{
        Actuator, ActuatorError, Actuators, Deletion, Instance, InstanceSpec, hollow::HollowActuator,
    },
    time::SystemClock,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    moved,
    unreliable::{Asked, Fate, Life, unreliable},
    world,
};

/// Makes hollow machines in a cluster, and writes down what was asked of it.
struct Witness {
    inner: HollowActuator,
    calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Actuator for Witness {
    fn needs_bootstrap(&self) -> bool {
        self.inner.needs_bootstrap()
    }

    fn may_remake(&self, spec: &InstanceSpec) -> bool {
        self.inner.may_remake(spec)
    }

    async fn node_image(
        &self,
        spec: &Value,
    ) -> Result<Option<machinectl::api::v1alpha1::NodeImage>, ActuatorError> {
        self.inner.node_image(spec).await
    }

    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError> {
        self.inner.observe(spec).await
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("create {}", spec.key.name));
        self.inner.create(spec).await
    }

    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("delete {}", spec.key.name));
        self.inner.delete(spec).await
    }
}

/// What was asked of the providers of both sides.
pub(super) type Calls = Arc<Mutex<Vec<String>>>;

/// Controllers that run until they are told to stop.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(super) fn run(client: &Client, calls: &Calls) -> Running {
    let actuator: Arc<dyn Actuator> = Arc::new(Witness {
        inner: HollowActuator::new(client.clone(), Arc::new(SystemClock)),
        calls: Arc::clone(calls),
    });
    let actuators = Actuators::from([("HollowMachine".to_owned(), actuator)]);
    let context = Context::new(client.clone(), actuators, Arc::new(SystemClock));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let until = async {
            stopped.await.ok();
        };
        controllers::run(context, until).await.unwrap();
    });
    Running { stop, task }
}

impl Running {
    pub(super) async fn end(self) {
        self.stop.send(()).ok();
        self.task.await.unwrap();
    }
}

pub(super) const MACHINES: &str = "/apis/machine.crit.sh/v1alpha1/namespaces/fleet/machines";

/// A server with machines that its controllers have made.
pub(super) async fn machines(client: &Client, count: usize) {
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world::NAMESPACE } });
    world::send(client, "POST", "/api/v1/namespaces", &namespace).await;
    let cluster = json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Cluster", "metadata": { "name": "prod", "namespace": world::NAMESPACE },
        "spec": { "apiServer": "Management" },
    });
    world::send(
        client,
        "POST",
        "/apis/machine.crit.sh/v1alpha1/namespaces/fleet/clusters",
        &cluster,
    )
    .await;
    for number in 0..count {
        let name = format!("m-{number}");
        let infrastructure = json!({
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine",
            "metadata": { "name": name, "namespace": world::NAMESPACE }, "spec": {},
        });
        let path = "/apis/infrastructure.crit.sh/v1alpha1/namespaces/fleet/hollowmachines";
        world::send(client, "POST", path, &infrastructure).await;
        let machine = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "metadata": { "name": name, "namespace": world::NAMESPACE },
            "spec": { "clusterName": "prod", "infrastructureRef": {
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name } },
        });
        world::send(client, "POST", MACHINES, &machine).await;
    }
}

/// Waits until every machine runs.
pub(super) async fn settled(client: &Client, count: usize) {
    let done = async {
        loop {
            let list = world::get(client, MACHINES).await.unwrap();
            let items = list["items"].as_array().unwrap();
            if items.iter().filter(|m| m["status"]["phase"] == "Running").count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), done)
        .await
        .expect("machines run");
}

/// Names and UIDs of the Nodes: they are what a hollow machine consists of.
pub(super) async fn nodes(client: &Client) -> Vec<(String, String)> {
    let list = world::get(client, "/api/v1/nodes").await.unwrap();
    let items = list["items"].as_array().unwrap();
    let text = |node: &Value, field: &str| node["metadata"][field].as_str().unwrap().to_owned();
    items
        .iter()
        .map(|node| (text(node, "name"), text(node, "uid")))
        .collect()
}

/// Both sides have controllers at work: whatever they did to machines during the move would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_instance_is_made_or_deleted_because_of_a_move() {
    let (source, target) = (world::empty().await, world::empty().await);
    let calls = Calls::default();
    let here = run(&source.client(), &calls);
    machines(&source.client(), 6).await;
    settled(&source.client(), 6).await;
    let there = run(&target.client(), &calls);
    let before = calls.lock().unwrap().clone();
    assert_eq!(before.len(), 6, "{before:?}");
    moved(&source.client(), &target.client()).await.unwrap();
    // The target's controllers take over: they see what is there and leave it.
    let arrived = nodes(&target.client()).await;
    settled(&target.client(), 6).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*calls.lock().unwrap(), before);
    assert_eq!((arrived.len(), nodes(&target.client()).await), (6, arrived));
    assert!(is_empty(&source).await && nodes(&source.client()).await.is_empty());
    // They are alive.
    let path = format!("{MACHINES}/m-0");
    world::send(&target.client(), "DELETE", &path, &json!({})).await;
    let gone = async {
        while nodes(&target.client()).await.len() == 6 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone)
        .await
        .expect("the target's controllers act");
    here.end().await;
    there.end().await;
}

async fn is_empty(server: &Server) -> bool {
    let list = world::get(&server.client(), MACHINES).await.unwrap();
    list["items"] == Value::Array(Vec::new())
}

/// From the first object that is made in the target to the last that leaves the source, both are fenced.
#[tokio::test]
async fn both_sides_are_fenced_while_objects_are_written() {
    let (source, target) = (world::full(super::plain::SMALL).await, world::empty().await);
    let open = Arc::new(AtomicBool::new(false));
    let watched = |client: &Client, sides: [Client; 2], open: Arc<AtomicBool>| {
        let inner = client.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (inner, sides, open) = (inner.clone(), sides.clone(), Arc::clone(&open));
            async move {
                let write = request.method() != "GET"
                    && !request.uri().query().unwrap_or_default().contains("dryRun");
                let of_fleet = request.uri().path().contains("/namespaces/fleet/");
                if write && of_fleet {
                    for side in &sides {
                        if fence::raised(side).await.unwrap().is_none() {
                            open.store(true, Ordering::SeqCst);
                        }
                    }
                }
                inner.send(request).await
            }
        });
        Client::new(service, "default")
    };
    let sides = [source.client(), target.client()];
    let from = watched(&source.client(), sides.clone(), Arc::clone(&open));
    let to = watched(&target.client(), sides, Arc::clone(&open));
    moved(&from, &to).await.unwrap();
    assert!(
        !open.load(Ordering::SeqCst),
        "an object was written while a side was not fenced"
    );
}

/// A fence that a dead move has left keeps controllers away, whoever starts them, until the move is ended.
#[tokio::test]
async fn controllers_that_start_behind_a_fence_wait() {
    let (source, target) = (world::full(super::plain::SMALL).await, world::empty().await);
    let life = Life::default();
    let dying = unreliable(&target.client(), &life, |asked: &Asked| {
        let create =
            asked.method == "POST" && asked.path.ends_with("/machines") && !asked.query.contains("dryRun");
        if create { Fate::KilledBefore } else { Fate::Served }
    });
    let from = source.client();
    tokio::select! {
        biased;
        () = life.dead.notified() => {}
        done = moved(&from, &dying) => panic!("it should have died: {done:?}"),
    }
    let calls = Calls::default();
    let running = run(&source.client(), &calls);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(fence::raised(&source.client()).await.unwrap().is_some());
    let lease = "/apis/coordination.k8s.io/v1/namespaces/machinectl-system/leases/machinectl-controller";
    let holder = world::get(&source.client(), lease).await.unwrap()["spec"]["holderIdentity"].clone();
    assert!(holder.as_str().unwrap().starts_with("move-"), "{holder}");
    assert!(calls.lock().unwrap().is_empty());
    running.end().await;
}
