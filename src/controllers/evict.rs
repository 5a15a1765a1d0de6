//! Asks an API server to let pods go, and remembers which it refused. It decides nothing.

use std::sync::{Mutex, PoisonError};

use futures::StreamExt as _;
use kube::{Client, core::Status};
use serde_json::{Value, json};

use super::{
    apply::within,
    effect::PodKey,
    machine::drain::{Answer, PAUSE, Refusal, Refusals},
    runtime::ReconcileError,
};
use crate::time::{SignedDuration, Timestamp};

/// This many pods of a Node are asked at once.
const AT_ONCE: usize = 10;
/// A refusal that is older than this says nothing any more.
const OLD: SignedDuration = SignedDuration::from_mins(1);

/// Which pods of a cluster were asked to leave and stay. Kept in memory: after a restart they are asked at once.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Refusals>);

impl Memory {
    /// Takes in what pods were answered at `now`.
    pub(crate) fn remember(&self, answers: &[(PodKey, Answer)], now: Timestamp) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pod, answer) in answers {
            match answer {
                Answer::Leaves => refusals.remove(&pod.uid),
                refused => refusals.insert(
                    pod.uid.clone(),
                    Refusal {
                        at: now,
                        answer: refused.clone(),
                    },
                ),
            };
        }
        refusals.retain(|_, r| now.duration_since(r.at) < OLD);
    }

    /// Returns the refusals that still hold.
    pub(crate) fn recall(&self, now: Timestamp) -> Refusals {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |r: &Refusal| now.duration_since(r.at) < PAUSE;
        refusals
            .iter()
            .filter(|(_, r)| holds(r))
            .map(|(uid, r)| (uid.clone(), r.clone()))
            .collect()
    }
}

/// Asks pods to leave, some at a time; returns what each was answered. With `dry_run` the API server only says what it would answer.
///
/// Fails when the API server does not answer at all.
pub(crate) async fn evict(
    client: &Client,
    pods: &[PodKey],
    grace: Option<u32>,
    dry_run: bool,
) -> Result<Vec<(PodKey, Answer)>, ReconcileError> {
    let work: Vec<_> = pods
        .iter()
        .map(|pod| async move { Ok((pod.clone(), ask(client, pod, grace, dry_run).await?)) })
        .collect();
    let answers: Vec<_> = futures::stream::iter(work)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    answers.into_iter().collect()
}

async fn ask(
    client: &Client,
    pod: &PodKey,
    grace: Option<u32>,
    dry_run: bool,
) -> Result<Answer, ReconcileError> {
    let doing = format!("evict Pod {pod}");
    // kube's own request names the options as no API server reads them.
    let mut options = json!({ "preconditions": { "uid": pod.uid } });
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let body =
        json!({ "metadata": { "name": pod.name, "namespace": pod.namespace }, "deleteOptions": options });
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|e| ReconcileError::api(doing.clone(), kube::Error::HttpError(e)))?;
    match within(doing, client.request::<Value>(request)).await {
        Ok(_) => Ok(Answer::Leaves),
        Err(ReconcileError::Api {
            source: kube::Error::Api(status),
            ..
        }) => Ok(answer(&status)),
        Err(error) => Err(error),
    }
}

/// What a refusal means. A pod that is gone, or whose name another one bears now (409), has left.
fn answer(status: &Status) -> Answer {
    match status.code {
        404 | 409 => Answer::Leaves,
        429 => Answer::Blocked(budget(status).unwrap_or_else(|| status.message.clone())),
        _ => Answer::Failed(status.message.clone()),
    }
}

/// What kube-apiserver says of the disruption budget that forbids an eviction: its name, and what it needs and has.
fn budget(status: &Status) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    causes
        .iter()
        .find(|c| c.reason == "DisruptionBudget" && !c.message.is_empty())
        .map(|c| c.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_refusal_names_the_budget() {
        // As kube-apiserver v1.36.2 answers.
        let told = status(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "TooManyRequests", "code": 429,
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{ "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 2 healthy pods and has 2 currently" }] }
        }));
        assert_eq!(
            answer(&told),
            Answer::Blocked("The disruption budget web needs 2 healthy pods and has 2 currently".to_owned())
        );
        let busy = status(json!({ "status": "Failure", "code": 429, "message": "too many requests" }));
        assert_eq!(answer(&busy), Answer::Blocked("too many requests".to_owned()));
    }

    #[test]
    fn a_pod_that_is_gone_or_another_one_has_left() {
        for code in [404, 409] {
            assert_eq!(answer(&status(json!({ "code": code }))), Answer::Leaves);
        }
        let refused = status(json!({ "code": 403, "message": "no" }));
        assert_eq!(answer(&refused), Answer::Failed("no".to_owned()));
    }

    #[test]
    fn refusals_hold_for_five_seconds_and_end_when_the_pod_leaves() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let pod = PodKey {
            namespace: "a".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
        };
        let memory = Memory::default();
        memory.remember(&[(pod.clone(), Answer::Blocked("no".to_owned()))], at(10));
        assert_eq!(memory.recall(at(14)).len(), 1);
        assert_eq!(memory.recall(at(15)).len(), 0);
        memory.remember(&[(pod.clone(), Answer::Blocked("no".to_owned()))], at(20));
        memory.remember(&[(pod, Answer::Leaves)], at(21));
        assert_eq!(memory.recall(at(21)).len(), 0);
    }
}
