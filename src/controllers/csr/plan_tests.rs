//! The table of checks: a request of a real kubelet's form passes, and each case below fails one check and no other.

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::json;

use super::*;
use crate::controllers::effect::ClusterKey;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The request of a kubelet for these names.
fn pem(common_name: &str, organization: &str, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names
        .iter()
        .map(
            |name| match (name.parse(), name.contains('@'), name.contains(':')) {
                (Ok(ip), ..) => SanType::IpAddress(ip),
                (_, true, _) => SanType::Rfc822Name((*name).try_into().unwrap()),
                (_, _, true) => SanType::URI((*name).try_into().unwrap()),
                _ => SanType::DnsName((*name).try_into().unwrap()),
            },
        )
        .collect();
    let key = KeyPair::generate().unwrap();
    params
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap()
        .into_bytes()
}

fn asks_for(names: &[&str]) -> Vec<u8> {
    pem("system:node:m-1", "system:nodes", names)
}

fn machine() -> Machine {
    serde_json::from_value(json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
        "metadata": { "name": "machine-1", "namespace": "fleet" },
        "spec": {},
        "status": {
            "infrastructureReady": true, "bootstrapReady": true,
            "nodeRef": { "kind": "Node", "name": "m-1" },
            "addresses": [
                { "type": "InternalIP", "address": "10.0.0.7" },
                { "type": "InternalIP", "address": "FD00:0::7" },
                { "type": "InternalDNS", "address": "m-1.internal" },
            ]
        }
    }))
    .unwrap()
}

fn good() -> Observed {
    let mut request = CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some("csr-abcde".into()),
            uid: Some("uid-1".into()),
            creation_timestamp: Some(Time(at(1000))),
            resource_version: Some("7".into()),
            ..ObjectMeta::default()
        },
        ..CertificateSigningRequest::default()
    };
    request.spec.signer_name = SIGNER.into();
    request.spec.username = Some("system:node:m-1".into());
    request.spec.groups = Some(vec![NODES.into(), AUTHENTICATED.into()]);
    request.spec.usages = Some(vec!["digital signature".into(), SERVER.into()]);
    request.spec.request = ByteString(asks_for(&["m-1", "10.0.0.7", "fd00::7", "m-1.internal"]));
    Observed {
        target: Target::Cluster(ClusterKey {
            namespace: "fleet".into(),
            name: "demo".into(),
        }),
        request: Arc::new(request),
        has_node: true,
        machine: Found::One(Arc::new(machine())),
        is_paused: false,
        review: Some(true),
        is_told: false,
    }
}

/// The good one with a change of its spec.
fn with(
    change: impl FnOnce(&mut k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec),
) -> Observed {
    let mut o = good();
    change(&mut Arc::make_mut(&mut o.request).spec);
    o
}

fn with_request(pem: Vec<u8>) -> Observed {
    with(|spec| spec.request = ByteString(pem))
}

fn with_machine(change: impl FnOnce(&mut Machine)) -> Observed {
    let mut machine = machine();
    change(&mut machine);
    Observed {
        machine: Found::One(Arc::new(machine)),
        ..good()
    }
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

#[test]
fn a_kubelets_request_is_approved() {
    let p = plan(&good(), at(1001));
    assert_eq!(
        words(&p),
        [
            "approve CertificateSigningRequest csr-abcde in cluster fleet/demo",
            "event CertificateApproved: CertificateSigningRequest csr-abcde is approved"
        ]
    );
    let Effect::Approve { request, .. } = &p.effects[0] else {
        panic!("{p:?}")
    };
    assert_eq!(request.metadata.resource_version.as_deref(), Some("7"));
    let conditions = request.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let [approved] = conditions.as_slice() else {
        panic!("{conditions:?}")
    };
    assert_eq!(
        (
            approved.type_.as_str(),
            approved.status.as_str(),
            approved.reason.as_deref(),
            approved.message.as_deref()
        ),
        (
            "Approved",
            "True",
            Some("AutoApproved"),
            Some("approved by machine-api controller")
        )
    );
    let usual = with(|spec| spec.usages = Some(USAGES.map(str::to_owned).to_vec()));
    assert_eq!(judge(&usual), Verdict::Good);
    assert_eq!(judge(&with_request(asks_for(&["m-1"]))), Verdict::Good);
    assert_eq!(judge(&with_request(asks_for(&["10.0.0.7"]))), Verdict::Good);
}

#[test]
fn each_check_fails_alone() {
    let usages = |list: &[&str]| {
        let list = list.iter().map(|u| (*u).to_owned()).collect();
        with(|spec| spec.usages = Some(list))
    };
    let groups = |list: &[&str]| {
        let list = list.iter().map(|u| (*u).to_owned()).collect();
        with(|spec| spec.groups = Some(list))
    };
    let mut broken = asks_for(&["m-1"]);
    let middle = broken.len() / 2;
    broken[middle] = if broken[middle] == b'A' { b'B' } else { b'A' };
    let denied = Observed {
        review: Some(false),
        ..good()
    };
    for (check, told, o) in [
        (
            "UserName",
            "no name",
            with(|spec| spec.username = Some("system:node:".into())),
        ),
        ("Groups", "system:nodes", groups(&[AUTHENTICATED])),
        ("Groups", "system:authenticated", groups(&[NODES])),
        ("Groups", "system:nodes", with(|spec| spec.groups = None)),
        ("Request", "PEM", with_request(b"no request".to_vec())),
        ("Request", "PEM", with_request(Vec::new())),
        ("Request", "", with_request(broken)),
        (
            "CommonName",
            "m-2",
            with_request(pem("system:node:m-2", NODES, &["m-1"])),
        ),
        (
            "CommonName",
            "system:admin",
            with_request(pem("system:admin", NODES, &["m-1"])),
        ),
        (
            "Organization",
            "system:masters",
            with_request(pem("system:node:m-1", "system:masters", &["m-1"])),
        ),
        (
            "Usages",
            "client auth",
            usages(&["digital signature", "client auth", SERVER]),
        ),
        (
            "Usages",
            SERVER,
            usages(&["digital signature", "key encipherment"]),
        ),
        ("Usages", SERVER, usages(&[])),
        ("SubjectAltNames", "there are none", with_request(asks_for(&[]))),
        ("SubjectAltNames", "m-2", with_request(asks_for(&["m-1", "m-2"]))),
        (
            "SubjectAltNames",
            "10.0.0.8",
            with_request(asks_for(&["m-1", "10.0.0.8"])),
        ),
        ("SubjectAltNames", "fd00::8", with_request(asks_for(&["fd00::8"]))),
        (
            "SubjectAltNames",
            "neither",
            with_request(asks_for(&["m-1", "joe@m-1"])),
        ),
        (
            "SubjectAltNames",
            "neither",
            with_request(asks_for(&["m-1", "https://m-1"])),
        ),
        (
            "SubjectAltNames",
            "m-1.internal",
            with_machine(|m| m.status.as_mut().unwrap().addresses.clear()),
        ),
        ("SubjectAccessReview", "may not create", denied),
    ] {
        match judge(&o) {
            Verdict::Bad(failed, why) => {
                assert_eq!(failed, check, "{why}");
                assert!(why.contains(told), "{check}: {why}");
            }
            other => panic!("{check}: {other:?}"),
        }
        let p = plan(&o, at(1001));
        assert!(
            matches!(p.effects.as_slice(), [Effect::Emit(notice)] if notice.warning),
            "{p:?}"
        );
        assert!(
            words(&p)[0].contains(&format!("check {check} failed")),
            "{:?}",
            words(&p)
        );
        let told = Observed { is_told: true, ..o };
        assert!(plan(&told, at(1001)).effects.is_empty(), "it is told once");
    }
}

#[test]
fn a_name_of_the_node_alone_is_none_of_the_machine() {
    // Kubelets write the addresses of their Nodes: only the Machine's count.
    let o = with_request(asks_for(&["m-1", "192.0.2.66"]));
    assert!(matches!(judge(&o), Verdict::Bad("SubjectAltNames", _)));
}

#[test]
fn requests_of_others_and_decided_ones_are_left_alone() {
    let decided = |type_: &str| {
        let mut o = good();
        let status = Arc::make_mut(&mut o.request).status.get_or_insert_default();
        status.conditions = Some(vec![CertificateSigningRequestCondition {
            type_: type_.into(),
            status: "True".into(),
            ..CertificateSigningRequestCondition::default()
        }]);
        o
    };
    for o in [
        with(|spec| spec.username = Some("joe".into())),
        with(|spec| spec.username = Some("system:nodes:m-1".into())),
        with(|spec| spec.username = None),
        with(|spec| spec.signer_name = "kubernetes.io/kube-apiserver-client-kubelet".into()),
        decided("Approved"),
        decided("Denied"),
        decided("Failed"),
    ] {
        assert_eq!(judge(&o), Verdict::NotOurs);
        assert_eq!(plan(&o, at(1001)), Plan::nothing());
    }
}

#[test]
fn what_may_still_come_is_waited_for_less_and_less_often() {
    let found = |machine: Found| Observed { machine, ..good() };
    for o in [
        Observed {
            has_node: false,
            ..good()
        },
        Observed {
            is_paused: true,
            ..good()
        },
        found(Found::None),
        found(Found::Several(2)),
        with_machine(|m| m.status.as_mut().unwrap().infrastructure_ready = false),
        with_machine(|m| m.status = None),
        with_machine(|m| m.metadata.deletion_timestamp = Some(Time(at(1)))),
    ] {
        assert!(matches!(judge(&o), Verdict::Early(_)), "{:?}", judge(&o));
        let waits = [1000, 1005, 1010, 1300, 9000].map(|now| plan(&o, at(now)).requeue);
        let after = |seconds| Requeue::After(SignedDuration::from_secs(seconds));
        assert_eq!(waits, [after(5), after(5), after(10), after(300), after(600)]);
        assert!(plan(&o, at(1001)).effects.is_empty());
        assert_eq!(plan(&o, at(1000 + 25 * 3600)).requeue, Requeue::OnChange);
    }
}

#[test]
fn nobody_is_told_of_a_bad_request_before_there_is_a_machine() {
    let mut o = with(|spec| spec.groups = None);
    o.machine = Found::None;
    let p = plan(&o, at(1001));
    assert_eq!((p.effects.len(), p.requeue), (0, Requeue::After(LOOK)));
}

#[test]
fn the_api_server_is_asked_last() {
    let o = Observed {
        review: None,
        ..good()
    };
    assert_eq!(judge(&o), Verdict::Unreviewed);
    assert!(plan(&o, at(1001)).effects.is_empty());
    let early = Observed { has_node: false, ..o };
    assert_ne!(judge(&early), Verdict::Unreviewed);
}
