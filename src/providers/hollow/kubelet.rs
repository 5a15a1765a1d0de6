//! Keeps all hollow nodes alive, each as its script says: one task for all of them. It decides nothing about machines.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Node,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use tokio::sync::Notify;

use super::{
    faults::{Health, Script},
    fleet::{self, Audience, Done, Fleet, Job, Seen, Task},
    spec,
};
use crate::{
    providers::FIELD_MANAGER,
    time::{Clock, SignedDuration, Timestamp},
};

/// How often it is looked whether a controller manager reads the Leases.
const LOOK: SignedDuration = SignedDuration::from_secs(15);
/// Two turns are at least this far apart, so that many small things are done together.
const TICK: Duration = Duration::from_millis(50);
/// A turn is at most this far away: a clock may be moved.
const LONGEST: Duration = Duration::from_secs(15);
/// How many nodes are seen to at once.
const TOGETHER: usize = 16;
/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The Lease of the controller manager's leader.
const CONTROLLER_MANAGER: (&str, &str) = ("kube-system", "kube-controller-manager");
/// A leader that has not renewed its Lease for this much longer than that holds is gone. Clocks differ.
const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// What a controller manager writes into the conditions of a Node whose Lease has run out.
const TAKEN_FOR_DEAD: &str = "Kubelet stopped posting node status.";

/// The kubelets of all hollow nodes.
pub(super) struct Kubelets {
    client: Client,
    clock: Arc<dyn Clock>,
    fleet: Mutex<Fleet>,
    /// A node came that needs something before all others.
    wake: Notify,
    judge: Mutex<Judge>,
}

/// Who reads Leases, as far as it is known.
#[derive(Debug, Default)]
struct Judge {
    looked: Option<Timestamp>,
    /// When the leader of the controller manager renewed its Lease last.
    renewed: Option<Timestamp>,
    /// A node was taken for dead: somebody does read them, without a Lease of his own.
    has_judged: bool,
}

impl Kubelets {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            fleet: Mutex::default(),
            wake: Notify::new(),
            judge: Mutex::default(),
        }
    }

    /// Lets a node live from now on, or takes down how it looks now.
    pub(super) fn keep(&self, node: &Node, script: Script) {
        let now = self.clock.now();
        let Some(uid) = node.uid() else { return };
        if was_taken_for_dead(node) {
            lock(&self.judge).has_judged = true;
        }
        let seen = Seen {
            uid,
            provider_id: spec::provider_id_of(node).unwrap_or_default().to_owned(),
            born: node.creation_timestamp().map_or(now, |t| t.0),
            ready: spec::ready_of(node),
            taint: spec::not_ready_taint(node),
        };
        if lock(&self.fleet).put(&node.name_any(), seen, script, now) {
            self.wake.notify_one();
        }
    }

    /// Lets a node go, if it is the one of this provider id.
    pub(super) fn forget(&self, name: &str, provider_id: &str) {
        let mut fleet = lock(&self.fleet);
        if fleet.uid(name, provider_id).is_some() {
            fleet.remove(name);
        }
    }

    /// Returns the UID of a node that is kept alive, if it is the one of this provider id.
    pub(super) fn uid(&self, name: &str, provider_id: &str) -> Option<String> {
        lock(&self.fleet).uid(name, provider_id).map(str::to_owned)
    }

    /// Sees to all nodes, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.turn().await;
            let next = lock(&self.fleet).next();
            let wait = next.map_or(LONGEST, |next| {
                let wait = next.duration_since(self.clock.now());
                wait.max(SignedDuration::ZERO).unsigned_abs().clamp(TICK, LONGEST)
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => tokio::time::sleep(TICK).await,
            }
        }
    }

    /// Does what is due.
    pub(super) async fn turn(&self) {
        if lock(&self.fleet).is_empty() {
            return;
        }
        self.look_for_readers().await;
        let now = self.clock.now();
        let (tasks, audience) = {
            let mut fleet = lock(&self.fleet);
            (fleet.take_due(now), fleet.audience())
        };
        futures::stream::iter(tasks)
            .for_each_concurrent(TOGETHER, |task| async move {
                let done = tokio::time::timeout(PATIENCE, self.work(&task, audience)).await;
                let done = done.unwrap_or_else(|_| {
                    tracing::debug!(node = %task.node, "the API server takes too long");
                    Done {
                        failed: true,
                        ..Done::default()
                    }
                });
                lock(&self.fleet).done(&task, &done, self.clock.now());
            })
            .await;
    }

    /// Finds out whether a controller manager reads the Leases.
    async fn look_for_readers(&self) {
        let now = self.clock.now();
        if lock(&self.judge)
            .looked
            .is_some_and(|at| now.duration_since(at) < LOOK)
        {
            return;
        }
        let (namespace, name) = CONTROLLER_MANAGER;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let Ok(answer) = tokio::time::timeout(PATIENCE, leases.get_opt(name)).await else {
            return;
        };
        let audience = {
            let mut judge = lock(&self.judge);
            judge.looked = Some(now);
            match answer {
                Ok(lease) => judge.audience(lease.and_then(|l| l.spec).as_ref(), now),
                // Who may not ask takes no chances.
                Err(kube::Error::Api(status)) if status.code == 403 => Audience::ControllerManager,
                Err(error) => {
                    tracing::debug!(%error, "reading the Lease of the controller manager");
                    return;
                }
            }
        };
        lock(&self.fleet).show_to(audience, now);
    }

    /// Does one task.
    async fn work(&self, task: &Task, audience: Audience) -> Done {
        let mut done = Done::default();
        let result = match &task.job {
            Job::Vanish => self.vanish(task, &mut done).await,
            Job::Show { health, lease, taint } => {
                self.show(task, *health, *lease, *taint, audience, &mut done)
                    .await
            }
        };
        match result {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => done.is_gone = true,
            Err(error) => {
                tracing::debug!(node = %task.node, %error, "a hollow node could not be seen to");
                done.failed = true;
            }
        }
        done
    }

    async fn vanish(&self, task: &Task, done: &mut Done) -> Result<(), kube::Error> {
        delete(&self.nodes(), &task.node, &task.uid).await?;
        done.is_gone = true;
        tracing::debug!(node = %task.node, "a hollow node vanished, as spec.faults.vanishAfter asks");
        Ok(())
    }

    async fn show(
        &self,
        task: &Task,
        health: Option<Health>,
        lease: Option<fleet::Lease>,
        taint: Option<usize>,
        audience: Audience,
        done: &mut Done,
    ) -> Result<(), kube::Error> {
        if let Some(lease) = lease {
            self.renew(task, lease, audience, done).await?;
        }
        if let Some(health) = health {
            let conditions = spec::conditions(health, self.clock.now());
            let patch = json!({ "metadata": { "uid": task.uid }, "status": { "conditions": conditions } });
            self.nodes()
                .patch_status(&task.node, &writes(), &Patch::Strategic(&patch))
                .await
                .map_err(|error| match error {
                    // Another Node bears the name: a UID can't be changed.
                    kube::Error::Api(status) if status.is_conflict() || status.code == 422 => {
                        gone(&task.node)
                    }
                    other => other,
                })?;
            done.said = Some(health.ready);
        }
        if let Some(index) = taint {
            self.untaint(task, index, done).await?;
        }
        Ok(())
    }

    async fn renew(
        &self,
        task: &Task,
        lease: fleet::Lease,
        audience: Audience,
        done: &mut Done,
    ) -> Result<(), kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), spec::NODE_LEASES);
        let wanted = spec::lease(&task.node, &task.uid, audience.hold(), self.clock.now());
        if lease == fleet::Lease::Unknown {
            match leases.create(&PostParams::default(), &wanted).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                other => {
                    other?;
                    done.leased = Some(true);
                    return Ok(());
                }
            }
        }
        let patch = json!({
            "metadata": { "ownerReferences": wanted.metadata.owner_references },
            "spec": wanted.spec,
        });
        match leases.patch(&task.node, &writes(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                // It went with its Node, or somebody deleted it.
                done.leased = Some(false);
                let node = self.nodes().get_opt(&task.node).await?;
                match node {
                    Some(node) if node.uid().as_deref() == Some(&task.uid) => {
                        leases.create(&PostParams::default(), &wanted).await?;
                        done.leased = Some(true);
                        Ok(())
                    }
                    _ => Err(gone(&task.node)),
                }
            }
            other => {
                other?;
                done.leased = Some(true);
                Ok(())
            }
        }
    }

    /// Takes the taint away that API servers put on each new Node, where no controller does.
    async fn untaint(&self, task: &Task, index: usize, done: &mut Done) -> Result<(), kube::Error> {
        let nodes = self.nodes();
        let Err(kube::Error::Api(status)) = nodes.patch(&task.node, &writes(), &without_taint(index)?).await
        else {
            done.untainted = true;
            return Ok(());
        };
        if status.is_not_found() {
            return Err(kube::Error::Api(status));
        }
        // It stands elsewhere by now, or is gone.
        let node = nodes.get(&task.node).await?;
        if let Some(index) = spec::not_ready_taint(&node) {
            nodes.patch(&task.node, &writes(), &without_taint(index)?).await?;
        }
        done.untainted = true;
        Ok(())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}

impl Judge {
    /// Says who reads Leases. A Lease that changes between two looks is renewed, whatever the clocks say.
    fn audience(&mut self, lease: Option<&LeaseSpec>, now: Timestamp) -> Audience {
        let renewed = lease.and_then(|l| l.renew_time.as_ref()).map(|t| t.0);
        let hold = lease.and_then(|l| l.lease_duration_seconds).unwrap_or(15);
        let hold = SignedDuration::from_secs(i64::from(hold)) + GRACE;
        let is_fresh = renewed.is_some_and(|at| now.duration_since(at) < hold);
        let has_changed = self.renewed.is_some() && renewed.is_some() && renewed != self.renewed;
        self.renewed = renewed;
        if is_fresh || has_changed || self.has_judged {
            Audience::ControllerManager
        } else {
            Audience::Nobody
        }
    }
}

/// Deletes a Node, and only that one. Its Lease goes with it.
pub(super) async fn delete(nodes: &Api<Node>, name: &str, uid: &str) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    match nodes.delete(name, &params).await {
        // Another one bears the name: the one that was meant is gone.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn was_taken_for_dead(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| c.status == "Unknown" && c.message.as_deref() == Some(TAKEN_FOR_DEAD))
    })
}

/// Patches bear the name of whoever writes.
pub(super) fn writes() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn without_taint(index: usize) -> Result<Patch<Node>, kube::Error> {
    let path = format!("/spec/taints/{index}");
    let operations = json!([
        { "op": "test", "path": format!("{path}/key"), "value": spec::NOT_READY },
        { "op": "remove", "path": path },
    ]);
    serde_json::from_value(operations)
        .map(Patch::Json)
        .map_err(kube::Error::SerdeError)
}

fn gone(node: &str) -> kube::Error {
    let message = format!("nodes \"{node}\" not found");
    kube::Error::Api(Box::new(
        kube::core::Status::failure(&message, "NotFound").with_code(404),
    ))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "kubelet_tests.rs"]
mod tests;
