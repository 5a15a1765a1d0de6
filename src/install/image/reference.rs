//! Names of images, as Docker, containerd and kubelets read them (distribution/reference: grammar and familiar names). Pure.

use std::{fmt, str::FromStr};

/// Registry of names that name none.
const REGISTRY: &str = "docker.io";
/// Another name of it.
const OLD_REGISTRY: &str = "index.docker.io";
/// Folder of its names without a slash.
const LIBRARY: &str = "library";
/// What a name without a tag means.
const LATEST: &str = "latest";
/// Longest name without tag and digest, in bytes (distribution/reference: `NameTotalLengthMax`).
const MAX_NAME: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG: usize = 128;

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// The part before the tag is too long.
    #[error("it is longer than {MAX_NAME} characters without its tag")]
    TooLong,
    /// The registry is no host with or without a port.
    #[error("\"{0}\" is no host of a registry: write HOST or HOST:PORT")]
    Host(String),
    /// A part between slashes has capital letters.
    #[error("\"{0}\" has capital letters: only tags may have them")]
    Capital(String),
    /// A part between slashes is not as it may be.
    #[error(
        "\"{0}\" is no part of a name: small letters and digits, with one \".\", one or two \"_\" or any number of \"-\" between them"
    )]
    Part(String),
    /// The tag is not as it may be.
    #[error(
        "\"{0}\" is no tag: at most {MAX_TAG} letters, digits, \"_\", \".\" and \"-\", and neither of the last two first"
    )]
    Tag(String),
    /// The digest is not as it may be.
    #[error("\"{0}\" is no digest: write sha256: and 64 digits of 0-9a-f")]
    Digest(String),
    /// It would be taken for the id of an image.
    #[error("64 digits of 0-9a-f are the id of an image and no name")]
    Id,
}

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host of the registry, with its port.
    host: String,
    /// What it is called there.
    path: String,
    /// Its tag, if it has one.
    tag: Option<String>,
    /// Its digest, if it has one.
    digest: Option<String>,
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err(InvalidReference::Id);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].split_once(':') {
            Some((last, tag)) => (&rest[..slash + last.len()], Some(checked_tag(tag)?)),
            None => (rest, None),
        };
        let (host, path) = split_host(name)?;
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(InvalidReference::TooLong);
        }
        for part in path.split('/') {
            check_part(part)?;
        }
        Ok(Self {
            host: host.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

impl Reference {
    /// The tag; `latest` if none was given.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(LATEST)
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

/// The name in full: with its registry and a tag, as containerd and kubelets spell it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            path,
            tag,
            digest,
        } = self;
        write!(f, "{host}/{path}")?;
        match (tag, digest) {
            (Some(tag), _) => write!(f, ":{tag}")?,
            (None, None) => write!(f, ":{LATEST}")?,
            (None, Some(_)) => {}
        }
        digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Tells the registry from what something is called there (Docker: familiar names).
fn split_host(name: &str) -> Result<(&str, String), InvalidReference> {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host_like(first) => {
            check_host(first)?;
            (first, rest)
        }
        _ => (REGISTRY, name),
    };
    if host != REGISTRY && host != OLD_REGISTRY {
        return Ok((host, path.to_owned()));
    }
    let path = if path.contains('/') {
        path.to_owned()
    } else {
        format!("{LIBRARY}/{path}")
    };
    Ok((REGISTRY, path))
}

/// Whether the part before the first slash is a host and no part of a name.
fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_host(host: &str) -> Result<(), InvalidReference> {
    let wrong = || InvalidReference::Host(host.to_owned());
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            match rest.strip_prefix(':') {
                Some(port) => ("localhost", Some(port)),
                None if rest.is_empty() => ("localhost", None),
                None => return Err(wrong()),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let good = name.split('.').all(is_label)
        && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if good { Ok(()) } else { Err(wrong()) }
}

fn check_part(part: &str) -> Result<(), InvalidReference> {
    if part.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidReference::Capital(part.to_owned()));
    }
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    // What stands between words; before the first and behind the last stands nothing.
    let between = |gap: &[u8]| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-');
    let bytes = part.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let good = ends.iter().all(|end| end.is_some_and(is_word)) && bytes.split(is_word).all(between);
    if good {
        Ok(())
    } else {
        Err(InvalidReference::Part(part.to_owned()))
    }
}

fn checked_tag(tag: &str) -> Result<&str, InvalidReference> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
    if good {
        Ok(tag)
    } else {
        Err(InvalidReference::Tag(tag.to_owned()))
    }
}

fn checked_digest(digest: &str) -> Result<&str, InvalidReference> {
    let sum = digest.strip_prefix("sha256:");
    if sum.is_some_and(|sum| sum.len() == 64 && sum.bytes().all(is_hex)) {
        Ok(digest)
    } else {
        Err(InvalidReference::Digest(digest.to_owned()))
    }
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reference, InvalidReference> {
        text.parse()
    }

    #[test]
    fn names_are_spelled_as_kubelets_do() {
        for (name, full, tag) in [
            ("machinectl:v1", "docker.io/library/machinectl:v1", "v1"),
            ("machinectl", "docker.io/library/machinectl:latest", "latest"),
            ("me/machinectl:v1", "docker.io/me/machinectl:v1", "v1"),
            ("docker.io/a", "docker.io/library/a:latest", "latest"),
            ("index.docker.io/a/b:V_1.x-2", "docker.io/a/b:V_1.x-2", "V_1.x-2"),
            ("localhost/m:v1", "localhost/m:v1", "v1"),
            ("host:5000/m", "host:5000/m:latest", "latest"),
            ("[::1]:5000/a/b/c:x", "[::1]:5000/a/b/c:x", "x"),
            ("Host/a", "Host/a:latest", "latest"),
            ("x/a__b.c--d_e:1", "docker.io/x/a__b.c--d_e:1", "1"),
        ] {
            let read = read(name).unwrap();
            assert_eq!((read.to_string().as_str(), read.tag()), (full, tag));
        }
        let digest = format!("sha256:{}", "0a".repeat(32));
        let pinned = read(&format!("a@{digest}")).unwrap();
        assert_eq!(pinned.digest(), Some(digest.as_str()));
        assert_eq!(pinned.to_string(), format!("docker.io/library/a@{digest}"));
    }

    #[test]
    fn what_names_no_image_says_which_part_is_wrong() {
        use InvalidReference::{Capital, Digest, Empty, Host, Id, Part, Tag, TooLong};
        let text = str::to_owned;
        for (name, why) in [
            ("", Empty),
            ("Upper", Capital(text("Upper"))),
            ("a/B", Capital(text("B"))),
            ("a//b", Part(text(""))),
            ("/a", Part(text(""))),
            ("a/", Part(text(""))),
            ("-a", Part(text("-a"))),
            ("a..b", Part(text("a..b"))),
            ("a._b", Part(text("a._b"))),
            ("a___b", Part(text("a___b"))),
            ("a b", Part(text("a b"))),
            ("ä", Part(text("ä"))),
            ("a:", Tag(text(""))),
            ("a:.x", Tag(text(".x"))),
            ("a:ä", Tag(text("ä"))),
            ("a:b:c", Tag(text("b:c"))),
            ("-x.y/a", Host(text("-x.y"))),
            ("h:x/a", Host(text("h:x"))),
            ("[::x]/a", Host(text("[::x]"))),
            ("[::1]x/a", Host(text("[::1]x"))),
            ("a@sha256:12", Digest(text("sha256:12"))),
        ] {
            assert_eq!(read(name), Err(why), "{name}");
        }
        assert_eq!(read(&"0".repeat(64)), Err(Id));
        assert_eq!(read(&"a".repeat(256)), Err(TooLong));
        let tag = "t".repeat(129);
        assert_eq!(read(&format!("a:{tag}")), Err(Tag(tag)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_and_a_full_name_stays_as_it_is(text in "[a-zA-Z0-9:@/._\\[\\] -]{0,40}") {
            if let Ok(reference) = read(&text) {
                let full = reference.to_string();
                proptest::prop_assert_eq!(read(&full).map(|r| r.to_string()), Ok(full));
            }
        }
    }
}
