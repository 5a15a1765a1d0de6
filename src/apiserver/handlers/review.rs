//! Kinds that only ask. Nothing is stored; what the answers are, `reviews` knows.

use axum::response::Response;

use super::super::reviews;
use super::super::status::ApiError;
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_namespace, track};
use super::{Call, body, render};

/// POST of a review.
pub(crate) fn review(call: &Call) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let mut object = body::object(call, options.validation)?;
    check_namespace(call, &mut object)?;
    track(call, Target::MAIN, &options.manager, None, &mut object);
    let answer = reviews::answer(&call.info.kind, &object, &call.user, &call.tokens)
        // Reviews are checked in a form that has no kind.
        .map_err(|errors| ApiError::invalid_kind(&call.info.group, "", "", &errors))?;
    Ok(render::answer(call, 201, &answer, render::Form::Object))
}
