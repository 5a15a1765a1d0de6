//! Versions: of Kubernetes, and of kubeadm's configuration for it.

use std::{fmt, str::FromStr};

use crate::bootstrap::BootstrapError;

/// A Kubernetes version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesVersion {
    /// 1.
    pub major: u64,
    /// Minor version, for example 33.
    pub minor: u64,
    text: String,
}

impl FromStr for KubernetesVersion {
    type Err = BootstrapError;

    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        let fail = |reason: &str| BootstrapError::Version {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let bare = text.trim();
        let bare = bare.strip_prefix('v').unwrap_or(bare);
        let version =
            semver::Version::parse(bare).map_err(|_| fail("want major.minor.patch, for example v1.33.1"))?;
        if (version.major, version.minor) < (1, 15) {
            return Err(fail("older than v1.15, the first that is supported"));
        }
        Ok(Self {
            major: version.major,
            minor: version.minor,
            text: format!("v{version}"),
        })
    }
}

impl fmt::Display for KubernetesVersion {
    /// With a leading v.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl KubernetesVersion {
    /// Says whether the version is that minor version of Kubernetes 1 or a later one.
    pub fn at_least(&self, minor: u64) -> bool {
        self.major > 1 || self.minor >= minor
    }

    /// Returns the newest API version of kubeadm's configuration that this version of kubeadm reads.
    pub fn kubeadm_api(&self) -> ApiVersion {
        if self.at_least(31) {
            ApiVersion::V1Beta4
        } else if self.at_least(22) {
            ApiVersion::V1Beta3
        } else {
            ApiVersion::V1Beta2
        }
    }

    /// Returns containerd's socket in the form that this version wants.
    pub fn containerd_socket(&self) -> &'static str {
        if self.at_least(22) {
            "unix:///run/containerd/containerd.sock"
        } else {
            "/run/containerd/containerd.sock"
        }
    }

    /// Returns the keys of the taints that kubeadm gives a control plane.
    pub fn control_plane_taints(&self) -> &'static [&'static str] {
        match self {
            v if v.at_least(25) => &["node-role.kubernetes.io/control-plane"],
            v if v.at_least(24) => &[
                "node-role.kubernetes.io/control-plane",
                "node-role.kubernetes.io/master",
            ],
            _ => &["node-role.kubernetes.io/master"],
        }
    }
}

/// API version of kubeadm's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiVersion {
    /// Kubernetes 1.13 and 1.14; read only.
    V1Beta1,
    /// Kubernetes 1.15 to 1.21.
    V1Beta2,
    /// Kubernetes 1.22 to 1.30.
    V1Beta3,
    /// Kubernetes 1.31 and later.
    V1Beta4,
}

impl ApiVersion {
    /// Reads the `apiVersion` of a document. `None` if it is none of kubeadm's, or one that nobody reads.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("kubeadm.k8s.io/")? {
            "v1beta1" => Some(Self::V1Beta1),
            "v1beta2" => Some(Self::V1Beta2),
            "v1beta3" => Some(Self::V1Beta3),
            "v1beta4" => Some(Self::V1Beta4),
            _ => None,
        }
    }

    /// Returns the `apiVersion` of a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "kubeadm.k8s.io/v1beta1",
            Self::V1Beta2 => "kubeadm.k8s.io/v1beta2",
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}
