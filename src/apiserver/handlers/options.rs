//! The parameters of requests, and what the API server says of bad ones. It must not look at objects.

use serde_json::{Value, json};

use super::super::object::selectors::{Fields, Labels};
use super::super::schema::FieldError;
use super::super::status::ApiError;

/// Longest name of a field manager.
const MANAGER_LENGTH: usize = 128;

/// The query of a request, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl Query {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn all(&self, key: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// Anything but `false` and `0` is true, as in the API server.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)
            .map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// What unknown and repeated fields lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Validation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Which options a request takes: their name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteKind {
    Create,
    Update,
    /// Any patch but an apply patch.
    Patch,
    Apply,
}

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) validation: Validation,
    pub(crate) force: bool,
}

impl WriteOptions {
    pub(crate) fn parse(query: &Query, kind: WriteKind) -> Result<Self, ApiError> {
        let name = match kind {
            WriteKind::Create => "CreateOptions",
            WriteKind::Update => "UpdateOptions",
            WriteKind::Patch | WriteKind::Apply => "PatchOptions",
        };
        let mut errors = Vec::new();
        let manager = query.get("fieldManager").unwrap_or_default().to_owned();
        let force = query.flag("force");
        if kind == WriteKind::Apply {
            if manager.is_empty() {
                errors.push(FieldError::required(
                    "fieldManager",
                    "is required for apply patch",
                ));
            }
        } else if matches!(kind, WriteKind::Patch) && force.is_some() {
            errors.push(FieldError::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        errors.extend(manager_errors(&manager));
        errors.extend(dry_run_errors(&query.all("dryRun")));
        let validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => Validation::Warn,
            "Ignore" => Validation::Ignore,
            "Strict" => Validation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"].map(str::to_owned).to_vec();
                errors.push(FieldError::not_supported("fieldValidation", other, supported));
                Validation::Warn
            }
        };
        if errors.is_empty() {
            let dry_run = query.get("dryRun").is_some();
            Ok(Self {
                dry_run,
                manager,
                validation,
                force: force.unwrap_or(false),
            })
        } else {
            Err(ApiError::invalid_kind("meta.k8s.io", name, "", &errors))
        }
    }
}

fn manager_errors(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > MANAGER_LENGTH {
        let limit = i64::try_from(MANAGER_LENGTH).unwrap_or(i64::MAX);
        errors.push(FieldError::too_long("fieldManager", manager, limit));
    }
    if let Some(bad) = manager.chars().find(|c| c.is_control()) {
        let index = manager.chars().position(|c| c == bad).unwrap_or(0);
        let detail = format!(
            "should only contain printable characters, got character '\\u{:04x}' at index {index}",
            u32::from(bad)
        );
        errors.push(FieldError::invalid("fieldManager", manager, detail));
    }
    errors
}

fn dry_run_errors(values: &[&str]) -> Vec<FieldError> {
    if values.iter().all(|v| *v == "All") {
        return Vec::new();
    }
    let value: Value = values
        .iter()
        .copied()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into();
    vec![FieldError::not_supported("dryRun", value, vec!["All".to_owned()])]
}

/// What a list or watch asks for.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of its own in the API"
)]
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    /// Not given, or empty: the newest. 0: any.
    pub(crate) version: Option<u64>,
    pub(crate) exact: bool,
    pub(crate) limit: usize,
    pub(crate) resume: Option<String>,
    pub(crate) initial_events: bool,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let watch = query.flag("watch").unwrap_or(false);
        let limit = query.integer("limit")?;
        let timeout = query.integer("timeoutSeconds")?;
        let labels =
            Labels::parse(query.get("labelSelector").unwrap_or_default()).map_err(ApiError::bad_request)?;
        let fields =
            Fields::parse(query.get("fieldSelector").unwrap_or_default()).map_err(ApiError::bad_request)?;
        let version = query.get("resourceVersion").unwrap_or_default();
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let resume = query.get("continue").filter(|c| !c.is_empty()).map(str::to_owned);
        let initial = query.flag("sendInitialEvents");
        let errors = match_errors(watch, matching, version, resume.is_some(), initial);
        if !errors.is_empty() {
            return Err(ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &errors));
        }
        let version = match version {
            "" => None,
            text => Some(parse_version(text)?),
        };
        Ok(Self {
            labels,
            fields,
            watch,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            timeout_seconds: timeout.and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0),
            version,
            // A page of a version means just that version, unless it is told otherwise.
            exact: matching == "Exact"
                || (matching.is_empty() && limit.is_some_and(|l| l > 0) && version.is_some_and(|v| v > 0)),
            limit: limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(0),
            resume,
            initial_events: initial.unwrap_or(false),
        })
    }
}

impl ListOptions {
    /// The same for one object: what a watch on an object's own path means.
    pub(crate) fn of_name(mut self, name: &str) -> Self {
        self.fields = self.fields.and_name(name);
        self
    }
}

fn match_errors(
    watch: bool,
    matching: &str,
    version: &str,
    resumed: bool,
    initial: Option<bool>,
) -> Vec<FieldError> {
    const FIELD: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    if watch && initial.is_some() {
        if matching != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(FIELD, detail));
        }
        return errors;
    }
    if initial.is_some() {
        errors.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    if matching.is_empty() {
        return errors;
    }
    if watch {
        let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(FieldError::forbidden(FIELD, detail));
    }
    if version.is_empty() {
        let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        errors.push(FieldError::forbidden(FIELD, detail));
    }
    if resumed {
        errors.push(FieldError::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        let supported = ["Exact", "NotOlderThan", ""].map(str::to_owned).to_vec();
        errors.push(FieldError::not_supported(FIELD, matching, supported));
    }
    if matching == "Exact" && version == "0" {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(FieldError::forbidden(FIELD, detail));
    }
    errors
}

fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The options of a removal.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) orphan_dependents: Option<bool>,
}

impl DeleteOptions {
    /// Returns them as an object.
    pub(crate) fn to_value(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        if let Some(seconds) = self.grace_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(orphan) = self.orphan_dependents {
            options["orphanDependents"] = orphan.into();
        }
        if let Some(uid) = &self.uid {
            options["preconditions"]["uid"] = uid.clone().into();
        }
        if let Some(version) = &self.version {
            options["preconditions"]["resourceVersion"] = version.clone().into();
        }
        let propagation = self.propagation.map(|propagation| match propagation {
            Propagation::Orphan => "Orphan",
            Propagation::Foreground => "Foreground",
            Propagation::Background => "Background",
        });
        if let Some(propagation) = propagation {
            options["propagationPolicy"] = propagation.into();
        }
        options
    }

    /// Takes the options from the body if there is one, else from the query.
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let from_query;
        let given = if let Some(body) = body {
            body
        } else {
            from_query = Self::of_query(query)?;
            &from_query
        };
        Self::of_value(given)
    }

    fn of_query(query: &Query) -> Result<Value, ApiError> {
        let mut options = serde_json::Map::new();
        if let Some(seconds) = query.integer("gracePeriodSeconds")? {
            options.insert("gracePeriodSeconds".to_owned(), seconds.into());
        }
        if let Some(orphan) = query.flag("orphanDependents") {
            options.insert("orphanDependents".to_owned(), orphan.into());
        }
        if let Some(policy) = query.get("propagationPolicy") {
            options.insert("propagationPolicy".to_owned(), policy.into());
        }
        let dry_run = query.all("dryRun");
        if !dry_run.is_empty() {
            options.insert("dryRun".to_owned(), dry_run.into());
        }
        Ok(Value::Object(options))
    }

    fn of_value(given: &Value) -> Result<Self, ApiError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let mut errors = Vec::new();
        let policy = text(given.get("propagationPolicy"));
        let orphan_dependents = given.get("orphanDependents").and_then(Value::as_bool);
        if orphan_dependents.is_some() && policy.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                "propagationPolicy",
                policy.clone().unwrap_or_default(),
                detail,
            ));
        }
        let propagation = match policy.as_deref() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"]
                    .map(str::to_owned)
                    .to_vec();
                errors.push(FieldError::not_supported("propagationPolicy", other, supported));
                None
            }
        };
        let dry_run: Vec<&str> = given
            .get("dryRun")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        errors.extend(dry_run_errors(&dry_run));
        if !errors.is_empty() {
            return Err(ApiError::invalid_kind(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &errors,
            ));
        }
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            grace_seconds: given.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(given.pointer("/preconditions/uid")),
            version: text(given.pointer("/preconditions/resourceVersion")),
            propagation,
            orphan_dependents,
        })
    }
}

/// Returns the name under which the fields of a write are managed: what the request says, or the client's program.
pub(crate) fn manager_name(given: &str, user_agent: &str) -> String {
    let name = if given.is_empty() {
        user_agent.split('/').next().unwrap_or_default()
    } else {
        given
    };
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(MANAGER_LENGTH)
        .collect();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn an_apply_needs_a_manager() {
        let error = WriteOptions::parse(&query(&[("force", "true")]), WriteKind::Apply).unwrap_err();
        assert_eq!(
            error.message(),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
    }

    #[test]
    fn bad_parameters_are_told() {
        let error = ListOptions::parse(&query(&[("limit", "x")])).unwrap_err();
        assert_eq!(error.message(), "strconv.ParseInt: parsing \"x\": invalid syntax");
        let error = ListOptions::parse(&query(&[("resourceVersionMatch", "Exact")])).unwrap_err();
        assert_eq!(error.code(), 422);
        let error = WriteOptions::parse(&query(&[("dryRun", "Some")]), WriteKind::Create).unwrap_err();
        assert_eq!(
            error.message(),
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
    }

    #[test]
    fn managers_are_named_after_the_program() {
        assert_eq!(manager_name("", "kubectl/v1.36 (linux)"), "kubectl");
        assert_eq!(manager_name("m", "kubectl"), "m");
        assert_eq!(manager_name("", ""), "unknown");
    }
}
