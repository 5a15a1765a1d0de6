//! Tables of what is observed about a Config and what follows.

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::api::v1alpha1::Config;

fn observed(text: &str) -> Observed {
    let mut config = Config::new(
        "pool-a",
        ConfigSpec {
            config: text.into(),
            ..ConfigSpec::default()
        },
    );
    config.metadata.namespace = Some("fleet".into());
    config.metadata.uid = Some("uid-1".into());
    config.metadata.generation = Some(4);
    Observed {
        config: Arc::new(config),
        secret_files: SecretFiles::new(),
        own: Vec::new(),
        used: BTreeSet::new(),
    }
}

const WORKER: &str = "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\nclusterName: demo\n";
const OTHER: &str = "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\nclusterName: other\n";

fn created(plan: &Plan) -> (String, String) {
    let Some(Effect::Create { object, .. }) = plan.effects.first() else {
        panic!("no Secret in {plan:?}")
    };
    (
        object.name_any(),
        object.annotations()[labels::CONFIG_REVISION].clone(),
    )
}

#[test]
fn names_are_short_and_follow_from_the_content() {
    let long = "x".repeat(80);
    let name = secret_name(&long, "d1");
    assert_eq!(name.len(), 63);
    assert_eq!(secret_name("pool-a", "d1"), secret_name("pool-a", "d1"));
    assert_ne!(secret_name("pool-a", "d1"), secret_name("pool-a", "d2"));
    assert!(secret_name("pool-a", "d1").starts_with("pool-a-"));
}

#[test]
fn a_second_look_changes_nothing() {
    let mut o = observed(WORKER);
    let first = plan(&o, Timestamp::UNIX_EPOCH);
    let (name, digest) = created(&first);
    o.own = vec![(name.clone(), Some(digest))];
    let second = plan(&o, Timestamp::UNIX_EPOCH);
    assert!(second.effects.is_empty(), "{second:?}");
    assert_eq!(second.status.unwrap()["dataSecretName"], name);
}

#[test]
fn a_changed_spec_makes_a_revision_and_drops_those_that_nobody_uses() {
    let (old, digest) = created(&plan(&observed(WORKER), Timestamp::UNIX_EPOCH));
    let mut o = observed(OTHER);
    o.own = vec![(old.clone(), Some(digest.clone())), ("by-hand".into(), None)];
    let unused = plan(&o, Timestamp::UNIX_EPOCH);
    assert_eq!(unused.effects.len(), 2, "{unused:?}");
    assert_eq!(
        format!("{:?}", unused.effects[1]),
        format!("delete Secret fleet/{old} in management cluster")
    );
    o.used.insert(digest);
    assert_eq!(plan(&o, Timestamp::UNIX_EPOCH).effects.len(), 1);
}

#[test]
fn what_is_no_configuration_is_said_and_not_tried_again() {
    let p = plan(&observed("kind: Nonsense\n"), Timestamp::UNIX_EPOCH);
    assert!(p.effects.is_empty());
    assert_eq!(p.requeue, Requeue::OnChange);
    let status = p.status.unwrap();
    assert_eq!(
        (&status["ready"], &status["failureReason"]),
        (&json!(false), &json!("InvalidConfiguration"))
    );
    assert_eq!(status["observedGeneration"], 4);
}
