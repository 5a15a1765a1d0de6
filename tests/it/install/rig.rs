//! An API server of a test's own: what is installed here is for the whole cluster, and would be in the way of other tests.

use std::{path::PathBuf, process::Command};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use machinectl::install;

use crate::cli::project;

/// etcd and kube-apiserver with RBAC. They end with it.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let dir = tempfile::tempdir().unwrap();
        let rig = Self { dir };
        rig.script("start");
        rig
    }

    fn script(&self, action: &str) {
        let done = Command::new(project().join("tests/rig/apiserver.sh"))
            .arg(action)
            .arg(self.dir.path().join("api"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("api/kubeconfig")
    }

    async fn config(&self) -> Config {
        let file = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .unwrap()
    }

    /// The administrator.
    pub(crate) async fn admin(&self) -> Client {
        let mut config = self.config().await;
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// The administrator in the name of somebody else.
    pub(crate) async fn named(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = self.config().await;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&g| g.to_owned()).collect());
        Client::try_from(config).unwrap()
    }

    /// The `ServiceAccount` of the controllers, with a token as its pods get one.
    pub(crate) async fn controllers(&self) -> Client {
        self.account(install::NAME).await
    }

    /// A `ServiceAccount` beside that of the controllers, with a token as its pods get one.
    pub(crate) async fn account(&self, name: &str) -> Client {
        let token = self.token(name, None).await;
        self.bearer(token).await
    }

    /// Whoever has a token.
    pub(crate) async fn bearer(&self, token: String) -> Client {
        let mut config = self.config().await;
        config.auth_info = AuthInfo {
            token: Some(token.into()),
            ..AuthInfo::default()
        };
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// A token of a `ServiceAccount`; it holds as long as the object does that it is bound to.
    pub(crate) async fn token(&self, name: &str, bound: Option<BoundObjectReference>) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, install::NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                bound_object_ref: bound,
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let answer = accounts.create_token_request(name, &params, &request).await;
        answer.unwrap().status.unwrap().token
    }

    /// The port of the API server on the loopback interface, and its CA.
    pub(crate) async fn address(&self) -> (u16, Vec<u8>) {
        let port = self.config().await.cluster_url.port_u16().unwrap();
        let ca = std::fs::read(self.dir.path().join("api/pki/ca.crt")).unwrap();
        (port, ca)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.script("stop");
    }
}
