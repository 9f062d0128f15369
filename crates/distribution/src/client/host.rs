//! One registry as it is reached: where it answers, what it wants to see, requests with retries and redirects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::OnceCell;

use super::attempts::{Attempts, retry_after};
use super::auth::Auth;
use super::connect::{Place, Way};
use super::credentials::Credentials;
use super::error::{Asked, Error, Result};
use super::payload::{OnBytes, Outgoing, Source};
use super::tls::{Certificates, Tls};
use super::transport::{Response, Transport};
use super::url::{Origin, Url};
use super::zone::Zone;
use crate::wire::{ErrorDocument, MAX_ERROR_BODY, Scope};

/// Redirects that lead on for longer lead nowhere.
const MAX_REDIRECTS: usize = 5;

/// Finds what `certs.d` has for a host.
pub type FindCertificates = Arc<dyn Fn(&str) -> Result<Certificates> + Send + Sync>;

/// How a registry is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The registry as references name it; credentials are kept under it.
    pub registry: String,
    /// Host and port that answer for it.
    pub authority: String,
    /// Any certificate will do, and plain HTTP if there is no TLS.
    pub insecure: bool,
    /// A program whose standard streams are the connection, instead of the network.
    pub command: Option<Arc<[String]>>,
}

impl Endpoint {
    /// The endpoint that a registry has without any configuration: Docker Hub's own host for `docker.io`, and this
    /// machine's registries without TLS if need be, as Docker does.
    #[must_use]
    pub fn of(registry: &str) -> Self {
        let authority = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let local = Origin::parse(true, authority).is_ok_and(|origin| origin.is_loopback());
        Self {
            registry: registry.to_owned(),
            authority: authority.to_owned(),
            insecure: local,
            command: None,
        }
    }
}

/// What all registries of a client share.
pub(crate) struct Shared {
    pub(crate) transport: Arc<Transport>,
    pub(crate) credentials: Credentials,
    pub(crate) certificates: Option<FindCertificates>,
    pub(crate) tls: Mutex<HashMap<(String, bool), Tls>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// The TLS for a host; hosts without certificates of their own share one.
    pub(crate) fn tls(&self, authority: &str, verify: bool) -> Result<Tls> {
        let certificates = match &self.certificates {
            Some(find) => find(authority)?,
            None => Certificates::default(),
        };
        let key = if certificates.is_empty() {
            (String::new(), verify)
        } else {
            (authority.to_owned(), verify)
        };
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = known.get(&key) {
            return Ok(tls.clone());
        }
        let tls = Tls::new(&certificates, verify)?;
        known.insert(key, tls.clone());
        Ok(tls)
    }
}

/// One request, without a streamed body.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) scopes: &'a [Scope],
    pub(crate) repository: Option<&'a str>,
}

/// Where a registry answered the first time.
#[derive(Debug)]
pub(crate) struct Base {
    place: Place,
    /// Where that is.
    zone: Zone,
}

/// One registry.
#[derive(Debug)]
pub(crate) struct Host {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    base: OnceCell<Base>,
    auth: Auth,
}

impl Host {
    pub(crate) fn new(shared: Arc<Shared>, endpoint: Endpoint) -> Self {
        Self {
            shared,
            endpoint,
            base: OnceCell::new(),
            auth: Auth::default(),
        }
    }

    /// The registry as references name it.
    pub(crate) fn name(&self) -> &str {
        &self.endpoint.registry
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.shared.transport
    }

    /// Where it answers; known once it was asked anything.
    pub(crate) fn origin(&self) -> Result<&Origin> {
        self.base
            .get()
            .map(|base| &base.place.origin)
            .ok_or_else(|| Error::answer(self.name(), "it has not been asked yet"))
    }

    /// The URL of `path` on this registry.
    pub(crate) async fn url(&self, path: &str) -> Result<Url> {
        let base = self.base().await?;
        Url::new(base.place.origin.clone(), path).map_err(Error::Address)
    }

    /// Where it answers. The first time this asks `/v2/`, without credentials, and learns what it wants to see.
    pub(crate) async fn base(&self) -> Result<&Base> {
        self.base.get_or_try_init(|| self.ping()).await
    }

    async fn ping(&self) -> Result<Base> {
        let address =
            |secure| Origin::parse(secure, &self.endpoint.authority).map_err(Error::Address);
        if let Some(command) = &self.endpoint.command {
            let place = Place {
                origin: address(false)?,
                way: Way::Command(command.clone()),
            };
            return self.ask(place).await.map_err(|error| match error {
                Error::Connect { why, .. } | Error::Broken { why, .. } => Error::Program {
                    program: command.first().cloned().unwrap_or_default(),
                    host: self.endpoint.authority.clone(),
                    why,
                },
                other => other,
            });
        }
        let place = |secure| -> Result<Place> {
            Ok(Place {
                origin: address(secure)?,
                way: Way::Network {
                    tls: self
                        .shared
                        .tls(&self.endpoint.authority, !self.endpoint.insecure)?,
                    led_from: None,
                },
            })
        };
        match self.ask(place(true)?).await {
            Err(Error::Connect { .. } | Error::Broken { .. } | Error::Proxy { .. })
                if self.endpoint.insecure =>
            {
                self.ask(place(false)?).await
            }
            other => other,
        }
    }

    async fn ask(&self, place: Place) -> Result<Base> {
        let url = Url::new(place.origin.clone(), "/v2/").map_err(Error::Address)?;
        let mut attempt = 0;
        let answer = loop {
            attempt += 1;
            let answer = self
                .shared
                .transport
                .send(
                    &place,
                    &url,
                    &Method::GET,
                    &plain_headers(),
                    Outgoing::empty(),
                )
                .await;
            // Whoever cannot be connected to is not waited for: most often the name is wrong.
            let again = match &answer {
                Err(Error::Stalled { .. }) => attempt < 2,
                // What may not speak TLS is asked without, and a program that ends has said why.
                Err(Error::Broken { .. }) => {
                    attempt < self.transport().patience.attempts
                        && !(self.endpoint.insecure && place.origin.is_secure())
                        && self.endpoint.command.is_none()
                }
                _ => false,
            };
            if !again {
                break answer?;
            }
            self.pause(attempt, None).await;
        };
        let zone = answer.zone;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.auth.learn(self, &answer.headers).await?;
        }
        answer.body.drain().await;
        Ok(Base { place, zone })
    }

    /// Sends a request until it is answered with something that another attempt would not change.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Response> {
        self.base().await?;
        let mut attempts = Attempts::new(self.transport());
        let mut authenticated = false;
        // A status that is an error is of the token service, which has been asked often enough.
        let may_change =
            |error: &Error| error.is_transient() && !matches!(error, Error::Status { .. });
        loop {
            let answer = self
                .follow(call, || Outgoing::bytes(call.body.clone()))
                .await;
            match answer {
                Ok(answer)
                    if answer.status == StatusCode::UNAUTHORIZED
                        && !authenticated
                        && answer.url.origin() == self.origin()? =>
                {
                    authenticated = true;
                    self.reauthenticate(answer, call.scopes).await?;
                }
                other => {
                    if let Some(answer) = attempts.settle(other, may_change).await {
                        return answer;
                    }
                }
            }
        }
    }

    /// Sends a request with a part of `source` as its body, once.
    pub(crate) async fn send_source(
        &self,
        call: &Call<'_>,
        source: &Source,
        (offset, count): (u64, u64),
        on_bytes: Option<&OnBytes>,
    ) -> Result<Response> {
        self.base().await?;
        self.follow(call, || {
            source.open(offset, count).with_progress(on_bytes.cloned())
        })
        .await
    }

    /// Forgets the tokens that were refused with `answer` and learns what is wanted instead.
    pub(crate) async fn reauthenticate(&self, answer: Response, scopes: &[Scope]) -> Result<()> {
        self.auth.forget(scopes).await;
        self.auth.learn(self, &answer.headers).await?;
        answer.body.drain().await;
        Ok(())
    }

    /// Waits before another attempt.
    pub(crate) async fn pause(&self, attempt: u32, wanted: Option<Duration>) {
        self.transport().pause(attempt, wanted).await;
    }

    /// Sends a request and follows redirects. Credentials stay with the registry.
    async fn follow(&self, call: &Call<'_>, payload: impl Fn() -> Outgoing) -> Result<Response> {
        let Base { place: own, zone } = self.base().await?;
        let mut url = call.url.clone();
        // What the registry named as the place of an upload, say, or a manifest as that of a layer.
        let foreign = url.origin().host() != own.origin.host();
        let mut led_from = foreign.then_some(*zone);
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = call.headers.clone();
            for (name, value) in &plain_headers() {
                headers.entry(name).or_insert(value.clone());
            }
            let at_home = *url.origin() == own.origin && led_from.is_none();
            let place = if at_home {
                let authorization = self.auth.header(self, call.repository, call.scopes).await?;
                if let Some(authorization) = authorization {
                    headers.insert(header::AUTHORIZATION, authorization);
                }
                own.clone()
            } else {
                self.elsewhere(own, url.origin(), led_from)?
            };
            let mut answer = self
                .shared
                .transport
                .send(&place, &url, &call.method, &headers, payload())
                .await?;
            if at_home && answer.status.is_client_error() {
                answer.asked = Some(Box::new(Asked {
                    registry: self.name().to_owned(),
                    repository: call.repository.map(str::to_owned),
                    access: self.auth.access(call.repository).await,
                }));
            }
            let Some(target) = redirection(&call.method, &answer) else {
                return Ok(answer);
            };
            let next = answer.url.join(&target).map_err(Error::Address)?;
            if url.origin().is_secure() && !next.origin().is_secure() {
                return Err(Error::Redirect {
                    host: url.origin().authority(),
                    why: "it leads from TLS to a place without",
                });
            }
            if next.origin().host() != own.origin.host() || led_from.is_some() {
                // Of all who led us here the farthest counts.
                led_from = led_from.max(Some(answer.zone));
            }
            answer.body.drain().await;
            url = next;
        }
        Err(Error::Redirect {
            host: url.origin().authority(),
            why: "there are too many",
        })
    }

    /// The place of another host to which the registry leads.
    fn elsewhere(&self, own: &Place, origin: &Origin, led_from: Option<Zone>) -> Result<Place> {
        if matches!(own.way, Way::Command(_)) {
            return Err(Error::Redirect {
                host: self.name().to_owned(),
                why: "what is reached through a program leads nowhere else",
            });
        }
        Ok(Place {
            origin: origin.clone(),
            way: Way::Network {
                tls: self.shared.tls(&origin.authority(), true)?,
                led_from,
            },
        })
    }

    /// Asks the registry's token service; what is in `headers` and `body` goes to its origin alone.
    pub(crate) async fn ask_realm(
        &self,
        what: &str,
        method: &Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response> {
        let base = self.base.get();
        let Base { place, zone } =
            base.ok_or_else(|| Error::answer(what, "the registry has not been asked yet"))?;
        let place = if *url.origin() == place.origin {
            place.clone()
        } else {
            let same_host = place.origin.host() == url.origin().host();
            self.elsewhere(place, url.origin(), (!same_host).then_some(*zone))?
        };
        let mut attempts = Attempts::new(self.transport());
        loop {
            let mut all = plain_headers();
            all.extend(headers.clone());
            let answer = self
                .shared
                .transport
                .send(&place, &url, method, &all, Outgoing::bytes(body.clone()))
                .await;
            if let Some(answer) = attempts.settle(answer, Error::is_transient).await {
                return answer;
            }
        }
    }
}

pub(crate) fn plain_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    // What is transferred is content with a digest; nobody may compress it on the way.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers
}

/// Where an answer leads, if it does.
fn redirection(method: &Method, answer: &Response) -> Option<String> {
    let simple = *method == Method::GET || *method == Method::HEAD;
    let follows = match answer.status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => simple,
        _ => false,
    };
    let location = answer.headers.get(header::LOCATION)?.to_str().ok()?;
    follows.then(|| location.to_owned())
}

/// The answer if its status is one of these, else the error that it tells.
pub(crate) async fn expect(answer: Response, what: &str, good: &[u16]) -> Result<Response> {
    if good.contains(&answer.status.as_u16()) {
        return Ok(answer);
    }
    Err(failure(answer, what).await)
}

/// Reads to its end an answer that says little; a web page says that nobody did what was asked for.
pub(crate) async fn done(mut answer: Response, what: &str) -> Result<()> {
    // What is longer than a page that can be looked at costs its connection and nothing else.
    let body = answer.body.bounded(MAX_ERROR_BODY).await.ok().flatten();
    no_page(&answer.headers, &body.unwrap_or_default(), what)
}

/// An error for a web page. The type alone does not make one: some registries call all that they say so.
pub(crate) fn no_page(headers: &HeaderMap, body: &[u8], what: &str) -> Result<()> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("text/html"))
        && body.trim_ascii_start().starts_with(b"<")
    {
        let why = "it is a web page, so there may be no registry";
        return Err(Error::answer(what, why));
    }
    Ok(())
}

/// The error that an answer tells.
pub(crate) async fn failure(mut answer: Response, what: &str) -> Error {
    // What cannot be read says nothing more than the status does.
    let body = answer.body.bounded(MAX_ERROR_BODY).await.ok().flatten();
    Error::Status {
        what: what.to_owned(),
        status: answer.status.as_u16(),
        document: body
            .and_then(|body| ErrorDocument::read(&body))
            .unwrap_or_default(),
        retry_after: retry_after(&answer.headers),
        asked: answer.asked,
    }
}
