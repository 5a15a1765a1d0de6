//! The kinds of `machine.crit.sh/v1alpha1` and `infrastructure.crit.sh/v1alpha1`, one file each. Types only.
//!
//! The doc comments become the descriptions that `kubectl explain` shows.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "kube's derive writes an inner module that uses the specs, and takes a list of columns"
)]

mod aws;
mod cluster;
mod config;
mod docker;
mod hollow;
mod infrastructure_provider;
mod machine;
mod machine_deployment;
mod machine_health_check;
mod machine_set;

pub use aws::*;
pub use cluster::*;
pub use config::*;
pub use docker::*;
pub use hollow::*;
pub use infrastructure_provider::*;
pub use machine::*;
pub use machine_deployment::*;
pub use machine_health_check::*;
pub use machine_set::*;
