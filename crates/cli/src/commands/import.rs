//! `barque import`.

use std::path::PathBuf;

use clap::Args;
use engine::transfer::ImportRequest;

use super::{Context, DONE, Outcome};
use crate::render;

/// Make an image from the tar of a root filesystem
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The tar, plain or compressed, or its URL; `-` for stdin
    #[arg(value_name = "FILE|URL|-")]
    file: PathBuf,
    /// The image's name: NAME[:TAG]
    name: Option<String>,
    /// Apply a Dockerfile instruction to the image's config
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Say something about it in the history
    #[arg(short, long)]
    message: Option<String>,
    /// What the files are made for: OS/ARCH[/VARIANT]
    #[arg(long)]
    platform: Option<String>,
}

pub(crate) fn run(args: Import, context: &Context) -> Outcome {
    let url = args.file.to_str().filter(|text| {
        let text = text.to_ascii_lowercase();
        text.starts_with("http://") || text.starts_with("https://")
    });
    let url = url.map(|url| {
        let host = engine::remote::Host::read(crate::settings::text);
        (url.to_owned(), host)
    });
    let id = context.engine()?.import(&ImportRequest {
        file: (args.file.as_os_str() != "-").then_some(args.file),
        url,
        name: args.name,
        changes: args.changes,
        message: args.message,
        platform: args.platform,
        created: context.settings.source_date_epoch.clone(),
    })?;
    render::data(&format!("{id}\n"))?;
    DONE
}
