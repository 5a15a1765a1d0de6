//! Takes away what was installed, in the reverse order of its dependencies. Machines are never touched: what runs goes on.
//!
//! Objects that stay behind while their definitions go lose their finalizers first: the controllers that would take them off are gone. The
//! Lease is held meanwhile, so that no other controllers take the deletion of an object for the deletion of its machine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    InstallError, NAME, NAMESPACE, Problem, checks,
    inventory::{Inventory, storage_version},
    objects::{ObjectName, Provider, Request, Scope, objects},
};
use crate::{
    api::{labels, registry},
    client::FIELD_MANAGER,
    controllers::lease,
    time::{Clock, SystemClock},
};

/// How many objects are looked at in one answer, and how many are written at a time.
const PAGE: u32 = 500;
const AT_ONCE: usize = 32;
/// How often it is asked whether something is gone.
const LOOK: Duration = Duration::from_millis(200);
/// Finalizers that stand on objects of this program and that somebody of it, or the API server itself, would take off.
const OWN_FINALIZERS: [&str; 6] = [
    labels::MACHINE_FINALIZER,
    labels::DOCKER_MACHINE_FINALIZER,
    labels::HOLLOW_MACHINE_FINALIZER,
    labels::CLUSTER_FINALIZER,
    "foregroundDeletion",
    "orphan",
];

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The definitions too, and with them all objects of their kinds.
    pub include_crds: bool,
    /// Also while machines exist: they run on, and nobody looks after them.
    pub leave_machines: bool,
    /// How long the controllers, and objects that are deleted, may take to go.
    pub timeout: Duration,
}

/// What stands there.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What the inventory says; nothing, if there is none.
    pub inventory: Option<Inventory>,
    /// How many objects of each kind there are, by kind; kinds without objects are left out.
    pub counts: BTreeMap<String, usize>,
    /// What is installed beside the definitions.
    installed: Vec<ObjectName>,
    /// Whether the namespace is one that this program has made.
    namespace: bool,
    definitions: Vec<CustomResourceDefinition>,
    /// Objects with finalizers.
    bound: Vec<Bound>,
}

/// An object that something keeps from going.
#[derive(Debug, Clone)]
struct Bound {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
    finalizers: Vec<String>,
}

impl Bound {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }
}

impl Found {
    /// Whether there is nothing of this program at all.
    pub fn is_empty(&self) -> bool {
        self.inventory.is_none() && self.installed.is_empty() && self.definitions.is_empty()
    }

    /// How many machines there are.
    pub fn machines(&self) -> usize {
        self.counts.get("Machine").copied().unwrap_or(0)
    }

    /// How many objects there are of all kinds.
    pub fn objects(&self) -> usize {
        self.counts.values().sum()
    }
}

/// What was taken away, and what was left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// As kubectl writes it: `deployment.apps/machinectl-controller`.
    pub names: Vec<String>,
    /// The namespace stays: what else is in it.
    pub kept: Option<String>,
    /// Who holds the Lease of the controllers and is none of those that are removed: nothing is done before it lets go.
    pub waits_for: Option<String>,
}

/// Looks at what is there. Changes nothing.
///
/// # Errors
/// Fails when the API server refuses to be asked, or goes away.
pub async fn look(client: &Client) -> Result<Found, InstallError> {
    let inventory = checks::inventory_of(client).await?;
    let mut names: Vec<_> = objects(&Request::new(Scope::Controllers, Provider::ALL.to_vec(), ""))
        .iter()
        .map(ObjectName::of)
        .collect();
    for name in inventory.iter().flat_map(|i| &i.objects) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let live = try_join_all(names.into_iter().map(|name| async move {
        let live = checks::live(client, name.clone()).await?;
        Ok::<_, InstallError>(live.map(|live| (name, live)))
    }))
    .await?;
    let mut found = Found {
        inventory,
        ..Found::default()
    };
    for (name, live) in live.into_iter().flatten() {
        // What bears the name and was not installed by this program is somebody else's.
        let own = live
            .labels()
            .get(labels::APP_MANAGED_BY)
            .is_some_and(|v| v == labels::APP);
        match (own, name.kind.as_str()) {
            (true, "Namespace") => found.namespace = true,
            (true, _) => found.installed.push(name),
            (false, _) => {}
        }
    }
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = try_join_all(registry::crds().into_iter().map(|crd| {
        let api = api.clone();
        async move {
            let name = crd.name_any();
            let read = api.get_opt(&name).await;
            read.map_err(InstallError::refused(format!("can't read the definition {name}")))
        }
    }))
    .await?;
    found.definitions = definitions.into_iter().flatten().collect();
    let listed = try_join_all(found.definitions.iter().map(|crd| list(client, crd))).await?;
    for (kind, count, bound) in listed {
        if count > 0 {
            found.counts.insert(kind, count);
        }
        found.bound.extend(bound);
    }
    Ok(found)
}

/// Counts the objects of a definition, and names those with finalizers.
async fn list(
    client: &Client,
    crd: &CustomResourceDefinition,
) -> Result<(String, usize, Vec<Bound>), InstallError> {
    let names = &crd.spec.names;
    let version = storage_version(crd).unwrap_or_default();
    let gvk = GroupVersionKind::gvk(&crd.spec.group, &version, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &names.plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut page = ListParams::default().limit(PAGE);
    let (mut count, mut bound) = (0, Vec::new());
    loop {
        let list = match api.list_metadata(&page).await {
            Ok(list) => list,
            // The definition is on its way out already.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 405 => {
                return Ok((names.kind.clone(), 0, Vec::new()));
            }
            Err(error) => {
                return Err(InstallError::refused(format!("can't list {}", crd.name_any()))(
                    error,
                ));
            }
        };
        count += list.items.len();
        let has_some = list.items.into_iter().filter(|o| !o.finalizers().is_empty());
        bound.extend(has_some.map(|object| Bound {
            resource: resource.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
            finalizers: object.finalizers().to_vec(),
        }));
        match list.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => page = ListParams::default().limit(PAGE).continue_token(&next),
            None => return Ok((names.kind.clone(), count, bound)),
        }
    }
}

/// Says what keeps it from being taken away.
///
/// # Errors
/// Fails while machines exist, unless they may be left; and if objects of definitions that go are held by finalizers of others.
pub fn check(found: &Found, options: Options) -> Result<(), InstallError> {
    let machines = found.machines();
    if machines > 0 && !options.leave_machines {
        let noun = if machines == 1 { "machine" } else { "machines" };
        return Err(InstallError::Machines(format!("{machines} {noun}")));
    }
    if !options.include_crds {
        return Ok(());
    }
    let problems: Vec<_> = found
        .bound
        .iter()
        .filter_map(|bound| {
            let own = |f: &&String| !OWN_FINALIZERS.contains(&f.as_str());
            let foreign = bound.finalizers.iter().find(own)?;
            let place = bound
                .namespace
                .as_ref()
                .map_or_else(String::new, |n| format!("{n}/"));
            let what = format!("{} {place}{}", bound.resource.kind, bound.name);
            Some(Problem::new(
                format!("{what} is held by the finalizer {foreign}, which is not machinectl's"),
                "let the program whose finalizer it is let go of the object, or leave the definitions there: \
                 without --include-crds",
            ))
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(InstallError::Checks(problems))
    }
}

/// Takes away what was found. `tell` hears what is done. Whatever interrupts it, the same call goes on.
///
/// # Errors
/// Fails as [`check`] does; when controllers go on to run, something does not go in time, or the API server refuses something.
pub async fn uninstall(
    client: &Client,
    found: &Found,
    options: Options,
    tell: impl Fn(&str),
) -> Result<Removed, InstallError> {
    check(found, options)?;
    let mut removed = Removed::default();
    let (deployments, mut others): (Vec<_>, Vec<_>) =
        found.installed.iter().partition(|name| name.kind == "Deployment");
    if !deployments.is_empty() {
        tell("Controllers");
    }
    for name in deployments {
        delete(client, name, false, &mut removed).await?;
    }
    let held = hold(client, options.timeout).await?;
    let work = async {
        if options.include_crds && !found.definitions.is_empty() {
            tell("Definitions");
            let names = definitions(client, options.timeout).await?;
            removed.names.extend(names);
        }
        tell("Rights");
        // What was made last goes first.
        others.reverse();
        for name in others {
            delete(client, name, false, &mut removed).await?;
        }
        let inventory = ObjectName::inventory();
        if found.inventory.is_some() {
            delete(client, &inventory, false, &mut removed).await?;
        }
        Ok::<_, InstallError>(())
    };
    match held {
        Some(mut held) => {
            tokio::select! {
                done = work => done?,
                lost = held.keep(&SystemClock) => return Err(InstallError::Held(lost.to_string())),
            }
            lease::remove(client)
                .await
                .map_err(InstallError::refused("can't remove the Lease"))?;
        }
        None => work.await?,
    }
    if found.namespace {
        removed.kept = strangers(client, options).await?;
        if removed.kept.is_none() {
            delete(client, &namespace(), false, &mut removed).await?;
        }
    }
    Ok(removed)
}

/// Says what [`uninstall`] would take away, in the same order. `ask`: the API server is asked about each step, and keeps nothing of it.
///
/// # Errors
/// Fails as [`check`] does, and when the API server refuses a step.
pub async fn rehearse(
    client: &Client,
    found: &Found,
    options: Options,
    ask: bool,
) -> Result<Removed, InstallError> {
    check(found, options)?;
    let mut removed = Removed::default();
    let (mut names, mut others): (Vec<_>, Vec<_>) = found
        .installed
        .iter()
        .cloned()
        .partition(|name| name.kind == "Deployment");
    let ours = |holder: &String| !names.is_empty() && holder.starts_with(NAME);
    let holder = lease::holder(client, SystemClock.now()).await;
    let holder = holder.map_err(InstallError::refused("can't read the Lease of the controllers"))?;
    removed.waits_for = holder.filter(|holder| !ours(holder));
    if options.include_crds {
        if ask {
            stream::iter(&found.bound)
                .map(|bound| free(client, bound, true))
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
        }
        names.extend(found.definitions.iter().map(|crd| ObjectName {
            api_version: "apiextensions.k8s.io/v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            namespace: None,
            name: crd.name_any(),
        }));
    }
    others.reverse();
    names.extend(others);
    names.extend(found.inventory.iter().map(|_| ObjectName::inventory()));
    if found.namespace {
        removed.kept = strangers(client, options).await?;
        if removed.kept.is_none() {
            names.push(namespace());
        }
    }
    for name in names {
        if ask {
            delete(client, &name, true, &mut removed).await?;
        } else {
            removed.names.push(name.to_string());
        }
    }
    Ok(removed)
}

fn namespace() -> ObjectName {
    ObjectName {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: NAMESPACE.to_owned(),
    }
}

async fn delete(
    client: &Client,
    name: &ObjectName,
    dry_run: bool,
    removed: &mut Removed,
) -> Result<(), InstallError> {
    let params = DeleteParams {
        dry_run,
        ..DeleteParams::background()
    };
    match name.api(client).delete(&name.name, &params).await {
        Ok(_) => {
            removed.names.push(name.to_string());
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(InstallError::refused(format!("can't remove {name}"))(error)),
    }
}

/// Takes the Lease as soon as the controllers have given it back, so that no others act from now on. Nothing, where there is no namespace.
async fn hold(client: &Client, timeout: Duration) -> Result<Option<lease::Held>, InstallError> {
    let failed = |e| InstallError::refused("can't take the Lease of the controllers")(e);
    let live = checks::live(client, namespace()).await?;
    if live.is_none_or(|n| n.metadata.deletion_timestamp.is_some()) {
        return Ok(None);
    }
    let identity = format!("{NAME}-uninstall");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let late = tokio::time::sleep(timeout);
    let held = lease::acquire(client, &identity, &*clock, || (), late)
        .await
        .map_err(failed)?;
    if held.is_some() {
        return Ok(held);
    }
    let holder = lease::holder(client, clock.now()).await.map_err(failed)?;
    Err(InstallError::Held(
        holder.unwrap_or_else(|| "somebody".to_owned()),
    ))
}

/// Frees all objects, deletes the definitions and waits until they are gone.
async fn definitions(client: &Client, timeout: Duration) -> Result<Vec<String>, InstallError> {
    let begun = Instant::now();
    // Controllers that worked until a moment ago may have made objects and put finalizers on them.
    let found = look(client).await?;
    check(
        &found,
        Options {
            include_crds: true,
            leave_machines: true,
            timeout,
        },
    )?;
    stream::iter(&found.bound)
        .map(|bound| free(client, bound, false))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    try_join_all(found.definitions.iter().map(|crd| {
        let api = api.clone();
        async move {
            let name = crd.name_any();
            let failed = InstallError::refused(format!("can't remove the definition {name}"));
            match api.delete(&name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(failed(error)),
            }
            let what = format!("customresourcedefinition.apiextensions.k8s.io/{name}");
            loop {
                let read = api.get_opt(&name).await;
                let read =
                    read.map_err(InstallError::refused(format!("can't read the definition {name}")))?;
                if read.is_none_or(|now| now.uid() != crd.uid()) {
                    return Ok(what);
                }
                if begun.elapsed() > timeout {
                    return Err(InstallError::NotGone(what));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }))
    .await
}

/// Takes the finalizers off an object. The machine that it stands for is left as it is.
async fn free(client: &Client, bound: &Bound, dry_run: bool) -> Result<(), InstallError> {
    let nothing = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let params = PatchParams {
        dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match bound
        .api(client)
        .patch_metadata(&bound.name, &params, &nothing)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => {
            let what = format!(
                "can't take the finalizers off {} {}",
                bound.resource.kind, bound.name
            );
            Err(InstallError::refused(what)(error))
        }
    }
}

/// What else is in the namespace: one thing that this program has not put there.
async fn strangers(client: &Client, options: Options) -> Result<Option<String>, InstallError> {
    let failed = |e| InstallError::refused(format!("can't look into namespace {NAMESPACE}"))(e);
    let own = |labels: &BTreeMap<String, String>| {
        labels
            .get(labels::APP_MANAGED_BY)
            .is_some_and(|v| v == labels::APP)
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let maps = maps.list_metadata(&ListParams::default()).await.map_err(failed)?;
    // Kubernetes puts this one into each namespace.
    let map = maps
        .items
        .iter()
        .find(|m| !own(m.labels()) && m.name_any() != "kube-root-ca.crt");
    if let Some(map) = map {
        return Ok(Some(format!("configmap/{}", map.name_any())));
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let tokens = ListParams::default().fields("type!=kubernetes.io/service-account-token");
    let secrets = secrets.list_metadata(&tokens).await.map_err(failed)?;
    if let Some(secret) = secrets.items.iter().find(|s| !own(s.labels())) {
        return Ok(Some(format!("secret/{}", secret.name_any())));
    }
    if options.include_crds {
        return Ok(None);
    }
    for crd in registry::crds()
        .iter()
        .filter(|crd| crd.spec.scope == "Namespaced")
    {
        let version = storage_version(crd).unwrap_or_default();
        let gvk = GroupVersionKind::gvk(&crd.spec.group, &version, &crd.spec.names.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &crd.spec.names.plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(list) => {
                if let Some(object) = list.items.first() {
                    return Ok(Some(format!(
                        "{}/{}",
                        crd.spec.names.kind.to_lowercase(),
                        object.name_any()
                    )));
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(machines: usize, finalizers: &[&str]) -> Found {
        let gvk = GroupVersionKind::gvk("machine.crit.sh", "v1alpha1", "Machine");
        Found {
            counts: [("Machine".to_owned(), machines)].into(),
            bound: vec![Bound {
                resource: ApiResource::from_gvk(&gvk),
                namespace: Some("fleet".into()),
                name: "m".into(),
                finalizers: finalizers.iter().map(|&f| f.to_owned()).collect(),
            }],
            ..Found::default()
        }
    }

    const TOLD: Options = Options {
        include_crds: true,
        leave_machines: true,
        timeout: Duration::ZERO,
    };

    #[test]
    fn machines_are_left_only_when_somebody_says_so() {
        let not_told = Options {
            leave_machines: false,
            include_crds: false,
            ..TOLD
        };
        let refused = check(&found(2, &[]), not_told).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("nobody would look after 2 machines"),
            "{refused}"
        );
        assert!(check(&found(0, &[]), not_told).is_ok());
        assert!(check(&found(2, &[labels::MACHINE_FINALIZER]), TOLD).is_ok());
    }

    #[test]
    fn finalizers_of_others_are_not_taken_off() {
        let refused = check(
            &found(0, &[labels::MACHINE_FINALIZER, "backup.example.net"]),
            TOLD,
        )
        .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("Machine fleet/m is held by the finalizer backup.example.net")
        );
        let without = Options {
            include_crds: false,
            ..TOLD
        };
        assert!(check(&found(0, &["backup.example.net"]), without).is_ok());
    }
}
