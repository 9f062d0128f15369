//! Flags of the files that tell about the result.

use std::path::PathBuf;

use clap::Args;
use engine::building::Built;

use crate::error::Failure;

/// Files that tell about the result.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Write the image's id to this file; of several platforms, the digest of the index
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what is known of the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
}

impl Files {
    /// Writes those that were asked for.
    pub(super) fn write(&self, built: &Built) -> Result<(), Failure> {
        if let Some(file) = &self.iidfile {
            let id = built.id.map_or_else(String::new, |id| id.to_string());
            engine::write_text(file, &id)?;
        }
        if let Some(file) = &self.metadata_file {
            engine::write_text(file, &format!("{:#}\n", built.metadata))?;
        }
        Ok(())
    }
}
