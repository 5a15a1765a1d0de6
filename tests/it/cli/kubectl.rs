//! kubectl against the embedded API server: every way of reading, writing and waiting that it has. Each kubectl that the lane names, old and new,
//! says the same.

mod kubernetes {
    use std::process::{Command, Output};
    use std::time::{Duration, Instant};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::{Home, run::Server};
    use crate::apiserver::certificates::pkcs10;

    /// A server that takes longer for something never does it.
    const PATIENCE: Duration = Duration::from_secs(60);

    const OBJECTS: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web, set: x}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {set: x}}
data: {a: '1'}
";

    /// A kubectl, and a server of its own for it.
    struct Kubectl {
        program: String,
        home: Home,
        _server: Server,
    }

    impl Kubectl {
        /// One for each kubectl that the lane names.
        fn all() -> impl Iterator<Item = Self> {
            let programs = std::env::var("MACHINECTL_TEST_KUBECTL").unwrap();
            let programs: Vec<String> = programs.split(':').map(str::to_owned).collect();
            assert!(!programs.is_empty());
            programs.into_iter().map(|program| {
                let home = Home::new();
                let server = Server::start(&home);
                home.write("objects.yaml", OBJECTS);
                Self {
                    program,
                    home,
                    _server: server,
                }
            })
        }

        fn run(&self, arguments: &[&str]) -> Output {
            Command::new(&self.program)
                .args(arguments)
                .current_dir(self.home.path(""))
                .env_clear()
                .env("HOME", self.home.path(""))
                .env("PATH", std::env::var_os("PATH").unwrap())
                .env("KUBE_EDITOR", "sed -i s/nginx/httpd/")
                .output()
                .unwrap()
        }

        fn tell(&self, arguments: &[&str], output: &Output) -> String {
            format!("{} {arguments:?}: {}", self.program, self.home.tell(output))
        }

        /// Runs it, and returns what it prints; it must succeed.
        fn good(&self, arguments: &[&str]) -> String {
            let output = self.run(arguments);
            assert!(output.status.success(), "{}", self.tell(arguments, &output));
            String::from_utf8(output.stdout).unwrap()
        }

        /// Runs it until it prints something, and returns that.
        fn until(&self, arguments: &[&str]) -> String {
            let began = Instant::now();
            loop {
                let said = self.good(arguments);
                if !said.is_empty() {
                    return said;
                }
                assert!(began.elapsed() < PATIENCE, "{arguments:?} says nothing");
                std::thread::sleep(Duration::from_millis(50));
            }
        }

        /// Runs it; it must succeed and print this among other things.
        fn says(&self, arguments: &[&str], wanted: &str) {
            let said = self.good(arguments);
            assert!(
                said.contains(wanted),
                "{} {arguments:?}: no {wanted:?} in {said}",
                self.program
            );
        }

        /// Runs it; it must end with this code and say this on standard output or standard error.
        fn fails(&self, arguments: &[&str], code: i32, wanted: &str) {
            let output = self.run(arguments);
            let told = self.tell(arguments, &output);
            assert_eq!(output.status.code(), Some(code), "{told}");
            assert!(told.contains(wanted), "no {wanted:?}: {told}");
        }
    }

    #[test]
    fn applies_on_both_sides_compares_and_prunes() {
        for kubectl in Kubectl::all() {
            let apply = ["apply", "-f", "objects.yaml"];
            kubectl.says(&apply, "deployment.apps/web created");
            kubectl.says(&apply, "configmap/settings unchanged");
            kubectl.good(&["diff", "-f", "objects.yaml"]);
            kubectl
                .home
                .write("objects.yaml", &OBJECTS.replace("a: '1'", "a: '2'"));
            kubectl.fails(&["diff", "-f", "objects.yaml"], 1, "+  a: \"2\"");
            kubectl.says(&[&apply[..], &["--dry-run=server"]].concat(), "(server dry run)");
            kubectl.fails(
                &[&apply[..], &["--server-side", "--field-manager=other"]].concat(),
                1,
                "conflict",
            );
            let forced = ["--server-side", "--force-conflicts"];
            kubectl.says(&[&apply[..], &forced].concat(), "serverside-applied");
            // What bears the label and is no longer in the file goes.
            let (deployment, _) = OBJECTS.split_once("---").unwrap();
            kubectl.home.write("objects.yaml", deployment);
            let mut prune = [&apply[..], &["--prune", "-l", "set=x"]].concat();
            // The old one looks by itself for versions that no server has had for years.
            if !kubectl.good(&["apply", "--help"]).contains("--prune-allowlist") {
                prune.push("--prune-whitelist=core/v1/ConfigMap");
            }
            kubectl.says(&prune, "configmap/settings pruned");
        }
    }

    #[test]
    fn reads_in_every_form() {
        for kubectl in Kubectl::all() {
            kubectl.good(&["apply", "-f", "objects.yaml"]);
            kubectl.says(&["get", "deploy,cm", "-o", "wide"], "deployment.apps/web   0/2");
            let forms = [
                ("name", "configmap/settings\n"),
                ("jsonpath={.data.a}", "1"),
                ("go-template={{.data.a}}", "1"),
                ("custom-columns=N:.metadata.name,A:.data.a", "settings   1\n"),
                ("yaml", "\n  a: \"1\"\n"),
                ("json", "\"a\": \"1\""),
            ];
            for (form, wanted) in forms {
                kubectl.says(&["get", "cm", "settings", "-o", form], wanted);
            }
            kubectl.says(&["get", "cm", "-l", "set=x", "--show-labels"], "set=x");
            kubectl.says(
                &["get", "cm", "--field-selector", "metadata.name=settings"],
                "settings",
            );
            kubectl.says(&["get", "cm", "-A", "--sort-by=.metadata.name"], "kube-system");
            kubectl.says(&["describe", "deploy", "web"], "2 desired");
            kubectl.says(&["explain", "deployment.spec.strategy"], "rollingUpdate");
            kubectl.says(
                &[
                    "explain",
                    "machinesets.spec",
                    "--api-version=machine.crit.sh/v1alpha1",
                ],
                "replicas",
            );
            kubectl.says(&["api-resources"], "machinedeployments");
            kubectl.says(&["api-versions"], "machine.crit.sh/v1alpha1");
            kubectl.says(&["auth", "can-i", "create", "pods"], "yes");
            kubectl.says(&["auth", "can-i", "--list"], "*.*");
            kubectl.fails(&["auth", "can-i", "list", "pods", "--as=joe"], 1, "no");
            kubectl.fails(&["get", "cm", "nothing"], 1, "(NotFound)");
            kubectl.says(&["version"], "Server Version");
        }
    }

    #[test]
    fn changes_and_waits() {
        for kubectl in Kubectl::all() {
            kubectl.good(&["apply", "-f", "objects.yaml"]);
            kubectl.good(&["edit", "deploy", "web"]);
            kubectl.says(&["get", "deploy", "web", "-o", "jsonpath={..image}"], "httpd");
            kubectl.says(&["scale", "deploy", "web", "--replicas=3"], "scaled");
            kubectl.says(&["label", "cm", "settings", "x=y"], "labeled");
            kubectl.says(&["annotate", "cm", "settings", "n=m"], "annotated");
            for (type_, patch) in [
                ("strategic", r#"{"data":{"b":"2"}}"#),
                ("merge", r#"{"data":{"c":"3","b":null}}"#),
                ("json", r#"[{"op":"add","path":"/data/d","value":"4"}]"#),
            ] {
                kubectl.says(
                    &["patch", "cm", "settings", "--type", type_, "-p", patch],
                    "patched",
                );
            }
            kubectl.says(
                &["get", "cm", "settings", "-o", "jsonpath={.data}"],
                r#"{"a":"1","c":"3","d":"4"}"#,
            );
            kubectl.good(&["create", "namespace", "other"]);
            kubectl.good(&["run", "p", "--image=i", "-n", "other", "--restart=Never"]);
            kubectl.fails(
                &[
                    "wait",
                    "pod/p",
                    "-n",
                    "other",
                    "--for=condition=Ready",
                    "--timeout=1s",
                ],
                1,
                "timed out",
            );
            kubectl.good(&["delete", "pod", "p", "-n", "other", "--now"]);
            kubectl.says(&["delete", "namespace", "other"], "deleted");
            kubectl.good(&["create", "serviceaccount", "robot"]);
            kubectl.good(&["create", "role", "reader", "--verb=get", "--resource=pods"]);
            kubectl.good(&[
                "create",
                "rolebinding",
                "reader",
                "--role=reader",
                "--serviceaccount=default:robot",
            ]);
            let robot = "--as=system:serviceaccount:default:robot";
            kubectl.says(&["auth", "can-i", "get", "pods", robot], "yes");
            for (cascade, name) in [("orphan", "web"), ("foreground", "web"), ("background", "web")] {
                kubectl.good(&["apply", "-f", "objects.yaml"]);
                // Older ones know other words for it.
                let cascade = format!("--cascade={cascade}");
                kubectl.says(&["delete", "deploy", name, &cascade], "deleted");
            }
        }
    }

    #[test]
    fn certificates_are_approved_and_say_who_shows_them() {
        for kubectl in Kubectl::all() {
            let key = rcgen::KeyPair::generate().unwrap();
            let request = |name: &str| {
                let text = pkcs10(name, "devs", &[], &key);
                format!(
                    "apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {name}}}
spec: {{signerName: kubernetes.io/kube-apiserver-client, request: {text}, usages: [client auth]}}
"
                )
            };
            kubectl
                .home
                .write("requests.yaml", &[request("joe"), request("eve")].join("---\n"));
            kubectl.good(&["create", "-f", "requests.yaml"]);
            kubectl.says(&["get", "csr", "joe"], "Pending");
            kubectl.says(&["certificate", "deny", "eve"], "denied");
            kubectl.says(&["get", "csr", "eve"], "Denied");
            kubectl.says(&["certificate", "approve", "joe"], "approved");
            let certificate = kubectl.until(&["get", "csr", "joe", "-o", "jsonpath={.status.certificate}"]);
            let certificate = STANDARD.decode(certificate).unwrap();
            kubectl
                .home
                .write("joe.crt", &String::from_utf8(certificate).unwrap());
            kubectl.home.write("joe.key", &key.serialize_pem());
            kubectl.good(&[
                "config",
                "set-credentials",
                "joe",
                "--client-certificate=joe.crt",
                "--client-key=joe.key",
            ]);
            kubectl.fails(&["get", "nodes", "--user=joe"], 1, "User \"joe\" cannot list");
            // Old ones can't ask who they are.
            if kubectl.good(&["auth", "--help"]).contains("whoami") {
                let who = kubectl.good(&["auth", "whoami", "--user=joe"]);
                assert!(
                    who.contains("joe") && who.contains("[devs system:authenticated]"),
                    "{who}"
                );
            }
        }
    }

    #[test]
    fn nodes_are_cordoned_and_drained() {
        const NODE: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec: {nodeName: node-1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]}
";
        for kubectl in Kubectl::all() {
            kubectl.home.write("node.yaml", NODE);
            kubectl.good(&["create", "-f", "node.yaml"]);
            kubectl.says(&["cordon", "node-1"], "cordoned");
            kubectl.says(&["get", "nodes"], "SchedulingDisabled");
            kubectl.says(&["drain", "node-1", "--force"], "pod/p evicted");
            assert_eq!(kubectl.good(&["get", "pods", "-o", "name"]), "");
            kubectl.says(&["uncordon", "node-1"], "uncordoned");
        }
    }
}
