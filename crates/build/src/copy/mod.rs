//! COPY, ADD and WORKDIR: what they select, where it goes, and the layer that holds it.
//!
//! ```text
//! select   sources ─► nodes of a tree (context, stage, image)
//! place    nodes, destination, root file system ─► entries of the layer
//! content  entries ─► key: everything in the layer but times
//! stream   entries ─► layer; files are hashed on the way if their digest is not known
//! ```

mod archive;
mod content;
mod entries;
mod place;
mod select;
mod source;
mod stream;

use dockerfile::chmod::Chmod;
use dockerfile::ignore::Patterns;
use layer::{IndexError, Time};

pub(crate) use content::{Contents, key};
pub(crate) use entries::Entries;
pub use place::PlaceError;
pub(crate) use place::Rules;
pub(crate) use source::{ImageSource, Source};
pub use stream::StreamError;
pub(crate) use stream::{read_unknown, unknown};

use crate::context::tree::{NodeId, Tree};
use crate::plan::graph::CopyStep;
use crate::rootfs::Rootfs;
use crate::users::{self, UserError};
use place::Destination;
use select::Nothing;
pub(crate) use select::{Want, wanted};

/// Why a COPY, ADD or WORKDIR failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no such source.
    #[error("`{path}` not found in {origin}{}", why_not(*.ignored, .link.as_deref()))]
    NotFound {
        /// What was asked for.
        path: String,
        /// Where.
        origin: String,
        /// It is there, but ignored.
        ignored: bool,
        /// It is a link to this, which is not there.
        link: Option<String>,
        /// What is there and has nearly that name.
        nearest: Option<String>,
    },
    /// A malformed pattern.
    #[error(transparent)]
    Pattern(dockerfile::InvalidValue),
    /// Links that lead to each other.
    #[error("`{0}` leads through too many links")]
    Links(String),
    /// Two sources in one place.
    #[error("a directory and something else are both copied to `/{0}`")]
    Conflict(String),
    /// The destination does not allow it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The owner is unknown.
    #[error(transparent)]
    User(#[from] UserError),
    /// The context could not be read.
    #[error(transparent)]
    Context(#[from] sys::fs::Error),
    /// The layer could not be written.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The root file system could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An archive could not be unpacked.
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    /// The ignore file is wrong.
    #[error("`{name}`: {}", errors.first().map_or("", |error| error.message.as_str()))]
    Ignore {
        /// Its name.
        name: String,
        /// What is wrong, with places in that file.
        errors: Vec<dockerfile::Diagnostic>,
    },
    /// There is no context to copy from.
    #[error("the build has no context to copy `{0}` from")]
    NoContext(String),
}

/// Why a copy cannot be listed.
pub(crate) enum Unlisted {
    /// The context must be walked whole.
    Unread,
    /// It cannot be done.
    Failed(Box<CopyError>),
}

impl<E: Into<CopyError>> From<E> for Unlisted {
    fn from(error: E) -> Self {
        match error.into() {
            CopyError::Place(PlaceError::Unread(_)) => Self::Unread,
            error => Self::Failed(Box::new(error)),
        }
    }
}

/// A list of entries with what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) entries: Entries,
    pub(crate) kept: Vec<layer::Stat>,
    /// Something in it is made, with a time of our own.
    pub(crate) made: bool,
    /// What is unpacked after all else.
    pub(crate) archives: archive::Archives,
}

impl Listed {
    /// The nodes of the source whose content goes into the layer or its key.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let entries = self.entries.iter().filter_map(|entry| match entry.from {
            entries::From::Node(node) => Some(node),
            _ => None,
        });
        entries.chain(self.archives.nodes.iter().copied())
    }

    /// Puts everything into a layer.
    pub(crate) fn write(
        &self,
        ingest: &mut layer::Ingest,
        contents: Contents<'_>,
        root: &Rootfs,
        lease: &store::Lease,
    ) -> Result<stream::Lessons, CopyError> {
        let lessons = stream::write(ingest, &self.entries, contents, lease)?;
        if let Some(source) = contents.source.filter(|_| !self.archives.nodes.is_empty()) {
            let mut unpacker = archive::Unpacker::new(root, ingest, &self.archives);
            for entry in self.entries.iter() {
                let target = match entry.from {
                    entries::From::Node(node) => source.tree().target(node),
                    _ => &[],
                };
                unpacker.note(self.entries.path(entry), entry.kind, target);
            }
            unpacker.unpack(source)?;
        }
        Ok(lessons)
    }
}

/// Lists what a COPY puts into its layer.
pub(crate) fn list(
    step: &CopyStep,
    source: Option<&Source>,
    root: &Rootfs,
    epoch: Option<Time>,
) -> Result<Listed, Unlisted> {
    let owner = step
        .owner
        .as_deref()
        .map(|owner| users::owner(root, owner))
        .transpose()?;
    let rules = Rules {
        owner,
        mode: step.mode.clone(),
        keep_owner: source.is_some_and(Source::keeps_owner),
        epoch,
        exclude: Patterns::new(&step.exclude).map_err(CopyError::Pattern)?,
        link: step.link,
    };
    let mut entries = Entries::default();
    let mut destination = Destination::find(
        root,
        &rules,
        &step.destination,
        step.into_directory,
        &mut entries,
    )?;
    let mut archives = Vec::new();
    for path in &step.sources {
        let Some(source) = source else {
            return Err(CopyError::NoContext(path.clone()).into());
        };
        let nothing = |nothing| failed(nothing, path, step, source.tree());
        if step.parents {
            destination.enter(&mut entries)?;
            let selected = select::select_parents(source.tree(), path);
            for (top, nodes) in if_there(step, selected).map_err(nothing)? {
                destination.place_parents(source.tree(), top.node, &nodes, &mut entries)?;
            }
            continue;
        }
        for selected in if_there(step, select::select(source.tree(), path)).map_err(nothing)? {
            if step.unpack && archive::is_archive(source, selected.node)? {
                archives.push(selected.node);
                destination.enter(&mut entries)?;
                continue;
            }
            destination.place(source.tree(), &selected, &mut entries)?;
        }
    }
    for (number, (name, _)) in step.inline.iter().enumerate() {
        destination.place_inline(name.as_bytes(), number as u32, &mut entries)?;
    }
    let (kept, into) = (std::mem::take(&mut destination.kept), destination.path());
    let conflict = |conflict: entries::Conflict| {
        CopyError::Conflict(String::from_utf8_lossy(&conflict.path).into_owned())
    };
    entries.finish().map_err(conflict)?;
    let made = entries
        .iter()
        .any(|entry| matches!(entry.from, entries::From::Made | entries::From::Inline(_)));
    let archives = archive::Archives {
        nodes: archives,
        into,
        owner,
        epoch,
    };
    Ok(Listed {
        entries,
        kept,
        made,
        archives,
    })
}

/// With `--if-exists`, what is not there is as a pattern that matches nothing.
fn if_there<T>(step: &CopyStep, selected: Result<Vec<T>, Nothing>) -> Result<Vec<T>, Nothing> {
    match selected {
        Err(Nothing::NotFound) if step.optional => Ok(Vec::new()),
        selected => selected,
    }
}

fn why_not(ignored: bool, link: Option<&str>) -> String {
    match link {
        _ if ignored => ": the ignore file leaves it out".to_owned(),
        Some(link) => format!(": it is a link to `{link}`, which is not there"),
        None => String::new(),
    }
}

fn failed(nothing: Nothing, path: &str, step: &CopyStep, tree: &Tree) -> Unlisted {
    let path = path.to_owned();
    let error = match nothing {
        Nothing::Unread => return Unlisted::Unread,
        Nothing::NotFound => CopyError::NotFound {
            ignored: false,
            link: select::dangling(tree, &path),
            nearest: select::nearest(tree, &path),
            path,
            origin: step.origin_name.clone(),
        },
        Nothing::Pattern(error) => CopyError::Pattern(error),
        Nothing::Loop => CopyError::Links(path),
    };
    error.into()
}

/// Lists what a WORKDIR makes.
pub(crate) fn list_workdir(
    path: &str,
    user: &str,
    root: &Rootfs,
    epoch: Option<Time>,
) -> Result<Listed, CopyError> {
    let owner = if user.is_empty() {
        users::Owner::ROOT
    } else {
        users::owner(root, user)?
    };
    let rules = Rules {
        owner: Some(owner),
        epoch,
        ..Rules::default()
    };
    let way = root.way(path.as_bytes())?;
    if way.kind() == Some(layer::FileType::Dir) {
        return Ok(Listed::default());
    }
    let mut entries = Entries::default();
    let mut destination =
        Destination::find(root, &rules, path, true, &mut entries).map_err(|error| match error {
            PlaceError::DirOverFile(path) => PlaceError::NotADirectory(path),
            error => error,
        })?;
    Ok(Listed {
        kept: std::mem::take(&mut destination.kept),
        entries,
        made: true,
        archives: archive::Archives::default(),
    })
}

/// The mode of `--chmod` as part of a key.
pub(crate) fn mode_text(mode: Option<&Chmod>) -> String {
    mode.map_or_else(String::new, |mode| format!("{mode:?}"))
}
