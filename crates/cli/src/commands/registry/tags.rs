//! `barque registry history` and `barque registry restore`.

use clap::Args;
use oci::{Digest, Repository, Tag};

use super::super::{Context, DONE, Outcome};
use super::Where;
use crate::args::Format;
use crate::render;

/// Show what a tag of a registry has named, and when
#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    place: Where,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The repository, as in the registry: `team/app`
    repository: Repository,
    /// The tag
    tag: Tag,
}

pub(crate) fn history(args: &History, context: &Context) -> Outcome {
    let place = args.place.place(context)?;
    for event in engine::registry::tag_history(&place, &args.repository, &args.tag)? {
        match args.format {
            Format::Json => render::json_line(&event)?,
            Format::Table => {
                let at = i64::try_from(event.at)
                    .ok()
                    .and_then(|at| jiff::Timestamp::from_second(at).ok())
                    .unwrap_or_default();
                let what = event
                    .digest
                    .map_or_else(|| "deleted".to_owned(), |digest| digest.to_string());
                render::data(&format!("{at}  {what}\n"))?;
            }
        }
    }
    DONE
}

/// Point a tag of a registry at what it named before
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    place: Where,
    /// The repository, as in the registry: `team/app`
    repository: Repository,
    /// The tag
    tag: Tag,
    /// What it is to name; without it, what it named before
    digest: Option<Digest>,
}

pub(crate) fn restore(args: &Restore, context: &Context) -> Outcome {
    let place = args.place.place(context)?;
    let digest = engine::registry::restore_tag(&place, &args.repository, &args.tag, args.digest)?;
    render::data(&format!("{digest}\n"))?;
    DONE
}
