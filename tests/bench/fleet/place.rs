//! A server with controllers, and a fleet on it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use machinectl::{
    api::v1alpha1::{HollowMachine, HollowMachineTemplate, Machine, MachineDeployment, MachineSet},
    apiserver::Server,
    controllers::{self, Context, ControllerError, lease},
    install,
    providers::{Actuator, Actuators, hollow::HollowActuator},
    time::SystemClock,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::meter::Meter;

/// Namespace of the fleet.
pub(crate) const NAMESPACE: &str = "fleet";
/// Nothing was written for this time: it is over.
pub(crate) const SETTLED: Duration = Duration::from_millis(300);
/// A fleet that takes longer than this never comes.
const PATIENCE: Duration = Duration::from_secs(600);

/// A server that holds the objects.
pub(crate) struct Place {
    /// Server and state folder, if they are in this process; they end together.
    _embedded: Option<(Server, tempfile::TempDir)>,
    /// A client that is not counted.
    pub(crate) plain: Client,
    /// The client of the controllers.
    pub(crate) client: Client,
    pub(crate) meter: Meter,
}

/// Returns a client for the current context of a kubeconfig.
pub(crate) async fn client_of(file: &str) -> Client {
    let file = Kubeconfig::read_from(Path::new(file)).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Makes the namespace of the fleet, if it is not there.
pub(crate) async fn namespace(client: &Client) {
    let wanted = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    Api::<Namespace>::all(client.clone())
        .patch(NAMESPACE, &PatchParams::apply("bench"), &Patch::Apply(&wanted))
        .await
        .unwrap();
}

impl Place {
    /// A server in this process, its state on disk.
    pub(crate) async fn embedded() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
        let client = server.client();
        Self {
            _embedded: Some((server, dir)),
            ..Self::on(client).await
        }
    }

    /// The server of a kubeconfig.
    pub(crate) async fn at(file: &str) -> Self {
        let place = Self::on(client_of(file).await).await;
        place.sweep().await;
        place
    }

    async fn on(plain: Client) -> Self {
        install::definitions(&plain, false).await.unwrap();
        namespace(&plain).await;
        let meter = Meter::default();
        Self {
            _embedded: None,
            client: meter.client(plain.clone()),
            plain,
            meter,
        }
    }

    fn api<K>(client: &Client) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(client.clone(), NAMESPACE)
    }

    /// Removes what an earlier run has left.
    async fn sweep(&self) {
        lease::remove(&self.plain).await.unwrap();
        let running = self.run();
        let all = ListParams::default();
        let delete = DeleteParams::default();
        let (sets, deployments) = (
            Self::api::<MachineSet>(&self.plain),
            Self::api::<MachineDeployment>(&self.plain),
        );
        deployments.delete_collection(&delete, &all).await.unwrap();
        sets.delete_collection(&delete, &all).await.unwrap();
        let templates = Self::api::<HollowMachineTemplate>(&self.plain);
        templates.delete_collection(&delete, &all).await.unwrap();
        let machines = Self::api::<Machine>(&self.plain);
        machines.delete_collection(&delete, &all).await.unwrap();
        while !machines
            .list_metadata(&ListParams::default().limit(1))
            .await
            .unwrap()
            .items
            .is_empty()
        {
            tokio::time::sleep(SETTLED).await;
        }
        running.stop().await;
    }

    /// Starts the controllers.
    pub(crate) fn run(&self) -> Running {
        let hollow: Arc<dyn Actuator> =
            Arc::new(HollowActuator::new(self.client.clone(), Arc::new(SystemClock)));
        let actuators = Actuators::from([("HollowMachine".to_owned(), hollow)]);
        Running::start(Context::new(
            self.client.clone(),
            actuators,
            Arc::new(SystemClock),
        ))
    }

    /// Waits until the controllers hold their Lease and have listed what there is.
    pub(crate) async fn until_working(&self) {
        let leases: Api<Lease> = Api::namespaced(self.plain.clone(), lease::NAMESPACE);
        while leases.get_opt(lease::NAME).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(SETTLED).await;
    }

    /// Makes `n` machines.
    pub(crate) async fn create_set(&self, n: usize) {
        if !is_direct() {
            self.create_template("bench", "v1.33.1").await;
            let set = json!({
                "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet", "metadata": { "name": "bench" },
                "spec": { "replicas": n, "selector": { "matchLabels": { "set": "bench" } }, "template": template("bench") },
            });
            let set: MachineSet = serde_json::from_value(set).unwrap();
            Self::api(&self.client)
                .create(&PostParams::default(), &set)
                .await
                .unwrap();
            return;
        }
        stream::iter(0..n)
            .for_each_concurrent(100, |number| self.create_machine(number))
            .await;
    }

    /// What a `MachineSet` makes for each machine, in two writes.
    async fn create_machine(&self, number: usize) {
        let name = format!("bench-{number}");
        let machine = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": { "name": name, "labels": { "set": "bench" } },
            "spec": { "infrastructureRef": {
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name } },
        });
        let machine: Machine = serde_json::from_value(machine).unwrap();
        let machine = Self::api(&self.client)
            .create(&PostParams::default(), &machine)
            .await
            .unwrap();
        let hollow = json!({
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine",
            "metadata": {
                "name": name, "labels": { "set": "bench" }, "finalizers": ["hollowmachine.infrastructure.crit.sh"],
                "ownerReferences": [{
                    "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": name,
                    "uid": machine.metadata.uid, "controller": true, "blockOwnerDeletion": true }],
            },
            "spec": { "kubernetesVersion": "v1.33.1", "providerID": format!("hollow://{NAMESPACE}/{name}") },
        });
        let hollow: HollowMachine = serde_json::from_value(hollow).unwrap();
        Self::api(&self.client)
            .create(&PostParams::default(), &hollow)
            .await
            .unwrap();
    }

    async fn create_template(&self, name: &str, version: &str) {
        let object = json!({
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate",
            "metadata": { "name": name }, "spec": { "template": { "spec": { "kubernetesVersion": version } } },
        });
        let object: HollowMachineTemplate = serde_json::from_value(object).unwrap();
        Self::api(&self.client)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Makes a `MachineDeployment` of `n` machines.
    pub(crate) async fn create_deployment(&self, n: usize) {
        self.create_template("bench", "v1.33.1").await;
        let object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineDeployment", "metadata": { "name": "bench" },
            "spec": {
                "replicas": n, "selector": { "matchLabels": { "set": "bench" } }, "template": template("bench"),
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "10%", "maxUnavailable": 0 } },
            },
        });
        let object: MachineDeployment = serde_json::from_value(object).unwrap();
        Self::api(&self.client)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Lets the `MachineDeployment` make its machines from another template.
    pub(crate) async fn change_deployment(&self) {
        self.create_template("next", "v1.34.0").await;
        let patch = json!({ "spec": { "template": template("next") } });
        Self::api::<MachineDeployment>(&self.client)
            .patch("bench", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// Waits until all `n` machines run and nothing is written any more; returns when the last write was.
    pub(crate) async fn until_settled(&self, n: usize) -> Instant {
        self.until(|| async {
            if is_direct() {
                // All of them must be asked for.
                let machines = Self::api::<Machine>(&self.plain);
                let all = machines.list(&ListParams::default()).await.unwrap().items;
                return all.len() == n && all.iter().all(is_running);
            }
            let all = ListParams::default();
            let sets = Self::api::<MachineSet>(&self.plain)
                .list(&all)
                .await
                .unwrap()
                .items;
            let ready = sets
                .into_iter()
                .filter_map(|set| set.status)
                .map(|s| s.ready_replicas);
            usize::try_from(ready.sum::<i32>()).unwrap() == n
        })
        .await
    }

    /// Waits until `n` machines of the second template run, and no others are there.
    pub(crate) async fn until_rolled_out(&self, n: usize) -> Instant {
        let n = i32::try_from(n).unwrap();
        self.until(|| async {
            let deployment = Self::api::<MachineDeployment>(&self.plain)
                .get("bench")
                .await
                .unwrap();
            let generation = deployment.metadata.generation;
            deployment.status.is_some_and(|s| {
                s.observed_generation == generation
                    && [s.replicas, s.updated_replicas, s.ready_replicas] == [n, n, n]
            })
        })
        .await
    }

    async fn until<F: Future<Output = bool>>(&self, good: impl Fn() -> F) -> Instant {
        let began = Instant::now();
        let mut quiet = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(began.elapsed() < PATIENCE, "it takes too long");
            let Some(last) = self.meter.settled(SETTLED) else {
                quiet = 0;
                continue;
            };
            quiet += 1;
            // Looking costs something: not each time.
            if quiet % 10 == 1 && good().await {
                return last;
            }
        }
    }
}

fn is_direct() -> bool {
    std::env::var_os("MACHINECTL_BENCH_DIRECT").is_some()
}

fn is_running(machine: &Machine) -> bool {
    machine.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
}

fn template(infrastructure: &str) -> Value {
    json!({
        "metadata": { "labels": { "set": "bench" } },
        "spec": { "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": infrastructure } },
    })
}

/// Controllers that run.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl Running {
    fn start(ctx: Context) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(controllers::run(ctx, async {
            stopped.await.ok();
        }));
        Self { stop, task }
    }

    /// Stops them; their Lease is free afterwards.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}
