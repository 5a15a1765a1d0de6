//! The rights of the controllers are enough, and not more: the controllers run with exactly those, through all that they do.

mod kubernetes {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use k8s_openapi::api::{
        apps::v1::DaemonSet,
        certificates::v1::CertificateSigningRequest,
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
        },
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
        storage::v1::VolumeAttachment,
    };
    use kube::{
        Api, Client, ResourceExt,
        api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    };
    use machinectl::{
        api::v1alpha1::{
            AWSInfrastructureProvider, AWSMachine, Cluster, Config, DockerInfrastructureProvider,
            DockerMachine, DockerMachineTemplate, HollowMachine, HollowMachineTemplate,
            InfrastructureProvider, Machine, MachineDeployment, MachineHealthCheck, MachineSet,
        },
        controllers::Context,
        install::{
            self, Options, Provider, Request, Scope,
            rbac::{Place as At, RULES, Rule},
        },
        providers::{Actuator, Actuators, hollow::HollowActuator},
        time::SystemClock,
    };
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use crate::{
        cli::project,
        controllers::{NAMESPACE, Place, Running, csr::serving, fake::Fake, holds, phase, until, until_gone},
        install::{
            record::{Asked, Record, recorded},
            rig::Rig,
        },
    };

    /// Rights that this test has no use for, each with the reason: verb, resource, why.
    const UNUSED: &[(&str, &str, &str)] = &[
        (
            "update",
            "clusters/finalizers",
            "OwnerReferencesPermissionEnforcement is off here",
        ),
        (
            "update",
            "configs/finalizers",
            "OwnerReferencesPermissionEnforcement is off here",
        ),
        (
            "update",
            "machinedeployments/finalizers",
            "OwnerReferencesPermissionEnforcement is off here",
        ),
        (
            "update",
            "machines/finalizers",
            "OwnerReferencesPermissionEnforcement is off here",
        ),
        (
            "update",
            "machinesets/finalizers",
            "OwnerReferencesPermissionEnforcement is off here",
        ),
        (
            "approve",
            "signers",
            "no request: the API server asks when a certificate is approved",
        ),
    ];

    fn of<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    async fn make<K>(api: &Api<K>, value: Value) -> K
    where
        K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        api.create(&PostParams::default(), &of(value)).await.unwrap()
    }

    async fn change<K>(api: &Api<K>, name: &str, patch: Value)
    where
        K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let patch = Patch::Merge(patch);
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_rights_of_the_controllers_are_enough_and_not_more() {
        let rig = Rig::start();
        let admin = rig.admin().await;
        let request = Request::new(Scope::Controllers, Provider::ALL.to_vec(), install::IMAGE);
        install::install(&admin, &request, Options::default())
            .await
            .unwrap();

        let place = Place::on(admin.clone()).await;
        let asked = everything_that_they_do(&rig, &place, rig.controllers().await, None).await;
        let unused: BTreeSet<_> = granted()
            .filter(|(rule, resource, verb)| !asked.iter().any(|asked| covers(rule, resource, verb, asked)))
            .map(|(_, resource, verb)| (verb, resource))
            .collect();
        let known: BTreeSet<_> = UNUSED
            .iter()
            .map(|(verb, resource, _)| (*verb, *resource))
            .collect();
        let surplus: Vec<_> = unused.difference(&known).collect();
        assert!(surplus.is_empty(), "granted, and used for nothing: {surplus:#?}");
        let stale: Vec<_> = known.difference(&unused).collect();
        assert!(stale.is_empty(), "used, or not granted: {stale:#?}");
    }

    /// Runs the controllers, of one namespace or all, through all that they do. Returns what they asked for; nothing of it was refused.
    async fn everything_that_they_do(
        rig: &Rig,
        place: &Place,
        client: Client,
        namespace: Option<&str>,
    ) -> BTreeSet<Asked> {
        let record = Arc::<Record>::default();
        let client = recorded(&client, &record);
        assert!(install::is_installed(&client).await.unwrap());
        let fake = Arc::new(Fake {
            bootstrap: true,
            ..Fake::default()
        });
        let context = || Context {
            namespace: namespace.map(ToOwned::to_owned),
            ..context(&client, &fake)
        };
        readers_of_leases(place).await;
        let running = Running::start(context());

        providers(place).await;
        machines_of_others(place).await;
        sick_machines(place).await;
        a_machine_of_this_cluster(place).await;
        a_hollow_fleet(place, rig).await;
        a_cluster_of_its_own(place).await;
        // A second process waits for its turn.
        let standby = Running::start(context());
        running.stop().await;
        standby.stop().await;

        let refused = record.refused.lock().unwrap().clone();
        assert!(refused.is_empty(), "refused: {refused:#?}");
        record.asked.lock().unwrap().clone()
    }

    /// A right that the documentation lists for a run that is restricted to a namespace.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Listed {
        /// Nothing: everywhere.
        place: Option<String>,
        group: String,
        resource: String,
        names: Vec<String>,
        verb: String,
    }

    impl Listed {
        fn rule(&self) -> Value {
            let mut rule =
                json!({ "apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb] });
            if !self.names.is_empty() {
                rule["resourceNames"] = json!(self.names);
            }
            rule
        }
    }

    /// Reads the table: `| pods/eviction, … (group) named a, b | get, list | everywhere |`.
    fn listed() -> Vec<Listed> {
        let page = std::fs::read_to_string(project().join("docs/running.md")).unwrap();
        let table = page.split_once("## Rights").unwrap().1;
        let rows = table.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
        let words = |text: &str| -> Vec<String> { text.split(", ").map(|w| w.trim().to_owned()).collect() };
        let mut all = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            let (what, names) = cells[0].split_once(" named ").unwrap_or((cells[0], ""));
            let (resources, group) = what.split_once(" (").unwrap_or((what, ""));
            let place = cells[2].trim_end_matches(" |");
            for resource in words(resources) {
                for verb in words(cells[1]) {
                    all.push(Listed {
                        place: (place != "everywhere").then(|| place.to_owned()),
                        group: group.trim_end_matches(')').to_owned(),
                        resource: resource.clone(),
                        names: words(names).into_iter().filter(|n| !n.is_empty()).collect(),
                        verb,
                    });
                }
            }
        }
        all
    }

    /// Everything else that has a namespace, in the one that the run is restricted to.
    fn of_the_namespace(listed: &[Listed]) -> Vec<Listed> {
        let everywhere = |rule: &Rule, resource: &str| {
            let mut all = listed.iter().filter(|l| l.place.is_none());
            all.any(|l| l.group == rule.group && l.resource == resource)
        };
        granted()
            .filter(|(rule, resource, _)| rule.place == At::Everywhere && !everywhere(rule, resource))
            .map(|(rule, resource, verb)| Listed {
                place: Some(NAMESPACE.to_owned()),
                group: rule.group.to_owned(),
                resource: resource.to_owned(),
                names: rule.names.iter().map(|&n| n.to_owned()).collect(),
                verb: verb.to_owned(),
            })
            .collect()
    }

    /// Makes a `ServiceAccount` that may do this and nothing else.
    async fn restricted(rig: &Rig, place: &Place, rights: &[Listed]) -> Client {
        let accounts: Api<ServiceAccount> = Api::namespaced(place.client.clone(), install::NAMESPACE);
        make(&accounts, json!({ "metadata": { "name": "restricted" } })).await;
        let subjects =
            json!([{ "kind": "ServiceAccount", "name": "restricted", "namespace": install::NAMESPACE }]);
        let places: BTreeSet<_> = rights.iter().map(|r| &r.place).collect();
        for at in places {
            let rules: Vec<Value> = rights
                .iter()
                .filter(|r| r.place == *at)
                .map(Listed::rule)
                .collect();
            let object = |kind: &str| {
                let reference = json!({
                    "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "restricted",
                });
                let role = json!({ "metadata": { "name": "restricted" }, "rules": rules });
                (
                    role,
                    json!({ "metadata": { "name": "restricted" }, "roleRef": reference, "subjects": subjects }),
                )
            };
            let client = place.client.clone();
            match at {
                None => {
                    let (role, binding) = object("ClusterRole");
                    make(&Api::<ClusterRole>::all(client.clone()), role).await;
                    make(&Api::<ClusterRoleBinding>::all(client), binding).await;
                }
                Some(namespace) => {
                    let (role, binding) = object("Role");
                    make(&Api::<Role>::namespaced(client.clone(), namespace), role).await;
                    make(&Api::<RoleBinding>::namespaced(client, namespace), binding).await;
                }
            }
        }
        let client = rig.account("restricted").await;
        // The authorizer hears of each kind of these from a watch of its own.
        tokio::time::sleep(Duration::from_secs(1)).await;
        client
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_run_in_one_namespace_is_granted_is_enough_and_not_more() {
        let rig = Rig::start();
        let admin = rig.admin().await;
        let request = Request::new(Scope::Controllers, Provider::ALL.to_vec(), install::IMAGE);
        install::install(&admin, &request, Options::default())
            .await
            .unwrap();
        let place = Place::on(admin).await;
        let listed = listed();
        let mut rights = of_the_namespace(&listed);
        rights.extend(listed.iter().cloned());
        let client = restricted(&rig, &place, &rights).await;
        let asked = everything_that_they_do(&rig, &place, client, Some(NAMESPACE)).await;
        let unused: Vec<_> = listed
            .iter()
            .filter(|right| right.resource != "signers")
            .filter(|right| {
                !asked.iter().any(|asked| {
                    let named = asked.name.as_ref().is_some_and(|n| right.names.contains(n));
                    // Whoever applies an object that is not there creates it.
                    let does =
                        asked.verb == right.verb || (asked.verb, right.verb.as_str()) == ("patch", "create");
                    (asked.group == right.group && asked.resource == right.resource && does)
                        && (right.place.is_none() || right.place == asked.namespace)
                        && (right.names.is_empty() || named)
                })
            })
            .collect();
        assert!(unused.is_empty(), "granted, and used for nothing: {unused:#?}");
    }

    /// Each right: its rule, resource and verb.
    fn granted() -> impl Iterator<Item = (&'static Rule, &'static str, &'static str)> {
        RULES.iter().flat_map(|rule| {
            let pairs = rule
                .resources
                .iter()
                .flat_map(|r| rule.verbs.iter().map(move |v| (*r, *v)));
            pairs.map(move |(resource, verb)| (rule, resource, verb))
        })
    }

    fn covers(rule: &Rule, resource: &str, verb: &str, asked: &Asked) -> bool {
        let place = match rule.place {
            At::Everywhere => true,
            At::Namespace(namespace) => asked.namespace.as_deref() == Some(namespace),
        };
        let named = rule.names.is_empty() || asked.name.as_deref().is_some_and(|n| rule.names.contains(&n));
        place && named && asked.group == rule.group && asked.resource == resource && asked.verb == verb
    }

    fn context(client: &Client, fake: &Arc<Fake>) -> Context {
        let hollow: Arc<dyn Actuator> = Arc::new(HollowActuator::new(client.clone(), Arc::new(SystemClock)));
        let docker = Arc::clone(fake) as Arc<dyn Actuator>;
        let actuators = Actuators::from([
            ("HollowMachine".to_owned(), hollow),
            ("DockerMachine".to_owned(), docker),
        ]);
        Context::new(client.clone(), actuators, Arc::new(SystemClock))
    }

    /// A controller manager that reads the Leases of Nodes, and the Lease of a Node that was there before.
    async fn readers_of_leases(place: &Place) {
        let lease = |name: &str| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
                "spec": {
                    "holderIdentity": name, "leaseDurationSeconds": 3600,
                    "renewTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                },
            })
        };
        for (namespace, name) in [
            ("kube-system", "kube-controller-manager"),
            ("kube-node-lease", "h-1"),
        ] {
            let leases: Api<Lease> = Api::namespaced(place.client.clone(), namespace);
            make(&leases, lease(name)).await;
        }
    }

    /// A machine whose provider is another program, and the provider's own object.
    async fn machines_of_others(place: &Place) {
        let aws =
            json!({ "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "AWSMachine", "name": "a-1" });
        let spec = json!({ "instanceType": "t3.small" });
        let objects = place.api::<AWSMachine>();
        place.create::<AWSMachine>("a-1", &[], spec).await;
        place
            .create::<Machine>("a-1", &[], json!({ "infrastructureRef": aws }))
            .await;
        until(&objects, "a-1", "an owner", |a: &AWSMachine| {
            a.metadata.owner_references.is_some()
        })
        .await;
        let machines = place.api::<Machine>();
        // The Machine has seen its object as it is now, with its owner: nobody collects garbage here.
        let host = json!({ "spec": { "providerID": "aws:///eu-central-1a/i-1" } });
        change(&objects, "a-1", host).await;
        let status = Patch::Merge(json!({ "status": { "ready": true } }));
        objects
            .patch_status("a-1", &PatchParams::default(), &status)
            .await
            .unwrap();
        until(&machines, "a-1", "its provider id", |m: &Machine| {
            m.spec.provider_id.is_some()
        })
        .await;
        machines.delete("a-1", &DeleteParams::default()).await.unwrap();
        until_gone(&objects, "a-1").await;
        until_gone(&machines, "a-1").await;
    }

    /// Machines of a set whose Nodes break, or never come: they are replaced, after a last look.
    async fn sick_machines(place: &Place) {
        let faults = json!({ "notReadyAfter": "300ms" });
        for (name, spec, check) in [
            (
                "breaks",
                json!({ "faults": faults }),
                json!({ "unhealthyConditions": [{ "type": "Ready", "status": "Unknown", "timeout": "100ms" }] }),
            ),
            (
                "late",
                json!({ "startupDelay": "1h" }),
                json!({ "nodeStartupTimeout": "500ms" }),
            ),
        ] {
            place
                .create::<HollowMachineTemplate>(name, &[], json!({ "template": { "spec": spec } }))
                .await;
            set(place, "HollowMachineTemplate", name).await;
            let first = first_of(place, name).await;
            let mut spec = json!({
                "selector": { "matchLabels": { "pool": name } }, "maxUnhealthy": "100%",
                "unhealthyConditions": [{ "type": "Ready", "status": "False", "timeout": "5m" }],
            });
            json_patch::merge(&mut spec, &check);
            place.create::<MachineHealthCheck>(name, &[], spec).await;
            until_gone(&place.api::<Machine>(), &first).await;
            place
                .api::<MachineHealthCheck>()
                .delete(name, &DeleteParams::default())
                .await
                .unwrap();
            change(
                &place.api::<MachineSet>(),
                name,
                json!({ "spec": { "replicas": 0 } }),
            )
            .await;
        }
        let template = json!({ "template": { "spec": { "clusterName": "dev", "containerName": "box", "image": "node:v1" } } });
        place
            .create::<DockerMachineTemplate>("boxes", &[], template)
            .await;
        set(place, "DockerMachineTemplate", "boxes").await;
        first_of(place, "boxes").await;
    }

    /// A set of one machine.
    async fn set(place: &Place, kind: &str, name: &str) {
        let labels = json!({ "pool": name });
        let reference =
            json!({ "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": kind, "name": name });
        let template =
            json!({ "metadata": { "labels": labels }, "spec": { "infrastructureRef": reference } });
        let spec = json!({ "replicas": 1, "selector": { "matchLabels": labels }, "template": template });
        place.create::<MachineSet>(name, &[], spec).await;
    }

    /// Waits for the machine of a set, and its infrastructure object; returns its name.
    async fn first_of(place: &Place, pool: &str) -> String {
        let params = ListParams::default().labels(&format!("pool={pool}"));
        for _ in 0..6000 {
            let all = place.api::<Machine>().list(&params).await.unwrap();
            let made = all.items.iter().find(|m| !phase(m).is_empty());
            if let Some(machine) = made {
                return machine.name_any();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the set {pool} made no machine");
    }

    /// What user interfaces read.
    async fn providers(place: &Place) {
        place
            .create::<AWSInfrastructureProvider>("cloud", &[], json!({ "region": "eu-central-1" }))
            .await;
        place
            .create::<DockerInfrastructureProvider>("local", &[], json!({ "defaultImage": "node:v1" }))
            .await;
        let provider = |kind: &str, name: &str| {
            json!({
                "apiVersion": "machine.crit.sh/v1alpha1", "kind": "InfrastructureProvider", "metadata": { "name": name },
                "spec": { "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": kind, "name": name, "namespace": NAMESPACE,
                } },
            })
        };
        let providers = place.all::<InfrastructureProvider>();
        make(&providers, provider("AWSInfrastructureProvider", "cloud")).await;
        make(&providers, provider("DockerInfrastructureProvider", "local")).await;
        until(&providers, "local", "ready", |p: &InfrastructureProvider| {
            p.status.as_ref().is_some_and(|s| s.ready)
        })
        .await;
        let clouds = place.api::<AWSInfrastructureProvider>();
        until(&clouds, "cloud", "an owner", |p: &AWSInfrastructureProvider| {
            p.metadata.owner_references.is_some()
        })
        .await;
    }

    fn node(name: &str, provider_id: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "spec": { "providerID": provider_id },
            "status": {
                "nodeInfo": {
                    "kubeletVersion": "v1.20.2", "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "",
                    "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux",
                    "osImage": "", "systemUUID": "",
                },
                "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "" }],
            },
        })
    }

    /// Bootstrap data, a token, a Node, its serving certificate; then it is drained, volumes and all, and goes.
    async fn a_machine_of_this_cluster(place: &Place) {
        let maps: Api<ConfigMap> = Api::namespaced(place.client.clone(), "kube-system");
        let ca = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        for (name, data) in [
            ("kube-root-ca.crt", json!({ "ca.crt": ca.cert.pem() })),
            (
                "crit-config",
                json!({ "crit.yaml": "controlPlaneEndpoint: 192.0.2.1:6443\n" }),
            ),
        ] {
            let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data });
            make(&maps, map).await;
        }
        let config = "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\n";
        place
            .create::<Config>("pool", &[], json!({ "config": config }))
            .await;
        let configs = place.api::<Config>();
        until(&configs, "pool", "a look", |c: &Config| c.status.is_some()).await;
        place
            .create::<DockerMachine>(
                "m-1",
                &[],
                json!({ "clusterName": "dev", "containerName": "m-1-box", "image": "node:v1" }),
            )
            .await;
        let reference = |kind: &str, name: &str| {
            json!({
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": kind, "name": name,
            })
        };
        let config = json!({ "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Config", "name": "pool" });
        let machine = json!({ "infrastructureRef": reference("DockerMachine", "m-1"), "configRef": config });
        place.create::<Machine>("m-1", &[], machine).await;
        let machines = place.api::<Machine>();
        until(&machines, "m-1", "an instance", |m: &Machine| {
            phase(m) == "Provisioned"
        })
        .await;
        let nodes = place.all::<Node>();
        make(&nodes, node("m-1-box", "docker://m-1-box")).await;
        until(&machines, "m-1", "its Node", |m: &Machine| phase(m) == "Running").await;
        // A token that was minted goes when the Node is there.
        let secrets: Api<Secret> = Api::namespaced(place.client.clone(), "kube-system");
        let tokens = ListParams::default().fields("type=bootstrap.kubernetes.io/token");
        for _ in 0..6000 {
            if secrets.list(&tokens).await.unwrap().items.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        burden(place).await;
        machines.delete("m-1", &DeleteParams::default()).await.unwrap();
        until(&machines, "m-1", "volumes to wait for", |m: &Machine| {
            let mut conditions = m.status.iter().flat_map(|s| &s.conditions);
            conditions.any(|c| c.type_ == "VolumesDetached" && c.status == "False")
        })
        .await;
        let attachments = place.all::<VolumeAttachment>();
        attachments
            .delete("csi-1", &DeleteParams::default())
            .await
            .unwrap();
        until_gone(&machines, "m-1").await;
        until_gone(&nodes, "m-1-box").await;
    }

    /// A pod that is asked to leave, one that stays with a volume, and a volume that is still attached.
    async fn burden(place: &Place) {
        let daemons = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent" },
            "spec": {
                "selector": { "matchLabels": { "app": "agent" } },
                "template": {
                    "metadata": { "labels": { "app": "agent" } },
                    "spec": { "containers": [{ "name": "c", "image": "i" }] },
                },
            },
        });
        let agent: DaemonSet = make(&place.api::<DaemonSet>(), daemons).await;
        let pod = |name: &str, change: Value| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
                "spec": {
                    "nodeName": "m-1-box", "containers": [{ "name": "c", "image": "i" }],
                    "terminationGracePeriodSeconds": 0,
                },
            });
            json_patch::merge(&mut pod, &change);
            pod
        };
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": agent.uid(), "controller": true,
        });
        let stays = json!({
            "metadata": { "ownerReferences": [owner] },
            "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] },
        });
        let pods = place.api::<Pod>();
        make(&pods, pod("web", json!({}))).await;
        make(&pods, pod("agent", stays)).await;
        let size = json!({ "requests": { "storage": "1Gi" } });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": size, "volumeName": "pvc-agent" },
        });
        make(&place.api::<PersistentVolumeClaim>(), claim).await;
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pvc-agent" },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                "csi": { "driver": "csi.example.org", "volumeHandle": "vol-agent" },
            },
        });
        make(&place.all::<PersistentVolume>(), volume).await;
        let attachment = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": "csi-1" },
            "spec": {
                "attacher": "csi.example.org", "nodeName": "m-1-box", "source": { "persistentVolumeName": "pvc-1" },
            },
        });
        make(&place.all::<VolumeAttachment>(), attachment).await;
    }

    /// Sets and deployments, a health check, certificates of kubelets, and the end of it all with its Cluster.
    async fn a_hollow_fleet(place: &Place, rig: &Rig) {
        place
            .create::<Cluster>("demo", &[], json!({ "apiServer": "Management" }))
            .await;
        place
            .create::<HollowMachineTemplate>(
                "web",
                &[],
                json!({ "template": { "spec": { "startupDelay": "10ms" } } }),
            )
            .await;
        let labels = json!({ "pool": "web" });
        let spec = json!({
            "clusterName": "demo",
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "clusterName": "demo",
                    "version": "v1.33.1",
                    "infrastructureRef": {
                        "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "web",
                    },
                },
            },
        });
        place.create::<MachineDeployment>("web", &[], spec).await;
        let check = json!({
            "clusterName": "demo",
            "selector": { "matchLabels": labels },
            "unhealthyConditions": [{ "type": "Ready", "status": "Unknown", "timeout": "5m" }],
        });
        place.create::<MachineHealthCheck>("web", &[], check).await;
        let done = async |what: &str| {
            until(&place.api(), "web", what, |d: &MachineDeployment| {
                let status = d.status.as_ref();
                let is_seen = status.is_some_and(|s| s.observed_generation == d.metadata.generation);
                is_seen
                    && status
                        .is_some_and(|s| (s.replicas, s.updated_replicas, s.available_replicas) == (2, 2, 2))
            })
            .await;
        };
        done("two machines").await;
        certificates(place, rig).await;
        // A machine that somebody wants replaced, and a new version.
        let machines = place.api::<Machine>();
        let all = machines
            .list(&ListParams::default().labels("pool=web"))
            .await
            .unwrap();
        let sick = all.items[0].name_any();
        change(
            &machines,
            &sick,
            json!({ "metadata": { "annotations": { "machine.crit.sh/remediate-machine": "yes" } } }),
        )
        .await;
        until_gone(&machines, &sick).await;
        done("its replacement").await;
        change(
            &place.api::<MachineDeployment>(),
            "web",
            json!({ "spec": { "template": { "spec": { "version": "v1.33.2" } } } }),
        )
        .await;
        done("the new version").await;
        let clusters = place.api::<Cluster>();
        clusters.delete("demo", &DeleteParams::default()).await.unwrap();
        until_gone(&clusters, "demo").await;
        until_gone(&place.api::<MachineHealthCheck>(), "web").await;
    }

    /// What a kubelet asks for is approved, or an Event says why not.
    async fn certificates(place: &Place, rig: &Rig) {
        place.create::<HollowMachine>("h-1", &[], json!({})).await;
        let machine = json!({ "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": "h-1",
        } });
        place.create::<Machine>("h-1", &[], machine).await;
        let machines = place.api::<Machine>();
        until(&machines, "h-1", "Ready", |m: &Machine| holds(m, "Ready")).await;
        let kubelet = rig
            .named("system:node:h-1", &["system:nodes", "system:authenticated"])
            .await;
        let requests: Api<CertificateSigningRequest> = Api::all(kubelet);
        for (name, names) in [("good", vec!["h-1"]), ("foreign", vec!["h-1", "192.0.2.66"])] {
            let asked = serving(name, "h-1", &names);
            requests.create(&PostParams::default(), &asked).await.unwrap();
        }
        let requests: Api<CertificateSigningRequest> = Api::all(place.client.clone());
        until(&requests, "good", "approval", |r: &CertificateSigningRequest| {
            let mut conditions = r.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
            conditions.any(|c| c.type_ == "Approved")
        })
        .await;
        let events = place.api::<Event>();
        let mut told = false;
        for _ in 0..6000 {
            let all = events.list(&ListParams::default()).await.unwrap();
            told = all
                .iter()
                .any(|e| e.reason.as_deref() == Some("CertificateNotApproved"));
            if told {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(told, "an Event says why");
        let leases: Api<Lease> = Api::namespaced(place.client.clone(), "kube-node-lease");
        until(&leases, "h-1", "a renewal", |l: &Lease| {
            l.spec.as_ref().and_then(|s| s.lease_duration_seconds) != Some(3600)
        })
        .await;
        machines.delete("h-1", &DeleteParams::default()).await.unwrap();
        until_gone(&machines, "h-1").await;
    }

    /// A cluster with an API server of its own, which nobody reaches: keys, a control-plane machine, and their end.
    async fn a_cluster_of_its_own(place: &Place) {
        let endpoint = json!({ "host": "127.0.0.1", "port": 1 });
        place
            .create::<Cluster>("own", &[], json!({ "controlPlaneEndpoint": endpoint }))
            .await;
        let secrets = place.api::<Secret>();
        until(&secrets, "own-ca", "content", |s: &Secret| s.data.is_some()).await;
        place
            .create::<DockerMachine>(
                "own-0",
                &[],
                json!({ "clusterName": "own", "containerName": "own-0", "image": "node:v1" }),
            )
            .await;
        let machine = json!({
            "clusterName": "own",
            "infrastructureRef": {
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "DockerMachine", "name": "own-0",
            },
        });
        place
            .create::<Machine>("own-0", &[("node-role.kubernetes.io/master", "true")], machine)
            .await;
        let machines = place.api::<Machine>();
        until(&machines, "own-0", "a look", |m: &Machine| !phase(m).is_empty()).await;
        let clusters = place.api::<Cluster>();
        clusters.delete("own", &DeleteParams::default()).await.unwrap();
        until_gone(&machines, "own-0").await;
        until_gone(&clusters, "own").await;
    }
}
