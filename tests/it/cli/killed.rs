//! Controllers that are killed at random, hundreds of times, while a fleet grows, is rolled and shrinks: what comes out is the same,
//! and no instance is leaked or made twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::Home;

/// Kills in each of the three phases, at least.
const KILLS: usize = 70;
/// How many machines are asked for at once, so that there is always something in the making when the controllers die.
const STEP: i32 = 2;
const FLEET: &str = r"
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachineTemplate
metadata: {name: TEMPLATE}
spec: {template: {spec: {startupDelay: 10ms}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineDeployment
metadata: {name: fleet}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {fleet: a}}
  strategy: {rollingUpdate: {maxSurge: 5, maxUnavailable: 5}}
  template:
    metadata: {labels: {fleet: a}}
    spec:
      infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachineTemplate, name: TEMPLATE}
";

struct Fleet {
    home: Home,
    random: StdRng,
    seed: u64,
    kills: usize,
}

impl Fleet {
    /// Says what should be. Nobody acts on it yet.
    fn ask(&self, template: &str, replicas: i32) {
        let text = FLEET
            .replace("TEMPLATE", template)
            .replace("REPLICAS", &replicas.to_string());
        self.home.write("fleet.yaml", &text);
        self.home.good(&["apply", "-f", "fleet.yaml", "--wait=false"]);
    }

    fn controllers(&self) -> Command {
        let mut command = self.home.command(&["run", "--embedded"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// One life of the controllers, cut off with SIGKILL.
    fn live_and_die(&mut self) {
        let mut child = self.controllers().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(self.random.random_range(20..350)));
        child.kill().unwrap();
        child.wait().unwrap();
        self.kills += 1;
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        let text = self.home.good(&["get", kind, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// What must hold at every moment: no more machines than were asked for, and none twice.
    fn check(&self, limit: i32) {
        let machines = self.all("machines");
        let staying = machines
            .iter()
            .filter(|m| m["metadata"]["deletionTimestamp"].is_null())
            .count();
        assert!(
            i32::try_from(staying).unwrap() <= limit,
            "{staying} machines where {limit} are allowed, after {} kills (seed {})",
            self.kills,
            self.seed
        );
        let mut ids = BTreeMap::new();
        for node in self.all("nodes") {
            let id = text(&node, "/spec/providerID");
            if let Some(other) = ids.insert(id.clone(), text(&node, "/metadata/name")) {
                panic!("{id} is both {other} and {}", text(&node, "/metadata/name"));
            }
        }
    }

    /// Lets the controllers live until the fleet is as it was asked for, and looks at everything that there is.
    fn settle(&self, template: &str, replicas: i32) {
        let mut child = self.controllers().spawn().unwrap();
        let wanted = usize::try_from(replicas).unwrap();
        let (mut before, mut moved) = (None, std::time::Instant::now());
        loop {
            let machines = self.all("machines");
            let running = machines
                .iter()
                .filter(|m| m["status"]["phase"] == "Running")
                .count();
            let infrastructure = self.all("hollowmachines");
            let of_template =
                |o: &Value| text(o, "/metadata/annotations/machine.crit.sh~1cloned-from-name") == template;
            let done = running == wanted
                && machines.len() == wanted
                && infrastructure.len() == wanted
                && infrastructure.iter().all(of_template)
                && self.all("nodes").len() == wanted;
            if done {
                break;
            }
            let state = (
                machines.len(),
                running,
                infrastructure.iter().filter(|o| of_template(o)).count(),
            );
            if before.replace(state) != Some(state) {
                moved = std::time::Instant::now();
            }
            assert!(
                moved.elapsed() < Duration::from_secs(180),
                "nothing has moved for three minutes: {} machines, {} of them Running, {} with template {template} where {wanted} should be, after {} kills (seed {})",
                state.0,
                state.1,
                state.2,
                self.kills,
                self.seed
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let names = |kind: &str| -> BTreeSet<String> {
            self.all(kind).iter().map(|o| text(o, "/metadata/name")).collect()
        };
        let machines = names("machines");
        assert_eq!(names("hollowmachines"), machines);
        assert_eq!(names("nodes"), machines);
        let of_machines: BTreeSet<String> = self
            .all("machines")
            .iter()
            .map(|m| text(m, "/spec/providerID"))
            .collect();
        let of_nodes: BTreeSet<String> = self
            .all("nodes")
            .iter()
            .map(|n| text(n, "/spec/providerID"))
            .collect();
        assert_eq!(of_machines, of_nodes);
        assert_eq!(of_nodes.len(), wanted, "an instance stands for two machines");
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The seed can be given again: `MACHINECTL_TEST_SEED=17 cargo test --test it -- cli::killed`.
fn seed() -> u64 {
    let given = std::env::var("MACHINECTL_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| rand::rng().random_range(0..1_000_000))
}

#[test]
fn o02_controllers_that_are_killed_all_the_time_come_to_the_same_end() {
    let seed = seed();
    let mut fleet = Fleet {
        home: Home::new(),
        random: StdRng::seed_from_u64(seed),
        seed,
        kills: 0,
    };
    fleet.home.good(&["init", "--embedded"]);
    let top = STEP * i32::try_from(KILLS / 2).unwrap();
    // Up, a few at a time.
    let mut replicas = 0;
    while fleet.kills < KILLS {
        replicas = (replicas + STEP).min(top);
        fleet.ask("first", replicas);
        fleet.live_and_die();
        fleet.live_and_die();
        if fleet.kills.is_multiple_of(10) {
            fleet.check(replicas + 5);
        }
    }
    fleet.settle("first", replicas);
    // From one template to another.
    fleet.ask("second", replicas);
    while fleet.kills < 2 * KILLS {
        fleet.live_and_die();
        if fleet.kills.is_multiple_of(10) {
            fleet.check(replicas + 5);
        }
    }
    fleet.settle("second", replicas);
    // Down.
    while fleet.kills < 3 * KILLS {
        replicas = (replicas - STEP).max(6);
        fleet.ask("second", replicas);
        fleet.live_and_die();
        fleet.live_and_die();
        if fleet.kills.is_multiple_of(10) {
            fleet.check(top + 5);
        }
    }
    fleet.settle("second", replicas);
}
