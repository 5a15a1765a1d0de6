//! Machines that this process made or deleted and that the watch has not told of yet, so that no set counts them wrong meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kube::{Api, Resource, ResourceExt, api::DynamicObject};
use serde::Deserialize;

use super::{World, lock};
use crate::{
    api::v1alpha1::Machine,
    controllers::{apply::within, cache::term, effect::ObjectKey, runtime::ReconcileError},
    time::{SignedDuration, Timestamp},
};

/// After this time the API server is asked whether a Machine that no watch told of exists.
const OVERDUE: SignedDuration = SignedDuration::from_secs(10);

/// A Machine by namespace and name.
type Name = (String, String);

#[derive(Default)]
pub(super) struct Expected {
    /// Machines that were made, by the UID of their controller.
    born: HashMap<String, BTreeMap<Name, Birth>>,
    /// Machines that were deleted, with their UIDs.
    leaving: HashMap<Name, String>,
}

struct Birth {
    machine: Arc<Machine>,
    at: Timestamp,
}

impl World {
    /// Remembers a Machine that was made.
    pub(crate) fn expect(&self, created: &DynamicObject) {
        let Some(machine) = created
            .types
            .as_ref()
            .filter(|types| types.kind == Machine::kind(&()))
            .and_then(|_| serde_json::to_value(created).ok())
            .and_then(|value| Machine::deserialize(&value).ok())
        else {
            return;
        };
        let Some(owner) = controller_uid(&machine) else {
            return;
        };
        let name = name_of(&machine);
        let birth = Birth {
            machine: Arc::new(machine),
            at: self.ctx.clock.now(),
        };
        lock(&self.expected)
            .born
            .entry(owner)
            .or_default()
            .insert(name.clone(), birth);
        // The watch may have been faster than the answer.
        if let Some(known) = self.machines.get(Some(&name.0), &name.1) {
            self.seen(&known);
        }
    }

    /// Remembers a Machine that was deleted.
    pub(crate) fn expect_gone(&self, key: &ObjectKey, uid: Option<&str>) {
        if key.resource.kind != Machine::kind(&()) {
            return;
        }
        let name = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        let known = self.machines.get(Some(&name.0), &name.1);
        let waits = known.filter(|m| {
            m.metadata.deletion_timestamp.is_none() && uid.is_none_or(|uid| m.uid().as_deref() == Some(uid))
        });
        if let Some(uid) = waits.and_then(|m| m.uid()) {
            lock(&self.expected).leaving.insert(name, uid);
        }
    }

    /// Forgets what the watch has told of.
    pub(super) fn seen(&self, machine: &Machine) {
        let name = name_of(machine);
        let leaves = machine.metadata.deletion_timestamp.is_some()
            || self.machines.get(Some(&name.0), &name.1).is_none();
        let mut expected = lock(&self.expected);
        if let Some(owner) = controller_uid(machine)
            && let Some(born) = expected.born.get_mut(&owner)
        {
            born.remove(&name);
            if born.is_empty() {
                expected.born.remove(&owner);
            }
        }
        if leaves
            || expected
                .leaving
                .get(&name)
                .is_some_and(|uid| machine.uid().as_ref() != Some(uid))
        {
            expected.leaving.remove(&name);
        }
    }

    /// Whether a Machine is on its way out, as far as anybody knows.
    pub(crate) fn is_leaving(&self, machine: &Machine) -> bool {
        if machine.metadata.deletion_timestamp.is_some() {
            return true;
        }
        let expected = lock(&self.expected);
        !expected.leaving.is_empty()
            && expected
                .leaving
                .get(&name_of(machine))
                .is_some_and(|uid| machine.uid().as_ref() == Some(uid))
    }

    /// All Machines that an object controls, those included that no watch has told of yet, by name. A Machine that has been expected for
    /// long is asked for: somebody may have removed it while the watch was broken.
    pub(crate) async fn controlled_machines(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<Arc<Machine>>, ReconcileError> {
        self.settle(namespace, uid).await?;
        // First what is expected: a Machine that the watch tells of in between is then found twice rather than never.
        let born: Vec<Arc<Machine>> = lock(&self.expected)
            .born
            .get(uid)
            .map(|all| all.values().map(|b| Arc::clone(&b.machine)).collect())
            .unwrap_or_default();
        let mut all = self.machines.find(&term::owner(uid));
        if born.is_empty() {
            return Ok(all);
        }
        all.extend(born);
        // Stable: what the watch has told of comes before what is only expected.
        all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        all.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        Ok(all)
    }

    async fn settle(&self, namespace: &str, uid: &str) -> Result<(), ReconcileError> {
        let now = self.ctx.clock.now();
        let overdue: Vec<Name> = lock(&self.expected)
            .born
            .get(uid)
            .map(|all| {
                all.iter()
                    .filter(|(_, birth)| now.duration_since(birth.at) > OVERDUE)
                    .map(|(name, _)| name.clone())
                    .collect()
            })
            .unwrap_or_default();
        if overdue.is_empty() {
            return Ok(());
        }
        let api: Api<Machine> = Api::namespaced(self.ctx.client.clone(), namespace);
        for name in overdue {
            let found = within(
                format!("reading Machine {}/{}", name.0, name.1),
                api.get_opt(&name.1),
            )
            .await?;
            let mut expected = lock(&self.expected);
            let Some(born) = expected.born.get_mut(uid) else {
                continue;
            };
            if found.is_none() {
                born.remove(&name);
            } else if let Some(birth) = born.get_mut(&name) {
                // It is there: the watch has time again.
                birth.at = now;
            }
        }
        Ok(())
    }
}

fn controller_uid(machine: &Machine) -> Option<String> {
    let owners = machine.owner_references();
    owners
        .iter()
        .find(|r| r.controller == Some(true))
        .map(|r| r.uid.clone())
}

fn name_of(machine: &Machine) -> Name {
    (machine.namespace().unwrap_or_default(), machine.name_any())
}
