//! Manifests and indexes (image-spec, manifest.md and image-index.md; Docker's schema 2 has the same fields).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform, media_type};

/// Largest manifest, index or config that is read, 4 MiB: what the big registries allow; it is held in memory whole.
pub const MAX_DOCUMENT_SIZE: u64 = 4 << 20;

/// Names content by media type, digest and size (image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of content.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where else it may be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, base64, where it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What kind of artifact a manifest describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What an image in an index runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// With the three fields that each has.
    #[must_use]
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            artifact_type: None,
            platform: None,
        }
    }
}

/// The manifest of one image: its config and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type; Docker's manifests must have it, OCI's should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// What this manifest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// What this index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A document that a name can lead to: one image or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// A list of manifests.
    Index(Box<Index>),
}

/// Why bytes are not a manifest or an index.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than [`MAX_DOCUMENT_SIZE`].
    #[error("the manifest has {0} bytes; {MAX_DOCUMENT_SIZE} are allowed")]
    Size(u64),
    /// Not JSON of this shape.
    #[error("the manifest is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// Both `layers` and `manifests`: it could be read as two things (CVE-2021-41190).
    #[error("the manifest has both `layers` and `manifests`, so it has two meanings")]
    Ambiguous,
    /// Docker's first format, without digests of content.
    #[error(
        "image manifest schema 1 is not supported: the image must be pushed anew with a current tool"
    )]
    Schema1,
    /// The document says another media type than the descriptor that led to it.
    #[error("the manifest says that it is `{found}`, but it was announced as `{announced}`")]
    MediaType {
        /// What the descriptor said.
        announced: String,
        /// What the document says.
        found: String,
    },
    /// A media type that is neither a manifest nor an index.
    #[error("`{0}` is neither an image manifest nor an image index")]
    Unknown(String),
}

impl Document {
    /// Reads a manifest or an index; `announced` is the media type of the descriptor or response that led to it.
    ///
    /// # Errors
    ///
    /// Too large, malformed, ambiguous, schema 1, or not what was announced.
    pub fn parse(bytes: &[u8], announced: Option<&str>) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: Option<u32>,
            media_type: Option<String>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
            return Err(DocumentError::Size(bytes.len() as u64));
        }
        let probe: Probe = serde_json::from_slice(bytes)?;
        if probe.schema_version == Some(1) {
            return Err(DocumentError::Schema1);
        }
        if probe.manifests.is_some() && (probe.layers.is_some() || probe.config.is_some()) {
            return Err(DocumentError::Ambiguous);
        }
        if let (Some(announced), Some(found)) = (announced, &probe.media_type)
            && announced != found
        {
            return Err(DocumentError::MediaType {
                announced: announced.to_owned(),
                found: found.clone(),
            });
        }
        let kind = probe.media_type.as_deref().or(announced);
        let is_index = match kind {
            Some(kind) if media_type::is_index(kind) => true,
            Some(kind) if media_type::is_manifest(kind) => false,
            Some(kind) => return Err(DocumentError::Unknown(kind.chars().take(140).collect())),
            None => probe.manifests.is_some(),
        };
        Ok(if is_index {
            Self::Index(Box::new(serde_json::from_slice(bytes)?))
        } else {
            Self::Manifest(Box::new(serde_json::from_slice(bytes)?))
        })
    }

    /// The media type: the document's own, else OCI's for its kind.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest
                .media_type
                .as_deref()
                .unwrap_or(media_type::OCI_MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media_type::OCI_INDEX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn tells_manifests_from_indexes() {
        let config = format!(r#"{{"mediaType":"m","digest":"{DIGEST}","size":5}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{config}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{config}]}}"#);
        assert!(matches!(
            Document::parse(manifest.as_bytes(), None),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            Document::parse(index.as_bytes(), Some(media_type::OCI_INDEX)),
            Ok(Document::Index(_))
        ));
        assert!(Document::parse(index.as_bytes(), Some(media_type::OCI_MANIFEST)).is_err());
    }

    #[test]
    fn refuses_two_meanings_and_lies() {
        let config = format!(r#"{{"mediaType":"m","digest":"{DIGEST}","size":5}}"#);
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        assert!(matches!(
            Document::parse(both.as_bytes(), None),
            Err(DocumentError::Ambiguous)
        ));
        let typed = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            media_type::OCI_INDEX
        );
        assert!(matches!(
            Document::parse(typed.as_bytes(), Some(media_type::DOCKER_INDEX)),
            Err(DocumentError::MediaType { .. })
        ));
        assert!(matches!(
            Document::parse(br#"{"schemaVersion":1}"#, None),
            Err(DocumentError::Schema1)
        ));
        for size in ["-1", "18446744073709551616", "1.5", "\"5\""] {
            let lie = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"m","digest":"{DIGEST}","size":{size}}},"layers":[]}}"#
            );
            assert!(Document::parse(lie.as_bytes(), None).is_err(), "{size}");
        }
        let deep = "[".repeat(100_000);
        assert!(Document::parse(deep.as_bytes(), None).is_err());
        let twice =
            format!(r#"{{"schemaVersion":2,"config":{config},"config":{config},"layers":[]}}"#);
        assert!(
            Document::parse(twice.as_bytes(), None).is_err(),
            "duplicate keys are refused"
        );
    }
}
