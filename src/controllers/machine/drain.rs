//! Which pods have to leave a Node, which of them are asked now, and what stands in the way. Pure; the controller and `machinectl drain` use
//! the same.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use super::status::ready_of;
use crate::{
    controllers::effect::PodKey,
    time::{SignedDuration, Timestamp},
};

/// A pod that was refused is not asked again before this time is over (kubectl: 5 s after a 429).
pub(crate) const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// This many pods are asked to leave in one look at most, so that a look stays short.
const AT_ONCE: usize = 50;
/// A Node is looked at this often at first, and this often when the drain takes long.
const LOOK: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_secs(20));
/// So many names are told of a group of pods; of the others only how many they are.
const NAMES: usize = 3;
/// Taint of a Node that is not heard of.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Grace that pods get on a Node whose kubelet is not heard of: nobody is there to use more (Cluster API, `OpenShift`: 1 s).
const UNHEARD_GRACE: u32 = 1;

/// What came of asking a pod to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes, or is gone.
    Leaves,
    /// Not now (429): a disruption budget says no. The text names it.
    Blocked(String),
    /// The API server refused for another reason.
    Failed(String),
}

/// A pod that was asked to leave and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// When it was asked.
    pub(crate) at: Timestamp,
    /// What was answered; never [`Answer::Leaves`].
    pub(crate) answer: Answer,
}

/// Refusals by the pod's UID.
pub(crate) type Refusals = BTreeMap<String, Refusal>;

/// What to do about a Node's pods, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Pods to ask now, in the order of their names.
    pub(crate) evict: Vec<PodKey>,
    /// Seconds that they get for their end; nothing: what each pod says itself.
    pub(crate) grace: Option<u32>,
    /// How it stands.
    pub(crate) progress: Progress,
    /// When to look again while anybody is left.
    pub(crate) look: SignedDuration,
}

/// What stands between a Node and its being drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    node: String,
    /// Pods that are asked now, or in the next look.
    waiting: usize,
    /// Names of pods by the reason for which they can't leave now.
    blocked: BTreeMap<String, Vec<String>>,
    /// Names of pods by what failed.
    failed: BTreeMap<String, Vec<String>>,
    /// Names of pods that come to their end.
    ending: Vec<String>,
}

/// Looks through the pods of a Node. `since` says for how long it has been drained.
///
/// Mirror pods and those of a `DaemonSet` stay. Everything else goes, as with `kubectl drain --force --ignore-daemonsets
/// --delete-emptydir-data`; of finished pods also those of a `DaemonSet`.
pub(crate) fn drain(
    node: &Node,
    pods: &[Pod],
    refusals: &Refusals,
    since: SignedDuration,
    now: Timestamp,
) -> Drain {
    let name = node.name_any();
    let unheard = is_unheard_of(node);
    let mut drain = Drain {
        evict: Vec::new(),
        grace: unheard.then_some(UNHEARD_GRACE),
        progress: Progress {
            node: name.clone(),
            ..Progress::default()
        },
        look: (since / 6).clamp(LOOK.0, LOOK.1),
    };
    let here = pods
        .iter()
        .filter(|p| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(&name));
    let progress = &mut drain.progress;
    for pod in here.filter(|p| !stays(p)) {
        let key = PodKey::of(pod);
        if unheard && (pod.metadata.deletion_timestamp.is_some() || has_had_its_time(pod, node, now)) {
            // Nobody is there who could bring it to its end; it goes with the Node.
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            progress.ending.push(key.to_string());
            continue;
        }
        let refusal = refusals.get(&key.uid);
        if let Some(refusal) = refusal.filter(|r| now.duration_since(r.at) < PAUSE) {
            let (list, why) = match &refusal.answer {
                Answer::Failed(why) => (&mut progress.failed, why),
                Answer::Blocked(why) => (&mut progress.blocked, why),
                Answer::Leaves => continue,
            };
            list.entry(why.clone()).or_default().push(key.to_string());
        } else {
            drain.evict.push(key);
        }
    }
    drain.evict.sort();
    progress.waiting = drain.evict.len();
    drain.evict.truncate(AT_ONCE);
    progress.ending.sort();
    for names in progress.blocked.values_mut().chain(progress.failed.values_mut()) {
        names.sort();
    }
    drain
}

/// Takes into account what pods were answered, so that the same look can tell of it: those that leave are ending from now on.
pub(crate) fn take(
    pods: &mut [Pod],
    refusals: &mut Refusals,
    answers: Vec<(PodKey, Answer)>,
    now: Timestamp,
) {
    for (key, answer) in answers {
        if answer != Answer::Leaves {
            refusals.insert(key.uid, Refusal { at: now, answer });
            continue;
        }
        let asked = pods
            .iter_mut()
            .find(|p| p.metadata.uid.as_ref() == Some(&key.uid));
        if let Some(pod) = asked {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }
}

/// Whether the kubelet of a Node is not heard of: its Ready condition is Unknown. `False` is a word of the kubelet, so it is there.
pub(crate) fn is_unheard_of(node: &Node) -> bool {
    ready_of(node).is_none_or(|(status, _)| status == "Unknown")
}

/// Whether a pod of a Node that is not heard of has been there for as long as it tolerates that. Kubernetes takes it away then, whatever
/// its budget says; should its taint be missing (kube-controller-manager 1.19 and 1.20 may forget it), nobody would, for ever.
fn has_had_its_time(pod: &Pod, node: &Node, now: Timestamp) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let since = conditions
        .filter(|c| c.type_ == "Ready")
        .find_map(|c| c.last_transition_time.as_ref());
    since
        .zip(tolerates_unreachable(pod))
        .is_some_and(|(since, time)| now.duration_since(since.0) >= time)
}

/// For how long a pod stays on a Node that is not heard of; nothing: for ever (kube-controller-manager: the shortest of its tolerations).
fn tolerates_unreachable(pod: &Pod) -> Option<SignedDuration> {
    let all = pod.spec.iter().flat_map(|s| s.tolerations.iter().flatten());
    let mut tolerating = all
        .filter(|t| match t.key.as_deref().unwrap_or_default() {
            "" => t.operator.as_deref() == Some("Exists"),
            key => key == UNREACHABLE,
        })
        .filter(|t| matches!(t.effect.as_deref(), None | Some("" | "NoExecute")))
        .filter(|t| {
            t.operator.as_deref() == Some("Exists") || t.value.as_deref().unwrap_or_default().is_empty()
        })
        .peekable();
    if tolerating.peek().is_none() {
        return Some(SignedDuration::ZERO);
    }
    let shortest = tolerating.filter_map(|t| t.toleration_seconds).min();
    shortest.map(|seconds| SignedDuration::from_secs(seconds.max(0)))
}

/// Pods that belong to the Node itself: static ones, and those of a `DaemonSet`, which would be there again at once.
pub(crate) fn stays(pod: &Pod) -> bool {
    if pod.annotations().contains_key("kubernetes.io/config.mirror") {
        return true;
    }
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let finished = matches!(phase, Some("Succeeded" | "Failed"));
    let daemon = pod
        .owner_references()
        .iter()
        .any(|r| r.controller == Some(true) && r.kind == "DaemonSet");
    daemon && !finished
}

impl Progress {
    /// Whether nobody is left.
    pub(crate) fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// How many pods are left.
    pub(crate) fn left(&self) -> usize {
        let of = |groups: &BTreeMap<String, Vec<String>>| groups.values().map(Vec::len).sum::<usize>();
        self.waiting + self.ending.len() + of(&self.blocked) + of(&self.failed)
    }

    /// Reason of the condition `Drained` while anybody is left.
    pub(crate) fn reason(&self) -> &'static str {
        if !self.failed.is_empty() {
            "EvictionFailed"
        } else if self.blocked.is_empty() {
            "Draining"
        } else {
            "EvictionBlocked"
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left() {
            0 => return write!(f, "no pods have to leave Node {}", self.node),
            1 => write!(f, "1 pod has to leave Node {}", self.node)?,
            left => write!(f, "{left} pods have to leave Node {}", self.node)?,
        }
        for (why, names) in &self.failed {
            write!(f, "; can't evict {}: {}", some(names), without_stop(why))?;
        }
        for (why, names) in &self.blocked {
            write!(f, "; blocked: {}: {}", some(names), without_stop(why))?;
        }
        if !self.ending.is_empty() {
            write!(f, "; ending: {}", some(&self.ending))?;
        }
        Ok(())
    }
}

fn without_stop(text: &str) -> &str {
    text.trim_end_matches('.')
}

/// The first few names, and how many more there are.
pub(crate) fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
