//! Manifests as the registry looks at them: what they are, what they need, what they refer to. No I/O.
//!
//! Any media type is taken. A document is read as far as the registry has to know it; the bytes are kept as they came.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest};
use serde::Deserialize;

use super::storage::Referrer;

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// Not JSON of this shape.
    #[error("the manifest is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// It could be read as two things (CVE-2021-41190).
    #[error("the manifest has both `manifests` and `layers` or `config`, so it has two meanings")]
    Ambiguous,
    /// It says another media type than the request.
    #[error("the manifest says that it is `{found}`, but it was sent as `{announced}`")]
    MediaType { announced: String, found: String },
    /// Neither the request nor the document says what it is.
    #[error("the manifest has no media type")]
    Untyped,
    /// Not a media type.
    #[error("the media type is malformed")]
    MalformedType,
    /// Docker's first format, without digests of content.
    #[error("image manifest schema 1 is not supported: push the image with a current tool")]
    Schema1,
}

/// The longest media type that is taken; those that exist have less than a hundred characters.
const MAX_MEDIA_TYPE: usize = 255;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// Of the artifact manifest that never was released; some have been pushed.
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A manifest that may be stored.
#[derive(Debug)]
pub(crate) struct Document {
    /// Without parameters.
    pub(crate) media_type: String,
    /// Blobs that it needs, with their sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
    /// Manifests that it lists.
    pub(crate) manifests: Vec<Digest>,
    /// What it refers to.
    pub(crate) referrer: Option<Referrer>,
}

/// Reads a manifest that was sent as `announced` and has the digest `digest`.
pub(crate) fn read(
    bytes: &[u8],
    announced: Option<&str>,
    digest: Digest,
) -> Result<Document, DocumentError> {
    let shape: Shape = serde_json::from_slice(bytes)?;
    if shape.schema_version == Some(1) {
        return Err(DocumentError::Schema1);
    }
    if shape.manifests.is_some()
        && (shape.layers.is_some() || shape.config.is_some() || shape.blobs.is_some())
    {
        return Err(DocumentError::Ambiguous);
    }
    let media_type = match (announced, &shape.media_type) {
        (Some(announced), Some(found)) if announced != found => {
            return Err(DocumentError::MediaType {
                announced: announced.to_owned(),
                found: found.clone(),
            });
        }
        (Some(announced), _) => announced.to_owned(),
        (None, Some(found)) => found.clone(),
        (None, None) => return Err(DocumentError::Untyped),
    };
    if !is_media_type(&media_type) {
        return Err(DocumentError::MalformedType);
    }
    let referrer = shape.subject.as_ref().map(|subject| {
        let mut descriptor = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        descriptor.artifact_type = shape.artifact_type.clone().or_else(|| {
            let config = shape.config.as_ref()?;
            Some(config.media_type.clone())
        });
        descriptor.annotations = shape.annotations.clone().unwrap_or_default();
        Referrer {
            subject: subject.digest,
            descriptor,
        }
    });
    Ok(Document {
        media_type,
        blobs: shape
            .needed()
            .map(|blob| (blob.digest, blob.size))
            .collect(),
        manifests: shape
            .manifests
            .iter()
            .flatten()
            .map(|manifest| manifest.digest)
            .collect(),
        referrer,
    })
}

impl Shape {
    fn all_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(self.layers.iter().flatten())
            .chain(self.blobs.iter().flatten())
    }

    /// Layers that may not be distributed are fetched from elsewhere and need not be here.
    fn needed(&self) -> impl Iterator<Item = &Descriptor> {
        self.all_blobs().filter(|blob| {
            blob.urls.is_empty()
                && !blob.media_type.contains(".nondistributable.")
                && !blob.media_type.contains(".foreign.")
        })
    }
}

/// All blobs that a stored manifest names: those that it needs, and those that may be there.
pub(crate) fn blobs_of(bytes: &[u8]) -> Vec<Digest> {
    serde_json::from_slice::<Shape>(bytes).map_or_else(
        |_| Vec::new(),
        |shape| shape.all_blobs().map(|blob| blob.digest).collect(),
    )
}

/// The entries of an index, as they stand in it.
pub(crate) fn entries_of(bytes: &[u8]) -> Vec<Descriptor> {
    serde_json::from_slice::<Shape>(bytes)
        .ok()
        .and_then(|shape| shape.manifests)
        .unwrap_or_default()
}

/// `type/subtype` of visible ASCII, so that it can be sent back in a header.
fn is_media_type(text: &str) -> bool {
    text.len() <= MAX_MEDIA_TYPE
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"\\,;<>".contains(&b))
        && text
            .split_once('/')
            .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty())
}

#[cfg(test)]
mod tests {
    use oci::media_type;

    use super::*;

    const D: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn descriptor(kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{D}","size":5}}"#)
    }

    fn take(text: &str, announced: Option<&str>) -> Result<Document, DocumentError> {
        read(
            text.as_bytes(),
            announced,
            Digest::sha256_of(text.as_bytes()),
        )
    }

    #[test]
    fn tells_what_an_image_needs() {
        let text = format!(
            r#"{{"config":{},"layers":[{},{}],"subject":{},"annotations":{{"a":"b"}}}}"#,
            descriptor("application/x.config"),
            descriptor(media_type::OCI_LAYER),
            descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
            descriptor(media_type::OCI_MANIFEST),
        );
        let document = take(&text, Some(media_type::OCI_MANIFEST)).unwrap();
        assert_eq!(document.blobs.len(), 2);
        let referrer = document.referrer.unwrap();
        assert_eq!(
            referrer.descriptor.artifact_type.as_deref(),
            Some("application/x.config")
        );
        assert_eq!(referrer.descriptor.annotations["a"], "b");
        assert_eq!(blobs_of(text.as_bytes()).len(), 3);
    }

    #[test]
    fn indexes_have_an_artifact_type_of_their_own_only() {
        let text = format!(
            r#"{{"manifests":[{0}],"subject":{0}}}"#,
            descriptor(media_type::OCI_MANIFEST)
        );
        let document = take(&text, Some(media_type::OCI_INDEX)).unwrap();
        assert_eq!(document.manifests.len(), 1);
        assert_eq!(document.referrer.unwrap().descriptor.artifact_type, None);
    }

    #[test]
    fn refuses_what_has_two_meanings_or_none() {
        let config = descriptor("m/m");
        for (text, announced) in [
            (
                format!(r#"{{"config":{config},"layers":[],"manifests":[]}}"#),
                Some("a/b"),
            ),
            (r#"{"mediaType":"a/b"}"#.to_owned(), Some("a/c")),
            (r#"{"layers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":1}"#.to_owned(), Some("a/b")),
            (r#"{"layers":[],"layers":[]}"#.to_owned(), Some("a/b")),
            ("[".repeat(1000), Some("a/b")),
            ("{}".to_owned(), Some("a/b\r\nX: y")),
            ("{}".to_owned(), Some("text")),
            (
                r#"{"layers":[{"mediaType":"m/m","digest":"sha256:../..","size":1}]}"#.to_owned(),
                Some("a/b"),
            ),
            (
                r#"{"layers":[{"mediaType":"m/m","digest":"D","size":-1}]}"#.replace('D', D),
                Some("a/b"),
            ),
        ] {
            assert!(take(&text, announced).is_err(), "{text}");
        }
    }
}
