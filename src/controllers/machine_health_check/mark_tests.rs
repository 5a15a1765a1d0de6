//! What is said about machines: once, by one check, and a bounded number at a time.

use std::sync::Arc;

use serde_json::json;

use super::plan_tests::*;

#[test]
fn what_another_check_has_said_is_not_said_otherwise() {
    let mut o = observed(json!({}), vec![bad("m-0", 100), well("m-1")]);
    let says = |author: &str| {
        serde_json::from_value(json!([{
            "type": "HealthCheckSucceeded", "status": "False", "reason": "UnhealthyNode",
            "message": format!("{author}: something"), "lastTransitionTime": text(1000)
        }]))
        .unwrap()
    };
    for w in &mut o.machines {
        Arc::make_mut(&mut w.machine).status.as_mut().unwrap().conditions = says("other");
    }
    o.others = vec!["other".into()];
    assert!(decide(&o).marks.is_empty());
    // The other one is gone.
    o.others = Vec::new();
    let d = decide(&o);
    let marks = mark(&mut o, &d);
    assert_eq!((marks[0].1.as_str(), marks[1].1.as_str()), ("Unknown", "True"));
}

#[test]
fn a_steady_check_names_the_first_hundred_only_and_marks_a_bounded_number() {
    let mut o = observed(json!({ "maxUnhealthy": 0 }), fleet(1000, 1000));
    let d = decide(&o);
    assert_eq!(status(&d).targets.len(), 100);
    assert_eq!((d.marks.len(), d.requeue), (200, after(1)));
    for _ in 0..4 {
        let d = decide(&o);
        assert_eq!(d.marks.len(), 200);
        mark(&mut o, &d);
        written(&mut o, &d);
    }
    let d = decide(&o);
    mark(&mut o, &d);
    assert_eq!(decide(&o).marks.len(), 0);
}
