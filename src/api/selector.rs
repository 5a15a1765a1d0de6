//! Label selectors: read, compared and written as Kubernetes does. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

/// Reads a selector. An empty one selects everything.
///
/// # Errors
/// Returns why it can't be read, for example an operator that does not exist.
pub fn parse(selector: &LabelSelector) -> Result<Selector, String> {
    Selector::try_from(selector.clone()).map_err(|e| e.to_string())
}

/// Whether a selector says nothing, so that it would select everything.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether labels fulfil a selector. A selector that is empty or can't be read is fulfilled by nothing: sets and deployments take no
/// machines by accident (`OpenShift`: an empty selector of a `MachineSet` matches nothing).
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    !is_empty(selector) && parse(selector).is_ok_and(|s| s.matches(labels.unwrap_or(&none)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_matched_as_kubernetes_does() {
        let labels: BTreeMap<String, String> = [("pool", "a"), ("zone", "1")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let is =
            |selector: serde_json::Value| selects(&serde_json::from_value(selector).unwrap(), Some(&labels));
        assert!(is(json!({"matchLabels": {"pool": "a"}})));
        assert!(!is(json!({"matchLabels": {"pool": "b"}})));
        assert!(is(
            json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["1", "2"]}]})
        ));
        assert!(is(
            json!({"matchExpressions": [{"key": "gone", "operator": "DoesNotExist"}]})
        ));
        assert!(!is(json!({})));
        assert!(!is(
            json!({"matchExpressions": [{"key": "zone", "operator": "Between"}]})
        ));
    }

    #[test]
    fn a_selector_is_written_as_clients_send_it() {
        let selector = serde_json::from_value(json!({"matchLabels": {"pool": "a", "zone": "1"}})).unwrap();
        assert_eq!(parse(&selector).unwrap().to_string(), "pool=a,zone=1");
    }
}
