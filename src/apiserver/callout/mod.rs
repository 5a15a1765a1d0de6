//! Calling webhooks: HTTPS requests to servers that objects of the state name. What is asked and what the answers mean, others know.
//! It must not hold a request longer than it was given, or read an answer without end.

mod check;
mod failure;
mod pool;
mod target;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::check::{check, check_bundle};
pub(crate) use self::failure::CallError;
use self::pool::Pool;
pub(crate) use self::target::Target;
use self::tls::Trust;
use super::Server;
use super::schema::go_quote;

/// Bytes of an answer that are read in any case; beside them an answer may be [`GROWTH`] times as long as what was asked.
const ANSWER: usize = 16 << 20;
const GROWTH: usize = 4;

/// The connections to webhooks, and what is known of whom to trust.
#[derive(Default)]
pub(crate) struct Callouts {
    pool: Pool,
    trust: Trust,
}

impl Server {
    /// Posts `question` to a webhook and returns its answer. `for_long` is all the time that this may take; the webhook is told.
    pub(crate) async fn call_out(
        &self,
        target: &Target,
        question: &impl Serialize,
        for_long: Duration,
    ) -> Result<Value, CallError> {
        let seconds = for_long.as_secs().max(1);
        let address = target.address(seconds);
        let body = serde_json::to_vec(question).map_err(|e| CallError::new(e.to_string()))?;
        let posted = async {
            let limit = body.len().saturating_mul(GROWTH).saturating_add(ANSWER);
            self.post(target, seconds, body.into(), limit).await
        };
        let answered = tokio::time::timeout(for_long, posted).await;
        let (status, is_text, answer) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(CallError::new(format!("Post {}: {why}", go_quote(&address)))),
            Err(_) => {
                let why = format!("Post {}: context deadline exceeded", go_quote(&address));
                return Err(CallError::new(why));
            }
        };
        if !status.is_success() {
            return Err(failure::of_answer(status.as_u16(), is_text, &answer));
        }
        serde_json::from_slice(&answer).map_err(|e| failure::unreadable(&answer, &e))
    }

    /// Says why nobody answers, or returns the answer: its code, whether it is text, its body.
    async fn post(
        &self,
        target: &Target,
        seconds: u64,
        body: Bytes,
        limit: usize,
    ) -> Result<(http::StatusCode, bool, Bytes), String> {
        let place = self.resolve(target)?;
        let request = || {
            Request::builder()
                .method(Method::POST)
                .uri(target.path(seconds))
                .header(header::HOST, target.authority())
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(
                    header::USER_AGENT,
                    concat!("machinectl/", env!("CARGO_PKG_VERSION")),
                )
                .body(Full::new(body.clone()))
                .map_err(|e| e.to_string())
        };
        let callouts = &self.0.callouts;
        let config = callouts.trust.config(target.ca_bundle())?;
        let lane = pool::Lane::new(place, target.host(), target.ca_bundle());
        let mut connection = callouts.pool.take(&lane);
        let response = loop {
            let reused = connection.is_some();
            let mut sender = match connection.take() {
                Some(sender) => sender,
                None => pool::connect(&lane, &config).await?,
            };
            match sender.send_request(request()?).await {
                Ok(response) => break (response, sender),
                // The other side may have closed it while nobody looked.
                Err(_) if reused => {}
                Err(error) => return Err(failure::of_http(&error)),
            }
        };
        let (response, sender) = response;
        let status = response.status();
        let is_text = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|t| t.starts_with("text/"));
        let answer = Limited::new(response.into_body(), limit)
            .collect()
            .await
            .map_err(|e| failure::of_body(e.as_ref(), limit))?;
        callouts.pool.put(lane, sender);
        Ok((status, is_text, answer.to_bytes()))
    }
}
