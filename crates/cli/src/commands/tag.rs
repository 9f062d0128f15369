//! `barque tag`.

use clap::Args;

use super::{Context, DONE, Outcome};

/// Give an image one more name
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The image
    source: String,
    /// The new name: NAME[:TAG]
    target: String,
}

pub(crate) fn run(args: &Tag, context: &Context) -> Outcome {
    context.engine()?.tag(&args.source, &args.target)?;
    DONE
}
