//! `barque df`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::render::{self, ListFormat, Listing};

/// Show what the store's parts take on the disk
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// How the list is printed: table, json, a Go template as `{{.Size}}`, or `table {{.Type}}\t{{.Size}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse)]
    format: ListFormat,
}

pub(crate) fn run(args: &Df, context: &Context) -> Outcome {
    let usage = context.engine()?.usage()?;
    let listing = Listing {
        fields: [
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ],
        rows: usage
            .iter()
            .map(|row| {
                [
                    row.kind.clone(),
                    row.total.to_string(),
                    row.active.to_string(),
                    render::size(row.size),
                    render::size(row.reclaimable),
                ]
                .into()
            })
            .collect(),
    };
    let text = match &args.format {
        ListFormat::Json => {
            for row in &usage {
                render::json_line(row)?;
            }
            return DONE;
        }
        ListFormat::Table => {
            let header = listing.fields.map(|(_, header)| header);
            let rows: Vec<_> = listing.rows.into_iter().map(|row| row.values).collect();
            render::table(header, &rows)
        }
        ListFormat::Template(template) => listing.print(template)?,
        ListFormat::TableOf(template) => listing.print_table(template)?,
    };
    render::data(&text)?;
    DONE
}
