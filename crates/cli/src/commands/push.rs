//! `barque push`.

use clap::Args;
use engine::exchange::PushRequest;

use super::{Context, DONE, Outcome};
use crate::args::Progress;
use crate::error::Failure;
use crate::render;

/// Send images to a registry
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Send all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// How layers that were built here are compressed: gzip, zstd or none
    ///
    /// What was pulled or loaded goes as it came, with the same digests.
    #[arg(long, value_name = "FORMAT", default_value = "gzip")]
    compression: String,
    /// The image under the name that it gets: NAME[:TAG], or ssh://HOST/NAME for the store of another host
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) fn run(args: Push, context: &Context) -> Outcome {
    let progress = if args.quiet {
        Progress::Quiet
    } else {
        context.progress()
    };
    let compression = engine::exchange::compression(&args.compression).ok_or_else(|| {
        Failure::new(format!("`{}` is not a compression", args.compression))
            .hint("`--compression` is gzip, zstd or none")
    })?;
    let request = PushRequest {
        image: args.image,
        all_tags: args.all_tags,
        compression,
    };
    let engine = context.engine()?;
    let pushed = super::pull::shown(context, progress, "Pushing", |events| {
        engine.push(&request, events)
    })?;
    for image in pushed {
        if progress == Progress::Json {
            render::json_line(&serde_json::json!({
                "reference": image.reference,
                "digest": image.digest,
                "size": image.size,
            }))?;
            continue;
        }
        let tag = image.reference.tag();
        let tag = tag.map_or_else(|| image.digest.to_string(), ToString::to_string);
        render::data(&if args.quiet {
            format!("{}\n", image.reference)
        } else {
            format!("{tag}: digest: {} size: {}\n", image.digest, image.size)
        })?;
    }
    DONE
}
