//! What `OpenShift`'s machine controller promises about calls of the provider, case by case.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::{super::observe::Failure, *},
    at, instance, prepared, ready, with_status, words,
};
use crate::providers::{ActuatorError, BootstrapData};

fn absent() -> Observed {
    let mut o = prepared("DockerMachine");
    o.bootstrap = Some(BootstrapData::new("#cloud-config"));
    o
}

fn failing(o: &mut Observed, error: &ActuatorError) {
    o.failure = Some(Failure::of(error));
}

/// Deviates from `OpenShift`: what comes next follows from the instance's own state, not from a look 30 s later.
#[test]
fn m02_an_absent_instance_is_created_once_in_a_look() {
    let mut o = absent();
    assert_eq!(words(&plan(&o, at(1))), ["create instance of infra-1 (try 1)"]);
    o.instance = Some(instance(InstanceState::Booting, 1));
    let p = plan(&o, at(1));
    assert_eq!((words(&p).len(), p.requeue), (0, Requeue::After(LOOK)));
}

#[test]
fn m09_only_what_the_provider_refuses_for_good_is_a_failure() {
    let mut o = absent();
    failing(&mut o, &ActuatorError::transient("no capacity now"));
    let p = plan(&o, at(1));
    assert_eq!(p.status.as_ref().unwrap().get("failureReason"), None);
    failing(
        &mut o,
        &ActuatorError::terminal("InvalidConfiguration", "no such image"),
    );
    let p = plan(&o, at(1));
    let status = p.status.as_ref().unwrap();
    assert_eq!(status["failureReason"], "InvalidConfiguration");
    assert_eq!(status["failureMessage"], "no such image");
    // m08: it is not asked again.
    o = with_status(o, &p);
    o.failure = None;
    assert_eq!(plan(&o, at(900)), Plan::nothing());
}

#[test]
fn m10_a_provider_that_asks_for_time_gets_it() {
    let mut o = absent();
    let wait = ActuatorError::Throttled {
        retry_after: SignedDuration::from_secs(7),
    };
    failing(&mut o, &wait);
    let p = plan(&o, at(1));
    // The delay itself is the back-off of that error.
    assert_eq!(ready(&p), (json!(false), "ProviderError".to_owned()));
    assert_eq!(p.status.as_ref().unwrap().get("failureReason"), None);
}

#[test]
fn m11_m12_a_provider_that_can_not_be_asked_never_fails_a_machine() {
    let mut o = absent();
    o.instance = Some(instance(InstanceState::Running, 1));
    let up = plan(&o, at(1));
    o = with_status(o, &up);
    o.instance = None;
    failing(&mut o, &ActuatorError::transient("connection refused"));
    for now in [2, 3_600] {
        let p = plan(&o, at(now));
        assert_eq!(ready(&p), (json!(true), "ProviderError".to_owned()));
        o = with_status(o, &p);
    }
}

#[test]
fn d02_an_instance_that_goes_is_asked_for_until_it_is_gone() {
    let mut o = absent();
    Arc::make_mut(&mut o.object).metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(words(&plan(&o, at(6))), ["delete instance of infra-1"]);
    o.deletion = Some(Deletion::InProgress);
    let p = plan(&o, at(6));
    assert_eq!((words(&p).len(), p.requeue), (0, Requeue::After(LOOK_AWAY)));
    o.deletion = Some(Deletion::Gone);
    assert_eq!(
        words(&plan(&o, at(7))),
        ["remove finalizer dockermachine.infrastructure.crit.sh"]
    );
}

/// Deviates from `OpenShift`: a refusal never lets the object go, with addresses or without, because the provider says itself when nothing is
/// left.
#[test]
fn d05_a_provider_that_refuses_a_deletion_is_asked_again() {
    let mut o = absent();
    Arc::make_mut(&mut o.object).metadata.deletion_timestamp = Some(Time(at(5)));
    failing(
        &mut o,
        &ActuatorError::terminal("InvalidConfiguration", "no credentials"),
    );
    let p = plan(&o, at(6));
    assert!(p.effects.is_empty(), "{p:?}");
    assert_eq!(p.requeue, Requeue::After(SignedDuration::from_secs(30)));
    assert_eq!(ready(&p).1, "ProviderError");
    // The next look asks anew.
    o.failure = None;
    assert_eq!(words(&plan(&o, at(36))), ["delete instance of infra-1"]);
}
