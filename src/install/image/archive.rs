//! What is in an archive of images: those that `docker save` writes, and OCI image layouts, compressed with gzip or not.
//! It reads what it is given and asks nobody.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::reference::Reference;

/// Largest list of images that is read, in bytes.
const MAX_LIST: u64 = 16 * 1024 * 1024;
/// The list of Docker, and those of OCI image layouts.
const DOCKER: &str = "manifest.json";
const OCI: &str = "index.json";

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It can't be read.
    #[error("it can't be read")]
    Read(#[from] io::Error),
    /// It is no archive.
    #[error("it is no tar archive")]
    NotAnArchive,
    /// It is compressed by something else than gzip.
    #[error("it is compressed with {0}, which is not read here")]
    Compressed(&'static str),
    /// It is an archive of something else.
    #[error("it is an archive, but of no image: it has neither {DOCKER} nor {OCI}")]
    NoImage,
    /// Its list of images is broken.
    #[error("its {0} is broken")]
    List(&'static str, #[source] serde_json::Error),
    /// Nothing in it has a name, so nobody could run it.
    #[error("the images in it have no names")]
    Nameless,
}

/// An image in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name in full, as kubelets spell it.
    pub name: String,
    /// What it is known by, where it was loaded: the digest of its manifest or of its configuration.
    pub digests: Vec<String>,
}

/// Lists the images in an archive that have names.
///
/// # Errors
/// It is no archive of images, or none of them has a name.
pub fn list(archive: impl Read + Seek + Send + 'static) -> Result<Vec<Named>, ArchiveError> {
    let mut archive = tar::Archive::new(unpacked(archive)?);
    let mut lists = BTreeMap::new();
    let mut is_archive = false;
    // The head of each part has a check sum: what has none that fits is something else.
    for entry in archive.entries()? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_archive => return Err(error.into()),
            Err(error)
                if error.kind() == io::ErrorKind::Other || error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                return Err(ArchiveError::NotAnArchive);
            }
            Err(error) => return Err(error.into()),
        };
        is_archive = true;
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let Some(list) = [DOCKER, OCI].into_iter().find(|list| path == list.as_bytes()) else {
            continue;
        };
        let mut content = Vec::new();
        entry.take(MAX_LIST).read_to_end(&mut content)?;
        lists.insert(list, content);
    }
    if !is_archive {
        return Err(ArchiveError::NotAnArchive);
    }
    named(&lists)
}

/// What an archive holds, without compression, from its beginning.
///
/// # Errors
/// It can't be read, or is compressed by something else than gzip.
pub fn unpacked(
    mut archive: impl Read + Seek + Send + 'static,
) -> Result<Box<dyn Read + Send>, ArchiveError> {
    let mut begin = Vec::new();
    archive.by_ref().take(6).read_to_end(&mut begin)?;
    archive.seek(SeekFrom::Start(0))?;
    match begin.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(archive))),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(ArchiveError::Compressed("xz")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(ArchiveError::Compressed("zstd")),
        [b'B', b'Z', b'h', ..] => Err(ArchiveError::Compressed("bzip2")),
        _ => Ok(Box::new(archive)),
    }
}

/// An entry of Docker's list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// The list of an OCI image layout.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

fn named(lists: &BTreeMap<&'static str, Vec<u8>>) -> Result<Vec<Named>, ArchiveError> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |name: &str, digest: String| {
        if let Ok(name) = name.parse::<Reference>() {
            found.entry(name.to_string()).or_default().push(digest);
        }
    };
    if lists.is_empty() {
        return Err(ArchiveError::NoImage);
    }
    if let Some(list) = lists.get(OCI) {
        let index: Index = serde_json::from_slice(list).map_err(|e| ArchiveError::List(OCI, e))?;
        for Descriptor { digest, annotations } in index.manifests {
            if let Some(name) = annotations.as_ref().and_then(name_of) {
                add(name, digest);
            }
        }
    }
    if let Some(list) = lists.get(DOCKER) {
        let images: Vec<DockerImage> =
            serde_json::from_slice(list).map_err(|e| ArchiveError::List(DOCKER, e))?;
        for DockerImage { config, repo_tags } in images {
            let digest = config_digest(&config);
            for name in repo_tags.into_iter().flatten() {
                add(&name, digest.clone());
            }
        }
    }
    if found.is_empty() {
        return Err(ArchiveError::Nameless);
    }
    Ok(found
        .into_iter()
        .map(|(name, digests)| Named { name, digests })
        .collect())
}

/// The name that containerd will give an image of an OCI layout. A tag alone is none (containerd: `archive.AddRefPrefix`).
fn name_of(annotations: &BTreeMap<String, String>) -> Option<&str> {
    let full = annotations.get("io.containerd.image.name");
    let other = || {
        let name = annotations.get("org.opencontainers.image.ref.name")?;
        name.contains(['/', ':', '@']).then_some(name)
    };
    full.or_else(other).map(String::as_str)
}

/// The digest of a configuration, from the name of its file: `blobs/sha256/0a…` or `0a….json`.
fn config_digest(file: &str) -> String {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    format!("sha256:{}", name.strip_suffix(".json").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn read(archive: &[u8]) -> Result<Vec<Named>, ArchiveError> {
        list(Cursor::new(archive.to_vec()))
    }

    fn image(name: &str, digests: &[&str]) -> Named {
        Named {
            name: name.to_owned(),
            digests: digests.iter().map(|d| format!("sha256:{d}")).collect(),
        }
    }

    const DOCKER_LIST: &str = r#"[{"Config":"ab.json","RepoTags":["a:1","h:5000/b"]},{"Config":"blobs/sha256/cd","RepoTags":null}]"#;

    #[test]
    fn archives_of_docker_are_read_packed_or_not() {
        let archive = tar(&[("x/layer.tar", "…"), ("manifest.json", DOCKER_LIST)]);
        let images = [
            image("docker.io/library/a:1", &["ab"]),
            image("h:5000/b:latest", &["ab"]),
        ];
        assert_eq!(read(&archive).unwrap(), images);
        assert_eq!(read(&gzip(&archive)).unwrap(), images);
    }

    #[test]
    fn layouts_of_oci_are_read_and_what_both_lists_name_has_both_digests() {
        let index = r#"{"manifests":[
            {"digest":"sha256:ef","annotations":{"io.containerd.image.name":"docker.io/library/a:1","org.opencontainers.image.ref.name":"1"}},
            {"digest":"sha256:12","annotations":{"org.opencontainers.image.ref.name":"r.io/c:2"}},
            {"digest":"sha256:34","annotations":{"org.opencontainers.image.ref.name":"latest"}},
            {"digest":"sha256:56"}]}"#;
        assert_eq!(
            read(&tar(&[("./index.json", index), ("manifest.json", DOCKER_LIST)])).unwrap(),
            [
                image("docker.io/library/a:1", &["ef", "ab"]),
                image("h:5000/b:latest", &["ab"]),
                image("r.io/c:2", &["12"]),
            ]
        );
        let nameless = tar(&[("index.json", r#"{"manifests":[{"digest":"sha256:56"}]}"#)]);
        assert!(matches!(read(&nameless), Err(ArchiveError::Nameless)));
    }

    #[test]
    fn the_image_of_a_program_is_read_back() {
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18] = 62;
        let name: Reference = "machinectl:v1".parse().unwrap();
        let made = super::super::image(&program, &name, super::super::Packing::Plain);
        // A program without a segment is an empty file, which its head does not fit into.
        assert!(made.is_err());
        program[54] = 56;
        program[56] = 1;
        program[32] = 64;
        program.extend([1, 0, 0, 0]);
        program.extend([0; 28]);
        program.extend(120_u64.to_le_bytes());
        program.extend([0; 16]);
        let made = super::super::image(&program, &name, super::super::Packing::Plain).unwrap();
        let read = read(&made.archive).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].name, "docker.io/library/machinectl:v1");
        assert_eq!(read[0].digests, [made.manifest, made.id]);
    }

    #[test]
    fn what_is_no_archive_of_images_says_what_it_is() {
        assert!(matches!(read(b""), Err(ArchiveError::NotAnArchive)));
        assert!(matches!(read(b"hello"), Err(ArchiveError::NotAnArchive)));
        assert!(matches!(read(&[7; 4096]), Err(ArchiveError::NotAnArchive)));
        assert!(matches!(read(&tar(&[("a", "b")])), Err(ArchiveError::NoImage)));
        assert!(matches!(
            read(&tar(&[("manifest.json", "{")])),
            Err(ArchiveError::List(DOCKER, _))
        ));
        assert!(matches!(
            read(b"\xfd7zXZ\0..."),
            Err(ArchiveError::Compressed("xz"))
        ));
        assert!(matches!(
            read(b"\x28\xb5\x2f\xfd..."),
            Err(ArchiveError::Compressed("zstd"))
        ));
        let packed = gzip(&tar(&[("x", &"y".repeat(4000)), ("manifest.json", DOCKER_LIST)]));
        assert!(read(&packed[..packed.len() / 2]).is_err());
    }
}
