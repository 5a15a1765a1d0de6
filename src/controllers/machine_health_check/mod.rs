//! The `MachineHealthCheck` controller: has broken Machines replaced, but not too many.
//!
//! | file | what it does |
//! |---|---|
//! | `observe` | reads machines, Nodes, rules |
//! | `rules` | which conditions are bad |
//! | `judge` | how one machine is |
//! | `limits` | how many may be broken, how many replaced at once |
//! | `ledger` | what was replaced lately, and how long to wait |
//! | `plan` | what to do |
//! | `mark` | what is said about a machine |
//! | `status` | what is said about the check |
//! | `claims` | who deletes a machine right now |
//!
//! A machine is replaced by deleting it: its controller makes a new one. Machines without a controller stay. Other ways are an object made
//! from a template (`spec.remediationTemplate`) and the annotation of Metal3 (`machine.openshift.io/remediation-strategy`).
//!
//! The status is written before anything is done, so that what was replaced is known after a crash. Nodes of machines that are about to be
//! deleted for what their Nodes say are asked for once more; an API server that does not answer makes no machine broken.

use std::sync::Arc;

use futures::StreamExt as _;
use kube::ResourceExt;
use serde::Deserialize;

use self::{
    observe::Observed,
    plan::{Decision, Remedy, Treatment},
};
use super::{
    apply::{Subject, Writer, execute},
    effect::{Effect, Notice, Plan, Requeue, reference},
    runtime::ReconcileError,
    world::World,
};
use crate::{
    api::{
        conditions, labels,
        v1alpha1::{Machine, MachineHealthCheck},
    },
    time::SignedDuration,
};

pub(super) mod claims;
mod judge;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod limits;
mod mark;
#[cfg(test)]
mod mark_tests;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
mod rules;
#[cfg(test)]
mod simulation;
mod status;

pub(super) use crate::api::names::UNHEALTHY_CONDITIONS;

const WRITER: Writer = Writer {
    source: "machinehealthcheck-controller",
    manager: "machinectl-health",
};

/// A look may plan again with what it asked for; this often at most.
const ROUNDS: usize = 4;
/// So many machines are treated at once.
const AT_ONCE: usize = 32;
/// When to look again if something has not been listed yet, or a Node was found otherwise.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// Looks at all machines of one check.
pub(super) async fn reconcile(
    world: Arc<World>,
    check: Arc<MachineHealthCheck>,
) -> Result<Requeue, ReconcileError> {
    let leaves = check.metadata.deletion_timestamp.is_some();
    if leaves || check.annotations().contains_key(labels::CLUSTER_API_PAUSED) {
        return Ok(Requeue::OnChange);
    }
    let Some(mut observed) = observe::observe(&world, Arc::clone(&check)).await? else {
        return Ok(Requeue::After(SOON));
    };
    let mut decision = plan::plan(&observed, world.ctx.clock.now());
    for _ in 0..ROUNDS {
        if decision.confirm.is_empty() && !decision.needs_template {
            break;
        }
        observe::confirm(&world, &mut observed, &decision.confirm).await?;
        if decision.needs_template {
            observe::read_template(&world, &mut observed).await?;
        }
        decision = plan::plan(&observed, world.ctx.clock.now());
    }
    if !decision.confirm.is_empty() {
        decision.requeue = decision.requeue.or_sooner(SOON);
    }
    carry_out(&world, &check, &observed, decision).await
}

/// Writes the status, then treats machines and says what is to be said about them.
async fn carry_out(
    world: &World,
    check: &Arc<MachineHealthCheck>,
    observed: &Observed,
    decision: Decision,
) -> Result<Requeue, ReconcileError> {
    let say = Plan {
        effects: decision.events,
        status: Some(decision.status.clone()),
        requeue: decision.requeue,
    };
    execute(world, WRITER, &Subject::of(&**check), &say, None).await?;
    if decision.remedies.is_empty() && decision.marks.is_empty() {
        return Ok(decision.requeue);
    }
    let mut written = (**check).clone();
    written.status = Deserialize::deserialize(&decision.status).ok();
    let subject = Subject::of(&written);
    let requests = decision
        .remedies
        .iter()
        .any(|r| r.treatment == Treatment::Requested);
    let remedies = decision
        .remedies
        .iter()
        .map(|remedy| treat(world, &subject, observed, remedy));
    let mut failed: Vec<ReconcileError> = futures::stream::iter(remedies.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .filter_map(|done| futures::future::ready(done.err()))
        .collect()
        .await;
    let requests = requests && !failed.is_empty();
    // What was written and has not come back yet would be said twice.
    let fresh = decision
        .marks
        .into_iter()
        .filter(|(index, _)| !world.is_stale("Machine", &*observed.machines[*index].machine))
        .map(|(_, effects)| say_about(world, &subject, effects));
    failed.extend(
        futures::stream::iter(fresh.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .filter_map(|done| futures::future::ready(done.err()))
            .collect::<Vec<_>>()
            .await,
    );
    let error = match failed.len() {
        0 => return Ok(decision.requeue),
        1 => failed.remove(0),
        _ => ReconcileError::Several(failed),
    };
    if !error.is_conflict()
        && let Some(status) = written.status.take()
    {
        let status = status::failed(status, requests, &error.chain(), world.ctx.clock.now());
        let plan = Plan {
            status: Some(status),
            ..Plan::nothing()
        };
        execute(world, WRITER, &subject, &plan, None).await?;
    }
    Err(error)
}

/// Treats one machine.
async fn treat(
    world: &World,
    subject: &Subject,
    observed: &Observed,
    remedy: &Remedy,
) -> Result<(), ReconcileError> {
    let check = &observed.check;
    let machine = &*observed.machines[remedy.machine].machine;
    let _claim = if remedy.treatment == Treatment::Deleted {
        // Another check may have been faster, even so much that the machine is gone.
        let claim = world.claims.claim(&machine.uid().unwrap_or_default());
        let present = world
            .machines
            .get(machine.metadata.namespace.as_deref(), &machine.name_any())
            .filter(|present| present.metadata.uid == machine.metadata.uid && !world.is_leaving(present));
        if claim.is_none() || present.is_none() {
            return Ok(());
        }
        claim
    } else {
        None
    };
    let plan = Plan {
        effects: remedy.effects.clone(),
        ..Plan::nothing()
    };
    match execute(world, WRITER, subject, &plan, None).await {
        Ok(_) => {
            if remedy.treatment == Treatment::Deleted {
                let namespace = check.namespace().unwrap_or_default();
                world.metrics.remediated(&namespace, &check.name_any());
            }
            Ok(())
        }
        Err(error) => {
            complain(world, subject, check, machine, remedy.treatment, &error).await;
            Err(error)
        }
    }
}

/// Tells of a failure, once until something works again.
async fn complain(
    world: &World,
    subject: &Subject,
    check: &MachineHealthCheck,
    machine: &Machine,
    treatment: Treatment,
    error: &ReconcileError,
) {
    let list = check
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let told = conditions::find(list, conditions::READY).is_some_and(|c| c.reason == "ReconcileError");
    let reason = match treatment {
        Treatment::Deleted => "MachineDeletionFailed",
        Treatment::Annotated => "ExternalAnnotationFailed",
        // The conditions of the check tell of these.
        Treatment::Requested | Treatment::Withdrawn => return,
    };
    if told || error.is_conflict() {
        return;
    }
    let notice = Notice::warning(reason, error.chain());
    let plan = Plan {
        effects: vec![Effect::EmitAbout(Box::new(reference(machine)), notice)],
        ..Plan::nothing()
    };
    // Events fail with nothing.
    drop(execute(world, WRITER, subject, &plan, None).await);
}

/// Says something about one machine.
async fn say_about(world: &World, subject: &Subject, effects: Vec<Effect>) -> Result<(), ReconcileError> {
    let plan = Plan {
        effects,
        ..Plan::nothing()
    };
    execute(world, WRITER, subject, &plan, None).await.map(drop)
}
