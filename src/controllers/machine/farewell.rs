//! What a Machine that goes says about itself, and which of it people are told by an Event. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::{
    hooks,
    observe::Observed,
    removal::Step,
    status::{finish, node_health},
};
use crate::{
    api::{conditions, v1alpha1::MachinePhase},
    controllers::effect::Notice,
    time::Timestamp,
};

/// The whole status: a machine that goes is not ready, whatever else is so, and no longer failed.
pub(super) fn status(o: &Observed, step: &Step, more: Vec<Condition>, now: Timestamp) -> Value {
    let mut s = o.machine.status.clone().unwrap_or_default();
    let generation = o.machine.metadata.generation;
    s.phase = Some(MachinePhase::Terminating.as_str().to_owned());
    s.observed_generation = generation;
    (s.failure_reason, s.failure_message) = (None, None);
    let mut list = more;
    list.extend(hooks::conditions(&o.machine, generation, now));
    list.push(node_health(o, &s, now));
    let mut value = finish(s, list, now);
    if let Some(ready) = value["conditions"]
        .as_array_mut()
        .and_then(|list| list.iter_mut().find(|c| c["type"] == conditions::READY))
    {
        ready["status"] = json!("False");
        ready["reason"] = json!(step.reason);
        ready["message"] = json!(step.message);
    }
    value
}

/// The Event about a step, if the machine was not at it before.
pub(super) fn notice(o: &Observed, step: &Step) -> Option<Notice> {
    let status = o.machine.status.as_ref();
    let ready = status.and_then(|s| conditions::find(&s.conditions, conditions::READY));
    if ready.is_some_and(|c| c.reason == step.reason) {
        return None;
    }
    let message = step.message.clone();
    Some(match step.reason {
        "LastControlPlane" => Notice::warning("DeletionBlocked", message),
        // Reasons of OpenShift.
        "PreDrainHook" | "WaitingForTurn" => Notice::normal("DrainBlocked", message),
        "DrainSkipped" => Notice::normal("DrainSkipped", message),
        "Draining" => Notice::normal("DrainProceeds", message),
        // Reasons of Cluster API.
        "Drained" => Notice::normal("SuccessfulDrainNode", message),
        "EvictionBlocked" | "EvictionFailed" | "DrainTimedOut" | "Unreachable" => {
            Notice::warning("FailedDrainNode", message)
        }
        "VolumesDetached" => Notice::normal("NodeVolumesDetached", message),
        "WaitingForVolumeDetach" => Notice::normal("WaitingForVolumeDetach", message),
        "VolumeDetachTimedOut" => Notice::warning("FailedWaitForVolumeDetach", message),
        "PreTerminateHook" => Notice::normal("TerminationBlocked", message),
        _ => return None,
    })
}
