//! Images on their way into nodes, and the image of the program itself: it runs where nothing else is, and finds hosts by name.

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use super::{Machine, actuator, commands, docker, try_docker};
use crate::cli::Home;
use machinectl::providers::{Actuator as _, Role};

/// An image of the Docker daemon that is gone when the test ends.
struct Image(&'static str);

impl Image {
    fn build(name: &'static str, content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), content).unwrap();
        fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY file /\n").unwrap();
        docker(&["build", "-q", "-t", name, dir.path().to_str().unwrap()]);
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        try_docker(&["rmi", "--force", self.0]);
    }
}

/// Two nodes of one cluster, whose container runtimes answer.
async fn nodes(cluster: &str, names: [&str; 2]) -> [Machine; 2] {
    let actuator = actuator().await;
    let machines = names.map(|name| {
        let mut machine = Machine::new(name, Role::Worker, "#cloud-config\n");
        machine.spec.infrastructure["clusterName"] = cluster.into();
        machine
    });
    for machine in &machines {
        actuator.create(&machine.spec).await.unwrap();
    }
    for machine in &machines {
        machine.settled(&actuator).await;
        commands::until(machine.name(), "containerd answers", || {
            try_docker(&["exec", machine.name(), "ctr", "version"]).0
        });
    }
    machines
}

fn images_of(node: &str) -> String {
    docker(&["exec", node, "ctr", "-n", "k8s.io", "images", "ls", "-q"])
}

/// Runs the program; returns its exit code, and all that it says.
fn load(home: &Home, arguments: &[&str]) -> (i32, String) {
    let mut command = home.command(&["load"]);
    let output = command
        .args(arguments)
        .env_remove("DOCKER_HOST")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn images_get_into_all_nodes_once() {
    const CLUSTER: [&str; 2] = ["--cluster", "li-cluster"];
    let _machines = nodes(CLUSTER[1], ["li-1", "li-2"]).await;
    let home = Home::new();
    let run = |arguments: &[&str]| load(&home, &[arguments, &CLUSTER].concat());
    let image = Image::build("li-tiny:1", "first");

    let (code, text) = run(&["image", "li-tiny:1"]);
    assert_eq!(code, 0, "{text}");
    for node in ["li-1", "li-2"] {
        assert!(
            text.contains(&format!("li-tiny:1 loaded into {node}\n")),
            "{text}"
        );
        assert!(images_of(node).contains("docker.io/library/li-tiny:1"));
    }
    // Whatever it comes in, it is the same image.
    let archive = home.path("tiny.tar");
    let file = archive.to_str().unwrap();
    docker(&["save", "li-tiny:1", "-o", file]);
    let packed = home.path("tiny.tgz");
    let mut writer =
        flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    std::io::copy(&mut fs::File::open(&archive).unwrap(), &mut writer).unwrap();
    writer.finish().unwrap();
    for arguments in [
        ["image", "li-tiny:1"],
        ["image", file],
        ["image", packed.to_str().unwrap()],
        ["docker-image", "docker.io/library/li-tiny:1"],
        ["image-archive", file],
    ] {
        let (code, text) = run(&arguments);
        assert_eq!((code, text.matches(" already\n").count()), (0, 2), "{text}");
    }
    // Another image of the same name takes its place, in the nodes that are named.
    drop(image);
    let second = Image::build("li-tiny:1", "second");
    let (_, text) = run(&["image", "li-tiny:1", "--nodes", "li-2", "-o", "json", "-q"]);
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result.as_array().unwrap().len(), 1);
    assert_eq!(
        (&result[0]["node"], &result[0]["result"]),
        (&"li-2".into(), &"loaded".into())
    );
    let (_, text) = run(&["image", "li-tiny:1", packed.to_str().unwrap()]);
    assert!(text.contains("li-tiny:1 loaded into li-1\n"), "{text}");
    assert!(text.contains("li-tiny:1 is in li-2 already\n"), "{text}");
    // The archive still has the first one, and a compressed one is loaded, too.
    assert_eq!(text.matches("tiny.tgz loaded into li-").count(), 2, "{text}");
    drop(second);

    refusals(&run, &home);
}

/// What can't be done is said before anything is done, in the class that it belongs to.
fn refusals(run: &dyn Fn(&[&str]) -> (i32, String), home: &Home) {
    let nothing = home.write("nothing.tar", "hello");
    let nothing = nothing.to_str().unwrap();
    for (arguments, code, words) in [
        (&["image", "li-none"][..], 3, "docker pull li-none"),
        (&["image", "./li-none.tar"], 3, "can't read ./li-none.tar"),
        (&["image", nothing], 2, "it is no tar archive"),
        (
            &["image", "li-none", "--nodes", "li-3"],
            3,
            "it has these: li-1, li-2",
        ),
        (&["docker-image", nothing], 3, "the Docker daemon has no image"),
    ] {
        let (got, text) = run(arguments);
        assert_eq!(got, code, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (code, text) = load(home, &["image", "li-none", "--cluster", "li-nope"]);
    assert_eq!(code, 3, "{text}");

    // A node without room is named; the other one gets the image.
    let store = "/var/lib/containerd/io.containerd.content.v1.content";
    let fill =
        format!("mount -t tmpfs -o size=64k full {store} && mkdir -p {store}/ingest {store}/blobs/sha256");
    docker(&["exec", "li-1", "sh", "-c", &fill]);
    let large = Image::build("li-large:1", &"large ".repeat(100_000));
    let (code, text) = run(&["image", large.0]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the disk of node li-1 is full"), "{text}");
    assert!(text.contains("docker exec li-1 crictl rmi --prune"), "{text}");
    assert!(text.contains("li-large:1 loaded into li-2"), "{text}");
    docker(&["exec", "li-1", "umount", store]);
    let (code, text) = run(&["image", large.0]);
    assert_eq!(code, 0, "{text}");

    docker(&["stop", "-t", "1", "li-1"]);
    let (code, text) = run(&["image", large.0]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("docker start li-1"), "{text}");
    let (code, text) = run(&["image", large.0, "--nodes", "li-2"]);
    assert_eq!(code, 0, "{text}");
}

/// Takes the container and its network along when a test ends.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        try_docker(&["rm", "--force", "--volumes", "li-other"]);
        try_docker(&["network", "rm", "li-net"]);
    }
}

const KUBECONFIG: &str = "
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
clusters: [{name: c, cluster: {server: 'https://HOST:1', certificate-authority-data: AUTHORITY}}]
";

#[test]
fn the_program_runs_where_nothing_else_is() {
    let home = Home::new();
    commands::succeed(&home, &["util", "image", "--name", "li-own:1", "-o", "own.tar"]);
    let image = Image("li-own:1");
    docker(&["load", "-q", "-i", home.path("own.tar").to_str().unwrap()]);
    let (id, user) = (
        docker(&["image", "inspect", "-f", "{{.Id}}", image.0]),
        docker(&["image", "inspect", "-f", "{{.Config.User}}", image.0]),
    );
    assert_eq!(user, "65532:65532");
    let said = commands::succeed(&home, &["util", "image", "--name", "li-own:1", "-o", "own.tar"]);
    assert!(said.contains(&id), "{said}");
    // Any user, nothing to write to.
    let version = docker(&[
        "run",
        "--rm",
        "--read-only",
        "--user",
        "4711",
        "--cap-drop",
        "ALL",
        image.0,
        "version",
    ]);
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");

    // Names of hosts are found as the container's own resolver finds them.
    let _leftovers = Leftovers;
    docker(&["network", "create", "li-net"]);
    let (known, unknown) = resolve(&home, image.0);
    assert!(known.contains("Connection refused"), "{known}");
    assert!(unknown.contains("failed to lookup address"), "{unknown}");
}

/// What the program says of a host that exists and does not listen, and of one that does not exist.
fn resolve(home: &Home, image: &str) -> (String, String) {
    let other = [
        "run",
        "-d",
        "--name",
        "li-other",
        "--network",
        "li-net",
        "--entrypoint",
        "/machinectl",
        "--env",
        "MACHINECTL_STATE=/tmp/state",
        image,
        "serve",
        "--embedded",
        "--kubeconfig",
        "/tmp/kubeconfig",
    ];
    docker(&other);
    let authority = rcgen::generate_simple_self_signed(["x".to_owned()])
        .unwrap()
        .cert
        .pem();
    let kubeconfig = KUBECONFIG.replace("AUTHORITY", &BASE64_STANDARD.encode(authority));
    let ask = |host: &str| {
        let file = home.write(&format!("{host}.yaml"), &kubeconfig.replace("HOST", host));
        let mount = format!("{}:/kubeconfig:ro", file.display());
        try_docker(&[
            "run",
            "--rm",
            "--network",
            "li-net",
            "-v",
            &mount,
            image,
            "get",
            "machines",
            "--kubeconfig",
            "/kubeconfig",
        ])
        .1
    };
    (ask("li-other"), ask("li-nobody"))
}
