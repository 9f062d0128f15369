//! `barque images`.

use clap::Args;
use engine::images::{ImageRow, ImagesRequest};

use super::{Context, DONE, Outcome};
use crate::render::{self, ListFormat, Listing};

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Only images of this repository, or repository and tag
    name: Option<String>,
    /// All images, as without it: barque keeps none that are only steps of others
    #[arg(short, long)]
    all: bool,
    /// dangling=true|false, label=NAME[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE, until=TIME
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
    /// How the list is printed: table, json, a Go template as `{{.ID}}`, or `table {{.ID}}\t{{.Size}}`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse, conflicts_with = "quiet")]
    format: ListFormat,
}

pub(crate) fn run(args: &Images, context: &Context) -> Outcome {
    let request = ImagesRequest {
        name: args.name.clone(),
        filters: args.filters.clone(),
    };
    let images = context.engine()?.images(&request)?;
    let id = |image: &ImageRow| {
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
    let now = jiff::Timestamp::now();
    let created = |image: &ImageRow| {
        let created = image.created.as_deref();
        created.map_or_else(|| "N/A".to_owned(), |then| render::time::ago(then, now))
    };
    let text = match &args.format {
        ListFormat::Json => {
            for image in &images {
                render::json_line(image)?;
            }
            return DONE;
        }
        ListFormat::Table => table(&images, args.digests, &id, &created),
        ListFormat::Template(template) => listing(&images, &id, &created).print(template)?,
        ListFormat::TableOf(template) => listing(&images, &id, &created).print_table(template)?,
    };
    render::data(&text)?;
    DONE
}

/// How a field of an image is shown.
type Shown<'f> = dyn Fn(&ImageRow) -> String + 'f;

fn table(images: &[ImageRow], digests: bool, id: &Shown<'_>, created: &Shown<'_>) -> String {
    let plain = |image: &ImageRow| {
        [
            image.repository.clone(),
            image.tag.clone(),
            id(image),
            created(image),
            render::size(image.size),
        ]
    };
    if digests {
        let rows: Vec<[String; 6]> = images
            .iter()
            .map(|image| {
                let [name, tag, id, created, size] = plain(image);
                [name, tag, image.digest.to_string(), id, created, size]
            })
            .collect();
        let header = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
        return render::table(header, &rows);
    }
    let rows: Vec<[String; 5]> = images.iter().map(plain).collect();
    render::table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)
}

/// What a template can name, as Docker calls it.
fn listing(images: &[ImageRow], id: &Shown<'_>, created: &Shown<'_>) -> Listing<8> {
    let row = |image: &ImageRow| {
        [
            id(image),
            image.repository.clone(),
            image.tag.clone(),
            image.digest.to_string(),
            created(image),
            image.created.clone().unwrap_or_else(|| "N/A".to_owned()),
            render::size(image.size),
            image.platform.clone(),
        ]
        .into()
    };
    Listing {
        fields: [
            ("ID", "IMAGE ID"),
            ("Repository", "REPOSITORY"),
            ("Tag", "TAG"),
            ("Digest", "DIGEST"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("Size", "SIZE"),
            ("Platform", "PLATFORM"),
        ],
        rows: images.iter().map(row).collect(),
    }
}
