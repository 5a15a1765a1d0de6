//! Carries the ownership of replicas between an object and its `scale` subresource. It must not touch other fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fieldset::{FieldSet, PathElement};
use super::managed::{ManagerKey, Managers, Owned};

/// The version of `Scale`.
const SCALE_VERSION: &str = "autoscaling/v1";
/// Where `Scale` has its replicas.
const SCALE_PATH: [&str; 2] = ["spec", "replicas"];

/// The `metadata.managedFields` that a `Scale` shows: the entries of the object that own its replicas.
///
/// `paths` tells where each version of the object has its replicas, such as `("apps/v1", &["spec", "replicas"])`.
pub fn scale_from_parent(parent_entries: &[Value], paths: &[(&str, &[&str])]) -> Vec<Value> {
    let Ok(parent) = Managers::decode(parent_entries) else {
        return Vec::new();
    };
    let mut scale = Managers::default();
    for (key, owned) in parent.0 {
        let owns = path_at(paths, &owned.api_version).is_some_and(|path| owned.fields.contains(&path));
        if owns {
            let fields = FieldSet::of_fields(&[&SCALE_PATH]);
            scale.0.insert(
                key,
                Owned {
                    fields,
                    api_version: SCALE_VERSION.to_owned(),
                    time: owned.time,
                },
            );
        }
    }
    scale.encode()
}

/// The `metadata.managedFields` of an object after a write to its `Scale`, whose entries are `scale_entries`.
///
/// `api_version` is the version of the object at which the request came.
pub fn scale_into_parent(
    parent_entries: &[Value],
    scale_entries: &[Value],
    api_version: &str,
    paths: &[(&str, &[&str])],
) -> Vec<Value> {
    let (Ok(parent), Ok(scale)) = (Managers::decode(parent_entries), Managers::decode(scale_entries)) else {
        return parent_entries.to_vec();
    };
    let times: BTreeMap<ManagerKey, Option<String>> = parent
        .0
        .iter()
        .map(|(key, owned)| (key.clone(), owned.time.clone()))
        .collect();
    let mut scale = scale.0;
    let mut out = Managers::default();
    for (key, mut owned) in parent.0 {
        let Some(path) = path_at(paths, &owned.api_version) else {
            // What is owned in a version that is no longer served stays owned.
            out.0.insert(key, owned);
            continue;
        };
        if owned.fields.contains(&path) && scale.remove(&key).is_none() {
            // Somebody else has set the replicas through the scale.
            let mut replicas = FieldSet::default();
            replicas.insert(&path);
            owned.fields = owned.fields.difference(&replicas);
            if owned.fields.is_empty() {
                continue;
            }
        }
        out.0.insert(key, owned);
    }
    let Some(path) = path_at(paths, api_version) else {
        return out.encode();
    };
    let scale_path: Vec<PathElement> = SCALE_PATH.iter().map(|name| super::element(name)).collect();
    for (key, owned) in scale {
        if !owned.fields.contains(&scale_path) {
            continue;
        }
        let mut fields = FieldSet::default();
        fields.insert(&path);
        let time = times.get(&key).cloned().flatten();
        out.0.insert(
            key,
            Owned {
                fields,
                api_version: api_version.to_owned(),
                time,
            },
        );
    }
    out.encode()
}

fn path_at(paths: &[(&str, &[&str])], version: &str) -> Option<Vec<PathElement>> {
    let (_, path) = paths.iter().find(|(v, _)| *v == version)?;
    Some(path.iter().map(|name| super::element(name)).collect())
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "test cases are written where they are used"
)]
mod tests {
    use super::*;
    use serde_json::json;

    const PATHS: [(&str, &[&str]); 1] = [("t/v1", &["spec", "replicas"])];

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
               "fieldsV1": fields})
    }

    #[test]
    fn a_scale_shows_who_owns_the_replicas() {
        let parent = [
            entry(
                "a",
                "Apply",
                "t/v1",
                json!({"f:spec": {"f:replicas": {}, "f:size": {}}}),
            ),
            entry("b", "Apply", "t/v1", json!({"f:spec": {"f:size": {}}})),
        ];
        let shown = scale_from_parent(&parent, &PATHS);
        assert_eq!(
            shown,
            [entry(
                "a",
                "Apply",
                SCALE_VERSION,
                json!({"f:spec": {"f:replicas": {}}})
            )]
        );
    }

    #[test]
    fn what_is_owned_in_other_versions_stays_owned() {
        let size = || json!({"f:spec": {"f:size": {}}});
        let both = json!({"f:spec": {"f:count": {}, "f:size": {}}});
        let parent = [
            entry("a", "Apply", "t/v2", both),
            entry("b", "Apply", "t/gone", size()),
        ];
        let mut writer = entry(
            "c",
            "Update",
            SCALE_VERSION,
            json!({"f:spec": {"f:replicas": {}}}),
        );
        writer["subresource"] = json!("scale");
        let paths: [(&str, &[&str]); 2] = [PATHS[0], ("t/v2", &["spec", "count"])];
        let after = scale_into_parent(&parent, &[writer], "t/v1", &paths);
        assert_eq!(after.len(), 3);
        assert_eq!(after[0], entry("a", "Apply", "t/v2", size()));
        assert_eq!(after[1], parent[1]);
    }

    #[test]
    fn a_write_to_the_scale_takes_the_replicas_over() {
        let parent = [entry(
            "a",
            "Apply",
            "t/v1",
            json!({"f:spec": {"f:replicas": {}, "f:size": {}}}),
        )];
        let mut writer = entry(
            "b",
            "Update",
            SCALE_VERSION,
            json!({"f:spec": {"f:replicas": {}}}),
        );
        writer["subresource"] = json!("scale");
        let after = scale_into_parent(&parent, &[writer], "t/v1", &PATHS);
        assert_eq!(after[0]["fieldsV1"], json!({"f:spec": {"f:size": {}}}));
        assert_eq!(after[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(
            (&after[1]["apiVersion"], &after[1]["subresource"]),
            (&json!("t/v1"), &json!("scale"))
        );
    }
}
