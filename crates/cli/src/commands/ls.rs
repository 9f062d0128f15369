//! `barque ls`.

use clap::Args;
use engine::browse::{EntryRow, ListRequest};

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// List files of an image
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The image, and a path in it: IMAGE[:PATH]
    #[arg(value_name = "IMAGE[:PATH]")]
    target: String,
    /// Show mode, owner, size and time
    #[arg(short)]
    long: bool,
    /// List all that lies below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Ls, context: &Context) -> Outcome {
    let engine = context.engine()?;
    let request = ListRequest {
        target: args.target.clone(),
        recursive: args.recursive,
    };
    let mut text = String::new();
    let mut failed = None;
    engine.list_files(&request, &mut |entry| {
        let line = match args.format {
            Format::Json => serde_json::to_string(entry).unwrap_or_default(),
            Format::Table if args.long => long_line(entry),
            Format::Table => render::printable(&entry.path),
        };
        text.push_str(&line);
        text.push('\n');
        if text.len() > 1 << 16 {
            failed = failed.take().or_else(|| render::data(&text).err());
            text.clear();
        }
        failed.is_none()
    })?;
    match failed {
        Some(error) => return Err(error.into()),
        None => render::data(&text)?,
    }
    DONE
}

fn long_line(entry: &EntryRow) -> String {
    let time = jiff::Timestamp::from_second(entry.mtime)
        .map_or_else(|_| "?".to_owned(), |time| time.to_string());
    let name = render::printable(&entry.path);
    let target = entry.target.as_deref().map_or_else(String::new, |target| {
        format!(" -> {}", render::printable(target))
    });
    format!(
        "{} {:>3} {:>5} {:>5} {:>10} {time} {name}{target}",
        entry.mode_text, entry.links, entry.uid, entry.gid, entry.size
    )
}
