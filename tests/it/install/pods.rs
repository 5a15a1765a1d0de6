//! `run` as the pods of the Deployment do it: with the token of their `ServiceAccount` and its rights, each in a process namespace of its own, so
//! that none can see whether another one still lives.

mod kubernetes {
    use std::{
        fs,
        os::unix::fs::MetadataExt as _,
        path::{Path, PathBuf},
        process::{Command, ExitStatus},
        time::{Duration, Instant},
    };

    use k8s_openapi::api::{
        authentication::v1::BoundObjectReference, coordination::v1::Lease, core::v1::Secret,
    };
    use kube::{
        Api, Client, ResourceExt,
        api::{DeleteParams, PostParams},
    };
    use machinectl::{
        api::v1alpha1::{HollowMachine, Machine},
        install::{self, Options, Provider, Request, Scope},
    };
    use serde_json::json;

    use crate::{
        cli::{
            Home,
            metrics::Run,
            run::{LEADS, WAITS, signal},
        },
        controllers::{Place, phase, until},
        install::rig::Rig,
    };

    /// Puts what a pod finds of its `ServiceAccount` where programs look for it, and hides the sockets of the host.
    const MOUNTS: &str = r#"run=$(readlink -f /var/run) && mount -t tmpfs none "$run" && mkdir -p "$run/secrets/kubernetes.io" &&
        ln -s "$0" "$run/secrets/kubernetes.io/serviceaccount" && exec "$@""#;

    /// A process that finds the cluster as one in a pod does.
    struct Pod(Run);

    impl Pod {
        /// Starts `run`. `account` is the folder with what a pod finds of its `ServiceAccount`.
        async fn start(home: &Home, rig: &Rig, account: &Path) -> Self {
            let (port, _) = rig.address().await;
            let plain = home.command(&["run", "--metrics-addr", "127.0.0.1:0"]);
            let mut command = Command::new("unshare");
            if fs::metadata("/proc/self").unwrap().uid() != 0 {
                command.arg("--map-root-user");
            }
            command
                .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
                .args(["sh", "-c", MOUNTS])
                .arg(account)
                .arg(plain.get_program())
                .args(plain.get_args())
                .current_dir(home.path(""))
                .env_clear()
                .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
                .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
                .env("KUBERNETES_SERVICE_PORT", port.to_string());
            Self(Run::of(command))
        }

        /// The process itself, as it is known outside.
        fn process(&self) -> u32 {
            let outer = self.0.id();
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
            children.trim().parse().unwrap()
        }

        fn until(&self, what: &str) {
            self.0.until("/metrics", what, |_, page| page.contains(what));
        }

        fn end(self) -> ExitStatus {
            self.0.end()
        }
    }

    /// What a pod finds of its `ServiceAccount`.
    async fn account(home: &Home, rig: &Rig, name: &str, token: &str) -> PathBuf {
        let (_, ca) = rig.address().await;
        home.write(&format!("{name}/namespace"), install::NAMESPACE);
        home.write(&format!("{name}/ca.crt"), std::str::from_utf8(&ca).unwrap());
        home.write(&format!("{name}/token"), token);
        home.path(name)
    }

    async fn installed() -> (Rig, Place, Home) {
        let rig = Rig::start();
        let admin = rig.admin().await;
        let request = Request::new(Scope::Controllers, vec![Provider::Hollow], install::IMAGE);
        install::install(&admin, &request, Options::default())
            .await
            .unwrap();
        (rig, Place::on(admin).await, Home::new())
    }

    /// Makes a machine and waits until it runs: somebody acts.
    async fn somebody_acts(place: &Place, name: &str) {
        place.create::<HollowMachine>(name, &[], json!({})).await;
        let machine = json!({ "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name,
        } });
        place.create::<Machine>(name, &[], machine).await;
        until(&place.api(), name, "a Node", |m: &Machine| phase(m) == "Running").await;
    }

    async fn lease(client: &Client) -> (Option<String>, Option<i32>) {
        let leases: Api<Lease> = Api::namespaced(client.clone(), install::NAMESPACE);
        let spec = leases.get(install::NAME).await.unwrap().spec.unwrap();
        (spec.holder_identity, spec.lease_transitions)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_two_pods_one_acts_and_the_other_takes_over() {
        let (rig, place, home) = installed().await;
        let token = rig.token(install::NAME, None).await;
        let account = account(&home, &rig, "account", &token).await;
        let first = Pod::start(&home, &rig, &account).await;
        first.until(LEADS);
        somebody_acts(&place, "x").await;
        let second = Pod::start(&home, &rig, &account).await;
        second.until(WAITS);

        // Nobody can see that it is dead: the Lease has to run out.
        signal("-KILL", first.process());
        let begun = Instant::now();
        second.until(LEADS);
        // Not before it has run out; `until` sees to the other end.
        assert!(begun.elapsed() > Duration::from_secs(8), "{:?}", begun.elapsed());
        somebody_acts(&place, "y").await;

        // Asked to end, it gives the Lease back: the next one need not wait until it has run out.
        let third = Pod::start(&home, &rig, &account).await;
        third.until(WAITS);
        let holder = lease(&place.client).await.0;
        signal("-TERM", second.process());
        assert_eq!(second.end().code(), Some(0));
        assert_ne!(lease(&place.client).await.0, holder, "it was given back");
        third.until(LEADS);
        somebody_acts(&place, "z").await;
    }

    /// A token that holds as long as a Secret does.
    async fn bound(rig: &Rig, admin: &Client, name: &str) -> String {
        let secrets: Api<Secret> = Api::namespaced(admin.clone(), install::NAMESPACE);
        let secret = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        let secret: Secret = secrets.create(&PostParams::default(), &secret).await.unwrap();
        let reference = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(name.to_owned()),
            uid: secret.uid(),
        };
        rig.token(install::NAME, Some(reference)).await
    }

    /// The kubelet writes a new token long before the old one ends; whoever holds on to the old one is out some time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "long: tokens are read anew once a minute"]
    async fn a_token_that_was_rotated_is_read_anew() {
        let (rig, place, home) = installed().await;
        let (old, new) = (
            bound(&rig, &place.client, "old").await,
            bound(&rig, &place.client, "new").await,
        );
        let account = account(&home, &rig, "account", &old).await;
        let pod = Pod::start(&home, &rig, &account).await;
        pod.until(LEADS);
        somebody_acts(&place, "x").await;
        let before = lease(&place.client).await;
        // As the kubelet does it: at no moment is there half a token.
        let next = home.write("account/next", &new);
        fs::rename(next, account.join("token")).unwrap();
        tokio::time::sleep(Duration::from_secs(62)).await;
        let secrets: Api<Secret> = Api::namespaced(place.client.clone(), install::NAMESPACE);
        secrets.delete("old", &DeleteParams::default()).await.unwrap();
        let stale = rig.bearer(old).await;
        let begun = Instant::now();
        // The API server remembers for some seconds whom it has let in.
        while stale.apiserver_version().await.is_ok() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the old token still holds"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Longer than anybody holds the Lease without a renewal.
        tokio::time::sleep(Duration::from_secs(12)).await;
        pod.until(LEADS);
        assert_eq!(lease(&place.client).await, before);
        somebody_acts(&place, "y").await;
    }
}
