//! One container at a time: made, looked at, started again, adopted, removed.

use std::{io::Write as _, net::TcpListener, process::Stdio};

use machinectl::{
    api::v1alpha1::Flavour,
    providers::{ActuatorError, Deletion},
};
use serde_json::json;

use super::*;

const GOOD: &str = "#cloud-config
groups: [ops]
users:
- {name: ann, groups: ops, shell: /bin/bash, ssh_authorized_keys: [ssh-ed25519 AAAA ann]}
write_files:
- {path: /var/lib/crit/config.yaml, content: \"kind: X\\n\", permissions: '0640', owner: root:ops}
- {path: /etc/secret, content: s3cret-value, permissions: '0600'}
ntp: {servers: [time.example.org]}
runcmd:
- ctr version >/dev/null
- [sh, -c, 'echo ready >/etc/done']
";

#[tokio::test]
async fn a_bootstrap_that_ends_well_makes_it_run() {
    let machine = Machine::worker("dk-good", GOOD);
    let actuator = actuator().await;
    assert!(actuator.observe(&machine.spec).await.unwrap().is_none());
    let made = actuator.create(&machine.spec).await.unwrap();
    assert_eq!(made.provider_id, "docker://dk-good");
    let instance = machine.settled(&actuator).await;
    assert_eq!(
        instance.state,
        InstanceState::Running,
        "{}",
        docker(&["logs", "dk-good"])
    );
    assert_eq!((instance.node_name.as_str(), instance.attempt), ("dk-good", 1));
    let kinds: Vec<_> = instance.addresses.iter().map(|a| a.type_.as_str()).collect();
    assert_eq!(kinds, ["InternalIP", "Hostname"]);
    assert_eq!(instance.api_endpoint, None);

    assert_eq!(machine.file("/etc/done"), "ready");
    assert_eq!(machine.file("/var/lib/crit/config.yaml"), "kind: X");
    let stat = |path| docker(&["exec", "dk-good", "stat", "-c", "%a %U:%G", path]);
    assert_eq!(stat("/var/lib/crit/config.yaml"), "640 root:ops");
    assert_eq!(stat("/etc/secret"), "600 root:root");
    assert_eq!(stat("/etc/machine-bootstrap"), "700 root:root");
    assert_eq!(stat("/home/ann/.ssh/authorized_keys"), "600 ann:ann");
    assert!(docker(&["exec", "dk-good", "id", "ann"]).contains("(ops)"));
    assert_eq!(docker(&["exec", "dk-good", "hostname"]), "dk-good");
    assert!(!docker(&["logs", "dk-good"]).contains("s3cret-value"));
    let label = |name: &str| {
        let format = format!("{{{{index .Config.Labels \"{name}\"}}}}");
        docker(&["inspect", "-f", &format, "dk-good"])
    };
    assert_eq!(label("io.x-k8s.kind.cluster"), "dk-good-cluster");
    assert_eq!(label("io.x-k8s.kind.role"), "worker");

    // again: nothing changes
    let id = docker(&["inspect", "-f", "{{.Id}}", "dk-good"]);
    let again = actuator.create(&machine.spec).await.unwrap();
    assert_eq!(again.state, InstanceState::Running);
    assert_eq!(docker(&["inspect", "-f", "{{.Id}}", "dk-good"]), id);

    // switched off and on: it runs, and its bootstrap script does not run again
    docker(&["exec", "dk-good", "rm", "/etc/done"]);
    docker(&["stop", "dk-good"]);
    let stopped = actuator.observe(&machine.spec).await.unwrap().unwrap();
    assert_eq!(stopped.state, InstanceState::Stopped);
    actuator.create(&machine.spec).await.unwrap();
    assert_eq!(machine.settled(&actuator).await.state, InstanceState::Running);
    assert!(!try_docker(&["exec", "dk-good", "test", "-e", "/etc/done"]).0);

    let volumes = volumes("dk-good");
    assert!(!volumes.is_empty());
    let mut gone = actuator.delete(&machine.spec).await.unwrap();
    while gone == Deletion::InProgress {
        gone = actuator.delete(&machine.spec).await.unwrap();
    }
    assert!(!exists("dk-good"));
    for volume in volumes {
        assert!(!try_docker(&["volume", "inspect", &volume]).0, "{volume} is left");
    }
    assert_eq!(actuator.delete(&machine.spec).await.unwrap(), Deletion::Gone);
}

#[tokio::test]
async fn a_bootstrap_that_fails_says_why_and_the_next_try_is_clean() {
    let mut machine = Machine::worker(
        "dk-bad",
        "#cloud-config\nruncmd:\n- touch /etc/dirt\n- echo joining --token abcdef.0123456789abcdef\n- exit 7\n- touch /etc/after\n",
    );
    let actuator = actuator().await;
    actuator.create(&machine.spec).await.unwrap();
    let InstanceState::Failed { reason, message } = machine.settled(&actuator).await.state else {
        panic!("it should fail")
    };
    assert_eq!(reason, "BootstrapFailed");
    for part in [
        "dk-bad failed with exit code 7",
        "joining --token <redacted>",
        "command 3 of 4",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    // the same try again leaves it as it is
    let again = actuator.create(&machine.spec).await.unwrap();
    assert!(matches!(again.state, InstanceState::Failed { .. }));

    machine.spec.attempt = 2;
    machine.spec.bootstrap = Some(BootstrapData::new(
        "#cloud-config\nruncmd: [test ! -e /etc/dirt]\n",
    ));
    let seen = actuator.observe(&machine.spec).await.unwrap().unwrap();
    assert_eq!(seen.attempt, 1);
    let old_volumes = volumes("dk-bad");
    assert_eq!(actuator.create(&machine.spec).await.unwrap().attempt, 2);
    let instance = machine.settled(&actuator).await;
    assert_eq!(instance.state, InstanceState::Running);
    assert!(!try_docker(&["volume", "inspect", &old_volumes[0]]).0);
}

#[tokio::test]
async fn the_actuator_may_go_and_come_back_in_the_middle() {
    let machine = Machine::worker("dk-middle", "#cloud-config\nruncmd: [sleep 4, touch /etc/done]\n");
    let first = actuator().await;
    first.create(&machine.spec).await.unwrap();
    drop(first);
    let second = actuator().await;
    let mut states = Vec::new();
    loop {
        let state = second.observe(&machine.spec).await.unwrap().unwrap().state;
        if states.last() != Some(&state) {
            states.push(state.clone());
        }
        if !matches!(state, InstanceState::Booting | InstanceState::Bootstrapping) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(states.last(), Some(&InstanceState::Running), "{states:?}");
    assert!(states.contains(&InstanceState::Bootstrapping), "{states:?}");
    machine.file("/etc/done");

    // one that was made and never started is made anew: it may lack its bootstrap data
    docker(&["rm", "-f", "-v", "dk-middle"]);
    docker(&[
        "create",
        "--name",
        "dk-middle",
        "--label=io.x-k8s.kind.cluster=dk-middle-cluster",
        "--label=infrastructure.crit.sh/namespace=default",
        "--label=infrastructure.crit.sh/name=dk-middle",
        "--label=infrastructure.crit.sh/uid=uid-dk-middle",
        "--label=infrastructure.crit.sh/attempt=1",
        &image(),
    ]);
    let half = second.observe(&machine.spec).await.unwrap().unwrap();
    assert_eq!(half.state, InstanceState::Stopped);
    second.create(&machine.spec).await.unwrap();
    assert_eq!(machine.settled(&second).await.state, InstanceState::Running);
    machine.file("/etc/done");
}

#[tokio::test]
async fn what_others_made_is_adopted_or_left_alone() {
    let machine = Machine::worker("dk-adopt", GOOD);
    let actuator = actuator().await;
    let run = |labels: &[&str]| {
        drop(try_docker(&["rm", "-f", "-v", "dk-adopt"]));
        let mut arguments = vec!["run", "-d", "--name", "dk-adopt", "--entrypoint", "sleep"];
        arguments.extend(labels);
        let image = image();
        arguments.extend([image.as_str(), "1000"]);
        docker(&arguments);
    };
    let cluster = "--label=io.x-k8s.kind.cluster=dk-adopt-cluster";

    for (labels, said) in [
        (&[][..], "dk-adopt is taken by a container that is no machine"),
        (
            &["--label=io.x-k8s.kind.cluster=other"][..],
            "belongs to cluster other",
        ),
        (
            &[
                cluster,
                "--label=infrastructure.crit.sh/namespace=other",
                "--label=infrastructure.crit.sh/name=x",
            ][..],
            "belongs to other/x of cluster dk-adopt-cluster",
        ),
        (
            &[
                cluster,
                "--label=infrastructure.crit.sh/namespace=default",
                "--label=infrastructure.crit.sh/name=dk-adopt",
                "--label=infrastructure.crit.sh/uid=old",
                "--label=infrastructure.crit.sh/bootstrap=0",
            ][..],
            "was made for an earlier cluster dk-adopt-cluster",
        ),
    ] {
        run(labels);
        for error in [
            actuator.observe(&machine.spec).await.unwrap_err(),
            actuator.create(&machine.spec).await.unwrap_err(),
        ] {
            assert!(matches!(error, ActuatorError::Terminal { .. }));
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(actuator.delete(&machine.spec).await.unwrap(), Deletion::Gone);
        assert!(exists("dk-adopt"), "somebody else's container was removed");
    }

    run(&[cluster, "--label=io.x-k8s.kind.role=worker"]);
    let adopted = actuator.create(&machine.spec).await.unwrap();
    assert_eq!(adopted.state, InstanceState::Running);
    assert_eq!(adopted.provider_id, "docker://dk-adopt");
    docker(&["kill", "dk-adopt"]);
    let stopped = actuator.observe(&machine.spec).await.unwrap().unwrap();
    assert_eq!(stopped.state, InstanceState::Stopped);
    actuator.create(&machine.spec).await.unwrap();
    assert_eq!(machine.settled(&actuator).await.state, InstanceState::Running);
    actuator.delete(&machine.spec).await.unwrap();
    assert!(!exists("dk-adopt"));
}

#[tokio::test]
async fn what_takes_too_long_fails() {
    let mut slow = Machine::worker(
        "dk-slow",
        "#cloud-config\nruncmd: [echo waiting for ever, sleep 100]\n",
    );
    slow.spec.infrastructure["bootstrapTimeout"] = json!("2s");
    let actuator = actuator().await;
    actuator.create(&slow.spec).await.unwrap();
    let InstanceState::Failed { reason, message } = slow.settled(&actuator).await.state else {
        panic!("it should fail")
    };
    assert_eq!(reason, "BootstrapTimeout");
    assert!(
        message.contains("did not end within 2s") && message.contains("waiting for ever"),
        "{message}"
    );

    // systemd never comes up
    let mut dead = Machine::worker("dk-dead", "#cloud-config\n");
    dead.spec.infrastructure["bootTimeout"] = json!("1s");
    docker(&[
        "run",
        "-d",
        "--name=dk-dead",
        "--label=io.x-k8s.kind.cluster=dk-dead-cluster",
        "--label=infrastructure.crit.sh/namespace=default",
        "--label=infrastructure.crit.sh/name=dk-dead",
        "--label=infrastructure.crit.sh/uid=uid-dk-dead",
        "--label=infrastructure.crit.sh/bootstrap=x",
        "--entrypoint=sh",
        &image(),
        "-c",
        "echo systemd is stuck; sleep 100",
    ]);
    let InstanceState::Failed { reason, message } = dead.settled(&actuator).await.state else {
        panic!("it should fail")
    };
    assert_eq!(reason, "BootTimeout");
    assert!(
        message.contains("did not come up within 1s; its log ends with:\nsystemd is stuck"),
        "{message}"
    );
    docker(&["rm", "-f", "-v", "dk-dead"]);
    docker(&[
        "run",
        "-d",
        "--name=dk-dead",
        "--label=io.x-k8s.kind.cluster=dk-dead-cluster",
        "--label=infrastructure.crit.sh/bootstrap=x",
        "--label=infrastructure.crit.sh/namespace=default",
        "--label=infrastructure.crit.sh/name=dk-dead",
        "--label=infrastructure.crit.sh/uid=uid-dk-dead",
        "--entrypoint=sh",
        &image(),
        "-c",
        "echo mount: permission denied; exit 32",
    ]);
    let InstanceState::Failed { reason, message } = dead.settled(&actuator).await.state else {
        panic!("it should fail")
    };
    assert_eq!(reason, "ContainerExited");
    assert!(message.contains("32 (its entrypoint may not mount"), "{message}");
    assert!(message.ends_with("mount: permission denied"), "{message}");
}

#[tokio::test]
async fn a_control_plane_publishes_its_api_and_a_taken_port_is_named() {
    let mut machine = Machine::new("dk-plane", Role::ControlPlane, "#cloud-config\n");
    machine.spec.infrastructure["environment"] = json!({"NODE_CNI": "none"});
    let actuator = actuator().await;
    let made = actuator.create(&machine.spec).await.unwrap();
    let endpoint = made.api_endpoint.unwrap();
    assert_eq!(endpoint.host, "127.0.0.1");
    assert_eq!(docker(&["port", "dk-plane", "6443/tcp"]), endpoint.to_string());
    machine.settled(&actuator).await;
    // as in cinder: controllers on the control plane can make containers
    let (socket, said) = try_docker(&["exec", "dk-plane", "test", "-S", "/var/run/docker.sock"]);
    let here = std::path::Path::new("/var/run/docker.sock").exists();
    assert!(socket || !here, "{said}");
    docker(&["stop", "dk-plane"]);
    let again = actuator.create(&machine.spec).await.unwrap();
    assert_eq!(
        again.api_endpoint,
        Some(endpoint),
        "kubeconfig files would be wrong after a restart"
    );
    actuator.delete(&machine.spec).await.unwrap();

    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    machine.spec.infrastructure["extraPortMappings"] = json!([{"containerPort": 80, "hostPort": port}]);
    let error = actuator.create(&machine.spec).await.unwrap_err();
    assert!(matches!(error, ActuatorError::Transient { .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("port {port} of the Docker host is taken")),
        "{error}"
    );
    assert!(!exists("dk-plane"), "a half-made container is left");

    machine.spec.infrastructure["extraPortMappings"] = json!([]);
    machine.spec.infrastructure["extraMounts"] =
        json!([{"hostPath": "/proc/version", "containerPath": "/etc/hosts-version", "readOnly": true}]);
    actuator.create(&machine.spec).await.unwrap();
    assert!(machine.file("/etc/hosts-version").starts_with("Linux"));
}

#[tokio::test]
async fn an_image_is_looked_into() {
    let actuator = actuator().await;
    let image_spec = |image: &str| json!({"clusterName": "dk", "containerName": "dk-image", "image": image});
    let node = actuator.node_image(&image_spec(&image())).await.unwrap().unwrap();
    assert_eq!(node.flavour, Flavour::Kubeadm);
    let version = docker(&["run", "--rm", "--entrypoint=cat", &image(), "/kind/version"]);
    assert_eq!(node.kubernetes_version, version);

    let import = |name: &str, files: &[(&str, &str)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        let mut child = Command::new("docker")
            .args(["import", "-", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&builder.into_inner().unwrap())
            .unwrap();
        assert!(child.wait().unwrap().success());
    };
    import("dk-crit:1", &[("cinder/kubernetes_version", "1.18.10\n")]);
    import("dk-plain:1", &[("etc/motd", "hello\n")]);
    let crit = actuator
        .node_image(&image_spec("dk-crit:1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (crit.flavour, crit.kubernetes_version.as_str()),
        (Flavour::Crit, "v1.18.10")
    );
    let error = actuator.node_image(&image_spec("dk-plain:1")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dk-plain:1 is no node image (neither /kind/version nor /cinder/kubernetes_version): use for example kindest/node:v1.33.1"
    );
    assert!(matches!(error, ActuatorError::Terminal { reason, .. } if reason == "InvalidConfiguration"));
    docker(&["rmi", "dk-crit:1", "dk-plain:1"]);
    assert_eq!(
        docker(&["ps", "-aq", "--filter=label=infrastructure.crit.sh/look"]),
        ""
    );

    let missing = actuator
        .node_image(&image_spec("localhost:1/dk-nothing:1"))
        .await
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("localhost:1/dk-nothing:1 is not here"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_cluster_is_listed_fed_and_removed() {
    let actuator = actuator().await;
    let cluster = "dk-many-1-cluster";
    let machines = [
        Machine::worker("dk-many-1", "#cloud-config\n"),
        Machine::worker("dk-many-2", "#cloud-config\n"),
    ];
    let specs = machines.each_ref().map(|machine| {
        let mut spec = machine.spec.clone();
        spec.infrastructure["clusterName"] = json!(cluster);
        spec
    });
    // at once, by a process that knows nothing of the daemon yet
    futures::future::try_join_all(specs.iter().map(|spec| actuator.create(spec)))
        .await
        .unwrap();
    assert_eq!(machines[0].cluster(), cluster);
    let names: Vec<_> = actuator
        .containers_of(cluster)
        .await
        .unwrap()
        .into_iter()
        .map(|c| (c.name, c.role, c.running))
        .collect();
    let expected = |name: &str| (name.to_owned(), "worker".to_owned(), true);
    assert_eq!(names, [expected("dk-many-1"), expected("dk-many-2")]);

    let mut removed = actuator.remove_cluster(cluster).await.unwrap();
    removed.sort();
    assert_eq!(removed, ["dk-many-1", "dk-many-2"]);
    assert!(actuator.containers_of(cluster).await.unwrap().is_empty());
}

#[tokio::test]
async fn privileges_are_all_that_the_daemon_can_give() {
    let actuator = actuator().await;
    let mut machine = Machine::worker("dk-caps", "#cloud-config\n");
    let made = actuator.create(&machine.spec).await.unwrap();
    let privileged = docker(&["inspect", "-f", "{{.HostConfig.Privileged}}", "dk-caps"]);
    let note = made
        .notes
        .iter()
        .find(|(reason, _)| reason == "PrivilegesRestricted");
    assert_eq!(privileged == "true", note.is_none(), "{note:?}");
    assert_eq!(machine.settled(&actuator).await.state, InstanceState::Running);
    actuator.delete(&machine.spec).await.unwrap();

    machine.spec.infrastructure["privileges"] = json!("Restricted");
    actuator.create(&machine.spec).await.unwrap();
    assert_eq!(
        docker(&["inspect", "-f", "{{.HostConfig.Privileged}}", "dk-caps"]),
        "false"
    );
    assert_eq!(machine.settled(&actuator).await.state, InstanceState::Running);
    actuator.delete(&machine.spec).await.unwrap();

    machine.spec.infrastructure["privileges"] = json!("Full");
    match actuator.create(&machine.spec).await {
        Ok(made) => assert!(made.notes.is_empty()),
        Err(error) => {
            assert!(
                error.to_string().contains("set spec.privileges to Auto"),
                "{error}"
            );
            assert!(!exists("dk-caps"));
        }
    }
}
