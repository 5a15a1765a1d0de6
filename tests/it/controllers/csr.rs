//! Serving certificates of kubelets: from the request to its approval.

use axum::body::Body;
use k8s_openapi::{
    ByteString,
    api::{
        certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
        core::v1::Event,
    },
};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use machinectl::{
    api::v1alpha1::{HollowMachine, Machine},
    apiserver::{Server, auth::UserInfo},
    install,
    time::SystemClock,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt as _;

use super::{Place, holds, machine_spec, until};

const SERVING: &str = "kubernetes.io/kubelet-serving";

/// A client that is known as somebody.
fn client_of(server: &Server, user: &str, groups: &[&str]) -> Client {
    let router = server.router();
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    let user = UserInfo::new(user, "", groups);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(user.clone());
        let router = router.clone();
        async move { router.oneshot(request).await }
    });
    Client::new(service, "default")
}

/// A request for a serving certificate, as the kubelet of a node sends it.
pub(crate) fn serving(name: &str, node: &str, names: &[&str]) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("system:node:{node}"));
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    let key = KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: SERVING.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "server auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    }
}

async fn ask(client: &Client, request: &CertificateSigningRequest) -> CertificateSigningRequest {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    api.create(&PostParams::default(), request).await.unwrap()
}

fn approval(request: &CertificateSigningRequest) -> Option<String> {
    let list = request.status.as_ref()?.conditions.as_ref()?;
    let approved = list
        .iter()
        .find(|c| c.type_ == "Approved" && c.status == "True")?;
    assert_eq!(approved.reason.as_deref(), Some("AutoApproved"));
    approved.message.clone()
}

async fn told(place: &Place, reason: &str) -> Vec<String> {
    let list = place.api::<Event>().list(&ListParams::default()).await.unwrap();
    let about = list.iter().filter(|e| e.reason.as_deref() == Some(reason));
    about
        .flat_map(|e| {
            assert_eq!(e.involved_object.kind.as_deref(), Some("Machine"));
            let times = e.series.as_ref().and_then(|s| s.count).unwrap_or(1);
            vec![e.message.clone().unwrap_or_default(); usize::try_from(times).unwrap()]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelets_get_the_certificates_of_their_machines_and_no_others() {
    let server = Server::in_memory(Arc::new(SystemClock));
    install::definitions(&server.client(), false).await.unwrap();
    let place = Place::on(server.client()).await;
    let running = place.run();
    place.create::<HollowMachine>("m-1", &[], json!({})).await;
    place
        .create::<Machine>("m-1", &[], machine_spec("HollowMachine", "m-1"))
        .await;
    let machine = until(&place.api::<Machine>(), "m-1", "Running", |m: &Machine| {
        holds(m, "Ready")
    })
    .await;
    let address = machine.status.unwrap().addresses[0].address.clone();

    let kubelet = client_of(&server, "system:node:m-1", &["system:nodes"]);
    let mut forged = serving("good", "m-1", &["m-1", &address]);
    forged.spec.username = Some("somebody".to_owned());
    let made = ask(&kubelet, &forged).await;
    assert_eq!(made.spec.username.as_deref(), Some("system:node:m-1"));
    assert_eq!(
        made.spec.groups.unwrap(),
        ["system:nodes", "system:authenticated"]
    );

    ask(&kubelet, &serving("foreign", "m-1", &["m-1", "192.0.2.66"])).await;
    // Somebody else in the name of the kubelet.
    ask(&place.client, &serving("stolen", "m-1", &["m-1"])).await;
    // A kubelet whose Machine is not there yet.
    let early = client_of(&server, "system:node:m-2", &["system:nodes"]);
    ask(&early, &serving("early", "m-2", &["m-2"])).await;

    let requests: Api<CertificateSigningRequest> = Api::all(place.client.clone());
    let good = until(&requests, "good", "approval", |r| approval(r).is_some()).await;
    assert_eq!(approval(&good).unwrap(), "approved by machine-api controller");
    let waited = async {
        while told(&place, "CertificateNotApproved").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), waited)
        .await
        .expect("an event that names the check");

    // The Machine comes; the request is looked at again by itself.
    place.create::<HollowMachine>("m-2", &[], json!({})).await;
    place
        .create::<Machine>("m-2", &[], machine_spec("HollowMachine", "m-2"))
        .await;
    until(&requests, "early", "approval", |r| approval(r).is_some()).await;

    for name in ["foreign", "stolen"] {
        let left = requests.get(name).await.unwrap();
        let conditions = left.status.and_then(|s| s.conditions);
        assert!(
            conditions.is_none_or(|list| list.is_empty()),
            "{name} is left pending"
        );
    }
    let told = told(&place, "CertificateNotApproved").await;
    let [why] = told.as_slice() else {
        panic!("told once: {told:?}")
    };
    assert!(
        why.contains("foreign") && why.contains("SubjectAltNames") && why.contains("192.0.2.66"),
        "{why}"
    );
    running.stop().await;
}
