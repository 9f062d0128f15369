//! `login` and `logout`: credentials are tried before they are kept.

use std::path::Path;

use distribution::client::credentials::{Helper, Place, encode, login_key};
use distribution::client::{AuthFile, Credential, Credentials, Kind, Origin, Secret};
use serde_json::{Map, Value, json};

use super::{Configuration, ExchangeError};
use crate::{Engine, Error};

/// Docker Hub, where no registry is named.
const HUB: &str = "docker.io";

/// Who logs in where.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The registry; Docker Hub if not given.
    pub registry: Option<String>,
    /// The user.
    pub user: String,
    /// The password or token.
    pub password: Secret,
}

/// Where credentials are forgotten.
#[derive(Debug, Clone)]
pub struct LogoutRequest {
    /// The registry; Docker Hub if not given.
    pub registry: Option<String>,
}

/// A registry as a person names it: `https://host/v1/` means `host`.
fn registry_name(text: Option<&str>) -> Result<String, Error> {
    let text = text.unwrap_or(HUB).trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let rest = match scheme {
        "http" | "https" => rest,
        // Through ssh it is ssh that logs in.
        _ => " ",
    };
    let host = rest.split('/').next().unwrap_or(rest);
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => Ok(HUB.to_owned()),
        host if Origin::parse(true, host).is_ok() => Ok(host.to_owned()),
        _ => Err(ExchangeError::NoRegistry(text.chars().take(140).collect()).into()),
    }
}

impl Engine {
    /// Tries credentials and keeps them for later: with the credential helper that is set up for the registry, else in
    /// `config.json`. Returns where they are kept.
    ///
    /// # Errors
    ///
    /// The registry does not let us in; then nothing is kept. Or they cannot be kept.
    pub fn login(&self, request: &LoginRequest) -> Result<String, Error> {
        let registry = registry_name(request.registry.as_deref())?;
        let credential = Credential::Password {
            user: request.user.clone(),
            password: request.password.clone(),
        };
        let mut configuration = Configuration::read(self.network().settings()?)?;
        configuration.credentials = Credentials {
            given: Some((registry.clone(), credential.clone())),
            files: Vec::new(),
        };
        let client = configuration.client(self.network().settings()?)?;
        let endpoint = configuration.registries.endpoint(&registry)?;
        let checked = self.network().run(client.check_login(&endpoint))?;
        checked.map_err(|error| match error.kind() {
            Kind::Unauthorized => Error::from(ExchangeError::Login {
                registry: registry.clone(),
                user: request.user.clone(),
            }),
            _ => error.into(),
        })?;
        let path = configuration
            .login_file
            .ok_or_else(|| keep_error(&registry, "there is no home directory"))?;
        match place(&path, &registry)? {
            Place::Helper(name) => {
                let helper = Helper { name: &name };
                let kept = helper.store(login_key(&registry), &credential);
                self.network().run(kept)??;
                // Docker keeps an empty entry, which says that there is something to ask the helper for.
                change(&path, &registry, |auths| {
                    auths.insert(login_key(&registry).to_owned(), json!({}));
                })?;
                Ok(format!("docker-credential-{name}"))
            }
            Place::File => {
                let auth = encode(&request.user, &request.password);
                change(&path, &registry, |auths| {
                    let entry = json!({ "auth": auth.reveal() });
                    auths.insert(login_key(&registry).to_owned(), entry);
                })?;
                Ok(path.display().to_string())
            }
        }
    }

    /// Forgets the credentials of a registry. Returns its name.
    ///
    /// # Errors
    ///
    /// There are none, or they cannot be taken away.
    pub fn logout(&self, request: &LogoutRequest) -> Result<String, Error> {
        let registry = registry_name(request.registry.as_deref())?;
        let configuration = Configuration::read(self.network().settings()?)?;
        let path = configuration
            .login_file
            .ok_or_else(|| keep_error(&registry, "there is no home directory"))?;
        let mut known = false;
        if let Place::Helper(name) = place(&path, &registry)? {
            let helper = Helper { name: &name };
            let key = login_key(&registry);
            let found = self.network().run(async {
                let found = helper.get(key).await?.is_some();
                if found {
                    helper.erase(key).await?;
                }
                Ok::<_, distribution::client::Error>(found)
            })?;
            known |= found?;
        }
        if sys::fs::exists(&path) {
            change(&path, &registry, |auths| {
                // Old entries have whole addresses; one of a part of a registry is another's.
                let means = |key: &str| {
                    (key.contains("://") || !key.contains('/'))
                        && registry_name(Some(key)).is_ok_and(|name| name == registry)
                };
                let before = auths.len();
                auths.retain(|key, _| !means(key));
                known |= auths.len() < before;
            })?;
        }
        if known {
            Ok(registry)
        } else {
            Err(ExchangeError::NotLoggedIn(registry).into())
        }
    }
}

fn keep_error(registry: &str, why: &str) -> Error {
    ExchangeError::Keep {
        registry: registry.to_owned(),
        why: why.to_owned(),
    }
    .into()
}

fn place(path: &Path, registry: &str) -> Result<Place, Error> {
    if !sys::fs::exists(path) {
        return Ok(Place::File);
    }
    let text = crate::read_text(path)?;
    Ok(AuthFile::read(&path.display().to_string(), &text)?.place(registry))
}

/// Changes the entries of a file and nothing else in it; at once or not at all. Only its owner may read it.
fn change(
    path: &Path,
    registry: &str,
    edit: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), Error> {
    let mut document = if sys::fs::exists(path) {
        let text = crate::read_text(path)?;
        serde_json::from_str(&text)
            .map_err(|_| keep_error(registry, &format!("`{}` is malformed", path.display())))?
    } else {
        json!({})
    };
    let auths = document
        .as_object_mut()
        .map(|all| all.entry("auths").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut);
    let auths =
        auths.ok_or_else(|| keep_error(registry, &format!("`{}` is malformed", path.display())))?;
    edit(auths);
    if let Some(folder) = path.parent() {
        sys::fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    Ok(sys::fs::replace_private(path, text.as_bytes())?)
}
