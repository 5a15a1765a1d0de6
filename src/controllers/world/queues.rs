//! The queues of all controllers and their other ends. It decides nothing.

use std::collections::BTreeMap;

use kube::api::DynamicObject;

use crate::{
    api::v1alpha1::{
        Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine, MachineDeployment,
        MachineHealthCheck, MachineSet,
    },
    controllers::{
        Context,
        runtime::{Queue, Work},
    },
};

/// Work for each controller.
pub(crate) struct Queues {
    pub(crate) machines: Queue<Machine>,
    pub(crate) machine_sets: Queue<MachineSet>,
    pub(crate) machine_deployments: Queue<MachineDeployment>,
    pub(crate) machine_health_checks: Queue<MachineHealthCheck>,
    pub(crate) clusters: Queue<Cluster>,
    pub(crate) configs: Queue<Config>,
    pub(crate) providers: Queue<InfrastructureProvider>,
    pub(crate) docker_providers: Queue<DockerInfrastructureProvider>,
    /// By kind; only those with an actuator.
    pub(crate) infrastructure: BTreeMap<String, Queue<DynamicObject>>,
}

/// The ends of the queues, for the drivers.
pub(crate) struct Works {
    pub(crate) machines: Work<Machine>,
    pub(crate) machine_sets: Work<MachineSet>,
    pub(crate) machine_deployments: Work<MachineDeployment>,
    pub(crate) machine_health_checks: Work<MachineHealthCheck>,
    pub(crate) clusters: Work<Cluster>,
    pub(crate) configs: Work<Config>,
    pub(crate) providers: Work<InfrastructureProvider>,
    pub(crate) docker_providers: Work<DockerInfrastructureProvider>,
    pub(crate) infrastructure: BTreeMap<String, Work<DynamicObject>>,
}

pub(super) fn queues(ctx: &Context) -> (Queues, Works) {
    let (machines, machine_work) = Queue::new();
    let (machine_sets, machine_set_work) = Queue::new();
    let (machine_deployments, machine_deployment_work) = Queue::new();
    let (machine_health_checks, machine_health_check_work) = Queue::new();
    let (clusters, cluster_work) = Queue::new();
    let (configs, config_work) = Queue::new();
    let (providers, provider_work) = Queue::new();
    let (docker_providers, docker_provider_work) = Queue::new();
    let mut infrastructure = BTreeMap::new();
    let mut infrastructure_work = BTreeMap::new();
    for kind in ctx.actuators.keys() {
        let (queue, work) = Queue::new();
        infrastructure.insert(kind.clone(), queue);
        infrastructure_work.insert(kind.clone(), work);
    }
    let queues = Queues {
        machines,
        machine_sets,
        machine_deployments,
        machine_health_checks,
        clusters,
        configs,
        providers,
        docker_providers,
        infrastructure,
    };
    let works = Works {
        machines: machine_work,
        machine_sets: machine_set_work,
        machine_deployments: machine_deployment_work,
        machine_health_checks: machine_health_check_work,
        clusters: cluster_work,
        configs: config_work,
        providers: provider_work,
        docker_providers: docker_provider_work,
        infrastructure: infrastructure_work,
    };
    (queues, works)
}
