//! The configuration file: TOML, every key of which is known. Text in, values out; the files that it names are read by
//! whoever asks for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::access::{Rule, Rules};
use super::hooks::Action;
use super::pattern::Pattern;
use super::registry::{Config, Limits, Quota};
use super::retention::{Policy, Retention, Tags};
use super::storage::Collection;

/// What a server is told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// `HOST:PORT`.
    pub listen: Option<String>,
    /// How clients reach it, for the addresses that it gives them: `https://HOST[:PORT]`.
    pub url: Option<String>,
    /// Where it keeps what it is given, if not in a bucket.
    pub folder: Option<PathBuf>,
    /// An object store to keep it in.
    pub bucket: Option<BucketSettings>,
    /// Whether nothing can be pushed or deleted.
    pub read_only: bool,
    /// Whether nothing can be deleted.
    pub no_delete: bool,
    /// Whether an index may list manifests that are not there.
    pub sparse_indexes: bool,
    /// Whether each request is told in a line.
    pub access_log: bool,
    /// Certificate and key.
    pub tls: Option<TlsSettings>,
    /// How users show who they are.
    pub login: Option<LoginSettings>,
    /// What users may do.
    pub allow: Option<Vec<Rule>>,
    /// What is taken.
    pub limits: LimitSettings,
    /// How much repositories may hold.
    pub quota: Vec<QuotaSettings>,
    /// Other registries whose repositories are here as well.
    pub upstream: Vec<UpstreamSettings>,
    /// Who is told of what happens.
    pub webhook: Vec<WebhookSettings>,
    /// What is collected and when.
    pub collection: CollectionSettings,
    /// What is kept.
    pub keep: Vec<KeepSettings>,
    /// When manifests without a tag go.
    pub untagged_for: Option<Seconds>,
    /// Tags that never move.
    pub immutable: Vec<Tags>,
}

/// An object store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BucketSettings {
    /// `https://HOST[:PORT]`; without it, Amazon's.
    pub endpoint: Option<String>,
    /// The bucket.
    pub name: String,
    /// The region.
    #[serde(default = "region")]
    pub region: String,
    /// What all names begin with.
    #[serde(default)]
    pub prefix: String,
    /// The name of the key.
    pub access_key: String,
    /// A file with the key.
    pub secret_key_file: PathBuf,
    /// Whether clients are sent to the object store for blobs.
    #[serde(default)]
    pub redirect: bool,
}

fn region() -> String {
    "us-east-1".to_owned()
}

/// Certificate and key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSettings {
    /// A chain in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

/// How users show who they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoginSettings {
    /// A file of `htpasswd -B`.
    pub htpasswd: Option<PathBuf>,
    /// Whether a password is exchanged for a token.
    #[serde(default)]
    pub tokens: bool,
    /// A file with an Ed25519 key in PKCS#8 (DER) that several servers share.
    pub token_key: Option<PathBuf>,
    /// What this registry is called in tokens.
    #[serde(default = "service")]
    pub service: String,
    /// A server of tokens.
    pub external: Option<ExternalSettings>,
}

fn service() -> String {
    "barque".to_owned()
}

/// A server of tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExternalSettings {
    /// Where clients get tokens.
    pub realm: String,
    /// Who signs them.
    pub issuer: String,
    /// A file with a JWK set or public keys in PEM.
    pub keys: PathBuf,
}

/// What is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitSettings {
    /// Of a manifest.
    pub manifest: Option<Bytes>,
    /// Of a blob.
    pub blob: Option<Bytes>,
    /// Connections at once.
    pub connections: Option<usize>,
    /// For the head of a request.
    pub head: Option<Seconds>,
    /// For the next bytes of a body.
    pub stall: Option<Seconds>,
    /// Requests a second of one address.
    pub requests_per_second: Option<u32>,
}

/// How much repositories may hold together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct QuotaSettings {
    /// Which.
    pub repositories: Vec<Pattern>,
    /// How much.
    pub bytes: Bytes,
}

/// Another registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpstreamSettings {
    /// What its repositories begin with here.
    pub prefix: String,
    /// Where it is, as references name it: `docker.io`.
    pub registry: String,
    /// How long what a tag names is taken to be still right.
    pub fresh_for: Option<Seconds>,
    /// Any certificate will do, and plain HTTP if there is no TLS.
    #[serde(default)]
    pub insecure: bool,
    /// Who this registry is there.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// Somebody who wants to be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookSettings {
    /// Where events are sent.
    pub url: String,
    /// Which actions; all without any.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Of which repositories.
    #[serde(default = "everything")]
    pub repositories: Vec<Pattern>,
    /// A file with what bodies are signed with.
    pub secret_file: Option<PathBuf>,
}

fn everything() -> Vec<Pattern> {
    vec![Pattern::new("**")]
}

/// What is collected and when.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CollectionSettings {
    /// How often; never for 0.
    pub every: Option<Seconds>,
    /// How long a blob without a manifest is kept.
    pub grace: Option<Seconds>,
    /// How long an upload without news is kept.
    pub uploads: Option<Seconds>,
}

/// What is kept of some tags.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeepSettings {
    /// Patterns of repositories.
    pub repositories: Vec<Pattern>,
    /// Patterns of tags.
    pub tags: Vec<Pattern>,
    /// The last so many.
    pub last: Option<usize>,
    /// Those of the last so long.
    #[serde(rename = "for")]
    pub within: Option<Seconds>,
    /// Those that were pulled or set in the last so long.
    pub pulled: Option<Seconds>,
}

/// A time span: `90m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

/// A size: `100`, `4MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
        measured(&text, &units).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is not a time span such as 90m, 24h or 7d"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("kB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("", 1),
        ];
        measured(&text, &units).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not a size such as 4MiB or 2GB"))
        })
    }
}

fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*factor)
    })
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// What is wrong with a text, and where, in one line.
fn malformed(text: &str, error: &toml::de::Error) -> SettingsError {
    let message = error.message().trim();
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before else {
        return SettingsError(message.to_owned());
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default();
    let column = column.chars().count() + 1;
    SettingsError(format!("line {line}, column {column}: {message}"))
}

impl Settings {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// It is not TOML, has a key that is not known, or says things that contradict each other.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        let wrong = |why: &str| Err(SettingsError(why.to_owned()));
        if settings.folder.is_some() && settings.bucket.is_some() {
            return wrong("`folder` and `bucket` exclude each other");
        }
        if settings.allow.is_some() && settings.login.is_none() {
            return wrong("`allow` needs a `login`: without one everybody may do everything");
        }
        if let Some(login) = &settings.login {
            match (&login.htpasswd, &login.external) {
                (None, None) => return wrong("`login` needs `htpasswd` or `external`"),
                (Some(_), Some(_)) => return wrong("`htpasswd` and `external` exclude each other"),
                _ => {}
            }
            if login.external.is_some() && (login.tokens || login.token_key.is_some()) {
                return wrong(
                    "with `external` the tokens come from there: `tokens` and `token-key` are for tokens of this registry",
                );
            }
            if login.token_key.is_some() && !login.tokens {
                return wrong("`token-key` is for `tokens = true`");
            }
            if login.external.is_some() && settings.allow.is_some() {
                return wrong("with `external` the tokens say what is allowed, not `allow`");
            }
        }
        let mut prefixes = BTreeSet::new();
        for upstream in &settings.upstream {
            if !prefixes.insert(&upstream.prefix) {
                let prefix = &upstream.prefix;
                return wrong(&format!("two upstreams have the `prefix` `{prefix}`"));
            }
            if upstream.prefix.parse::<oci::Repository>().is_err() {
                return wrong(
                    "the `prefix` of an upstream is the beginning of a repository's name",
                );
            }
            if upstream.user.is_some() != upstream.password_file.is_some() {
                return wrong("an upstream's `user` and `password-file` go together");
            }
        }
        let keeps = |keep: &KeepSettings| {
            keep.last.is_some() || keep.within.is_some() || keep.pulled.is_some()
        };
        if !settings.keep.iter().all(keeps) {
            return wrong("a `keep` needs `last`, `for` or `pulled`; `last = 0` keeps nothing");
        }
        if settings.limits.connections == Some(0) {
            return wrong("with `connections = 0` nobody is served");
        }
        for webhook in &settings.webhook {
            if webhook.url.parse::<crate::client::Url>().is_err() {
                return wrong("the `url` of a webhook is `https://HOST[:PORT]/PATH` or `http://…`");
            }
        }
        Ok(settings)
    }

    /// How the registry behaves.
    #[must_use]
    pub fn config(&self) -> Config {
        let usual = Limits::default();
        let limits = &self.limits;
        let seconds = |given: Option<Seconds>, usual| {
            given.map_or(usual, |given| std::time::Duration::from_secs(given.0))
        };
        Config {
            limits: Limits {
                manifest: limits.manifest.map_or(usual.manifest, |given| given.0),
                blob: limits.blob.map_or(usual.blob, |given| given.0),
                connections: limits.connections.unwrap_or(usual.connections),
                head: seconds(limits.head, usual.head),
                stall: seconds(limits.stall, usual.stall),
                requests_per_second: limits.requests_per_second,
                ..usual
            },
            read_only: self.read_only,
            deletes: !self.no_delete,
            sparse_indexes: self.sparse_indexes,
            policy: Policy {
                tags: self
                    .keep
                    .iter()
                    .map(|keep| Retention {
                        about: Tags {
                            repositories: keep.repositories.clone(),
                            tags: keep.tags.clone(),
                        },
                        keep_last: keep.last,
                        keep_for: keep.within.map(|within| within.0),
                        keep_pulled: keep.pulled.map(|pulled| pulled.0),
                    })
                    .collect(),
                untagged_for: self.untagged_for.map(|age| age.0),
                immutable: self.immutable.clone(),
            },
            quotas: self
                .quota
                .iter()
                .map(|quota| Quota {
                    repositories: quota.repositories.clone(),
                    bytes: quota.bytes.0,
                })
                .collect(),
        }
    }

    /// What may be done: what is said, else everything by everybody who has a name.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.allow
            .as_ref()
            .map_or_else(Rules::every_user, |rules| Rules(rules.clone()))
    }

    /// What is collected.
    #[must_use]
    pub fn collection(&self) -> Collection {
        let settings = &self.collection;
        Collection {
            grace: settings.grace.map_or(24 * 3600, |grace| grace.0),
            upload_age: settings.uploads.map_or(7 * 24 * 3600, |age| age.0),
            dry_run: false,
        }
    }

    /// Seconds between two collections.
    #[must_use]
    pub fn collect_every(&self) -> Option<u64> {
        let every = self.collection.every.map_or(3600, |every| every.0);
        Some(every).filter(|every| *every > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_whole_file() {
        let settings = Settings::parse(
            r#"
            listen = "0.0.0.0:443"
            url = "https://registry.example"
            folder = "/srv/registry"
            access-log = true
            untagged-for = "7d"

            [tls]
            certificate = "cert.pem"
            key = "key.pem"

            [login]
            htpasswd = "users"
            tokens = true

            [[allow]]
            users = ["anonymous"]
            repositories = ["open/**"]
            actions = ["pull"]

            [limits]
            manifest = "8MiB"
            stall = "30s"
            requests-per-second = 100

            [[quota]]
            repositories = ["team/**"]
            bytes = "2GB"

            [[upstream]]
            prefix = "hub"
            registry = "docker.io"
            fresh-for = "1h"

            [[webhook]]
            url = "https://chat.example/hook"
            actions = ["push", "delete"]

            [collection]
            every = "10m"
            grace = "2h"

            [[keep]]
            repositories = ["**"]
            tags = ["nightly-*"]
            last = 10
            for = "30d"
            pulled = "90d"

            [[immutable]]
            repositories = ["release/**"]
            tags = ["v*"]
            "#,
        )
        .unwrap();
        let config = settings.config();
        assert_eq!(config.limits.manifest, 8 << 20);
        assert_eq!(config.limits.stall.as_secs(), 30);
        assert_eq!(config.quotas[0].bytes, 2_000_000_000);
        assert_eq!(config.policy.tags[0].keep_last, Some(10));
        assert_eq!(config.policy.tags[0].keep_for, Some(30 * 86400));
        assert_eq!(config.policy.tags[0].keep_pulled, Some(90 * 86400));
        assert_eq!(settings.collection().grace, 7200);
        assert_eq!(settings.collect_every(), Some(600));
        assert_eq!(settings.rules().0.len(), 1);
    }

    #[test]
    fn nothing_is_ignored_and_nothing_contradicts() {
        for text in [
            "unknown = 1",
            "[limits]\nmanifests = \"4MiB\"",
            "[limits]\nmanifest = \"much\"",
            "[collection]\ngrace = \"99999999999999999999d\"",
            "folder = \"x\"\n[bucket]\nname = \"b\"\naccess-key = \"k\"\nsecret-key-file = \"f\"",
            "[[allow]]\nusers = []\nrepositories = []\nactions = []",
            "[login]",
            "[login]\nhtpasswd = \"x\"\ntoken-key = \"k\"",
            "[login]\ntokens = true\n[login.external]\nrealm = \"r\"\nissuer = \"i\"\nkeys = \"k\"",
            "[[keep]]\nrepositories = [\"**\"]\ntags = [\"*\"]",
            "[limits]\nconnections = 0",
            "[[upstream]]\nprefix = \"a\"\nregistry = \"x\"\n[[upstream]]\nprefix = \"a\"\nregistry = \"y\"",
            "[[allow]]\nusers = [\"a\"]\nrepositories = [\"b\"]\nactions = [\"own\"]\n[login]\nhtpasswd = \"x\"",
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(Settings::parse("").is_ok());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = Settings::parse("read-only = true\n[limits]\n  blobs = \"1GB\"\n").unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("line 3, column 3: unknown field `blobs`"),
            "{error}"
        );
        let error = Settings::parse("listen =").unwrap_err().to_string();
        assert!(error.starts_with("line 1, column "), "{error}");
    }
}
