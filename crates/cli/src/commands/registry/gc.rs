//! `barque registry gc`.

use clap::Args;
use engine::registry::{Collected, Collection};

use super::super::{Context, DONE, Outcome};
use super::{Place, seconds};
use crate::render;

/// Free what nothing needs in a registry that is not being served
///
/// A server does this by itself while it serves.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    place: Place,
    /// Only say what would be freed
    #[arg(long)]
    dry_run: bool,
    /// How long a blob without a manifest is kept after it was pushed or asked for
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = seconds)]
    grace: u64,
    /// How long an upload is kept that nobody goes on with
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
    upload_age: u64,
}

pub(crate) fn run(args: &Gc, context: &Context) -> Outcome {
    let what = Collection {
        grace: args.grace,
        upload_age: args.upload_age,
        dry_run: args.dry_run,
    };
    let collected = engine::registry::collect(&args.place.folder(context), &what)?;
    let verb = if args.dry_run {
        "would collect"
    } else {
        "collected"
    };
    render::data(&format!("{}\n", told(&collected, verb)))?;
    DONE
}

/// What was collected, in a line.
pub(super) fn told(collected: &Collected, verb: &str) -> String {
    format!(
        "{verb} {} blobs of repositories, {} files ({}), {} uploads",
        collected.blobs,
        collected.content,
        render::size(collected.bytes),
        collected.uploads
    )
}
