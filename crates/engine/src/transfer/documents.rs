//! The small JSON files of image archives: Docker's `manifest.json` and an OCI layout's `oci-layout` and `index.json`.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Index, Reference, media_type};
use serde::{Deserialize, Serialize};

/// The file that lists the images of a Docker archive.
pub(super) const MANIFEST: &str = "manifest.json";
/// The file that says that a folder is an OCI layout.
pub(super) const LAYOUT: &str = "oci-layout";
/// The file that lists the images of an OCI layout.
pub(super) const INDEX: &str = "index.json";
/// The version of the OCI layout, the only one there is (image-spec, image-layout.md).
pub(super) const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The name of a manifest in an index: a tag, or a whole reference (image-spec, annotations.md).
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole reference, as containerd and Docker write it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// What a manifest beside an image is for; attestations say so.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// One image of a Docker archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    /// The config's file.
    pub(super) config: String,
    /// The image's names.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) repo_tags: Vec<String>,
    /// The layers' files, bottom first.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<String>,
}

/// Go writes empty lists as `null`.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a `manifest.json`.
///
/// Docker does not tell `Config` from `config`: a file that has a key in two spellings means one thing to us and another
/// to Docker, and is refused. So is a key that comes twice.
pub(super) fn docker_images(bytes: &[u8]) -> Result<Vec<DockerImage>, String> {
    let images: Vec<DockerImage> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let raw: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    for image in &raw {
        let mut folded = BTreeSet::new();
        if let Some(key) = image
            .keys()
            .find(|key| !folded.insert(key.to_ascii_lowercase()))
        {
            return Err(format!(
                "the key `{}` comes twice",
                layer::path::shown(key.as_bytes())
            ));
        }
    }
    Ok(images)
}

/// Checks an `oci-layout` file.
pub(super) fn check_layout(bytes: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout: Layout = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if layout.image_layout_version == "1.0.0" {
        return Ok(());
    }
    let version = layer::path::shown(layout.image_layout_version.as_bytes());
    Err(format!("its version is `{version}`; 1.0.0 is known"))
}

/// The name that an index gives to one of its manifests, if it is one that an image can have.
///
/// A bare tag names nothing without a repository.
pub(super) fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let full = annotation(IMAGE_NAME)
        .or_else(|| annotation(REF_NAME).filter(|name| name.contains(['/', ':'])))?;
    full.parse().ok()
}

/// True for a manifest that tells something about an image and is none itself.
pub(super) fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key(REFERENCE_TYPE)
        || descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown")
}

/// The entries of one image in an index: one a name, or one without.
///
/// A tag is enough for a reader as long as it is the only one in the index; `taken` holds those of the images before.
pub(super) fn entries(
    image: &Descriptor,
    names: &[Reference],
    taken: &mut BTreeSet<String>,
) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![image.clone()];
    }
    let entry = |name: &Reference| {
        let tag = name.tag().map(|tag| tag.as_str().to_owned());
        let short = tag
            .filter(|tag| taken.insert(tag.clone()))
            .unwrap_or_else(|| name.to_string());
        let mut named = image.annotations.clone();
        named.insert(IMAGE_NAME.to_owned(), name.to_string());
        named.insert(REF_NAME.to_owned(), short);
        Descriptor {
            annotations: named,
            ..image.clone()
        }
    };
    names.iter().map(entry).collect()
}

/// An index of these entries.
pub(super) const fn index(media_type: String, manifests: Vec<Descriptor>) -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: BTreeMap::new(),
    }
}

/// An OCI index without entries.
pub(super) fn empty_index() -> Index {
    index(media_type::OCI_INDEX.to_owned(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Digest;

    #[test]
    fn names_survive_an_index() {
        let descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(b"m"), 1);
        let names: Vec<Reference> = ["a:1", "localhost:5000/b:2", "c:1"]
            .map(|name| name.parse().unwrap())
            .to_vec();
        let mut taken = BTreeSet::new();
        let entries = entries(&descriptor, &names, &mut taken);
        let back: Vec<Reference> = entries.iter().filter_map(name_of).collect();
        assert_eq!(back, names);
        assert_eq!(entries[0].annotations[REF_NAME], "1");
        assert_eq!(
            entries[2].annotations[REF_NAME], "docker.io/library/c:1",
            "`1` would mean two images"
        );
    }

    #[test]
    fn a_bare_tag_is_no_name() {
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(b"m"), 1);
        descriptor
            .annotations
            .insert(REF_NAME.to_owned(), "latest".to_owned());
        assert_eq!(name_of(&descriptor), None);
    }

    #[test]
    fn two_spellings_of_a_key_are_refused() {
        assert!(docker_images(br#"[{"Config":"a","RepoTags":null,"Layers":null}]"#).is_ok());
        assert!(docker_images(br#"[{"Config":"a","config":"b"}]"#).is_err());
        assert!(docker_images(br#"[{"Config":"a","Config":"b"}]"#).is_err());
        assert!(docker_images(br#"{"Config":"a"}"#).is_err());
    }

    #[test]
    fn only_the_known_layout_is_read() {
        assert_eq!(check_layout(LAYOUT_TEXT.as_bytes()), Ok(()));
        assert!(check_layout(br#"{"imageLayoutVersion":"2.0.0"}"#).is_err());
        assert!(check_layout(b"{}").is_err());
    }
}
