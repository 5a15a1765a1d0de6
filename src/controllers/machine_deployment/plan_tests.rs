//! Tables of what is observed about a deployment and what follows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{super::observe::sort, *};
use crate::{
    api::{conditions, v1alpha1::MachineDeploymentStatus},
    controllers::effect::Requeue,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A deployment, its sets and a clock. What is planned is done at once; the sets follow when they are told to.
struct Stand {
    o: Observed,
    now: Timestamp,
    told: Vec<String>,
}

impl Stand {
    fn new(replicas: i32) -> Self {
        let deployment: MachineDeployment = serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineDeployment",
            "metadata": { "name": "web", "namespace": "fleet", "uid": "uid-web", "generation": 1 },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "pool": "web" } },
                "template": {
                    "metadata": { "labels": { "pool": "web" } },
                    "spec": { "version": "v1" },
                }
            }
        }))
        .unwrap();
        Self {
            o: Observed {
                deployment: Arc::new(deployment),
                sets: Vec::new(),
                orphans: Vec::new(),
                taken: std::collections::BTreeSet::new(),
                leaving: std::collections::BTreeSet::new(),
            },
            now: at(1000),
            told: Vec::new(),
        }
    }

    /// All machines of version 1 run.
    fn running(replicas: i32) -> Self {
        let mut stand = Self::new(replicas);
        stand.settle();
        stand.told.clear();
        stand
    }

    fn spec(&mut self, change: &Value) -> &mut Self {
        let deployment = Arc::make_mut(&mut self.o.deployment);
        let mut spec = serde_json::to_value(&deployment.spec).unwrap();
        json_patch::merge(&mut spec, change);
        deployment.spec = serde_json::from_value(spec).unwrap();
        *deployment.metadata.generation.get_or_insert_default() += 1;
        self
    }

    fn version(&mut self, version: &str) -> &mut Self {
        self.spec(&json!({ "template": { "spec": { "version": version } } }))
    }

    fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Looks once and does what is planned.
    fn look(&mut self) -> Plan {
        let plan = plan(&self.o, self.now);
        for effect in &plan.effects {
            match effect {
                Effect::Patch { key, patch, .. } => self.patch(key, patch),
                Effect::Create { object, .. } => {
                    let mut set: MachineSet =
                        serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
                    set.metadata.uid = Some(format!("uid-{}", set.name_any()));
                    set.metadata.creation_timestamp = Some(Time(self.now));
                    set.metadata.generation = Some(1);
                    self.o.sets.push(Arc::new(set));
                }
                Effect::Delete { key, .. } => {
                    self.told.push(format!("delete {}", self.short(&key.name)));
                    self.o.sets.retain(|set| set.name_any() != key.name);
                }
                Effect::Emit(notice) => self.told.push(self.short(&notice.message)),
                other => panic!("unexpected: {other}"),
            }
        }
        if let Some(status) = &plan.status {
            Arc::make_mut(&mut self.o.deployment).status = serde_json::from_value(status.clone()).unwrap();
        }
        self.o.taken = self.o.sets.iter().map(|set| set.name_any()).collect();
        sort(&mut self.o.sets);
        plan
    }

    fn patch(&mut self, key: &ObjectKey, patch: &Value) {
        if key.resource.kind == "MachineDeployment" {
            let deployment = Arc::make_mut(&mut self.o.deployment);
            let mut value = serde_json::to_value(&*deployment).unwrap();
            json_patch::merge(&mut value, patch);
            *deployment = serde_json::from_value(value).unwrap();
            return;
        }
        let set = self
            .o
            .sets
            .iter_mut()
            .find(|set| set.name_any() == key.name)
            .unwrap();
        let mut value = serde_json::to_value(&**set).unwrap();
        json_patch::merge(&mut value, patch);
        let mut changed: MachineSet = serde_json::from_value(value).unwrap();
        if changed.spec != set.spec {
            *changed.metadata.generation.get_or_insert_default() += 1;
        }
        *set = Arc::new(changed);
    }

    /// Lets the sets have their machines; `missing` of the newest are not available.
    fn follow(&mut self, missing: i32) {
        let newest = self.o.sets.len().saturating_sub(1);
        for (place, set) in self.o.sets.iter_mut().enumerate() {
            let set = Arc::make_mut(set);
            let replicas = set.spec.replicas;
            let lost = if place == newest { missing.min(replicas) } else { 0 };
            say(set, replicas, replicas - lost);
        }
    }

    /// Looks until nothing moves.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.wait(1);
            let before = self.o.clone();
            self.look();
            self.follow(0);
            if before.sets == self.o.sets && before.deployment == self.o.deployment {
                return;
            }
        }
        panic!("it never settles: {:#?}", self.told);
    }

    /// Versions in the place of hashes, so that a test can be read.
    fn short(&self, text: &str) -> String {
        self.o.sets.iter().fold(text.to_owned(), |text, set| {
            let version = set.spec.template.spec.version.as_deref().unwrap_or_default();
            text.replace(&set.name_any(), version)
        })
    }

    fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    fn status(&self) -> MachineDeploymentStatus {
        self.o.deployment.status.clone().unwrap()
    }

    /// Status and reason of a condition.
    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let found = conditions::find(&status.conditions, type_).unwrap();
        (
            found.status.clone(),
            found.reason.clone(),
            self.short(&found.message),
        )
    }

    fn set(&self, version: &str) -> &MachineSet {
        let of = |set: &&Arc<MachineSet>| set.spec.template.spec.version.as_deref() == Some(version);
        self.o.sets.iter().find(of).unwrap()
    }
}

fn say(set: &mut MachineSet, replicas: i32, available: i32) {
    let mut status = set.status.clone().unwrap_or_default();
    status.replicas = replicas;
    status.ready_replicas = available;
    status.available_replicas = available;
    status.observed_generation = set.metadata.generation;
    set.status = Some(status);
}

fn names(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_deployment_makes_one_set() {
    let mut stand = Stand::new(3);
    let (name, _) = template::names(&stand.o.deployment).next().unwrap();
    let p = stand.look();
    assert_eq!(
        names(&p),
        [
            r#"patch MachineDeployment fleet/web in management cluster: {"metadata":{"annotations":{"machine.crit.sh/revision":"1"}}}"#.to_owned(),
            format!("create MachineSet fleet/{name} in management cluster"),
            format!("event ScalingMachineSet: scaled up MachineSet {name} from 0 to 3"),
        ]
    );
    assert_eq!(p.requeue, Requeue::After(SignedDuration::from_secs(600)));
    let set = stand.set("v1");
    assert_eq!(
        set.owner_references(),
        [crate::controllers::effect::controller_reference(
            &*stand.o.deployment
        )]
    );
    assert_eq!(set.annotations()[labels::REVISION], "1");
    assert_eq!(
        (
            set.annotations()[labels::DESIRED_REPLICAS].as_str(),
            set.annotations()[labels::MAX_REPLICAS].as_str()
        ),
        ("3", "4")
    );
    assert_eq!(stand.condition("Progressing").1, "NewMachineSetCreated");
    // It is not seen yet: the same is asked for again, and the API server has it already.
    stand.o.sets.clear();
    stand.o.taken.clear();
    assert_eq!(
        names(&stand.look())[0],
        format!("create MachineSet fleet/{name} in management cluster")
    );
}

#[test]
fn a_deployment_at_rest_writes_nothing() {
    let mut stand = Stand::running(3);
    let before = stand.o.deployment.status.clone();
    stand.wait(5000);
    let p = stand.look();
    assert_eq!((names(&p), p.requeue), (Vec::<String>::new(), Requeue::OnChange));
    assert_eq!(stand.o.deployment.status, before);
    let status = stand.status();
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
        (3, 3, 3, 3, 0)
    );
    assert_eq!(
        (
            status.phase.as_deref(),
            status.selector.as_deref(),
            status.observed_generation
        ),
        (Some("Running"), Some("pool=web"), Some(1))
    );
    assert_eq!(
        stand.condition("Progressing"),
        (
            "True".into(),
            "NewMachineSetAvailable".into(),
            "all machines of MachineSet v1 are available".into()
        )
    );
    for (type_, reason) in [
        ("Available", "MinimumReplicasAvailable"),
        ("MachinesUpToDate", "UpToDate"),
        ("Ready", "Ready"),
    ] {
        assert_eq!(
            stand.condition(type_),
            ("True".into(), reason.into(), String::new())
        );
    }
    assert_eq!(stand.condition("RollingOut").0, "False");
}

#[test]
fn a_new_version_rolls_through_and_is_told_step_by_step() {
    let mut stand = Stand::running(3);
    stand.version("v2").settle();
    assert_eq!(
        stand.take_told(),
        [
            "scaled up MachineSet v2 from 0 to 1",
            "scaled down MachineSet v1 from 3 to 2",
            "scaled up MachineSet v2 from 1 to 2",
            "scaled down MachineSet v1 from 2 to 1",
            "scaled up MachineSet v2 from 2 to 3",
            "scaled down MachineSet v1 from 1 to 0",
        ]
    );
    assert_eq!(stand.o.deployment.annotations()[labels::REVISION], "2");
    assert_eq!(stand.status().phase.as_deref(), Some("Running"));
}

#[test]
fn the_status_says_what_it_waits_for_and_which_limit_holds_it() {
    let mut stand = Stand::running(3);
    stand.version("v2").look();
    stand.follow(1);
    stand.look();
    let hold = "1 machine of MachineSet v2 is not available yet";
    let limits = "maxUnavailable 0 keeps 3 machines of MachineSet v1; maxSurge 1 allows 4 machines in all";
    assert_eq!(
        stand.condition("Ready"),
        ("False".into(), "RollingOut".into(), format!("{hold}; {limits}"))
    );
    assert_eq!(stand.condition("RollingOut").2, format!("{hold}; {limits}"));
    assert_eq!(
        stand.condition("MachinesUpToDate").2,
        "3 machines are of an old template"
    );
    assert_eq!(stand.condition("Available").0, "True");
    assert_eq!(stand.status().phase.as_deref(), Some("ScalingUp"));
}

#[test]
fn undo_takes_the_old_set_and_a_new_number() {
    let mut stand = Stand::running(3);
    stand.version("v2").settle();
    stand.version("v1").settle();
    assert_eq!(stand.o.sets.len(), 2);
    assert_eq!(
        (stand.set("v1").spec.replicas, stand.set("v2").spec.replicas),
        (3, 0)
    );
    assert_eq!(
        (
            stand.set("v1").annotations()[labels::REVISION].as_str(),
            stand.set("v2").annotations()[labels::REVISION].as_str()
        ),
        ("3", "2")
    );
    assert_eq!(stand.o.deployment.annotations()[labels::REVISION], "3");
}

#[test]
fn history_is_kept_as_long_as_it_is_asked_for() {
    let mut stand = Stand::running(1);
    stand.version("v2").settle();
    stand.take_told();
    let third = stand.version("v3");
    third.settle();
    assert_eq!(third.take_told().last().unwrap(), "delete v1");
    assert_eq!(third.o.sets.len(), 2);
    // A set whose last machine is still leaving stays; somebody has to look again.
    third.o.leaving = std::iter::once(third.set("v2").name_any()).collect();
    third.spec(&json!({ "revisionHistoryLimit": 0 }));
    let p = third.look();
    assert_eq!((third.o.sets.len(), p.requeue), (2, Requeue::After(LOOK)));
    third.o.leaving.clear();
    third.look();
    assert_eq!(third.o.sets.len(), 1, "the current one is never removed");
}

#[test]
fn what_does_not_make_another_machine_goes_to_the_set_in_place() {
    let mut stand = Stand::running(3);
    let set = stand.set("v1").clone();
    stand.spec(&json!({
        "minReadySeconds": 5,
        "strategy": { "rollingUpdate": { "deletePolicy": "Oldest" } },
        "template": {
            "metadata": { "labels": { "tier": "b" }, "annotations": { "note": "x" } },
            "spec": { "nodeDrainTimeout": "5m", "taints": [{ "key": "a", "effect": "NoSchedule" }] },
        },
    }));
    let p = stand.look();
    assert_eq!(p.effects.len(), 1, "one write: {:?}", p.effects);
    let changed = stand.set("v1");
    assert_eq!(changed.name_any(), set.name_any());
    assert_eq!(
        (
            changed.spec.min_ready_seconds,
            changed.spec.delete_policy.as_deref()
        ),
        (Some(5), Some("Oldest"))
    );
    let template = &changed.spec.template;
    assert_eq!(template.metadata.labels["tier"], "b");
    assert_eq!(
        template.metadata.labels[labels::TEMPLATE_HASH],
        set.labels()[labels::TEMPLATE_HASH]
    );
    assert_eq!(template.spec.taints.len(), 1);
    stand.spec(&json!({ "template": { "metadata": { "labels": { "tier": null } }, "spec": { "taints": null } } })).look();
    let template = &stand.set("v1").spec.template;
    assert!(!template.metadata.labels.contains_key("tier") && template.spec.taints.is_empty());
}

#[test]
fn timeouts_reach_old_machines_that_are_to_go() {
    let mut stand = Stand::running(3);
    stand.version("v2").look();
    stand.spec(&json!({ "template": { "spec": { "nodeDrainTimeout": "1m" }, "metadata": { "labels": { "a": "b" } } } })).look();
    let old = &stand.set("v1").spec.template;
    assert!(old.spec.node_drain_timeout.is_some());
    assert!(!old.metadata.labels.contains_key("a"));
}

#[test]
fn restart_replaces_all_machines() {
    let mut stand = Stand::running(2);
    stand.spec(&json!({ "template": { "metadata": { "annotations": { labels::RESTARTED_AT: "2026-11-20T12:00:00Z" } } } }));
    stand.settle();
    assert_eq!(stand.o.sets.len(), 2);
    assert_eq!(
        stand.o.sets.iter().map(|s| s.spec.replicas).collect::<Vec<_>>(),
        [0, 2]
    );
    assert!(
        stand.o.sets[1]
            .spec
            .template
            .metadata
            .annotations
            .contains_key(labels::RESTARTED_AT)
    );
}

#[test]
fn while_it_is_paused_nothing_moves_but_the_number_of_machines() {
    let mut stand = Stand::running(3);
    stand.spec(&json!({ "paused": true })).version("v2").look();
    assert_eq!((stand.o.sets.len(), stand.take_told()), (1, vec![]));
    assert_eq!(stand.condition("Progressing").1, "DeploymentPaused");
    stand.wait(10_000);
    let p = stand.look();
    assert_eq!(
        (names(&p), p.requeue),
        (Vec::<String>::new(), Requeue::OnChange),
        "no deadline runs"
    );
    stand.spec(&json!({ "replicas": 5 })).settle();
    assert_eq!(stand.take_told(), ["scaled up MachineSet v1 from 3 to 5"]);
    assert_eq!(stand.condition("Ready").0, "True");
    stand.spec(&json!({ "paused": false })).look();
    assert_eq!(stand.take_told(), ["scaled up MachineSet v2 from 0 to 1"]);
    assert_eq!(
        stand.status().last_progress_time,
        Some(Time(stand.now)),
        "the clock begins anew"
    );
    stand.spec(&json!({ "paused": true })).settle();
    assert_eq!(stand.take_told(), Vec::<String>::new());
}

#[test]
fn more_machines_in_the_middle_of_a_roll_out_are_shared() {
    let mut stand = Stand::running(10);
    stand
        .spec(&json!({ "strategy": { "rollingUpdate": { "maxSurge": 2 } } }))
        .settle();
    stand.version("v2").look();
    stand.follow(2);
    stand.look();
    stand.take_told();
    stand.spec(&json!({ "replicas": 20 })).look();
    assert_eq!(
        stand.take_told(),
        [
            "scaled up MachineSet v1 from 10 to 18",
            "scaled up MachineSet v2 from 2 to 4"
        ]
    );
    stand.follow(4);
    stand.look();
    assert_eq!(stand.take_told(), Vec::<String>::new());
    stand.settle();
    assert_eq!(
        (stand.set("v1").spec.replicas, stand.set("v2").spec.replicas),
        (0, 20)
    );
}

#[test]
fn a_deadline_passes_once_and_a_useless_old_machine_goes_then() {
    let mut stand = Stand::running(3);
    stand.version("v2").look();
    stand.follow(1);
    stand.wait(10);
    stand.look();
    stand.take_told();
    // An old machine breaks, too.
    say(Arc::make_mut(&mut stand.o.sets[0]), 3, 2);
    stand.wait(599);
    let p = stand.look();
    assert!(p.effects.is_empty());
    assert!(
        matches!(p.requeue, Requeue::After(wait) if wait == SignedDuration::from_secs(1)),
        "{:?}",
        p.requeue
    );
    stand.wait(1);
    let p = stand.look();
    let told = stand.take_told();
    assert_eq!(told[0], "scaled down MachineSet v1 from 3 to 2");
    assert!(told[1].starts_with("no progress for 10m0s (spec.progressDeadlineSeconds): 1 machine of MachineSet v2 is not available yet; "), "{told:?}");
    assert_eq!(
        (p.requeue, stand.condition("Progressing").1.as_str()),
        (Requeue::OnChange, "ProgressDeadlineExceeded")
    );
    assert_eq!(stand.status().phase.as_deref(), Some("Failed"));
    stand.look();
    assert_eq!(
        stand.take_told(),
        ["scaled up MachineSet v2 from 1 to 2"],
        "another machine gets a chance"
    );
    stand.look();
    assert_eq!(
        stand.take_told(),
        Vec::<String>::new(),
        "it is told once, and one machine goes"
    );
    // The old set has done it: that is progress.
    say(Arc::make_mut(&mut stand.o.sets[0]), 2, 2);
    stand.look();
    assert_eq!(stand.condition("Progressing").1, "MachineSetUpdated");
    stand.settle();
    assert_eq!(stand.condition("Progressing").1, "NewMachineSetAvailable");
}

#[test]
fn what_fails_after_a_roll_out_is_no_matter_of_its_deadline() {
    let mut stand = Stand::running(3);
    stand.follow(1);
    stand.look();
    stand.wait(10_000);
    let p = stand.look();
    assert_eq!(
        (stand.condition("Progressing").1.as_str(), p.requeue),
        ("NewMachineSetAvailable", Requeue::OnChange)
    );
    assert_eq!(
        stand.condition("Ready"),
        (
            "False".into(),
            "WaitingForMachines".into(),
            "1 machine of MachineSet v1 is not available yet".into()
        )
    );
    assert_eq!(stand.condition("Available").0, "False");
}

#[test]
fn on_delete_the_user_decides_and_no_deadline_runs() {
    let mut stand = Stand::running(3);
    stand
        .spec(&json!({ "strategy": { "type": "OnDelete" } }))
        .version("v2")
        .settle();
    assert_eq!(stand.take_told(), Vec::<String>::new());
    assert_eq!(
        stand.set("v1").annotations()[labels::DISABLE_MACHINE_CREATE],
        "true"
    );
    assert_eq!(
        stand.condition("Ready"),
        (
            "True".into(),
            "Ready".into(),
            "3 machines of MachineSet v1 stay until somebody deletes them".into()
        )
    );
    stand.wait(10_000);
    assert_eq!(stand.look().requeue, Requeue::OnChange);
    for expected in [("3 to 2", "0 to 1"), ("2 to 1", "1 to 2"), ("1 to 0", "2 to 3")] {
        let old = stand.o.sets[0].spec.replicas - 1;
        say(Arc::make_mut(&mut stand.o.sets[0]), old, old);
        stand.look();
        let (down, up) = expected;
        let mut told = stand.take_told();
        told.sort();
        assert_eq!(
            told,
            [
                format!("scaled down MachineSet v1 from {down}"),
                format!("scaled up MachineSet v2 from {up}")
            ]
        );
        stand.follow(0);
    }
    stand.settle();
    assert_eq!(stand.condition("Progressing").1, "NewMachineSetAvailable");
    // Back again: the old set may make machines, now that it is the current one.
    stand.version("v1").look();
    assert!(
        !stand
            .set("v1")
            .annotations()
            .contains_key(labels::DISABLE_MACHINE_CREATE)
    );
    assert_eq!(
        stand.set("v2").annotations()[labels::DISABLE_MACHINE_CREATE],
        "true"
    );
}

#[test]
fn a_spec_that_can_not_be_used_moves_nothing_and_is_told_once() {
    let mut stand = Stand::running(3);
    stand
        .spec(&json!({ "selector": { "matchLabels": { "pool": "other" } } }))
        .version("v2")
        .look();
    let why = "spec.selector: it does not match the labels in spec.template.metadata.labels";
    assert_eq!(stand.take_told(), [why]);
    assert_eq!(
        stand.condition("Ready"),
        ("False".into(), "InvalidSpec".into(), why.into())
    );
    assert_eq!(
        (stand.status().phase.as_deref(), stand.status().replicas),
        (Some("Failed"), 3)
    );
    let p = stand.look();
    assert!(p.effects.is_empty() && stand.o.sets.len() == 1);
    stand
        .spec(&json!({ "selector": { "matchLabels": { "pool": "web" } } }))
        .settle();
    assert_eq!(stand.condition("Ready").0, "True");
    assert_eq!(stand.set("v2").spec.replicas, 3);
}

#[test]
fn a_name_that_another_set_bears_is_left_to_it() {
    let mut stand = Stand::new(2);
    let all: Vec<String> = template::names(&stand.o.deployment)
        .map(|(name, _)| name)
        .collect();
    stand.o.taken = all[..2].iter().cloned().collect();
    stand.look();
    assert_eq!(stand.o.sets[0].name_any(), all[2]);
    let mut stand = Stand::new(2);
    stand.o.taken = all.into_iter().collect();
    stand.look();
    assert!(stand.take_told()[0].starts_with("metadata.name: other MachineSets bear all 16 names"));
}

#[test]
fn sets_that_nobody_controls_are_taken() {
    let mut stand = Stand::running(3);
    let mut orphan = (*stand.o.sets.remove(0)).clone();
    orphan.metadata.owner_references = None;
    orphan.metadata.resource_version = Some("7".into());
    stand.o.orphans = vec![Arc::new(orphan.clone())];
    let p = plan(&stand.o, stand.now);
    let [Effect::Patch { patch, .. }, Effect::Emit(notice)] = &p.effects[..] else {
        panic!("{p:?}")
    };
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "uid-web");
    assert_eq!(notice.reason, "SuccessfulAdopt");
    // It is the one of the wanted template.
    stand.o.orphans.clear();
    stand.o.sets = vec![Arc::new(orphan)];
    stand.settle();
    assert_eq!(stand.o.sets.len(), 1);
}

#[test]
fn what_a_change_was_made_for_is_remembered() {
    let mut stand = Stand::running(1);
    let deployment = Arc::make_mut(&mut stand.o.deployment);
    deployment
        .annotations_mut()
        .insert(labels::CHANGE_CAUSE.into(), "a new image".into());
    stand.version("v2").look();
    assert_eq!(stand.set("v2").annotations()[labels::CHANGE_CAUSE], "a new image");
    assert!(!stand.set("v1").annotations().contains_key(labels::CHANGE_CAUSE));
}

#[test]
fn a_deployment_that_goes_does_nothing() {
    let mut stand = Stand::running(3);
    Arc::make_mut(&mut stand.o.deployment).metadata.deletion_timestamp = Some(Time(stand.now));
    stand.version("v2");
    assert_eq!(plan(&stand.o, stand.now), Plan::nothing());
}
