//! `barque cat`.

use std::io;

use clap::Args;

use super::{Context, DONE, Outcome};

/// Print a file of an image
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The image and the file's path in it
    #[arg(value_name = "IMAGE:PATH")]
    target: String,
}

pub(crate) fn run(args: &Cat, context: &Context) -> Outcome {
    context
        .engine()?
        .read_file(&args.target, &mut io::stdout().lock())?;
    DONE
}
