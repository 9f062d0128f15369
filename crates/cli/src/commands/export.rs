//! `barque export`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::error::Failure;

/// Write the root filesystem of an image or a container as a tar
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The image or container
    #[arg(value_name = "IMAGE|CONTAINER")]
    name: String,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Export, context: &Context) -> Outcome {
    refuse_terminal(args.output.is_none())?;
    context
        .engine()?
        .export(&args.name, args.output.as_deref())?;
    DONE
}

/// An archive on a terminal helps no one.
pub(super) fn refuse_terminal(to_stdout: bool) -> Result<(), Failure> {
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(Failure::new("refusing to write an archive to the terminal")
            .hint("use `-o FILE`, or pipe it"));
    }
    Ok(())
}
