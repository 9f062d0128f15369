//! `barque ps`.

use clap::Args;
use engine::containers::PsRequest;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

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
    #[arg(short, long)]
    latest: bool,
    /// name=…, id=…, label=NAME[=VALUE], status=running|exited|created, ancestor=IMAGE
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t, conflicts_with = "quiet")]
    format: Format,
}

pub(crate) fn run(args: &Ps, context: &Context) -> Outcome {
    let request = PsRequest {
        all: args.all,
        latest: args.latest,
        filters: args.filters.clone(),
    };
    let containers = context.engine()?.containers(&request)?;
    let short = |id: &str| {
        if args.no_trunc {
            id.to_owned()
        } else {
            id.chars().take(12).collect()
        }
    };
    if args.quiet {
        render::data(
            &containers
                .iter()
                .map(|c| format!("{}\n", short(&c.id)))
                .collect::<String>(),
        )?;
        return DONE;
    }
    if args.format == Format::Json {
        for container in &containers {
            render::json_line(container)?;
        }
        return DONE;
    }
    let now = jiff::Timestamp::now();
    let rows: Vec<[String; 6]> = containers
        .iter()
        .map(|container| {
            let mut command = format!("\"{}\"", render::printable(&container.command));
            if !args.no_trunc && command.chars().count() > 22 {
                command = command.chars().take(20).chain(['…', '"']).collect();
            }
            [
                short(&container.id),
                container.image.clone(),
                command,
                render::time::ago(&container.created, now),
                render::status(&container.state, now),
                container.name.clone(),
            ]
        })
        .collect();
    render::data(&render::table(
        [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "NAMES",
        ],
        &rows,
    ))?;
    DONE
}
