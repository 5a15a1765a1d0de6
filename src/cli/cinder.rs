//! `-c`: a `ClusterConfiguration` of cinder becomes a request. What it means stands in `bootstrap::cinder`.

use std::{fs, io::Read, path::PathBuf};

use super::{context::App, error::located};
use crate::{
    bootstrap::cinder::{self, CinderError, ClusterConfiguration, HostFiles},
    cluster::request::{ClusterRequest, Registry},
    error::{CommandError, ErrorKind},
};

/// A configuration with the files of this host that it names.
pub(crate) struct Cinder {
    name: String,
    configuration: ClusterConfiguration,
    host_files: HostFiles,
}

/// Reads a configuration file, or standard input for `-`.
pub(crate) fn read(app: &App, file: &str) -> Result<Cinder, CommandError> {
    let unreadable = |what: &str, source: std::io::Error| {
        CommandError::new(ErrorKind::Usage, format!("can't read {what}")).caused_by(source)
    };
    let (name, text) = if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| unreadable("standard input", e))?;
        ("standard input".to_owned(), text)
    } else {
        (
            file.to_owned(),
            fs::read_to_string(file).map_err(|e| unreadable(file, e))?,
        )
    };
    let cinder::Parsed {
        configuration,
        warnings,
    } = cinder::parse(&text).map_err(|e| wrong(&name, e))?;
    for warning in warnings {
        app.ui.warn(&format!("{name}: {warning}"));
    }
    let mut host_files = HostFiles::new();
    for path in configuration.host_files() {
        let content = fs::read(path).map_err(|e| unreadable(&format!("{path}, which {name} names"), e))?;
        host_files.insert(path.to_owned(), content);
    }
    Ok(Cinder {
        name,
        configuration,
        host_files,
    })
}

fn wrong(file: &str, error: CinderError) -> CommandError {
    match error {
        CinderError::Yaml { source } => located(file, &source),
        CinderError::Kind { .. } => CommandError::new(ErrorKind::Usage, format!("{file}: {error}"))
            .hinted("objects of other kinds go with: machinectl apply -f FILE"),
        error => CommandError::new(ErrorKind::Usage, format!("{file}: {error}")),
    }
}

/// Puts a configuration, or what holds without one, into a request.
pub(crate) fn fill(cinder: Option<&Cinder>, request: &mut ClusterRequest) -> Result<(), CommandError> {
    let nothing = Cinder {
        name: String::new(),
        configuration: ClusterConfiguration::default(),
        host_files: HostFiles::new(),
    };
    let Cinder {
        name,
        configuration,
        host_files,
    } = cinder.unwrap_or(&nothing);
    let cluster = request.name.clone();
    request.control_plane = configuration
        .control_plane(&cluster, host_files)
        .map_err(|e| wrong(name, e))?;
    request.worker = configuration
        .worker(&cluster, host_files)
        .map_err(|e| wrong(name, e))?;
    request.mounts = configuration.mounts();
    for mount in &mut request.mounts {
        let path = PathBuf::from(&mount.host_path);
        if path.is_relative() {
            let absolute = std::path::absolute(&path).map_err(|source| {
                CommandError::new(ErrorKind::Usage, format!("can't find {}", path.display()))
                    .caused_by(source)
            })?;
            mount.host_path = absolute.display().to_string();
        }
    }
    request.ports = configuration.port_mappings();
    let subnet = configuration
        .control_plane_configuration
        .as_ref()
        .and_then(|c| c["podSubnet"].as_str());
    request.pod_subnet = Some(subnet.unwrap_or(crate::cluster::POD_SUBNET).to_owned());
    request.machine_api = configuration.gates.machine_api;
    request.registry = configuration.local_registry().map(|r| Registry {
        name: r.name,
        port: r.port,
    });
    Ok(())
}
