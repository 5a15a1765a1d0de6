//! Custom resources in another API version than the one in which they are stored: converted by the webhook that their definition names.
//! It must not judge content: what comes back is only checked for being the same object.
//!
//! Without a webhook nothing is converted, versions only change the name; that path costs one look at the resource.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Server;
use super::builtin::{ResourceInfo, group_version, meta as rules};
use super::callout::Target;
use super::object::meta;
use super::schema::FieldError;
use super::status::ApiError;
use super::store::Stored;

/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in one review at most.
const BATCH: usize = 500;

/// How objects of a definition get from one version to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversion {
    pub(crate) target: Target,
    /// The versions of reviews that the webhook understands, in its order.
    pub(crate) reviews: Vec<String>,
    /// The version of objects of which nobody knows in which one they were written.
    pub(crate) unknown: String,
}

impl Conversion {
    /// Reads what a definition says; nothing if versions only change the name.
    pub(crate) fn of(definition: &Value) -> Option<Self> {
        let conversion = definition.pointer("/spec/conversion")?;
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = conversion.get("webhook")?;
        let texts = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        // The oldest version that anything was stored in: objects without a version are from an older release.
        let stored = definition
            .pointer("/status/storedVersions")
            .map(texts)
            .unwrap_or_default();
        Some(Self {
            target: Target::of(webhook.get("clientConfig").unwrap_or(&Value::Null)),
            reviews: texts(&webhook["conversionReviewVersions"]),
            unknown: stored.into_iter().next().unwrap_or_default(),
        })
    }
}

/// Says whether an object was written in the version in which its kind is stored now. If not, a write that changes nothing
/// is a change.
pub(crate) fn is_stored_as_it_should(info: &ResourceInfo, stored: &Stored) -> bool {
    !info.custom
        || stored
            .written_in()
            .is_none_or(|version| *version == *info.storage_version)
}

/// Returns the version in which a stored object is, if it is not the one of `info` and must be converted.
fn foreign_version(info: &ResourceInfo, stored: &Stored) -> Option<String> {
    let conversion = info.conversion.as_ref()?;
    let version = match stored.written_in() {
        Some(version) => version.to_string(),
        None if conversion.unknown.is_empty() => info.storage_version.clone(),
        None => conversion.unknown.clone(),
    };
    (version != info.version).then_some(version)
}

impl Server {
    /// Returns a stored object as one of `info`'s version.
    ///
    /// # Errors
    /// The webhook fails.
    pub(crate) async fn present(
        &self,
        info: &ResourceInfo,
        stored: Arc<Stored>,
    ) -> Result<Arc<Stored>, ApiError> {
        if info.conversion.is_none() {
            return Ok(stored);
        }
        let mut shown = Box::pin(self.present_all(info, vec![stored])).await?;
        shown
            .pop()
            .ok_or_else(|| ApiError::plain_500("an object got lost in its conversion"))
    }

    /// Returns stored objects as ones of `info`'s version; those that must be converted go to the webhook together.
    ///
    /// # Errors
    /// The webhook fails.
    pub(crate) async fn present_all(
        &self,
        info: &ResourceInfo,
        mut objects: Vec<Arc<Stored>>,
    ) -> Result<Vec<Arc<Stored>>, ApiError> {
        let Some(conversion) = &info.conversion else {
            return Ok(objects);
        };
        let foreign = |(at, stored): (usize, &Arc<Stored>)| Some((at, foreign_version(info, stored)?));
        let foreign: Vec<(usize, String)> = objects.iter().enumerate().filter_map(foreign).collect();
        for batch in foreign.chunks(BATCH) {
            let originals: Vec<Value> = batch
                .iter()
                .filter_map(|(at, version)| {
                    let stored = objects.get(*at)?;
                    Some(stored.value(&group_version(&info.group, version), &info.kind))
                })
                .collect();
            let converted = self.convert(conversion, originals, &info.api_version()).await?;
            for ((at, _), mut object) in batch.iter().zip(converted) {
                tidy(info, &mut object);
                if let Some(place) = objects.get_mut(*at) {
                    *place = Arc::new(place.with_content(object));
                }
            }
        }
        Ok(objects)
    }

    /// Returns an object of `info`'s version as one of the version in which it is to be stored.
    ///
    /// # Errors
    /// The webhook fails.
    pub(crate) async fn to_stored_version(
        &self,
        info: &ResourceInfo,
        mut object: Value,
    ) -> Result<Value, ApiError> {
        if info.version == info.storage_version {
            return Ok(object);
        }
        let wanted = group_version(&info.group, &info.storage_version);
        let Some(conversion) = &info.conversion else {
            object["apiVersion"] = wanted.into();
            return Ok(object);
        };
        let converted = Box::pin(self.convert(conversion, vec![object], &wanted)).await?;
        let mut converted = converted
            .into_iter()
            .next()
            .ok_or_else(|| ApiError::plain_500("an object got lost in its conversion"))?;
        // The schema of a version that is not served is not known here; nobody is shown the object as it is stored, then.
        let registry = self.registry();
        if let Some(stored) = registry.find(&info.group, &info.storage_version, &info.plural) {
            tidy(&stored, &mut converted);
        }
        Ok(converted)
    }

    /// Has objects converted to `wanted`, in one review.
    ///
    /// # Errors
    /// The webhook fails, or does not answer with the same objects.
    pub(crate) async fn convert(
        &self,
        conversion: &Conversion,
        originals: Vec<Value>,
        wanted: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let Some(review) = conversion
            .reviews
            .iter()
            .find(|v| matches!(v.as_str(), "v1" | "v1beta1"))
        else {
            return Err(ApiError::plain_500("no supported conversion review versions"));
        };
        let kind = originals.first().map(describe).unwrap_or_default();
        let failed = |why: String| ApiError::plain_500(format!("conversion webhook for {kind} {why}"));
        let uid = uuid::Uuid::new_v4().to_string();
        let question = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{review}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": originals},
        });
        let answer = self
            .call_out(&conversion.target, &question, PATIENCE)
            .await
            .map_err(|e| failed(format!("failed: {e}")))?;
        let converted = objects_of(answer, review, &uid).map_err(|why| failed(format!("failed: {why}")))?;
        let originals = question["request"]["objects"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        if converted.len() != originals.len() {
            return Err(failed(format!(
                "returned {} objects, expected {}",
                converted.len(),
                originals.len()
            )));
        }
        let checked = originals
            .iter()
            .zip(converted)
            .map(|(original, converted)| accept(original, converted, wanted));
        checked.collect::<Result<_, _>>().map_err(failed)
    }
}

/// Brings what a webhook made into the form in which objects of its version are: without what its schema doesn't know, with defaults.
fn tidy(info: &ResourceInfo, object: &mut Value) {
    let schema = info.schema();
    schema.prune(object);
    schema.drop_nulls(object);
    schema.apply_defaults(object);
}

/// Names version and kind of an object as Go prints them.
fn describe(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

/// Takes the objects out of an answer.
fn objects_of(mut answer: Value, review: &str, uid: &str) -> Result<Vec<Value>, String> {
    if review == "v1" {
        let wanted = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"});
        if answer["apiVersion"] != wanted["apiVersion"] || answer["kind"] != wanted["kind"] {
            return Err(format!(
                "expected webhook response of {}, got {}",
                describe(&wanted),
                describe(&answer)
            ));
        }
    }
    let Some(response) = answer.get_mut("response").filter(|r| r.is_object()) else {
        return Err("no response provided".to_owned());
    };
    let found = response["uid"].as_str().unwrap_or_default();
    if review == "v1" && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let status = response["result"]["status"].as_str().unwrap_or_default();
    if status != "Success" {
        let message = response["result"]["message"].as_str().unwrap_or_default();
        return Err(if message.is_empty() {
            format!("response.result.status was '{status}', not 'Success'")
        } else {
            message.to_owned()
        });
    }
    match response.get_mut("convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// Checks that what came back is the same object in the wanted version, and gives it back the metadata that a webhook must not
/// change: all but labels and annotations.
fn accept(original: &Value, mut converted: Value, wanted: &str) -> Result<Value, String> {
    let invalid = |why: String| Err(format!("returned invalid object at index 0: {why}"));
    let version = converted["apiVersion"].as_str().unwrap_or_default();
    if version != wanted {
        return invalid(format!(
            "invalid groupVersion (expected {wanted}, received {version})"
        ));
    }
    if converted["kind"] != original["kind"] {
        let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        return invalid(format!(
            "invalid kind (expected {}, received {})",
            kind(original),
            kind(&converted)
        ));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (meta::text(original, field), meta::text(&converted, field));
        if before != after {
            let why = format!("must have the same {name}: {before} != {after}");
            return Err(format!("returned invalid object: {why}"));
        }
    }
    let metadata =
        restored(original, &converted).map_err(|why| format!("returned invalid metadata: {why}"))?;
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

/// The metadata of the original with the labels and annotations of what came back.
fn restored(original: &Value, converted: &Value) -> Result<Map<String, Value>, String> {
    let given = match converted.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(given)) => given,
        Some(other) => {
            return Err(format!(
                "invalid metadata of type {} in converted object",
                go_type(other)
            ));
        }
    };
    let mut metadata = meta::of(original).clone();
    for field in ["labels", "annotations"] {
        let map = match given.get(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
                continue;
            }
            Some(Value::Object(map)) => map,
            Some(other) => {
                return Err(format!(
                    "invalid metadata.{field} of type {} in converted object",
                    go_type(other)
                ));
            }
        };
        if let Some((key, value)) = map.iter().find(|(_, v)| !v.is_string()) {
            return Err(format!(
                "metadata.{field}[{key}] must be a string, but is {} in converted object",
                go_type(value)
            ));
        }
        if metadata.get(field) != Some(&given[field]) {
            let errors = if field == "labels" {
                rules::validate_labels(Some(&given[field]), "metadata.labels")
            } else {
                rules::validate_annotations(Some(&given[field]), "metadata.annotation")
            };
            if !errors.is_empty() {
                return Err(aggregate(&errors));
            }
        }
        metadata.insert(field.to_owned(), given[field].clone());
    }
    Ok(metadata)
}

/// Puts errors together as Go does.
fn aggregate(errors: &[FieldError]) -> String {
    match errors {
        [one] => one.to_string(),
        many => {
            let all: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("[{}]", all.join(", "))
        }
    }
}

/// The type that Go gives to a JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Value {
        json!({"apiVersion": "a.b/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "n", "uid": "u",
            "resourceVersion": "5", "labels": {"a": "1"}}, "spec": {"size": 1}})
    }

    fn converted(change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let mut object = original();
        object["apiVersion"] = "a.b/v2".into();
        change(&mut object);
        accept(&original(), object, "a.b/v2")
    }

    #[test]
    fn a_webhook_changes_content_labels_and_annotations_and_nothing_else() {
        let object = converted(|o| {
            o["spec"] = json!({"length": 1});
            o["metadata"]["resourceVersion"] = "9".into();
            o["metadata"]["finalizers"] = json!(["f"]);
            o["metadata"]["labels"] = json!({"b": "2"});
            o["metadata"]["annotations"] = json!({"c": "3"});
        });
        let mut wanted = original();
        wanted["apiVersion"] = "a.b/v2".into();
        wanted["spec"] = json!({"length": 1});
        wanted["metadata"]["labels"] = json!({"b": "2"});
        wanted["metadata"]["annotations"] = json!({"c": "3"});
        assert_eq!(object, Ok(wanted));
    }

    #[test]
    fn what_is_not_the_same_object_is_refused() {
        let why = |change: fn(&mut Value)| converted(change).unwrap_err();
        assert_eq!(
            why(|o| o["apiVersion"] = "a.b/v3".into()),
            "returned invalid object at index 0: invalid groupVersion (expected a.b/v2, received a.b/v3)"
        );
        assert_eq!(
            why(|o| o["kind"] = "Other".into()),
            "returned invalid object at index 0: invalid kind (expected Thing, received Other)"
        );
        assert_eq!(
            why(|o| o["metadata"]["name"] = "y".into()),
            "returned invalid object: must have the same name: x != y"
        );
        assert_eq!(
            why(|o| o["metadata"]["uid"] = "v".into()),
            "returned invalid object: must have the same UID: u != v"
        );
        assert_eq!(
            why(|o| o["metadata"]["labels"] = json!({"a": 1})),
            "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"
        );
        assert!(
            why(|o| o["metadata"]["labels"] = json!({"a": "-"})).contains("metadata.labels: Invalid value")
        );
    }

    #[test]
    fn an_answer_must_be_to_the_question() {
        let ok = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]}});
        let said = |change: fn(&mut Value)| {
            let mut answer = ok.clone();
            change(&mut answer);
            objects_of(answer, "v1", "u")
        };
        assert_eq!(said(|_| ()), Ok(vec![json!(1)]));
        assert_eq!(
            said(|a| a["response"]["uid"] = "w".into()).unwrap_err(),
            "expected response.uid=\"u\", got \"w\""
        );
        assert_eq!(
            said(|a| a["response"]["result"] = json!({"status": "Failed", "message": "no"})).unwrap_err(),
            "no"
        );
        for nothing in [json!("yes"), json!([1]), json!(null), json!({"response": "yes"})] {
            assert_eq!(
                objects_of(nothing, "v1beta1", "u").unwrap_err(),
                "no response provided"
            );
        }
        assert_eq!(
            said(|a| a["response"]["result"] = json!({})).unwrap_err(),
            "response.result.status was '', not 'Success'"
        );
        assert_eq!(
            said(|a| a["kind"] = "Pod".into()).unwrap_err(),
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Pod"
        );
    }
}
