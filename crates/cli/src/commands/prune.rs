//! `barque prune`.

use clap::Args;
use engine::upkeep::PruneRequest;

use super::{Context, DONE, Outcome};
use crate::render;

/// Remove what nothing needs: ended containers, images without a name, the build cache
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Also images with a name that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask, as without it: barque never asks
    #[arg(short, long)]
    force: bool,
    /// Keep the build cache
    #[arg(long)]
    keep_cache: bool,
    /// Only what was not used for this long: 90m, 24h, 7d
    #[arg(long, value_name = "DURATION")]
    older_than: Option<String>,
}

pub(crate) fn run(args: &Prune, context: &Context) -> Outcome {
    let request = PruneRequest {
        all: args.all,
        keep_cache: args.keep_cache,
        older_than: args
            .older_than
            .as_deref()
            .map(engine::upkeep::duration)
            .transpose()?,
    };
    let pruned = context.privileged_engine()?.prune(&request)?;
    let mut text = String::new();
    for container in &pruned.containers {
        text.push_str(&format!("Deleted container: {container}\n"));
    }
    for image in &pruned.images {
        text.push_str(&format!("Deleted image: {image}\n"));
    }
    if pruned.records > 0 {
        text.push_str(&format!(
            "Deleted build cache records: {}\n",
            pruned.records
        ));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        render::size(pruned.bytes)
    ));
    render::data(&text)?;
    DONE
}
