//! Patches: what a JSON patch, a merge patch or a strategic merge patch makes of an object. Pure: it must know neither
//! store nor HTTP, and must not check what comes out.

use json_patch::jsonptr::{Pointer, PointerBuf, Token};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::depth::{MAX_NEW_DEPTH, is_deeper_within};
use super::patch_strategic;
use crate::apiserver::schema::Structural;

/// How many operations a JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// How many bytes of JSON the copies of a JSON patch may add together.
pub const MAX_COPIED: usize = 3 << 20;

/// How many values the operations of a JSON patch may look at to see how deep they are: each may move nearly all of an object.
const MOST_VISITED: usize = 4_000_000;

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch cannot be read: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The patch has too many operations: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the object: 422, which kube-apiserver tells without details.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch does not fit the kind: 500, as kube-apiserver has it.
    #[error("{0}")]
    Internal(String),
}

/// Applies a JSON patch (RFC 6902) and returns the patched object.
///
/// # Errors
///
/// Patches that are no list of operations, and operations that do not apply.
pub fn json_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    const WANTED: &str = "[]handlers.jsonPatchOp";
    let Value::Array(operations) = patch else {
        return Err(undecodable(patch, WANTED));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    if let Some(operation) = operations.iter().find(|o| !o.is_object()) {
        return Err(undecodable(operation, "handlers.jsonPatchOp"));
    }
    let mut object = target.clone();
    let (mut copied, mut visits) = (0, MOST_VISITED);
    for operation in operations {
        let mut operation: json_patch::PatchOperation = Deserialize::deserialize(operation)
            .map_err(|error| PatchError::Unprocessable(format!("operation {operation}: {error}")))?;
        count_from_ends(&mut operation, &object);
        match operation {
            // The API server's library replaces what is not there, if it would be a field of an object,
            json_patch::PatchOperation::Replace(replace) if would_be_field(&replace.path, &object) => {
                let json_patch::ReplaceOperation { path, value } = replace;
                operation = json_patch::PatchOperation::Add(json_patch::AddOperation { path, value });
            }
            // and such a field is null.
            json_patch::PatchOperation::Test(test)
                if test.value.is_null() && would_be_field(&test.path, &object) =>
            {
                continue;
            }
            _ => {}
        }
        check_depth(&operation, &object, &mut visits)?;
        if let json_patch::PatchOperation::Copy(copy) = &operation
            && let Ok(value) = copy.from.resolve(&object)
        {
            // Each copy may double the object.
            copied += value.to_string().len();
            if copied > MAX_COPIED {
                return Err(PatchError::Unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                )));
            }
        }
        json_patch::patch(&mut object, std::slice::from_ref(&operation))
            .map_err(|error| PatchError::Unprocessable(error.to_string()))?;
    }
    Ok(object)
}

/// Says whether nothing is there, but an object that it would be a field of.
fn would_be_field(path: &Pointer, object: &Value) -> bool {
    let holder = || path.parent()?.resolve(object).ok();
    path.resolve(object).is_err() && holder().is_some_and(Value::is_object)
}

/// Replaces negative indices, which the API server's library counts from the ends of lists.
fn count_from_ends(operation: &mut json_patch::PatchOperation, object: &Value) {
    use json_patch::PatchOperation as Op;
    match operation {
        Op::Add(add) => count_from_end(&mut add.path, object, 1),
        Op::Remove(remove) => count_from_end(&mut remove.path, object, 0),
        Op::Replace(replace) => count_from_end(&mut replace.path, object, 0),
        Op::Test(test) => count_from_end(&mut test.path, object, 0),
        Op::Copy(copy) => {
            count_from_end(&mut copy.from, object, 0);
            count_from_end(&mut copy.path, object, 1);
        }
        Op::Move(moved) => {
            count_from_end(&mut moved.from, object, 0);
            // What moves within a list has left it before it comes back.
            let within = moved.from.parent() == moved.path.parent();
            count_from_end(&mut moved.path, object, usize::from(!within));
        }
    }
}

/// The same for one path. `more` is by how much its list will have grown.
fn count_from_end(path: &mut PointerBuf, object: &Value, more: usize) {
    if !path.as_str().contains("/-") {
        return;
    }
    let (last, mut at) = (path.count() - 1, Some(object));
    let tokens = path.tokens().enumerate().map(|(number, token)| {
        let back = token
            .encoded()
            .strip_prefix('-')
            .and_then(|back| back.parse::<usize>().ok());
        let count = at
            .and_then(Value::as_array)
            .map(|list| list.len() + if number == last { more } else { 0 });
        let token = match (count, back) {
            (Some(_), Some(0)) => Token::from(0_usize),
            (Some(count), Some(back)) if back <= count => Token::from(count - back),
            _ => token.to_owned(),
        };
        at = at.and_then(|value| {
            Pointer::parse(&format!("/{}", token.encoded()))
                .ok()?
                .resolve(value)
                .ok()
        });
        token
    });
    *path = PointerBuf::from_tokens(tokens.collect::<Vec<_>>());
}

/// Refuses an operation that puts something too deep into an object: a few copies of an object into itself would make it deeper than any
/// stack. `visits` is how many values may still be looked at.
fn check_depth(
    operation: &json_patch::PatchOperation,
    object: &Value,
    visits: &mut usize,
) -> Result<(), PatchError> {
    use json_patch::PatchOperation as Op;
    let put = match operation {
        Op::Add(add) => Some(&add.value),
        Op::Replace(replace) => Some(&replace.value),
        Op::Copy(copy) => copy.from.resolve(object).ok(),
        Op::Move(moved) => moved.from.resolve(object).ok(),
        Op::Remove(_) | Op::Test(_) => None,
    };
    let (Some(value), place) = (put, operation.path()) else {
        return Ok(());
    };
    let levels = MAX_NEW_DEPTH.checked_sub(place.count());
    let why = match levels.map_or(Some(true), |levels| is_deeper_within(value, levels, visits)) {
        Some(false) => return Ok(()),
        Some(true) => {
            format!("what is put at {place} would nest the object deeper than {MAX_NEW_DEPTH} levels")
        }
        None => format!("the operations put more than {MOST_VISITED} values into places"),
    };
    Err(PatchError::Unprocessable(why))
}

/// Applies a merge patch (RFC 7386) and returns the patched object.
///
/// # Errors
///
/// Patches that are no JSON object.
pub fn merge_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch = object_patch(patch)?;
    let mut object = target.clone();
    merge_map(&mut object, patch);
    Ok(object)
}

/// Applies a strategic merge patch, which merges lists as the schema of the kind tells, and returns the patched object.
///
/// Directives: `$patch` (`replace`, `delete`), `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.
///
/// # Errors
///
/// Patches that are no JSON object, directives that make no sense, and list items without their merge key.
pub fn strategic_merge_patch(
    target: &Value,
    patch: &Value,
    schema: &Structural,
) -> Result<Value, PatchError> {
    patch_strategic::apply(target, object_patch(patch)?, schema)
}

fn object_patch(patch: &Value) -> Result<&Map<String, Value>, PatchError> {
    patch
        .as_object()
        .ok_or_else(|| undecodable(patch, "map[string]interface {}"))
}

fn undecodable(patch: &Value, wanted: &str) -> PatchError {
    let found = match patch {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    PatchError::BadRequest(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
    ))
}

fn merge_map(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(patch) => merge_map(target.entry(key.clone()).or_insert(Value::Null), patch),
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn copies_end_when_they_grow_too_large() {
        let doubling = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = Value::Array(vec![doubling; 60]);
        let refused = json_patch(&json!({"a": ["x".repeat(100)]}), &patch).unwrap_err();
        assert!(
            matches!(&refused, PatchError::Unprocessable(why) if why.contains("exceeding the limit 3145728"))
        );
    }

    #[test]
    fn operations_do_not_make_an_object_deeper_than_can_be_read() {
        let deep = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
        // Each copy puts the object to its own lowest place, which makes it twice as deep.
        let double = |n: u32| json!({"op": "copy", "from": "/a", "path": "/a".repeat((1 << n) + 1)});
        let doubling = |times: u32| Value::Array((1..=times).map(double).collect());
        let target = json!({"a": {"a": {}}});
        assert!(json_patch(&target, &doubling(5)).is_ok());
        assert!(matches!(
            json_patch(&target, &doubling(17)),
            Err(PatchError::Unprocessable(why)) if why.contains("deeper than 120 levels")
        ));
        for (op, levels) in [("add", 100), ("replace", 100), ("move", 60)] {
            let target = json!({"a": deep(100), "b": deep(levels)});
            let (below, beside) = ("/a".repeat(90), "/c".to_owned());
            let patch = |path: String| match op {
                "move" => json!([{"op": op, "from": "/b", "path": path}]),
                _ => json!([{"op": op, "value": deep(levels), "path": path}]),
            };
            assert!(json_patch(&target, &patch(beside)).is_ok(), "{op}");
            assert!(json_patch(&target, &patch(below)).is_err(), "{op}");
        }
    }

    #[test]
    fn moves_of_large_values_end() {
        let (there, back) = (
            json!({"op": "move", "from": "/a", "path": "/b"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        );
        let patch = |times: usize| Value::Array(vec![[there.clone(), back.clone()]; times].concat());
        let large = json!({"a": vec![json!([]); 50_000]});
        assert_eq!(json_patch(&large, &patch(10)), Ok(large.clone()));
        let refused = json_patch(&large, &patch(50)).unwrap_err();
        assert!(
            matches!(&refused, PatchError::Unprocessable(why) if why.contains("more than 4000000 values"))
        );
        let small = json!({"a": 1});
        assert_eq!(json_patch(&small, &patch(MAX_OPERATIONS / 2)), Ok(small.clone()));
    }

    #[test]
    fn json_patches_apply_in_order() {
        let patched = json_patch(
            &json!({"a": {"b": 1}, "l": [1]}),
            &json!([
                {"op": "test", "path": "/a/b", "value": 1},
                {"op": "add", "path": "/l/-", "value": 2},
                {"op": "copy", "from": "/a/b", "path": "/c"},
                {"op": "remove", "path": "/a"}
            ]),
        );
        assert_eq!(patched, Ok(json!({"c": 1, "l": [1, 2]})));
        assert_eq!(json_patch(&json!({"a": 1}), &json!([])), Ok(json!({"a": 1})));
    }

    #[test]
    fn a_field_that_is_not_there_is_replaced_all_the_same() {
        let patch = json!([{"op": "replace", "path": "/z", "value": 2}]);
        assert_eq!(json_patch(&json!({"a": 1}), &patch), Ok(json!({"a": 1, "z": 2})));
    }

    #[test]
    fn a_field_that_is_not_there_is_null() {
        let test = |path: &str, value: Value| {
            json_patch(
                &json!({"a": {}, "l": []}),
                &json!([{"op": "test", "path": path, "value": value}]),
            )
            .is_ok()
        };
        assert!(test("/a/x", Value::Null));
        assert!(!test("/a/x", json!(1)));
        assert!(!test("/b/x", Value::Null));
        assert!(!test("/l/0", Value::Null));
        assert!(!test("/a", Value::Null));
    }

    #[test]
    fn negative_indices_count_from_the_end() {
        let object = json!({"l": [{"n": 1}, {"n": 2}, {"n": 3}], "-1": 5});
        let patched = |operation: Value| json_patch(&object, &json!([operation])).map(|o| o["l"].to_string());
        for (operation, wanted) in [
            (json!({"op": "remove", "path": "/l/-1"}), r#"[{"n":1},{"n":2}]"#),
            (json!({"op": "remove", "path": "/l/-0"}), r#"[{"n":2},{"n":3}]"#),
            (
                json!({"op": "replace", "path": "/l/-3/n", "value": 0}),
                r#"[{"n":0},{"n":2},{"n":3}]"#,
            ),
            (
                json!({"op": "add", "path": "/l/-1", "value": 4}),
                r#"[{"n":1},{"n":2},{"n":3},4]"#,
            ),
            (
                json!({"op": "add", "path": "/l/-2", "value": 4}),
                r#"[{"n":1},{"n":2},4,{"n":3}]"#,
            ),
            (
                json!({"op": "copy", "from": "/l/-3", "path": "/l/-1"}),
                r#"[{"n":1},{"n":2},{"n":3},{"n":1}]"#,
            ),
            (
                json!({"op": "move", "from": "/l/-3", "path": "/l/-1"}),
                r#"[{"n":2},{"n":3},{"n":1}]"#,
            ),
            (
                json!({"op": "test", "path": "/-1", "value": 5}),
                r#"[{"n":1},{"n":2},{"n":3}]"#,
            ),
        ] {
            assert_eq!(patched(operation.clone()), Ok(wanted.to_owned()), "{operation}");
        }
        for path in ["/l/-4", "/l/--1", "/l/-x"] {
            assert!(patched(json!({"op": "remove", "path": path})).is_err(), "{path}");
        }
    }

    #[test]
    fn json_patches_that_do_not_fit_are_refused() {
        let refused = |patch: Value| json_patch(&json!({"a": 1}), &patch).unwrap_err();
        let words = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!(
            refused(json!({"op": "add"})),
            PatchError::BadRequest(words.to_owned())
        );
        for patch in [
            json!([{"op": "bogus", "path": "/x"}]),
            json!([{"op": "add", "path": "/l/-", "value": 1}]),
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "remove", "path": "/z"}]),
            json!([{"op": "replace", "path": "/z/y", "value": 1}]),
        ] {
            assert!(
                matches!(refused(patch.clone()), PatchError::Unprocessable(_)),
                "{patch}"
            );
        }
        let many = Value::Array(vec![
            json!({"op": "test", "path": "/a", "value": 1});
            MAX_OPERATIONS + 1
        ]);
        assert!(matches!(refused(many), PatchError::TooLarge(_)));
    }

    /// The examples of RFC 7386, appendix A, whose patch is an object.
    #[test]
    fn merge_patches_follow_the_rfc() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(merge_patch(&target, &patch), Ok(expected), "{target} {patch}");
        }
        let words = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
        assert_eq!(
            merge_patch(&json!({}), &json!([])),
            Err(PatchError::BadRequest(words.to_owned()))
        );
    }
}
