//! `fsck`: finds and names every damaged or orphaned thing.
//!
//! A list of small checks, each of which looks at one kind of thing and reports [`Finding`]s. The quick half looks at rows,
//! names, kinds and sizes, under the store's lock; the full half also reads every byte, without it, so that others can work.
//! Repairing moves damaged things to `damaged/` and takes their rows; what can be made anew (indexes, unpacked layers) is.
//! Unfinished work of living processes and litter of dead ones in `tmp/` is no damage: it is only counted.

mod checks;
mod contents;
mod repair;
mod unpacked;

use std::path::PathBuf;

use oci::{DiffId, Digest};

use crate::change::Content;
use crate::db;
use crate::error::Result;
use crate::folder::Flavour;
use crate::store::Store;

/// How thorough a check is, and what it may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsckOptions {
    /// Read every byte, instead of looking at names and sizes only.
    pub full: bool,
    /// Move damaged things aside and make anew what can be made anew.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it: `layers`, `blobs`, `images` and so on.
    pub check: &'static str,
    /// What it is about: `layer sha256:…`, `image app:latest`.
    pub what: String,
    /// What is wrong, as a clause: `its tar has another digest`.
    pub problem: String,
    /// The file or directory, if it is one.
    pub path: Option<PathBuf>,
    /// Images that cannot be used because of it, by name or else by id.
    pub images: Vec<String>,
    /// What [`FsckOptions::repair`] does about it.
    pub remedy: Remedy,
    /// True if that was done.
    pub repaired: bool,
}

/// What is done about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The layer goes to `damaged/`, and build records that name it go.
    SetLayerAside(DiffId),
    /// The blob goes to `damaged/`.
    SetBlobAside(Digest),
    /// The file or directory goes to `damaged/`.
    SetFileAside(PathBuf),
    /// The index is made anew from the tar.
    MendIndex(DiffId),
    /// The unpacked tree goes; it is unpacked again at need.
    DropTree(DiffId, Flavour),
    /// The image and its names go: it cannot be used. It must be pulled or built again.
    DropImage(Digest),
    /// The container goes, what is left of its directory to `damaged/`.
    DropContainer(String),
    /// The build record goes.
    DropRecord(i64),
    /// Rows that lead nowhere go.
    DropRows,
    /// The folder is closed to others.
    CloseFolder,
    /// The directory is made.
    MakeDirectory(PathBuf),
    /// Nothing more: the message is the remedy, and is not given again.
    Acknowledge,
    /// The database is made anew from the folder; names are lost. [`rebuild_database`](crate::rebuild_database) does it.
    RebuildDatabase,
}

/// What a check of the whole store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
    /// Images that were lost and must be pulled or built again, by name or else by id; only after repairing.
    pub lost: Vec<String>,
    /// How many layers were looked at.
    pub layers: u64,
    /// How many blobs were looked at.
    pub blobs: u64,
    /// How many images were looked at.
    pub images: u64,
    /// How many bytes were read and hashed.
    pub bytes: u64,
    /// How many things lie in `tmp/`: the work of living processes, and what the next upkeep takes away.
    pub temporary: u64,
}

impl FsckReport {
    /// True if nothing is wrong, or everything was repaired.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }
}

/// What a check works with.
struct Checker<'s> {
    store: &'s Store,
    report: FsckReport,
    check: &'static str,
}

impl Checker<'_> {
    fn found(
        &mut self,
        what: String,
        problem: impl Into<String>,
        path: Option<PathBuf>,
        remedy: Remedy,
    ) -> Result<()> {
        let images = match &remedy {
            Remedy::SetLayerAside(id) => self.store.images_with(&Content::Layer(*id))?,
            Remedy::SetBlobAside(digest) => self.store.images_with(&Content::Blob(*digest))?,
            Remedy::DropImage(digest) => vec![self.store.image_label(digest)?],
            _ => Vec::new(),
        };
        self.report.findings.push(Finding {
            check: self.check,
            what,
            problem: problem.into(),
            path,
            images,
            remedy,
            repaired: false,
        });
        Ok(())
    }
}

/// A repair can uncover what it made unusable: an image whose layer was set aside. Three rounds reach the end of every chain.
const ROUNDS: usize = 3;

impl Store {
    /// Checks the whole store and reports everything that is damaged or orphaned; with [`FsckOptions::repair`], mends it.
    ///
    /// Other processes may work meanwhile.
    ///
    /// # Errors
    ///
    /// The check itself could not be done: a file cannot be read for another reason than being damaged, the database fails.
    pub fn fsck(&self, options: &FsckOptions) -> Result<FsckReport> {
        let mut report = self.look(options.full)?;
        if !options.repair {
            return Ok(report);
        }
        let mut round = report.findings.clone();
        for _ in 0..ROUNDS {
            // Damaged content is set aside before what it made useless takes it along.
            round.sort_by_key(|finding| {
                matches!(
                    finding.remedy,
                    Remedy::DropImage(_) | Remedy::DropContainer(_) | Remedy::DropRecord(_)
                )
            });
            for finding in &mut round {
                finding.repaired = self.repair(finding, options.full)?;
                if finding.repaired && matches!(finding.remedy, Remedy::DropImage(_)) {
                    report.lost.extend(finding.images.iter().cloned());
                }
            }
            merge(&mut report.findings, round);
            // What was read in the first round was whole; the rest is a matter of rows and names.
            round = self.look(false)?.findings;
            if round.is_empty() {
                break;
            }
        }
        report.lost.sort();
        report.lost.dedup();
        Ok(report)
    }

    /// One pass of all checks.
    fn look(&self, full: bool) -> Result<FsckReport> {
        let mut checker = Checker {
            store: self,
            report: FsckReport::default(),
            check: "",
        };
        {
            let _change = self.change()?;
            for (name, check) in checks::CHECKS {
                checker.check = name;
                check(&mut checker)?;
            }
        }
        // Without its directories nothing can be looked at closely; what they held is missing anyway.
        let has_directories = !checker
            .report
            .findings
            .iter()
            .any(|finding| matches!(finding.remedy, Remedy::MakeDirectory(_)));
        if full && has_directories {
            for (name, check) in contents::CHECKS {
                checker.check = name;
                check(&mut checker)?;
            }
        }
        checker.report.temporary = crate::sweep::names(&self.folder().tmp())?
            .iter()
            .filter(|name| !crate::sweep::is_for_ever(name))
            .count() as u64;
        Ok(checker.report)
    }

    /// The images that need `content`, by name or else by id.
    fn images_with(&self, content: &Content) -> Result<Vec<String>> {
        let sql = match content {
            Content::Layer(_) => "SELECT DISTINCT image FROM image_layer WHERE diff_id = ?1",
            Content::Blob(_) => "SELECT DISTINCT image FROM image_blob WHERE blob = ?1",
            Content::Container(_) | Content::Tree(..) => return Ok(Vec::new()),
        };
        let images = self.read("find the images", |db| db::digests(db, sql, [content.id()]))?;
        images.iter().map(|image| self.image_label(image)).collect()
    }

    /// What people call an image.
    fn image_label(&self, digest: &Digest) -> Result<String> {
        Ok(match self.image(digest)? {
            Some(image) => match image.names.first() {
                Some(name) => name.familiar(),
                None => image.id.to_string(),
            },
            None => digest.to_string(),
        })
    }
}

/// Adds the findings of a round to those of the rounds before it.
fn merge(all: &mut Vec<Finding>, round: Vec<Finding>) {
    for finding in round {
        let same =
            |other: &&mut Finding| other.what == finding.what && other.problem == finding.problem;
        match all.iter_mut().find(same) {
            Some(known) => known.repaired |= finding.repaired,
            None => all.push(finding),
        }
    }
}
