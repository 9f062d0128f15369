//! `barque registry gc`.

use clap::Args;
use engine::registry::{Collected, Retired};

use super::super::{Context, DONE, Outcome};
use super::{Where, seconds};
use crate::render;

/// Free what nothing needs in a registry
///
/// A server does this by itself while it serves. Where one works on the folder, it is told to do it now, by its own rules; a
/// bucket may be collected while servers work on it.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    place: Where,
    /// Only say what would be freed
    #[arg(long)]
    dry_run: bool,
    /// How long a blob without a manifest is kept after it was pushed or asked for [default: as configured, else 24h]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    grace: Option<u64>,
    /// How long an upload is kept that nobody goes on with [default: as configured, else 7d]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    upload_age: Option<u64>,
}

pub(crate) fn run(args: &Gc, context: &Context) -> Outcome {
    let place = args.place.place(context)?;
    let (retired, collected) =
        engine::registry::collect(&place, args.grace, args.upload_age, args.dry_run)?;
    let verbs = if args.dry_run {
        ["would let go", "would collect"]
    } else {
        ["let go", "collected"]
    };
    render::data(&format!("{}\n", told(&retired, &collected, verbs)))?;
    DONE
}

/// What went, in a line.
pub(super) fn told(retired: &Retired, collected: &Collected, verbs: [&str; 2]) -> String {
    format!(
        "{} {} tags and {} manifests, {} {} blobs of repositories, {} files ({}), {} uploads",
        verbs[0],
        retired.tags,
        retired.manifests,
        verbs[1],
        collected.blobs,
        collected.content,
        render::size(collected.bytes),
        collected.uploads
    )
}
