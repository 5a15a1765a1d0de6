//! How far the machines of a cluster or of a group are, in words. Pure.

use std::fmt::Write;

use serde_json::Value;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{
    conditions,
    v1alpha1::{Cluster, Machine, MachinePhase},
};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All machines run, and the API server answers.
    Done,
    /// Not yet; says how far.
    Waiting(String),
    /// A machine failed for good.
    Failed {
        /// The machine.
        machine: String,
        /// Why.
        message: String,
    },
}

/// Judges the machines of a cluster. `wanted` says how many there should be. `cluster` is left out for single machines.
pub(crate) fn judge(cluster: Option<&Cluster>, machines: &[Machine], wanted: usize) -> Progress {
    if let Some((machine, message)) = machines.iter().find_map(failure) {
        return Progress::Failed { machine, message };
    }
    let running = machines.iter().filter(|m| is_running(m)).count();
    let status = cluster.and_then(|c| c.status.as_ref());
    let answers = cluster.is_none() || status.is_some_and(|s| s.control_plane_ready);
    if running >= wanted && answers {
        return Progress::Done;
    }
    let mut text = if wanted == 1 {
        String::new()
    } else {
        format!("{running} of {wanted} machines run")
    };
    let slow = machines.iter().find(|m| !is_running(m));
    let reason = slow
        .and_then(|m| trouble(m).map(|t| format!("{}: {t}", name(m))))
        .or_else(|| (!answers && slow.is_none()).then(|| "waiting for the API server".to_owned()));
    if let Some(reason) = reason {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&reason);
    }
    Progress::Waiting(text)
}

/// Judges a group of machines by its own fields, and by those of its machines that are known. One that failed ends the wait only when no
/// other one is on its way and nobody replaces it.
pub(crate) fn judge_group(group: &Value, generation: Option<i64>, machines: &[Machine]) -> Progress {
    let number = |pointer: &str| group.pointer(pointer).and_then(Value::as_i64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    let count = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
    let (there, ready) = (count("replicas"), count("readyReplicas"));
    // Sets have no such count: all their machines are of one template.
    let updated = number("/status/updatedReplicas").unwrap_or(there);
    let seen = number("/status/observedGeneration") >= generation;
    if seen && there == wanted && ready >= wanted && updated >= wanted {
        return Progress::Done;
    }
    let failed = machines.iter().find_map(failure);
    let on_its_way = machines.iter().any(|m| !is_running(m) && failure(m).is_none());
    let replaced = group.pointer("/spec/replaceFailed") == Some(&Value::Bool(true));
    if let Some((machine, message)) = failed.filter(|_| seen && !on_its_way && !replaced && there >= wanted) {
        return Progress::Failed { machine, message };
    }
    let mut text = format!("{} of {wanted} machines run", ready.min(wanted));
    if there > wanted {
        let _infallible = write!(text, "; {} are to go", there - wanted);
    } else if updated < wanted && updated < there {
        let _infallible = write!(text, "; {updated} are of the new template");
    }
    let slow = machines.iter().find(|m| !is_running(m));
    let reason = slow
        .and_then(|m| trouble(m).map(|t| format!("{}: {t}", name(m))))
        .or_else(|| complaint(group));
    if let Some(reason) = reason {
        text.push_str("; ");
        text.push_str(&reason);
    }
    Progress::Waiting(text)
}

/// How many machines are on their way out, and what holds up the first; nothing if none is.
pub(crate) fn leaving(machines: &[Machine]) -> Option<String> {
    let all = || {
        machines
            .iter()
            .filter(|m| m.metadata.deletion_timestamp.is_some())
    };
    let first = all().next()?;
    let count = all().count();
    let ready = |m: &Machine| -> Option<String> {
        let list = &m.status.as_ref()?.conditions;
        let ready = conditions::find(list, conditions::READY).filter(|c| c.status != "True")?;
        Some(ready.message.clone()).filter(|text| !text.is_empty())
    };
    let mut text = if count == 1 {
        "1 machine is on its way out".to_owned()
    } else {
        format!("{count} machines are on their way out")
    };
    if let Some(reason) = ready(first) {
        let _infallible = write!(text, "; {}: {reason}", name(first));
    }
    Some(text)
}

/// Why a machine failed, with its name.
fn failure(machine: &Machine) -> Option<(String, String)> {
    let status = machine.status.as_ref()?;
    let failed =
        status.phase.as_deref() == Some(MachinePhase::Failed.as_str()) || status.failure_reason.is_some();
    let why = status
        .failure_message
        .clone()
        .or_else(|| status.failure_reason.clone());
    failed.then(|| {
        (
            name(machine).to_owned(),
            why.unwrap_or_else(|| "no reason is given".to_owned()),
        )
    })
}

/// What a group itself says is wrong: the message of the first of its conditions that is False and has one.
fn complaint(group: &Value) -> Option<String> {
    let list = group.pointer("/status/conditions")?.as_array()?;
    let bad = list.iter().filter(|c| c["status"] == "False");
    bad.filter_map(|c| c["message"].as_str())
        .find(|m| !m.is_empty())
        .map(str::to_owned)
}

fn name(machine: &Machine) -> &str {
    machine.metadata.name.as_deref().unwrap_or_default()
}

fn is_running(machine: &Machine) -> bool {
    let phase = machine.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some(MachinePhase::Running.as_str())
}

/// The step at which a machine that goes is, as its Ready condition says: pods that are left, the budget that blocks, hooks.
pub(crate) fn farewell(conditions: &[Condition]) -> Option<String> {
    let ready = conditions::find(conditions, conditions::READY)?;
    let going = ready.status == "False";
    let text = if ready.message.is_empty() {
        &ready.reason
    } else {
        &ready.message
    };
    going.then(|| text.clone())
}

/// What a machine waits for: the first of its conditions that is not so.
fn trouble(machine: &Machine) -> Option<String> {
    let status = machine.status.as_ref()?;
    [
        conditions::BOOTSTRAP_READY,
        conditions::INFRASTRUCTURE_READY,
        conditions::NODE_HEALTHY,
    ]
    .iter()
    .filter_map(|type_| conditions::find(&status.conditions, type_))
    .find(|c| c.status != "True")
    .map(|c| {
        if c.message.is_empty() {
            c.reason.clone()
        } else {
            c.message.clone()
        }
    })
    .or_else(|| status.phase.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::v1alpha1::{ClusterSpec, ClusterStatus, MachineSpec, MachineStatus},
        time::Timestamp,
    };

    fn machine(name: &str, phase: MachinePhase) -> Machine {
        let mut machine = Machine::new(name, MachineSpec::default());
        machine.status = Some(MachineStatus {
            phase: Some(phase.as_str().into()),
            ..MachineStatus::default()
        });
        machine
    }

    fn cluster(ready: bool) -> Cluster {
        let mut cluster = Cluster::new("c", ClusterSpec::default());
        cluster.status = Some(ClusterStatus {
            control_plane_ready: ready,
            ..ClusterStatus::default()
        });
        cluster
    }

    #[test]
    fn it_is_done_when_all_run_and_the_api_server_answers() {
        let both = [
            machine("a", MachinePhase::Running),
            machine("b", MachinePhase::Running),
        ];
        assert_eq!(judge(Some(&cluster(true)), &both, 2), Progress::Done);
        assert_eq!(
            judge(Some(&cluster(false)), &both, 2),
            Progress::Waiting("2 of 2 machines run; waiting for the API server".into())
        );
        assert_eq!(judge(None, &both[..1], 1), Progress::Done);
    }

    #[test]
    fn what_a_machine_waits_for_is_told() {
        let mut slow = machine("b", MachinePhase::Provisioning);
        let condition = conditions::condition(
            conditions::INFRASTRUCTURE_READY,
            conditions::Status::False,
            "Booting",
            "pulling the image",
            None,
            Timestamp::UNIX_EPOCH,
        );
        slow.status.as_mut().unwrap().conditions.push(condition);
        let machines = [machine("a", MachinePhase::Running), slow];
        assert_eq!(
            judge(None, &machines, 2),
            Progress::Waiting("1 of 2 machines run; b: pulling the image".into())
        );
    }

    #[test]
    fn a_failed_machine_ends_the_wait() {
        let mut bad = machine("b", MachinePhase::Failed);
        bad.status.as_mut().unwrap().failure_message = Some("no such image".into());
        assert_eq!(
            judge(None, &[bad], 1),
            Progress::Failed {
                machine: "b".into(),
                message: "no such image".into()
            }
        );
    }

    fn group(wanted: i64, there: i64, ready: i64) -> Value {
        serde_json::json!({
            "spec": { "replicas": wanted },
            "status": { "replicas": there, "readyReplicas": ready, "observedGeneration": 2 },
        })
    }

    #[test]
    fn a_group_is_done_when_it_was_seen_and_has_its_size() {
        assert_eq!(judge_group(&group(3, 3, 3), Some(2), &[]), Progress::Done);
        assert_eq!(judge_group(&group(0, 0, 0), Some(2), &[]), Progress::Done);
        for (group, generation, text) in [
            (group(3, 3, 3), 3, "3 of 3 machines run"),
            (group(3, 2, 1), 2, "1 of 3 machines run"),
            (group(1, 3, 3), 2, "1 of 1 machines run; 2 are to go"),
        ] {
            assert_eq!(
                judge_group(&group, Some(generation), &[]),
                Progress::Waiting(text.to_owned())
            );
        }
        let mut rolling = group(3, 3, 3);
        rolling["status"]["updatedReplicas"] = 1.into();
        assert_eq!(
            judge_group(&rolling, Some(2), &[]),
            Progress::Waiting("3 of 3 machines run; 1 are of the new template".to_owned())
        );
    }

    #[test]
    fn a_failed_machine_ends_the_wait_for_a_group_when_nothing_else_is_on_its_way() {
        let mut failed = machine("a", MachinePhase::Failed);
        failed.status.as_mut().unwrap().failure_message = Some("no image".to_owned());
        let running = machine("b", MachinePhase::Running);
        let pending = machine("c", MachinePhase::Pending);
        let three = [failed.clone(), running.clone(), pending];
        assert!(matches!(
            judge_group(&group(3, 3, 1), Some(2), &three),
            Progress::Waiting(_)
        ));
        let two = [failed, running];
        assert_eq!(
            judge_group(&group(2, 2, 1), Some(2), &two),
            Progress::Failed {
                machine: "a".to_owned(),
                message: "no image".to_owned()
            }
        );
        let mut replaced = group(2, 2, 1);
        replaced["spec"]["replaceFailed"] = true.into();
        assert!(matches!(
            judge_group(&replaced, Some(2), &two),
            Progress::Waiting(_)
        ));
    }

    #[test]
    fn a_group_that_can_not_begin_says_why() {
        let mut stuck = group(2, 0, 0);
        stuck["status"]["conditions"] = serde_json::json!([
            { "type": "MachinesCreated", "status": "False", "reason": "X", "message": "no template" }
        ]);
        assert_eq!(
            judge_group(&stuck, Some(2), &[]),
            Progress::Waiting("0 of 2 machines run; no template".to_owned())
        );
    }
}
