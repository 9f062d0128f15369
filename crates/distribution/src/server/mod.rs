//! The server: the protocol over a storage.
//!
//! ```text
//! serve ─► Registry::handle ─► route (what is asked?) ─► access (may they?) ─► blobs, uploads, manifests, listings
//!  connections, limits, TLS                                                        │
//!                                                                                  ▼
//!                                                                    storage::Storage: local | object
//! ```
//!
//! [`Registry`] answers requests and knows nothing of connections; [`Server`] brings them. What comes from outside becomes
//! typed names in `route` and `document`, both pure, before anything else looks at it.
//!
//! HTTP/1.1 is hyper's, used directly: there are a dozen routes whose names hold slashes, which no router's patterns fit,
//! and answers must be able to hand a file to the kernel (`sendfile`).

pub mod access;
mod blobs;
pub mod control;
mod document;
mod fetch;
mod hooks;
mod listings;
mod manifests;
mod metrics;
mod patience;
mod pattern;
mod quotas;
mod rates;
mod ready;
mod refusal;
mod registry;
mod reply;
mod retention;
mod route;
mod sendfile;
mod serve;
pub mod settings;
mod spool;
pub mod storage;
mod stream;
mod tls;
mod token;
mod uploads;
mod upstream;

pub use hooks::{Action, Event, Hook, HookError};
pub use pattern::Pattern;
pub use registry::{AccessRecord, Config, Limits, Observer, Quota, Registry};
pub use reply::ReplyBody;
pub use retention::{Policy, Retention, Retired, Tags};
pub use serve::{Server, ServerError};
pub use stream::serve_stream;
pub use tls::{Tls, TlsError};
pub use upstream::Upstream;
