//! Moves by users who lack one right: on real API servers with RBAC. Each is told which right, of what, on which side, and nothing changes.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use kube::Client;
use machinectl::pivot::MoveError;
use serde_json::{Value, json};

use super::super::{
    a_move, moved,
    plain::SMALL,
    world::{self, difference, is_over, of_fleet, send, state},
};
use crate::{cli::Home, install::rig::Rig};

/// Something that a user may do: verb, resource with its group and subresource, and where; nothing: everywhere.
type Right = (String, String, Option<String>);

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A management cluster, and a user of it who may do what is granted.
struct Side {
    rig: Rig,
    admin: Client,
    home: PathBuf,
    granted: BTreeSet<Right>,
}

/// What somebody needs who is to be told what else he needs: which cluster it is, and what there is to move.
fn baseline() -> BTreeSet<Right> {
    let own = [
        "clusters",
        "machines",
        "machinesets",
        "machinedeployments",
        "machinehealthchecks",
        "configs",
        "infrastructureproviders",
    ];
    let infrastructure = [
        "dockermachines",
        "dockermachinetemplates",
        "dockerinfrastructureproviders",
        "hollowmachines",
        "hollowmachinetemplates",
        "awsmachines",
        "awsinfrastructureproviders",
    ];
    let own = own.map(|kind| format!("{kind}.machine.crit.sh"));
    let infrastructure = infrastructure.map(|kind| format!("{kind}.infrastructure.crit.sh"));
    let others = [
        "secrets",
        "configmaps",
        "gadgets.example.com",
        "customresourcedefinitions.apiextensions.k8s.io",
    ];
    let listed = own
        .into_iter()
        .chain(infrastructure)
        .chain(others.map(str::to_owned));
    let mut all: BTreeSet<Right> = listed.map(|what| ("list".to_owned(), what, None)).collect();
    all.insert((
        "get".to_owned(),
        "namespaces".to_owned(),
        Some("kube-system".to_owned()),
    ));
    all.insert((
        "get".to_owned(),
        "configmaps".to_owned(),
        Some("machinectl-system".to_owned()),
    ));
    all
}

impl Side {
    async fn start(home: &Home, name: &str) -> Self {
        let rig = Rig::start();
        let admin = rig.admin().await;
        world::prepare(&admin).await;
        for (path, kind, group) in [
            (
                "/api/v1/namespaces/default/serviceaccounts".to_owned(),
                "ServiceAccount",
                "v1",
            ),
            (
                format!("{ROLES}/clusterroles"),
                "ClusterRole",
                "rbac.authorization.k8s.io/v1",
            ),
        ] {
            let object = json!({ "apiVersion": group, "kind": kind, "metadata": { "name": "mover" } });
            send(&admin, "POST", &path, &object).await;
        }
        let subject = json!({ "kind": "ServiceAccount", "name": "mover", "namespace": "default" });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "mover" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mover" }, "subjects": [subject],
        });
        send(&admin, "POST", &format!("{ROLES}/clusterrolebindings"), &binding).await;
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "audiences": [] } });
        let path = "/api/v1/namespaces/default/serviceaccounts/mover/token";
        let answer = send(&admin, "POST", path, &request).await;
        let token = answer["status"]["token"].as_str().unwrap();
        let text = fs::read_to_string(rig.kubeconfig()).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({ "token": token });
        config["contexts"][0]["name"] = json!(name);
        config["current-context"] = json!(name);
        let home = home.write(name, &config.to_string());
        let mut side = Self {
            rig,
            admin,
            home,
            granted: BTreeSet::new(),
        };
        side.grant(baseline()).await;
        side
    }

    fn kubeconfig(&self) -> &str {
        self.home.to_str().unwrap()
    }

    async fn user(&self) -> Client {
        let text = fs::read_to_string(&self.home).unwrap();
        let context = serde_yaml::from_str::<Value>(&text).unwrap();
        let context = context["current-context"].as_str().unwrap().to_owned();
        machinectl::client::from_text(&context, &text).await.unwrap()
    }

    /// The user may do this from now on, and nothing else. What has a namespace is granted in that one alone, if it is there.
    async fn grant(&mut self, rights: BTreeSet<Right>) {
        let mut places: BTreeSet<Option<String>> = BTreeSet::from([None]);
        places.extend(
            rights
                .iter()
                .chain(&self.granted)
                .map(|(_, _, place)| place.clone()),
        );
        let mut everywhere = Vec::new();
        for place in places.iter().rev() {
            let here = rights.iter().filter(|(_, _, at)| at == place);
            let rules: Vec<Value> = here
                .map(|(verb, what, _)| {
                    let (what, part) = what.split_once('/').unwrap_or((what, ""));
                    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
                    let resource = if part.is_empty() {
                        resource.to_owned()
                    } else {
                        format!("{resource}/{part}")
                    };
                    json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] })
                })
                .collect();
            let Some(namespace) = place else {
                everywhere.extend(rules);
                continue;
            };
            let path = format!("/api/v1/namespaces/{namespace}");
            if world::get(&self.admin, &path).await.is_none() {
                everywhere.extend(rules);
                continue;
            }
            self.role(namespace, &rules).await;
        }
        let path = format!("{ROLES}/clusterroles/mover");
        send(&self.admin, "PATCH", &path, &json!({ "rules": everywhere })).await;
        self.granted = rights;
        self.until_heard().await;
    }

    async fn role(&self, namespace: &str, rules: &[Value]) {
        let path = format!("{ROLES}/namespaces/{namespace}");
        if world::get(&self.admin, &format!("{path}/roles/mover"))
            .await
            .is_some()
        {
            let path = format!("{path}/roles/mover");
            send(&self.admin, "PATCH", &path, &json!({ "rules": rules })).await;
            return;
        }
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "mover" }, "rules": rules,
        });
        send(&self.admin, "POST", &format!("{path}/roles"), &role).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "mover" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mover" },
            "subjects": [{ "kind": "ServiceAccount", "name": "mover", "namespace": "default" }],
        });
        send(&self.admin, "POST", &format!("{path}/rolebindings"), &binding).await;
    }

    /// The authorizer hears of roles from watches, one a kind.
    async fn until_heard(&self) {
        let user = self.user().await;
        for (verb, what, namespace) in &self.granted {
            while !may(&user, verb, what, namespace.as_deref()).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// The same rights but one.
    async fn without(&mut self, verb: &str, what: &str) {
        let mut rights = self.granted.clone();
        rights.retain(|(v, w, _)| (v.as_str(), w.as_str()) != (verb, what));
        assert!(rights.len() < self.granted.len(), "{verb} {what} was not granted");
        let gone: Vec<Right> = self.granted.difference(&rights).cloned().collect();
        self.grant(rights).await;
        let user = self.user().await;
        for (verb, what, namespace) in gone {
            while may(&user, &verb, &what, namespace.as_deref()).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn may(user: &Client, verb: &str, what: &str, namespace: Option<&str>) -> bool {
    let (what, part) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": part, "namespace": namespace.unwrap_or_default(),
        } },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    send(user, "POST", path, &review).await["status"]["allowed"] == true
}

/// Reads what is asked for from what is said: `in the target, context "there" may not create secrets in namespace fleet`.
fn asked(told: &str, side: &str) -> BTreeSet<Right> {
    let begins = format!("  - in the {side}, context \"{side}\" may not ");
    let lines = told.lines().filter_map(|line| line.strip_prefix(&begins));
    lines
        .map(|right| {
            let (verb, rest) = right.split_once(' ').unwrap();
            match rest.split_once(" in namespace ") {
                Some((what, place)) => (verb.to_owned(), what.to_owned(), Some(place.to_owned())),
                None => (verb.to_owned(), rest.to_owned(), None),
            }
        })
        .collect()
}

/// Everything that is asked for is granted, round by round: no more than fifty things are told at once.
async fn grant_what_is_asked_for(source: &mut Side, target: &mut Side) {
    for _ in 0..20 {
        let (from, to) = (source.user().await, target.user().await);
        let it = a_move(&from, &to).await.unwrap();
        let preview = Box::pin(it.preview()).await;
        let told = match preview {
            Ok(preview) => MoveError::Checks(preview.problems).to_string(),
            Err(error) => panic!("{error}"),
        };
        let (here, there) = (asked(&told, "source"), asked(&told, "target"));
        if here.is_empty() && there.is_empty() {
            assert_eq!(told.lines().count(), 1, "{told}");
            return;
        }
        source.grant(source.granted.union(&here).cloned().collect()).await;
        target
            .grant(target.granted.union(&there).cloned().collect())
            .await;
    }
    panic!("it asks for more and more");
}

/// What stands on both sides, but for what servers do by themselves.
async fn both(
    source: &Side,
    target: &Side,
) -> (
    impl PartialEq + std::fmt::Debug + use<>,
    impl PartialEq + std::fmt::Debug + use<>,
) {
    (state(&source.admin).await, state(&target.admin).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_one_right_is_told_which_and_what_is_asked_for_is_enough() {
    let home = Home::new();
    let mut source = Side::start(&home, "source").await;
    let mut target = Side::start(&home, "target").await;
    world::fill(&source.admin, SMALL).await;
    let before = of_fleet(&state(&source.admin).await);
    grant_what_is_asked_for(&mut source, &mut target).await;
    let (here, there) = (source.kubeconfig().to_owned(), target.kubeconfig().to_owned());
    let run = || {
        home.run(&[
            "move",
            "--kubeconfig",
            &here,
            "--to-kubeconfig",
            &there,
            "-A",
            "--yes",
        ])
    };
    let refused = |verb: &str, what: &str, side: &str, place: &str| {
        let output = run();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{told}");
        let right = format!("  - in the {side}, context \"{side}\" may not {verb} {what}{place}");
        let problems: Vec<&str> = told.lines().filter(|l| l.starts_with("  - ")).collect();
        assert_eq!(problems, [right], "{told}");
        assert!(told.contains("nothing was changed"), "{told}");
    };
    let all = (source.granted.clone(), target.granted.clone());
    let untouched = both(&source, &target).await;
    target.without("create", "secrets").await;
    refused("create", "secrets", "target", " in namespace fleet");
    target.grant(all.1.clone()).await;
    source.without("delete", "machines.machine.crit.sh").await;
    refused(
        "delete",
        "machines.machine.crit.sh",
        "source",
        " in namespace fleet",
    );
    source.grant(all.0.clone()).await;
    target.without("create", "namespaces").await;
    refused("create", "namespaces", "target", "");
    target.grant(all.1.clone()).await;
    // Not even the names of one kind can be seen: what the server says is told.
    source.without("list", "secrets").await;
    let output = run();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(
        told.contains("can't list secrets") && told.contains("cannot list resource \"secrets\""),
        "{told}"
    );
    source.grant(all.0.clone()).await;
    assert_eq!(both(&source, &target).await, untouched);
    // Exactly what was asked for is enough.
    let report = moved(&source.user().await, &target.user().await).await.unwrap();
    assert_eq!(report.objects, before.len());
    let (from, to) = (state(&source.admin).await, state(&target.admin).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None);
    drop((source.rig, target.rig));
}
