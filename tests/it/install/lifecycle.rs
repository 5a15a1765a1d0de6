//! What `init` installs, again and again; what `upgrade` changes; what `uninstall` takes away. On the embedded server and on a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
};
use machinectl::install::{
    self, Change, InstallError, NAME, NAMESPACE, Options, Provider, Request, Scope,
    uninstall::{self, Options as Removal},
    upgrade,
};
use serde_json::{Value, json};

const FLEET: &str = "default";

fn everything() -> Request {
    Request::new(
        Scope::Controllers,
        vec![Provider::Hollow],
        "registry/machinectl:v0.0.1",
    )
}

const REMOVAL: Removal = Removal {
    include_crds: true,
    leave_machines: false,
    timeout: Duration::from_secs(120),
};

fn gvk(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The resource versions of all that is installed.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for object in install::everything(&everything(), true).unwrap() {
        let (group, version) = object["apiVersion"]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap_or(("", "v1"));
        let resource = gvk(group, version, object["kind"].as_str().unwrap());
        let name = object["metadata"]["name"].as_str().unwrap();
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let live = api.get(name).await.unwrap();
        all.insert(
            format!(
                "{} {} {name}",
                resource.kind,
                live.namespace().unwrap_or_default()
            ),
            live.resource_version().unwrap(),
        );
    }
    all
}

/// The resource versions of all that is installed, and of everything that is beside it in the namespace or of a kind of this program.
async fn everything_there(client: &Client) -> BTreeMap<String, String> {
    let mut all = versions(client).await;
    for resource in [
        gvk("", "v1", "ConfigMap"),
        gvk("coordination.k8s.io", "v1", "Lease"),
        gvk("machine.crit.sh", "v1alpha1", "Machine"),
        gvk("machine.crit.sh", "v1alpha1", "Config"),
    ] {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for object in api.list(&ListParams::default()).await.unwrap() {
            // What this server's own controllers renew.
            if object.namespace().is_some_and(|n| n.starts_with("kube-")) {
                continue;
            }
            let key = format!("{} {}", resource.kind, object.name_any());
            all.insert(key, object.resource_version().unwrap());
        }
    }
    all
}

async fn installed(client: &Client) -> Vec<(String, Change)> {
    let applied = install::install(client, &everything(), Options::default())
        .await
        .unwrap();
    applied.into_iter().map(|a| (a.name, a.change)).collect()
}

/// From nothing to everything, and again.
async fn a_second_run_writes_nothing(client: &Client) {
    let dry = Options {
        dry_run: true,
        ..Options::default()
    };
    let promised = install::install(client, &everything(), dry).await.unwrap();
    assert!(
        !install::is_installed(client).await.unwrap(),
        "a dry run keeps nothing"
    );
    let first = installed(client).await;
    assert!(
        first.iter().all(|(_, change)| *change == Change::Created),
        "{first:?}"
    );
    assert_eq!(
        first.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        promised.iter().map(|a| &a.name).collect::<Vec<_>>()
    );
    let before = versions(client).await;
    let second = installed(client).await;
    assert!(
        second.iter().all(|(_, change)| *change == Change::Unchanged),
        "{second:?}"
    );
    assert_eq!(versions(client).await, before);
    let inventory = install::inventory_of(client).await.unwrap().unwrap();
    assert_eq!(inventory.version, install::VERSION);
    assert_eq!(inventory.image.as_deref(), Some("registry/machinectl:v0.0.1"));
}

/// What somebody has changed by hand is put right; what somebody has added stays.
async fn changes_by_hand_are_put_right(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = json!({ "spec": { "replicas": 0 }, "metadata": { "annotations": { "mine": "stays" } } });
    deployments
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    let changed: Vec<_> = installed(client)
        .await
        .into_iter()
        .filter(|(_, change)| *change != Change::Unchanged)
        .collect();
    assert_eq!(changed, [(format!("deployment.apps/{NAME}"), Change::Updated)]);
    let now = deployments.get(NAME).await.unwrap();
    assert_eq!(now.spec.as_ref().unwrap().replicas, Some(2));
    assert_eq!(now.annotations()["mine"], "stays");
}

async fn inventory_says(client: &Client, version: &str, state: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = json!({ "data": { "version": version, "state": state } });
    maps.patch(install::INVENTORY, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// `init` leaves other versions alone and says what to do; an older one is upgraded, also from the middle of an upgrade.
async fn versions_are_upgraded_and_not_overwritten(client: &Client) {
    inventory_says(client, "v99.0.0", "Installed").await;
    let newer = install::install(client, &everything(), Options::default())
        .await
        .unwrap_err();
    assert!(newer.to_string().contains("newer than this program"), "{newer}");
    assert!(matches!(
        upgrade::plan(client, None).await,
        Err(InstallError::Checks(_))
    ));

    inventory_says(client, "v0.0.1", "Installed").await;
    let older = install::install(client, &everything(), Options::default())
        .await
        .unwrap_err();
    let InstallError::Checks(problems) = older else {
        panic!("{older}")
    };
    assert_eq!(problems.len(), 1);
    assert!(problems[0].hint.contains("upgrade plan"), "{problems:?}");

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let relic = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "relic" } });
    maps.create(&PostParams::default(), &serde_json::from_value(relic).unwrap())
        .await
        .unwrap();
    let mut inventory = maps.get(install::INVENTORY).await.unwrap();
    let data = inventory.data.as_mut().unwrap();
    let objects = data.get_mut("objects").unwrap();
    *objects = format!("{objects}v1 ConfigMap {NAMESPACE}/relic\n");
    inventory.metadata.managed_fields = None;
    maps.replace(install::INVENTORY, &PostParams::default(), &inventory)
        .await
        .unwrap();

    let plan = upgrade::plan(client, None).await.unwrap();
    assert_eq!(
        (plan.from.as_str(), plan.to.as_str()),
        ("v0.0.1", install::VERSION)
    );
    let image = format!("registry/machinectl:{}", install::VERSION);
    assert_eq!(plan.image.as_ref().unwrap().to, image);
    let changes: Vec<_> = plan.objects.iter().map(|o| (o.name.as_str(), o.change)).collect();
    let deployment = format!("deployment.apps/{NAME}");
    assert_eq!(
        changes,
        [
            (deployment.as_str(), "configured"),
            ("configmap/relic", "removed")
        ]
    );
    assert_eq!(plan.restarts.len(), 1);

    let before = everything_there(client).await;
    let promised = upgrade::rehearse(client, None).await.unwrap();
    assert_eq!(everything_there(client).await, before, "a dry run keeps nothing");
    let done = upgrade::apply(client, None, |_| ()).await.unwrap();
    assert_eq!(done, promised);
    assert_eq!(done.removed, ["configmap/relic"]);
    assert!(maps.get_opt("relic").await.unwrap().is_none());
    // Killed before the end: it is told, and the same command goes on.
    let unfinished = upgrade::plan(client, None).await.unwrap();
    assert!(unfinished.unfinished && !unfinished.is_empty());
    let refused = install::install(client, &everything(), Options::default())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("is not finished"), "{refused}");
    upgrade::apply(client, None, |_| ()).await.unwrap();
    upgrade::finish(client, None).await.unwrap();
    assert!(upgrade::plan(client, None).await.unwrap().is_empty());
    let inventory = install::inventory_of(client).await.unwrap().unwrap();
    assert_eq!(
        (inventory.version.as_str(), inventory.image.as_deref()),
        (install::VERSION, Some(image.as_str()))
    );
    assert_eq!(inventory.state, install::State::Installed);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = deployments
        .get(NAME)
        .await
        .unwrap()
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some(image.as_str()));
}

/// Objects that are stored in a version which the definition gives up are written again, and nothing of them is lost.
async fn stored_versions_are_given_up(client: &Client) {
    const CRD: &str = "configs.machine.crit.sh";
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let change = async |edit: &dyn Fn(&mut CustomResourceDefinition)| {
        let mut crd = definitions.get(CRD).await.unwrap();
        edit(&mut crd);
        crd.metadata.managed_fields = None;
        definitions
            .replace(CRD, &PostParams::default(), &crd)
            .await
            .unwrap();
    };
    // As an older version of this program would have left it: stored in v1alpha0.
    change(&|crd| {
        let mut old = crd.spec.versions[0].clone();
        old.name = "v1alpha0".into();
        crd.spec.versions[0].storage = false;
        crd.spec.versions.push(old);
        crd.metadata.annotations = None;
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let old: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        FLEET,
        &gvk("machine.crit.sh", "v1alpha0", "Config"),
    );
    for i in 0..3 {
        let object = json!({
            "apiVersion": "machine.crit.sh/v1alpha0", "kind": "Config", "metadata": { "name": format!("c-{i}") },
            "spec": { "config": format!("number: {i}\n") },
        });
        old.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
    }
    inventory_says(client, "v0.0.1", "Installed").await;
    let plan = upgrade::plan(client, None).await.unwrap();
    let definition = plan.definitions.iter().find(|d| d.name == CRD).unwrap();
    assert_eq!(
        (definition.storage.as_str(), definition.migrated.as_slice()),
        ("v1alpha1", &["v1alpha0".to_owned()][..])
    );
    assert_eq!(definition.removed_versions, ["v1alpha0"]);

    let before = everything_there(client).await;
    let promised = upgrade::rehearse(client, None).await.unwrap();
    assert_eq!(everything_there(client).await, before, "a dry run keeps nothing");
    let done = upgrade::apply(client, None, |_| ()).await.unwrap();
    assert_eq!(done.migrated, [(CRD.to_owned(), 3)]);
    assert_eq!(
        (promised.migrated, promised.removed),
        (done.migrated, done.removed)
    );
    let changed: Vec<_> = promised
        .applied
        .iter()
        .filter(|a| a.change == Change::Updated)
        .collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].name.ends_with(CRD), "{changed:?}");
    upgrade::finish(client, None).await.unwrap();
    let crd = definitions.get(CRD).await.unwrap();
    assert_eq!(crd.status.unwrap().stored_versions.unwrap(), ["v1alpha1"]);
    assert_eq!(crd.spec.versions.len(), 1);
    let new: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        FLEET,
        &gvk("machine.crit.sh", "v1alpha1", "Config"),
    );
    for i in 0..3 {
        let object = new.get(&format!("c-{i}")).await.unwrap();
        assert_eq!(object.data["spec"]["config"], format!("number: {i}\n"));
        new.delete(&object.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
}

/// Definitions that somebody else has installed are left alone, until somebody says otherwise; their objects stay.
async fn definitions_of_others_are_taken_over_on_demand(client: &Client) {
    const CRD: &str = "machinesets.machine.crit.sh";
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut crd = definitions.get(CRD).await.unwrap();
    crd.metadata.annotations = None;
    crd.metadata.labels = None;
    crd.metadata.managed_fields = None;
    definitions
        .replace(CRD, &PostParams::default(), &crd)
        .await
        .unwrap();
    let request = Request {
        image: install::inventory_of(client)
            .await
            .unwrap()
            .unwrap()
            .image
            .unwrap(),
        ..everything()
    };
    let refused = install::install(client, &request, Options::default())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains(CRD), "{refused}");
    let told = Options {
        take_over: true,
        ..Options::default()
    };
    let applied = install::install(client, &request, told).await.unwrap();
    let changed: Vec<_> = applied
        .iter()
        .filter(|a| a.change != Change::Unchanged)
        .map(|a| a.name.as_str())
        .collect();
    assert_eq!(
        changed,
        [format!("customresourcedefinition.apiextensions.k8s.io/{CRD}")]
    );
}

fn machine(finalizers: &Value) -> Value {
    json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
        "metadata": { "name": "m-1", "finalizers": finalizers },
        "spec": { "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": "m-1",
        } },
    })
}

/// Nothing goes while machines exist; then it goes without anybody to take finalizers off, and nothing of it stays.
async fn what_was_installed_can_be_taken_away(client: &Client) {
    let machines: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        FLEET,
        &gvk("machine.crit.sh", "v1alpha1", "Machine"),
    );
    let finalizers = json!(["machine.crit.sh", "backup.example.net/keep"]);
    machines
        .create(
            &PostParams::default(),
            &serde_json::from_value(machine(&finalizers)).unwrap(),
        )
        .await
        .unwrap();
    let found = uninstall::look(client).await.unwrap();
    assert_eq!((found.machines(), found.objects()), (1, 1));
    let refused = uninstall::uninstall(client, &found, REMOVAL, |_| ())
        .await
        .unwrap_err();
    assert!(matches!(refused, InstallError::Machines(_)), "{refused}");
    let told = Removal {
        leave_machines: true,
        ..REMOVAL
    };
    let refused = uninstall::uninstall(client, &found, told, |_| ())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("backup.example.net/keep"),
        "{refused}"
    );
    assert!(
        install::is_installed(client).await.unwrap(),
        "nothing has changed"
    );

    let own = json!({ "metadata": { "finalizers": ["machine.crit.sh"] } });
    machines
        .patch("m-1", &PatchParams::default(), &Patch::Merge(&own))
        .await
        .unwrap();
    let found = uninstall::look(client).await.unwrap();
    let before = everything_there(client).await;
    for ask in [false, true] {
        let refused = uninstall::rehearse(client, &found, REMOVAL, ask)
            .await
            .unwrap_err();
        assert!(matches!(refused, InstallError::Machines(_)), "{refused}");
    }
    let thought = uninstall::rehearse(client, &found, told, false).await.unwrap();
    let promised = uninstall::rehearse(client, &found, told, true).await.unwrap();
    assert_eq!(thought, promised);
    assert_eq!(everything_there(client).await, before, "a dry run keeps nothing");
    let removed = uninstall::uninstall(client, &found, told, |_| ()).await.unwrap();
    let sorted =
        |removed: &uninstall::Removed| -> BTreeSet<String> { removed.names.iter().cloned().collect() };
    assert_eq!(sorted(&removed), sorted(&promised));
    assert_eq!(removed.kept, None);
    assert_eq!(removed.names.last().unwrap(), &format!("namespace/{NAMESPACE}"));
    assert!(!install::is_installed(client).await.unwrap());
    assert!(install::inventory_of(client).await.unwrap().is_none());
    let again = uninstall::look(client).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
}

/// Without the definitions, objects stay; a namespace with something else in it stays, too.
async fn objects_stay_with_their_definitions(client: &Client) {
    installed(client).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let other = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mine" } });
    maps.create(&PostParams::default(), &serde_json::from_value(other).unwrap())
        .await
        .unwrap();
    let found = uninstall::look(client).await.unwrap();
    let softly = Removal {
        include_crds: false,
        ..REMOVAL
    };
    let promised = uninstall::rehearse(client, &found, softly, true).await.unwrap();
    let removed = uninstall::uninstall(client, &found, softly, |_| ())
        .await
        .unwrap();
    assert_eq!(removed, promised);
    assert_eq!(removed.kept.as_deref(), Some("configmap/mine"));
    assert!(install::is_installed(client).await.unwrap());
    assert!(install::inventory_of(client).await.unwrap().is_none());
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    assert!(deployments.get_opt(NAME).await.unwrap().is_none());
}

/// The cases, one after the other: each is about the whole cluster.
async fn whole_life(client: &Client) {
    a_second_run_writes_nothing(client).await;
    changes_by_hand_are_put_right(client).await;
    versions_are_upgraded_and_not_overwritten(client).await;
    stored_versions_are_given_up(client).await;
    definitions_of_others_are_taken_over_on_demand(client).await;
}

mod embedded {
    use std::sync::Arc;

    use machinectl::{apiserver::Server, time::SystemClock};

    #[tokio::test(flavor = "multi_thread")]
    async fn installed_upgraded_and_taken_away() {
        let server = Server::in_memory(Arc::new(SystemClock));
        super::whole_life(&server.client()).await;
        super::what_was_installed_can_be_taken_away(&server.client()).await;
        super::objects_stay_with_their_definitions(&server.client()).await;
    }
}

mod kubernetes {
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
    use kube::{Api, api::PostParams};
    use machinectl::install::{self, InstallError, Options};
    use serde_json::json;

    use crate::install::rig::Rig;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn installed_upgraded_and_taken_away() {
        let rig = Rig::start();
        let admin = rig.admin().await;
        who_lacks_rights_is_told_all_of_them(&rig).await;
        super::whole_life(&admin).await;
        // Nobody empties a namespace here: it is the last thing that can be done.
        super::what_was_installed_can_be_taken_away(&admin).await;
    }

    /// All that is missing is told at once, and nothing has changed. Who may do everything but give rights away is told that.
    async fn who_lacks_rights_is_told_all_of_them(rig: &Rig) {
        let nobody = rig.named("eve", &["system:authenticated"]).await;
        let refused = install::install(&nobody, &super::everything(), Options::default())
            .await
            .unwrap_err();
        let InstallError::Checks(problems) = refused else {
            panic!("{refused}")
        };
        assert!(
            problems.len() > 10 && problems.iter().all(|p| p.forbidden),
            "{problems:#?}"
        );
        let text = format!("{problems:?}");
        for what in [
            "create customresourcedefinitions.apiextensions.k8s.io",
            "patch deployments.apps in namespace machinectl-system",
        ] {
            assert!(text.contains(what), "{what}: {text}");
        }

        let admin = rig.admin().await;
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "deployer" },
            "rules": [{
                "apiGroups": ["", "apps", "apiextensions.k8s.io", "rbac.authorization.k8s.io"],
                "resources": [
                    "customresourcedefinitions", "namespaces", "serviceaccounts", "services", "configmaps", "deployments",
                    "clusterroles", "clusterrolebindings", "roles", "rolebindings",
                ],
                "verbs": ["get", "create", "patch"],
            }],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "deployer" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deployer" },
            "subjects": [{ "kind": "User", "name": "dan", "apiGroup": "rbac.authorization.k8s.io" }],
        });
        let roles: Api<ClusterRole> = Api::all(admin.clone());
        roles
            .create(&PostParams::default(), &serde_json::from_value(role).unwrap())
            .await
            .unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
        bindings
            .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
            .await
            .unwrap();
        let deployer = rig.named("dan", &["system:authenticated"]).await;
        // The authorizer hears of the role from a watch.
        let mut told = String::new();
        for _ in 0..2000 {
            let refused = install::install(&deployer, &super::everything(), Options::default())
                .await
                .unwrap_err();
            told = refused.to_string();
            if told.contains("rights that you do not have yourself") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(
            told.contains("rights that you do not have yourself") && told.contains("secrets"),
            "{told}"
        );
        assert!(
            !install::is_installed(&admin).await.unwrap(),
            "nothing has changed"
        );
    }
}
