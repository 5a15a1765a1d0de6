//! What holds for any objects at all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::pivot::fixtures::{Paper, to};

/// Any objects, with any owners, references and labels.
fn any_paper() -> impl Strategy<Value = Paper> {
    const KINDS: [&str; 14] = [
        "Cluster",
        "Machine",
        "MachineSet",
        "MachineHealthCheck",
        "Config",
        "DockerMachine",
        "HollowMachine",
        "FooMachine",
        "Host",
        "Pool",
        "Secret",
        "ConfigMap",
        "Identity",
        "Node",
    ];
    let object = (
        0..KINDS.len(),
        prop::collection::vec((0..KINDS.len(), 0..4usize), 0..3),
        prop::option::of((0..KINDS.len(), 0..4usize)),
        prop::option::of(0..4usize),
        0..8u8,
    );
    prop::collection::vec(object, 0..40).prop_map(|all| {
        let key = |kind: usize, name: usize| match KINDS[kind] {
            "Identity" | "Node" => format!("{} n{name}", KINDS[kind]),
            _ => format!("{} fleet/n{name}", KINDS[kind]),
        };
        let mut paper = Paper::new();
        let mut used = BTreeSet::new();
        for (index, (kind, owners, reference, cluster, label)) in all.into_iter().enumerate() {
            let key_of_this = key(kind, index % 5);
            if !used.insert(key_of_this.clone()) {
                continue;
            }
            let owners: Vec<String> = owners.into_iter().map(|(k, n)| key(k, n)).collect();
            let mut more = json!({ "owners": owners, "spec": {} });
            if let Some((kind, name)) = reference {
                more["spec"]["infrastructureRef"] = to(&format!("{} n{name}", KINDS[kind]));
            }
            if let Some(cluster) = cluster {
                more["spec"]["clusterName"] = format!("n{cluster}").into();
            }
            match label {
                0 => more["labels"] = json!({ "machinectl.crit.sh/move": "" }),
                1 => more["labels"] = json!({ "machinectl.crit.sh/move": "false" }),
                2 => more["labels"] = json!({ "machine.crit.sh/cluster-name": "n1" }),
                3 => more["spec"]["apiServer"] = "Management".into(),
                _ => {}
            }
            paper.add(&key_of_this, more);
        }
        paper
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_object_is_in_one_place_and_owners_come_first(paper in any_paper(), filter in any::<bool>(), backup in any::<bool>()) {
        let purpose = if backup { Purpose::Backup } else { Purpose::Move };
        let filter = filter.then(|| paper.objects.iter().find(|o| paper.kinds[o.kind].kind == "Cluster")).flatten();
        let scope = Scope { cluster: filter.map(|o| o.name.to_string()), namespaces: Namespaces::All, purpose };
        let choice = choose(&paper.kinds, &paper.objects, &scope).unwrap();
        let mut seen = vec![0; paper.objects.len()];
        let mut depth = vec![None; paper.objects.len()];
        for (level, group) in choice.groups.iter().enumerate() {
            prop_assert!(!group.is_empty());
            for index in group {
                seen[*index] += 1;
                depth[*index] = Some(level);
            }
        }
        choice.left.iter().for_each(|l| seen[l.object] += 1);
        choice.unrelated.iter().for_each(|u| seen[*u] += 1);
        prop_assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        for kept in &choice.kept {
            prop_assert!(depth[kept.object].is_some());
        }
        for index in &choice.unrelated {
            prop_assert!(paper.kinds[paper.objects[*index].kind].group.is_empty());
        }
        let by_uid: BTreeMap<&str, usize> = paper.objects.iter().enumerate().map(|(i, o)| (&*o.uid, i)).collect();
        for (index, object) in paper.objects.iter().enumerate() {
            let Some(own_depth) = depth[index] else { continue };
            let value = object.value().unwrap();
            for owner in value["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
                let uid = owner["uid"].as_str().unwrap();
                let told = choice.notes.iter().any(|n| n.object == index && n.owner.as_deref() == Some(uid));
                let above = by_uid.get(uid).and_then(|owner| depth[*owner]);
                prop_assert!(told || above.is_some_and(|above| above < own_depth), "{} of {}", uid, paper.words(index));
            }
        }
        // Machines never act at both ends.
        for kept in &choice.kept {
            let kind = &paper.kinds[paper.objects[kept.object].kind].kind;
            prop_assert!(!["Machine", "MachineSet", "Cluster"].contains(&kind.as_str()), "{kind}");
        }
    }
}
