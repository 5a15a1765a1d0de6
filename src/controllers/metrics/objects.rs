//! Numbers about machines and what keeps them, worked out from the caches when they are asked for: an object that is gone has none.
//! Names and labels are those of `OpenShift`'s Machine API (`mapi_…`), with another prefix.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Resource, ResourceExt};

use super::{Metrics, Name, Operation, lock};
use crate::{
    api::{
        MACHINE_GROUP, VERSION, conditions,
        v1alpha1::{Machine, MachineHealthCheck, MachineSet, MachineSetStatus},
    },
    controllers::world::World,
    prometheus::{Kind, Page},
};

/// Condition of a `MachineHealthCheck`: False while it holds still because too many machines are broken (`OpenShift`, Cluster API).
const REMEDIATION_ALLOWED: &str = "RemediationAllowed";

/// One of the counts of a set.
type Replicas = fn(&MachineSetStatus) -> i32;

impl Metrics {
    /// Writes the families of machines. `collector` adds whether the objects can be counted at all.
    pub(super) fn write_machines(&self, page: &mut Page, prefix: &str, collector: bool) {
        let world = lock(&self.world).upgrade();
        if collector {
            page.family(
                format!("{prefix}mao_collector_up"),
                Kind::Gauge,
                "1 while objects of this kind can be counted, else 0.",
            );
            let up = u8::from(world.is_some());
            page.sample(&[("kind", "mapi_machine_items")], up);
            page.sample(&[("kind", "mapi_machineset_items")], up);
        }
        if let Some(world) = &world {
            write_machines(page, prefix, &world.machines.all());
            write_sets(page, prefix, &world.machine_sets.all());
            self.forget_gone(world);
            self.write_checks(page, prefix, &world.machine_health_checks.all());
        }
        self.write_failures(page, prefix);
        page.family(
            format!("{prefix}machine_phase_transition_seconds"),
            Kind::Histogram,
            "How long after its creation a Machine came to a phase.",
        );
        for (phase, histogram) in lock(&self.phases).iter() {
            page.histogram(&[("phase", phase)], histogram);
        }
    }

    /// Drops what was counted for objects that are gone.
    fn forget_gone(&self, world: &World) {
        let is_there = |(namespace, name): &Name| world.machines.contains(Some(namespace), name);
        lock(&self.failures).retain(|(_, machine, _), _| is_there(machine));
        lock(&self.remediations)
            .retain(|(namespace, name), _| world.machine_health_checks.get(Some(namespace), name).is_some());
    }

    fn write_checks(&self, page: &mut Page, prefix: &str, checks: &[Arc<MachineHealthCheck>]) {
        let checks = ordered(checks);
        page.family(
            format!("{prefix}machinehealthcheck_nodes_covered"),
            Kind::Gauge,
            "Machines that a MachineHealthCheck watches.",
        );
        for ((namespace, name), check) in &checks {
            let covered = check.status.as_ref().map_or(0, |s| s.expected_machines);
            page.sample(&[("name", name), ("namespace", namespace)], covered);
        }
        page.family(
            format!("{prefix}machinehealthcheck_remediation_success_total"),
            Kind::Counter,
            "Machines that a MachineHealthCheck had replaced.",
        );
        let remediations = lock(&self.remediations);
        for key in checks.keys() {
            let count = remediations.get(key).copied().unwrap_or_default();
            page.sample(&[("name", &key.1), ("namespace", &key.0)], count);
        }
        page.family(
            format!("{prefix}machinehealthcheck_short_circuit"),
            Kind::Gauge,
            "1 while a MachineHealthCheck replaces nothing because too many machines are broken, else 0.",
        );
        for ((namespace, name), check) in &checks {
            let stopped = check.status.as_ref().is_some_and(|s| {
                conditions::find(&s.conditions, REMEDIATION_ALLOWED).is_some_and(|c| c.status == "False")
            });
            page.sample(&[("name", name), ("namespace", namespace)], u8::from(stopped));
        }
    }

    fn write_failures(&self, page: &mut Page, prefix: &str) {
        let failures = lock(&self.failures);
        for (operation, word, help) in [
            (
                Operation::Create,
                "create",
                "Failed attempts to make a Machine's instance.",
            ),
            (
                Operation::Update,
                "update",
                "Failed attempts to look at a Machine's instance.",
            ),
            (
                Operation::Delete,
                "delete",
                "Failed attempts to remove a Machine's instance.",
            ),
        ] {
            page.family(format!("{prefix}instance_{word}_failed"), Kind::Counter, help);
            let of = failures.iter().filter(|((o, ..), _)| *o == operation);
            for ((_, (namespace, name), reason), count) in of {
                page.sample(
                    &[("name", name), ("namespace", namespace), ("reason", reason)],
                    count,
                );
            }
        }
    }
}

/// Objects in the order of their names: pages can be compared.
fn ordered<K: Resource>(objects: &[Arc<K>]) -> BTreeMap<Name, &Arc<K>> {
    let key = |o: &K| (o.meta().namespace.clone().unwrap_or_default(), o.name_any());
    objects.iter().map(|o| (key(o), o)).collect()
}

fn write_sets(page: &mut Page, prefix: &str, sets: &[Arc<MachineSet>]) {
    let api_version = format!("{MACHINE_GROUP}/{VERSION}");
    let ordered = ordered(sets);
    page.family(
        format!("{prefix}machineset_items"),
        Kind::Gauge,
        "MachineSets that exist.",
    );
    page.sample(&[], sets.len());
    page.family(
        format!("{prefix}machineset_created_timestamp_seconds"),
        Kind::Gauge,
        "When a MachineSet was made.",
    );
    for ((namespace, name), set) in &ordered {
        if let Some(created) = set.creation_timestamp() {
            let labels = [
                ("name", name.as_str()),
                ("namespace", namespace),
                ("api_version", &api_version),
            ];
            page.sample(&labels, created.0.as_second());
        }
    }
    let counts: [(&str, &str, Replicas); 3] = [
        ("", "Machines of a MachineSet.", |s| s.replicas),
        ("_ready", "Machines of a MachineSet whose Node is Ready.", |s| {
            s.ready_replicas
        }),
        (
            "_available",
            "Machines of a MachineSet whose Node has been Ready for minReadySeconds.",
            |s| s.available_replicas,
        ),
    ];
    for (suffix, help, count) in counts {
        page.family(
            format!("{prefix}machine_set_status_replicas{suffix}"),
            Kind::Gauge,
            help,
        );
        for ((namespace, name), set) in &ordered {
            let count = set.status.as_ref().map_or(0, count);
            page.sample(&[("name", name), ("namespace", namespace)], count);
        }
    }
}

fn write_machines(page: &mut Page, prefix: &str, machines: &[Arc<Machine>]) {
    let api_version = format!("{MACHINE_GROUP}/{VERSION}");
    page.family(
        format!("{prefix}machine_items"),
        Kind::Gauge,
        "Machines that exist.",
    );
    page.sample(&[], machines.len());
    page.family(
        format!("{prefix}machine_created_timestamp_seconds"),
        Kind::Gauge,
        "When a Machine was made, with its phase; as soon as it has one.",
    );
    for ((namespace, name), machine) in ordered(machines) {
        let status = machine.status.as_ref();
        let (Some(phase), Some(created)) = (
            status.and_then(|s| s.phase.as_deref()),
            machine.creation_timestamp(),
        ) else {
            continue;
        };
        let node = status
            .and_then(|s| s.node_ref.as_ref())
            .and_then(|r| r.name.as_deref());
        let labels = [
            ("name", name.as_str()),
            ("namespace", &namespace),
            (
                "spec_provider_id",
                machine.spec.provider_id.as_deref().unwrap_or_default(),
            ),
            ("node", node.unwrap_or_default()),
            ("api_version", &api_version),
            ("phase", phase),
        ];
        page.sample(&labels, created.0.as_second());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn machine(number: usize) -> Arc<Machine> {
        let name = format!("m-{number}");
        let object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": { "name": name, "namespace": "fleet", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "providerID": format!("hollow://fleet/{name}") },
            "status": { "phase": "Running", "nodeRef": { "name": name } },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_machine_has_a_series_as_soon_as_it_has_a_phase() {
        let mut page = Page::default();
        let mut fresh = (*machine(2)).clone();
        fresh.status = None;
        write_machines(&mut page, "machinectl_", &[machine(1), Arc::new(fresh)]);
        insta::assert_snapshot!(page.finish(), @r#"
        # HELP machinectl_machine_items Machines that exist.
        # TYPE machinectl_machine_items gauge
        machinectl_machine_items 2
        # HELP machinectl_machine_created_timestamp_seconds When a Machine was made, with its phase; as soon as it has one.
        # TYPE machinectl_machine_created_timestamp_seconds gauge
        machinectl_machine_created_timestamp_seconds{name="m-1",namespace="fleet",spec_provider_id="hollow://fleet/m-1",node="m-1",api_version="machine.crit.sh/v1alpha1",phase="Running"} 1767225600
        "#);
    }

    #[test]
    fn ten_thousand_machines_are_a_page_like_any_other() {
        let machines: Vec<_> = (0..10_000).map(machine).collect();
        let begun = Instant::now();
        let mut page = Page::default();
        write_machines(&mut page, "machinectl_", &machines);
        let text = page.finish();
        println!("{} bytes in {:?}", text.len(), begun.elapsed());
        assert_eq!(text.lines().count(), 10_000 + 5);
    }
}
