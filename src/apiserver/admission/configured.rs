//! The webhooks and policies of the moment. They are read again when one has changed and somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::super::Server;
use super::super::callout::Target;
use super::super::object::meta;
use super::super::store::{Mark, Store, Stored};
use super::conditions::Conditions;
use super::matching::Matching;
use super::policy::{Binding, Policy};

/// The group of all that says who is to be asked.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";
const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
const BINDINGS: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";
/// Seconds that a webhook may take if it does not say.
const PATIENCE: u64 = 10;

/// One webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) name: String,
    /// Tells it from others: the name of its configuration and its own.
    pub(crate) id: String,
    pub(crate) target: Target,
    pub(crate) matching: Matching,
    pub(crate) conditions: Conditions,
    /// Whether a write goes on when it can't be asked.
    pub(crate) may_fail: bool,
    pub(crate) seconds: u64,
    /// Whether it does nothing but answer, at least to a dry run.
    pub(crate) may_try_out: bool,
    pub(crate) again: bool,
    pub(crate) reviews: Vec<String>,
}

/// All that is to be asked.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    pub(crate) mutating: Vec<Webhook>,
    pub(crate) validating: Vec<Webhook>,
    pub(crate) policies: Vec<(Policy, Vec<Binding>)>,
}

impl Registered {
    pub(crate) fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty()
    }

    fn read(store: &Store) -> Self {
        // Lists are in the order of names.
        let all = |resource: &str, kind: &str| -> Vec<Value> {
            let value = |stored: &Arc<Stored>| stored.value("admissionregistration.k8s.io/v1", kind);
            store.list(resource, None).1.iter().map(value).collect()
        };
        let bindings = all(BINDINGS, "ValidatingAdmissionPolicyBinding");
        let policies = all(POLICIES, "ValidatingAdmissionPolicy");
        let policies = policies.iter().filter_map(|policy| {
            let name = meta::name(policy);
            let of_policy = bindings.iter().filter(|b| b["spec"]["policyName"] == name);
            let bound: Vec<Binding> = of_policy.map(Binding::of).collect();
            (!bound.is_empty()).then(|| (Policy::of(policy), bound))
        });
        Self {
            mutating: webhooks(&all(MUTATING, "MutatingWebhookConfiguration")),
            validating: webhooks(&all(VALIDATING, "ValidatingWebhookConfiguration")),
            policies: policies.collect(),
        }
    }
}

fn webhooks(configurations: &[Value]) -> Vec<Webhook> {
    let mut all = Vec::new();
    for configuration in configurations {
        let listed = configuration["webhooks"].as_array().into_iter().flatten();
        all.extend(listed.map(|webhook| read(meta::name(configuration), webhook)));
    }
    all
}

fn read(configuration: &str, webhook: &Value) -> Webhook {
    let text = |field: &str| webhook[field].as_str().unwrap_or_default();
    let reviews = webhook["admissionReviewVersions"]
        .as_array()
        .into_iter()
        .flatten();
    let may_fail = text("failurePolicy") == "Ignore";
    Webhook {
        name: text("name").to_owned(),
        id: format!("{configuration}/{}", text("name")),
        target: Target::of(&webhook["clientConfig"]),
        matching: Matching::of_webhook(webhook),
        conditions: Conditions::of(&webhook["matchConditions"], may_fail),
        may_fail,
        seconds: webhook["timeoutSeconds"].as_u64().unwrap_or(PATIENCE),
        may_try_out: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
        again: text("reinvocationPolicy") == "IfNeeded",
        reviews: reviews.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// What is registered, and what tells that it has changed.
pub(crate) struct Configured(Mutex<Known>);

struct Known {
    changes: [Mark; 4],
    registered: Option<Arc<Registered>>,
}

impl Configured {
    /// Reads nothing yet.
    pub(crate) fn new(store: &Store) -> Self {
        let resources = [MUTATING, VALIDATING, POLICIES, BINDINGS];
        Self(Mutex::new(Known {
            changes: resources.map(|resource| store.mark(resource)),
            registered: None,
        }))
    }
}

impl Server {
    /// Returns the webhooks and policies as they are now.
    pub(crate) fn admission(&self) -> Arc<Registered> {
        let mut known = self.0.admission.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before it is read: what changes meanwhile is read the next time.
        let is_old = known.changes.iter_mut().any(Mark::has_changed);
        match &known.registered {
            Some(registered) if !is_old => Arc::clone(registered),
            _ => {
                let registered = Arc::new(Registered::read(self.store()));
                known.registered = Some(Arc::clone(&registered));
                registered
            }
        }
    }
}
