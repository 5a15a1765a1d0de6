//! Which conditions make a machine broken: those of the check, else those of the `ConfigMap` of 2019, else the default. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::api::{
    duration::Duration,
    v1alpha1::{MachineHealthCheckSpec, UnhealthyCondition},
};

/// Key of the `ConfigMap` under which the list stands.
const KEY: &str = "conditions";
/// How long a Node may be not Ready if nobody says otherwise (`OpenShift` of 2019).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Returns the Node conditions that make a machine broken; `map` is the data of the `ConfigMap`, if there is one.
///
/// # Errors
/// Says what in the `ConfigMap` can't be used.
pub(super) fn rules(
    spec: &MachineHealthCheckSpec,
    map: Option<&BTreeMap<String, String>>,
) -> Result<Vec<UnhealthyCondition>, String> {
    match (&spec.unhealthy_conditions, map) {
        (Some(own), _) => Ok(own.clone()),
        (None, Some(data)) => legacy(data),
        (None, None) => Ok(["False", "Unknown"].map(not_ready).into()),
    }
}

fn not_ready(status: &str) -> UnhealthyCondition {
    UnhealthyCondition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        timeout: DEFAULT_TIMEOUT,
    }
}

#[derive(Deserialize)]
struct Items {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "type")]
    name: String,
    /// `True` without quotes is a boolean in YAML.
    status: Value,
    #[serde(default)]
    timeout: Duration,
}

/// Reads the form of 2019: `items: [{name, status, timeout}]`.
fn legacy(data: &BTreeMap<String, String>) -> Result<Vec<UnhealthyCondition>, String> {
    let name = super::UNHEALTHY_CONDITIONS;
    let text = data
        .get(KEY)
        .ok_or_else(|| format!("ConfigMap {name} has no key \"{KEY}\""))?;
    let unusable = |why: &str| format!("ConfigMap {name}, key \"{KEY}\": {why}");
    let parsed: Items = crate::yaml::from_str(text).map_err(|e| unusable(&e.to_string()))?;
    if parsed.items.is_empty() {
        return Err(unusable("there are no items"));
    }
    let read = |item: Item| {
        let status = match &item.status {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            other => return Err(unusable(&format!("status {other} of {} is no text", item.name))),
        };
        Ok(UnhealthyCondition {
            type_: item.name,
            status,
            timeout: item.timeout,
        })
    };
    parsed.items.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_map(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let data = BTreeMap::from([(KEY.to_owned(), text.to_owned())]);
        let rules = rules(&MachineHealthCheckSpec::default(), Some(&data))?;
        Ok(rules
            .into_iter()
            .map(|r| (r.type_, r.status, r.timeout.to_string()))
            .collect())
    }

    #[test]
    fn h17_the_config_map_of_2019_drives_the_conditions() {
        let text = "items:\n- name: NetworkUnavailable\n  status: True\n  timeout: 60s\n- type: Ready\n  status: \"Unknown\"\n  timeout: 5m\n";
        let rule = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            from_map(text).unwrap(),
            [
                rule("NetworkUnavailable", "True", "1m0s"),
                rule("Ready", "Unknown", "5m0s")
            ]
        );
    }

    #[test]
    fn h17_without_the_config_map_a_node_that_is_not_ready_for_five_minutes_is_bad() {
        let found = rules(&MachineHealthCheckSpec::default(), None).unwrap();
        let statuses: Vec<_> = found
            .iter()
            .map(|r| (r.type_.as_str(), r.status.as_str(), r.timeout))
            .collect();
        let limit = Duration::from_secs(300);
        assert_eq!(statuses, [("Ready", "False", limit), ("Ready", "Unknown", limit)]);
    }

    #[test]
    fn h17_a_config_map_that_says_nothing_usable_is_an_error() {
        let none = rules(&MachineHealthCheckSpec::default(), Some(&BTreeMap::new())).unwrap_err();
        assert_eq!(
            none,
            "ConfigMap node-unhealthy-conditions has no key \"conditions\""
        );
        for text in [
            "",
            "items: []",
            "items: 3",
            "items: [{name: Ready}]",
            "items: [{name: Ready, status: [1]}]",
            "items: [{name: Ready, status: Unknown, timeout: soon}]",
        ] {
            assert!(from_map(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_checks_own_conditions_win() {
        let own = MachineHealthCheckSpec {
            unhealthy_conditions: Some(vec![not_ready("False")]),
            ..MachineHealthCheckSpec::default()
        };
        assert_eq!(rules(&own, Some(&BTreeMap::new())).unwrap().len(), 1);
    }
}
