//! The registry protocol (OCI distribution-spec 1.1 and what is new on its main branch): wire types, client, server.
//!
//! - [`wire`] is what both sides read and write in headers, queries and error documents: pure functions between text and
//!   types, without I/O;
//! - [`client`] speaks to registries: connections, authentication, retries, ranges;
//! - [`server`] is a registry over a storage of its own.
//!
//! Everything is async on `tokio`; whoever calls brings the runtime.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

pub mod client;
pub mod server;
mod tcp;
pub mod wire;
