//! `barque inspect`: everything about an image, with Docker's field names.

use oci::Reference;
use serde_json::{Value, json};

use crate::{Engine, Error};

impl Engine {
    /// Everything about an image. `Config` is the image's own, fields unknown to barque with it.
    ///
    /// Where the text means an index, the image is that for this machine, and `Descriptor` and `Manifests` tell of the index.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be read.
    pub fn inspect_image(&self, image: &str) -> Result<Value, Error> {
        let index = self.store().find_index(image)?;
        let image = self.store().resolve(image)?;
        let config = self.store().config(&image)?;
        // What was parsed has only the fields that barque knows.
        let raw: Value =
            serde_json::from_slice(&self.store().read_blob(image.id.digest())?).unwrap_or_default();
        let tags: Vec<String> = image
            .names
            .iter()
            .chain(&image.shared)
            .filter(|name| name.tag().is_some())
            .map(Reference::familiar)
            .collect();
        let digests = repo_digests(&image, index.as_ref());
        let mut last_tagged = None;
        for name in &image.names {
            let latest = self.store().name_events(name)?.into_iter().next();
            last_tagged = last_tagged.max(latest.map(|event| event.at));
        }
        let last_tagged = last_tagged
            .and_then(|at| jiff::Timestamp::from_second(at).ok())
            .map(|time| time.to_string());
        let comment = config
            .history
            .last()
            .and_then(|entry| entry.comment.clone());
        let mut value = json!({
            "Id": image.id,
            "RepoTags": tags,
            "RepoDigests": digests,
            "Parent": "",
            "Comment": comment.unwrap_or_default(),
            "Created": config.created,
            "Author": config.author.unwrap_or_default(),
            "Config": raw.get("config"),
            "Architecture": config.architecture,
        });
        let rest = json!({
            "Variant": config.variant,
            "Os": config.os,
            "OsVersion": config.os_version,
            "Size": image.size,
            "RootFS": { "Type": config.rootfs.kind, "Layers": image.layers },
            "Metadata": { "LastTagTime": last_tagged },
            "Descriptor": {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": self.store().read_blob(&image.digest)?.len(),
            },
        });
        let list = index.map(|index| list_fields(&index));
        // Docker leaves these out where there is nothing to say.
        if let (Value::Object(value), Value::Object(rest)) = (&mut value, rest) {
            let present = rest.into_iter().filter(|(key, found)| {
                !(found.is_null() && ["Variant", "OsVersion"].contains(&key.as_str()))
            });
            value.extend(present);
            value.extend(list.into_iter().flatten());
        }
        Ok(value)
    }
}

/// The digests under which repositories have an image. A name with a digest says where it came from or went to, which may be
/// an index of several platforms; a repository without such a name would have the image's own, or its index's.
fn repo_digests(image: &store::Image, index: Option<&store::ImageIndex>) -> Vec<String> {
    let is_known = |name: &Reference| {
        let mut others = image.names.iter();
        others.any(|other| other.digest().is_some() && other.name() == name.name())
    };
    let digest_of = |name: &Reference| match (name.digest(), index) {
        (Some(digest), _) => Some(*digest),
        (None, _) if is_known(name) => None,
        (None, Some(index)) if index.names.contains(name) => Some(index.digest),
        (None, _) => Some(image.digest),
    };
    let mut digests: Vec<String> = image
        .names
        .iter()
        .filter_map(|name| Some(format!("{}@{}", name.familiar_name(), digest_of(name)?)))
        .collect();
    digests.dedup();
    digests
}

/// What the index that was named tells, instead of what its image does.
fn list_fields(index: &store::ImageIndex) -> serde_json::Map<String, Value> {
    let manifest = |image: &store::Image| {
        json!({
            "Id": image.id,
            "Digest": image.digest,
            "MediaType": image.media_type,
            "Platform": image.platform,
            "Size": image.size,
        })
    };
    let manifests: Vec<Value> = index.images.iter().map(manifest).collect();
    let descriptor = json!({ "mediaType": index.media_type, "digest": index.digest });
    [
        ("Descriptor".to_owned(), descriptor),
        ("Manifests".to_owned(), manifests.into()),
    ]
    .into_iter()
    .collect()
}
