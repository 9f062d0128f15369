//! `barque history`.

use clap::Args;
use engine::images::HistoryRow;

use super::{Context, DONE, Outcome};
use crate::render::{self, ListFormat, Listing};

/// Show how an image came about
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The image
    image: String,
    /// Do not shorten instructions
    #[arg(long)]
    no_trunc: bool,
    /// How the list is printed: table, json, a Go template as `{{.CreatedBy}}`, or `table {{.Size}}\t{{.CreatedBy}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse)]
    format: ListFormat,
}

pub(crate) fn run(args: &History, context: &Context) -> Outcome {
    let steps = context.engine()?.history(&args.image)?;
    let listing = listing(&steps, args.no_trunc);
    let text = match &args.format {
        ListFormat::Json => {
            for step in &steps {
                render::json_line(step)?;
            }
            return DONE;
        }
        ListFormat::Table => {
            let rows: Vec<[String; 5]> = listing
                .rows
                .into_iter()
                .map(|row| {
                    let [id, created, instruction, size, comment, _] = row.values;
                    [id, created, instruction, size, comment]
                })
                .collect();
            let header = ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
            render::table(header, &rows)
        }
        ListFormat::Template(template) => listing.print(template)?,
        ListFormat::TableOf(template) => listing.print_table(template)?,
    };
    render::data(&text)?;
    DONE
}

/// What a template can name, as Docker calls it.
fn listing(steps: &[HistoryRow], no_trunc: bool) -> Listing<6> {
    let now = jiff::Timestamp::now();
    let row = |step: &HistoryRow| {
        let mut instruction = render::printable(&step.created_by.replace('\t', " "));
        if !no_trunc && instruction.chars().count() > 45 {
            instruction = instruction.chars().take(44).chain(['…']).collect();
        }
        let id = step.id.map(|id| {
            if no_trunc {
                id.to_string()
            } else {
                id.digest().short()
            }
        });
        let created = step.created.as_deref();
        [
            id.unwrap_or_else(|| "<missing>".to_owned()),
            created.map_or_else(|| "N/A".to_owned(), |then| render::time::ago(then, now)),
            instruction,
            render::size(step.size),
            render::printable(&step.comment),
            created.unwrap_or("N/A").to_owned(),
        ]
        .into()
    };
    Listing {
        fields: [
            ("ID", "IMAGE"),
            ("CreatedSince", "CREATED"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
            ("CreatedAt", "CREATED AT"),
        ],
        rows: steps.iter().map(row).collect(),
    }
}
