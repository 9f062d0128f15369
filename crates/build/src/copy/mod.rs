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
mod glob;
mod place;
mod select;
mod source;
mod stream;

use dockerfile::chmod::Chmod;
use layer::{IndexError, Time};

pub(crate) use content::{Contents, key};
pub(crate) use entries::Entries;
pub use place::PlaceError;
pub(crate) use place::Rules;
pub(crate) use source::{ImageSource, Source};
pub use stream::StreamError;
pub(crate) use stream::{read_unknown, unknown, write};

use crate::context::tree::NodeId;
use crate::plan::graph::CopyStep;
use crate::rootfs::Rootfs;
use crate::users::{self, UserError};
use place::{Destination, Keep};
use select::{Nothing, Selected};

/// Why a COPY, ADD or WORKDIR failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no such source.
    #[error("`{path}` not found in {origin}{}", if *.ignored { ": the ignore file leaves it out" } else { "" })]
    NotFound {
        /// What was asked for.
        path: String,
        /// Where.
        origin: String,
        /// It is there, but ignored.
        ignored: bool,
    },
    /// A malformed pattern.
    #[error("`{0}` is not a pattern: a `[` without its end, or an escape at the end")]
    Pattern(String),
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
        Self::Failed(Box::new(error.into()))
    }
}

/// A list of entries with what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) entries: Entries,
    pub(crate) kept: Vec<layer::Stat>,
    /// Something in it is made, with a time of our own.
    pub(crate) made: bool,
}

/// Lists what a COPY puts into its layer. `origin` is what people call the source.
pub(crate) fn list(
    step: &CopyStep,
    source: Option<&Source>,
    root: &Rootfs,
    epoch: Option<Time>,
    origin: &str,
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
        link: step.link,
    };
    let mut entries = Entries::default();
    let mut destination = Destination::find(
        root,
        &rules,
        step.destination.as_bytes(),
        step.into_directory,
        &mut entries,
    )?;
    for path in &step.sources {
        let Some(source) = source else {
            return Err(CopyError::NoContext(path.clone()).into());
        };
        for selected in found(source, path, origin)? {
            let mut keep = excluded(step, source, &selected);
            destination.place(source.tree(), &selected, &mut keep, &mut entries)?;
        }
    }
    for (number, (name, _)) in step.inline.iter().enumerate() {
        destination.place_inline(name.as_bytes(), number as u32, &mut entries)?;
    }
    let kept = std::mem::take(&mut destination.kept);
    let conflict = |conflict: entries::Conflict| {
        CopyError::Conflict(String::from_utf8_lossy(&conflict.path).into_owned())
    };
    entries.finish().map_err(conflict)?;
    let made = entries
        .iter()
        .any(|entry| matches!(entry.from, entries::From::Made | entries::From::Inline(_)));
    Ok(Listed {
        entries,
        kept,
        made,
    })
}

/// What of a selected thing is copied.
fn excluded<'a>(
    step: &'a CopyStep,
    source: &'a Source,
    selected: &'a Selected,
) -> impl FnMut(NodeId, &[u8]) -> Keep + 'a {
    let _ = (step, source, selected);
    move |_, _| Keep::Yes
}

fn found(source: &Source, path: &str, origin: &str) -> Result<Vec<Selected>, Unlisted> {
    select::select(source.tree(), path.as_bytes()).map_err(|nothing| {
        let path = path.to_owned();
        let error = match nothing {
            Nothing::Unread => return Unlisted::Unread,
            Nothing::NotFound => CopyError::NotFound {
                ignored: false,
                path,
                origin: origin.to_owned(),
            },
            Nothing::Pattern => CopyError::Pattern(path),
            Nothing::Loop => CopyError::Links(path),
        };
        error.into()
    })
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
    let mut destination = Destination::find(root, &rules, path.as_bytes(), true, &mut entries)?;
    Ok(Listed {
        kept: std::mem::take(&mut destination.kept),
        entries,
        made: true,
    })
}

/// The part of a path before its first component with a wildcard: what of a tree must be known to select it.
pub(crate) fn literal_prefix(path: &str) -> Vec<Vec<u8>> {
    let parts = select::components(path.as_bytes());
    let literal = parts
        .iter()
        .position(|part| glob::has_wildcards(part))
        .unwrap_or(parts.len());
    parts[..literal].iter().map(|part| part.to_vec()).collect()
}

/// The mode of `--chmod` as part of a key.
pub(crate) fn mode_text(mode: Option<&Chmod>) -> String {
    mode.map_or_else(String::new, |mode| format!("{mode:?}"))
}
