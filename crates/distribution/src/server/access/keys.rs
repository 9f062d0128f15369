//! Public keys that tokens are checked with: a JWK set, or PEM.
//!
//! A key that a token brings along is no key (CVE-2025-24976), and each key has one algorithm, so that a token cannot
//! choose another.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// Why keys are of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a JWK set nor PEM.
    #[error("neither a JWK set nor a public key in PEM")]
    Form,
    /// None of the keys is of a kind that is supported.
    #[error("no key for RS256, ES256 or EdDSA")]
    None,
}

/// Keys of those who sign tokens.
#[derive(Debug, Clone)]
pub struct VerifyingKeys(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// As DER has it.
    RsaDer(Vec<u8>),
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl VerifyingKeys {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// It holds no keys, or none that can be used.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let keys: Vec<Key> = if text.contains("-----BEGIN PUBLIC KEY-----") {
            text.split("-----BEGIN PUBLIC KEY-----")
                .skip(1)
                .filter_map(|part| part.split("-----END").next())
                .filter_map(from_pem)
                .collect()
        } else {
            let set: Set = serde_json::from_str(text).map_err(|_| KeyError::Form)?;
            set.keys.into_iter().filter_map(from_jwk).collect()
        };
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        Ok(Self(keys))
    }

    pub(super) fn ed25519(public: Vec<u8>) -> Self {
        let kind = Kind::Ed25519(public);
        Self(vec![Key { id: None, kind }])
    }

    /// Whether one of the keys made this signature with this algorithm.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.0
            .iter()
            .filter(|key| key.id.is_none() || id.is_none() || key.id.as_deref() == id)
            .any(|key| key.kind.verify(algorithm, message, signature))
    }
}

impl Kind {
    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { n, e }, "RS256") => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            (Self::RsaDer(der), "RS256") => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)
                    .verify(message, signature)
                    .is_ok()
            }
            (Self::P256(point), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            (Self::Ed25519(public), "EdDSA") => UnparsedPublicKey::new(&ED25519, public)
                .verify(message, signature)
                .is_ok(),
            _ => false,
        }
    }
}

fn from_jwk(jwk: Jwk) -> Option<Key> {
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
    let kind = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Kind::Rsa {
            n: bytes(jwk.n)?,
            e: bytes(jwk.e)?,
        },
        ("EC", Some("P-256")) => {
            let mut point = vec![4];
            point.extend(bytes(jwk.x)?);
            point.extend(bytes(jwk.y)?);
            Kind::P256(point)
        }
        ("OKP", Some("Ed25519")) => Kind::Ed25519(bytes(jwk.x)?),
        _ => return None,
    };
    Some(Key { id: jwk.kid, kind })
}

/// A `SubjectPublicKeyInfo`: an algorithm and the key's bits.
fn from_pem(text: &str) -> Option<Key> {
    let der = STANDARD
        .decode(text.split_whitespace().collect::<String>())
        .ok()?;
    let (info, _) = element(&der, 0x30)?;
    let (algorithm, rest) = element(info, 0x30)?;
    let (bits, _) = element(rest, 0x03)?;
    let key = bits.strip_prefix(&[0])?.to_vec();
    let (name, _) = element(algorithm, 0x06)?;
    let kind = match name {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => Kind::RsaDer(key),
        // The curve is told by the length: 65 bytes are a point of P-256.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] if key.len() == 65 => Kind::P256(key),
        [0x2b, 0x65, 0x70] => Kind::Ed25519(key),
        _ => return None,
    };
    Some(Key { id: None, kind })
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
