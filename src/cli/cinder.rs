//! `-c`: a ClusterConfiguration of cinder becomes a request.

use super::context::App;
use crate::{
    cluster::request::ClusterRequest,
    error::{CommandError, ErrorKind},
};

/// A configuration.
pub(crate) struct Cinder;

/// Reads a configuration file, or standard input for `-`.
pub(crate) fn read(_: &App, file: &str) -> Result<Cinder, CommandError> {
    Err(CommandError::new(
        ErrorKind::Failed,
        format!("{file}: configuration files can't be read yet"),
    ))
}

/// Puts a configuration, or what holds without one, into a request.
pub(crate) fn fill(_: Option<&Cinder>, request: &mut ClusterRequest) -> Result<(), CommandError> {
    request.pod_subnet = Some(crate::cluster::POD_SUBNET.to_owned());
    Ok(())
}
