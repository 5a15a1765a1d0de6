//! Whose turn it is among control-plane machines of a cluster that are to be drained: one at a time, the one deleted first goes first.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kube::ResourceExt;

use super::{hooks, observe::Observed};
use crate::{
    api::{conditions, labels, v1alpha1::Machine},
    time::Timestamp,
};

/// A control-plane machine that is drained or is to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Contender {
    deleted: Timestamp,
    name: String,
    /// Its drain is under way.
    begun: bool,
    /// It can't begin: hooks or a pause hold it up.
    held: bool,
}

impl Contender {
    /// Returns what a Machine is in this matter; nothing if it is not to be drained, or is already.
    pub(super) fn of(machine: &Machine) -> Option<Self> {
        let deleted = machine.metadata.deletion_timestamp.as_ref()?.0;
        let status = machine.status.as_ref()?;
        let drained = conditions::find(&status.conditions, conditions::DRAINED).map(|c| c.status.as_str());
        let annotated = |key| machine.annotations().contains_key(key);
        let takes_part = machine.is_control_plane()
            && status.node_ref.is_some()
            && drained != Some("True")
            && !annotated(labels::EXCLUDE_NODE_DRAINING);
        takes_part.then(|| Self {
            deleted,
            name: machine.name_any(),
            begun: drained == Some("False"),
            held: annotated(labels::PAUSED) || !hooks::pre_drain(machine).is_empty(),
        })
    }
}

/// Says whom a machine has to wait for: the holder of the turn, else whoever has begun, else whoever was deleted before it.
fn before<'a>(me: &str, contenders: &'a [Contender], holder: Option<&str>) -> Option<&'a str> {
    let others = || contenders.iter().filter(|c| c.name != me);
    let own = contenders.iter().find(|c| c.name == me)?;
    if holder == Some(me) {
        return None;
    }
    if let Some(holder) = others().find(|c| Some(c.name.as_str()) == holder) {
        return Some(&holder.name);
    }
    // Whoever has begun comes before those who have not.
    let rank = |c: &Contender| (!c.begun, c.deleted, c.name.clone());
    others()
        .filter(|c| c.begun || !c.held)
        .filter(|c| rank(c) < rank(own))
        .min_by_key(|c| rank(c))
        .map(|c| c.name.as_str())
}

/// Who is at it in each cluster. What the objects say lags behind what is done: two looks at the same time would both see that nobody has
/// begun.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, String>>);

impl Turns {
    /// Takes the turn of a cluster for a machine, or says who has it. It ends when its holder is no contender any more.
    pub(super) fn take(&self, cluster: &str, me: &str, contenders: &[Contender]) -> Option<String> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let who = before(me, contenders, turns.get(cluster).map(String::as_str)).map(str::to_owned);
        if who.is_none() && contenders.iter().any(|c| c.name == me) {
            turns.insert(cluster.to_owned(), me.to_owned());
        }
        who
    }
}

/// Takes the turn for a control-plane machine; returns who has it, if that is another one.
pub(super) fn turn_of(observed: &Observed, turns: &Turns) -> Option<String> {
    let machine = &observed.machine;
    let contenders: Vec<Contender> = observed
        .peers
        .iter()
        .chain([machine])
        .filter_map(|m| Contender::of(m))
        .collect();
    if !machine.is_control_plane() {
        return None;
    }
    let cluster = format!(
        "{}/{}",
        machine.namespace().unwrap_or_default(),
        machine.spec.cluster_name.as_deref().unwrap_or_default()
    );
    turns.take(&cluster, &machine.name_any(), &contenders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, deleted: i64, state: &str) -> Contender {
        Contender {
            deleted: Timestamp::from_second(deleted).unwrap(),
            name: name.to_owned(),
            begun: state == "begun",
            held: state == "held",
        }
    }

    #[test]
    fn d14_control_planes_are_drained_one_at_a_time_the_first_deleted_first() {
        let c = contender;
        let rows = [
            // Alone, whatever its state.
            ("a", vec![c("a", 1, "")], None, None),
            ("a", vec![c("a", 1, "begun")], None, None),
            // Two at once: the one deleted first, then by name.
            ("a", vec![c("a", 2, ""), c("b", 1, "")], None, Some("b")),
            ("b", vec![c("a", 2, ""), c("b", 1, "")], None, None),
            ("b", vec![c("a", 1, ""), c("b", 1, "")], None, Some("a")),
            // Whoever has begun goes on, also after a restart, which forgets who had the turn.
            ("a", vec![c("a", 1, ""), c("b", 2, "begun")], None, Some("b")),
            ("b", vec![c("a", 1, ""), c("b", 2, "begun")], None, None),
            ("b", vec![c("a", 1, "begun"), c("b", 2, "begun")], None, Some("a")),
            // One that hooks hold up does not hold the others up.
            ("b", vec![c("a", 1, "held"), c("b", 2, "")], None, None),
            // One that has the turn and has not said so yet.
            ("a", vec![c("a", 1, ""), c("b", 2, "")], Some("b"), Some("b")),
            ("a", vec![c("a", 1, ""), c("b", 2, "")], Some("gone"), None),
        ];
        for (i, (me, contenders, holder, expected)) in rows.into_iter().enumerate() {
            assert_eq!(before(me, &contenders, holder), expected, "row {i}");
        }
    }

    #[test]
    fn a_turn_is_taken_once_and_ends_with_its_holder() {
        let turns = Turns::default();
        // The hook of a goes between the two looks.
        assert_eq!(
            turns.take("c", "b", &[contender("a", 1, "held"), contender("b", 2, "")]),
            None
        );
        let both = [contender("a", 1, ""), contender("b", 2, "")];
        assert_eq!(turns.take("c", "a", &both), Some("b".to_owned()));
        assert_eq!(turns.take("other", "a", &both), None);
        assert_eq!(turns.take("c", "b", &both), None);
        assert_eq!(turns.take("c", "a", &both[..1]), None);
    }
}
