//! `barque images`.

use clap::Args;
use engine::images::ImagesRequest;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Only images of this repository, or repository and tag
    name: Option<String>,
    /// Only images without a name (dangling=true), or with one (dangling=false), or with a label (label=NAME[=VALUE])
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t, conflicts_with = "quiet")]
    format: Format,
}

pub(crate) fn run(args: &Images, context: &Context) -> Outcome {
    let request = ImagesRequest {
        name: args.name.clone(),
        filters: args.filters.clone(),
    };
    let images = context.engine()?.images(&request)?;
    let id = |image: &engine::images::ImageRow| {
        if args.no_trunc {
            image.id.to_string()
        } else {
            image.id.digest().short()
        }
    };
    if args.quiet {
        let mut ids: Vec<String> = images.iter().map(id).collect();
        ids.dedup();
        render::data(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return DONE;
    }
    if args.format == Format::Json {
        for image in &images {
            render::json_line(image)?;
        }
        return DONE;
    }
    let now = jiff::Timestamp::now();
    let digest = |image: &engine::images::ImageRow| {
        if args.digests {
            image.digest.to_string()
        } else {
            String::new()
        }
    };
    let rows: Vec<[String; 6]> = images
        .iter()
        .map(|image| {
            [
                image.repository.clone(),
                image.tag.clone(),
                digest(image),
                id(image),
                image
                    .created
                    .as_deref()
                    .map_or_else(|| "N/A".to_owned(), |then| render::time::ago(then, now)),
                render::size(image.size),
            ]
        })
        .collect();
    let text = if args.digests {
        render::table(
            ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"],
            &rows,
        )
    } else {
        let rows: Vec<[String; 5]> = rows
            .into_iter()
            .map(|[name, tag, _, id, created, size]| [name, tag, id, created, size])
            .collect();
        render::table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)
    };
    render::data(&text)?;
    DONE
}
