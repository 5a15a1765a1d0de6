//! From the version that is installed to the one of this program: what would change, and doing it. Whatever interrupts it, the same call goes on.

use std::{cmp::Ordering, collections::BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{Client, ResourceExt as _, api::DeleteParams};
use serde::Serialize;

use super::{
    Applied, Change, IMAGE, InstallError, NAME, Problem, VERSION, apply,
    checks::{self, Found, Leave},
    definitions,
    inventory::{Inventory, State, storage_version},
    objects::{ObjectName, Request, Scope},
    storage,
};

/// How many definitions are migrated at a time.
const AT_ONCE: usize = 4;

/// What an upgrade changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version that is installed.
    pub from: String,
    /// The version of this program.
    pub to: String,
    /// Whether an upgrade was begun and not finished.
    pub unfinished: bool,
    /// The image of the controllers, now and then; nothing where none are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Definitions that change.
    pub definitions: Vec<Definition>,
    /// Objects that are made, changed, or removed.
    pub objects: Vec<Object>,
    /// What restarts.
    pub restarts: Vec<String>,
}

/// The image of the controllers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// The one that is installed.
    pub from: String,
    /// The one that comes.
    pub to: String,
}

/// How a definition changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Whether it is `created` or `configured`; `unchanged` if only its stored versions do.
    pub change: &'static str,
    /// The version in which objects are stored from then on.
    pub storage: String,
    /// The versions in which objects may be stored now, and are not any more then: the objects are written again.
    pub migrated: Vec<String>,
    /// Versions that it did not have.
    pub new_versions: Vec<String>,
    /// Versions that it has no more.
    pub removed_versions: Vec<String>,
    /// Fields that it did not have, for example `.spec.taints[].key`.
    pub new_fields: Vec<String>,
    /// Fields that it has no more: what stands in them is dropped when an object is next written.
    pub removed_fields: Vec<String>,
}

/// How an object changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `deployment.apps/machinectl-controller`.
    pub name: String,
    /// `created`, `configured` or `removed`.
    pub change: &'static str,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.from == self.to && !self.unfinished && self.definitions.is_empty() && self.objects.is_empty()
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// What became of each definition and object.
    pub applied: Vec<Applied>,
    /// Objects of earlier versions that were removed.
    pub removed: Vec<String>,
    /// How many objects were written again, by definition.
    pub migrated: Vec<(String, usize)>,
}

/// Says what an upgrade would change. `image` replaces the one that follows from the installed one.
///
/// # Errors
/// Fails when nothing is installed, a newer version is, or another check fails.
pub async fn plan(client: &Client, image: Option<&str>) -> Result<Plan, InstallError> {
    let (found, installed, request) = look(client, image).await?;
    Ok(plan_of(&found, &installed, &request))
}

/// Upgrades. `tell` hears what is done.
///
/// # Errors
/// Fails as [`plan`] does, and when the API server refuses something or goes away. The same call goes on then.
pub async fn apply(
    client: &Client,
    image: Option<&str>,
    tell: impl Fn(&str),
) -> Result<Upgraded, InstallError> {
    let (found, installed, request) = look(client, image).await?;
    let plan = plan_of(&found, &installed, &request);
    let mut done = Upgraded {
        applied: Vec::new(),
        removed: Vec::new(),
        migrated: Vec::new(),
    };
    if plan.is_empty() {
        return Ok(done);
    }
    // Objects that this version has no more are found from the inventory, and it keeps them until they are gone.
    let mut begun = installed.clone();
    begun.state = State::Upgrading(VERSION.to_owned());
    apply::one(client, &begun.object(), found.inventory.as_ref(), false, false).await?;
    tell("Definitions");
    for (name, written) in migrate(client, &found).await? {
        if written > 0 {
            tell(&format!("{name}: {written} objects stored in the new version"));
        }
        done.migrated.push((name, written));
    }
    // What was applied on the way to the new definitions is looked at again.
    let (found, _, _) = look(client, image).await?;
    tell("Objects");
    done.applied = apply::all(client, found, false).await?;
    for name in obsolete(&installed, &request) {
        remove(client, &name, false).await?;
        done.removed.push(name.to_string());
    }
    Ok(done)
}

/// Has the API server check what [`apply`] would do, in the same order; it keeps nothing. What a definition that objects are stored for in an
/// old version comes to in the end can't be asked before they are written again: the step before that is.
///
/// # Errors
/// Fails as [`plan`] does, and when the API server refuses a step.
pub async fn rehearse(client: &Client, image: Option<&str>) -> Result<Upgraded, InstallError> {
    let (mut found, installed, request) = look(client, image).await?;
    let mut done = Upgraded {
        applied: Vec::new(),
        removed: Vec::new(),
        migrated: Vec::new(),
    };
    if plan_of(&found, &installed, &request).is_empty() {
        return Ok(done);
    }
    let mut begun = installed.clone();
    begun.state = State::Upgrading(VERSION.to_owned());
    apply::one(client, &begun.object(), found.inventory.as_ref(), true, false).await?;
    for (wanted, live) in &mut found.definitions {
        let Some(live) = live.as_ref() else { continue };
        let storage = storage_version(wanted).unwrap_or_default();
        if !storage::left_over(live, &storage).is_empty() {
            let written = storage::rehearse(client, live).await?;
            done.migrated.push((wanted.name_any(), written));
        }
        if let Some(both) = storage::transitional(wanted, live) {
            *wanted = both;
        }
    }
    done.applied = apply::all(client, found, true).await?;
    for name in obsolete(&installed, &request) {
        remove(client, &name, true).await?;
        done.removed.push(name.to_string());
    }
    Ok(done)
}

/// Writes down that an upgrade is finished. It comes after the controllers are up, so that one which they do not survive can be repeated.
///
/// # Errors
/// Fails when the API server refuses it.
pub async fn finish(client: &Client, image: Option<&str>) -> Result<(), InstallError> {
    let (found, _, request) = look(client, image).await?;
    let wanted = Inventory::of(&request).object();
    apply::one(client, &wanted, found.inventory.as_ref(), false, false).await?;
    Ok(())
}

/// Looks at the cluster, and says what should be installed there.
async fn look(client: &Client, image: Option<&str>) -> Result<(Found, Inventory, Request), InstallError> {
    let Some(installed) = checks::inventory_of(client).await? else {
        return Err(InstallError::Checks(vec![Problem::new(
            "nothing is installed here, or only the definitions are",
            "install everything: machinectl init",
        )]));
    };
    let request = request(&installed, image).map_err(|problem| InstallError::Checks(vec![problem]))?;
    let leave = Leave {
        foreign: false,
        version: true,
    };
    let mut found = checks::look(client, &request, leave).await?;
    let mut problems = std::mem::take(&mut found.problems);
    if installed.age() == Ordering::Greater {
        problems.push(Problem::new(
            format!(
                "version {} is installed here, which is newer than this program ({VERSION})",
                installed.version
            ),
            format!("use machinectl {}", installed.version),
        ));
    }
    if problems.is_empty() {
        Ok((found, installed, request))
    } else {
        Err(InstallError::Checks(problems))
    }
}

/// What should be installed where this is.
fn request(installed: &Inventory, image: Option<&str>) -> Result<Request, Problem> {
    let scope = if installed.image.is_some() {
        Scope::Controllers
    } else {
        Scope::Inventory
    };
    let image = match (image, &installed.image) {
        (Some(image), _) => image.to_owned(),
        (None, Some(old)) => successor(old, installed)?,
        (None, None) => IMAGE.to_owned(),
    };
    Ok(Request::new(scope, installed.providers.clone(), image))
}

/// The image that follows an image: the same name with the tag of this version, if it has the tag of its own version now.
fn successor(old: &str, installed: &Inventory) -> Result<String, Problem> {
    let is_new = old.ends_with(&format!(":{VERSION}"));
    if installed.version == VERSION || is_new {
        return Ok(old.to_owned());
    }
    match old.strip_suffix(&format!(":{}", installed.version)) {
        Some(name) => Ok(format!("{name}:{VERSION}")),
        None => Err(Problem::new(
            format!(
                "the controllers run from {old}, which does not say what the image of {VERSION} is called"
            ),
            "name it: machinectl upgrade apply --controller-image IMAGE",
        )),
    }
}

fn plan_of(found: &Found, installed: &Inventory, request: &Request) -> Plan {
    let mut objects: Vec<_> = found
        .objects
        .iter()
        .filter_map(|(wanted, live)| {
            let live_value = live.as_ref().and_then(|l| serde_json::to_value(l).ok());
            let change = match &live_value {
                None => Change::Created,
                Some(live) if apply::is_as_wanted(live, wanted) => return None,
                Some(_) => Change::Updated,
            };
            Some(Object {
                name: ObjectName::of(wanted).to_string(),
                change: change.word(),
            })
        })
        .collect();
    let deployment = format!("deployment.apps/{NAME}");
    let restarts = objects
        .iter()
        .any(|o| o.name == deployment && o.change != "created");
    objects.extend(obsolete(installed, request).iter().map(|name| Object {
        name: name.to_string(),
        change: "removed",
    }));
    Plan {
        from: installed.version.clone(),
        to: VERSION.to_owned(),
        unfinished: installed.state != State::Installed,
        image: installed.image.as_ref().map(|from| Image {
            from: from.clone(),
            to: request.image.clone(),
        }),
        definitions: found
            .definitions
            .iter()
            .filter_map(|(wanted, live)| definition(wanted, live.as_ref()))
            .collect(),
        objects,
        restarts: restarts
            .then(|| format!("{deployment}: its pods are replaced one after another; machines keep running"))
            .into_iter()
            .collect(),
    }
}

/// Objects that are installed and that this version does not have.
fn obsolete(installed: &Inventory, request: &Request) -> Vec<ObjectName> {
    let wanted = Inventory::of(request).objects;
    let old = installed.objects.iter().filter(|o| !wanted.contains(o));
    old.cloned().collect()
}

fn definition(
    wanted: &CustomResourceDefinition,
    live: Option<&CustomResourceDefinition>,
) -> Option<Definition> {
    let storage = storage_version(wanted).unwrap_or_default();
    let migrated = live
        .map(|live| storage::left_over(live, &storage))
        .unwrap_or_default();
    let change = match live {
        None => Change::Created,
        Some(live) if definitions::is_as_wanted(live, wanted) => Change::Unchanged,
        Some(_) => Change::Updated,
    };
    if change == Change::Unchanged && migrated.is_empty() {
        return None;
    }
    let versions = |crd: &CustomResourceDefinition| -> BTreeSet<String> {
        crd.spec.versions.iter().map(|v| v.name.clone()).collect()
    };
    let (old_versions, old_fields) = live.map(|l| (versions(l), fields(l))).unwrap_or_default();
    let (new_versions, new_fields) = (versions(wanted), fields(wanted));
    let minus = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
    Some(Definition {
        name: wanted.name_any(),
        change: change.word(),
        storage,
        migrated,
        new_versions: minus(&new_versions, &old_versions),
        removed_versions: minus(&old_versions, &new_versions),
        // All fields of a new kind are new.
        new_fields: if live.is_some() {
            minus(&new_fields, &old_fields)
        } else {
            Vec::new()
        },
        removed_fields: minus(&old_fields, &new_fields),
    })
}

/// Paths of all fields in the version in which objects are stored.
fn fields(crd: &CustomResourceDefinition) -> BTreeSet<String> {
    fn walk(path: &str, schema: &JSONSchemaProps, all: &mut BTreeSet<String>) {
        for (name, child) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            walk(&path, child, all);
            all.insert(path);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            walk(&format!("{path}[]"), items, all);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            walk(&format!("{path}.*"), values, all);
        }
    }
    let mut all = BTreeSet::new();
    let stored = crd.spec.versions.iter().find(|v| v.storage);
    if let Some(root) = stored.and_then(|v| v.schema.as_ref()?.open_api_v3_schema.as_ref()) {
        walk("", root, &mut all);
    }
    all
}

/// Brings definitions to the new version, some at a time, and the objects of those that are stored in another. Returns how many were written.
async fn migrate(client: &Client, found: &Found) -> Result<Vec<(String, usize)>, InstallError> {
    let outdated = found.definitions.iter().filter_map(|(wanted, live)| {
        let live = live.as_ref()?;
        let storage = storage_version(wanted)?;
        (!storage::left_over(live, &storage).is_empty()).then_some((wanted, live))
    });
    stream::iter(outdated)
        .map(|(wanted, live)| async move {
            let name = wanted.name_any();
            let is_new = storage_version(live) != storage_version(wanted);
            let next = storage::transitional(wanted, live).unwrap_or_else(|| wanted.clone());
            definitions::one(client, next, Some(live), false).await?;
            let Some(live) = definitions::live(client, &name).await? else {
                return Ok((name, 0));
            };
            let written = storage::migrate(client, &live, is_new).await?;
            Ok((name, written))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn remove(client: &Client, name: &ObjectName, dry_run: bool) -> Result<(), InstallError> {
    let params = DeleteParams {
        dry_run,
        ..DeleteParams::background()
    };
    match name.api(client).delete(&name.name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(InstallError::refused(format!("can't remove {name}"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::install::Provider;

    fn installed(version: &str, image: &str) -> Inventory {
        let request = Request::new(Scope::Controllers, vec![Provider::Hollow], image);
        Inventory {
            version: version.into(),
            ..Inventory::of(&request)
        }
    }

    #[test]
    fn the_image_follows_the_version_if_it_did_before() {
        let next = |image: &str| successor(image, &installed("v0.0.1", image));
        assert_eq!(
            next("host:5/machinectl:v0.0.1").unwrap(),
            format!("host:5/machinectl:{VERSION}")
        );
        assert!(
            next("mine:latest")
                .unwrap_err()
                .hint
                .contains("--controller-image")
        );
        assert_eq!(
            successor("mine:latest", &installed(VERSION, "mine:latest")).unwrap(),
            "mine:latest"
        );
    }

    #[test]
    fn a_changed_definition_says_which_fields_come_and_go() {
        let wanted = definitions::wanted(true).remove(0);
        let mut live = wanted.clone();
        let root = live.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        let spec = root.properties.as_mut().unwrap().get_mut("spec").unwrap();
        let fields = spec.properties.as_mut().unwrap();
        let paused = fields.remove("paused").unwrap();
        fields.insert("halted".into(), paused);
        live.metadata.annotations = None;
        live.status = serde_json::from_value(json!({ "storedVersions": ["v1alpha0", "v1alpha1"] })).unwrap();
        let change = definition(&wanted, Some(&live)).unwrap();
        assert_eq!(
            (change.new_fields, change.removed_fields),
            (vec![".spec.paused".to_owned()], vec![".spec.halted".to_owned()])
        );
        assert_eq!(
            (change.change, change.migrated),
            ("configured", vec!["v1alpha0".to_owned()])
        );
        assert_eq!(definition(&wanted, None).unwrap().change, "created");
    }

    #[test]
    fn objects_that_a_version_has_no_more_are_removed() {
        let mut old = installed("v0.0.1", "i:v0.0.1");
        old.objects
            .push(ObjectName::parse("v1 Service machinectl-system/old").unwrap());
        let gone = obsolete(&old, &request(&old, None).unwrap());
        assert_eq!(
            gone.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["service/old"]
        );
    }
}
