//! What programs of Kubernetes no longer know and end over: feature gates, flags, admission plugins of older times.
//! A configuration of 2020 must not keep a newer node from coming up.

use super::kubeadm::KubernetesVersion;

/// Feature gates and the minor version that no longer knows them. All of them had become the rule, or had been given up.
const GATES: [(&str, u64); 46] = [
    ("BlockVolume", 21),
    ("BoundServiceAccountTokenVolume", 24),
    ("CSIBlockVolume", 21),
    ("CSIMigration", 27),
    ("CSINodeInfo", 23),
    ("CSIStorageCapacity", 28),
    ("CronJobControllerV2", 24),
    ("DryRun", 28),
    ("DynamicKubeletConfig", 26),
    ("EndpointSlice", 25),
    ("EndpointSliceProxying", 25),
    ("EphemeralContainers", 27),
    ("EvenPodsSpread", 22),
    ("ExpandCSIVolumes", 27),
    ("ExpandInUsePersistentVolumes", 27),
    ("ExpandPersistentVolumes", 27),
    ("GenericEphemeralVolume", 25),
    ("HugePageStorageMediumSize", 25),
    ("HyperVContainer", 21),
    ("IPv6DualStack", 25),
    ("ImmutableEphemeralVolumes", 24),
    ("LegacyNodeRoleBehavior", 23),
    ("LocalStorageCapacityIsolation", 27),
    ("NodeDisruptionExclusion", 23),
    ("NodeLease", 24),
    ("PodDisruptionBudget", 26),
    ("PodOverhead", 26),
    ("PodShareProcessNamespace", 22),
    ("ResourceLimitsPriorityFunction", 23),
    ("RootCAConfigMap", 23),
    ("RotateKubeletClientCertificate", 22),
    ("RuntimeClass", 25),
    ("SCTPSupport", 23),
    ("ServerSideApply", 32),
    ("ServiceAccountIssuerDiscovery", 24),
    ("ServiceNodeExclusion", 23),
    ("ServiceTopology", 23),
    ("StartupProbe", 24),
    ("SupportNodePidsLimit", 24),
    ("SupportPodPidsLimit", 24),
    ("Sysctls", 23),
    ("TTLAfterFinished", 25),
    ("TaintBasedEvictions", 22),
    ("TokenRequest", 22),
    ("VolumePVCDataSource", 22),
    ("VolumeSnapshotDataSource", 23),
];

/// Flags and the minor version that no longer knows them, by program.
const FLAGS: [(&str, &str, u64); 26] = [
    ("kube-apiserver", "address", 24),
    ("kube-apiserver", "insecure-bind-address", 24),
    ("kube-apiserver", "insecure-port", 24),
    ("kube-apiserver", "kubelet-https", 24),
    ("kube-apiserver", "port", 24),
    ("kube-apiserver", "target-ram-mb", 26),
    ("kube-controller-manager", "address", 24),
    ("kube-controller-manager", "deployment-controller-sync-period", 27),
    ("kube-controller-manager", "enable-taint-manager", 27),
    (
        "kube-controller-manager",
        "experimental-cluster-signing-duration",
        25,
    ),
    ("kube-controller-manager", "pod-eviction-timeout", 27),
    ("kube-controller-manager", "port", 24),
    ("kube-scheduler", "address", 24),
    ("kube-scheduler", "port", 24),
    ("kube-scheduler", "policy-config-file", 23),
    ("kubelet", "cni-bin-dir", 24),
    ("kubelet", "cni-cache-dir", 24),
    ("kubelet", "cni-conf-dir", 24),
    ("kubelet", "container-runtime", 27),
    ("kubelet", "docker-endpoint", 24),
    ("kubelet", "dynamic-config-dir", 24),
    ("kubelet", "image-pull-progress-deadline", 24),
    ("kubelet", "network-plugin", 24),
    ("kubelet", "network-plugin-mtu", 24),
    ("kubelet", "non-masquerade-cidr", 24),
    ("kubelet", "runonce", 34),
];

/// Admission plugins and the minor version that no longer knows them.
const ADMISSION_PLUGINS: [(&str, u64); 3] = [
    ("PodPreset", 20),
    ("PodSecurityPolicy", 25),
    ("SecurityContextDeny", 30),
];

/// Says whether a version no longer knows a feature gate.
pub(crate) fn gate(version: &KubernetesVersion, name: &str) -> bool {
    GATES
        .iter()
        .any(|(gate, minor)| *gate == name && version.at_least(*minor))
}

/// Says whether a version of a program no longer knows a flag.
pub(crate) fn flag(version: &KubernetesVersion, program: &str, name: &str) -> bool {
    FLAGS
        .iter()
        .any(|(p, flag, minor)| *p == program && *flag == name && version.at_least(*minor))
}

/// Takes out of a list of admission plugins those that a version no longer knows. Returns the rest and what is gone.
pub(crate) fn admission_plugins(version: &KubernetesVersion, list: &str) -> (String, Vec<String>) {
    let gone = |name: &&str| {
        ADMISSION_PLUGINS
            .iter()
            .any(|(plugin, minor)| plugin == name && version.at_least(*minor))
    };
    let (gone, kept): (Vec<&str>, Vec<&str>) = list
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .partition(gone);
    (kept.join(","), gone.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_depends_on_the_version() {
        let v = |text: &str| text.parse::<KubernetesVersion>().unwrap();
        assert!(!gate(&v("v1.24.0"), "TTLAfterFinished"));
        assert!(gate(&v("v1.25.0"), "TTLAfterFinished"));
        assert!(flag(&v("v1.33.1"), "kubelet", "network-plugin"));
        assert!(!flag(&v("v1.33.1"), "kubelet", "node-labels"));
        assert_eq!(
            admission_plugins(&v("v1.20.2"), "NodeRestriction, PodPreset"),
            ("NodeRestriction".to_owned(), vec!["PodPreset".to_owned()])
        );
    }

    #[test]
    fn the_tables_are_sorted_or_at_least_without_doubles() {
        let mut gates: Vec<_> = GATES.iter().map(|(g, _)| g).collect();
        gates.sort();
        gates.dedup();
        assert_eq!(gates.len(), GATES.len());
    }
}
