//! Whether a set can be worked with: its selector, its template, the object that its machines' infrastructure is copied from. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt as _},
};
use serde_json::Value;

use super::{
    in_place::Wanted,
    observe::{ClusterView, Observed, TemplateView, Trouble},
};
use crate::api::{
    labels, selector,
    v1alpha1::{Machine, MachineSet},
};

/// What a kind ends with that others are copied from.
const TEMPLATE: &str = "Template";
/// Reason of events and conditions when the set itself is at fault.
const INVALID: &str = "InvalidConfiguration";
/// Reason of conditions when the set may make no machines.
pub(super) const CREATE_DISABLED: &str = "CreateDisabled";
/// Where the reference to the template stands.
const FIELD: &str = "spec.template.spec.infrastructureRef";

/// What the machines' infrastructure is, or is copied from.
pub(super) fn reference(set: &MachineSet) -> Option<ObjectReference> {
    set.spec.template.spec.infrastructure_ref.clone()
}

/// A reference to the kind that a template stands for: that without `Template` at its end. Nothing if the reference is to no template.
pub(super) fn of_clones(reference: &ObjectReference) -> Option<ObjectReference> {
    let kind = reference.kind.as_deref()?.strip_suffix(TEMPLATE)?;
    (!kind.is_empty()).then(|| ObjectReference {
        api_version: reference.api_version.clone(),
        kind: Some(kind.to_owned()),
        ..ObjectReference::default()
    })
}

/// Whether a selector that is not empty selects a Machine.
pub(super) fn matches(selector: &Selector, machine: &Machine) -> bool {
    match &machine.metadata.labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&BTreeMap::new()),
    }
}

/// How many machines there should be.
pub(super) fn desired(set: &MachineSet) -> usize {
    usize::try_from(set.spec.replicas).unwrap_or_default()
}

/// Whether the template of the infrastructure has to be read in this look: because machines are missing, because an infrastructure object
/// is, or because what the autoscaler is told from it may be old.
pub(super) fn is_needed(o: &Observed) -> bool {
    if reference(&o.set).is_none_or(|r| of_clones(&r).is_none()) {
        return false;
    }
    let Ok(selector) = selector(&o.set) else {
        return false;
    };
    let staying = o
        .members
        .iter()
        .filter(|m| !m.leaving && matches(&selector, &m.machine))
        .count()
        + o.orphans.len();
    let new = o
        .set
        .status
        .as_ref()
        .is_none_or(|s| s.observed_generation != o.set.metadata.generation);
    let replaces = o.set.spec.replace_failed == Some(true)
        && o.members
            .iter()
            .any(|m| !m.leaving && super::failed::has_failed(&m.machine));
    new || replaces || staying < desired(&o.set) || o.members.iter().any(|m| m.lacks_clone)
}

/// The selector of a set that can be worked with.
pub(super) fn selector(set: &MachineSet) -> Result<Selector, Trouble> {
    let invalid = |message: String| Trouble {
        reason: INVALID,
        message,
    };
    if set.spec.replicas < 0 {
        return Err(invalid(format!(
            "spec.replicas is {}: it can't be negative",
            set.spec.replicas
        )));
    }
    if selector::is_empty(&set.spec.selector) {
        return Err(invalid(
            "spec.selector is empty and so selects nothing: set spec.selector.matchLabels to labels that \
             spec.template.metadata.labels has"
                .to_owned(),
        ));
    }
    let parsed = selector::parse(&set.spec.selector)
        .map_err(|e| invalid(format!("spec.selector can't be read: {e}")))?;
    if !parsed.matches(&Wanted::of(set).labels) {
        return Err(invalid(format!(
            "spec.selector ({parsed}) does not select the machines that spec.template.metadata.labels describes"
        )));
    }
    let (own, theirs) = (&set.spec.cluster_name, &set.spec.template.spec.cluster_name);
    if own.is_some() && theirs.is_some() && own != theirs {
        return Err(invalid(format!(
            "spec.clusterName is \"{}\" and spec.template.spec.clusterName is \"{}\": they have to be the same",
            own.as_deref().unwrap_or_default(),
            theirs.as_deref().unwrap_or_default()
        )));
    }
    Ok(parsed)
}

/// What stands in the way of so many new machines, or of a host for one that is there.
pub(super) fn obstacle(o: &Observed, missing: usize) -> Option<Trouble> {
    let trouble = |reason: &'static str, message: String| Some(Trouble { reason, message });
    let cluster = o.set.cluster_name().unwrap_or_default();
    match o.cluster {
        ClusterView::Missing => {
            return trouble(
                "ClusterNotFound",
                format!("there is no Cluster \"{cluster}\" in this namespace (spec.clusterName)"),
            );
        }
        ClusterView::Deleting => {
            return trouble(
                "ClusterDeleting",
                format!("Cluster \"{cluster}\" is being deleted"),
            );
        }
        ClusterView::NotNamed | ClusterView::Found => {}
    }
    let disabled = o.set.annotations().get(labels::DISABLE_MACHINE_CREATE);
    if missing > 0 && disabled.is_some_and(|v| v == "true") {
        return trouble(
            CREATE_DISABLED,
            format!(
                "the annotation {} keeps the set from making machines",
                labels::DISABLE_MACHINE_CREATE
            ),
        );
    }
    let reference = reference(&o.set)?;
    let (kind, name) = (
        reference.kind.as_deref().unwrap_or_default(),
        reference.name.as_deref().unwrap_or_default(),
    );
    if kind.is_empty() || name.is_empty() {
        return trouble(INVALID, format!("{FIELD} needs apiVersion, kind and name"));
    }
    if of_clones(&reference).is_none() {
        return plain(o, kind, name);
    }
    match &o.template {
        TemplateView::Unread => None,
        TemplateView::UnknownKind(unknown) => trouble(
            "UnknownKind",
            format!("{FIELD} names {kind} \"{name}\", and the API server does not know the kind {unknown}"),
        ),
        TemplateView::Missing => trouble(
            "TemplateNotFound",
            format!("there is no {kind} \"{name}\" in this namespace ({FIELD})"),
        ),
        TemplateView::Found { template, .. } => match template.data.pointer("/spec/template/spec") {
            Some(Value::Object(_)) => None,
            _ => trouble(
                INVALID,
                format!("{kind} \"{name}\" ({FIELD}) has no spec.template.spec"),
            ),
        },
    }
}

/// An infrastructure object itself instead of a template: it can be the host of one machine.
fn plain(o: &Observed, kind: &str, name: &str) -> Option<Trouble> {
    if desired(&o.set) > 1 {
        return Some(Trouble {
            reason: INVALID,
            message: format!(
                "{FIELD} names {kind} \"{name}\", which can be one machine and not {}: name a {kind}{TEMPLATE}",
                desired(&o.set)
            ),
        });
    }
    let holder = o.members.iter().find(|m| m.leaving)?;
    Some(Trouble {
        reason: "InfrastructureInUse",
        message: format!(
            "{kind} \"{name}\" ({FIELD}) is still in use by Machine \"{}\", which is on its way out",
            holder.machine.name_any()
        ),
    })
}
