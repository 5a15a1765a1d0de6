//! The document in a Config's own Secret: a cloud-config for machines that nobody joins by hand, in a MIME wrapper.
//! Other programs read it: its form must not change.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    BootstrapError, SecretFiles,
    cloud_config::{CloudConfig, WriteFile, fits_a_block, ntp, users},
    crit::{self, Configuration},
    document::Document,
};
use crate::{
    api::v1alpha1::{ConfigSpec, Encoding},
    pki::hex,
    yaml,
};

/// Where crit reads its configuration.
pub(crate) const CRIT_CONFIG: &str = "/var/lib/crit/config.yaml";
/// Where kubeadm's configuration lies when the Config holds one.
const KUBEADM_CONFIG: &str = "/etc/kubernetes/kubeadm.yaml";

/// Makes the document of a Config's own Secret (key `cloud-config`): cloud-config in a MIME wrapper.
///
/// # Errors
/// Says what in the Config can't be used, and why.
pub fn config_secret(spec: &ConfigSpec, secret_files: &SecretFiles) -> Result<String, BootstrapError> {
    let (config_path, config, mut command) = configuration(spec)?;
    if spec.verbosity == Some(true) {
        command.push_str(" -v");
        if config_path == KUBEADM_CONFIG {
            command.push_str("=5");
        }
    }
    let mut files = Vec::new();
    for (index, file) in spec.files.iter().enumerate() {
        files.push(written(
            &format!("files[{index}]"),
            &file.path,
            file.encoding,
            (file.owner.as_ref(), file.permissions.as_ref()),
            file.content.as_bytes(),
        )?);
    }
    files.push(WriteFile {
        path: config_path.to_owned(),
        encoding: Some("base64"),
        owner: Some("root:root".to_owned()),
        permissions: Some("0640".to_owned()),
        content: STANDARD.encode(config),
    });
    for (index, file) in spec.secrets.iter().enumerate() {
        let field = format!("secrets[{index}]");
        let key = (file.data_secret_name.clone(), file.secret_key_name.clone());
        let content = secret_files
            .get(&key)
            .ok_or_else(|| BootstrapError::MissingSecret {
                field: field.clone(),
                path: file.path.clone(),
                secret: key.0.clone(),
                key: key.1.clone(),
            })?;
        files.push(written(
            &field,
            &file.path,
            file.encoding,
            (file.owner.as_ref(), file.permissions.as_ref()),
            content,
        )?);
    }
    let document = CloudConfig {
        jinja: true,
        files,
        pre_commands: spec.pre_crit_commands.clone(),
        command,
        post_commands: spec.post_crit_commands.clone(),
        ntp: ntp(spec.ntp.as_ref()),
        users: users(&spec.users),
    };
    Ok(mime(&document.to_text()?))
}

/// Returns path and text of the configuration, and the command that uses it.
fn configuration(spec: &ConfigSpec) -> Result<(&'static str, String, String), BootstrapError> {
    let fail = |source| BootstrapError::Yaml { source };
    match Document::parse(&spec.config)? {
        Document::None => Err(BootstrapError::NoConfig),
        Document::Crit(parsed) => {
            let text = match parsed.configuration {
                Configuration::Worker(mut worker) => {
                    crit::set_worker_defaults(&mut worker);
                    yaml::to_string(&worker)
                }
                Configuration::ControlPlane(mut control_plane) => {
                    crit::set_control_plane_defaults(&mut control_plane);
                    yaml::to_string(&control_plane)
                }
            }
            .map_err(fail)?;
            Ok((CRIT_CONFIG, text, format!("crit up --config {CRIT_CONFIG}")))
        }
        Document::Kubeadm(documents) => {
            let verb = if documents.join.is_some() { "join" } else { "init" };
            Ok((
                KUBEADM_CONFIG,
                documents.as_given().map_err(fail)?,
                format!("kubeadm {verb} --config {KUBEADM_CONFIG}"),
            ))
        }
    }
}

/// Takes a file over as it is. Only bytes that no text can hold are encoded here, and said to be.
fn written(
    field: &str,
    path: &str,
    encoding: Option<Encoding>,
    (owner, permissions): (Option<&String>, Option<&String>),
    content: &[u8],
) -> Result<WriteFile, BootstrapError> {
    let stated = encoding.map(|e| match e {
        Encoding::Base64 => "base64",
        Encoding::Gzip => "gzip",
        Encoding::GzipBase64 => "gzip+base64",
    });
    let (encoding, content) = match (std::str::from_utf8(content), encoding) {
        (Ok(text), _) if fits_a_block(text) => (stated, text.to_owned()),
        (_, None) => (Some("base64"), STANDARD.encode(content)),
        (_, Some(Encoding::Gzip)) => (Some("gzip+base64"), STANDARD.encode(content)),
        (Ok(text), Some(_)) => (stated, text.trim().to_owned()),
        (Err(_), Some(_)) => {
            return Err(BootstrapError::File {
                field: field.to_owned(),
                path: path.to_owned(),
                reason: "content is no base64".to_owned(),
            });
        }
    };
    let filled = |text: Option<&String>| text.filter(|t| !t.is_empty()).cloned();
    let permissions = filled(permissions);
    if let Some(text) = &permissions
        && !text.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return Err(BootstrapError::File {
            field: field.to_owned(),
            path: path.to_owned(),
            reason: format!("permissions \"{text}\" are no octal number"),
        });
    }
    Ok(WriteFile {
        path: path.to_owned(),
        encoding,
        owner: filled(owner),
        permissions,
        content,
    })
}

/// Wraps a document as one part of a MIME message. The boundary follows from the content.
fn mime(document: &str) -> String {
    let boundary = &hex(&Sha256::digest(document.as_bytes()))[..60];
    format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n\
         --{boundary}\r\ncontent-type: text/cloud-config\r\n\r\n{document}\r\n--{boundary}--\r\n"
    )
}
