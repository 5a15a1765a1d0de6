//! What others need to check tokens of service accounts themselves: who issues them, and the public key. It must not say anything else
//! of a key.

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::json;

use super::super::Server;
use super::super::status::json_response;
use super::{ISSUER, key};

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// Answers a request on one of the two paths. `host` is where the client has reached the server.
pub(crate) fn describe(server: &Server, path: &str, host: &str) -> Option<Response> {
    let authority = server.0.authority.as_ref()?;
    let (mut response, media_type) = match path {
        CONFIGURATION => {
            let configuration = json!({
                "issuer": ISSUER,
                "jwks_uri": format!("https://{host}{KEYS}"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [key::ALGORITHM],
            });
            (json_response(200, &configuration), "application/json")
        }
        KEYS => {
            let keys = json!({"keys": [authority.tokens.public()]});
            (json_response(200, &keys), "application/jwk-set+json")
        }
        _ => return None,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    Some(response)
}
