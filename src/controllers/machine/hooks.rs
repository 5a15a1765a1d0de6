//! Lifecycle hooks of a Machine, and the conditions that tell of them. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::drain::some;
use crate::{
    api::{
        conditions::{self, Status, condition},
        v1alpha1::{LifecycleHook, Machine},
    },
    time::Timestamp,
};

/// Hooks that hold up the drain.
pub(crate) fn pre_drain(machine: &Machine) -> &[LifecycleHook] {
    machine
        .spec
        .lifecycle_hooks
        .as_ref()
        .map_or(&[], |h| h.pre_drain.as_slice())
}

/// Hooks that hold up the end of the host.
pub(crate) fn pre_terminate(machine: &Machine) -> &[LifecycleHook] {
    machine
        .spec
        .lifecycle_hooks
        .as_ref()
        .map_or(&[], |h| h.pre_terminate.as_slice())
}

/// The conditions `Drainable` and `Terminable` (`OpenShift`: False with reason `HookPresent` while there is a hook).
pub(super) fn conditions(machine: &Machine, generation: Option<i64>, now: Timestamp) -> [Condition; 2] {
    let judge = |type_: &str, what: &str, hooks: &[LifecycleHook]| {
        if hooks.is_empty() {
            return condition(type_, Status::True, "NoHooks", "", generation, now);
        }
        let message = format!("{what} waits for {}", told(hooks));
        condition(type_, Status::False, "HookPresent", message, generation, now)
    };
    [
        judge(conditions::DRAINABLE, "the drain", pre_drain(machine)),
        judge(
            conditions::TERMINABLE,
            "the end of the host",
            pre_terminate(machine),
        ),
    ]
}

/// Hooks in words: their names, and who takes them away.
pub(super) fn told(hooks: &[LifecycleHook]) -> String {
    let names: Vec<String> = hooks
        .iter()
        .map(|h| format!("{} of {}", h.name, h.owner))
        .collect();
    let noun = if hooks.len() == 1 { "hook" } else { "hooks" };
    format!("{noun} {}", some(&names))
}
