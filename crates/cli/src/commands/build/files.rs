//! Flags of the files that tell about the result.

use std::path::PathBuf;

use clap::Args;

use crate::error::Failure;

/// Files that tell about the result.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Write the image's id to this file; of several platforms, the digest of the index; of several targets, a line each
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what is known of the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
}

impl Files {
    /// Writes those that were asked for.
    pub(super) fn write(
        &self,
        ids: &[String],
        metadata: &serde_json::Value,
    ) -> Result<(), Failure> {
        if let Some(file) = &self.iidfile {
            engine::write_text(file, &ids.join("\n"))?;
        }
        if let Some(file) = &self.metadata_file {
            engine::write_text(file, &format!("{metadata:#}\n"))?;
        }
        Ok(())
    }
}
