//! `barque copy`.

use clap::Args;
use engine::exchange::CopyRequest;

use super::{Context, DONE, Outcome};
use crate::args::Progress;
use crate::render;

/// Copy an image from registry to registry, without keeping it
///
/// Digests stay as they are; what the target has is not sent.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Copy all platforms, and the index that names them
    #[arg(short, long)]
    all: bool,
    /// Copy the image for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all")]
    platform: Option<String>,
    /// Print the digest only
    #[arg(short, long)]
    quiet: bool,
    /// The image: NAME[:TAG][@DIGEST]
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes: NAME[:TAG]
    #[arg(value_name = "TARGET")]
    target: String,
}

pub(crate) fn run(args: Copy, context: &Context) -> Outcome {
    let progress = if args.quiet {
        Progress::Quiet
    } else {
        context.progress()
    };
    let request = CopyRequest {
        source: args.source,
        target: args.target,
        all: args.all,
        platform: args.platform,
    };
    let engine = context.engine()?;
    let copied = super::pull::shown(context, progress, "Copying", |events| {
        engine.copy(&request, events)
    })?;
    render::data(&if args.quiet {
        format!("{}\n", copied.digest)
    } else {
        format!("{}: digest: {}\n", copied.reference, copied.digest)
    })?;
    DONE
}
