//! Who is told of which event: each change of an object asks for looks at what depends on it. It decides nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use kube::{
    Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::reflector::ObjectRef,
};

use super::World;
use crate::{
    api::{
        INFRASTRUCTURE_GROUP, MACHINE_GROUP, selector,
        v1alpha1::{
            Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine,
            MachineDeployment, MachineHealthCheck, MachineSet,
        },
    },
    controllers::{
        cache::{Cache, Indexed as _, parts_of, term},
        effect::Target,
    },
};

impl World {
    pub(super) fn machine_changed(&self, machine: &Machine) {
        let namespace = machine.namespace().unwrap_or_default();
        self.seen(machine);
        self.push_machine(machine);
        self.push_set_of(machine);
        self.push_health_checks(machine);
        if let Some(reference) = &machine.spec.infrastructure_ref
            && let (Some(kind), Some(name)) = (&reference.kind, &reference.name)
        {
            self.push_infrastructure(kind, &namespace, name);
        }
        let leaving = machine.metadata.deletion_timestamp.is_some();
        if let Some(cluster) = &machine.spec.cluster_name
            && (leaving || machine.is_control_plane())
        {
            self.push_cluster(&namespace, cluster);
        }
        if let Some(config) = machine.spec.config_ref.as_ref().and_then(|r| r.name.as_ref()) {
            self.queues
                .configs
                .push(ObjectRef::new(config).within(&namespace));
        }
        if leaving && machine.is_control_plane() {
            self.push_those_in_line(machine);
        }
        self.push_link_of(machine);
    }

    /// Asks for a look at the Node that a Machine has or may have, and at Machines that claim the same.
    fn push_link_of(&self, machine: &Machine) {
        let status = machine.status.as_ref();
        let mut terms: Vec<String> = machine
            .spec
            .provider_id
            .iter()
            .map(|id| term::provider(id))
            .collect();
        if let Some(id) = terms.first() {
            for twin in self.machines.find(id) {
                if twin.metadata.uid != machine.metadata.uid {
                    self.push_machine(&twin);
                }
            }
        }
        let Some(workload) = self.target_of(machine).and_then(|t| self.workloads.get(&t)) else {
            return;
        };
        let inside = status.into_iter().flat_map(|s| &s.addresses);
        terms.extend(
            inside
                .filter(|a| a.type_ == "InternalIP")
                .map(|a| term::address(&a.address)),
        );
        let mut names: BTreeSet<String> = terms
            .iter()
            .flat_map(|term| workload.nodes.names(term))
            .map(|node| parts_of(&node).1.to_owned())
            .collect();
        names.extend(status.and_then(|s| s.node_ref.as_ref()?.name.clone()));
        for name in names {
            workload.node_queue.push(ObjectRef::new(&name));
        }
    }

    /// Asks for a look at control-plane machines that may wait until this one is drained.
    fn push_those_in_line(&self, machine: &Machine) {
        let namespace = machine.namespace().unwrap_or_default();
        let cluster = machine.spec.cluster_name.as_deref().unwrap_or_default();
        for peer in self.machines.find(&term::control_plane(&namespace, cluster)) {
            if peer.metadata.deletion_timestamp.is_some() && peer.metadata.uid != machine.metadata.uid {
                self.push_machine(&peer);
            }
        }
    }

    pub(super) fn machine_set_changed(&self, set: &MachineSet) {
        self.queues.machine_sets.push(ObjectRef::from_obj(set));
        self.push_leaving_cluster(set, set.spec.cluster_name.as_deref());
        let namespace = set.namespace().unwrap_or_default();
        match controller_of(set, "MachineDeployment") {
            Controller::This(name) => self
                .queues
                .machine_deployments
                .push(ObjectRef::new(name).within(&namespace)),
            Controller::Other => {}
            Controller::None => {
                for deployment in self.machine_deployments.all() {
                    let same = deployment.metadata.namespace == set.metadata.namespace;
                    if same && selector::selects(&deployment.spec.selector, set.metadata.labels.as_ref()) {
                        self.machine_deployment_changed(&deployment);
                    }
                }
            }
        }
    }

    pub(super) fn machine_deployment_changed(&self, deployment: &MachineDeployment) {
        self.push_leaving_cluster(deployment, deployment.spec.cluster_name.as_deref());
        self.queues
            .machine_deployments
            .push(ObjectRef::from_obj(deployment));
    }

    pub(super) fn machine_health_check_changed(&self, check: &MachineHealthCheck) {
        self.push_leaving_cluster(check, check.spec.cluster_name.as_deref());
        self.queues.machine_health_checks.push(ObjectRef::from_obj(check));
    }

    pub(super) fn unhealthy_conditions_changed(&self, map: &ConfigMap) {
        for check in self.machine_health_checks.all() {
            if check.metadata.namespace == map.metadata.namespace {
                self.machine_health_check_changed(&check);
            }
        }
    }

    /// Asks for a look at a Cluster that waits for an object to go before it goes itself.
    fn push_leaving_cluster<K: Resource>(&self, object: &K, cluster: Option<&str>) {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        if let Some(name) = cluster
            && let Some(cluster) = self.clusters.get(Some(namespace), name)
            && cluster.metadata.deletion_timestamp.is_some()
        {
            self.push_cluster(namespace, name);
        }
    }

    /// Asks for a look at the set that a Machine belongs to, or at those that would take it.
    fn push_set_of(&self, machine: &Machine) {
        let namespace = machine.namespace().unwrap_or_default();
        match controller_of(machine, "MachineSet") {
            Controller::This(name) => self
                .queues
                .machine_sets
                .push(ObjectRef::new(name).within(&namespace)),
            Controller::Other => {}
            Controller::None => {
                for set in self.machine_sets.all() {
                    let same = set.metadata.namespace == machine.metadata.namespace;
                    if same && selector::selects(&set.spec.selector, machine.metadata.labels.as_ref()) {
                        self.queues.machine_sets.push(ObjectRef::from_obj(&*set));
                    }
                }
            }
        }
    }

    /// Asks for a look at all health checks that watch a Machine.
    fn push_health_checks(&self, machine: &Machine) {
        for check in self.machine_health_checks.all() {
            let all = selector::is_empty(&check.spec.selector);
            let cluster = &check.spec.cluster_name;
            let same = check.metadata.namespace == machine.metadata.namespace
                && (cluster.is_none() || *cluster == machine.spec.cluster_name);
            if same && (all || selector::selects(&check.spec.selector, machine.metadata.labels.as_ref())) {
                self.machine_health_check_changed(&check);
            }
        }
    }

    pub(super) fn cluster_changed(&self, cluster: &Cluster) {
        let namespace = cluster.namespace().unwrap_or_default();
        self.push_cluster(&namespace, &cluster.name_any());
        // What is known of Nodes depends on whether their API server answers.
        for check in self.machine_health_checks.all() {
            let named = check.spec.cluster_name.as_ref();
            if check.metadata.namespace == cluster.metadata.namespace
                && named.is_none_or(|named| *named == cluster.name_any())
            {
                self.machine_health_check_changed(&check);
            }
        }
        for machine in self
            .machines
            .find(&term::cluster(&namespace, &cluster.name_any()))
        {
            self.push_machine(&machine);
            if let Some(reference) = &machine.spec.infrastructure_ref
                && let (Some(kind), Some(name)) = (&reference.kind, &reference.name)
            {
                self.push_infrastructure(kind, &namespace, name);
            }
        }
        // They may have waited for it, or been paused with it.
        let term = term::cluster(&namespace, &cluster.name_any());
        for set in self.machine_sets.find(&term) {
            self.queues.machine_sets.push(ObjectRef::from_obj(&*set));
        }
        for deployment in self.machine_deployments.find(&term) {
            self.machine_deployment_changed(&deployment);
        }
    }

    pub(super) fn config_changed(&self, config: &Config) {
        let namespace = config.namespace().unwrap_or_default();
        self.queues.configs.push(ObjectRef::from_obj(config));
        for machine in self.machines.find(&term::config(&namespace, &config.name_any())) {
            self.push_machine(&machine);
        }
    }

    pub(super) fn provider_changed(&self, provider: &InfrastructureProvider) {
        self.queues.providers.push(ObjectRef::from_obj(provider));
    }

    pub(super) fn docker_provider_changed(&self, provider: &DockerInfrastructureProvider) {
        self.queues.docker_providers.push(ObjectRef::from_obj(provider));
        for parent in self.providers.all() {
            let reference = &parent.spec.infrastructure_ref;
            if reference.name == provider.metadata.name && reference.namespace == provider.metadata.namespace
            {
                self.queues.providers.push(ObjectRef::from_obj(&*parent));
            }
        }
    }

    pub(super) fn infrastructure_changed(&self, resource: &ApiResource, object: &DynamicObject) {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        self.push_infrastructure(&resource.kind, &namespace, &name);
        self.request_changed(&namespace, object);
        for machine in self
            .machines
            .find(&term::infrastructure(&resource.kind, &namespace, &name))
        {
            self.push_machine(&machine);
            if let Some(cluster) = &machine.spec.cluster_name
                && machine.is_control_plane()
            {
                self.push_cluster(&namespace, cluster);
            }
            // A Node without a provider id is known by its name.
            let id = object.data.pointer("/spec/providerID").and_then(|id| id.as_str());
            if let (Some(id), Some(target)) = (id, self.target_of(&machine))
                && let Some(workload) = self.workloads.get(&target)
            {
                let node = id.rsplit('/').next().unwrap_or(id);
                if workload.nodes.contains(None, node) {
                    workload.node_queue.push(ObjectRef::new(node));
                }
            }
        }
    }

    /// An object that a health check made for a broken Machine bears the Machine's name and is owned, but not controlled, by it.
    fn request_changed(&self, namespace: &str, object: &DynamicObject) {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|o| {
            o.kind == "Machine" && o.controller != Some(true) && o.api_version.starts_with(MACHINE_GROUP)
        });
        if let Some(machine) = owner.and_then(|o| self.machines.get(Some(namespace), &o.name)) {
            self.push_health_checks(&machine);
        }
    }

    pub(super) fn secret_changed(&self, secret: &PartialObjectMeta<Secret>) {
        let namespace = secret.namespace().unwrap_or_default();
        let name = secret.name_any();
        for owner in secret.owner_references() {
            match owner.kind.as_str() {
                "Machine" => self
                    .queues
                    .machines
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                "Cluster" => self.push_cluster(&namespace, &owner.name),
                "Config" => self
                    .queues
                    .configs
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                "DockerInfrastructureProvider" => self
                    .queues
                    .docker_providers
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                _ => {}
            }
        }
        for machine in self.machines.find(&term::data_secret(&namespace, &name)) {
            self.push_machine(&machine);
        }
        for config in self.configs.all() {
            let uses = config.spec.secrets.iter().any(|s| s.data_secret_name == name);
            if uses && config.namespace().as_deref() == Some(&namespace) {
                self.config_changed(&config);
            }
        }
    }

    pub(super) fn node_changed(&self, target: &Target, cache: &Cache<Node>, node: &Node) {
        let gone = cache.get(None, &node.name_any()).is_none();
        let mut terms = node.terms();
        terms.push(term::node(&node.name_any()));
        let mut told = BTreeSet::new();
        for machine in terms.iter().flat_map(|term| self.machines.find(term)) {
            let here = self.target_of(&machine).as_ref() == Some(target);
            if !here || !told.insert((machine.namespace(), machine.name_any())) {
                continue;
            }
            self.push_machine(&machine);
            self.push_health_checks(&machine);
            if let Some(reference) = &machine.spec.infrastructure_ref
                && let (Some(kind), Some(name), true) = (&reference.kind, &reference.name, gone)
            {
                self.push_infrastructure(kind, &machine.namespace().unwrap_or_default(), name);
            }
        }
    }

    fn push_machine(&self, machine: &Machine) {
        self.queues.machines.push(ObjectRef::from_obj(machine));
    }

    /// Asks for a look at a Cluster.
    pub(crate) fn push_cluster(&self, namespace: &str, name: &str) {
        self.queues.clusters.push(ObjectRef::new(name).within(namespace));
    }

    fn push_infrastructure(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(queue) = self.queues.infrastructure.get(kind)
            && let Some(known) = self.infrastructure(INFRASTRUCTURE_GROUP, kind)
        {
            queue.push(known.cache.key(Some(namespace), name));
        }
    }
}

/// Who controls an object.
enum Controller<'a> {
    /// An object of the kind that was asked for, by name.
    This(&'a str),
    /// Something else.
    Other,
    /// Nobody.
    None,
}

fn controller_of<'a, K: Resource>(object: &'a K, kind: &str) -> Controller<'a> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    match owners.iter().find(|r| r.controller == Some(true)) {
        Some(r) if r.kind == kind && r.api_version.starts_with(MACHINE_GROUP) => Controller::This(&r.name),
        Some(_) => Controller::Other,
        None => Controller::None,
    }
}
