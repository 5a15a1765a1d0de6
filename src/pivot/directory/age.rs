//! Files that only their recipients can read, in the format of age (age-encryption.org/v1, X25519 recipients): the program `age` reads what is written
//! here, and this what `age` writes. Primitives are those of ring and of x25519-dalek; this file knows only how they are put together.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::bech32;

const VERSION: &str = "age-encryption.org/v1";
const STANZA: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Letters a line of a stanza's body.
const COLUMNS: usize = 64;
/// Bytes that are sealed at a time.
const CHUNK: usize = 64 << 10;
/// Bytes that sealing adds to a chunk.
const TAG: usize = 16;

/// Who can read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// What lets read a file. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    secret: [u8; 32],
    public: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Why a key can't be used. It shows no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is no recipient of a kind that is known.
    #[error("it is no age recipient (age1…, as age-keygen writes it)")]
    Recipient,
    /// It is the secret that lets read, where the public part is asked for.
    #[error("it is an age identity, which is secret: give the recipient that belongs to it (age-keygen -y)")]
    SecretGiven,
    /// It is no identity of a kind that is known.
    #[error("it is no age identity (AGE-SECRET-KEY-1…, as age-keygen writes it)")]
    Identity,
    /// There is none.
    #[error("there is no key in it")]
    None,
}

/// Why a file can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Sealed {
    /// It is no such file.
    #[error("it is not encrypted with age")]
    NotAge,
    /// It is for others.
    #[error("none of the identities can decrypt it")]
    WrongKey,
    /// It was changed or cut off.
    #[error("it was changed or cut off after it was encrypted")]
    Damaged,
    /// The system gives no random numbers, or a key is not one.
    #[error("it could not be encrypted")]
    Failed,
}

impl Recipient {
    /// Reads a recipient, `age1…`.
    ///
    /// # Errors
    /// Fails if it is none.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        match bech32::decode(text.trim()) {
            Some((prefix, key)) if prefix == "age" => key.try_into().map(Self).map_err(|_| BadKey::Recipient),
            Some((prefix, _)) if prefix == "age-secret-key-" => Err(BadKey::SecretGiven),
            _ => Err(BadKey::Recipient),
        }
    }

    /// Reads a file of recipients, one a line; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// Fails if there is none, or something else.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, BadKey> {
        keys(text)
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()
            .and_then(some)
    }
}

/// As age writes it: `age1…`.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode("age", &self.0))
    }
}

impl Identity {
    /// Reads an identity, `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// Fails if it is none.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let (prefix, key) = bech32::decode(text.trim()).ok_or(BadKey::Identity)?;
        let secret: [u8; 32] = key.try_into().map_err(|_| BadKey::Identity)?;
        if prefix != "age-secret-key-" {
            return Err(BadKey::Identity);
        }
        Ok(Self {
            secret,
            public: x25519(secret, X25519_BASEPOINT_BYTES),
        })
    }

    /// Reads a file of identities, one a line; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// Fails if there is none, or something else.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, BadKey> {
        keys(text)
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()
            .and_then(some)
    }

    /// Who may read what this identity reads.
    pub const fn recipient(&self) -> Recipient {
        Recipient(self.public)
    }
}

fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn some<T>(all: Vec<T>) -> Result<Vec<T>, BadKey> {
    if all.is_empty() {
        Err(BadKey::None)
    } else {
        Ok(all)
    }
}

/// Encrypts a text so that each of the recipients can read it.
///
/// # Errors
/// Fails if the system gives no random numbers or a recipient is no point of the curve.
pub fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, Sealed> {
    let file_key: [u8; 16] = random()?;
    let mut header = format!("{VERSION}\n");
    for recipient in recipients {
        let secret: [u8; 32] = random()?;
        let share = x25519(secret, X25519_BASEPOINT_BYTES);
        let key = wrapping_key(&x25519(secret, recipient.0), &share, &recipient.0).ok_or(Sealed::Failed)?;
        let mut body = file_key.to_vec();
        encrypt(&key, [0; 12], &mut body)?;
        header.extend(["-> ", STANZA, " ", &STANDARD_NO_PAD.encode(share), "\n"]);
        push_body(&mut header, &body);
    }
    header.push_str("---");
    let mac = hmac::sign(&mac_key(&file_key)?, header.as_bytes());
    let nonce: [u8; 16] = random()?;
    let mut out = format!("{header} {}\n", STANDARD_NO_PAD.encode(mac)).into_bytes();
    out.extend_from_slice(&nonce);
    let key = derive(&file_key, &nonce, b"payload").ok_or(Sealed::Failed)?;
    let count = plain.len().div_ceil(CHUNK).max(1);
    for index in 0..count {
        let end = plain.len().min((index + 1) * CHUNK);
        let mut chunk = plain[index * CHUNK..end].to_vec();
        encrypt(&key, chunk_nonce(index, index + 1 == count), &mut chunk)?;
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

/// Decrypts a text with one of the identities.
///
/// # Errors
/// Says whether it is no such text, is for others, or was changed.
pub fn open(sealed: &[u8], identities: &[Identity]) -> Result<Vec<u8>, Sealed> {
    let header = Header::parse(sealed)?;
    let file_key = identities.iter().find_map(|identity| header.file_key(identity));
    let file_key = file_key.ok_or(Sealed::WrongKey)?;
    hmac::verify(&mac_key(&file_key)?, header.signed, &header.mac).map_err(|_| Sealed::Damaged)?;
    let (nonce, mut rest) = header.payload.split_at_checked(16).ok_or(Sealed::Damaged)?;
    let key = derive(&file_key, nonce, b"payload").ok_or(Sealed::Damaged)?;
    let mut plain = Vec::with_capacity(rest.len());
    for index in 0.. {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK + TAG));
        let last = after.is_empty();
        let mut chunk = chunk.to_vec();
        let text = decrypt(&key, chunk_nonce(index, last), &mut chunk).ok_or(Sealed::Damaged)?;
        // Only a file with nothing in it has an empty chunk.
        if text.is_empty() && index > 0 {
            return Err(Sealed::Damaged);
        }
        plain.extend_from_slice(text);
        if last {
            break;
        }
        rest = after;
    }
    Ok(plain)
}

/// The part before the encrypted text.
struct Header<'a> {
    /// (share, body) of each stanza of the kind that is known.
    stanzas: Vec<([u8; 32], Vec<u8>)>,
    /// What the code is over.
    signed: &'a [u8],
    mac: Vec<u8>,
    payload: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(sealed: &'a [u8]) -> Result<Self, Sealed> {
        let mut at = 0;
        let mut line = || {
            let rest = sealed.get(at..)?;
            let end = rest.iter().position(|b| *b == b'\n')?;
            let start = at;
            at += end + 1;
            Some((start, std::str::from_utf8(&rest[..end]).ok()?, at))
        };
        if !matches!(line(), Some((_, VERSION, _))) {
            return Err(Sealed::NotAge);
        }
        let mut stanzas = Vec::new();
        let mut next = line().ok_or(Sealed::Damaged)?;
        while let Some(arguments) = next.1.strip_prefix("-> ") {
            let mut body = String::new();
            loop {
                next = line().ok_or(Sealed::Damaged)?;
                body.push_str(next.1);
                if next.1.len() != COLUMNS {
                    break;
                }
            }
            let body = STANDARD_NO_PAD.decode(body).map_err(|_| Sealed::Damaged)?;
            if let Some(share) = arguments
                .strip_prefix(STANZA)
                .and_then(|rest| rest.strip_prefix(' '))
            {
                let share = STANDARD_NO_PAD.decode(share).map_err(|_| Sealed::Damaged)?;
                stanzas.push((share.try_into().map_err(|_| Sealed::Damaged)?, body));
            }
            next = line().ok_or(Sealed::Damaged)?;
        }
        let mac = next.1.strip_prefix("--- ").ok_or(Sealed::Damaged)?;
        Ok(Self {
            stanzas,
            signed: &sealed[..next.0 + "---".len()],
            mac: STANDARD_NO_PAD.decode(mac).map_err(|_| Sealed::Damaged)?,
            payload: &sealed[next.2..],
        })
    }

    /// The key of the file, if it was encrypted for this identity.
    fn file_key(&self, identity: &Identity) -> Option<[u8; 16]> {
        self.stanzas.iter().find_map(|(share, body)| {
            let key = wrapping_key(&x25519(identity.secret, *share), share, &identity.public)?;
            let mut body = body.clone();
            decrypt(&key, [0; 12], &mut body)?.try_into().ok()
        })
    }
}

fn push_body(header: &mut String, body: &[u8]) {
    let text = STANDARD_NO_PAD.encode(body);
    let mut rest = text.as_str();
    // A body always ends with a line that is not full.
    while let Some((line, after)) = rest.split_at_checked(COLUMNS) {
        header.push_str(line);
        header.push('\n');
        rest = after;
    }
    header.push_str(rest);
    header.push('\n');
}

fn random<const N: usize>() -> Result<[u8; N], Sealed> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Sealed::Failed)?;
    Ok(bytes)
}

/// The key that the file's key is wrapped with. Nothing if the secret is zero: the other side's key is no point that is safe.
fn wrapping_key(secret: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Option<LessSafeKey> {
    if secret.iter().fold(0, |sum, byte| sum | byte) == 0 {
        return None;
    }
    derive(secret, &[&share[..], &recipient[..]].concat(), LABEL)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(secret: &[u8], salt: &[u8], label: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let secret = Salt::new(HKDF_SHA256, salt).extract(secret);
    secret.expand(&[label], Length(32)).ok()?.fill(&mut key).ok()?;
    Some(key)
}

fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> Option<LessSafeKey> {
    let key = expand(secret, salt, label)?;
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?))
}

fn mac_key(file_key: &[u8; 16]) -> Result<hmac::Key, Sealed> {
    let key = expand(file_key, &[], b"header").ok_or(Sealed::Failed)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// Eleven bytes that count, and one that says whether it is the last chunk.
fn chunk_nonce(index: usize, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(index as u64).to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

fn encrypt(key: &LessSafeKey, nonce: [u8; 12], text: &mut Vec<u8>) -> Result<(), Sealed> {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), text)
        .map_err(|_| Sealed::Failed)
}

fn decrypt<'t>(key: &LessSafeKey, nonce: [u8; 12], text: &'t mut [u8]) -> Option<&'t [u8]> {
    let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), text);
    plain.ok().map(|plain| &*plain)
}

#[cfg(test)]
#[path = "age_tests.rs"]
mod tests;
