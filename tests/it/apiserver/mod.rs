//! The behaviour of an API server, seen through `kube::Client`. Each case runs against the embedded server and, when
//! `MACHINECTL_TEST_KUBECONFIG` names the kubeconfig of a real one, against that too: so the cases stay honest.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "the cases are functions that tests call"
)]

mod accounts;
mod admission;
mod anything;
pub(crate) mod certificates;
mod conversions;
mod corners;
mod custom;
mod fleet_kinds;
mod front;
mod hooks;
mod kinds;
mod machine_kinds;
mod moved;
mod named;
mod nodes;
mod objects;
mod owners;
mod patches;
mod policies;
mod protobuf;
mod recordings;
mod rights;
mod serving;
mod speed;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use machinectl::apiserver::Server;
use machinectl::time::SystemClock;

/// A server and a namespace of its own in it.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Minor version of a real server.
    minor: u32,
    /// Whether a real server has its controllers.
    controlled: bool,
    /// Kept so that the embedded server lives as long as the case.
    server: Option<Server>,
}

impl Place {
    pub(crate) async fn embedded() -> Self {
        let server = Server::in_memory(Arc::new(SystemClock));
        let client = server.client();
        Self::new(client, Some(server), u32::MAX, true).await
    }

    /// The real server that a lane of its own has started.
    pub(crate) async fn kubernetes() -> Self {
        let file = std::env::var_os("MACHINECTL_TEST_KUBECONFIG").filter(|f| !f.is_empty());
        let file = file.expect("MACHINECTL_TEST_KUBECONFIG names the kubeconfig of a kube-apiserver");
        rustls::crypto::ring::default_provider().install_default().ok();
        let kubeconfig = kube::config::Kubeconfig::read_from(file).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
                .await
                .unwrap();
        let client = Client::try_from(config).unwrap();
        let minor = client
            .apiserver_version()
            .await
            .unwrap()
            .minor
            .trim_end_matches('+')
            .parse()
            .unwrap();
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
        let controlled = leases.get_opt("kube-controller-manager").await.unwrap().is_some();
        Self::new(client, None, minor, controlled).await
    }

    async fn new(client: Client, server: Option<Server>, minor: u32, controlled: bool) -> Self {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let wanted = Namespace {
            metadata: ObjectMeta {
                generate_name: Some("case-".into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let made = namespaces.create(&PostParams::default(), &wanted).await.unwrap();
        Self {
            client,
            namespace: made.metadata.name.unwrap(),
            minor,
            controlled,
            server,
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn configmaps(&self) -> Api<ConfigMap> {
        self.api()
    }

    /// Whether the server is a real one.
    pub(crate) fn is_real(&self) -> bool {
        self.server.is_none()
    }

    /// Fails where the server is older than this minor version.
    pub(crate) fn needs_minor(&self, minor: u32) {
        assert!(
            self.minor >= minor,
            "this case needs Kubernetes 1.{minor} or newer"
        );
    }

    /// Fails where nobody is there to collect garbage and to empty namespaces.
    pub(crate) fn needs_controllers(&self) {
        assert!(self.controlled, "this case needs a kube-controller-manager");
    }

    pub(crate) async fn end(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .ok();
    }
}

/// Waits until a condition holds; a real server may take its time.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..6000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(if cfg!(debug_assertions) {
            20
        } else {
            10
        }))
        .await;
    }
    panic!("never happened: {what}");
}

pub(crate) fn configmap(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        ),
        ..ConfigMap::default()
    }
}

/// The code of an API error; other outcomes fail the test.
pub(crate) fn code<T: std::fmt::Debug>(outcome: Result<T, kube::Error>) -> u16 {
    match outcome {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected an API error, got {other:?}"),
    }
}

/// The message of an API error; other outcomes fail the test.
pub(crate) fn message<T: std::fmt::Debug>(outcome: Result<T, kube::Error>) -> String {
    match outcome {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => panic!("expected an API error, got {other:?}"),
    }
}

/// Makes a test of each case for each kind of server. What stands after `; full:` needs a newer server than the rig's, or its
/// controllers: on a real server those cases are in a module of their own, `full_cluster`, which no lane picks.
macro_rules! cases {
    (@on $server:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::apiserver::Place::$server().await).await;
            }
        )*
    };
    ($($name:ident),* $(,)? $(; full: $($full:ident),+ $(,)?)?) => {
        mod embedded {
            crate::apiserver::cases!(@on embedded: $($name)* $($($full)+)?);
        }
        mod kubernetes {
            crate::apiserver::cases!(@on kubernetes: $($name)*);
        }
        mod full_cluster {
            crate::apiserver::cases!(@on kubernetes: $($($full)+)?);
        }
    };
}
pub(crate) use cases;
