//! Tests of crit configurations: defaults, conversion, what is refused.

use super::*;
use crate::yaml;

fn parsed(text: &str) -> Parsed {
    parse(&yaml::documents(text).unwrap()[0].value).unwrap()
}

fn worker(text: &str) -> (WorkerConfiguration, Vec<String>) {
    let parsed = parsed(text);
    match parsed.configuration {
        Configuration::Worker(worker) => (*worker, parsed.unknown),
        Configuration::ControlPlane(_) => panic!("want a worker"),
    }
}

fn control_plane(text: &str) -> (ControlPlaneConfiguration, Vec<String>) {
    let parsed = parsed(text);
    match parsed.configuration {
        Configuration::ControlPlane(control_plane) => (*control_plane, parsed.unknown),
        Configuration::Worker(_) => panic!("want a control plane"),
    }
}

const EVERYTHING: &str = include_str!("../../../tests/fixtures/bootstrap/crit.yaml");

#[test]
fn every_field_of_both_kinds_is_known() {
    let documents = yaml::documents(EVERYTHING).unwrap();
    assert_eq!(documents.len(), 3);
    for document in documents {
        let unknown = parse(&document.value).unwrap().unknown;
        let expected: &[&str] = if document.value["apiVersion"] == LEGACY_API_VERSION {
            &["node.kubeProxyMode"] // a worker never had use for it
        } else {
            &[]
        };
        assert_eq!(unknown, expected, "{}", document.value["kind"]);
    }
}

#[test]
fn unknown_keys_are_listed_with_their_paths() {
    let (_, unknown) = control_plane(
        "{apiVersion: crit.sh/v1alpha2, kind: ControlPlaneConfiguration, colour: red, \
         kubeAPIServer: {bindport: 1, extraVolumes: [{name: a, size: 3}]}, node: {taints: [{key: a, effect: b, x: 1}]}}",
    );
    assert_eq!(
        unknown
            .iter()
            .map(String::as_str)
            .collect::<std::collections::BTreeSet<_>>(),
        [
            "colour",
            "kubeAPIServer.bindport",
            "kubeAPIServer.extraVolumes[0].size",
            "node.taints[0].x"
        ]
        .into()
    );
}

#[test]
fn an_endpoint_is_text_or_an_object_and_written_as_an_object() {
    for (text, host, port) in [
        ("\"cp.example.net:7443\"", "cp.example.net", 7443),
        ("cp.example.net", "cp.example.net", 0),
        ("\"[fd00::1]:7443\"", "fd00::1", 7443),
        ("\"fd00::1\"", "fd00::1", 0),
        ("{host: cp.example.net, port: 7443}", "cp.example.net", 7443),
        ("{host: cp.example.net}", "cp.example.net", 0),
    ] {
        let (worker, unknown) = worker(&format!(
            "{{apiVersion: crit.sh/v1alpha2, kind: WorkerConfiguration, controlPlaneEndpoint: {text}}}"
        ));
        let endpoint = worker.control_plane_endpoint.unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{text}");
        assert!(unknown.is_empty(), "{text}");
    }
    assert!(Endpoint::parse("a:b").is_err());
    assert_eq!(Endpoint::parse("cp").unwrap().to_string(), "cp:6443");
}

#[test]
fn wrong_types_are_errors_that_name_the_kind() {
    let document = yaml::documents(
        "{apiVersion: crit.sh/v1alpha2, kind: WorkerConfiguration, node: {kubernetesVersion: 1.20}}",
    )
    .unwrap();
    let error = parse(&document[0].value).unwrap_err().to_string();
    assert!(
        error.contains("WorkerConfiguration") && error.contains("string"),
        "{error}"
    );
}

#[test]
fn flags_that_look_like_numbers_are_taken_as_text() {
    let (control_plane, _) = control_plane(
        "{apiVersion: crit.sh/v1alpha2, kind: ControlPlaneConfiguration, kubeScheduler: {extraArgs: {v: 2, profiling: false}}}",
    );
    let args = control_plane.kube_scheduler.unwrap().extra_args.unwrap();
    assert_eq!((args["v"].as_str(), args["profiling"].as_str()), ("2", "false"));
}

#[test]
fn legacy_control_planes_are_converted() {
    let (control_plane, unknown) = control_plane(
        "{apiVersion: crit.criticalstack.com/v1alpha1, kind: ControlPlaneConfiguration, controlPlaneEndpoint: cp, \
         verbosity: 3, critBootstrapServer: {imageRegistry: docker.io}, \
         node: {kubeProxyMode: ipvs, podSubnet: 10.1.0.0/16, serviceSubnet: 10.2.0.0/16, dnsDomain: corp.local}}",
    );
    assert_eq!(control_plane.pod_subnet.as_deref(), Some("10.1.0.0/16"));
    assert_eq!(control_plane.service_subnet.as_deref(), Some("10.2.0.0/16"));
    assert!(control_plane.feature_gates.unwrap()["BootstrapServer"]);
    assert_eq!(control_plane.kube_proxy.unwrap().config.unwrap()["mode"], "ipvs");
    assert_eq!(control_plane.control_plane_endpoint.unwrap().host, "cp");
    assert_eq!(
        control_plane.node.unwrap().kubelet.unwrap()["clusterDomain"],
        "corp.local"
    );
    assert_eq!(unknown.len(), 2, "{unknown:?}");

    let bad = "{apiVersion: crit.criticalstack.com/v1alpha1, kind: ControlPlaneConfiguration, node: {kubeProxyMode: bpf}}";
    assert!(parse(&yaml::documents(bad).unwrap()[0].value).is_err());
}

#[test]
fn a_disabled_legacy_proxy_stays_disabled() {
    let (control_plane, _) = control_plane(
        "{apiVersion: crit.criticalstack.com/v1alpha1, kind: ControlPlaneConfiguration, apiServerURL: 'https://cp:7443', node: {kubeProxyMode: disabled}}",
    );
    assert_eq!(control_plane.kube_proxy.unwrap().disabled, Some(true));
    assert_eq!(control_plane.control_plane_endpoint.unwrap().port, 7443);
}

#[test]
fn defaults_stand_where_nothing_is_written() {
    let mut control_plane = ControlPlaneConfiguration::default();
    set_control_plane_defaults(&mut control_plane);
    insta::assert_snapshot!(yaml::to_string(&control_plane).unwrap());
}

#[test]
fn what_is_written_stays() {
    let (mut worker, _) = worker(
        "{apiVersion: crit.sh/v1alpha2, kind: WorkerConfiguration, node: {kubernetesVersion: v1.18.10, kubelet: \
         {maxPods: 60, nodeStatusUpdateFrequency: 1s, evictionHard: {}, authentication: {webhook: {cacheTTL: 1m}}}}}",
    );
    set_worker_defaults(&mut worker);
    let node = worker.node.unwrap();
    assert_eq!(node.kubernetes_version.as_deref(), Some("1.18.10"));
    let kubelet = node.kubelet.unwrap();
    assert_eq!(kubelet["maxPods"], 60);
    assert_eq!(kubelet["nodeStatusReportFrequency"], "1s");
    assert_eq!(kubelet["evictionHard"], serde_json::json!({}));
    assert_eq!(kubelet["authentication"]["webhook"]["cacheTTL"], "1m");
    assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
}

#[test]
fn other_versions_and_kinds_are_refused() {
    for text in [
        "{apiVersion: crit.sh/v1beta1, kind: WorkerConfiguration}",
        "{apiVersion: crit.sh/v1alpha2, kind: Config}",
        "{}",
        "[1]",
        "text",
    ] {
        let document = yaml::documents(text).unwrap();
        assert!(parse(&document[0].value).is_err(), "{text}");
    }
}

#[test]
fn tokens_do_not_show_in_debug() {
    let (worker, _) = worker(
        "{apiVersion: crit.sh/v1alpha2, kind: WorkerConfiguration, bootstrapToken: abcdef.0123456789abcdef}",
    );
    assert!(!format!("{worker:?}").contains("abcdef"));
}
