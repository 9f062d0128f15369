//! `barque diff`.

use clap::Args;
use engine::browse::Change;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::error::Failure;
use crate::render;

/// Show which paths differ between two images, or between a container and its image
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// An image, or a container if it is the only name
    #[arg(value_name = "IMAGE|CONTAINER")]
    from: String,
    /// The image to compare with
    #[arg(value_name = "IMAGE")]
    to: Option<String>,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Diff, context: &Context) -> Outcome {
    let engine = context.privileged_engine()?;
    let changes = match &args.to {
        Some(to) => engine.diff_images(&args.from, to)?,
        None => engine.diff_container(&args.from).map_err(|error| {
            let failure = Failure::from(error);
            match engine.has_image(&args.from) {
                true => failure.hint(format!(
                    "an image is compared with another: `barque diff {} IMAGE`",
                    args.from
                )),
                false => failure,
            }
        })?,
    };
    let mut text = String::new();
    for change in &changes {
        if args.format == Format::Json {
            text.push_str(&serde_json::to_string(change).unwrap_or_default());
        } else {
            let letter = match change.kind {
                Change::Added => 'A',
                Change::Changed => 'C',
                Change::Deleted => 'D',
            };
            text.push(letter);
            text.push(' ');
            text.push_str(&render::printable(&change.path));
        }
        text.push('\n');
    }
    render::data(&text)?;
    DONE
}
