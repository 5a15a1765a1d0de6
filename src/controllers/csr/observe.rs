//! Reads what a decision about a certificate request needs: its Node and its Machine from the caches, and whether who asks may ask. It
//! decides nothing.

use std::sync::Arc;

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::CertificateSigningRequest,
};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::plan::{self, Found, Observed, Verdict};
use crate::controllers::{apply::within, cache::term, effect::Target, runtime::ReconcileError, world::World};

/// Reads everything. The API server is asked only about a request that fulfils everything else.
pub(super) async fn observe(
    world: &World,
    target: &Target,
    request: Arc<CertificateSigningRequest>,
    is_told: bool,
) -> Result<Observed, ReconcileError> {
    let name = plan::node_name(&request).unwrap_or_default().to_owned();
    let nodes = world.workloads.get(target).map(|w| w.nodes.clone());
    let mut machines = world.machines.find(&term::node(&name));
    machines.retain(|machine| world.target_of(machine).as_ref() == Some(target));
    let machine = match (machines.pop(), machines.len()) {
        (None, _) => Found::None,
        (Some(machine), 0) => Found::One(machine),
        (Some(_), more) => Found::Several(more + 1),
    };
    let mut observed = Observed {
        target: target.clone(),
        has_node: nodes.is_some_and(|nodes| nodes.contains(None, &name)),
        is_paused: matches!(&machine, Found::One(machine) if world.is_paused(machine)),
        machine,
        review: None,
        is_told,
        request,
    };
    if plan::judge(&observed) == Verdict::Unreviewed {
        observed.review = Some(review(world, target, &observed.request).await?);
    }
    Ok(observed)
}

/// Asks whether who made a request may make such requests at all.
async fn review(
    world: &World,
    target: &Target,
    request: &CertificateSigningRequest,
) -> Result<bool, ReconcileError> {
    let spec = &request.spec;
    let question = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(world.client(target)?);
    let doing = format!("asking what {} may do", request.name_any());
    let answer = within(doing, reviews.create(&PostParams::default(), &question)).await?;
    Ok(answer.status.is_some_and(|s| s.allowed && s.denied != Some(true)))
}
