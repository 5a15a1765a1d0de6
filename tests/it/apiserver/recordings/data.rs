//! The recordings: which requests were sent in which order, and what a kube-apiserver answered.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

/// Made by `tests/recordings/pack.py`.
const PACKED: &[u8] = include_bytes!("../../../recordings/v1.36.2.json.gz");

/// All recordings. Requests, answers and events that are the same are there once.
#[derive(Deserialize)]
pub(super) struct Recordings {
    /// The custom kind that all of them use.
    pub(super) definition: Value,
    pub(super) requests: Vec<Sent>,
    pub(super) answers: Vec<Answer>,
    pub(super) events: Vec<Event>,
    #[serde(rename = "recordings")]
    pub(super) all: Vec<Recording>,
}

/// Requests that were sent one after the other, in a namespace of their own.
#[derive(Deserialize)]
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) seed: u32,
    /// Numbers of requests and of their answers.
    pub(super) cases: Vec<(usize, usize)>,
    pub(super) watches: Vec<Watched>,
}

/// A request. `{ns}` stands for the namespace of the recording.
#[derive(Deserialize)]
#[serde(from = "RawSent")]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Body,
    pub(super) content: String,
    pub(super) accept: String,
}

/// What is sent along.
pub(super) enum Body {
    Nothing,
    /// As it is.
    Text(String),
    /// After its marks were replaced by what is known of the object.
    Object(Value),
}

#[derive(Deserialize)]
struct RawSent(
    String,
    String,
    #[serde(default)] Option<Value>,
    #[serde(default)] Option<String>,
    #[serde(default)] Option<String>,
);

impl From<RawSent> for Sent {
    fn from(RawSent(method, path, body, content, accept): RawSent) -> Self {
        let body = match body {
            None | Some(Value::Null) => Body::Nothing,
            Some(value) => match value.get("__bytes").and_then(Value::as_str) {
                Some(text) => Body::Text(text.to_owned()),
                None => Body::Object(value),
            },
        };
        let json = || "application/json".to_owned();
        Self {
            method,
            path,
            body,
            content: content.unwrap_or_else(json),
            accept: accept.unwrap_or_else(json),
        }
    }
}

/// An answer: code, body and warnings, with marks in place of what is different each time.
#[derive(Clone, Deserialize)]
pub(super) struct Answer(pub(super) u16, pub(super) Value, pub(super) Vec<String>);

/// An event of a watch: type and object.
#[derive(Clone, PartialEq, Deserialize)]
pub(super) struct Event(pub(super) String, pub(super) Value);

/// Everything that a watch from the beginning of a recording tells at its end.
#[derive(Deserialize)]
pub(super) struct Watched {
    pub(super) path: String,
    pub(super) code: u16,
    pub(super) events: Vec<usize>,
}

impl Recordings {
    pub(super) fn load() -> Self {
        let mut text = Vec::new();
        GzDecoder::new(PACKED).read_to_end(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}
