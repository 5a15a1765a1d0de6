//! An image of this program, for clusters that no registry serves: an archive that `docker load`, `ctr images import` and registry tools
//! read. The same program gives the same bytes. It reads no file and asks nobody.
//!
//! | file | what it holds |
//! |---|---|
//! | [`reference`](mod@reference) | names of images |
//! | [`archive`] | what is in an archive of images |
//! | `elf` | what a program says of itself |

pub mod archive;
mod elf;
pub mod reference;

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::reference::Reference;

/// How to come by a program that can be put into an image.
pub const HOW_TO_BUILD: &str = "build one that brings all along: cargo rustc --release --bin machinectl -- -C target-feature=+crt-static (it takes a static C library: libc6-dev, or glibc-static)";

/// Where the program lies in the image.
const PROGRAM: &str = "machinectl";
/// User and group that it runs as: nobody's, as in distroless images.
const USER: &str = "65532:65532";
/// No clock has a say in the bytes.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Why a program can't be put into an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is no Linux program.
    #[error("it is no program for Linux (no ELF file of 64 bits)")]
    NotElf,
    /// It is for a processor that images have no name for here.
    #[error("it is for a processor that is not known here (ELF machine {0})")]
    Machine(u16),
    /// It would not start in an image that holds nothing else.
    #[error("it is linked to libraries of this system, which the image does not have")]
    Dynamic,
    /// Something that it speaks of is not there.
    #[error("a part of it is missing")]
    Cut,
    /// Writing to memory failed.
    #[error("the archive can't be made")]
    Archive(#[from] io::Error),
}

/// How the program lies in the archive. The id of the image is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Compressed: to be stored or sent far.
    Gzip,
    /// As it is: to be read once, and soon.
    Plain,
}

/// An image in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id: the digest of its configuration, as `docker images` and `crictl images` show it.
    pub id: String,
    /// The digest of its manifest, by which container runtimes know it.
    pub manifest: String,
    /// The archive: an OCI image layout that `docker load` reads, too.
    pub archive: Vec<u8>,
}

/// Puts a program into an image that is called `name`; what only debuggers read of it is left out.
///
/// # Errors
/// The program would not run in an image that holds nothing else.
pub fn image(program: &[u8], name: &Reference, packing: Packing) -> Result<Image, ImageError> {
    let architecture = elf::architecture(program)?;
    let layer = layer(&elf::without_symbols(program)?)?;
    let layer_digest = digest(&layer);
    let (packed, media_type) = match packing {
        Packing::Plain => (layer, "application/vnd.oci.image.layer.v1.tar"),
        Packing::Gzip => (gzip(&layer)?, "application/vnd.oci.image.layer.v1.tar+gzip"),
    };
    let config = bytes(&json!({
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {
            "User": USER,
            "Entrypoint": [format!("/{PROGRAM}")],
            "Cmd": ["run"],
            "Env": ["PATH=/"],
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created": CREATED, "created_by": PROGRAM }],
    }));
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor(media_type, &packed)],
    }));
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({
        "io.containerd.image.name": name.to_string(),
        "org.opencontainers.image.ref.name": name.tag(),
    });
    entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    // Docker before 25 reads only this one.
    let docker =
        json!([{ "Config": blob(&config), "RepoTags": [name.to_string()], "Layers": [blob(&packed)] }]);
    let mut archive = tar::Builder::new(Vec::new());
    for folder in ["blobs/", "blobs/sha256/"] {
        add_folder(&mut archive, folder, 0o755)?;
    }
    for content in [&config, &manifest, &packed] {
        add(&mut archive, &blob(content), 0o644, content)?;
    }
    add(&mut archive, "index.json", 0o644, &bytes(&index))?;
    add(&mut archive, "manifest.json", 0o644, &bytes(&docker))?;
    let layout = bytes(&json!({ "imageLayoutVersion": "1.0.0" }));
    add(&mut archive, "oci-layout", 0o644, &layout)?;
    Ok(Image {
        id: digest(&config),
        manifest: digest(&manifest),
        archive: archive.into_inner()?,
    })
}

/// The files of the image.
fn layer(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, PROGRAM, 0o755, program)?;
    add_folder(&mut layer, "tmp/", 0o1777)?;
    layer.into_inner()
}

fn gzip(layer: &[u8]) -> io::Result<Vec<u8>> {
    // No name and no time stand in the head.
    let mut writer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    writer.write_all(layer)?;
    writer.finish()
}

fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = header(mode, content.len());
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, content)
}

fn add_folder(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) -> io::Result<()> {
    let mut header = header(mode, 0);
    header.set_entry_type(tar::EntryType::Directory);
    archive.append_data(&mut header, path, io::empty())
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn hex(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        // Writing to a text does not fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(content))
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    /// A program with these segments, each of which is the head of the file, and symbols behind them.
    fn elf(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18..20].copy_from_slice(&machine.to_le_bytes());
        program[32..40].copy_from_slice(&64_u64.to_le_bytes());
        program[40..48].copy_from_slice(&9_u64.to_le_bytes());
        program[54..56].copy_from_slice(&56_u16.to_le_bytes());
        program[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        let end = 64 + 56 * segments.len() as u64;
        for kind in segments {
            program.extend(kind.to_le_bytes());
            program.extend([0; 28]);
            program.extend(end.to_le_bytes());
            program.extend([0; 16]);
        }
        program.extend(b"symbols");
        program
    }

    fn name() -> Reference {
        "machinectl:v1".parse().unwrap()
    }

    fn made(program: &[u8], packing: Packing) -> Result<Image, ImageError> {
        image(program, &name(), packing)
    }

    fn files(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let read = |mut entry: tar::Entry<'_, &[u8]>| {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, (entry.header().mode().unwrap(), content))
        };
        archive.entries().unwrap().map(|e| read(e.unwrap())).collect()
    }

    #[test]
    fn the_archive_holds_what_its_parts_point_at() {
        let program = elf(62, &[1, 1]);
        let image = made(&program, Packing::Gzip).unwrap();
        let files = files(&image.archive);
        let object = |path: &str| -> Value { serde_json::from_slice(&files[path].1).unwrap() };
        let at = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
        for (path, (_, content)) in files
            .iter()
            .filter(|(p, _)| p.starts_with("blobs/sha256/") && p.len() > 13)
        {
            assert_eq!(*path, blob(content));
        }
        let entry = &object("index.json")["manifests"][0];
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "docker.io/library/machinectl:v1"
        );
        assert_eq!(entry["digest"], image.manifest.as_str());
        let manifest = object(&at(&entry["digest"]));
        assert_eq!(manifest["config"]["digest"], image.id.as_str());
        let config = object(&at(&manifest["config"]["digest"]));
        assert_eq!(
            (&config["architecture"], &config["config"]["User"]),
            (&json!("amd64"), &json!(USER))
        );
        let packed = &files[&at(&manifest["layers"][0]["digest"])].1;
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let inside = self::files(&layer);
        let mut loaded = program[..program.len() - b"symbols".len()].to_vec();
        loaded[40..48].fill(0);
        assert_eq!(inside["machinectl"], (0o755, loaded));
        assert_eq!(inside["tmp/"].0, 0o1777);
        let docker = &object("manifest.json")[0];
        assert_eq!(docker["RepoTags"], json!(["docker.io/library/machinectl:v1"]));
        assert_eq!(docker["Layers"], json!([at(&manifest["layers"][0]["digest"])]));
        assert_eq!(docker["Config"], json!(at(&manifest["config"]["digest"])));
    }

    #[test]
    fn the_same_program_gives_the_same_bytes_and_in_every_packing_the_same_id() {
        let program = elf(183, &[1]);
        let packed = made(&program, Packing::Gzip).unwrap();
        assert_eq!(packed, made(&program, Packing::Gzip).unwrap());
        let plain = made(&program, Packing::Plain).unwrap();
        assert_eq!(packed.id, plain.id);
        assert_ne!(packed.manifest, plain.manifest);
    }

    #[test]
    fn what_would_not_run_there_is_refused() {
        let refused = |program: &[u8]| made(program, Packing::Plain).unwrap_err();
        assert!(matches!(refused(b"#!/bin/sh"), ImageError::NotElf));
        assert!(matches!(refused(b"\x7fELF\x02\x01"), ImageError::Cut));
        assert!(matches!(refused(&elf(8, &[1])), ImageError::Machine(8)));
        assert!(matches!(refused(&elf(62, &[6, 3, 1])), ImageError::Dynamic));
        let whole = elf(62, &[1, 1]);
        for length in 0..whole.len() - b"symbols".len() {
            assert!(made(&whole[..length], Packing::Plain).is_err(), "{length} bytes");
        }
        // Places that no file has.
        for at in [32, 56, 64 + 8, 64 + 32] {
            let mut odd = elf(62, &[1]);
            odd[at..at + 8].fill(0xff);
            assert!(made(&odd, Packing::Plain).is_err(), "{at}");
        }
    }
}
