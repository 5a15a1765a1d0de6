//! When Failed Machines are replaced (`spec.replaceFailed`). Pure.
//!
//! One fifth of the set at a time, at least one machine. When no machine came up since the last replacement, the next one waits:
//! 10 s, 20 s, 40 s … ten minutes. What is counted stands in the status, so a restart begins where it was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    observe::{Member, Observed},
    status::healthy_since,
    template,
};
use crate::{
    api::v1alpha1::{Machine, MachinePhase},
    time::{SignedDuration, Timestamp},
};

/// One part in this many of a set may be on its way out for having failed.
const SHARE: usize = 5;
/// The first pause, in seconds; each one after it is twice as long.
const FIRST_PAUSE: i64 = 10;
/// The longest pause, in seconds.
const LONGEST_PAUSE: i64 = 600;

/// What follows for Failed Machines.
#[derive(Debug, Clone, Default)]
pub(super) struct Replacement {
    /// Machines that go.
    pub(super) victims: Vec<Member>,
    /// How often in a row machines were replaced without one coming up.
    pub(super) times: Option<i32>,
    /// When machines were last replaced.
    pub(super) last: Option<Time>,
    /// When to look again, if something waits.
    pub(super) wait: Option<SignedDuration>,
}

/// Whether a Machine can't come to be.
pub(super) fn has_failed(machine: &Machine) -> bool {
    machine.status.as_ref().is_some_and(|s| {
        s.failure_reason.is_some()
            || s.failure_message.is_some()
            || s.phase.as_deref() == Some(MachinePhase::Failed.as_str())
    })
}

/// Says which Failed Machines go now. `staying` are those that nothing else has been decided about.
pub(super) fn replace(o: &Observed, staying: &[Member], now: Timestamp) -> Replacement {
    let status = o.set.status.as_ref();
    let last = status.and_then(|s| s.last_failed_replacement.clone());
    let times = status.and_then(|s| s.failed_replacements).unwrap_or_default();
    let kept = Replacement {
        times: (times > 0).then_some(times),
        last: last.clone(),
        ..Replacement::default()
    };
    if o.set.spec.replace_failed != Some(true) {
        return Replacement::default();
    }
    let failed: Vec<&Member> = staying.iter().filter(|m| has_failed(&m.machine)).collect();
    let going = o
        .members
        .iter()
        .filter(|m| m.leaving && has_failed(&m.machine))
        .count();
    let room = (template::desired(&o.set) / SHARE).max(1).saturating_sub(going);
    if failed.is_empty() || room == 0 {
        return kept;
    }
    let came_up = last.as_ref().is_some_and(|last| {
        staying
            .iter()
            .any(|m| healthy_since(&m.machine).is_some_and(|since| since >= last.0))
    });
    let times = if came_up { 0 } else { times };
    let due = last.as_ref().map_or(now, |last| last.0 + pause(times));
    if now < due {
        return Replacement {
            wait: Some(due.duration_since(now)),
            ..kept
        };
    }
    Replacement {
        victims: failed.into_iter().take(room).cloned().collect(),
        times: Some(times.saturating_add(1)),
        last: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        wait: Some(pause(times.saturating_add(1))),
    }
}

fn pause(times: i32) -> SignedDuration {
    if times <= 0 {
        return SignedDuration::ZERO;
    }
    let doublings = u32::try_from(times - 1).unwrap_or_default().min(16);
    SignedDuration::from_secs((FIRST_PAUSE << doublings).min(LONGEST_PAUSE))
}

/// Names of Machines, the first few.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len() > SHOWN;
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more {
        text.push_str(", …");
    }
    text
}

/// The names of Machines.
pub(super) fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(|m| m.machine.name_any()).collect()
}
