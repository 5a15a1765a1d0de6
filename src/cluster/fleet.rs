//! Makes groups of machines and waits until they have their size. What the groups do is the controllers' business.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ClusterError, Infrastructure, Story,
    create::{Patience, prepare, send_one},
    groups::{GroupKind, GroupRequest, Template},
    machine::{Wish, resolve},
    objects::Renderer,
    progress::{Progress, judge_group, leaving},
    running::{self, Controllers, Deadline, beside},
};
use crate::{
    api::{names, selector, v1alpha1::Machine},
    client::{FIELD_MANAGER, Session, kinds},
};

/// What the user said about a group of machines.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupWish {
    /// Which kind of group.
    pub kind: GroupKind,
    /// Name of the group, and what its machines are.
    pub machine: Wish,
    /// Number of machines.
    pub replicas: i32,
    /// The template to copy; without it one is made.
    pub template: Option<Template>,
    /// Labels of the machines, besides those by which they are found.
    pub labels: BTreeMap<String, String>,
    /// Further fields of the group's spec, for example `deletePolicy`.
    pub fields: Map<String, Value>,
}

/// A group that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName {
    /// Which kind of group.
    pub kind: GroupKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}

impl GroupName {
    fn api(&self, session: &Session) -> Result<Api<DynamicObject>, ClusterError> {
        let kind = kinds::own_by_kind(self.kind.kind()).ok_or_else(|| self.missing())?;
        Ok(Api::namespaced_with(
            session.client.clone(),
            &self.namespace,
            &kind.api_resource(),
        ))
    }

    fn missing(&self) -> ClusterError {
        ClusterError::Missing {
            kind: self.kind.kind(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
        }
    }

    async fn get(&self, session: &Session) -> Result<Option<DynamicObject>, ClusterError> {
        let found = self.api(session)?.get_opt(&self.name).await;
        found.map_err(ClusterError::api(format!("can't look at {self}")))
    }
}

/// Works out the objects of a group from what is there: what it refers to first, the group last.
pub async fn objects(session: &Session, wish: &GroupWish) -> Result<Vec<Value>, ClusterError> {
    let (machine, mut objects) = resolve(session, &machine_of(wish)).await?;
    objects.extend(Renderer::new()?.group(&GroupRequest {
        kind: wish.kind,
        replicas: wish.replicas,
        machine,
        template: wish.template.clone(),
        labels: wish.labels.clone(),
        fields: wish.fields.clone(),
    })?);
    Ok(objects)
}

/// The machine that the group consists of. With a template of another provider there is nothing that could be missing.
fn machine_of(wish: &GroupWish) -> Wish {
    let mut machine = wish.machine.clone();
    if let Some(template) = &wish.template {
        let docker = template.kind == format!("{}Template", Infrastructure::Docker.kind());
        machine.infrastructure = Some(if docker {
            Infrastructure::Docker
        } else {
            Infrastructure::Hollow
        });
        // The template names its own image.
        machine.image = Some(String::new());
    }
    machine
}

/// Makes a group and waits until all its machines run. What was made for the group alone goes with it.
pub async fn create(
    session: &mut Session,
    wish: &GroupWish,
    story: &Arc<dyn Story>,
    patience: Patience,
) -> Result<(), ClusterError> {
    names::dns_label(&wish.machine.name)?;
    prepare(session).await?;
    let group = GroupName {
        kind: wish.kind,
        namespace: wish.machine.namespace.clone(),
        name: wish.machine.name.clone(),
    };
    let objects = objects(session, wish).await?;
    let Some((own, made)) = objects.split_last() else {
        return Ok(());
    };
    if group
        .get(session)
        .await?
        .is_some_and(|found| !goes_on(&found, own))
    {
        return Err(ClusterError::Taken {
            kind: group.kind.kind(),
            name: group.name,
            namespace: group.namespace,
        });
    }
    story.step("Creating objects");
    // One after another: each refers to the one before it.
    for object in &objects {
        send_one(&session.client, object, patience.dry_run).await?;
    }
    if patience.dry_run {
        return Ok(());
    }
    hand_over(session, &group, made).await?;
    if !patience.wait {
        return Ok(());
    }
    let deadline = Deadline::new(patience.limit, group.to_string());
    until_sized(session, &[group], story, &deadline).await
}

/// Whether a group that is there is the one that the same command made before: it says all that this one says.
fn goes_on(found: &DynamicObject, wanted: &Value) -> bool {
    fn within(wanted: &Value, found: &Value) -> bool {
        match wanted {
            Value::Object(fields) => fields.iter().all(|(name, value)| within(value, &found[name])),
            Value::Array(items) => found.as_array().is_some_and(|all| {
                all.len() == items.len() && items.iter().zip(all).all(|(wanted, found)| within(wanted, found))
            }),
            value => value == found,
        }
    }
    found.metadata.deletion_timestamp.is_none() && within(&wanted["spec"], &found.data["spec"])
}

/// Makes a group the owner of what was made for it.
async fn hand_over(session: &Session, group: &GroupName, made: &[Value]) -> Result<(), ClusterError> {
    let owner = group.get(session).await?.ok_or_else(|| group.missing())?;
    let kind = kinds::own_by_kind(group.kind.kind()).ok_or_else(|| group.missing())?;
    let patch = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "name": group.name,
        "uid": owner.uid(),
    }] } });
    for object in made {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let Some(known) = kinds::own_by_kind(&kind) else {
            continue;
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(session.client.clone(), &group.namespace, &known.api_resource());
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(&name, &params, &Patch::Merge(&patch))
            .await
            .map_err(ClusterError::api(format!(
                "can't make {group} the owner of {kind} {name}"
            )))?;
    }
    Ok(())
}

/// Waits until groups have their size and all their machines run. On the embedded server the controllers run meanwhile.
pub async fn until_sized(
    session: &Session,
    groups: &[GroupName],
    story: &Arc<dyn Story>,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    story.step(if groups.len() == 1 {
        "Waiting for the machines"
    } else {
        "Waiting for the machines of all groups"
    });
    let docker = if session.target.is_embedded() && any_docker(session, groups).await? {
        Some(running::docker(Some(Arc::clone(story))).await?)
    } else {
        None
    };
    let actuators = running::actuators(&session.client, docker);
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let wait = async {
        for group in groups {
            until_one_is_sized(session, group, story.as_ref(), deadline).await?;
        }
        Ok(())
    };
    let result = beside(&mut controllers, wait).await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    result
}

/// Whether a group's machines are containers.
async fn any_docker(session: &Session, groups: &[GroupName]) -> Result<bool, ClusterError> {
    for group in groups {
        let found = group.get(session).await?;
        let kind = found.as_ref().and_then(|g| {
            g.data
                .pointer("/spec/template/spec/infrastructureRef/kind")?
                .as_str()
        });
        if kind.is_some_and(|k| k.starts_with(Infrastructure::Docker.kind())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Machines are listed no more often than this, nor for more than a tenth of the time.
const LIST: Duration = Duration::from_secs(1);

/// Waits until one group has its size and all its machines run, whoever acts meanwhile.
pub async fn until_one_is_sized(
    session: &Session,
    group: &GroupName,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let mut machines = Vec::new();
    let mut next = Instant::now() + LIST / 4;
    loop {
        let found = group.get(session).await?.ok_or_else(|| group.missing())?;
        let progress = judge_group(&found.data, found.metadata.generation, &machines);
        let text = match progress {
            // Nobody may be there to see the last of them off once this command has ended.
            Progress::Done => {
                machines = machines_of(session, group, &found).await?;
                match leaving(&machines) {
                    None => return Ok(()),
                    Some(text) => text,
                }
            }
            Progress::Failed { machine, message } => {
                return Err(ClusterError::MachineFailed { machine, message });
            }
            Progress::Waiting(text) => text,
        };
        story.detail(&text);
        deadline.pause(session.target.is_embedded(), &text).await?;
        if next <= Instant::now() {
            let begun = Instant::now();
            machines = machines_of(session, group, &found).await?;
            next = Instant::now() + LIST.max(begun.elapsed() * 10);
        }
    }
}

/// The machines that a group selects.
async fn machines_of(
    session: &Session,
    group: &GroupName,
    found: &DynamicObject,
) -> Result<Vec<Machine>, ClusterError> {
    let selector = found.data.pointer("/spec/selector").cloned().unwrap_or_default();
    let selector = Deserialize::deserialize(&selector).unwrap_or_default();
    let Some(text) = selector::parse(&selector)
        .ok()
        .map(|s| s.to_string())
        .filter(|s| !s.is_empty())
    else {
        return Ok(Vec::new());
    };
    let api: Api<Machine> = Api::namespaced(session.client.clone(), &group.namespace);
    let list = api
        .list(&ListParams::default().labels(&text))
        .await
        .map_err(ClusterError::api(format!("can't list the machines of {group}")))?;
    Ok(list.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_goes_on_and_another_one_does_not() {
        let found: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet", "metadata": { "name": "a" },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "a": "b" } }, "filled": true },
        }))
        .unwrap();
        let wanted = |replicas: i32| json!({ "spec": { "replicas": replicas, "selector": { "matchLabels": { "a": "b" } } } });
        assert!(goes_on(&found, &wanted(3)));
        assert!(!goes_on(&found, &wanted(4)));
        let mut leaving = found;
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            crate::time::Timestamp::UNIX_EPOCH,
        ));
        assert!(!goes_on(&leaving, &wanted(3)));
    }
}
