//! `barque ps`.

use clap::Args;
use engine::containers::{ContainerRow, PsRequest};

use super::{Context, DONE, Outcome};
use crate::render::{self, ListFormat, Listing, Row};

/// List containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also those that ended
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only the one made last, ended or not
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Only so many that were made last, ended or not
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// name=…, id=…, label=NAME[=VALUE], status=running|exited|created, ancestor=IMAGE
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// How the list is printed: table, json, a Go template as `{{.ID}}`, or `table {{.ID}}\t{{.Names}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse, conflicts_with = "quiet")]
    format: ListFormat,
}

pub(crate) fn run(args: &Ps, context: &Context) -> Outcome {
    let request = PsRequest {
        all: args.all,
        last: args.last.or(args.latest.then_some(1)),
        filters: args.filters.clone(),
    };
    let containers = context.engine()?.containers(&request)?;
    let listing = listing(&containers, args.no_trunc);
    let text = match &args.format {
        _ if args.quiet => listing
            .rows
            .iter()
            .map(|row| format!("{}\n", row.values[0]))
            .collect(),
        ListFormat::Json => {
            for container in &containers {
                render::json_line(container)?;
            }
            return DONE;
        }
        ListFormat::Table => {
            let column = |at: [&str; 9]| {
                let [id, image, command, _, created, status, name, _, _] = at;
                [id, image, command, created, status, name].map(str::to_owned)
            };
            let rows: Vec<[String; 6]> = listing
                .rows
                .iter()
                .map(|row| column(row.values.each_ref().map(String::as_str)))
                .collect();
            let header = column(listing.fields.map(|(_, header)| header));
            render::table(header.each_ref().map(String::as_str), &rows)
        }
        ListFormat::Template(template) => listing.print(template)?,
        ListFormat::TableOf(template) => listing.print_table(template)?,
    };
    render::data(&text)?;
    DONE
}

/// What a template can name, as Docker calls it.
fn listing(containers: &[ContainerRow], no_trunc: bool) -> Listing<9> {
    let now = jiff::Timestamp::now();
    let row = |container: &ContainerRow| {
        let mut command = format!("\"{}\"", render::printable(&container.command));
        let mut id = container.id.clone();
        if !no_trunc {
            id = id.chars().take(12).collect();
            if command.chars().count() > 22 {
                command = command.chars().take(20).chain(['…', '"']).collect();
            }
        }
        let labels: Vec<_> = container
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Row {
            values: [
                id,
                container.image.clone(),
                command,
                container.created.clone(),
                render::time::ago(&container.created, now),
                render::status(&container.state, now),
                container.name.clone(),
                container.state.word().to_owned(),
                labels.join(","),
            ],
            labels: container
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
        }
    };
    Listing {
        fields: [
            ("ID", "CONTAINER ID"),
            ("Image", "IMAGE"),
            ("Command", "COMMAND"),
            ("CreatedAt", "CREATED AT"),
            ("RunningFor", "CREATED"),
            ("Status", "STATUS"),
            ("Names", "NAMES"),
            ("State", "STATE"),
            ("Labels", "LABELS"),
        ],
        rows: containers.iter().map(row).collect(),
    }
}
