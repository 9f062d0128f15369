//! `barque registry gc`.

use clap::Args;
use engine::registry::{Collected, Retired};

use super::super::{Context, DONE, Outcome};
use super::{Where, seconds};
use crate::render;

/// Free what nothing needs in a registry that is not being served
///
/// A server does this by itself while it serves. A bucket may be collected while servers work on it.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    place: Where,
    /// Only say what would be freed
    #[arg(long)]
    dry_run: bool,
    /// How long a blob without a manifest is kept after it was pushed or asked for [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    grace: Option<u64>,
    /// How long an upload is kept that nobody goes on with [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    upload_age: Option<u64>,
}

pub(crate) fn run(args: &Gc, context: &Context) -> Outcome {
    let place = args.place.place(context)?;
    let mut what = place.settings.collection();
    what.grace = args.grace.unwrap_or(what.grace);
    what.upload_age = args.upload_age.unwrap_or(what.upload_age);
    what.dry_run = args.dry_run;
    let (retired, collected) = engine::registry::collect(&place, &what)?;
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
