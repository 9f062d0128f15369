//! Images as tests want them: small, and written as one sentence.

use layer::{Ingest, Meta};
use oci::{
    Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Manifest, Platform, Reference,
    media_type,
};
use store::{Image, Lease, NewImage, Result, Store};

use crate::tree::Tree;

/// What a layer gets, in the order of the calls.
#[derive(Debug, Clone)]
enum Entry {
    Put(Vec<u8>, Meta, Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
    Tree(Tree),
}

/// Collects what an image shall be; see [`image`].
#[derive(Debug, Clone)]
#[must_use = "`build` makes the image"]
pub struct ImageFactory {
    config: ImageConfig,
    base: Vec<DiffId>,
    layers: Vec<Vec<Entry>>,
    names: Vec<Reference>,
}

/// An image for this machine, without layers, names or config.
///
/// ```
/// # fn main() -> store::Result<()> {
/// let store = testkit::store();
/// let image = testkit::image()
///     .file("etc/motd", b"hello")
///     .layer()
///     .whiteout("etc/motd")
///     .env("A=1")
///     .name("hello:1")
///     .build(&store)?;
/// assert_eq!(image.layers.len(), 2);
/// # Ok(()) }
/// ```
pub fn image() -> ImageFactory {
    let platform = Platform::host();
    ImageFactory {
        config: ImageConfig {
            created: Some("2026-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture,
            os: platform.os,
            ..ImageConfig::default()
        },
        base: Vec::new(),
        layers: vec![Vec::new()],
        names: Vec::new(),
    }
}

impl ImageFactory {
    fn entry(mut self, entry: Entry) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.push(entry),
            None => self.layers.push(vec![entry]),
        }
        self
    }

    /// Puts the layers of `base` below.
    pub fn on(mut self, base: &Image) -> Self {
        self.base.clone_from(&base.layers);
        self
    }

    /// Ends a layer; what follows goes into the next.
    pub fn layer(mut self) -> Self {
        self.layers.push(Vec::new());
        self
    }

    /// Adds an entry with all that can be said about it.
    pub fn put(self, path: &str, meta: Meta, content: &[u8]) -> Self {
        self.entry(Entry::Put(path.into(), meta, content.to_vec()))
    }

    /// Adds a file with mode 0644.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.put(path, Meta::file(content.len() as u64, 0o644), content)
    }

    /// Adds a file with mode 0755.
    pub fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.put(path, Meta::file(content.len() as u64, 0o755), content)
    }

    /// Adds a directory.
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.put(path, Meta::dir(mode), b"")
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.put(path, Meta::symlink(target), b"")
    }

    /// Removes what layers below have under this name.
    pub fn whiteout(self, path: &str) -> Self {
        self.entry(Entry::Whiteout(path.into()))
    }

    /// Hides all that layers below have in this directory.
    pub fn opaque(self, path: &str) -> Self {
        self.entry(Entry::Opaque(path.into()))
    }

    /// Adds many small files.
    pub fn tree(self, tree: Tree) -> Self {
        self.entry(Entry::Tree(tree))
    }

    /// Adds a variable, `NAME=value`.
    pub fn env(mut self, variable: &str) -> Self {
        self.config.config.env.push(variable.to_owned());
        self
    }

    /// Sets the command.
    pub fn cmd(mut self, words: &[&str]) -> Self {
        self.config.config.cmd = Some(words.iter().map(ToString::to_string).collect());
        self
    }

    /// Changes the config in any other way.
    pub fn config(mut self, change: impl FnOnce(&mut ImageConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Gives the image a name.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.parse().expect("an image name"));
        self
    }

    /// Makes the image in `store`.
    ///
    /// # Errors
    ///
    /// Whatever the store says.
    pub fn build(self, store: &Store) -> Result<Image> {
        self.build_under(&store.lease("testkit")?)
    }

    /// Makes the image under a lease of the test's.
    ///
    /// # Errors
    ///
    /// Whatever the store says.
    ///
    /// # Panics
    ///
    /// If an entry is none: the test is wrong.
    pub fn build_under(mut self, lease: &Lease) -> Result<Image> {
        let mut ids = self.base.clone();
        let mut layers = Vec::new();
        for id in &self.base {
            let size = lease
                .store()
                .find_layer(id)?
                .map_or(0, |layer| layer.size());
            layers.push(Descriptor::new(media_type::OCI_LAYER, *id.digest(), size));
        }
        for entries in self.layers.iter().filter(|entries| !entries.is_empty()) {
            let mut ingest = lease.ingest_layer()?;
            entries
                .iter()
                .for_each(|entry| append(ingest.writer(), entry));
            let layer = ingest.publish()?;
            layers.push(Descriptor::new(
                media_type::OCI_LAYER,
                *layer.diff_id().digest(),
                layer.size(),
            ));
            ids.push(*layer.diff_id());
        }
        self.config.history = ids.iter().map(|_| HistoryEntry::default()).collect();
        self.config.rootfs.diff_ids = ids;
        let config = serde_json::to_vec(&self.config).expect("a config is JSON");
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::new(
                media_type::OCI_CONFIG,
                Digest::sha256_of(&config),
                config.len() as u64,
            ),
            layers,
            subject: None,
            annotations: std::collections::BTreeMap::default(),
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        lease.put_image(NewImage {
            manifest: &manifest,
            media_type: None,
            config: &config,
            also: &[],
            names: &self.names,
            by: "testkit",
        })
    }
}

fn append(ingest: &mut Ingest, entry: &Entry) {
    let done = match entry {
        Entry::Put(path, meta, content) => ingest.append_bytes(path, meta, content).map(drop),
        Entry::Whiteout(path) => ingest.whiteout(path),
        Entry::Opaque(path) => ingest.opaque(path),
        Entry::Tree(tree) => tree.append_to(ingest),
    };
    done.expect("a good entry");
}
