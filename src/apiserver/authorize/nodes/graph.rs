//! From objects to the nodes whose kubelets may read them: through the pods that are bound there and refer to them. It follows the
//! changes of pods when it is asked; it must not decide what may be done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::super::super::object::meta;
use super::super::super::store::{EventKind, Store, Stored, Uid};
use super::references::{self, References};

const PODS: &str = "pods";
const VOLUMES: &str = "persistentvolumes";

/// A sort of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vertex {
    Account,
    Attachment,
    Claim,
    ConfigMap,
    Pod,
    Secret,
    Volume,
}

/// Namespace and name.
type Place = (Box<str>, Box<str>);

struct Pod {
    uid: Uid,
    refers: References,
}

/// What each node's pods refer to.
#[derive(Default)]
struct Known {
    /// Up to which resourceVersion changes of pods have been seen.
    version: Option<u64>,
    nodes: HashMap<Box<str>, BTreeMap<Place, Pod>>,
    /// The node of each pod.
    bound: HashMap<Place, Box<str>>,
}

/// The graph. It reads nothing before somebody asks.
#[derive(Default)]
pub(crate) struct Graph(Mutex<Known>);

impl Graph {
    /// Says whether a way leads from an object to a node.
    pub(super) fn leads_to(
        &self,
        store: &Store,
        node: &str,
        vertex: Vertex,
        namespace: &str,
        name: &str,
    ) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.follow(store);
        match vertex {
            Vertex::Attachment => store
                .get("volumeattachments.storage.k8s.io", "", name)
                .is_some_and(|stored| {
                    stored.value("storage.k8s.io/v1", "VolumeAttachment")["spec"]["nodeName"] == node
                }),
            Vertex::Pod => known
                .pods(node)
                .any(|(place, _)| &*place.0 == namespace && &*place.1 == name),
            Vertex::Volume => {
                let volume = store.get(VOLUMES, "", name);
                volume.is_some_and(|stored| known.mounts(node, &volume_value(&stored)))
            }
            Vertex::Secret => {
                known.refers(node, vertex, namespace, name) || known.mounts_with(store, node, namespace, name)
            }
            _ => known.refers(node, vertex, namespace, name),
        }
    }
}

fn volume_value(stored: &Stored) -> Value {
    stored.value("v1", "PersistentVolume")
}

impl Known {
    fn follow(&mut self, store: &Store) {
        let seen = self.version.map(|version| store.events_after(PODS, version));
        if let Some(Ok((version, events))) = seen {
            for event in events {
                match event.kind {
                    EventKind::Put => self.put(&event.object),
                    EventKind::Delete => self.remove(&place(&event.object)),
                }
            }
            self.version = Some(version);
            return;
        }
        *self = Self::default();
        let (version, pods) = store.list(PODS, None);
        for pod in pods {
            self.put(&pod);
        }
        self.version = Some(version);
    }

    /// A pod that is bound changes neither its node nor what it refers to.
    fn put(&mut self, stored: &Stored) {
        let place = place(stored);
        let known = self
            .bound
            .get(&place)
            .and_then(|node| self.nodes.get(node)?.get(&place));
        if known.is_some_and(|known| known.uid == stored.uid) {
            return;
        }
        self.remove(&place);
        let pod = stored.value("v1", "Pod");
        let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) else {
            return;
        };
        let refers = if meta::of(&pod)
            .get("annotations")
            .is_some_and(|a| a.get(references::MIRROR).is_some())
        {
            // Kubelets make those themselves: they must not open anything.
            References::default()
        } else {
            References::of(&pod)
        };
        self.bound.insert(place.clone(), node.into());
        let uid = stored.uid;
        self.nodes
            .entry(node.into())
            .or_default()
            .insert(place, Pod { uid, refers });
    }

    fn remove(&mut self, place: &Place) {
        let Some(node) = self.bound.remove(place) else {
            return;
        };
        if let Some(pods) = self.nodes.get_mut(&node) {
            pods.remove(place);
            if pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
    }

    fn pods(&self, node: &str) -> impl Iterator<Item = (&Place, &Pod)> {
        self.nodes.get(node).into_iter().flatten()
    }

    fn refers(&self, node: &str, vertex: Vertex, namespace: &str, name: &str) -> bool {
        let mut inside = self.pods(node).filter(|(place, _)| &*place.0 == namespace);
        inside.any(|(_, pod)| match vertex {
            Vertex::Account => pod.refers.account == name,
            Vertex::Claim => pod.refers.claims.contains(name),
            Vertex::ConfigMap => pod.refers.config_maps.contains(name),
            Vertex::Secret => pod.refers.secrets.contains(name),
            Vertex::Attachment | Vertex::Pod | Vertex::Volume => false,
        })
    }

    /// Says whether a pod of the node has the claim to which a volume is bound.
    fn mounts(&self, node: &str, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        let text = |field: &str| claim[field].as_str().unwrap_or_default();
        self.refers(node, Vertex::Claim, text("namespace"), text("name"))
    }

    /// Says whether a volume that the node mounts needs a secret.
    fn mounts_with(&self, store: &Store, node: &str, namespace: &str, name: &str) -> bool {
        store.list(VOLUMES, None).1.iter().any(|stored| {
            let volume = volume_value(stored);
            references::needs_secret(&volume, namespace, name) && self.mounts(node, &volume)
        })
    }
}

fn place(stored: &Stored) -> Place {
    ((*stored.key.namespace).into(), stored.key.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    use super::super::super::super::store::{Change, Expect, History, Key};

    async fn put(store: &Store, resource: &str, namespace: &str, name: &str, mut object: Value) {
        meta::set(&mut object, "name", name);
        meta::set(&mut object, "uid", &format!("{namespace}-{name}"));
        let key = Key::new(resource, namespace, name);
        let expect = match store.get(resource, namespace, name) {
            Some(stored) => Expect::Version(stored.version),
            None => Expect::Absent,
        };
        store
            .write(key, expect, Change::Put(object))
            .await
            .expect("written");
    }

    #[tokio::test]
    async fn ways_lead_through_pods_and_their_volumes() {
        let store = Store::in_memory(Vec::new(), History::default());
        let graph = Graph::default();
        let leads =
            |vertex, namespace: &str, name: &str| graph.leads_to(&store, "n", vertex, namespace, name);
        let pod = |node: &str| {
            json!({"metadata": {}, "spec": {
                "nodeName": node, "serviceAccountName": "robot",
                "volumes": [{"secret": {"secretName": "s"}}, {"persistentVolumeClaim": {"claimName": "c"}}],
            }})
        };
        put(&store, PODS, "ns", "p", pod("")).await;
        assert!(!leads(Vertex::Secret, "ns", "s"));
        put(&store, PODS, "ns", "p", pod("n")).await;
        assert!(leads(Vertex::Secret, "ns", "s") && leads(Vertex::Account, "ns", "robot"));
        assert!(leads(Vertex::Pod, "ns", "p") && leads(Vertex::Claim, "ns", "c"));
        assert!(!leads(Vertex::Secret, "other", "s") && !leads(Vertex::ConfigMap, "ns", "s"));
        let volume = json!({"metadata": {}, "spec": {
            "claimRef": {"namespace": "ns", "name": "c"},
            "csi": {"nodeStageSecretRef": {"namespace": "far", "name": "t"}, "controllerPublishSecretRef": {"namespace": "far", "name": "u"}},
        }});
        put(&store, VOLUMES, "", "v", volume).await;
        assert!(leads(Vertex::Volume, "", "v") && leads(Vertex::Secret, "far", "t"));
        assert!(!leads(Vertex::Secret, "far", "u"));
        assert!(!graph.leads_to(&store, "m", Vertex::Volume, "", "v"));
        let stored = store.get(PODS, "ns", "p").expect("there");
        let gone = Change::Delete(stored.value("v1", "Pod"));
        store
            .write(stored.key.clone(), Expect::Version(stored.version), gone)
            .await
            .expect("gone");
        assert!(!leads(Vertex::Secret, "ns", "s") && !leads(Vertex::Volume, "", "v"));
    }

    #[tokio::test]
    async fn a_pod_that_a_kubelet_made_opens_nothing() {
        let store = Store::in_memory(Vec::new(), History::default());
        let pod = json!({
            "metadata": {"annotations": {references::MIRROR: "x"}},
            "spec": {"nodeName": "n", "volumes": [{"secret": {"secretName": "s"}}]},
        });
        put(&store, PODS, "ns", "p", pod).await;
        let graph = Graph::default();
        assert!(graph.leads_to(&store, "n", Vertex::Pod, "ns", "p"));
        assert!(!graph.leads_to(&store, "n", Vertex::Secret, "ns", "s"));
    }
}
