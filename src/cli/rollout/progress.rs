//! How far a roll-out is, in the words of kubectl. Pure.

use kube::ResourceExt;

use crate::api::{
    conditions,
    v1alpha1::{MachineDeployment, revision},
};

/// How far a roll-out is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// All machines are of the present template and available.
    Done(String),
    /// Not yet; says how far.
    Waiting(String),
    /// It gets no further by itself; says why.
    Failed(String),
    /// Another revision than the one that was asked for is rolled out; says so.
    Other(String),
}

/// Judges a deployment (kubectl: `DeploymentStatusViewer`). With a `wanted` revision: only that one.
pub(super) fn judge(deployment: &MachineDeployment, wanted: Option<i64>) -> Progress {
    let name = deployment.name_any();
    let status = deployment.status.clone().unwrap_or_default();
    let of = |type_| conditions::find(&status.conditions, type_);
    if status.observed_generation < deployment.metadata.generation {
        return Progress::Waiting("Waiting for deployment spec update to be observed...".to_owned());
    }
    if let Some(ready) = of(conditions::READY).filter(|c| c.reason == "InvalidSpec") {
        return Progress::Failed(format!(
            "deployment \"{name}\" can't be rolled out: {}",
            ready.message
        ));
    }
    let running = revision(deployment).unwrap_or_default();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != running) {
        return Progress::Other(format!(
            "desired revision ({wanted}) is different from the running revision ({running})"
        ));
    }
    if let Some(stuck) = of(conditions::PROGRESSING).filter(|c| c.reason == "ProgressDeadlineExceeded") {
        return Progress::Failed(format!(
            "deployment \"{name}\" exceeded its progress deadline: {}",
            stuck.message
        ));
    }
    let waiting = |text: String| {
        Progress::Waiting(format!(
            "Waiting for deployment \"{name}\" rollout to finish: {text}..."
        ))
    };
    let replicas = deployment.spec.replicas;
    let (all, updated, available) = (
        status.replicas,
        status.updated_replicas,
        status.available_replicas,
    );
    if updated < replicas {
        waiting(format!(
            "{updated} out of {replicas} new machines have been updated"
        ))
    } else if all > updated {
        waiting(format!("{} old machines are pending termination", all - updated))
    } else if available < updated {
        waiting(format!("{available} of {updated} updated machines are available"))
    } else {
        Progress::Done(format!("deployment \"{name}\" successfully rolled out"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(generation: i64, status: &Value, wanted: Option<i64>) -> Progress {
        let deployment = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineDeployment",
            "metadata": { "name": "web", "generation": generation, "annotations": { "machine.crit.sh/revision": "2" } },
            "spec": { "replicas": 3 },
            "status": status,
        });
        judge(&serde_json::from_value(deployment).unwrap(), wanted)
    }

    fn status(updated: i32, all: i32, available: i32) -> Value {
        json!({ "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available })
    }

    #[test]
    fn the_words_are_those_of_kubectl() {
        for (generation, status, expected) in [
            (
                3,
                status(3, 3, 3),
                "Waiting for deployment spec update to be observed...",
            ),
            (
                2,
                status(1, 4, 3),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new machines have been updated...",
            ),
            (
                2,
                status(3, 4, 3),
                "Waiting for deployment \"web\" rollout to finish: 1 old machines are pending termination...",
            ),
            (
                2,
                status(3, 3, 2),
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated machines are available...",
            ),
        ] {
            assert_eq!(
                judged(generation, &status, None),
                Progress::Waiting(expected.into())
            );
        }
        let done = Progress::Done("deployment \"web\" successfully rolled out".into());
        assert_eq!(judged(2, &status(3, 3, 3), None), done);
        assert_eq!(judged(2, &status(3, 3, 3), Some(2)), done);
    }

    #[test]
    fn what_gets_no_further_fails() {
        let with = |type_: &str, reason: &str| {
            let mut status = status(1, 4, 3);
            status["conditions"] = json!([{ "type": type_, "status": "False", "reason": reason, "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
            judged(2, &status, None)
        };
        let failed = |text: &str| Progress::Failed(text.into());
        assert_eq!(
            with("Progressing", "ProgressDeadlineExceeded"),
            failed("deployment \"web\" exceeded its progress deadline: why")
        );
        assert_eq!(
            with("Ready", "InvalidSpec"),
            failed("deployment \"web\" can't be rolled out: why")
        );
        assert_eq!(
            judged(2, &status(3, 3, 3), Some(1)),
            Progress::Other("desired revision (1) is different from the running revision (2)".into())
        );
    }
}
