//! Authentication with one registry: what it wants, and the tokens that were got.
//!
//! # Where credentials go
//!
//! To the registry itself, or to the token service that it names (the *realm*). A registry that has shown its certificate may
//! name any service that does so too; one without TLS could be anybody, so it may only name a service on its own host.
//! Nothing ever goes from TLS to a place without.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::attempts::retry_after;
use super::credentials::Credential;
use super::error::{Access, Asked, Error, Result};
use super::host::Host;
use super::secret::Secret;
use super::url::Url;
use crate::wire::{Challenge, Scope, encode_component};

/// The largest answer of a token service, 1 MiB: what other clients allow.
const MAX_TOKEN: usize = 1 << 20;

/// A token lives that long if nothing else is said, as the specification of tokens has it.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A token that ends this soon is not used any more: a request takes time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(10);

/// Most tokens that are kept for one registry.
const MAX_TOKENS: usize = 256;

/// How the registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: String, service: String },
}

/// What a token was given for. The realm is part of it: a registry that changes its realm gets new tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: String,
    service: String,
    scopes: Vec<Scope>,
    identity: Option<Credential>,
}

struct Token {
    value: Secret,
    until: Instant,
}

/// What is known about getting into one registry.
#[derive(Default)]
pub(crate) struct Auth {
    scheme: Mutex<Option<Scheme>>,
    tokens: Mutex<HashMap<Key, Token>>,
    /// By repository: a file may have other credentials for a part of a registry.
    credentials: Mutex<HashMap<Option<String>, Option<Credential>>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

impl Auth {
    /// Learns from the challenges of an answer 401 how to ask.
    pub(crate) async fn learn(&self, host: &Host, headers: &HeaderMap) -> Result<()> {
        let challenges: Vec<Challenge> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(Challenge::read)
            .collect();
        let bearer = challenges.iter().find_map(|challenge| {
            (challenge.scheme == "bearer").then_some(())?;
            Some(Scheme::Bearer {
                realm: challenge.get("realm")?.to_owned(),
                service: challenge.get("service").unwrap_or_default().to_owned(),
            })
        });
        let basic = challenges
            .iter()
            .any(|challenge| challenge.scheme == "basic")
            .then_some(Scheme::Basic);
        match (bearer.or(basic), challenges.first()) {
            (Some(scheme), _) => {
                *self.scheme.lock().await = Some(scheme);
                Ok(())
            }
            (None, Some(other)) => Err(Error::Scheme {
                host: host.name().to_owned(),
                scheme: crate::wire::sanitised(&other.scheme, 40),
            }),
            // A 401 without a challenge is an error of its own, told with what the registry says.
            (None, None) => Ok(()),
        }
    }

    /// The `Authorization` for a request that needs `scopes`, if one is known to be wanted.
    pub(crate) async fn header(
        &self,
        host: &Host,
        repository: Option<&str>,
        scopes: &[Scope],
    ) -> Result<Option<HeaderValue>> {
        let scheme = self.scheme.lock().await.clone();
        let Some(scheme) = scheme else {
            return Ok(None);
        };
        let credential = self.credential(host, repository).await?;
        let text = match (scheme, credential) {
            (_, Some(Credential::Registry(token))) => format!("Bearer {}", token.reveal()),
            (Scheme::Basic, Some(Credential::Password { user, password })) => {
                basic(&user, &password)
            }
            (Scheme::Basic, _) => return Ok(None),
            (Scheme::Bearer { realm, service }, credential) => {
                let mut scopes = scopes.to_vec();
                scopes.sort();
                let key = Key {
                    realm,
                    service,
                    scopes,
                    identity: credential,
                };
                format!("Bearer {}", self.token(host, key).await?.reveal())
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Credentials {
            registry: host.name().to_owned(),
            why: "it has characters that cannot be sent".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// As whom requests about `repository` are sent.
    pub(crate) async fn access(&self, repository: Option<&str>) -> Access {
        let scheme = self.scheme.lock().await.clone();
        let known = self.credentials.lock().await;
        let known = known.get(&repository.map(str::to_owned));
        match (scheme, known.and_then(Option::as_ref)) {
            (None, _) => Access::Open,
            (_, None) => Access::Nobody,
            (Some(Scheme::Basic), _) | (_, Some(Credential::Registry(_))) => Access::Somebody,
            (Some(Scheme::Bearer { .. }), _) => Access::Member,
        }
    }

    /// Forgets the tokens that were used for `scopes`: the registry does not take them any more.
    pub(crate) async fn forget(&self, scopes: &[Scope]) {
        self.tokens
            .lock()
            .await
            .retain(|key, _| !covers(&key.scopes, scopes));
    }

    async fn credential(
        &self,
        host: &Host,
        repository: Option<&str>,
    ) -> Result<Option<Credential>> {
        let mut known = self.credentials.lock().await;
        let repository = repository.map(str::to_owned);
        if let Some(credential) = known.get(&repository) {
            return Ok(credential.clone());
        }
        let found = host
            .credentials()
            .find(host.name(), repository.as_deref())
            .await?;
        known.insert(repository, found.clone());
        Ok(found)
    }

    /// A token that was got before and still lives, or a new one. Only one is asked for at a time.
    async fn token(&self, host: &Host, key: Key) -> Result<Secret> {
        let mut tokens = self.tokens.lock().await;
        let now = Instant::now();
        tokens.retain(|_, token| token.until > now);
        let known = tokens.iter().find(|(known, _)| {
            known.realm == key.realm
                && known.service == key.service
                && known.identity == key.identity
                && covers(&known.scopes, &key.scopes)
        });
        if let Some((_, token)) = known {
            return Ok(token.value.clone());
        }
        let token = fetch(host, &key).await?;
        let value = token.value.clone();
        if tokens.len() < MAX_TOKENS {
            tokens.insert(key, token);
        }
        Ok(value)
    }
}

/// True if a token for `known` is enough for `wanted`.
fn covers(known: &[Scope], wanted: &[Scope]) -> bool {
    wanted
        .iter()
        .all(|wanted| known.iter().any(|known| known.covers(wanted)))
        && known.is_empty() == wanted.is_empty()
}

fn basic(user: &str, password: &Secret) -> String {
    let pair = format!("{user}:{}", password.reveal());
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

/// Where the registry's token service is, if it may be asked with credentials.
fn realm(host: &Host, realm: &str, secret: bool) -> Result<Url> {
    let refused = |why| Error::Realm {
        host: host.name().to_owned(),
        realm: crate::wire::sanitised(realm, 200),
        why,
    };
    let url: Url = realm
        .parse()
        .map_err(|_| refused("it is no http or https address"))?;
    let registry = host.origin()?;
    if registry.is_secure() && !url.origin().is_secure() {
        return Err(refused(
            "the registry uses TLS, but the address would be asked without",
        ));
    }
    let same = registry.host() == url.origin().host()
        || (registry.is_loopback() && url.origin().is_loopback());
    if secret && !registry.is_secure() && !same {
        return Err(refused(
            "the registry is not protected by TLS, so it may not send credentials elsewhere",
        ));
    }
    Ok(url)
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

async fn fetch(host: &Host, key: &Key) -> Result<Token> {
    let what = format!("token of `{}`", host.name());
    let url = realm(host, &key.realm, key.identity.is_some())?;
    let began = Instant::now();
    let (method, url, headers, body) = match &key.identity {
        Some(Credential::Identity(token)) => {
            let (headers, body) = form(key, token);
            (Method::POST, url, headers, body)
        }
        other => {
            let url = question(url, key, other.as_ref());
            (
                Method::GET,
                url,
                question_headers(other.as_ref())?,
                Bytes::new(),
            )
        }
    };
    let mut answer = host.ask_realm(&what, &method, url, headers, body).await?;
    let body = answer
        .body
        .bounded(MAX_TOKEN)
        .await?
        .ok_or_else(|| Error::answer(&what, "it is too long"))?;
    if !answer.status.is_success() {
        let document = crate::wire::ErrorDocument::read(&body).unwrap_or_default();
        return Err(Error::Status {
            what,
            status: answer.status.as_u16(),
            document,
            retry_after: retry_after(&answer.headers),
            asked: Some(Box::new(Asked {
                registry: host.name().to_owned(),
                repository: None,
                access: match key.identity {
                    Some(_) => Access::Somebody,
                    None => Access::Nobody,
                },
            })),
        });
    }
    let parsed: Answer =
        serde_json::from_slice(&body).map_err(|_| Error::answer(&what, "it is malformed"))?;
    let value = [parsed.token, parsed.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or_else(|| Error::answer(&what, "it has no token"))?;
    let life = parsed.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    // A life so short that the margin would eat it is used for half.
    let life = life.saturating_sub(MARGIN.min(life / 2));
    Ok(Token {
        value: Secret::new(value),
        until: began
            .checked_add(life)
            .unwrap_or(began + Duration::from_secs(3600)),
    })
}

/// The query of a token: service, account and scopes.
fn question(mut url: Url, key: &Key, credential: Option<&Credential>) -> Url {
    if !key.service.is_empty() {
        url = url.with_query("service", &key.service);
    }
    if let Some(Credential::Password { user, .. }) = credential {
        url = url.with_query("account", user);
    }
    for scope in &key.scopes {
        url = url.with_query("scope", &scope.to_string());
    }
    url
}

fn question_headers(credential: Option<&Credential>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(Credential::Password { user, password }) = credential {
        let mut value =
            HeaderValue::from_str(&basic(user, password)).map_err(|_| Error::Credentials {
                registry: user.clone(),
                why: "it has characters that cannot be sent".to_owned(),
            })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The form of OAuth 2 for an identity token.
fn form(key: &Key, token: &Secret) -> (HeaderMap, Bytes) {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    let pairs = [
        ("grant_type", "refresh_token"),
        ("service", &key.service),
        ("client_id", "barque"),
        ("scope", &scopes.join(" ")),
        ("refresh_token", token.reveal()),
    ];
    let text: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode_component(value)))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    (headers, Bytes::from(text.join("&")))
}
