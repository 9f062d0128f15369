//! Content digests (image-spec, descriptor.md, "Digests") and the newtypes that say what was hashed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256, Sha512};

/// A hash algorithm that images name content with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every implementation has.
    Sha256,
    /// SHA-512, which the specification also registers.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The digest of some bytes: `sha256:` or `sha512:` and lower-case hexadecimal.
///
/// Holds the hash, not a text, so it can be part of a path without a second look.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon between algorithm and hash.
    #[error("`{0}` is not a digest: expected `sha256:` and 64 hexadecimal digits")]
    Form(String),
    /// The algorithm is none of those that barque verifies.
    #[error("digest algorithm `{0}` is not supported (sha256 and sha512 are)")]
    Algorithm(String),
    /// The hash has the wrong length or other characters than `0-9a-f`.
    #[error("`{0}` is not a digest: the hash must be {1} digits of `0-9a-f`")]
    Hash(String, usize),
}

impl Digest {
    /// The digest whose SHA-256 hash is known already.
    #[must_use]
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&hash);
        Self {
            algorithm: Algorithm::Sha256,
            bytes,
        }
    }

    /// The SHA-256 digest of `content`.
    #[must_use]
    pub fn sha256_of(content: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(content).into())
    }

    /// Which algorithm made it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself, 32 or 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// The hash in lower-case hexadecimal, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        let mut text = String::with_capacity(128);
        for byte in self.as_bytes() {
            // Writing to a `String` cannot fail.
            write!(text, "{byte:02x}").ok();
        }
        text
    }

    /// The first twelve hexadecimal digits, as listings show it.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        // What goes into a message from outside is kept short.
        let shown = || text.chars().take(140).collect::<String>();
        let (name, hash) = text
            .split_once(':')
            .ok_or_else(|| DigestError::Form(shown()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(name.chars().take(40).collect())),
        };
        let digits = algorithm.size() * 2;
        if hash.len() != digits || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Hash(shown(), digits));
        }
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(hash.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self { algorithm, bytes })
    }
}

/// The value of a hexadecimal digit that was checked to be one.
const fn nibble(digit: u8) -> u8 {
    if digit.is_ascii_digit() {
        digit - b'0'
    } else {
        digit - b'a' + 10
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes bytes that come piece by piece.
#[derive(Clone)]
pub struct Hasher(State);

// One is made for each stream, never kept in numbers: the difference in size does not matter.
#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// A SHA-256 hasher.
    #[must_use]
    pub fn sha256() -> Self {
        Self::new(Algorithm::Sha256)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The state between two pieces, for another process to go on from. It is as secret as the bytes seen.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        match &self.0 {
            State::Sha256(state) => state.serialize().to_vec(),
            State::Sha512(state) => state.serialize().to_vec(),
        }
    }

    /// Goes on from a state that [`Hasher::save`] gave; `None` if it is none.
    #[must_use]
    pub fn resume(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::deserialize(saved.try_into().ok()?).ok()?),
            Algorithm::Sha512 => State::Sha512(Sha512::deserialize(saved.try_into().ok()?).ok()?),
        };
        Some(Self(state))
    }

    /// The digest of all bytes seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::from_sha256(state.finalize().into()),
            State::Sha512(state) => Digest {
                algorithm: Algorithm::Sha512,
                bytes: state.finalize().into(),
            },
        }
    }
}

macro_rules! digest_newtype {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Says that `digest` is one of these.
            #[must_use]
            pub const fn from_digest(digest: Digest) -> Self {
                Self(digest)
            }

            /// The digest without what it means.
            #[must_use]
            pub const fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                text.parse().map(Self)
            }
        }
    )*};
}

digest_newtype! {
    /// The digest of a layer's uncompressed tar (image-spec, config.md, "Layer DiffID").
    DiffId;
    /// The digest that names a stack of layers (image-spec, config.md, "Layer ChainID").
    ChainId;
    /// The digest of an image's config (image-spec, config.md, "ImageID").
    ImageId;
}

impl ChainId {
    /// The name of the stack `layers`, bottom first; `None` for no layers.
    #[must_use]
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        Some(Self(rest.iter().fold(first.0, |chain, layer| {
            Digest::sha256_of(format!("{chain} {layer}").as_bytes())
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let digest = Digest::sha256_of(b"hello");
        assert_eq!(
            digest.to_string(),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"hello");
        let long = hasher.finish();
        assert_eq!(long.to_string().parse::<Digest>(), Ok(long));
        assert_eq!(long.hex().len(), 128);
    }

    #[test]
    fn goes_on_from_a_saved_state() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let mut whole = Hasher::new(algorithm);
            let mut parts = Hasher::new(algorithm);
            for n in 0..300_u32 {
                let piece = vec![7; (n % 150) as usize];
                whole.update(&piece);
                parts.update(&piece);
                parts = Hasher::resume(algorithm, &parts.save()).unwrap();
            }
            assert_eq!(whole.finish(), parts.finish());
            assert!(Hasher::resume(algorithm, b"short").is_none());
        }
    }

    #[test]
    fn refuses_what_could_be_a_path() {
        for text in [
            "sha256:../../etc/passwd",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824",
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982",
            "/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn chain_of_two_hashes_the_first_and_the_second() {
        let layers = [
            DiffId::from_digest(Digest::sha256_of(b"1")),
            DiffId::from_digest(Digest::sha256_of(b"2")),
        ];
        let expected = Digest::sha256_of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(ChainId::of(&layers), Some(ChainId(expected)));
        assert_eq!(
            ChainId::of(&layers[..1]),
            Some(ChainId(*layers[0].digest()))
        );
        assert_eq!(ChainId::of(&[]), None);
    }
}
