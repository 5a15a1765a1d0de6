//! What a `MachineDeployment` may do at once, read from its spec, and what is wrong with a spec that can't be used. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::template;
use crate::{
    api::{selector, v1alpha1::MachineDeployment},
    time::SignedDuration,
};

/// Seconds without progress after which a roll-out counts as stuck, if the spec says nothing (Deployment).
const DEADLINE: i32 = 600;
/// Longest value of a label: the name of a deployment becomes one.
const LABEL: usize = 63;

/// How a change of the template reaches the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// New machines come and old ones go within limits.
    Rolling {
        /// This many machines more than wanted may exist.
        surge: i32,
        /// This many machines of those that are wanted may be missing or not available.
        unavailable: i32,
    },
    /// Whoever wants an old machine replaced deletes it.
    OnDelete,
}

/// A spec that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many machines are wanted.
    pub(crate) replicas: i32,
    /// How a change reaches them.
    pub(crate) strategy: Strategy,
    /// Without progress for this time a roll-out counts as stuck; nothing: never.
    pub(crate) deadline: Option<SignedDuration>,
    /// How many old sets without machines are kept.
    pub(crate) history: usize,
}

impl Limits {
    /// Most machines that may exist.
    pub(crate) fn most(&self) -> i32 {
        match self.strategy {
            // Nobody wants any: none may be left over.
            Strategy::Rolling { surge, .. } if self.replicas > 0 => self.replicas.saturating_add(surge),
            Strategy::Rolling { .. } | Strategy::OnDelete => self.replicas,
        }
    }

    /// Fewest machines that have to be available.
    pub(crate) const fn fewest(&self) -> i32 {
        match self.strategy {
            Strategy::Rolling { unavailable, .. } if unavailable < self.replicas => {
                self.replicas - unavailable
            }
            Strategy::Rolling { .. } => 0,
            Strategy::OnDelete => self.replicas,
        }
    }
}

/// A field that can't be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub(crate) struct Invalid {
    field: &'static str,
    why: String,
}

fn invalid(field: &'static str, why: impl Into<String>) -> Invalid {
    Invalid {
        field,
        why: why.into(),
    }
}

/// Reads a spec. The API server refuses most of what is wrong; one without rules does not.
///
/// # Errors
/// Names the first field that can't be used.
pub(crate) fn limits(deployment: &MachineDeployment) -> Result<Limits, Invalid> {
    let spec = &deployment.spec;
    if deployment.name_any().len() > LABEL {
        let why = format!("it becomes a label and can have {LABEL} characters at most");
        return Err(invalid("metadata.name", why));
    }
    if spec.replicas < 0 {
        return Err(invalid("spec.replicas", "it can't be negative"));
    }
    selects_its_own(deployment)?;
    let (own, theirs) = (&spec.cluster_name, &spec.template.spec.cluster_name);
    if own.is_some() && theirs.is_some() && own != theirs {
        let why = "it is not the same as spec.template.spec.clusterName";
        return Err(invalid("spec.clusterName", why));
    }
    let policy = template::delete_policy(deployment).unwrap_or_default();
    if !["", "Random", "Newest", "Oldest"].contains(&policy) {
        let why = format!("\"{policy}\" is none of Random, Newest, Oldest");
        return Err(invalid("spec.strategy.rollingUpdate.deletePolicy", why));
    }
    Ok(Limits {
        replicas: spec.replicas,
        strategy: strategy(deployment)?,
        deadline: deadline(deployment)?,
        history: usize::try_from(spec.revision_history_limit.unwrap_or(1)).unwrap_or_default(),
    })
}

fn selects_its_own(deployment: &MachineDeployment) -> Result<(), Invalid> {
    let selector = &deployment.spec.selector;
    if selector::is_empty(selector) {
        return Err(invalid("spec.selector", "it is empty and would select nothing"));
    }
    if let Err(why) = selector::parse(selector) {
        return Err(invalid("spec.selector", why));
    }
    let labels = template::labels(deployment, None);
    if selector::selects(selector, Some(&labels)) {
        return Ok(());
    }
    let why = "it does not match the labels in spec.template.metadata.labels";
    Err(invalid("spec.selector", why))
}

fn strategy(deployment: &MachineDeployment) -> Result<Strategy, Invalid> {
    const SURGE: &str = "spec.strategy.rollingUpdate.maxSurge";
    const UNAVAILABLE: &str = "spec.strategy.rollingUpdate.maxUnavailable";
    let replicas = deployment.spec.replicas;
    let strategy = deployment.spec.strategy.clone().unwrap_or_default();
    match strategy.type_.as_deref().unwrap_or_default() {
        "" | "RollingUpdate" => {}
        "OnDelete" => return Ok(Strategy::OnDelete),
        other => {
            let why = format!("\"{other}\" is neither RollingUpdate nor OnDelete");
            return Err(invalid("spec.strategy.type", why));
        }
    }
    let given = strategy.rolling_update.unwrap_or_default();
    let surge = Amount::read(SURGE, given.max_surge.as_ref(), Amount::Number(1))?;
    let unavailable = Amount::read(UNAVAILABLE, given.max_unavailable.as_ref(), Amount::Number(0))?;
    if surge.is_zero() && unavailable.is_zero() {
        let why = "maxSurge and maxUnavailable can't both be 0";
        return Err(invalid("spec.strategy.rollingUpdate", why));
    }
    if matches!(unavailable, Amount::Percent(percent) if percent > 100) {
        return Err(invalid(UNAVAILABLE, "it can't be more than 100%"));
    }
    let surge = surge.of(replicas, Round::Up);
    let unavailable = unavailable.of(replicas, Round::Down).min(replicas);
    // Both are percentages of few machines: one machine at a time has to be enough (Deployment).
    let unavailable = if surge == 0 {
        unavailable.max(1)
    } else {
        unavailable
    };
    Ok(Strategy::Rolling { surge, unavailable })
}

fn deadline(deployment: &MachineDeployment) -> Result<Option<SignedDuration>, Invalid> {
    let ready = deployment.spec.min_ready_seconds.unwrap_or_default().max(0);
    let seconds = match deployment.spec.progress_deadline_seconds {
        Some(0) => return Ok(None),
        Some(given) if given <= ready => {
            let why = format!("it has to be greater than minReadySeconds, which is {ready}");
            return Err(invalid("spec.progressDeadlineSeconds", why));
        }
        Some(given) => i64::from(given),
        None if ready < DEADLINE => i64::from(DEADLINE),
        None => i64::from(ready) + i64::from(DEADLINE),
    };
    Ok(Some(SignedDuration::from_secs(seconds)))
}

/// A number of machines, or a part of those that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Number(i32),
    Percent(i32),
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

impl Amount {
    fn read(field: &'static str, given: Option<&IntOrString>, default: Self) -> Result<Self, Invalid> {
        let amount = match given {
            None => default,
            Some(IntOrString::Int(number)) => Self::Number(*number),
            Some(IntOrString::String(text)) => {
                let percent = text.strip_suffix('%');
                let digits = percent.unwrap_or(text);
                let number = digits
                    .parse::<i32>()
                    .ok()
                    .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
                    .ok_or_else(|| {
                        let why = format!("\"{text}\" is neither a number nor a percentage such as 25%");
                        invalid(field, why)
                    })?;
                if percent.is_some() {
                    Self::Percent(number)
                } else {
                    Self::Number(number)
                }
            }
        };
        if matches!(amount, Self::Number(number) if number < 0) {
            return Err(invalid(field, "it can't be negative"));
        }
        Ok(amount)
    }

    const fn is_zero(self) -> bool {
        matches!(self, Self::Number(0) | Self::Percent(0))
    }

    fn of(self, replicas: i32, round: Round) -> i32 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => {
                let hundredths = i64::from(replicas.max(0)) * i64::from(percent);
                let whole = match round {
                    Round::Up => (hundredths + 99) / 100,
                    Round::Down => hundredths / 100,
                };
                i32::try_from(whole).unwrap_or(i32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(replicas: i32, change: &Value) -> Result<Limits, String> {
        let mut object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineDeployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "pool": "web" } },
                "template": { "metadata": { "labels": { "pool": "web" } } },
            }
        });
        json_patch::merge(&mut object, &json!({ "spec": change }));
        let deployment = serde_json::from_value(object).map_err(|e| e.to_string())?;
        limits(&deployment).map_err(|e| e.to_string())
    }

    fn rolling(replicas: i32, surge: &Value, unavailable: &Value) -> Result<(i32, i32), String> {
        let update = json!({ "maxSurge": surge, "maxUnavailable": unavailable });
        match read(replicas, &json!({ "strategy": { "rollingUpdate": update } }))?.strategy {
            Strategy::Rolling { surge, unavailable } => Ok((surge, unavailable)),
            Strategy::OnDelete => Err("OnDelete".to_owned()),
        }
    }

    #[test]
    fn surge_is_rounded_up_and_unavailable_down() {
        for (replicas, surge, unavailable, expected) in [
            (10, json!(null), json!(null), (1, 0)),
            (10, json!("25%"), json!("25%"), (3, 2)),
            (4, json!("25%"), json!("25%"), (1, 1)),
            (3, json!("10%"), json!("10%"), (1, 0)),
            (3, json!(0), json!("10%"), (0, 1)),
            (3, json!(5), json!(7), (5, 3)),
            (3, json!("2"), json!("1"), (2, 1)),
            (i32::MAX, json!("100%"), json!("100%"), (i32::MAX, i32::MAX)),
            (0, json!("50%"), json!(0), (0, 1)),
        ] {
            let found = rolling(replicas, &surge, &unavailable);
            assert_eq!(found, Ok(expected), "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        let both = "spec.strategy.rollingUpdate: maxSurge and maxUnavailable can't both be 0";
        assert_eq!(rolling(3, &json!(0), &json!(0)), Err(both.into()));
        assert_eq!(rolling(3, &json!("0%"), &json!(0)), Err(both.into()));
        // The other one is 0 by default (Cluster API).
        assert_eq!(rolling(3, &json!(0), &json!(null)), Err(both.into()));
        for (change, field) in [
            (json!({ "replicas": -1 }), "spec.replicas"),
            (
                json!({ "clusterName": "a", "template": { "spec": { "clusterName": "b" } } }),
                "spec.clusterName",
            ),
            (json!({ "selector": { "matchLabels": null } }), "spec.selector"),
            (
                json!({ "selector": { "matchLabels": { "pool": "x" } } }),
                "spec.selector",
            ),
            (
                json!({ "selector": { "matchExpressions": [{ "key": "pool", "operator": "Like" }] } }),
                "spec.selector",
            ),
            (
                json!({ "strategy": { "type": "Recreate" } }),
                "spec.strategy.type",
            ),
            (
                json!({ "strategy": { "rollingUpdate": { "maxSurge": "many" } } }),
                "spec.strategy.rollingUpdate.maxSurge",
            ),
            (
                json!({ "strategy": { "rollingUpdate": { "maxSurge": "-5%" } } }),
                "spec.strategy.rollingUpdate.maxSurge",
            ),
            (
                json!({ "strategy": { "rollingUpdate": { "maxUnavailable": -1 } } }),
                "spec.strategy.rollingUpdate.maxUnavailable",
            ),
            (
                json!({ "strategy": { "rollingUpdate": { "maxUnavailable": "101%" } } }),
                "spec.strategy.rollingUpdate.maxUnavailable",
            ),
            (
                json!({ "strategy": { "rollingUpdate": { "deletePolicy": "Dearest" } } }),
                "spec.strategy.rollingUpdate.deletePolicy",
            ),
            (
                json!({ "minReadySeconds": 30, "progressDeadlineSeconds": 30 }),
                "spec.progressDeadlineSeconds",
            ),
        ] {
            let why = read(3, &change).unwrap_err();
            assert!(why.starts_with(&format!("{field}: ")), "{change}: {why}");
        }
    }

    #[test]
    fn the_selector_may_name_the_label_that_is_put_on_by_itself() {
        let selector = json!({ "matchLabels": { "pool": null, "machine.crit.sh/deployment-name": "web" } });
        assert!(read(3, &json!({ "selector": selector })).is_ok());
    }

    #[test]
    fn the_deadline_leaves_time_to_become_available() {
        let seconds = |change: &Value| read(3, change).unwrap().deadline.map(|d| d.as_secs());
        assert_eq!(seconds(&json!({})), Some(600));
        assert_eq!(seconds(&json!({ "minReadySeconds": 900 })), Some(1500));
        assert_eq!(seconds(&json!({ "progressDeadlineSeconds": 0 })), None);
        assert_eq!(
            seconds(&json!({ "progressDeadlineSeconds": 31, "minReadySeconds": 30 })),
            Some(31)
        );
    }

    #[test]
    fn nobody_wants_a_surge_of_nothing() {
        let none = read(0, &json!({})).unwrap();
        assert_eq!((none.most(), none.fewest()), (0, 0));
        let three = read(3, &json!({})).unwrap();
        assert_eq!((three.most(), three.fewest()), (4, 3));
    }
}
