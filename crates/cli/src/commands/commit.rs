//! `barque commit`.

use clap::Args;
use engine::containers::CommitRequest;

use super::{Context, DONE, Outcome};
use crate::render;

/// Make an image of a container's changes
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image's config
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Say something about it in the history
    #[arg(short, long)]
    message: Option<String>,
    /// Hold the container's processes still meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pause: bool,
    /// Let them go on meanwhile, as `--pause=false`
    #[arg(long, conflicts_with = "pause")]
    no_pause: bool,
    /// The container
    container: String,
    /// The image's name: NAME[:TAG]
    name: Option<String>,
}

pub(crate) fn run(args: Commit, context: &Context) -> Outcome {
    let id = context.privileged_engine()?.commit(&CommitRequest {
        container: args.container,
        name: args.name,
        author: args.author,
        message: args.message,
        changes: args.changes,
        pause: args.pause && !args.no_pause,
        created: context.settings.source_date_epoch.clone(),
    })?;
    render::data(&format!("{id}\n"))?;
    DONE
}
