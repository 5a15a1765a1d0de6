//! The Docker provider against a real daemon and a real node image. Each test cleans up after itself.
//!
//! `tests/run docker` prepares both. Without them these tests fail; the other lanes leave them out.

mod actuator;
mod commands;
mod embedded;
mod fleet;
mod images;
mod journey;
mod kubeadm;
mod pivot;

use std::{env, process::Command, time::Duration};

use machinectl::{
    api::v1alpha1::DockerMachineSpec,
    providers::{
        Actuator, BootstrapData, Instance, InstanceKey, InstanceSpec, InstanceState, Known, Role,
        docker::DockerActuator,
    },
};

/// The node image of the rig.
fn image() -> String {
    assert!(
        env::var_os("MACHINECTL_TEST_DOCKER").is_some(),
        "MACHINECTL_TEST_DOCKER is not set: these tests need a Docker daemon and a node image (tests/run docker)"
    );
    env::var("MACHINECTL_TEST_NODE_IMAGE").unwrap_or_else(|_| "machinectl-node:v1.20.2".to_owned())
}

async fn actuator() -> DockerActuator {
    DockerActuator::connect()
        .await
        .unwrap_or_else(|e| panic!("these tests need a Docker daemon: {e}"))
}

/// Runs the docker program and returns what it says.
fn docker(arguments: &[&str]) -> String {
    let (ok, said) = try_docker(arguments);
    assert!(ok, "docker {arguments:?}: {said}");
    said
}

fn try_docker(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("docker program");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).trim().to_owned(),
    )
}

fn exists(container: &str) -> bool {
    try_docker(&["container", "inspect", container]).0
}

/// Names of the anonymous volumes of a container.
fn volumes(container: &str) -> Vec<String> {
    docker(&[
        "inspect",
        "-f",
        "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}",
        container,
    ])
    .split_whitespace()
    .map(str::to_owned)
    .collect()
}

/// A machine that is gone when the test ends, however it ends.
struct Machine {
    spec: InstanceSpec,
}

impl Machine {
    fn new(name: &str, role: Role, bootstrap: &str) -> Self {
        drop(try_docker(&["rm", "-f", "-v", name]));
        let infrastructure = DockerMachineSpec {
            cluster_name: format!("{name}-cluster"),
            container_name: name.to_owned(),
            image: image(),
            ..DockerMachineSpec::default()
        };
        Self {
            spec: InstanceSpec {
                key: InstanceKey {
                    namespace: "default".to_owned(),
                    name: name.to_owned(),
                    uid: format!("uid-{name}"),
                },
                infrastructure: serde_json::to_value(infrastructure).unwrap(),
                machine: name.to_owned(),
                cluster: None,
                role,
                version: None,
                bootstrap: Some(BootstrapData::new(bootstrap)),
                attempt: 1,
                known: Known::default(),
            },
        }
    }

    fn worker(name: &str, bootstrap: &str) -> Self {
        Self::new(name, Role::Worker, bootstrap)
    }

    fn name(&self) -> &str {
        &self.spec.key.name
    }

    fn cluster(&self) -> String {
        format!("{}-cluster", self.name())
    }

    fn file(&self, path: &str) -> String {
        docker(&["exec", self.name(), "cat", path])
    }

    /// Looks at it until it is neither booting nor bootstrapping.
    async fn settled(&self, actuator: &DockerActuator) -> Instance {
        for _ in 0..1800 {
            let instance = actuator
                .observe(&self.spec)
                .await
                .unwrap()
                .expect("it was created");
            match instance.state {
                InstanceState::Booting | InstanceState::Bootstrapping => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                _ => return instance,
            }
        }
        panic!("{} did not settle within three minutes", self.name())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(try_docker(&["rm", "-f", "-v", self.name()]));
    }
}
