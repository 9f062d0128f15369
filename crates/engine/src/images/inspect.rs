//! `barque inspect`: everything about an image, with Docker's field names.

use oci::Reference;
use serde_json::{Value, json};

use crate::{Engine, Error};

impl Engine {
    /// Everything about an image. `Config` is the image's own, fields unknown to barque with it.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be read.
    pub fn inspect_image(&self, image: &str) -> Result<Value, Error> {
        let image = self.store().resolve(image)?;
        let config = self.store().config(&image)?;
        // What was parsed has only the fields that barque knows.
        let raw: Value =
            serde_json::from_slice(&self.store().read_blob(image.id.digest())?).unwrap_or_default();
        let tags: Vec<String> = image
            .names
            .iter()
            .filter(|name| name.tag().is_some())
            .map(Reference::familiar)
            .collect();
        let mut digests: Vec<String> = image
            .names
            .iter()
            .map(|name| format!("{}@{}", name.familiar_name(), image.digest))
            .collect();
        digests.dedup();
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
            "Descriptor": { "mediaType": image.media_type, "digest": image.digest },
        });
        // Docker leaves these out where there is nothing to say.
        if let (Value::Object(value), Value::Object(rest)) = (&mut value, rest) {
            let present = rest.into_iter().filter(|(key, found)| {
                !(found.is_null() && ["Variant", "OsVersion"].contains(&key.as_str()))
            });
            value.extend(present);
        }
        Ok(value)
    }
}
