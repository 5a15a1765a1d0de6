//! Tests of cinder cluster files: every field, and what machines are made of them.

use super::*;

const EVERYTHING: &str = include_str!("../../../tests/fixtures/bootstrap/cinder.yaml");

fn host_files() -> HostFiles {
    [("./bin/crit".to_owned(), b"\x7fELF\0".to_vec())].into()
}

#[test]
fn every_field_is_taken_over() {
    let parsed = parse(EVERYTHING).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let configuration = parsed.configuration;
    assert!(configuration.gates.machine_api && configuration.gates.local_registry);
    assert!(!configuration.gates.krustlet && !configuration.gates.fix_cgroup_mounts);
    assert_eq!(configuration.host_files(), ["./bin/crit"]);
    assert_eq!(configuration.mounts()[0].attrs, ["ro"]);
    assert_eq!(configuration.port_mappings()[0].host_port, 8000);
    assert_eq!(
        configuration.local_registry().unwrap(),
        LocalRegistry {
            name: "cinderegg".to_owned(),
            port: 5000
        }
    );
    insta::assert_snapshot!(
        "control-plane",
        yaml::to_string(&configuration.control_plane("dev", &host_files()).unwrap()).unwrap()
    );
    insta::assert_snapshot!(
        "worker",
        yaml::to_string(&configuration.worker("dev", &host_files()).unwrap()).unwrap()
    );
}

fn small(rest: &str) -> Result<Parsed, CinderError> {
    parse(&format!(
        "apiVersion: cinder.crit.sh/v1alpha1\nkind: ClusterConfiguration\n{rest}"
    ))
}

#[test]
fn gates_are_known_or_refused() {
    let gates = small("featureGates: {AllAlpha: true, Krustlet: false}")
        .unwrap()
        .configuration
        .gates;
    assert!(gates.machine_api && gates.local_registry && gates.fix_cgroup_mounts && !gates.krustlet);
    let error = small("featureGates: {Machineapi: true}").unwrap_err().to_string();
    assert!(error.contains("Machineapi"), "{error}");
    assert!(small("featureGates: {MachineAPI: maybe}").is_err());
}

#[test]
fn unknown_fields_are_warnings_and_other_kinds_errors() {
    let parsed = small("colour: red\nworkerConfiguration: {node: {colour: red}}").unwrap();
    assert_eq!(
        parsed.warnings,
        [
            "unknown field colour is ignored",
            "unknown field workerConfiguration.node.colour is ignored"
        ]
    );
    for text in ["", "kind: ClusterConfiguration", "a: 1\n---\nb: 2", "a: ["] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn mirrors_reach_a_users_own_configuration_too() {
    let parsed = small(
        "registryMirrors: {docker.io: 'https://mirror.example.net'}\n\
         files: [{path: /etc/containerd/config.toml, content: 'version = 2'}]",
    )
    .unwrap();
    let spec = parsed.configuration.worker("dev", &HostFiles::new()).unwrap();
    let text = text_of(&spec.files[0]).unwrap();
    assert!(
        text.starts_with("version = 2\n") && text.contains("registry.mirrors.\"docker.io\""),
        "{text}"
    );
    assert!(spec.pre_crit_commands.is_empty());

    let parsed = small(
        "registryMirrors: {docker.io: 'https://mirror.example.net'}\n\
         files: [{path: /etc/containerd/config.toml, content: 'config_path = \"/etc/containerd/certs.d\"'}]",
    )
    .unwrap();
    let spec = parsed.configuration.worker("dev", &HostFiles::new()).unwrap();
    assert!(!text_of(&spec.files[0]).unwrap().contains("mirrors"));
    assert!(
        spec.files
            .iter()
            .any(|f| f.path == "/etc/containerd/certs.d/docker.io/hosts.toml")
    );
}

#[test]
fn mirrors_that_could_break_out_of_their_quotes_are_refused() {
    for bad in [
        "{'a\"b': 'http://x'}",
        "{a: 'http://x\"]'}",
        "{a: 'ftp://x'}",
        "{'../../x': 'http://x'}",
    ] {
        assert!(small(&format!("registryMirrors: {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn the_registry_listens_on_5000_in_its_network() {
    let parsed = small("featureGates: {LocalRegistry: true}\nlocalRegistryPort: 5001").unwrap();
    assert_eq!(
        parsed.configuration.mirrors(),
        [("cinderegg:5001".to_owned(), "http://cinderegg:5000".to_owned())].into()
    );
}

#[test]
fn a_missing_host_file_is_named() {
    let error = parse(EVERYTHING)
        .unwrap()
        .configuration
        .worker("dev", &HostFiles::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("./bin/crit") && error.contains("files[0]"),
        "{error}"
    );
}

#[test]
fn cgroup_root_follows_its_gate() {
    let parsed = small("featureGates: {FixCgroupMounts: true}").unwrap();
    let spec = parsed
        .configuration
        .control_plane("dev", &HostFiles::new())
        .unwrap();
    assert!(spec.config.as_str().unwrap().contains("cgroupRoot: /kubelet"));
    let parsed = small("").unwrap();
    let spec = parsed
        .configuration
        .control_plane("dev", &HostFiles::new())
        .unwrap();
    assert!(!spec.config.as_str().unwrap().contains("cgroupRoot"));
}
