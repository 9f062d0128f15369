//! What an archive or a layout of images consists of, and writing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use build::Packed;
use layer::Meta;
use oci::{Descriptor, Digest, Document, Reference, media_type};
use store::{Image, ImageIndex, Lease};
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use super::archive::Archive as Names;
use super::documents::{self, DockerImage};
use super::output::{Archive, beside};
use super::save::ArchiveFormat;
use crate::Error;

/// Images to be saved, and all that they consist of.
#[derive(Default)]
pub(crate) struct Set {
    items: Vec<Item>,
    /// Where the bytes of each blob are.
    blobs: BTreeMap<Digest, Bytes>,
}

/// What the list of a layout names.
struct Item {
    descriptor: Descriptor,
    names: Vec<Reference>,
    /// What Docker's list says: config and layers of the image, or of the first of an index.
    docker: (Digest, Vec<Digest>),
}

/// The bytes of a blob.
enum Bytes {
    Store(store::Blob),
    Here(Vec<u8>),
}

impl Bytes {
    const fn size(&self) -> u64 {
        match self {
            Self::Store(blob) => blob.size(),
            Self::Here(bytes) => bytes.len() as u64,
        }
    }
}

impl Set {
    /// Adds an image of the store. All of it is claimed, so that nothing goes away before it was written.
    pub(crate) fn add_image(
        &mut self,
        lease: &Lease,
        image: &Image,
        names: Vec<Reference>,
    ) -> Result<(), Error> {
        let (descriptor, docker) = self.take_image(lease, image)?;
        self.items.push(Item {
            descriptor,
            names,
            docker,
        });
        Ok(())
    }

    /// Adds an index of the store with all its images.
    pub(crate) fn add_index(
        &mut self,
        lease: &Lease,
        index: &ImageIndex,
        names: Vec<Reference>,
    ) -> Result<(), Error> {
        let main = index.image_for(&oci::Platform::host());
        let main = main.or(index.images.first()).map(|image| image.digest);
        let mut docker = None;
        for image in &index.images {
            let (_, parts) = self.take_image(lease, image)?;
            if Some(image.digest) == main {
                docker = Some(parts);
            }
        }
        lease.claim_blobs(&[index.digest])?;
        let bytes = lease.store().read_blob(&index.digest)?;
        let descriptor =
            Descriptor::new(index.media_type.clone(), index.digest, bytes.len() as u64);
        self.take_attached(lease, &bytes)?;
        self.blobs.insert(index.digest, Bytes::Here(bytes));
        self.items.push(Item {
            descriptor,
            names,
            docker: docker.ok_or(store::Error::MissingBlob(index.digest))?,
        });
        Ok(())
    }

    /// Takes what an index lists beside images, with all that it consists of.
    fn take_attached(&mut self, lease: &Lease, index: &[u8]) -> Result<(), Error> {
        let parsed = serde_json::from_slice::<oci::Index>(index);
        for entry in parsed.map(|index| index.manifests).unwrap_or_default() {
            if self.blobs.contains_key(&entry.digest) {
                continue;
            }
            let bytes = lease.store().read_blob(&entry.digest)?;
            if let Ok(Document::Manifest(manifest)) =
                Document::parse(&bytes, Some(&entry.media_type))
            {
                for descriptor in manifest.layers.iter().chain([&manifest.config]) {
                    lease.claim_blobs(&[descriptor.digest])?;
                    let blob = lease.store().blob(&descriptor.digest)?;
                    let blob = blob.ok_or(store::Error::MissingBlob(descriptor.digest))?;
                    self.blobs.insert(descriptor.digest, Bytes::Store(blob));
                }
            }
            self.blobs.insert(entry.digest, Bytes::Here(bytes));
        }
        Ok(())
    }

    fn take_image(
        &mut self,
        lease: &Lease,
        image: &Image,
    ) -> Result<(Descriptor, (Digest, Vec<Digest>)), Error> {
        let store = lease.store();
        lease.claim_layers(&image.layers)?;
        lease.claim_blobs(&[image.digest, *image.id.digest()])?;
        let manifest = store.read_blob(&image.digest)?;
        let config = store.read_blob(image.id.digest())?;
        let mut descriptor = Descriptor::new(
            image.media_type.clone(),
            image.digest,
            manifest.len() as u64,
        );
        descriptor.platform = Some(image.platform.clone());
        let docker = self.take(lease, manifest, config, &descriptor)?;
        Ok((descriptor, docker))
    }

    /// Adds what a build made: one image, or several and the index that lists them.
    pub(crate) fn add_packed(
        &mut self,
        lease: &Lease,
        images: &[Packed],
        index: Option<(Descriptor, Vec<u8>)>,
        names: Vec<Reference>,
    ) -> Result<(), Error> {
        let mut docker = None;
        let mut alone = None;
        for image in images {
            let (manifest, config) = (image.manifest.clone(), image.config.clone());
            let parts = self.take(lease, manifest, config, &image.descriptor)?;
            docker = docker.or(Some(parts));
            alone = alone.or_else(|| Some(image.descriptor.clone()));
        }
        let descriptor = match index {
            Some((descriptor, bytes)) => {
                self.blobs.insert(descriptor.digest, Bytes::Here(bytes));
                Some(descriptor)
            }
            None => alone,
        };
        if let (Some(descriptor), Some(docker)) = (descriptor, docker) {
            self.items.push(Item {
                descriptor,
                names,
                docker,
            });
        }
        Ok(())
    }

    /// Takes the blobs of an image: its documents, and the layers from the store in the form that the manifest names.
    fn take(
        &mut self,
        lease: &Lease,
        manifest: Vec<u8>,
        config: Vec<u8>,
        descriptor: &Descriptor,
    ) -> Result<(Digest, Vec<Digest>), Error> {
        let document = Document::parse(&manifest, Some(&descriptor.media_type));
        let document = document.map_err(|source| store::Error::Document {
            what: "manifest",
            source,
        })?;
        let Document::Manifest(parsed) = document else {
            let why = "its manifest is an index".to_owned();
            return Err(store::Error::Inconsistent(why).into());
        };
        let mut layers = Vec::with_capacity(parsed.layers.len());
        for layer in &parsed.layers {
            let blob = lease.store().blob(&layer.digest)?;
            let blob = blob.ok_or(store::Error::MissingBlob(layer.digest))?;
            if lease.store().layer_of_compressed(&layer.digest)?.is_some() {
                lease.claim_blobs(&[layer.digest])?;
            }
            self.blobs.insert(layer.digest, Bytes::Store(blob));
            layers.push(layer.digest);
        }
        self.blobs.insert(parsed.config.digest, Bytes::Here(config));
        self.blobs.insert(descriptor.digest, Bytes::Here(manifest));
        Ok((parsed.config.digest, layers))
    }

    /// The entries of `index.json`.
    fn entries(&self) -> Vec<Descriptor> {
        let mut taken = BTreeSet::new();
        self.items
            .iter()
            .flat_map(|item| documents::entries(&item.descriptor, &item.names, &mut taken))
            .collect()
    }

    /// Docker's list of images.
    fn docker(&self) -> Vec<DockerImage> {
        let image = |item: &Item| DockerImage {
            config: Names::blob_name(&item.docker.0),
            repo_tags: item.names.iter().map(Reference::familiar).collect(),
            layers: item.docker.1.iter().map(Names::blob_name).collect(),
        };
        self.items.iter().map(image).collect()
    }

    /// The lists come first, so that a reader knows what the blobs are before they come.
    pub(crate) fn to_archive(
        &self,
        mut archive: Archive,
        format: ArchiveFormat,
    ) -> Result<(), Error> {
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
            match blob {
                Bytes::Store(blob) => archive.range(&blob.open()?, 0, blob.size())?,
                Bytes::Here(bytes) => archive.bytes(bytes)?,
            }
        }
        archive.finish()
    }

    /// A new folder gets its name when it is whole; one that is there gets its new list last.
    pub(crate) fn to_folder(&self, path: &Path) -> Result<(), Error> {
        if fs::optional(fs::metadata(path))?.is_some() {
            let index = open_layout(path)?;
            return self.fill(path, index);
        }
        let temporary = beside(path);
        fs::create_dir(&temporary).map_err(|error| error.on(path))?;
        let result = self
            .fill(&temporary, documents::empty_index())
            .and_then(|()| Ok(fs::rename(&temporary, path).map_err(|error| error.on(path))?));
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
            match blob {
                Bytes::Store(blob) => copy(&blob.open()?, blob.size(), &place)?,
                Bytes::Here(bytes) => fs::replace(&place, bytes)?,
            }
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
    let mut file = fs::create(&temporary).map_err(|error| error.on(place))?;
    let copied = sys::copy::range(from, 0, &mut file, size).context("write", place);
    let result = copied.and_then(|copied| {
        if copied == size {
            return fs::rename(&temporary, place).map_err(|error| error.on(place));
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
