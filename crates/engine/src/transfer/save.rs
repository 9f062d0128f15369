//! `barque save`: images as archives and layouts that other tools read.
//!
//! All formats hold the same blobs: the manifest and the config as they came, and each layer in the form that the manifest
//! names, so digests are kept. What is new is only the lists: `index.json` and, for Docker, `manifest.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use layer::Meta;
use oci::{Descriptor, Digest, Manifest, Reference, media_type};
use store::{Image, Lease};
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use super::archive::Archive as Names;
use super::documents::{self, DockerImage};
use super::output::{Archive, Output, beside};
use crate::{Engine, Error};

/// In what form images are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// A tar that is at once a Docker archive and an OCI layout.
    #[default]
    DockerArchive,
    /// A tar with an OCI layout.
    OciArchive,
    /// A folder with an OCI layout; one that is there gets the images in addition.
    OciDir,
}

/// How an archive is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// What is to be saved, and where.
#[derive(Debug, Clone)]
pub struct SaveRequest {
    /// Names, ids or digests. A repository without a tag means all its tags, as for Docker.
    pub images: Vec<String>,
    /// A file or folder; `None` for stdout.
    pub output: Option<PathBuf>,
    /// The form.
    pub format: ArchiveFormat,
    /// The archive's compression.
    pub compression: Compression,
}

impl Engine {
    /// Writes images to one archive or layout. The same images give the same bytes.
    ///
    /// A file or a new folder appears whole or not at all; a layout that is there has either its old list of images or the
    /// new one.
    ///
    /// # Errors
    ///
    /// An image is not there or damaged, or the output cannot be written.
    pub fn save(&self, request: &SaveRequest) -> Result<(), Error> {
        let lease = self.store().lease("save")?;
        let chosen = self.chosen(&request.images)?;
        let set = Set::of(self, &lease, chosen)?;
        match (request.format, request.output.as_deref()) {
            (ArchiveFormat::OciDir, None) => Err(Error::LayoutToStdout),
            (ArchiveFormat::OciDir, Some(_)) if request.compression != Compression::None => {
                Err(Error::CompressedLayout)
            }
            (ArchiveFormat::OciDir, Some(path)) => set.to_folder(path),
            (format, output) => set.to_archive(
                Archive::new(Output::create(output)?, request.compression)?,
                format,
            ),
        }
    }

    /// The images that are meant, each once, with the names under which they are saved.
    fn chosen(&self, texts: &[String]) -> Result<Vec<(Image, Vec<Reference>)>, Error> {
        let mut chosen: Vec<(Image, Vec<Reference>)> = Vec::new();
        let mut add = |image: Image, name: Option<Reference>| {
            let place = chosen
                .iter()
                .position(|(other, _)| other.digest == image.digest);
            let names = match place {
                Some(place) => &mut chosen[place].1,
                None => {
                    chosen.push((image, Vec::new()));
                    &mut chosen.last_mut().expect("something was just pushed").1
                }
            };
            names.extend(name.filter(|name| name.tag().is_some() && !names.contains(name)));
        };
        for text in texts {
            let meant = text.parse::<Reference>().ok();
            let bare = meant
                .as_ref()
                .is_some_and(|name| name.familiar_name() == *text || name.name() == *text);
            let tags = if bare {
                self.tags(meant.as_ref())?
            } else {
                Vec::new()
            };
            if tags.is_empty() {
                let image = self.store().resolve(text)?;
                let name = meant.filter(|name| image.names.contains(name));
                add(image, name);
            }
            for (image, name) in tags {
                add(image, Some(name));
            }
        }
        Ok(chosen)
    }

    /// All tags of a repository.
    fn tags(&self, name: Option<&Reference>) -> Result<Vec<(Image, Reference)>, Error> {
        let Some(repository) = name.map(Reference::name) else {
            return Ok(Vec::new());
        };
        let mut tags = Vec::new();
        for image in self.store().images()? {
            let ours = image
                .names
                .iter()
                .filter(|name| name.tag().is_some() && name.name() == repository);
            tags.extend(ours.map(|name| (image.clone(), name.clone())));
        }
        tags.sort_by(|(_, a), (_, b)| a.cmp(b));
        Ok(tags)
    }
}

/// Images to be saved, and all that they consist of.
struct Set {
    images: Vec<Saved>,
    /// Where the bytes of each blob are.
    blobs: BTreeMap<Digest, store::Blob>,
}

struct Saved {
    descriptor: Descriptor,
    manifest: Manifest,
    names: Vec<Reference>,
}

impl Set {
    /// Claims everything, so that nothing goes away before it was written.
    fn of(
        engine: &Engine,
        lease: &Lease,
        chosen: Vec<(Image, Vec<Reference>)>,
    ) -> Result<Self, Error> {
        let store = engine.store();
        let mut set = Self {
            images: Vec::new(),
            blobs: BTreeMap::new(),
        };
        for (image, names) in chosen {
            lease.claim_layers(&image.layers)?;
            let manifest = store.manifest(&image)?;
            let layers = manifest.layers.iter().zip(&image.layers);
            let compressed = layers
                .filter(|(form, id)| form.digest != *id.digest())
                .map(|(form, _)| form.digest);
            let mut kept: Vec<Digest> = compressed.collect();
            kept.extend([image.digest, manifest.config.digest]);
            lease.claim_blobs(&kept)?;
            let layers = manifest.layers.iter().map(|layer| layer.digest);
            let mut size = 0;
            for digest in layers.chain([manifest.config.digest, image.digest]) {
                let blob = store
                    .blob(&digest)?
                    .ok_or(store::Error::MissingBlob(digest))?;
                // The manifest comes last.
                size = blob.size();
                set.blobs.insert(digest, blob);
            }
            let mut descriptor = Descriptor::new(image.media_type.clone(), image.digest, size);
            descriptor.platform = Some(image.platform.clone());
            set.images.push(Saved {
                descriptor,
                manifest,
                names,
            });
        }
        Ok(set)
    }

    /// The entries of `index.json`.
    fn entries(&self) -> Vec<Descriptor> {
        let mut taken = BTreeSet::new();
        self.images
            .iter()
            .flat_map(|image| documents::entries(&image.descriptor, &image.names, &mut taken))
            .collect()
    }

    /// Docker's list of images.
    fn docker(&self) -> Vec<DockerImage> {
        let image = |image: &Saved| DockerImage {
            config: Names::blob_name(&image.manifest.config.digest),
            repo_tags: image.names.iter().map(Reference::familiar).collect(),
            layers: image
                .manifest
                .layers
                .iter()
                .map(|layer| Names::blob_name(&layer.digest))
                .collect(),
        };
        self.images.iter().map(image).collect()
    }

    /// The lists come first, so that a reader knows what the blobs are before they come.
    fn to_archive(&self, mut archive: Archive, format: ArchiveFormat) -> Result<(), Error> {
        let mut file = |name: &str, bytes: &[u8]| {
            archive.header(name.as_bytes(), &Meta::file(bytes.len() as u64, 0o644))?;
            archive.bytes(bytes)
        };
        file(documents::LAYOUT, documents::LAYOUT_TEXT.as_bytes())?;
        file(
            documents::INDEX,
            &json(&documents::index(
                media_type::OCI_INDEX.to_owned(),
                self.entries(),
            )),
        )?;
        if format == ArchiveFormat::DockerArchive {
            file(documents::MANIFEST, &json(&self.docker()))?;
        }
        archive.header(b"blobs", &Meta::dir(0o755))?;
        let mut folder = None;
        for (digest, blob) in &self.blobs {
            let algorithm = digest.algorithm();
            if folder.replace(algorithm) != Some(algorithm) {
                archive.header(
                    format!("blobs/{}", algorithm.name()).as_bytes(),
                    &Meta::dir(0o755),
                )?;
            }
            archive.header(
                Names::blob_name(digest).as_bytes(),
                &Meta::file(blob.size(), 0o644),
            )?;
            archive.range(&blob.open()?, 0, blob.size())?;
        }
        archive.finish()
    }

    /// A new folder gets its name when it is whole; one that is there gets its new list last.
    fn to_folder(&self, path: &Path) -> Result<(), Error> {
        if fs::optional(fs::metadata(path))?.is_some() {
            let index = open_layout(path)?;
            return self.fill(path, index);
        }
        let temporary = beside(path);
        fs::create_dir(&temporary)?;
        let result = self
            .fill(&temporary, documents::empty_index())
            .and_then(|()| fs::rename(&temporary, path).map_err(Error::from));
        if result.is_err() {
            // The first error is the one to tell.
            fs::remove_dir_all(&temporary).ok();
        }
        result
    }

    /// Puts blobs and lists into a folder that is a layout or empty.
    fn fill(&self, path: &Path, empty: oci::Index) -> Result<(), Error> {
        for (digest, blob) in &self.blobs {
            let place = path.join(Names::blob_name(digest));
            if fs::symlink_metadata(&place)
                .is_ok_and(|meta| meta.is_file() && meta.len() == blob.size())
            {
                continue;
            }
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            copy(&blob.open()?, blob.size(), &place)?;
        }
        let layout = path.join(documents::LAYOUT);
        if !fs::exists(&layout) {
            fs::replace(&layout, documents::LAYOUT_TEXT.as_bytes())?;
        }
        // Two that save into one layout at once must not lose each other's images.
        let _lock = Lock::acquire(&layout, Mode::Exclusive)?;
        let place = path.join(documents::INDEX);
        let mut index = if fs::exists(&place) {
            read_index(path)?
        } else {
            empty
        };
        let entries = self.entries();
        let renamed = |old: &Descriptor| {
            let name = |entry: &Descriptor| {
                let key = |key| entry.annotations.get(key).cloned();
                key(documents::IMAGE_NAME).or_else(|| key(documents::REF_NAME))
            };
            entries
                .iter()
                .any(|new| new == old || (name(new).is_some() && name(new) == name(old)))
        };
        index.manifests.retain(|old| !renamed(old));
        index.manifests.extend(entries.iter().cloned());
        fs::replace(&place, &json(&index))?;
        Ok(())
    }
}

/// Text keys and plain values always become JSON.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The list of a layout that is there; an empty folder is one without images.
fn open_layout(path: &Path) -> Result<oci::Index, Error> {
    let wrong = |why: &str| Error::NotALayout {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let layout = path.join(documents::LAYOUT);
    if fs::optional(fs::symlink_metadata(&layout))?.is_none() {
        return match fs::read_dir(path)?.next() {
            None => Ok(documents::empty_index()),
            Some(_) => Err(wrong("`oci-layout` is missing")),
        };
    }
    documents::check_layout(&read_small(&layout)?)
        .map_err(|why| wrong(&format!("`oci-layout`: {why}")))?;
    read_index(path)
}

fn read_index(path: &Path) -> Result<oci::Index, Error> {
    let place = path.join(documents::INDEX);
    let wrong = |why: String| Error::NotALayout {
        path: path.to_owned(),
        why: format!("`index.json`: {why}"),
    };
    if !fs::exists(&place) {
        return Ok(documents::empty_index());
    }
    match oci::Document::parse(&read_small(&place)?, None) {
        Ok(oci::Document::Index(index)) => Ok(*index),
        Ok(oci::Document::Manifest(_)) => Err(wrong("it is an image manifest".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::open(path)?
        .take(oci::MAX_DOCUMENT_SIZE + 1)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    Ok(bytes)
}

/// Copies a blob to `place`, which gets its name when all is there.
fn copy(from: &File, size: u64, place: &Path) -> Result<(), Error> {
    let temporary = beside(place);
    let mut file = fs::create(&temporary)?;
    let copied = sys::copy::range(from, 0, &mut file, size).context("write", &temporary);
    let result = copied.and_then(|copied| {
        if copied == size {
            return fs::rename(&temporary, place);
        }
        let short = std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "a file of the store is too short",
        );
        Err(fs::Error::new("write", place, short))
    });
    if result.is_err() {
        fs::remove_file(&temporary).ok();
    }
    Ok(result?)
}
