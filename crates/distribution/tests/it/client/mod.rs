//! The client against a registry in this process that misbehaves as it is told, and against Debian's.

mod auth;
mod blobs;
mod files;
mod hostile;
mod manifests;
mod peers;
mod routes;
mod uploads;

use std::time::Duration;

use distribution::client::{Client, Credentials, Endpoint, Options, Patience, Repository};
use oci::{Descriptor, Digest};
use testkit::registry::FaultyRegistry;

/// Attempts follow each other at once, and waits for what never comes are short.
pub(crate) fn patience() -> Patience {
    Patience {
        backoff: Duration::from_millis(1),
        ..Patience::default()
    }
}

pub(crate) fn client() -> Client {
    client_with(Credentials::default())
}

pub(crate) fn client_with(credentials: Credentials) -> Client {
    Client::new(Options {
        patience: patience(),
        credentials,
        ..Options::default()
    })
}

/// The repository `a/b` of a registry, for a client that knows nobody.
pub(crate) fn repository(registry: &FaultyRegistry) -> Repository {
    client().repository(&Endpoint::of(&registry.host()), "a/b".parse().unwrap())
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new(
        "application/octet-stream",
        Digest::sha256_of(bytes),
        bytes.len() as u64,
    )
}

/// Bytes that do not repeat.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// All of a blob.
pub(crate) async fn read(
    repository: &Repository,
    descriptor: &Descriptor,
) -> distribution::client::Result<Vec<u8>> {
    let mut reader = repository.blob(descriptor).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
