//! Webhooks: others are told of pushes, pulls and deletions.
//!
//! Requests do not wait for them: events stand in a queue for each hook and are sent in their order, one request each. A
//! hook that does not answer is tried again for a while; what its queue has no room for is lost and counted. What waits when
//! the server ends is sent by the next one, if the hook has a folder for it (`spool`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use oci::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pattern::Pattern;
use super::spool::Queue;
use crate::client::connect::{Place, Way};
use crate::client::payload::Outgoing;
use crate::client::proxy::Proxies;
use crate::client::tls::{Certificates, Tls};
use crate::client::transport::{Patience, Transport};
use crate::client::{Secret, Url};

/// How often an event is sent that is not taken.
const ATTEMPTS: u32 = 6;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A manifest was pushed.
    Push,
    /// A manifest was read.
    Pull,
    /// A manifest or a tag was deleted.
    Delete,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    pub action: Action,
    /// Where.
    pub repository: String,
    /// The manifest; not for a tag that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The tags that it was done with.
    pub tags: Vec<String>,
    /// Who did it, if they have a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Somebody who wants to be told.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Where events are sent.
    pub url: Url,
    /// Which actions; all if there are none.
    pub actions: Vec<Action>,
    /// Of which repositories.
    pub repositories: Vec<Pattern>,
    /// What bodies are signed with: `X-Barque-Signature: sha256=<HMAC>`.
    pub secret: Option<Secret>,
    /// The wait before the second attempt; it doubles each time.
    pub backoff: Duration,
    /// The folder where events wait that a server leaves to the next.
    pub spool: Option<PathBuf>,
}

/// Why nobody can be told of anything.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[source] crate::client::Error),
}

/// All hooks and their queues.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    all: Vec<(Hook, Arc<Queue>)>,
    /// Events that no queue had room for.
    pub(crate) lost: AtomicU64,
    /// Folders that cannot be used: what waits there is in memory only.
    pub(crate) unkept: Vec<(PathBuf, io::Error)>,
}

impl Hooks {
    /// Begins to send; within a runtime.
    pub(crate) fn start(hooks: Vec<Hook>, proxies: Proxies) -> Result<Self, HookError> {
        let tls = Tls::new(&Certificates::default(), true).map_err(HookError::Tls)?;
        let agent = format!("barque/{}", env!("CARGO_PKG_VERSION"));
        let transport = Transport::new(Patience::default(), proxies, agent);
        let (mut all, mut unkept) = (Vec::new(), Vec::new());
        for hook in hooks {
            let queue = match &hook.spool {
                Some(folder) => match Queue::open(folder, &name(&hook.url)) {
                    Ok(queue) => queue,
                    Err(error) => {
                        unkept.push((folder.clone(), error));
                        Queue::default()
                    }
                },
                None => Queue::default(),
            };
            let queue = Arc::new(queue);
            let (transport, tls) = (transport.clone(), tls.clone());
            tokio::spawn(send_all(hook.clone(), queue.clone(), transport, tls));
            all.push((hook, queue));
        }
        Ok(Self {
            all,
            lost: AtomicU64::default(),
            unkept,
        })
    }

    /// True if nobody wants to be told of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells whoever wants to be told.
    pub(crate) fn tell(&self, event: &Event) {
        for (hook, queue) in &self.all {
            let wanted = (hook.actions.is_empty() || hook.actions.contains(&event.action))
                && Pattern::any(&hook.repositories, &event.repository);
            if wanted && !queue.push(event) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Event {
    pub(crate) fn new(
        at: u64,
        action: Action,
        repository: &Repository,
        user: Option<&str>,
    ) -> Self {
        Self {
            at,
            action,
            repository: repository.to_string(),
            digest: None,
            tags: Vec::new(),
            user: user.map(str::to_owned),
        }
    }

    pub(crate) fn of(mut self, digest: Option<&Digest>, tags: &[Tag]) -> Self {
        self.digest = digest.map(ToString::to_string);
        self.tags = tags.iter().map(ToString::to_string).collect();
        self
    }
}

/// All of the address: a query may hold what tells two hooks apart, which the text for people leaves out.
fn name(url: &Url) -> String {
    format!("{}{}", url.origin(), url.path())
}

async fn send_all(hook: Hook, queue: Arc<Queue>, transport: Arc<Transport>, tls: Tls) {
    let place = Place {
        origin: hook.url.origin().clone(),
        way: Way::Network {
            tls,
            led_from: None,
        },
    };
    loop {
        let event = queue.next().await;
        let body = json!({"events": [event]}).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(secret) = &hook.secret
            && let Ok(value) = HeaderValue::from_str(&signature(secret, &body))
        {
            headers.insert(HeaderName::from_static("x-barque-signature"), value);
        }
        let mut wait = hook.backoff;
        for attempt in 1..=ATTEMPTS {
            let payload = Outgoing::bytes(body.clone().into());
            let sent = transport
                .send(&place, &hook.url, &Method::POST, &headers, payload)
                .await;
            match sent {
                Ok(answer) if is_final(answer.status) => {
                    answer.body.drain().await;
                    break;
                }
                Ok(answer) => answer.body.drain().await,
                Err(_) => {}
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        queue.done();
    }
}

/// Whether sending it again would change nothing: it was taken, or it is refused for what it is.
fn is_final(status: StatusCode) -> bool {
    !status.is_server_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

fn signature(secret: &Secret, body: &str) -> String {
    use std::fmt::Write as _;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.reveal().as_bytes());
    let mut text = String::from("sha256=");
    for byte in ring::hmac::sign(&key, body.as_bytes()).as_ref() {
        // Writing to a `String` cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_that_differ_in_their_query_have_queues_of_their_own() {
        let name = |url: &str| name(&url.parse().unwrap());
        assert_eq!(name("https://a.example/b?c=d"), "https://a.example/b?c=d");
        assert_ne!(name("https://a.example/b?c=d"), name("https://a.example/b"));
    }
}
