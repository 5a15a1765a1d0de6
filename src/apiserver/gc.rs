//! Garbage collection: dependents go when their owners have gone, in the background, before them in the foreground,
//! or not at all. It must not poll: it acts on what a write or a removal leads to.

use std::sync::Arc;

use serde_json::Value;

use super::handlers::delete;
use super::object::meta::{self, FOREGROUND, ORPHAN};
use super::store::{Change, Expect, Key, Stored, Uid};
use super::{CRDS, NAMESPACES, Server};

/// Finalizer of a custom resource definition whose objects must go first.
pub(super) const CRD_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// When no more than this many are left of what must go first, each that goes is a reason to see to all others again, so that none is
/// forgotten. Before that it would make a removal of thousands cost the square of their number.
pub(super) const FEW: usize = 64;

/// The uid in a reference to an owner.
fn uid(owner: &Value) -> Uid {
    Uid::of(owner.get("uid").and_then(Value::as_str).unwrap_or_default())
}

impl Server {
    pub(super) fn after_write(&self, stored: &Arc<Stored>) {
        if stored.deleting {
            if &*stored.key.resource == NAMESPACES {
                self.spawn_empty_namespace(&stored.key.name);
            }
            self.spawn(
                |server, stored| async move { server.work_off_finalizers(&stored, true).await },
                stored,
            );
        }
        for owner in &stored.owners {
            if self.store().find_uid(*owner).is_none() {
                self.spawn_collect(*owner);
            }
        }
        // A dependent that no longer blocks its owner may be what the owner waits for; one that comes late has not been told to go.
        self.wake_owners(stored, !stored.deleting);
    }

    pub(super) fn after_removal(&self, stored: &Arc<Stored>) {
        if !self.store().some_dependents(stored.uid, None, 1).is_empty() {
            self.spawn_collect(stored.uid);
        }
        self.wake_owners(stored, false);
        let namespace = &stored.key.namespace;
        if !namespace.is_empty()
            && self
                .store()
                .get(NAMESPACES, "", namespace)
                .is_some_and(|n| n.deleting)
            && self.store().count_in_namespace(namespace) <= FEW
        {
            self.spawn_empty_namespace(namespace);
        }
    }

    /// Starts the removal of all objects of a definition that is being removed. kube-apiserver does that itself, without any
    /// controller manager.
    pub(super) fn empty_if_definition(&self, stored: &Arc<Stored>) {
        if stored.deleting && &*stored.key.resource == CRDS {
            self.spawn(
                |server, stored| async move { server.empty_definition(&stored).await },
                stored,
            );
        }
    }

    /// Starts that anew when one of the last objects of such a definition has gone.
    pub(super) fn empty_definition_of(&self, stored: &Stored) {
        if let Some(name) = self
            .registry()
            .find_stored(&stored.key.resource)
            .and_then(|i| i.crd_name.clone())
            && let Some(definition) = self.store().get(CRDS, "", &name)
            && definition.deleting
            && self.store().count(&stored.key.resource) <= FEW
        {
            self.spawn(
                |server, stored| async move { server.empty_definition(&stored).await },
                &definition,
            );
        }
    }

    fn wake_owners(&self, stored: &Stored, is_late: bool) {
        for owner in &stored.owners {
            if let Some(owner) = self.store().find_uid(*owner).filter(|o| o.deleting) {
                self.spawn(
                    move |server, owner| async move {
                        let few = server.store().some_dependents(owner.uid, None, FEW + 1).len() <= FEW;
                        server.work_off_finalizers(&owner, few || is_late).await;
                    },
                    &owner,
                );
            }
        }
    }

    fn spawn<F>(&self, task: impl FnOnce(Self, Arc<Stored>) -> F, stored: &Arc<Stored>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(task(self.clone(), Arc::clone(stored)));
    }

    /// Starts looking after the dependents of an owner that is not there.
    pub(super) fn spawn_collect(&self, owner: Uid) {
        let server = self.clone();
        tokio::spawn(async move {
            for dependent in server.store().dependents(owner) {
                server.collect(&dependent.key).await;
            }
        });
    }

    /// Removes an object all of whose owners are gone; else takes the absent ones off it.
    async fn collect(&self, key: &Key) {
        while let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) {
            let Some((_, mut object)) = self.value_of(&stored) else {
                return;
            };
            let owners = meta::owners(&object);
            let (solid, absent): (Vec<Value>, Vec<Value>) = owners
                .iter()
                .cloned()
                .partition(|owner| self.is_solid(owner, &key.namespace));
            if absent.is_empty() {
                return;
            }
            if solid.is_empty() {
                if !stored.deleting {
                    delete::remove_in_background(self, &stored).await;
                }
                return;
            }
            meta::of_mut(&mut object).insert("ownerReferences".to_owned(), Value::Array(solid));
            if self
                .commit(key.clone(), Expect::Version(stored.version), Change::Put(object))
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    /// Says whether an owner is there, in the same namespace or in none.
    fn is_solid(&self, owner: &Value, namespace: &str) -> bool {
        self.store()
            .find_uid(uid(owner))
            .is_some_and(|o| o.key.namespace.is_empty() || &*o.key.namespace == namespace)
    }

    /// Does for an object that is being removed what its `orphan` or `foregroundDeletion` finalizer asks for; `all`: the dependents may not
    /// have been told to go yet.
    async fn work_off_finalizers(&self, stored: &Arc<Stored>, all: bool) {
        let key = &stored.key;
        let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) else {
            return;
        };
        let Some((_, object)) = self.value_of(&stored) else {
            return;
        };
        let finalizers = meta::finalizers(&object);
        if finalizers.contains(&ORPHAN) {
            for dependent in self.store().dependents(stored.uid) {
                self.disown(&dependent.key, stored.uid).await;
            }
            self.drop_finalizer(key, ORPHAN).await;
        } else if finalizers.contains(&FOREGROUND) {
            if all {
                for dependent in self.store().dependents(stored.uid) {
                    if !dependent.deleting {
                        delete::remove_in_foreground(self, &dependent).await;
                    }
                }
            }
            // Those that block bring us here again when they go.
            if !self.is_blocked(stored.uid) {
                self.drop_finalizer(key, FOREGROUND).await;
            }
        }
    }

    /// Says whether a dependent must go first. Mostly the first one that is asked must.
    fn is_blocked(&self, owner: Uid) -> bool {
        let mut last = None;
        loop {
            let some = self.store().some_dependents(owner, last, FEW);
            if some.iter().any(|dependent| self.blocks(dependent, owner)) {
                return true;
            }
            last = some.last().map(|dependent| dependent.uid);
            if last.is_none() {
                return false;
            }
        }
    }

    fn blocks(&self, dependent: &Stored, owner: Uid) -> bool {
        let Some((_, object)) = self.value_of(dependent) else {
            return false;
        };
        let mut of_owner = meta::owners(&object).iter().filter(|o| uid(o) == owner);
        of_owner.any(|o| o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true))
    }

    async fn disown(&self, key: &Key, owner: Uid) {
        while let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) {
            let Some((_, mut object)) = self.value_of(&stored) else {
                return;
            };
            let metadata = meta::of_mut(&mut object);
            if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                owners.retain(|o| uid(o) != owner);
                if owners.is_empty() {
                    metadata.remove("ownerReferences");
                }
            }
            if self
                .commit(key.clone(), Expect::Version(stored.version), Change::Put(object))
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    /// Takes a finalizer off an object; the object goes if it was the last one.
    pub(super) async fn drop_finalizer(&self, key: &Key, finalizer: &str) {
        while let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) {
            let Some((_, mut object)) = self.value_of(&stored) else {
                return;
            };
            let left: Vec<String> = meta::finalizers(&object)
                .into_iter()
                .filter(|f| *f != finalizer)
                .map(str::to_owned)
                .collect();
            if left.len() == meta::finalizers(&object).len() {
                return;
            }
            let before = object.clone();
            meta::set_finalizers(&mut object, &left);
            let change = if delete::is_done(&object) {
                Change::Delete(before)
            } else {
                Change::Put(object)
            };
            if self
                .commit(key.clone(), Expect::Version(stored.version), change)
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    /// Removes all objects of a custom resource definition that is being removed, then the definition.
    async fn empty_definition(&self, definition: &Arc<Stored>) {
        let resource = &definition.key.name;
        for object in self.store().list(resource, None).1 {
            if !object.deleting {
                delete::remove_in_background(self, &object).await;
            }
        }
        if self.store().count(resource) == 0 {
            self.drop_finalizer(&definition.key, CRD_CLEANUP).await;
        }
    }
}
