//! Whether the store is sound, and making it so.

use std::path::{Path, PathBuf};

use serde::Serialize;
use store::{FsckOptions, Kind, OpenOptions, Store};

use crate::Error;

/// What `fsck` is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsckRequest {
    /// Look at names and sizes only.
    pub quick: bool,
    /// Mend what can be mended.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Problem {
    /// Which check found it.
    pub check: String,
    /// What it is about.
    pub what: String,
    /// What is wrong with it.
    pub problem: String,
    /// The file or directory.
    pub path: Option<PathBuf>,
    /// Images that cannot be used because of it.
    pub images: Vec<String>,
    /// True if it was mended.
    pub repaired: bool,
}

/// What `fsck` found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Checked {
    /// Everything that is not as it should be.
    pub problems: Vec<Problem>,
    /// Images that were lost and must be pulled or built again.
    pub lost: Vec<String>,
    /// Layers that were looked at.
    pub layers: u64,
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Images that were looked at.
    pub images: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Where damaged things were moved.
    pub damaged: PathBuf,
}

impl Checked {
    /// How many problems are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.problems
            .iter()
            .filter(|problem| !problem.repaired)
            .count()
    }
}

/// Checks the store at `root`, which must exist; with `repair`, mends it, and makes a database anew that cannot be read.
///
/// # Errors
///
/// The store cannot be opened, or the check itself failed.
pub fn fsck(root: &Path, request: &FsckRequest) -> Result<Checked, Error> {
    let options = OpenOptions {
        create: false,
        ..OpenOptions::default()
    };
    let checked = Store::open(root, &options).and_then(|store| check(&store, request));
    let checked = match checked {
        Err(error) if request.repair && error.kind() == Kind::Corrupt => {
            store::rebuild_database(root)?;
            check(&Store::open(root, &options)?, request)
        }
        other => other,
    }?;
    Ok(checked)
}

fn check(store: &Store, request: &FsckRequest) -> store::Result<Checked> {
    let report = store.fsck(&FsckOptions {
        full: !request.quick,
        repair: request.repair,
    })?;
    let problem = |finding: store::Finding| Problem {
        check: finding.check.to_owned(),
        what: finding.what,
        problem: finding.problem,
        path: finding.path,
        images: finding.images,
        repaired: finding.repaired,
    };
    // What was taken away is deleted now: whoever repairs wants to see the end of it.
    if request.repair {
        store.upkeep()?;
    }
    Ok(Checked {
        problems: report.findings.into_iter().map(problem).collect(),
        lost: report.lost,
        layers: report.layers,
        blobs: report.blobs,
        images: report.images,
        bytes: report.bytes,
        damaged: store.root().join("damaged"),
    })
}
