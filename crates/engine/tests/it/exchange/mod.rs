//! Images to and from registries.

mod builds;
mod credentials;
mod hostile;
mod journeys;
mod lists;
mod mistakes;
mod peers;
mod small;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::exchange::{
    CopyRequest, Event, Events, NetworkSettings, PullRequest, Pulled, PushRequest, Pushed,
};
use layer::compression::Compression;
use testkit::TempStore;

/// A store, and a network that knows nothing of this machine's configuration.
pub(crate) struct Place {
    pub(crate) store: TempStore,
    pub(crate) engine: Engine,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With settings that are changed, and files that are written, before anything is read.
    pub(crate) fn with(change: impl FnOnce(&mut NetworkSettings)) -> Self {
        let store = testkit::store();
        let mut settings = NetworkSettings {
            home: Some(store.beside().join("home")),
            system: store.beside().join("etc"),
            backoff: Duration::from_millis(1),
            ..NetworkSettings::default()
        };
        change(&mut settings);
        let engine = Engine::over(store.store().clone()).with_network(settings);
        Self { store, engine }
    }

    /// The same store, as another process has it.
    pub(crate) fn again(&self) -> Engine {
        Engine::over(self.store.reopen()).with_network(NetworkSettings {
            home: Some(self.store.beside().join("home")),
            system: self.store.beside().join("etc"),
            backoff: Duration::from_millis(1),
            ..NetworkSettings::default()
        })
    }

    /// `.docker/config.json`.
    pub(crate) fn config(&self) -> PathBuf {
        self.store.beside().join("home/.docker/config.json")
    }

    pub(crate) fn pull(&self, image: &str) -> Result<Pulled, engine::Error> {
        pull(&self.engine, image)
    }

    pub(crate) fn push(&self, image: &str) -> Result<Pushed, engine::Error> {
        let request = PushRequest {
            image: image.to_owned(),
            all_tags: false,
            compression: Compression::Gzip,
        };
        Ok(self.engine.push(&request, &silent())?.remove(0))
    }

    pub(crate) fn copy(
        &self,
        source: &str,
        target: &str,
        all: bool,
    ) -> Result<oci::Digest, engine::Error> {
        let request = CopyRequest {
            source: source.to_owned(),
            target: target.to_owned(),
            all,
            platform: None,
        };
        Ok(self.engine.copy(&request, &silent())?.digest)
    }
}

pub(crate) fn pull(engine: &Engine, image: &str) -> Result<Pulled, engine::Error> {
    let request = PullRequest {
        image: image.to_owned(),
        ..PullRequest::default()
    };
    Ok(engine.pull(&request, &silent())?.remove(0))
}

pub(crate) fn silent() -> Events {
    Arc::new(|_: Event| {})
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What is in a file of an image.
pub(crate) fn cat(engine: &Engine, image: &str, path: &str) -> Vec<u8> {
    let store = engine.store();
    let image = store.resolve(image).unwrap();
    let view = store.view(&image.layers).unwrap();
    let node = view.lookup(path.as_bytes(), layer::Follow::Yes);
    let node = node.unwrap().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut view.open(&node).unwrap(), &mut bytes).unwrap();
    bytes
}
