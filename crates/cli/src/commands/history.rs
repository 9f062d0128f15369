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
    /// Print ids only
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Sizes and times for people; `--human=false` gives bytes and dates
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    human: bool,
    /// How the list is printed: table, json, a Go template as `{{.CreatedBy}}`, or `table {{.Size}}\t{{.CreatedBy}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse)]
    format: ListFormat,
}

pub(crate) fn run(args: &History, context: &Context) -> Outcome {
    let steps = context.engine()?.history(&args.image)?;
    let listing = listing(&steps, args);
    let text = match &args.format {
        _ if args.quiet => listing
            .rows
            .iter()
            .map(|row| format!("{}\n", row.values[0]))
            .collect(),
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
fn listing(steps: &[HistoryRow], args: &History) -> Listing<6> {
    let no_trunc = args.no_trunc;
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
            match created {
                None => "N/A".to_owned(),
                Some(then) if args.human => render::time::ago(then, now),
                Some(then) => then.to_owned(),
            },
            instruction,
            if args.human {
                render::size(step.size)
            } else {
                step.size.to_string()
            },
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
