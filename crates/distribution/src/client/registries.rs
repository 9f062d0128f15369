//! `registries.conf`, version 2: which registry is reached how.
//!
//! A prefix chooses an entry, the longest that fits. The entry may put another location in its place, name mirrors that are
//! asked first, allow to go without TLS, or forbid. Names without a registry are Docker Hub's, as with Docker; other search
//! lists are not used, since they make a name mean something else on each machine.

use oci::Reference;
use serde::Deserialize;

use super::error::{Error, Result};
use super::host::Endpoint;
use super::url::Origin;

/// Most entries that are read.
const MAX_ENTRIES: usize = 10_000;

/// The entries of all files.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
    /// What version 1 had.
    registries: Option<toml::Table>,
}

/// A repository at an endpoint: a place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub endpoint: Endpoint,
    /// What it is called there.
    pub repository: oci::Repository,
}

impl Registries {
    /// Adds what a file says; an entry for the same prefix replaces that of a file before.
    ///
    /// # Errors
    ///
    /// It cannot be understood.
    pub fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let wrong = |why: String| Error::Configuration {
            what: format!("cannot read the registries in `{name}`"),
            why,
        };
        let file: File = toml::from_str(text)
            .map_err(|error| wrong(crate::wire::sanitised(&error.to_string(), 400)))?;
        // To read over what it forbids would be worse than to stop.
        let old = |part: &str| {
            let list = file.registries.as_ref()?.get(part)?.get("registries")?;
            list.as_array().filter(|list| !list.is_empty())
        };
        for (part, now) in [("insecure", "insecure = true"), ("block", "blocked = true")] {
            if old(part).is_some() {
                return Err(wrong(format!(
                    "`[registries.{part}]` is of version 1 of this file; now it is a `[[registry]]` with a `location` and `{now}`"
                )));
            }
        }
        for entry in file.registry {
            let Some(prefix) = entry.prefix().map(str::to_owned) else {
                return Err(wrong(
                    "an entry has neither a prefix nor a location".to_owned(),
                ));
            };
            self.entries
                .retain(|known| known.prefix() != Some(prefix.as_str()));
            self.entries.push(entry);
        }
        if self.entries.len() > MAX_ENTRIES {
            return Err(wrong(format!("there are more than {MAX_ENTRIES} entries")));
        }
        Ok(())
    }

    /// Where to ask for an image, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`], or a location of the configuration is no place.
    pub fn to_pull(&self, reference: &Reference) -> Result<Vec<Candidate>> {
        let Some((entry, matched)) = self.find(reference)? else {
            return Ok(vec![candidate(&reference.name(), false)?]);
        };
        let by_digest = reference.digest().is_some();
        let mut candidates = Vec::new();
        for mirror in &entry.mirror {
            let fits = match mirror.pull_from_mirror.as_deref() {
                Some("digest-only") => by_digest,
                Some("tag-only") => !by_digest,
                _ => by_digest || !entry.mirror_by_digest_only,
            };
            if fits {
                let name = rewrite(reference, matched, &mirror.location);
                candidates.push(candidate(&name, mirror.insecure)?);
            }
        }
        candidates.push(entry.own(reference, matched)?);
        Ok(candidates)
    }

    /// Where an image is pushed to: mirrors have no say.
    ///
    /// # Errors
    ///
    /// As [`Registries::to_pull`].
    pub fn to_push(&self, reference: &Reference) -> Result<Candidate> {
        match self.find(reference)? {
            Some((entry, matched)) => entry.own(reference, matched),
            None => candidate(&reference.name(), false),
        }
    }

    /// How the registry itself is reached, for a login.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`].
    pub fn endpoint(&self, registry: &str) -> Result<Endpoint> {
        let mut endpoint = Endpoint::of(registry);
        if let Some(entry) = self
            .entries
            .iter()
            .find(|entry| entry.prefix() == Some(registry))
        {
            if entry.blocked {
                return Err(Error::Blocked(registry.to_owned()));
            }
            endpoint.insecure |= entry.insecure;
        }
        Ok(endpoint)
    }

    /// The entry that counts for an image, and how much of its name it covers.
    fn find(&self, reference: &Reference) -> Result<Option<(&Entry, usize)>> {
        let name = reference.name();
        let found = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, entry.covers(&name)?)))
            .max_by_key(|(entry, _)| entry.prefix().map_or(0, str::len));
        match found {
            Some((entry, _)) if entry.blocked => Err(Error::Blocked(name)),
            other => Ok(other),
        }
    }
}

impl Entry {
    fn prefix(&self) -> Option<&str> {
        self.prefix
            .as_deref()
            .filter(|prefix| !prefix.is_empty())
            .or(self.location.as_deref())
            .filter(|prefix| !prefix.is_empty())
    }

    /// How many characters of `name` the prefix stands for.
    fn covers(&self, name: &str) -> Option<usize> {
        let prefix = self.prefix()?;
        if let Some(domain) = prefix.strip_prefix("*.") {
            let host = name.split('/').next().unwrap_or(name);
            let below = host.strip_suffix(domain)?.strip_suffix('.')?;
            return (!below.is_empty()).then_some(host.len());
        }
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
    }

    fn own(&self, reference: &Reference, matched: usize) -> Result<Candidate> {
        let name = match self.location.as_deref() {
            Some(location) if !location.is_empty() => rewrite(reference, matched, location),
            _ => reference.name(),
        };
        candidate(&name, self.insecure)
    }
}

fn rewrite(reference: &Reference, matched: usize, location: &str) -> String {
    format!("{location}{}", &reference.name()[matched..])
}

/// `host[:port]/path` as a place.
fn candidate(name: &str, insecure: bool) -> Result<Candidate> {
    let wrong = |why: String| Error::Configuration {
        what: format!("`{name}` is no place of an image"),
        why,
    };
    let (registry, path) = name
        .split_once('/')
        .ok_or_else(|| wrong("it has no repository".to_owned()))?;
    Origin::parse(true, registry).map_err(|error| wrong(error.to_string()))?;
    let mut endpoint = Endpoint::of(registry);
    endpoint.insecure |= insecure;
    Ok(Candidate {
        endpoint,
        repository: path
            .parse()
            .map_err(|error: oci::ReferenceError| wrong(error.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        unqualified-search-registries = ["quay.io", "docker.io"]
        short-name-mode = "enforcing"

        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.example:5000"
        insecure = true
        [[registry.mirror]]
        location = "second.example/hub"
        pull-from-mirror = "digest-only"

        [[registry]]
        prefix = "example.com/team"
        location = "internal.example/x"

        [[registry]]
        prefix = "example.com"
        insecure = true

        [[registry]]
        prefix = "*.wild.example"
        location = "one.example"

        [[registry]]
        prefix = "bad.example"
        blocked = true
    "#;

    fn registries() -> Registries {
        let mut registries = Registries::default();
        registries.add("registries.conf", FILE).unwrap();
        registries
    }

    fn pull(text: &str) -> Vec<String> {
        registries()
            .to_pull(&text.parse().unwrap())
            .unwrap()
            .iter()
            .map(|it| {
                let mark = if it.endpoint.insecure { "!" } else { "" };
                format!("{mark}{}/{}", it.endpoint.authority, it.repository)
            })
            .collect()
    }

    #[test]
    fn mirrors_come_first() {
        assert_eq!(
            pull("alpine"),
            [
                "!mirror.example:5000/library/alpine",
                "registry-1.docker.io/library/alpine"
            ]
        );
        let digest = oci::Digest::sha256_of(b"x");
        assert_eq!(pull(&format!("alpine@{digest}")).len(), 3);
        let push = registries().to_push(&"alpine".parse().unwrap()).unwrap();
        assert_eq!(push.endpoint.authority, "registry-1.docker.io");
        assert_eq!(push.endpoint.registry, "docker.io");
    }

    #[test]
    fn the_longest_prefix_counts() {
        assert_eq!(pull("example.com/team/a"), ["internal.example/x/a"]);
        assert_eq!(pull("example.com/teams/a"), ["!example.com/teams/a"]);
        assert_eq!(pull("a.wild.example/b"), ["one.example/b"]);
        assert_eq!(pull("wild.example/b"), ["wild.example/b"]);
        assert_eq!(pull("localhost:5000/b"), ["!localhost:5000/b"]);
        assert_eq!(pull("127.0.0.1:5000/b"), ["!127.0.0.1:5000/b"]);
    }

    #[test]
    fn blocked_is_blocked() {
        let error = registries().to_pull(&"bad.example/a".parse().unwrap());
        assert!(matches!(error, Err(Error::Blocked(_))));
        assert!(
            registries()
                .to_push(&"bad.example/a".parse().unwrap())
                .is_err()
        );
        assert!(registries().endpoint("bad.example").is_err());
    }

    #[test]
    fn later_files_replace() {
        let mut registries = registries();
        registries
            .add("b", "[[registry]]\nlocation = \"bad.example\"\n")
            .unwrap();
        assert!(
            registries
                .to_pull(&"bad.example/a".parse().unwrap())
                .is_ok()
        );
        assert!(
            registries
                .add("c", "[[registry]]\ninsecure = true")
                .is_err()
        );
        assert!(registries.add("c", "[[registry").is_err());
    }

    #[test]
    fn what_version_1_forbids_is_not_read_over() {
        let mut registries = Registries::default();
        for (part, now) in [("insecure", "insecure = true"), ("block", "blocked = true")] {
            let text = format!("[registries.{part}]\nregistries = ['a.example']\n");
            let error = registries.add("f", &text).unwrap_err().to_string();
            assert!(error.contains(now), "{error}");
            let nobody = format!("[registries.{part}]\nregistries = []\n");
            registries.add("f", &nobody).unwrap();
        }
        let search = "[registries.search]\nregistries = ['a.example']\n";
        registries.add("f", search).unwrap();
    }
}
