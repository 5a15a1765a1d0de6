//! Protocol buffers of the built-in kinds: `application/vnd.kubernetes.protobuf`, as clients written in Go send it
//! and as some of them want it back. It must not know a kind by name beyond what the table says, and nothing of
//! custom resources: those have no protocol buffers.
//!
//! The server works on JSON. [`decode`] turns the body of a request into the JSON that the same client would have
//! sent, [`encode`] turns an answer into protocol buffers, and [`respond`] does so for whole responses and watches.
//! Which message has which fields stands in `fields.txt`, which is read when the first such body comes.
//!
//! `fields.txt` holds the messages that the served kinds (Kubernetes 1.36) reach. A line without indentation names a
//! message, `APIVERSION.TYPE`; each indented line below is one field: its number, its name in JSON, its type. The name
//! `-` stands for an embedded message whose fields are those of the outer object in JSON. Around the type, `[]` means
//! a list, `{}` a map from strings, `?` a field that knows "not set" from zero, and `-` one that is left out of JSON
//! when it is zero; all others are written always.

mod decode;
mod encode;
mod fields;
mod reader;
mod respond;
#[cfg(test)]
mod tests;

pub(crate) use self::decode::{Undecodable, decode, refuse};
pub(crate) use self::respond::{respond, wanted};

/// The media type of protocol buffers in the envelope of Kubernetes.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of every enveloped message.
const PREFIX: &[u8] = b"k8s\0";

/// Messages within messages: deeper ones are refused. In JSON each is at most two levels, and the parser of JSON
/// allows 128.
const MAX_DEPTH: usize = 60;
