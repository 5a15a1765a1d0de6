//! Whole responses as protocol buffers, for clients that take nothing else. It must not decide what is answered.

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, header};
use serde_json::Value;

use super::MEDIA_TYPE;
use super::encode::{Message, encode};

/// Says whether an `Accept` header takes protocol buffers, but not JSON.
pub(crate) fn wanted(accept: &str) -> bool {
    let mut media = accept
        .split(',')
        .map(|clause| clause.split(';').next().unwrap_or_default().trim());
    let json = |media: &str| matches!(media, "application/json" | "*/*" | "application/*");
    media.clone().any(|media| media == MEDIA_TYPE) && !media.any(json)
}

/// Turns a response with JSON into one with protocol buffers. What has none is left as it is.
pub(crate) async fn respond(response: Response, is_watch: bool) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/json");
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    if is_watch && parts.status.is_success() {
        let stream = HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");
        parts.headers.insert(header::CONTENT_TYPE, stream);
        // What is left of a line whose end has not come yet.
        let mut rest = Vec::new();
        let frames = body
            .into_data_stream()
            .map(move |chunk| chunk.map(|chunk| frames(&mut rest, &chunk)));
        return Response::from_parts(parts, Body::from_stream(frames));
    }
    // The whole response was made in memory, so it may be there once more.
    let Ok(json) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let message = serde_json::from_slice(&json)
        .ok()
        .and_then(|value| encode(&value));
    let body = match message {
        Some(message) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts
                .headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            Body::from(message)
        }
        None => Body::from(json),
    };
    Response::from_parts(parts, body)
}

/// Turns the lines of a watch that a chunk completes into frames: each its length in four bytes and the event.
fn frames(rest: &mut Vec<u8>, chunk: &[u8]) -> Bytes {
    rest.extend_from_slice(chunk);
    let end = rest
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut out = Vec::new();
    for line in rest[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let Some(event) = event(line) else { continue };
        let Ok(length) = u32::try_from(event.len()) else {
            continue;
        };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&event);
    }
    rest.drain(..end);
    out.into()
}

/// Returns the event of a line: its type, and its object in an envelope of its own.
fn event(line: &[u8]) -> Option<Vec<u8>> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let object = encode(event.get("object")?)?;
    let mut raw = Message::default();
    raw.bytes(1, &object);
    let mut message = Message::default();
    message.bytes(1, event.get("type")?.as_str()?.as_bytes());
    message.message(2, &raw);
    Some(message.into_bytes())
}
