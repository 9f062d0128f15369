//! `barque load`.

use std::path::PathBuf;

use clap::Args;
use engine::transfer::LoadRequest;

use super::{Context, DONE, Outcome};
use crate::render;

/// Read images from an archive of Docker, podman or skopeo, or from an OCI layout
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The archive, plain or compressed, or the folder; stdin otherwise
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Take only images for this platform: OS/ARCH[/VARIANT]
    #[arg(long)]
    platform: Option<String>,
}

pub(crate) fn run(args: Load, context: &Context) -> Outcome {
    let loaded = context.engine()?.load(&LoadRequest {
        input: args.input,
        platform: args.platform,
    })?;
    if !args.quiet {
        for image in loaded {
            let line = if image.names.is_empty() {
                format!("Loaded image ID: {}\n", image.id)
            } else {
                image
                    .names
                    .iter()
                    .map(|name| format!("Loaded image: {name}\n"))
                    .collect()
            };
            render::data(&line)?;
        }
    }
    DONE
}
