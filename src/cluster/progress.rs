//! How far the machines of a cluster are, in words. Pure.

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
    for machine in machines {
        if let Some(status) = &machine.status
            && (status.phase.as_deref() == Some(MachinePhase::Failed.as_str())
                || status.failure_reason.is_some())
        {
            let why = status
                .failure_message
                .clone()
                .or_else(|| status.failure_reason.clone());
            return Progress::Failed {
                machine: name(machine).to_owned(),
                message: why.unwrap_or_else(|| "no reason is given".to_owned()),
            };
        }
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

fn name(machine: &Machine) -> &str {
    machine.metadata.name.as_deref().unwrap_or_default()
}

fn is_running(machine: &Machine) -> bool {
    let phase = machine.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some(MachinePhase::Running.as_str())
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
}
