//! The key that signs tokens: ECDSA P-256, JSON Web Tokens with `ES256`. It must not know what a token says.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::tls::{self, TlsError};

/// The algorithm's name in tokens.
pub(super) const ALGORITHM: &str = "ES256";
/// Longest token that is looked at.
const LONGEST: usize = 64 << 10;
/// Bytes of one coordinate of a point on the curve.
const COORDINATE: usize = 32;

/// A key that signs tokens. It appears in no debug output.
pub(crate) struct TokenKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    /// What tokens call it: a hash of its public half.
    id: String,
}

impl TokenKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The library makes none.
    pub(super) fn new() -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(failed)?;
        Self::of(&key).ok_or_else(|| failed(rcgen::Error::CouldNotParseKeyPair))
    }

    /// Loads the key in a file with mode 0600, and makes it if there is none.
    ///
    /// # Errors
    /// The file cannot be used, or holds no such key.
    pub(super) fn ensure(path: &Path) -> Result<Self, TlsError> {
        let damaged = |reason: String| TlsError::Damaged {
            path: path.to_owned(),
            reason,
        };
        if let Some(pem) = tls::read(path)? {
            let key = KeyPair::from_pem(&pem).map_err(|error| damaged(error.to_string()))?;
            return Self::of(&key).ok_or_else(|| damaged("it is no ECDSA P-256 key".to_owned()));
        }
        let key = KeyPair::generate().map_err(failed)?;
        let own = Self::of(&key).ok_or_else(|| failed(rcgen::Error::CouldNotParseKeyPair))?;
        tls::write(path, &key.serialize_pem(), 0o600)?;
        Ok(own)
    }

    fn of(key: &KeyPair) -> Option<Self> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random).ok()?;
        let id = BASE64.encode(Sha256::digest(key.subject_public_key_info()));
        Some(Self { pair, random, id })
    }

    /// Returns the token that says `claims`. `None` if the system has no random numbers.
    pub(crate) fn sign(&self, claims: &impl serde::Serialize) -> Option<String> {
        let header = json!({"alg": ALGORITHM, "kid": self.id}).to_string();
        let claims = serde_json::to_vec(claims).ok()?;
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// Says whether this key has signed a token.
    pub(super) fn has_signed(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return false;
        };
        // Who chooses another algorithm is not heard.
        let says = |header: &str| {
            let header: Value = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
            Some(header["alg"] == ALGORITHM)
        };
        let header = signed.split('.').next().and_then(says).unwrap_or(false);
        let Ok(signature) = BASE64.decode(signature) else {
            return false;
        };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        header && public.verify(signed.as_bytes(), &signature).is_ok()
    }

    /// Returns the public half as others need it to check tokens.
    pub(super) fn public(&self) -> Value {
        // An uncompressed point: a mark, then both coordinates.
        let point = self.pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len().min(COORDINATE));
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        })
    }
}

fn failed(source: rcgen::Error) -> TlsError {
    TlsError::Make {
        subject: "service account tokens".to_owned(),
        source,
    }
}

/// Returns what a token says, whoever signed it. `None` if it is no JSON Web Token.
pub(super) fn said<T: serde::de::DeserializeOwned>(token: &str) -> Option<T> {
    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_own_tokens_and_no_changed_ones() {
        let (key, other) = (TokenKey::new().expect("key"), TokenKey::new().expect("key"));
        let token = key.sign(&json!({"sub": "a"})).expect("signed");
        assert!(key.has_signed(&token));
        assert!(!other.has_signed(&token));
        assert_eq!(said::<Value>(&token).expect("claims"), json!({"sub": "a"}));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = BASE64.encode(r#"{"sub":"b"}"#);
        assert!(!key.has_signed(&format!("{}.{forged}.{}", parts[0], parts[2])));
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        assert!(!key.has_signed(&format!("{none}.{}.", parts[1])));
        for rubbish in ["", ".", "..", "a.b.c", "....", "é.é.é"] {
            assert!(!key.has_signed(rubbish), "{rubbish}");
            assert_eq!(said::<Value>(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("sa.key");
        let token = TokenKey::ensure(&path)
            .expect("made")
            .sign(&json!({}))
            .expect("signed");
        assert!(TokenKey::ensure(&path).expect("loaded").has_signed(&token));
        let mode = std::fs::metadata(&path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "nothing").expect("written");
        assert!(matches!(TokenKey::ensure(&path), Err(TlsError::Damaged { .. })));
    }

    #[test]
    fn the_public_half_is_enough_to_check_a_token() {
        let key = TokenKey::new().expect("key");
        let public = key.public();
        let part = |name: &str| {
            BASE64
                .decode(public[name].as_str().expect("text"))
                .expect("base64")
        };
        let point = [vec![4], part("x"), part("y")].concat();
        let token = key.sign(&json!({})).expect("signed");
        let (signed, signature) = token.rsplit_once('.').expect("parts");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &BASE64.decode(signature).expect("base64"))
            .expect("its own");
        assert!(public.get("d").is_none());
    }
}
