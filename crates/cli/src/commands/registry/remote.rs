//! `barque registry inspect|ls|tag|rm`: images where they are.

use clap::Args;
use engine::exchange::registry_alone;

use super::super::inspect::{InspectFormat, complete};
use super::super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::error::Failure;
use crate::render;

/// Show an image of a registry without fetching its layers
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print the manifest or the index as it is
    #[arg(long)]
    raw: bool,
    /// Print the image's config as it is
    #[arg(long, conflicts_with = "raw")]
    config: bool,
    /// How the summary is printed: json, or a Go template as `{{.Digest}}`
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true, value_parser = InspectFormat::parse, conflicts_with_all = ["raw", "config"])]
    format: InspectFormat,
    /// Of an index, show the image for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The image: NAME[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// List the tags of a repository at its registry, or the repositories of a registry
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The repository: NAME; or the registry: HOST[:PORT]
    #[arg(value_name = "REPOSITORY")]
    name: String,
}

/// Give an image of a registry one more tag, without moving layers
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The image: NAME[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The new tag
    #[arg(value_name = "TAG")]
    tag: String,
}

/// Delete a tag of a registry, or with a digest a manifest and all its tags
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The images: NAME:TAG or NAME@DIGEST
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) fn inspect(args: &Inspect, context: &Context) -> Outcome {
    let found = context
        .engine()?
        .inspect_remote(&args.image, args.platform.as_deref())?;
    if args.raw {
        render::bytes(&found.raw)?;
    } else if args.config {
        let config = found.config.ok_or_else(|| {
            Failure::new(format!("`{}` is no image and has no config", args.image))
        })?;
        render::bytes(&config)?;
    } else if let InspectFormat::Template(template) = &args.format {
        let value = complete(found.summary);
        render::data(&format!("{}\n", template.print(&value.into())?))?;
    } else {
        render::json_pretty(&found.summary)?;
    }
    DONE
}

pub(super) fn ls(args: &Ls, context: &Context) -> Outcome {
    let engine = context.engine()?;
    let (what, names) = match registry_alone(&args.name) {
        Some(registry) => ("Repository", engine.remote_repositories(registry)?),
        None => ("Tag", engine.remote_tags(&args.name)?),
    };
    for name in names {
        match args.format {
            Format::Json => render::json_line(&serde_json::json!({ what: name }))?,
            Format::Table => render::data(&format!("{name}\n"))?,
        }
    }
    DONE
}

pub(super) fn tag(args: &Tag, context: &Context) -> Outcome {
    let digest = context.engine()?.remote_tag(&args.image, &args.tag)?;
    render::data(&format!("{}: digest: {digest}\n", args.tag))?;
    DONE
}

pub(super) fn rm(args: &Rm, context: &Context) -> Outcome {
    for image in &args.images {
        if !context.engine()?.remote_remove(image)? {
            return Err(Failure::new(format!("`{image}` is not there")));
        }
        render::data(&format!("Deleted: {image}\n"))?;
    }
    DONE
}
