//! The controllers against the embedded server: real objects, real watches, hollow machines or a scripted actuator.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can not go on has failed; it tells how long things took"
)]

pub(crate) mod csr;
mod drain;
pub(crate) mod fake;
mod faults;
mod health;
mod hollow;
mod lifecycle;
mod restart;
mod rollouts;
mod sets;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
    core::NamespaceResourceScope,
};
use machinectl::{
    api::v1alpha1::Machine,
    apiserver::Server,
    controllers::{self, Context, ControllerError},
    install,
    providers::{Actuator, Actuators, hollow::HollowActuator},
    time::SystemClock,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

/// Namespace of all cases.
pub(crate) const NAMESPACE: &str = "fleet";
/// A case that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that holds the objects.
pub(crate) struct Place {
    /// Kept so that it lives as long as the case.
    _server: Option<Server>,
    pub(crate) client: Client,
}

impl Place {
    pub(crate) async fn new() -> Self {
        if std::env::var_os("MACHINECTL_TEST_LOG").is_some() {
            tracing_subscriber::fmt()
                .with_env_filter("machinectl=debug")
                .try_init()
                .ok();
        }
        let server = Server::in_memory(Arc::new(SystemClock));
        let client = server.client();
        install::definitions(&client, false).await.unwrap();
        Self {
            _server: Some(server),
            ..Self::on(client).await
        }
    }

    /// A place on a server that somebody else holds, with the definitions in it.
    pub(crate) async fn on(client: Client) -> Self {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(NAMESPACE.into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Self {
            _server: None,
            client,
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Makes an object of this case's namespace from its fields.
    pub(crate) async fn create<K>(&self, name: &str, labels: &[(&str, &str)], spec: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let object = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
            "spec": spec,
        });
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    pub(crate) fn actuators(
        &self,
        more: impl IntoIterator<Item = (&'static str, Arc<dyn Actuator>)>,
    ) -> Actuators {
        let hollow: Arc<dyn Actuator> =
            Arc::new(HollowActuator::new(self.client.clone(), Arc::new(SystemClock)));
        let mut all = Actuators::from([("HollowMachine".to_owned(), hollow)]);
        all.extend(
            more.into_iter()
                .map(|(kind, actuator)| (kind.to_owned(), actuator)),
        );
        all
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.client.clone(), self.actuators([]), Arc::new(SystemClock))
    }

    pub(crate) fn run(&self) -> Running {
        Running::start(self.context())
    }
}

/// Controllers that run.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl Running {
    pub(crate) fn start(ctx: Context) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(controllers::run(ctx, async {
            stopped.await.ok();
        }));
        Self {
            stop: Some(stop),
            task,
        }
    }

    /// Stops them; their Lease is free afterwards.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the controllers stop")
            .unwrap()
            .unwrap();
    }
}

/// Waits until an object is as it should be.
pub(crate) async fn until<K>(api: &Api<K>, name: &str, what: &str, good: impl Fn(&K) -> bool) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let begun = Instant::now();
    loop {
        let seen = api.get_opt(name).await.unwrap();
        if let Some(object) = seen.clone().filter(|o| good(o)) {
            return object;
        }
        assert!(begun.elapsed() < PATIENCE, "{name} never got {what}: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until an object is gone.
pub(crate) async fn until_gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let begun = Instant::now();
    while let Some(object) = api.get_opt(name).await.unwrap() {
        assert!(begun.elapsed() < PATIENCE, "{name} never went: {object:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn phase(machine: &Machine) -> &str {
    machine
        .status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

/// Whether a condition is True.
pub(crate) fn holds(machine: &Machine, type_: &str) -> bool {
    machine.status.as_ref().is_some_and(|s| {
        s.conditions
            .iter()
            .any(|c| c.type_ == type_ && c.status == "True")
    })
}

/// A Machine whose infrastructure object bears the same name.
pub(crate) fn machine_spec(kind: &str, name: &str) -> Value {
    serde_json::json!({
        "infrastructureRef": { "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": kind, "name": name }
    })
}

/// Names of objects, sorted.
pub(crate) fn names<K: Resource>(list: &[K]) -> Vec<String> {
    let mut names: Vec<_> = list.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}
