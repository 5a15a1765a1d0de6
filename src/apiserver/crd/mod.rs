//! Custom resource definitions: what they serve, how they are completed, what is wrong with them.
//! Pure: it must not store anything or look at the clock.

mod conversion;
mod served;
mod structure;
mod validate;

use serde_json::{Value, json};

use super::builtin::Registry;
use crate::time::{Timestamp, rfc3339};

pub(crate) use served::{has_condition, served_resources};
pub(crate) use validate::validate;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn versions(definition: &Value) -> &[Value] {
    definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns the name of the version in which objects are stored.
pub(crate) fn storage_version(definition: &Value) -> Option<&str> {
    versions(definition)
        .iter()
        .find(|v| v["storage"] == true)
        .map(|version| text(version, "/name"))
}

/// Fills in the names that follow from the kind, and the conversion.
pub(crate) fn set_defaults(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !kind.is_empty() {
            let mut fill = |field: &str, value: String| {
                if names.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                    names.insert(field.to_owned(), value.into());
                }
            };
            fill("singular", kind.to_lowercase());
            fill("listKind", format!("{kind}List"));
        }
    }
    let conversion = spec
        .entry("conversion")
        .or_insert_with(|| json!({"strategy": "None"}));
    if let Some(service) = conversion
        .pointer_mut("/webhook/clientConfig/service")
        .and_then(Value::as_object_mut)
    {
        service.entry("port").or_insert_with(|| 443.into());
    }
}

/// Gives a new definition the status it starts with.
pub(crate) fn reset_status(definition: &mut Value) {
    let stored: Value = storage_version(definition).map_or(Value::Null, |version| json!([version]));
    definition["status"] =
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": stored});
}

/// Notes the present storage version among those that objects may be stored in.
pub(crate) fn note_stored_versions(definition: &mut Value) {
    let Some(storage) = storage_version(definition).map(str::to_owned) else {
        return;
    };
    if !definition["status"].is_object() {
        return reset_status(definition);
    }
    match definition["status"]["storedVersions"].as_array_mut() {
        Some(known) if known.iter().any(|v| *v == storage.as_str()) => {}
        Some(known) => known.push(storage.into()),
        None => definition["status"]["storedVersions"] = json!([storage]),
    }
}

/// Accepts the names of a definition and establishes it, or says which name another one holds. To be called when a
/// definition is written, and again when another one of its group goes. Returns whether anything changed.
pub(crate) fn accept(definition: &mut Value, registry: &Registry, now: Timestamp) -> bool {
    let before = definition.get("status").cloned();
    if !definition["status"].is_object() {
        reset_status(definition);
    }
    let conflict = conflict(definition, registry);
    let names = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let established = has_condition(definition, "Established");
    let (accepted, lasting) = match &conflict {
        None => {
            definition["status"]["acceptedNames"] = names;
            (
                ("True", "NoConflicts", "no conflicts found".to_owned()),
                (
                    "True",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                ),
            )
        }
        Some((reason, message)) => (
            ("False", *reason, message.clone()),
            // What was established once stays so.
            if established {
                (
                    "True",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                )
            } else {
                ("False", "NotAccepted", "not all names are accepted")
            },
        ),
    };
    set_condition(
        definition,
        "NamesAccepted",
        accepted.0,
        accepted.1,
        &accepted.2,
        now,
    );
    set_condition(definition, "Established", lasting.0, lasting.1, lasting.2, now);
    definition.get("status").cloned() != before
}

/// Marks a definition as being removed, together with its objects.
pub(crate) fn mark_terminating(definition: &mut Value, now: Timestamp) {
    if !definition["status"].is_object() {
        reset_status(definition);
    }
    set_condition(
        definition,
        "Terminating",
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
        now,
    );
}

fn set_condition(
    definition: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if !definition["status"]["conditions"].is_array() {
        definition["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = definition["status"]["conditions"].as_array_mut() else {
        return;
    };
    let condition = |since: Value| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(known) => {
            let since = if known["status"] == status {
                known["lastTransitionTime"].clone()
            } else {
                rfc3339(now).into()
            };
            *known = condition(since);
        }
        None => conditions.push(condition(rfc3339(now).into())),
    }
}

/// Returns the reason and message of the first name that another definition of the group holds.
fn conflict(definition: &Value, registry: &Registry) -> Option<(&'static str, String)> {
    let group = text(definition, "/spec/group");
    let own = text(definition, "/metadata/name");
    let others: Vec<_> = registry
        .all()
        .iter()
        .filter(|r| r.group == group && r.crd_name.as_deref() != Some(own))
        .collect();
    let in_use = |name: &str| format!("{name:?} is already in use");
    let name = |field: &str| text(definition, &format!("/spec/names/{field}"));
    let taken = |wanted: &str| {
        !wanted.is_empty()
            && others.iter().any(|r| {
                r.plural == wanted || r.singular == wanted || r.short_names.iter().any(|s| s == wanted)
            })
    };
    let kind_taken = |wanted: &str| others.iter().any(|r| r.kind == wanted || r.list_kind == wanted);
    let plural = taken(name("plural")).then(|| ("PluralConflict", in_use(name("plural"))));
    let singular = taken(name("singular")).then(|| ("SingularConflict", in_use(name("singular"))));
    let short = definition
        .pointer("/spec/names/shortNames")
        .and_then(Value::as_array);
    let short = short
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|s| taken(s))
        .map(|wanted| ("ShortNamesConflict", in_use(wanted)));
    let kind = kind_taken(name("kind")).then(|| ("KindConflict", in_use(name("kind"))));
    let list = kind_taken(name("listKind")).then(|| ("ListKindConflict", in_use(name("listKind"))));
    // Of several conflicts the last is told.
    list.or(kind).or(short).or(singular).or(plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, plural: &str, kind: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"group": "a.b", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true}]}})
    }

    #[test]
    fn a_definition_is_completed_and_established_at_once() {
        let mut made = definition("xs.a.b", "xs", "X");
        set_defaults(&mut made);
        reset_status(&mut made);
        assert_eq!(
            made["spec"]["names"],
            json!({"plural": "xs", "kind": "X", "singular": "x", "listKind": "XList"})
        );
        assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
        assert!(accept(&mut made, &Registry::builtin(), Timestamp::UNIX_EPOCH));
        assert!(has_condition(&made, "Established") && has_condition(&made, "NamesAccepted"));
        assert!(
            !accept(&mut made, &Registry::builtin(), Timestamp::UNIX_EPOCH),
            "nothing is left to do"
        );
    }

    #[test]
    fn a_name_in_use_is_not_accepted() {
        let mut first = definition("xs.a.b", "xs", "X");
        set_defaults(&mut first);
        accept(&mut first, &Registry::builtin(), Timestamp::UNIX_EPOCH);
        let registry = Registry::builtin().with_crd(&first);
        let mut second = definition("ys.a.b", "ys", "X");
        set_defaults(&mut second);
        accept(&mut second, &registry, Timestamp::UNIX_EPOCH);
        assert!(!has_condition(&second, "Established"));
        assert_eq!(
            second["status"]["conditions"][0]["message"], "\"XList\" is already in use",
            "of several the last is told"
        );
    }

    #[test]
    fn stored_versions_are_remembered() {
        let mut made = definition("xs.a.b", "xs", "X");
        reset_status(&mut made);
        made["spec"]["versions"] = json!([{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]);
        note_stored_versions(&mut made);
        note_stored_versions(&mut made);
        assert_eq!(made["status"]["storedVersions"], json!(["v1", "v2"]));
    }
}
