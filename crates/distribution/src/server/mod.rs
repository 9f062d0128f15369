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
//! typed names in [`route`] and [`document`], both pure, before anything else looks at it.
//!
//! HTTP/1.1 is hyper's, used directly: there are a dozen routes whose names hold slashes, which no router's patterns fit,
//! and answers must be able to hand a file to the kernel ([`sendfile`]).

pub mod access;
mod blobs;
mod document;
mod listings;
mod manifests;
mod patience;
mod pattern;
mod refusal;
mod registry;
mod reply;
mod route;
mod sendfile;
mod serve;
pub mod storage;
mod stream;
mod token;
mod uploads;

pub use pattern::Pattern;
pub use registry::{Config, Limits, Registry};
pub use reply::ReplyBody;
pub use serve::{Server, ServerError};
pub use stream::serve_stream;
