//! What a registry has, without the store: `inspect`, `ls`, `tag`, `rm`. And where an address leads.

use std::sync::Arc;

use distribution::client::registries::Candidate;
use distribution::client::{Endpoint, Error as ClientError, Origin, Repository, Which};
use oci::{Platform, Reference};
use serde_json::{Value, json};

use super::pull::sources;
use super::{ExchangeError, platform};
use crate::registry::names;
use crate::{Engine, Error};

/// Where an image is, as a person types it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// The image.
    pub(crate) reference: Reference,
    /// The host on which it is reached over ssh.
    host: Option<Host>,
}

#[derive(Debug, Clone)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Address {
    pub(crate) const fn of(reference: Reference) -> Self {
        Self {
            reference,
            host: None,
        }
    }

    /// Reads `NAME` or `ssh://[USER@]HOST[:PORT]/NAME`.
    pub(crate) fn read(text: &str) -> Result<Self, Error> {
        let Some(rest) = text.strip_prefix("ssh://") else {
            return Ok(Self::of(text.parse()?));
        };
        let wrong = || Error::from(ExchangeError::Ssh(text.chars().take(140).collect()));
        let (authority, name) = rest.split_once('/').ok_or_else(wrong)?;
        let (name_of_host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (authority, None),
        };
        // What begins like an option would be one.
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        if name_of_host.is_empty()
            || name_of_host.starts_with('-')
            || !name_of_host.bytes().all(fine)
        {
            return Err(wrong());
        }
        Ok(Self {
            reference: name.parse()?,
            host: Some(Host {
                name: name_of_host.to_owned(),
                port,
            }),
        })
    }

    /// An error if `text`, which this was read from, says a tag or a digest where all tags are meant.
    pub(crate) fn no_tag(&self, text: &str) -> Result<(), Error> {
        let name = text.strip_prefix("ssh://").unwrap_or(text);
        if self.reference.digest().is_some() || Reference::says_tag(name) {
            return Err(ExchangeError::OneTag(text.to_owned()).into());
        }
        Ok(())
    }

    /// The place of an image on another host.
    pub(crate) fn over_ssh(&self) -> Result<Option<Candidate>, Error> {
        let Some(host) = &self.host else {
            return Ok(None);
        };
        let mut command = vec!["ssh".to_owned(), "-T".to_owned()];
        if let Some(port) = host.port {
            command.extend(["-p".to_owned(), port.to_string()]);
        }
        command.extend(["--".to_owned(), host.name.clone()]);
        command.extend(["barque", "registry", "stdio"].map(str::to_owned));
        Ok(Some(Candidate {
            endpoint: Endpoint {
                registry: format!("ssh://{}", host.name),
                authority: host.name.rsplit('@').next().unwrap_or("host").to_owned(),
                insecure: false,
                command: Some(Arc::from(command)),
            },
            repository: match names::repository_of(&self.reference) {
                Some(repository) => repository,
                None => self.reference.familiar_name().parse()?,
            },
        }))
    }
}

/// The registry that `HOST`, `HOST:PORT` or either with a slash at its end names, where a repository could stand, too.
#[must_use]
pub fn registry_alone(text: &str) -> Option<&str> {
    let host = text.strip_suffix('/').unwrap_or(text);
    // `redis:7` is a repository with a tag, and none with a port.
    let name = host.split(':').next().unwrap_or(host);
    let told_apart = name == "localhost"
        || name.contains(['.', '['])
        || (host.len() < text.len() && !name.is_empty());
    (told_apart && !host.contains('/') && Origin::parse(true, host).is_ok()).then_some(host)
}

/// What is known of an image at a registry.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// The manifest or index as it came.
    pub raw: Vec<u8>,
    /// A summary, with Docker's and skopeo's field names.
    pub summary: Value,
    /// The config as it came, of an image.
    pub config: Option<Vec<u8>>,
}

/// What the index offers that a name leads to; nothing where it is no index.
fn listed(found: &platform::Found) -> Option<Vec<Value>> {
    let index: oci::Index = serde_json::from_slice(found.indexes.first()?).ok()?;
    let entries = crate::transfer::platform::images(&index.manifests);
    let entry = |entry: &oci::Descriptor| {
        json!({
            "Platform": entry.platform.as_ref().map(Platform::with_version),
            "Digest": entry.digest,
            "MediaType": entry.media_type,
        })
    };
    Some(entries.into_iter().map(entry).collect())
}

impl Engine {
    fn remote(&self, text: &str) -> Result<(Repository, Reference), Error> {
        let address = Address::read(text)?;
        let ready = self.network().ready()?;
        let candidate = match address.over_ssh()? {
            Some(candidate) => candidate,
            None => ready.configuration.registries.to_push(&address.reference)?,
        };
        let repository = ready
            .client
            .repository(&candidate.endpoint, candidate.repository);
        Ok((repository, address.reference))
    }

    /// Looks at an image where it is, without pulling it; mirrors are asked first.
    ///
    /// # Errors
    ///
    /// It is not there, or has nothing for the platform.
    pub fn inspect_remote(&self, image: &str, wanted: Option<&str>) -> Result<RemoteImage, Error> {
        let wanted = wanted.map(str::parse::<Platform>).transpose()?;
        let address = Address::read(image)?;
        let ready = self.network().ready()?;
        let mut last = ExchangeError::Interrupted.into();
        for repository in sources(&ready.client, &ready.configuration, &address)? {
            match self.inspect_at(&repository, &address.reference, wanted.as_ref()) {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn inspect_at(
        &self,
        repository: &Repository,
        reference: &Reference,
        wanted: Option<&Platform>,
    ) -> Result<RemoteImage, Error> {
        self.network().run(async {
            let shown = reference.familiar();
            let which = Which::from(reference);
            let found = platform::find(repository, &which, wanted, &shown).await;
            let found = match found {
                // What is no image has no config to look at, but a manifest.
                Err(Error::Exchange(error))
                    if matches!(*error, ExchangeError::NotAnImage { .. }) =>
                {
                    let fetched = repository.manifest(&which).await?;
                    let manifest: Value =
                        serde_json::from_slice(&fetched.bytes).unwrap_or_default();
                    return Ok(RemoteImage {
                        raw: fetched.bytes.to_vec(),
                        summary: json!({
                            "Name": reference.name(),
                            "Digest": fetched.digest,
                            "MediaType": fetched.media_type,
                            "Manifest": manifest,
                        }),
                        config: None,
                    });
                }
                other => other?,
            };
            let (bytes, config) = platform::config(repository, &found.manifest, &shown).await?;
            let raw: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let layers = &found.manifest.layers;
            Ok(RemoteImage {
                raw: found.named.bytes.to_vec(),
                summary: json!({
                    "Name": reference.name(),
                    "Tag": reference.tag().map(ToString::to_string),
                    "Digest": found.named.digest,
                    "MediaType": found.named.media_type,
                    "Manifest": found.fetched.digest,
                    "Id": found.manifest.config.digest,
                    "Created": config.created,
                    "Os": config.os,
                    "OsVersion": config.os_version,
                    "Architecture": config.architecture,
                    "Variant": config.variant,
                    "Platforms": listed(&found),
                    "Config": raw.get("config"),
                    "Size": layers.iter().map(|layer| layer.size).sum::<u64>(),
                    "Layers": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>(),
                    "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
                }),
                config: Some(bytes.to_vec()),
            })
        })?
    }

    /// The tags of a repository at its registry.
    ///
    /// # Errors
    ///
    /// There is no such repository.
    pub fn remote_tags(&self, name: &str) -> Result<Vec<String>, Error> {
        let (repository, _) = self.remote(name)?;
        Ok(self.network().run(repository.tags())??)
    }

    /// The repositories of a registry, by their names there.
    ///
    /// # Errors
    ///
    /// It lists none, as Docker Hub, or does not let us in.
    pub fn remote_repositories(&self, registry: &str) -> Result<Vec<String>, Error> {
        let ready = self.network().ready()?;
        let endpoint = ready.configuration.registries.endpoint(registry)?;
        Ok(self.network().run(ready.client.repositories(&endpoint))??)
    }

    /// Gives what a name means at its registry one more tag, without moving a layer.
    ///
    /// # Errors
    ///
    /// It is not there, or the registry refuses.
    pub fn remote_tag(&self, image: &str, tag: &str) -> Result<oci::Digest, Error> {
        let (repository, reference) = self.remote(image)?;
        let tag: oci::Tag = tag.parse()?;
        self.network().run(async {
            let fetched = repository.manifest(&Which::from(&reference)).await?;
            repository
                .put_manifest(&Which::Tag(tag), &fetched.media_type, fetched.bytes)
                .await?;
            Ok(fetched.digest)
        })?
    }

    /// Deletes a tag, or with a digest a manifest and all its tags, at its registry. `false` if it was not there.
    ///
    /// # Errors
    ///
    /// The registry refuses; some delete nothing at all.
    pub fn remote_remove(&self, image: &str) -> Result<bool, Error> {
        let (repository, reference) = self.remote(image)?;
        let which = Which::from(&reference);
        self.network().run(async {
            let deleted = repository.delete_manifest(&which).await;
            let refused = |error: &ClientError| {
                matches!(
                    error,
                    ClientError::Status {
                        status: 400 | 405,
                        ..
                    }
                )
            };
            match (deleted, &which) {
                (Err(error), Which::Tag(tag)) if refused(&error) => {
                    repository.untag(tag).await.map_err(|other| match other {
                        ClientError::Answer { .. } => other.into(),
                        // That it deletes no tags says more than what the way round fails of.
                        _ => error.into(),
                    })
                }
                (deleted, _) => Ok(deleted?),
            }
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_alone_is_told_from_a_repository() {
        for (text, registry) in [
            ("localhost", Some("localhost")),
            ("localhost:5000", Some("localhost:5000")),
            ("127.0.0.1:5000/", Some("127.0.0.1:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("registry.example", Some("registry.example")),
            ("inner/", Some("inner")),
            ("inner:5000/", Some("inner:5000")),
            ("alpine", None),
            ("alpine:3.19", None),
            ("redis:7", None),
            ("team/app", None),
            ("localhost/app", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(registry_alone(text), registry, "{text}");
        }
    }
}
