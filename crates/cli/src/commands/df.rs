//! `barque df`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// Show what the store's parts take on the disk
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Df, context: &Context) -> Outcome {
    let usage = context.engine()?.usage()?;
    if args.format == Format::Json {
        for row in &usage {
            render::json_line(row)?;
        }
        return DONE;
    }
    let rows: Vec<[String; 5]> = usage
        .iter()
        .map(|row| {
            [
                row.kind.clone(),
                row.total.to_string(),
                row.active.to_string(),
                render::size(row.size),
                render::size(row.reclaimable),
            ]
        })
        .collect();
    render::data(&render::table(
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
        &rows,
    ))?;
    DONE
}
