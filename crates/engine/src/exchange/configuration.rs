//! Configuration files of the network: where they are, and what they say. Their text is understood in `distribution`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use distribution::client::registries::Registries;
use distribution::client::{
    AuthFile, Certificates, Client, Credentials, Error as ClientError, Options, Patience, Proxies,
};
use oci::Reference;

use super::{ExchangeError, NetworkSettings};
use crate::Error;

/// What the files say.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) registries: Registries,
    pub(crate) credentials: Credentials,
    /// The file that a login is kept in.
    pub(crate) login_file: Option<PathBuf>,
}

impl Configuration {
    pub(crate) fn read(settings: &NetworkSettings) -> Result<Self, ExchangeError> {
        let mut credentials = Credentials::default();
        for path in auth_files(settings) {
            if let Some(text) = read(&path)? {
                credentials
                    .files
                    .push(AuthFile::read(&path.display().to_string(), &text)?);
            }
        }
        let mut registries = Registries::default();
        for path in registry_files(settings)? {
            if let Some(text) = read(&path)? {
                registries.add(&path.display().to_string(), &text)?;
            }
        }
        Ok(Self {
            registries,
            credentials,
            login_file: login_file(settings),
        })
    }

    /// A client that knows all that.
    pub(crate) fn client(&self, settings: &NetworkSettings) -> Result<Client, ExchangeError> {
        let folders = certificate_folders(settings);
        Ok(Client::new(Options {
            proxies: Proxies::read(
                settings.http_proxy.as_deref(),
                settings.https_proxy.as_deref(),
                settings.no_proxy.as_deref(),
            )?,
            credentials: self.credentials.clone(),
            certificates: Some(Arc::new(move |host| certificates(&folders, host))),
            patience: Patience {
                backoff: settings.backoff,
                ..Patience::default()
            },
            ..Options::default()
        }))
    }

    /// Where to ask for an image.
    pub(crate) fn to_pull(
        &self,
        reference: &Reference,
    ) -> Result<Vec<distribution::client::registries::Candidate>, ExchangeError> {
        Ok(self.registries.to_pull(reference)?)
    }
}

/// Files that may have credentials, the first that has some for a registry counts.
fn auth_files(settings: &NetworkSettings) -> Vec<PathBuf> {
    if let Some(only) = &settings.auth_file {
        return vec![only.clone()];
    }
    let mut files = Vec::new();
    files.extend(docker_folder(settings).map(|folder| folder.join("config.json")));
    let runtime = settings.runtime.as_ref();
    files.extend(runtime.map(|folder| folder.join("containers/auth.json")));
    files.extend(config_folder(settings).map(|folder| folder.join("containers/auth.json")));
    files
}

fn login_file(settings: &NetworkSettings) -> Option<PathBuf> {
    let docker = || docker_folder(settings).map(|folder| folder.join("config.json"));
    settings.auth_file.clone().or_else(docker)
}

fn docker_folder(settings: &NetworkSettings) -> Option<PathBuf> {
    let home = || settings.home.as_ref().map(|home| home.join(".docker"));
    settings.docker_config.clone().or_else(home)
}

fn config_folder(settings: &NetworkSettings) -> Option<PathBuf> {
    let home = || settings.home.as_ref().map(|home| home.join(".config"));
    settings.config.clone().or_else(home)
}

/// `registries.conf` and what lies beside it, the weakest first: the user's file counts instead of the host's.
fn registry_files(settings: &NetworkSettings) -> Result<Vec<PathBuf>, ExchangeError> {
    if let Some(only) = &settings.registries {
        return Ok(vec![only.clone()]);
    }
    let system = settings.system.join("containers");
    let user = config_folder(settings).map(|folder| folder.join("containers"));
    let own = user
        .as_ref()
        .map(|folder| folder.join("registries.conf"))
        .filter(|path| sys::fs::exists(path));
    let mut files = vec![own.unwrap_or_else(|| system.join("registries.conf"))];
    for folder in std::iter::once(&system).chain(&user) {
        files.extend(files_in(&folder.join("registries.conf.d"), "conf")?);
    }
    Ok(files)
}

/// Folders that may have one for a host's certificates.
fn certificate_folders(settings: &NetworkSettings) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(config_folder(settings).map(|folder| folder.join("containers/certs.d")));
    folders.extend(docker_folder(settings).map(|folder| folder.join("certs.d")));
    folders.push(settings.system.join("containers/certs.d"));
    folders.push(settings.system.join("docker/certs.d"));
    folders
}

/// The certificates for a host: `*.crt` are authorities, `NAME.cert` and `NAME.key` are who we are there.
fn certificates(folders: &[PathBuf], host: &str) -> Result<Certificates, ClientError> {
    let mut found = Certificates::default();
    // A host cannot have a slash, but a name of two dots would be one folder up.
    if host.starts_with('.') {
        return Ok(found);
    }
    for folder in folders {
        let folder = folder.join(host);
        let wrong = |path: &Path, why: String| ClientError::Configuration {
            what: format!("cannot use `{}`", path.display()),
            why,
        };
        let bytes = |path: &Path| -> Result<Vec<u8>, ClientError> {
            crate::read_text(path)
                .map(String::into_bytes)
                .map_err(|error| wrong(path, error.to_string()))
        };
        let list =
            |kind| files_in(&folder, kind).map_err(|error| wrong(&folder, error.to_string()));
        for path in list("crt")? {
            found.trust(&path.display().to_string(), &bytes(&path)?)?;
        }
        for path in list("cert")? {
            let key = path.with_extension("key");
            found.identify(&path.display().to_string(), &bytes(&path)?, &bytes(&key)?)?;
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// The files in a folder with this ending, sorted; none if there is no folder.
fn files_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, ExchangeError> {
    let wrong = |why: String| {
        ExchangeError::Registry(ClientError::Configuration {
            what: format!("cannot read `{}`", folder.display()),
            why,
        })
    };
    let entries = match sys::fs::optional(sys::fs::read_dir(folder)) {
        Ok(entries) => entries,
        // A folder that is for others only says nothing to us.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) => return Err(wrong(error.to_string())),
    };
    let mut files = Vec::new();
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(|error| wrong(error.to_string()))?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file; `None` if there is none, or it is for others only.
fn read(path: &Path) -> Result<Option<String>, ExchangeError> {
    match crate::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(ExchangeError::Registry(ClientError::Configuration {
            what: format!("cannot read `{}`", path.display()),
            why: error.to_string(),
        })),
    }
}
