//! Machines that are containers on a Docker host. It knows nothing of Kubernetes but what it is given.

pub mod cloud_config;
pub mod script;
