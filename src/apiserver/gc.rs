//! Garbage collection: dependents go when their owners have gone, in the background, before them in the foreground,
//! or not at all. It must not poll: it acts on what a write or a removal leads to.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::handlers::{Propagation, delete};
use super::object::meta::{self, FOREGROUND, ORPHAN};
use super::store::{Change, Expect, Key, Stored, Uid, WriteError};
use super::{CRDS, NAMESPACES, Server};

/// Finalizer of a custom resource definition whose objects must go first.
pub(super) const CRD_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// When no more than this many are left of what must go first, each that goes is a reason to see to all others again, so that none is
/// forgotten. Before that it would make a removal of thousands cost the square of their number.
pub(super) const FEW: usize = 64;

/// Objects that are looked after at once: they share the waits for the disk.
const AT_ONCE: usize = 64;

/// Owners that are remembered after they have gone.
const REMEMBERED: usize = 4096;

/// The owners that have gone of late, the oldest first, and whether they were in a namespace: their kind may go before their dependents
/// are looked after.
#[derive(Debug, Default)]
pub(super) struct Gone(Mutex<VecDeque<(Uid, bool)>>);

impl Gone {
    fn add(&self, owner: &Stored) {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.len() == REMEMBERED {
            gone.pop_front();
        }
        gone.push_back((owner.uid, !owner.key.namespace.is_empty()));
    }

    fn has(&self, owner: Uid, namespace: &str) -> bool {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gone.iter()
            .any(|(uid, namespaced)| *uid == owner && !(*namespaced && namespace.is_empty()))
    }
}

/// What becomes of an object when its owners go.
enum Fate {
    Stays,
    /// It stays, with these references.
    Keeps(Vec<Value>),
    Goes(Propagation),
}

/// The uid in a reference to an owner.
fn uid(owner: &Value) -> Uid {
    Uid::of(owner.get("uid").and_then(Value::as_str).unwrap_or_default())
}

/// Does something to many objects.
pub(super) async fn for_all<F: Future<Output = ()>>(
    objects: impl IntoIterator<Item = Arc<Stored>>,
    act: impl FnMut(Arc<Stored>) -> F,
) {
    stream::iter(objects).for_each_concurrent(AT_ONCE, act).await;
}

/// Says whether a write is worth another try: somebody else came first. What else fails would fail again at once.
pub(super) fn is_outrun<T>(outcome: &Result<T, WriteError>) -> bool {
    matches!(outcome, Err(WriteError::Conflict))
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
        } else if stored.owners.iter().any(|owner| self.is_going(*owner)) {
            self.spawn(
                |server, stored| async move { server.collect(&stored.key).await },
                stored,
            );
        }
    }

    /// Wakes the owners that wait for an object which no longer names them, or no longer blocks them.
    pub(super) fn wake_former_owners(&self, before: &Stored, stored: &Stored) {
        let freed = before.owners.iter().filter(|o| {
            let owner = self
                .store()
                .find_uid(**o)
                .filter(|o| self.waits_for_dependents(o));
            let is_freed =
                || !stored.owners.contains(o) || self.blocks(before, **o) && !self.blocks(stored, **o);
            owner.is_some() && is_freed()
        });
        self.wake_owners(freed);
    }

    /// Says whether an owner is not there, or not for long.
    fn is_going(&self, owner: Uid) -> bool {
        self.store().find_uid(owner).is_none_or(|o| o.deleting)
    }

    pub(super) fn after_removal(&self, stored: &Arc<Stored>) {
        if self.has_dependents(stored.uid) {
            self.0.gone.add(stored);
            self.spawn_collect(stored.uid);
        }
        // To see to all others costs time for each of them: one that nobody waited for is no reason, unless few are left.
        let counts = |owner: &&Uid| {
            self.is_going(**owner) && (self.blocks(stored, **owner) || self.has_few_dependents(**owner))
        };
        self.wake_owners(stored.owners.iter().filter(counts));
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

    fn wake_owners<'a>(&self, owners: impl IntoIterator<Item = &'a Uid>) {
        for owner in owners {
            if let Some(owner) = self.store().find_uid(*owner).filter(|o| o.deleting) {
                self.spawn(
                    move |server, owner| async move {
                        let few = server.has_few_dependents(owner.uid);
                        server.work_off_finalizers(&owner, few).await;
                    },
                    &owner,
                );
            }
        }
    }

    fn has_few_dependents(&self, owner: Uid) -> bool {
        self.store().some_dependents(owner, None, FEW + 1).len() <= FEW
    }

    fn has_dependents(&self, owner: Uid) -> bool {
        !self.store().some_dependents(owner, None, 1).is_empty()
    }

    /// Removes what was made while its definition or its namespace went: they may not have seen it.
    pub(super) fn remove_if_homeless(&self, stored: &Arc<Stored>) {
        if !stored.deleting && !self.has_home(stored) {
            self.spawn(
                |server, stored| async move { server.remove_homeless(&stored).await },
                stored,
            );
        }
    }

    fn has_home(&self, stored: &Stored) -> bool {
        let namespace = &stored.key.namespace;
        // Without controllers nobody empties namespaces.
        let lives_somewhere =
            namespace.is_empty() || !self.0.options.controllers || self.is_lived_in(namespace);
        lives_somewhere && self.is_defined(&stored.key.resource)
    }

    /// Says whether a kind is built in, or has a definition that stays.
    fn is_defined(&self, resource: &str) -> bool {
        let stays = |name: &str| self.store().get(CRDS, "", name).is_some_and(|d| !d.deleting);
        match self.registry().find_stored(resource) {
            Some(info) => info.crd_name.as_deref().is_none_or(stays),
            None => stays(resource),
        }
    }

    async fn remove_homeless(&self, stored: &Arc<Stored>) {
        if self.registry().find_stored(&stored.key.resource).is_some() {
            delete::remove_in_background(self, stored).await;
            return;
        }
        // Nobody can ask for it any more, nor take its finalizers off. If somebody came first, he sees to it.
        let removal = Change::Delete(stored.value("", ""));
        let expect = Expect::Version(stored.version);
        self.commit(stored.key.clone(), expect, removal).await.ok();
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
        tokio::spawn(async move { server.collect_all(owner).await });
    }

    /// Looks after all dependents of an owner. Those that go already are not even read.
    async fn collect_all(&self, owner: Uid) {
        let dependents = self.store().dependents(owner).into_iter();
        let staying = dependents.filter(|dependent| !dependent.deleting);
        for_all(
            staying,
            |dependent| async move { self.collect(&dependent.key).await },
        )
        .await;
    }

    /// Removes an object none of whose owners stays; else takes off it those that don't.
    async fn collect(&self, key: &Key) {
        while let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name)
            && !stored.deleting
            && let Some((_, mut object)) = self.value_of(&stored)
        {
            let outrun = match self.fate(&stored, &object) {
                Fate::Stays => false,
                Fate::Keeps(owners) => {
                    meta::of_mut(&mut object).insert("ownerReferences".to_owned(), Value::Array(owners));
                    let expect = Expect::Version(stored.version);
                    is_outrun(&self.commit(key.clone(), expect, Change::Put(object)).await)
                }
                // It may have been adopted meanwhile.
                Fate::Goes(propagation) => !delete::remove_unchanged(self, &stored, propagation).await,
            };
            if !outrun {
                return;
            }
        }
    }

    /// Judges an object by its owners. Those that wait for it to go are no reason for it to stay.
    fn fate(&self, stored: &Stored, object: &Value) -> Fate {
        let namespace = &stored.key.namespace;
        let (mut solid, mut waiting, mut absent) = (Vec::new(), false, false);
        for owner in meta::owners(object) {
            match self.find_owner(owner, namespace) {
                Some(found) if self.waits_for_dependents(&found) => waiting = true,
                Some(_) => solid.push(owner.clone()),
                None if self.is_surely_absent(owner, namespace) => absent = true,
                None => return Fate::Stays,
            }
        }
        match (waiting, absent) {
            (false, false) => Fate::Stays,
            _ if !solid.is_empty() => Fate::Keeps(solid),
            (true, _) if self.has_dependents(stored.uid) => Fate::Goes(Propagation::Foreground),
            _ => Fate::Goes(Propagation::Background),
        }
    }

    /// Finds an owner, in the same namespace or in none.
    fn find_owner(&self, owner: &Value, namespace: &str) -> Option<Arc<Stored>> {
        let found = self.store().find_uid(uid(owner));
        found.filter(|o| o.key.namespace.is_empty() || &*o.key.namespace == namespace)
    }

    /// Says whether an owner that was not found is not there. Of one whose kind is not served, or that no such object can have,
    /// nobody knows.
    fn is_surely_absent(&self, owner: &Value, namespace: &str) -> bool {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let version = text("apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        match self.registry().find_kind(group, version, text("kind")) {
            Some(info) => !(info.namespaced && namespace.is_empty()),
            None => self.0.gone.has(uid(owner), namespace),
        }
    }

    /// Says whether an object goes when its dependents have gone.
    fn waits_for_dependents(&self, stored: &Stored) -> bool {
        stored.deleting
            && self
                .value_of(stored)
                .is_some_and(|(_, object)| meta::finalizers(&object).contains(&FOREGROUND))
    }

    /// Does for an object that is being removed what its `orphan` or `foregroundDeletion` finalizer asks for; `all`: the dependents may not
    /// have been told to go yet.
    async fn work_off_finalizers(&self, stored: &Arc<Stored>, all: bool) {
        // One that was made anew under its name is another one.
        let Some(stored) = self.store().find_uid(stored.uid).filter(|now| now.deleting) else {
            return;
        };
        let Some((_, object)) = self.value_of(&stored) else {
            return;
        };
        let finalizers = meta::finalizers(&object);
        if finalizers.contains(&ORPHAN) {
            // Else it is tried again when one of them goes or the disk works again: an owner that went first would take them along.
            if self.disown_all(stored.uid).await {
                self.drop_finalizer(&stored, ORPHAN).await;
            }
        } else if finalizers.contains(&FOREGROUND) {
            if all {
                self.collect_all(stored.uid).await;
            }
            // Those that block bring us here again when they go.
            if !self.is_blocked(&stored) {
                self.drop_finalizer(&stored, FOREGROUND).await;
            }
        }
    }

    /// Says whether a dependent must go first. Mostly the first one that is asked must.
    fn is_blocked(&self, stored: &Stored) -> bool {
        let (owner, above) = (stored.uid, self.waiting_above(stored));
        let mut last = None;
        loop {
            let some = self.store().some_dependents(owner, last, FEW);
            let mut those_below = some.iter().filter(|dependent| !above.contains(&dependent.uid));
            if those_below.any(|dependent| self.blocks(dependent, owner)) {
                return true;
            }
            last = some.last().map(|dependent| dependent.uid);
            if last.is_none() {
                return false;
            }
        }
    }

    /// Returns all owners, and owners of those, that wait for their dependents. To wait for one of them would be to wait in a circle.
    fn waiting_above(&self, stored: &Stored) -> HashSet<Uid> {
        let (mut found, mut left) = (HashSet::new(), stored.owners.to_vec());
        while let Some(owner) = left.pop() {
            if !found.contains(&owner)
                && let Some(owner) = self.store().find_uid(owner)
                && self.waits_for_dependents(&owner)
            {
                found.insert(owner.uid);
                left.extend(&owner.owners);
            }
        }
        found
    }

    fn blocks(&self, dependent: &Stored, owner: Uid) -> bool {
        let Some((_, object)) = self.value_of(dependent) else {
            return false;
        };
        let mut of_owner = meta::owners(&object).iter().filter(|o| uid(o) == owner);
        of_owner.any(|o| o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true))
    }

    /// Takes an owner off all that name it, those too that begin to meanwhile. Says whether that went well.
    async fn disown_all(&self, owner: Uid) -> bool {
        let mut seen = HashSet::new();
        loop {
            let mut dependents = self.store().dependents(owner);
            dependents.retain(|dependent| seen.insert(dependent.uid));
            if dependents.is_empty() {
                return true;
            }
            let failed = &AtomicBool::new(false);
            for_all(dependents, |dependent| async move {
                if !self.disown(&dependent.key, owner).await {
                    failed.store(true, Ordering::Relaxed);
                }
            })
            .await;
            if failed.load(Ordering::Relaxed) {
                return false;
            }
        }
    }

    /// Takes an owner off an object. Says whether that went well.
    async fn disown(&self, key: &Key, owner: Uid) -> bool {
        while let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) {
            // Whose kind is not served is not collected either.
            let Some((_, mut object)) = self.value_of(&stored) else {
                return true;
            };
            let metadata = meta::of_mut(&mut object);
            if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                owners.retain(|o| uid(o) != owner);
                if owners.is_empty() {
                    metadata.remove("ownerReferences");
                }
            }
            let expect = Expect::Version(stored.version);
            let outcome = self.commit(key.clone(), expect, Change::Put(object)).await;
            if !is_outrun(&outcome) {
                return outcome.is_ok();
            }
        }
        true
    }

    /// Takes a finalizer off an object; the object goes if it was the last one.
    async fn drop_finalizer(&self, of: &Stored, finalizer: &str) {
        let key = &of.key;
        while let Some(stored) = self.store().find_uid(of.uid).filter(|now| now.key == *key) {
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
            let expect = Expect::Version(stored.version);
            if !is_outrun(&self.commit(key.clone(), expect, change).await) {
                return;
            }
        }
    }

    /// Removes all objects of a custom resource definition that is being removed, then the definition.
    async fn empty_definition(&self, definition: &Arc<Stored>) {
        let resource = &definition.key.name;
        let objects = self.store().list(resource, None).1.into_iter();
        for_all(objects.filter(|o| !o.deleting), |object| async move {
            delete::remove_in_background(self, &object).await;
        })
        .await;
        if self.store().count(resource) == 0 {
            self.drop_finalizer(definition, CRD_CLEANUP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::time::SystemClock;

    fn server() -> Server {
        Server::in_memory(Arc::new(SystemClock))
    }

    fn object(name: &str, owners: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "uid": name, "finalizers": ["case.test/hold"], "ownerReferences": owners}})
    }

    async fn put(server: &Server, key: &Key, expect: Expect, object: Value) -> Arc<Stored> {
        server
            .commit(key.clone(), expect, Change::Put(object))
            .await
            .expect("written")
    }

    async fn eventually(holds: impl Fn() -> bool) {
        for _ in 0..3000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never happened");
    }

    #[tokio::test]
    async fn what_is_made_while_its_home_goes_is_removed() {
        let server = server();
        let late = Key::new("configmaps", "no-such-namespace", "late");
        let undefined = Key::new("things.case.test", "", "late");
        put(&server, &late, Expect::Absent, object("late", &json!([]))).await;
        put(&server, &undefined, Expect::Absent, object("other", &json!([]))).await;
        let find = |key: &Key| server.store().get(&key.resource, &key.namespace, &key.name);
        eventually(|| find(&late).is_some_and(|o| o.deleting)).await;
        eventually(|| find(&undefined).is_none()).await;
    }

    #[tokio::test]
    async fn what_has_been_adopted_since_it_was_judged_stays() {
        let server = server();
        let key = Key::new("configmaps", "default", "child");
        let judged = put(&server, &key, Expect::Absent, object("child", &json!([]))).await;
        let adopted = put(
            &server,
            &key,
            Expect::Version(judged.version),
            object("child", &json!([])),
        )
        .await;
        assert!(!delete::remove_unchanged(&server, &judged, Propagation::Background).await);
        assert!(!server.store().find_uid(judged.uid).expect("there").deleting);
        assert!(delete::remove_unchanged(&server, &adopted, Propagation::Background).await);
        assert!(server.store().find_uid(judged.uid).expect("there").deleting);
    }

    #[tokio::test]
    async fn what_was_made_anew_under_a_name_keeps_its_finalizers() {
        let server = server();
        let key = Key::new("configmaps", "default", "a");
        let first = put(&server, &key, Expect::Absent, object("first", &json!([]))).await;
        let removal = Change::Delete(object("first", &json!([])));
        assert!(
            server
                .commit(key.clone(), Expect::Version(first.version), removal)
                .await
                .is_ok()
        );
        let second = put(&server, &key, Expect::Absent, object("second", &json!([]))).await;
        server.drop_finalizer(&first, "case.test/hold").await;
        let now = server.store().find_uid(second.uid).expect("there");
        assert_eq!(now.version, second.version);
        server.drop_finalizer(&second, "case.test/hold").await;
        let now = server.store().find_uid(second.uid).expect("there");
        assert_ne!(now.version, second.version);
    }

    #[tokio::test]
    async fn nothing_is_tried_for_ever_where_nothing_can_be_written() {
        let server = server();
        let reference = |uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid});
        let owner = Key::new("configmaps", "default", "owner");
        let stays = put(&server, &owner, Expect::Absent, object("owner", &json!([]))).await;
        let child = Key::new("configmaps", "default", "child");
        let owners = json!([reference("owner"), reference("absent")]);
        // Nothing follows from this one yet.
        let put = Change::Put(object("child", &owners));
        let written = server.store().write(child.clone(), Expect::Absent, put).await;
        assert!(written.is_ok());
        server.store().close();
        let tries = async {
            server.collect(&child).await;
            server.disown(&owner, Uid::of("owner")).await;
            server.drop_finalizer(&stays, "case.test/hold").await;
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), tries).await;
        assert!(ended.is_ok(), "it goes on and on");
    }
}
