//! Who we are to which registry: `config.json`, `auth.json` and credential helpers.
//!
//! Files are read by the caller; here their text becomes [`AuthFile`] and the helpers that they name are asked. A helper is
//! a program `docker-credential-NAME` that gets the registry on its standard input and answers with JSON, so that no secret
//! is ever in an argument or the environment.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::error::{Error, Result};
use super::secret::Secret;

/// Docker Hub's key in `config.json`, from the days of its first protocol.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The most that a helper answers.
const MAX_ANSWER: u64 = 64 << 10;

/// How long a helper may take: it may ask a person, or a cloud.
const HELPER_PATIENCE: Duration = Duration::from_secs(120);

/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What opens a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A name and a password, or a token used as one.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token for the registry's token service.
    Identity(Secret),
    /// A token for the registry itself.
    Registry(Secret),
}

/// Credentials as Docker and podman keep them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Where a registry's credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file itself.
    File,
    /// With this helper.
    Helper(String),
}

impl AuthFile {
    /// Reads the text of a file; `name` is for messages.
    ///
    /// # Errors
    ///
    /// It is not such a file. The message does not quote it.
    pub fn read(name: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::Configuration {
            what: format!("cannot read the credentials in `{name}`"),
            why: format!(
                "it is malformed at line {}, column {}",
                error.line(),
                error.column()
            ),
        })
    }

    /// Where the credentials of `registry` are kept, or would be kept after a login.
    #[must_use]
    pub fn place(&self, registry: &str) -> Place {
        let own = keys(registry)
            .iter()
            .find_map(|key| self.helpers.get(key))
            .or(self.store.as_ref());
        match own.filter(|helper| !helper.is_empty()) {
            Some(helper) => Place::Helper(helper.clone()),
            None => Place::File,
        }
    }

    /// What the file itself has for a repository of `registry`: the most specific entry counts.
    ///
    /// # Errors
    ///
    /// The entry is malformed.
    pub fn find(&self, registry: &str, repository: Option<&str>) -> Result<Option<Credential>> {
        let mut names: Vec<String> = Vec::new();
        if let Some(repository) = repository {
            let mut path = repository;
            names.push(format!("{registry}/{path}"));
            while let Some((above, _)) = path.rsplit_once('/') {
                names.push(format!("{registry}/{above}"));
                path = above;
            }
        }
        names.extend(keys(registry));
        let exact = names.iter().find_map(|name| self.auths.get(name));
        // Old files have whole addresses as keys.
        let entry = exact.or_else(|| {
            self.auths
                .iter()
                .find(|(key, _)| keys(registry).iter().any(|name| host_of(key) == name))
                .map(|(_, entry)| entry)
        });
        entry.map_or(Ok(None), |entry| entry.credential(registry))
    }
}

/// The names under which a registry's credentials may be kept, the usual one first.
fn keys(registry: &str) -> Vec<String> {
    if registry == "docker.io" {
        [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
        ]
        .map(str::to_owned)
        .to_vec()
    } else {
        vec![registry.to_owned()]
    }
}

/// The key under which a login to `registry` is kept.
#[must_use]
pub fn login_key(registry: &str) -> &str {
    if registry == "docker.io" {
        HUB_KEY
    } else {
        registry
    }
}

fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    // A key with a path and no scheme is podman's way to name one namespace.
    if rest.len() == key.len() {
        return key;
    }
    rest.split('/').next().unwrap_or(rest)
}

impl Entry {
    fn credential(&self, registry: &str) -> Result<Option<Credential>> {
        let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credential::Registry(token)));
        }
        if let Some(auth) = given(&self.auth) {
            return decode(&auth).map(Some).ok_or_else(|| Error::Credentials {
                registry: registry.to_owned(),
                why: "the entry in the file is malformed".to_owned(),
            });
        }
        let user = self.username.clone().filter(|user| !user.is_empty());
        Ok(user.map(|user| Credential::Password {
            user,
            password: self.password.clone().unwrap_or_else(|| Secret::new("")),
        }))
    }
}

/// `user:password` in base64.
fn decode(auth: &Secret) -> Option<Credential> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(auth.reveal().trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credential::Password {
        user: user.to_owned(),
        // Some old versions of Docker padded with zero bytes.
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

/// `user:password` in base64: what is kept in a file.
#[must_use]
pub fn encode(user: &str, password: &Secret) -> Secret {
    let pair = format!("{user}:{}", password.reveal());
    Secret::new(base64::engine::general_purpose::STANDARD.encode(pair))
}

/// What a helper answers, and what `store` gives it.
#[derive(Serialize, Deserialize)]
struct Answer {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// A program that keeps credentials: `docker-credential-NAME`.
#[derive(Debug, Clone)]
pub struct Helper<'a> {
    /// Its name.
    pub name: &'a str,
}

impl Helper<'_> {
    /// What it has for `key`.
    ///
    /// # Errors
    ///
    /// It cannot be run, or fails otherwise than by not having any.
    pub async fn get(&self, key: &str) -> Result<Option<Credential>> {
        let (success, output) = self.run("get", key, key.as_bytes()).await?;
        if !success {
            // The protocol has no codes; these words are the ones of the library that all helpers are made with.
            let said = String::from_utf8_lossy(&output).to_lowercase();
            if said.contains("not found") || said.contains("no credentials") {
                return Ok(None);
            }
            let said = crate::wire::sanitised(&said, 200);
            return Err(self.failed(key, &format!("fails: {said}")));
        }
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| self.failed(key, "gives a malformed answer"))?;
        Ok(Some(if answer.user == TOKEN_USER {
            Credential::Identity(Secret::new(answer.secret))
        } else {
            Credential::Password {
                user: answer.user,
                password: Secret::new(answer.secret),
            }
        }))
    }

    /// Gives it a credential to keep.
    ///
    /// # Errors
    ///
    /// It cannot be run, or fails.
    pub async fn store(&self, key: &str, credential: &Credential) -> Result<()> {
        let (user, secret) = match credential {
            Credential::Password { user, password } => (user.as_str(), password),
            Credential::Identity(token) | Credential::Registry(token) => (TOKEN_USER, token),
        };
        let entry = Answer {
            server: key.to_owned(),
            user: user.to_owned(),
            secret: secret.reveal().to_owned(),
        };
        // Three strings always have a form in JSON.
        let input = serde_json::to_vec(&entry).unwrap_or_default();
        match self.run("store", key, &input).await? {
            (true, _) => Ok(()),
            (false, said) => Err(self.said(key, &said)),
        }
    }

    /// Has it forget what it has for `key`.
    ///
    /// # Errors
    ///
    /// It cannot be run, or fails.
    pub async fn erase(&self, key: &str) -> Result<()> {
        match self.run("erase", key, key.as_bytes()).await? {
            (true, _) => Ok(()),
            (false, said) => Err(self.said(key, &said)),
        }
    }

    fn said(&self, key: &str, said: &[u8]) -> Error {
        let said = crate::wire::sanitised(&String::from_utf8_lossy(said), 200);
        self.failed(key, &format!("fails: {said}"))
    }

    fn failed(&self, key: &str, why: &str) -> Error {
        Error::Helper {
            registry: key.to_owned(),
            name: self.name.to_owned(),
            why: why.to_owned(),
        }
    }

    async fn run(&self, verb: &str, key: &str, input: &[u8]) -> Result<(bool, Vec<u8>)> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !self.name.bytes().all(plain) {
            return Err(self.failed(key, "is no name of a program"));
        }
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => self.failed(key, "is not installed"),
            _ => self.failed(key, &format!("cannot be run: {error}")),
        };
        let mut child = Command::new(format!("docker-credential-{}", self.name))
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(io)?;
        let work = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A helper that does not read what it does not need is none of our business.
                stdin.write_all(input).await.ok();
            }
            let mut output = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout
                    .take(MAX_ANSWER)
                    .read_to_end(&mut output)
                    .await
                    .map_err(io)?;
            }
            let status = child.wait().await.map_err(io)?;
            Ok((status.success(), output))
        };
        tokio::time::timeout(HELPER_PATIENCE, work)
            .await
            .unwrap_or_else(|_| Err(self.failed(key, "does not answer")))
    }
}

/// All that is known, in the order in which it is asked.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Given by the person for this one command; goes to this registry only.
    pub given: Option<(String, Credential)>,
    /// The files.
    pub files: Vec<AuthFile>,
}

impl Credentials {
    /// What opens `registry`, or a part of it.
    ///
    /// # Errors
    ///
    /// An entry is malformed or a helper fails.
    pub async fn find(
        &self,
        registry: &str,
        repository: Option<&str>,
    ) -> Result<Option<Credential>> {
        if let Some((only, credential)) = &self.given
            && only == registry
        {
            return Ok(Some(credential.clone()));
        }
        for file in &self.files {
            if let Place::Helper(name) = file.place(registry)
                && let Some(found) = (Helper { name: &name }).get(login_key(registry)).await?
            {
                return Ok(Some(found));
            }
            if let Some(found) = file.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    #[test]
    fn finds_what_docker_and_podman_wrote() {
        let file = AuthFile::read(
            "config.json",
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpwOnc="},
                "quay.io": {"auth": "YTpi"},
                "quay.io/team": {"auth": "Yzpk"},
                "https://old.example/v1/": {"auth": "ZTpm"},
                "token.example": {"auth": "eDp5", "identitytoken": "it"},
                "plain.example": {"username": "g", "password": "h"},
                "broken.example": {"auth": "%%%"},
                "empty.example": {}
            }, "credHelpers": {"cloud.example": "cloud"}, "credsStore": ""}"#,
        )
        .unwrap();
        let find = |registry: &str, repository| file.find(registry, repository).unwrap();
        assert_eq!(
            find("docker.io", Some("library/alpine")),
            password("u", "p:w")
        );
        assert_eq!(find("quay.io", Some("other/x")), password("a", "b"));
        assert_eq!(find("quay.io", Some("team/x/y")), password("c", "d"));
        assert_eq!(find("old.example", None), password("e", "f"));
        assert_eq!(find("plain.example", None), password("g", "h"));
        assert_eq!(
            find("token.example", None),
            Some(Credential::Identity(Secret::new("it")))
        );
        assert_eq!(find("empty.example", None), None);
        assert_eq!(find("io", None), None);
        assert!(file.find("broken.example", None).is_err());
        assert_eq!(
            file.place("cloud.example"),
            Place::Helper("cloud".to_owned())
        );
        assert_eq!(file.place("quay.io"), Place::File);
    }

    #[test]
    fn messages_do_not_quote_secrets() {
        let error = AuthFile::read("f", r#"{"auths": {"a": {"auth": hunter2"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let file = AuthFile::read("f", r#"{"auths": {"a": {"auth": "hunter2!"}}}"#).unwrap();
        assert!(!format!("{file:?}").contains("hunter2"));
        let error = file.find("a", None).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let encoded = encode("u", &Secret::new("p:w"));
        assert_eq!(decode(&encoded), password("u", "p:w"));
    }
}
