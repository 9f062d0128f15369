//! What an archive has: images with their documents, names and layers, before any layer is read.

use std::collections::{BTreeMap, BTreeSet};

use oci::{
    Descriptor, DiffId, Digest, Document, ImageConfig, Index, Manifest, Platform, Reference,
    media_type,
};

use super::archive::{Archive, shown};
use super::documents::{self, DockerImage};
use super::load::LoadError;
use super::platform;

/// Most indexes below each other: a layout's own, a multi-platform one, and one to spare.
const MAX_DEPTH: usize = 4;

/// Most images of one archive; nobody saves so many at once.
const MAX_IMAGES: usize = 1000;
/// Most layers of one image: eight times what Docker makes.
const MAX_LAYERS: usize = 1000;

/// An image in an archive.
#[derive(Debug)]
pub(super) struct Found {
    /// Its names.
    pub(super) names: Vec<Reference>,
    /// The config as it is in the archive.
    pub(super) config: Vec<u8>,
    /// The layers' digests, from the config.
    pub(super) diff_ids: Vec<DiffId>,
    /// What it runs on.
    pub(super) platform: Platform,
    /// Where the rest of it is.
    pub(super) form: Form,
}

/// An index in an archive, whose images are all loaded.
#[derive(Debug)]
pub(super) struct List {
    /// As it is in the archive.
    pub(super) bytes: Vec<u8>,
    /// Its names.
    pub(super) names: Vec<Reference>,
    /// How many images it lists.
    listed: usize,
    /// Those that were found.
    found: BTreeSet<Digest>,
}

impl List {
    fn new(bytes: &[u8], listed: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            names: Vec::new(),
            listed,
            found: BTreeSet::new(),
        }
    }
}

/// The two ways to describe an image.
#[derive(Debug)]
pub(super) enum Form {
    /// By a manifest.
    Oci {
        /// As it is in the archive.
        bytes: Vec<u8>,
        /// What it says.
        manifest: Box<Manifest>,
        /// The media type it was announced with.
        media_type: String,
        /// The indexes that led to it.
        indexes: Vec<Vec<u8>>,
    },
    /// By names of layer files.
    Docker(Vec<String>),
}

/// What the archive has for `wanted`, or for the host where there is a choice.
pub(super) fn images(
    archive: &Archive,
    wanted: Option<&Platform>,
) -> Result<(Vec<Found>, Vec<List>), LoadError> {
    let mut lists = BTreeMap::new();
    let docker = archive.document(documents::MANIFEST)?;
    let layout = archive.document(documents::LAYOUT)?;
    let index = archive.document(documents::INDEX)?;
    let mut found = match (layout, index, &docker) {
        (Some(layout), Some(index), _) => {
            documents::check_layout(&layout)
                .map_err(|why| document_error(documents::LAYOUT, why))?;
            let mut found = of_layout(archive, &index, wanted, &mut lists)?;
            if let Some(docker) = &docker {
                compare(archive, &mut found, docker)?;
            }
            found
        }
        (_, _, Some(docker)) => of_docker(archive, docker)?,
        _ => return Err(LoadError::NoImages),
    };
    if let Some(wanted) = wanted {
        let here: Vec<String> = found
            .iter()
            .map(|image| image.platform.to_string())
            .collect();
        found.retain(|image| platform::rank(wanted, &image.platform).is_some());
        if found.is_empty() {
            return Err(LoadError::Platform {
                wanted: wanted.to_string(),
                here,
            });
        }
    }
    if found.is_empty() {
        return Err(LoadError::NoImages);
    }
    // A manifest that turned out to be no image is not loaded, and then the index is none to us.
    let lists = lists.into_values();
    let whole = lists.filter(|list: &List| list.found.len() == list.listed);
    Ok((found, whole.collect()))
}

fn document_error(name: &str, why: impl ToString) -> LoadError {
    // What is wrong often quotes the document, which could steer a terminal.
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    LoadError::Document {
        name: shown(name),
        why: why.to_string().chars().map(visible).collect(),
    }
}

fn config(name: &str, bytes: &[u8]) -> Result<ImageConfig, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| document_error(name, error))
}

fn of_docker(archive: &Archive, bytes: &[u8]) -> Result<Vec<Found>, LoadError> {
    let list =
        documents::docker_images(bytes).map_err(|why| document_error(documents::MANIFEST, why))?;
    if list.len() > MAX_IMAGES {
        return Err(LoadError::TooManyImages(MAX_IMAGES));
    }
    list.into_iter()
        .map(|image| docker_image(archive, image))
        .collect()
}

/// As many layer files as digests, and not too many.
fn check_layers(name: &str, listed: usize, config: &ImageConfig) -> Result<(), LoadError> {
    let named = config.rootfs.diff_ids.len();
    if named != listed {
        let why = format!("it lists {listed} layers, the config {named}");
        return Err(document_error(name, why));
    }
    if named > MAX_LAYERS {
        let why = format!("it has {named} layers; {MAX_LAYERS} are allowed");
        return Err(document_error(name, why));
    }
    Ok(())
}

fn docker_image(archive: &Archive, image: DockerImage) -> Result<Found, LoadError> {
    let bytes = archive
        .document(&image.config)?
        .ok_or_else(|| LoadError::Missing(shown(&image.config)))?;
    let config = config(&image.config, &bytes)?;
    check_layers(documents::MANIFEST, image.layers.len(), &config)?;
    Ok(Found {
        names: docker_names(&image)?,
        platform: config.platform(),
        diff_ids: config.rootfs.diff_ids,
        config: bytes,
        form: Form::Docker(image.layers),
    })
}

/// The names of a Docker archive; it may say `<none>:<none>`.
fn docker_names(image: &DockerImage) -> Result<Vec<Reference>, LoadError> {
    let names = image
        .repo_tags
        .iter()
        .filter(|name| !name.contains("<none>"));
    let mut names = names
        .map(|name| {
            name.parse()
                .map_err(|error| document_error(documents::MANIFEST, error))
        })
        .collect::<Result<Vec<Reference>, _>>()?;
    names.retain(|name| name.tag().is_some());
    Ok(names)
}

fn of_layout(
    archive: &Archive,
    bytes: &[u8],
    wanted: Option<&Platform>,
    lists: &mut BTreeMap<Digest, List>,
) -> Result<Vec<Found>, LoadError> {
    let document =
        Document::parse(bytes, None).map_err(|error| document_error(documents::INDEX, error))?;
    let Document::Index(index) = document else {
        return Err(document_error(documents::INDEX, "it is an image manifest"));
    };
    let mut found: Vec<Found> = Vec::new();
    let mut places: BTreeMap<Digest, usize> = BTreeMap::new();
    for group in groups(&index) {
        for entry in choose(archive, group, wanted)? {
            let names = entry.name.and_then(documents::name_of).into_iter();
            let mut note = |entry: &Chosen<'_>| {
                if let (Some((digest, listed)), Some(bytes)) = (entry.list, entry.indexes.last()) {
                    let list = lists.entry(digest);
                    let list = list.or_insert_with(|| List::new(bytes, listed));
                    list.names.extend(names.clone());
                    list.found.insert(entry.image.digest);
                }
            };
            if let Some(place) = places.get(&entry.image.digest) {
                note(&entry);
                found[*place].names.extend(names);
                continue;
            }
            if found.len() >= MAX_IMAGES {
                return Err(LoadError::TooManyImages(MAX_IMAGES));
            }
            let Some(image) = oci_image(archive, &entry, names.clone().collect())? else {
                continue;
            };
            note(&entry);
            places.insert(entry.image.digest, found.len());
            found.push(image);
        }
    }
    for image in &mut found {
        image.names.sort();
        image.names.dedup();
    }
    Ok(found)
}

/// The image of a layout that a tag or a digest means, for `platform` if it is an index. Without both it is the one that is
/// tagged `latest`, or the only one.
pub(super) fn one(
    archive: &Archive,
    tag: Option<&str>,
    digest: Option<&Digest>,
    platform: &Platform,
) -> Result<Option<Found>, LoadError> {
    let bytes = archive
        .document(documents::INDEX)?
        .ok_or_else(|| LoadError::Missing(documents::INDEX.to_owned()))?;
    let document =
        Document::parse(&bytes, None).map_err(|error| document_error(documents::INDEX, error))?;
    let Document::Index(index) = document else {
        return Err(document_error(documents::INDEX, "it is an image manifest"));
    };
    let entries = platform::images(&index.manifests);
    let tagged = |entry: &&Descriptor, tag: &str| {
        let full = documents::name_of(entry);
        let is_tag = |name: &Reference| name.tag().is_some_and(|known| known.as_str() == tag);
        entry
            .annotations
            .get(documents::REF_NAME)
            .map(String::as_str)
            == Some(tag)
            || full.as_ref().is_some_and(is_tag)
    };
    let with_tag = |tag: &str| -> Vec<Descriptor> {
        let group = entries.iter().filter(|entry| tagged(entry, tag));
        group.map(|entry| (*entry).clone()).collect()
    };
    let mut group = match (digest, tag) {
        (Some(digest), _) => by_digest(archive, &entries, digest)?,
        (None, Some(tag)) => with_tag(tag),
        (None, None) => with_tag("latest"),
    };
    if let ([], [only], None, None) = (&group[..], &entries[..], digest, tag) {
        group = vec![(*only).clone()];
    }
    let Some(first) = group.first() else {
        return Ok(None);
    };
    // Several names of one image are one image.
    let same = group.iter().all(|entry| entry.digest == first.digest);
    let group = group.iter().take(if same { 1 } else { usize::MAX });
    let chosen = choose(archive, group.collect(), Some(platform))?;
    match chosen.first() {
        Some(chosen) => oci_image(archive, chosen, Vec::new()),
        None => Ok(None),
    }
}

/// The entry with this digest, or the manifest below it.
fn by_digest(
    archive: &Archive,
    entries: &[&Descriptor],
    digest: &Digest,
) -> Result<Vec<Descriptor>, LoadError> {
    if let Some(entry) = entries.iter().find(|entry| entry.digest == *digest) {
        return Ok(vec![(*entry).clone()]);
    }
    let name = Archive::blob_name(digest);
    let Some(bytes) = archive.document(&name)? else {
        return Ok(Vec::new());
    };
    let document = Document::parse(&bytes, None).map_err(|error| document_error(&name, error))?;
    let found = Descriptor::new(document.media_type(), *digest, bytes.len() as u64);
    Ok(vec![found])
}

/// The entries of a layout's index that are one image each: those with the same name, or without one, differ in their
/// platform only.
fn groups(index: &Index) -> Vec<Vec<&Descriptor>> {
    let mut groups: Vec<Vec<&Descriptor>> = Vec::new();
    let mut open: BTreeMap<[Option<&String>; 2], usize> = BTreeMap::new();
    let mut platforms: BTreeSet<(usize, &Platform)> = BTreeSet::new();
    for entry in platform::images(&index.manifests) {
        let label =
            [documents::IMAGE_NAME, documents::REF_NAME].map(|key| entry.annotations.get(key));
        let place = open.get(&label).copied();
        let fits = place
            .zip(entry.platform.as_ref())
            .filter(|key| platforms.insert(*key));
        if let Some((place, _)) = fits {
            groups[place].push(entry);
            continue;
        }
        if let Some(platform) = &entry.platform {
            open.insert(label, groups.len());
            platforms.insert((groups.len(), platform));
        }
        groups.push(vec![entry]);
    }
    groups
}

/// An image's manifest, and the entry of the layout's index that names it.
struct Chosen<'i> {
    /// `None` for an image of an index that another one stands for.
    name: Option<&'i Descriptor>,
    image: Descriptor,
    /// The indexes that led from one to the other.
    indexes: Vec<Vec<u8>>,
    /// The digest of the last of them and how many it lists, if all of these were chosen.
    list: Option<(Digest, usize)>,
}

/// The one image of a group that is wanted, or all of an index if no platform is asked for and the archive has them all. None
/// if it is no image at all.
fn choose<'i>(
    archive: &Archive,
    group: Vec<&'i Descriptor>,
    wanted: Option<&Platform>,
) -> Result<Vec<Chosen<'i>>, LoadError> {
    let mut indexes = Vec::new();
    let name = group[0];
    let owned: Vec<Descriptor> = group.into_iter().cloned().collect();
    let mut image = pick(archive, &owned, wanted)?.clone();
    while media_type::is_index(&image.media_type) {
        if indexes.len() >= MAX_DEPTH {
            return Err(document_error(
                documents::INDEX,
                "indexes lead to indexes without end",
            ));
        }
        let bytes = archive.blob(&image)?;
        let blob = Archive::blob_name(&image.digest);
        let parsed = Document::parse(&bytes, Some(&image.media_type))
            .map_err(|error| document_error(&blob, error))?;
        let Document::Index(index) = parsed else {
            return Err(document_error(&blob, "it is no index"));
        };
        indexes.push(bytes);
        if wanted.is_none() && is_whole(archive, &index)? {
            let main = platform::choose(&index.manifests, &Platform::host());
            let main = main.unwrap_or(&index.manifests[0]).digest;
            let member = |entry: &Descriptor| Chosen {
                name: (entry.digest == main).then_some(name),
                image: entry.clone(),
                indexes: indexes.clone(),
                list: Some((image.digest, index.manifests.len())),
            };
            return Ok(index.manifests.iter().map(member).collect());
        }
        image = pick(archive, &index.manifests, wanted)?.clone();
    }
    let chosen = media_type::is_manifest(&image.media_type).then_some(Chosen {
        name: Some(name),
        image,
        indexes,
        list: None,
    });
    Ok(chosen.into_iter().collect())
}

/// True if an index lists only images, and the archive has them all.
fn is_whole(archive: &Archive, index: &Index) -> Result<bool, LoadError> {
    let mut seen = BTreeSet::new();
    for entry in &index.manifests {
        let image = media_type::is_manifest(&entry.media_type) && !documents::is_attestation(entry);
        let here = image && archive.find(&Archive::blob_name(&entry.digest))?.is_some();
        if !here || entry.artifact_type.is_some() || !seen.insert(entry.digest) {
            return Ok(false);
        }
    }
    Ok(!index.manifests.is_empty())
}

/// The entry for the wanted platform, or for this host; the only one there is, if none was asked for.
///
/// An index tells of all platforms, an archive often has but one of them.
fn pick<'i>(
    archive: &Archive,
    entries: &'i [Descriptor],
    wanted: Option<&Platform>,
) -> Result<&'i Descriptor, LoadError> {
    let images = platform::images(entries);
    if let [only] = images[..]
        && (wanted.is_none() || only.platform.is_none())
    {
        return Ok(only);
    }
    let mut here = Vec::new();
    for entry in images {
        if archive.find(&Archive::blob_name(&entry.digest))?.is_some() {
            here.push(entry);
        }
    }
    if let ([only], None) = (&here[..], wanted) {
        return Ok(only);
    }
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    platform::choose(here.iter().copied(), wanted).ok_or_else(|| LoadError::Platform {
        wanted: wanted.to_string(),
        here: here
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .map(ToString::to_string)
            .collect(),
    })
}

/// Reads an image's documents; `None` for a manifest of something else than an image.
fn oci_image(
    archive: &Archive,
    chosen: &Chosen<'_>,
    names: Vec<Reference>,
) -> Result<Option<Found>, LoadError> {
    let descriptor = &chosen.image;
    let blob = Archive::blob_name(&descriptor.digest);
    let bytes = archive.blob(descriptor)?;
    let document = Document::parse(&bytes, Some(&descriptor.media_type))
        .map_err(|error| document_error(&blob, error))?;
    let Document::Manifest(manifest) = document else {
        return Err(document_error(&blob, "it is no image manifest"));
    };
    if !matches!(
        manifest.config.media_type.as_str(),
        media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
    ) {
        return Ok(None);
    }
    let config_bytes = archive.blob(&manifest.config)?;
    let config = config(&Archive::blob_name(&manifest.config.digest), &config_bytes)?;
    check_layers(&blob, manifest.layers.len(), &config)?;
    Ok(Some(Found {
        names,
        platform: config.platform(),
        diff_ids: config.rootfs.diff_ids,
        config: config_bytes,
        form: Form::Oci {
            bytes,
            manifest,
            media_type: descriptor.media_type.clone(),
            indexes: chosen.indexes.clone(),
        },
    }))
}

/// Where an archive is both, its `manifest.json` must tell of the same images. It may have more names, and images for
/// other platforms.
fn compare(archive: &Archive, found: &mut [Found], docker: &[u8]) -> Result<(), LoadError> {
    let list =
        documents::docker_images(docker).map_err(|why| document_error(documents::MANIFEST, why))?;
    let mut named: BTreeMap<Reference, usize> = BTreeMap::new();
    let mut ids: BTreeMap<Digest, usize> = BTreeMap::new();
    for (place, image) in found.iter().enumerate() {
        named.extend(image.names.iter().map(|name| (name.clone(), place)));
        ids.insert(Digest::sha256_of(&image.config), place);
    }
    for image in list {
        let bytes = archive
            .document(&image.config)?
            .ok_or_else(|| LoadError::Missing(shown(&image.config)))?;
        let same = ids.get(&Digest::sha256_of(&bytes)).copied();
        let platform = config(&image.config, &bytes)?.platform();
        for name in docker_names(&image)? {
            match named.get(&name).copied() {
                None => {
                    if let Some(place) = same {
                        found[place].names.push(name.clone());
                        named.insert(name, place);
                    }
                }
                Some(place) if Some(place) == same || found[place].platform != platform => {}
                Some(_) => return Err(LoadError::Disagree(name.familiar())),
            }
        }
    }
    Ok(())
}
