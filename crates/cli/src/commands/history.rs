//! `barque history`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// Show how an image came about
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The image
    image: String,
    /// Do not shorten instructions
    #[arg(long)]
    no_trunc: bool,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &History, context: &Context) -> Outcome {
    let steps = context.engine()?.history(&args.image)?;
    if args.format == Format::Json {
        for step in &steps {
            render::json_line(step)?;
        }
        return DONE;
    }
    let now = jiff::Timestamp::now();
    let rows: Vec<[String; 5]> = steps
        .iter()
        .map(|step| {
            let mut instruction = render::printable(&step.created_by.replace('\t', " "));
            if !args.no_trunc && instruction.chars().count() > 45 {
                instruction = instruction.chars().take(44).chain(['…']).collect();
            }
            [
                step.id.map_or_else(
                    || "<missing>".to_owned(),
                    |id| {
                        if args.no_trunc {
                            id.to_string()
                        } else {
                            id.digest().short()
                        }
                    },
                ),
                step.created
                    .as_deref()
                    .map_or_else(|| "N/A".to_owned(), |then| render::time::ago(then, now)),
                instruction,
                render::size(step.size),
                render::printable(&step.comment),
            ]
        })
        .collect();
    render::data(&render::table(
        ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"],
        &rows,
    ))?;
    DONE
}
