//! Kinds that only ask. Nothing is stored; what the answers are, `reviews` knows.

use axum::response::Response;

use super::super::admission::{self, Operation};
use super::super::reviews::{self, Asked};
use super::super::status::ApiError;
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_namespace, track};
use super::{Call, body, render};

/// POST of a review.
pub(crate) async fn review(call: &Call) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let mut object = body::object(call, options.validation)?;
    check_namespace(call, &mut object)?;
    track(call, Target::MAIN, &options.manager, None, &mut object);
    let write = admission::Asked {
        call,
        operation: Operation::Create,
        options: &options,
        name: "",
    };
    let object = write.mutate(object, None).await?;
    write.validate(&object, None).await?;
    let asked = Asked {
        server: &call.server,
        user: &call.user,
        tokens: &call.tokens,
    };
    let answer = reviews::answer(&asked, &call.info.group, &call.info.kind, &object)?;
    Ok(render::answer(call, 201, &answer, render::Form::Object))
}
