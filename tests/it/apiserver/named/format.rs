//! How a case looks in a file. `docs/testing.md` describes it for who writes one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What one request, or several in order, must be answered with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// A sentence that is true of the server.
    pub(super) name: String,
    /// Minor version that first does it.
    pub(super) since: Option<u32>,
    /// What v1.20 does instead, and why that is not what is wanted. There the case must fail.
    pub(super) differs: Option<String>,
    /// Whether somebody must collect garbage and empty namespaces.
    #[serde(default)]
    pub(super) controllers: bool,
    /// Schema of a custom kind `Thing` of the case's own, which is there before the first step.
    pub(super) schema: Option<Value>,
    /// What its version says besides.
    #[serde(default)]
    pub(super) serves: serde_json::Map<String, Value>,
    pub(super) steps: Vec<Step>,
}

/// A request and what is wanted of its answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Method and path. A path without a slash before it is one of the core group in the namespace of the case.
    #[serde(rename = "do")]
    pub(super) request: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// What is sent, as JSON.
    pub(super) body: Option<Value>,
    /// What is sent, as it is.
    pub(super) text: Option<String>,
    /// The code. Without it 201 for POST, otherwise 200.
    pub(super) code: Option<u16>,
    /// What the answer contains. Lists must be as long; `"*"` is anything.
    pub(super) has: Option<Value>,
    /// Paths of fields that are not there.
    #[serde(default)]
    pub(super) lacks: Vec<String>,
    /// Fields that have another value than this.
    #[serde(default)]
    pub(super) other: BTreeMap<String, String>,
    /// The message of a status, or a text.
    pub(super) message: Option<String>,
    /// A part of the answer's text.
    pub(super) says: Option<String>,
    /// All warnings, without their codes and agents.
    pub(super) warns: Option<Vec<String>>,
    /// Headers of the answer.
    #[serde(default)]
    pub(super) sends: BTreeMap<String, String>,
    /// Fields that later steps know by these names.
    #[serde(default)]
    pub(super) keep: BTreeMap<String, String>,
    /// What a watch tells next: `TYPE name`, or the event as far as it matters.
    #[serde(default)]
    pub(super) events: Vec<Value>,
    /// Name under which a watch goes on; `NEXT name` reads more of it.
    #[serde(rename = "as")]
    pub(super) stream: Option<String>,
    /// Whether to ask until the answer is as wanted.
    #[serde(default)]
    pub(super) until: bool,
}

impl Case {
    /// Reads all cases of a file.
    pub(super) fn read(file: &str) -> Vec<Self> {
        let path = super::folder().join(format!("{file}.yaml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut all: serde_yaml::Value =
            serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        all.apply_merge().unwrap();
        let all: Vec<Value> = serde_yaml::from_value(all).unwrap();
        let read = all.into_iter().map(|case| {
            let name = case["name"].to_string();
            serde_json::from_value(case).unwrap_or_else(|e| panic!("{}: {name}: {e}", path.display()))
        });
        read.collect()
    }
}
