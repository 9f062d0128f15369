//! A server from its start to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use distribution::client::{Client, Credential, Credentials, Endpoint, Options, Secret};
use distribution::server::access::{Access, External, Htpasswd, Issuer, Login, VerifyingKeys};
use distribution::server::control::Control;
use distribution::server::storage::{self, Collected, Storage, StorageError};
use distribution::server::{
    AccessRecord, Hook, Observer, Registry, Retired, Server, Tls, TlsError, Upstream,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, RegistryError, read_file, read_text, runtime};

/// What a server tells while it runs.
#[derive(Debug)]
pub enum Served {
    /// It listens here.
    Listening(std::net::SocketAddr),
    /// A request was answered; only if the configuration wants a log of them.
    Answered(AccessRecord),
    /// Something was let go or collected.
    Collected(Retired, Collected),
    /// A collection failed; the next is tried in its time.
    CollectionFailed(StorageError),
    /// Users and certificates were read anew.
    Reloaded,
    /// They could not be; those from before stay.
    ReloadFailed(RegistryError),
    /// It takes no orders from other programs on this machine.
    Deaf(std::io::Error),
    /// Events that wait for webhooks are kept in memory only: the folder for them cannot be used.
    EventsUnkept(std::path::PathBuf, String),
    /// The store of this bucket ignores the conditions of writes: it is for one server at a time.
    Orderless(String),
    /// The storage cannot be used for now.
    Unreachable(StorageError),
    /// It was told to end, and finishes what is under way.
    Stopping,
}

/// Where a server listens that is told nothing else.
const ADDRESS: &str = "127.0.0.1:5000";

/// How long a server that ends waits for what is under way.
const GRACE: Duration = Duration::from_secs(30);

/// Serves until a signal says that it is enough (SIGINT, SIGTERM). SIGHUP makes it read users and certificates anew.
///
/// # Errors
///
/// It cannot begin: the folder is in use or damaged, the address is taken, a file is missing.
pub fn serve(
    place: &Place,
    tell: impl Fn(Served) + Send + Sync + 'static,
) -> Result<(), RegistryError> {
    let tell = Arc::new(tell);
    runtime()?.block_on(async {
        let listening = |kind| signal(kind).map_err(RegistryError::Start);
        let mut interrupt = listening(SignalKind::interrupt())?;
        let mut terminate = listening(SignalKind::terminate())?;
        let mut hangup = listening(SignalKind::hangup())?;
        let settings = &place.settings;
        let storage = place.open()?;
        let has_order = tokio::select! {
            has_order = storage.has_order() => Some(has_order),
            // A bucket that does not answer is not waited for long, and not against the user's will.
            () = tokio::time::sleep(MOMENT) => None,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let mut registry = Registry::new(storage.clone(), settings.config())
            .with_upstreams(upstreams(place)?, place.folder().join("coming"))
            .with_hooks(hooks(place)?, place.proxies()?)
            .map_err(|error| RegistryError::Start(std::io::Error::other(error)))?;
        for (folder, error) in registry.unkept_events() {
            tell(Served::EventsUnkept(folder.to_owned(), error.to_string()));
        }
        if settings.access_log {
            let tell = tell.clone();
            let observer = move |record: &AccessRecord| tell(Served::Answered(record.clone()));
            registry = registry.observed_by(Observer(Arc::new(observer)));
        }
        let registry = Arc::new(registry);
        let token_key = token_key()?;
        registry.set_access(access(place, &token_key)?);
        let address = settings.listen.as_deref().unwrap_or(ADDRESS);
        let mut server = Server::bind(registry.clone(), address)
            .await
            .map_err(RegistryError::Listen)?;
        let tls = tls(place)?;
        if let Some(tls) = &tls {
            server = server.secured_by(tls.clone());
        }
        let control = place.is_folder().then(|| Control::bind(&place.folder()));
        tell(Served::Listening(server.address()));
        let orders = async {
            match control {
                Some(Ok(control)) => control.attend(&registry, settings.collection()).await,
                Some(Err(error)) => tell(Served::Deaf(error)),
                None => {}
            }
            std::future::pending().await
        };
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell(Served::Stopping);
        };
        let reloading = async {
            while hangup.recv().await.is_some() {
                match reload(place, &registry, tls.as_ref(), &token_key) {
                    Ok(()) => tell(Served::Reloaded),
                    Err(error) => tell(Served::ReloadFailed(error)),
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = server.serve(stop, GRACE) => Ok(()),
            never = collect(place, &registry, &*tell) => never,
            never = tell_of_order(has_order, place, &*storage, &*tell) => never,
            never = reloading => never,
            never = orders => never,
        }
    })
}

/// How long a bucket is waited for before the first client is served.
const MOMENT: Duration = Duration::from_secs(10);

/// The wait before a bucket is looked at again that could not be looked at.
const AGAIN: Duration = Duration::from_secs(10);

/// Tells what a bucket lacks that was looked at, and looks again until it can be.
async fn tell_of_order<T>(
    looked: Option<storage::Result<bool>>,
    place: &Place,
    storage: &dyn Storage,
    tell: &impl Fn(Served),
) -> T {
    let mut is_told = false;
    let mut has_order = match looked {
        Some(has_order) => has_order,
        None => storage.has_order().await,
    };
    while let Err(error) = has_order {
        if !is_told {
            tell(Served::Unreachable(error));
            is_told = true;
        }
        tokio::time::sleep(AGAIN).await;
        has_order = storage.has_order().await;
    }
    if let Ok(false) = has_order {
        tell(Served::Orderless(place.name()));
    }
    std::future::pending().await
}

/// Collects now and then, for ever.
async fn collect<T>(place: &Place, registry: &Registry, tell: &impl Fn(Served)) -> T {
    let Some(every) = place.settings.collect_every() else {
        return std::future::pending().await;
    };
    let what = place.settings.collection();
    loop {
        tokio::time::sleep(Duration::from_secs(every)).await;
        match registry.collect(&what).await {
            Ok((retired, collected))
                if retired == Retired::default() && collected == Collected::default() => {}
            Ok((retired, collected)) => tell(Served::Collected(retired, collected)),
            Err(error) => tell(Served::CollectionFailed(error)),
        }
    }
}

/// The wait before an event is sent a second time.
const BACKOFF: Duration = Duration::from_secs(1);

fn hooks(place: &Place) -> Result<Vec<Hook>, RegistryError> {
    let mut all = Vec::new();
    for settings in &place.settings.webhook {
        let Ok(url) = settings.url.parse() else {
            continue;
        };
        let secret = match &settings.secret_file {
            Some(file) => Some(Secret::new(read_text(&place.path(file))?.trim_end())),
            None => None,
        };
        all.push(Hook {
            url,
            actions: settings.actions.clone(),
            repositories: settings.repositories.clone(),
            secret,
            backoff: BACKOFF,
            spool: Some(place.folder().join("hooks")),
        });
    }
    Ok(all)
}

/// How long what a tag of another registry names is taken to be still right.
const FRESH_FOR: u64 = 60;

fn upstreams(place: &Place) -> Result<Vec<Upstream>, RegistryError> {
    let mut all = Vec::new();
    for settings in &place.settings.upstream {
        let Ok(prefix) = settings.prefix.parse() else {
            continue;
        };
        let mut endpoint = Endpoint::of(&settings.registry);
        endpoint.insecure |= settings.insecure;
        let mut credentials = Credentials::default();
        if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
            let password = read_text(&place.path(file))?;
            let credential = Credential::Password {
                user: user.clone(),
                password: Secret::new(password.trim_end()),
            };
            credentials.given = Some((settings.registry.clone(), credential));
        }
        all.push(Upstream {
            prefix,
            endpoint,
            fresh_for: settings.fresh_for.map_or(FRESH_FOR, |given| given.0),
            client: Client::new(Options {
                credentials,
                proxies: place.proxies()?,
                ..Options::default()
            }),
        });
    }
    Ok(all)
}

fn reload(
    place: &Place,
    registry: &Registry,
    tls: Option<&Tls>,
    token_key: &[u8],
) -> Result<(), RegistryError> {
    let access = access(place, token_key)?;
    if let (Some(tls), Some(files)) = (tls, &place.settings.tls) {
        let (chain, key) = (place.path(&files.certificate), place.path(&files.key));
        tls.exchange(&read_file(&chain)?, &read_file(&key)?)
            .map_err(|error| unusable(chain, key, &error))?;
    }
    registry.set_access(access);
    Ok(())
}

fn tls(place: &Place) -> Result<Option<Tls>, RegistryError> {
    let Some(files) = &place.settings.tls else {
        return Ok(None);
    };
    let (chain, key) = (place.path(&files.certificate), place.path(&files.key));
    Tls::new(&read_file(&chain)?, &read_file(&key)?)
        .map(Some)
        .map_err(|error| unusable(chain, key, &error))
}

/// Certificate and key are of no use: the file that the error is about.
fn unusable(chain: PathBuf, key: PathBuf, error: &TlsError) -> RegistryError {
    let path = match error {
        TlsError::Key(_) => key,
        TlsError::Certificate(_) | TlsError::Unusable(_) => chain,
    };
    RegistryError::Settings {
        path,
        why: error.to_string(),
    }
}

/// What tokens are signed with where no file says it: as long as this server runs, whatever is read anew.
fn token_key() -> Result<Vec<u8>, RegistryError> {
    Issuer::make_key().map_err(|error| RegistryError::Start(std::io::Error::other(error)))
}

/// Who may do what, as the files say now; tokens are signed with `token_key` if there is no file for that.
fn access(place: &Place, token_key: &[u8]) -> Result<Access, RegistryError> {
    let Some(login) = &place.settings.login else {
        return Ok(Access::default());
    };
    let wrong = |path: &std::path::Path, why: String| RegistryError::Settings {
        path: path.to_owned(),
        why,
    };
    let login = if let Some(external) = &login.external {
        let path = place.path(&external.keys);
        let keys = VerifyingKeys::parse(&read_text(&path)?)
            .map_err(|error| wrong(&path, error.to_string()))?;
        Login::External(External {
            realm: external.realm.clone(),
            service: login.service.clone(),
            issuer: external.issuer.clone(),
            keys,
        })
    } else {
        let path = place.path(
            login
                .htpasswd
                .as_deref()
                .unwrap_or(std::path::Path::new("")),
        );
        let users =
            Htpasswd::parse(&read_text(&path)?).map_err(|error| wrong(&path, error.to_string()))?;
        if login.tokens {
            let path = login.token_key.as_deref().map(|path| place.path(path));
            let file = path.as_deref().map(read_file).transpose()?;
            let key = file.as_deref().unwrap_or(token_key);
            let url = place.settings.url.clone();
            let mut issuer =
                Issuer::new(Some(key), url, login.service.clone()).map_err(|error| {
                    wrong(
                        path.as_deref().unwrap_or(std::path::Path::new("")),
                        error.to_string(),
                    )
                })?;
            if place.settings.tls.is_some() {
                issuer = issuer.secured();
            }
            Login::Token(users, issuer)
        } else {
            Login::Password(users)
        }
    };
    Ok(Access {
        login,
        rules: place.settings.rules(),
    })
}
