//! Answers in fewer bytes, for clients at the other end of a socket that can read them. It must not touch watches, which have no end.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};

/// Objects and lists with no more bytes go as they are (kube-apiserver: `defaultGzipThresholdBytes`).
const OBJECTS: u64 = 128 << 10;
/// Descriptions with fewer bytes go as they are.
const DESCRIPTIONS: u64 = 1400;
/// The least work that pays (kube-apiserver: `gzipContentEncodingLevel`).
const LEVEL: u32 = 1;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Objects, lists and discovery.
    Objects,
    /// `OpenAPI`.
    Descriptions,
}

/// Says whether a client can read what is compressed. For objects it has to say just `gzip`; other forms are for descriptions.
pub(crate) fn accepted(headers: &HeaderMap, what: What) -> bool {
    let codings = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
    codings.is_some_and(|codings| {
        codings.split(',').any(|coding| match what {
            What::Objects => coding.trim() == "gzip",
            What::Descriptions => is_wanted(coding),
        })
    })
}

/// Says whether one part of an `Accept-Encoding` header is gzip and not refused.
fn is_wanted(coding: &str) -> bool {
    let mut parts = coding.split(';').map(str::trim);
    let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
    is_gzip
        && parts
            .filter_map(|part| part.strip_prefix("q="))
            .all(|q| q.parse().is_ok_and(|q: f32| q > 0.0))
}

/// Compresses an answer if that pays.
pub(crate) async fn compress(response: Response, what: What, accepted: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let vary = HeaderValue::from_static("Accept-Encoding");
    if what == What::Descriptions {
        parts.headers.append(header::VARY, vary.clone());
    }
    let pays = match (what, body.size_hint().exact()) {
        (What::Objects, Some(bytes)) => bytes > OBJECTS,
        (What::Descriptions, Some(bytes)) => bytes >= DESCRIPTIONS,
        (_, None) => false,
    };
    if !accepted || !pays {
        return Response::from_parts(parts, body);
    }
    // The whole answer was made in memory.
    let Ok(plain) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let short = {
        let plain = plain.clone();
        // Large lists take a while, in which others are to be served.
        tokio::task::spawn_blocking(move || pack(&plain)).await
    };
    let Ok(Ok(short)) = short else {
        return Response::from_parts(parts, Body::from(plain));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if what == What::Objects {
        parts.headers.append(header::VARY, vary);
    }
    Response::from_parts(parts, Body::from(short))
}

fn pack(plain: &Bytes) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::new(LEVEL));
    encoder.write_all(plain)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_ask_for_gzip_alone_and_descriptions_in_any_form() {
        let asked = |text: &'static str, what| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            accepted(&headers, what)
        };
        for (text, objects, descriptions) in [
            ("gzip", true, true),
            ("deflate, gzip ", true, true),
            ("gzip;q=0.5", false, true),
            ("gzip; q=0", false, false),
            ("identity", false, false),
            ("", false, false),
        ] {
            assert_eq!(asked(text, What::Objects), objects, "{text}");
            assert_eq!(asked(text, What::Descriptions), descriptions, "{text}");
        }
        assert!(!accepted(&HeaderMap::new(), What::Objects));
    }
}
