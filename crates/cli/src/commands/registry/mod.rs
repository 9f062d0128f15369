//! `barque registry`: what concerns a registry and not the store. One file a group.

mod gc;
mod remote;
mod serve;
mod stdio;
mod tags;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::registry::Place;

use super::{Context, Outcome};
use crate::error::Failure;

/// Look at and change what a registry has, and serve one
#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(remote::Inspect),
    Ls(remote::Ls),
    Tag(remote::Tag),
    Rm(remote::Rm),
    Serve(serve::Serve),
    Stdio(stdio::Stdio),
    Gc(gc::Gc),
    History(tags::History),
    Restore(tags::Restore),
}

/// Where a registry of one's own keeps things.
#[derive(Debug, Args)]
struct Where {
    /// The registry's folder
    ///
    /// Without it: what the configuration says, else the store's folder with `-registry` at its end.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Where {
    /// The place, with what the flags say in front of what the configuration says.
    fn place(&self, context: &Context) -> Result<Place, Failure> {
        let mut folder = context.settings.root.clone().into_os_string();
        folder.push("-registry");
        let mut place = match &self.config {
            Some(config) => Place::read(config, folder.into())?,
            None => Place {
                settings: engine::registry::Settings::default(),
                base: context.directory()?,
                folder: folder.into(),
                images: None,
                network: engine::exchange::NetworkSettings::default(),
            },
        };
        place.network = context.settings.network.clone();
        if let Some(folder) = &self.folder {
            if place.settings.bucket.is_some() {
                return Err(Failure::new("`--folder` and a bucket exclude each other"));
            }
            place.settings.folder = Some(context.directory()?.join(folder));
        }
        Ok(place)
    }
}

pub(crate) fn run(args: Registry, context: &Context) -> Outcome {
    match args.command {
        Command::Inspect(args) => remote::inspect(&args, context),
        Command::Ls(args) => remote::ls(&args, context),
        Command::Tag(args) => remote::tag(&args, context),
        Command::Rm(args) => remote::rm(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Stdio(args) => stdio::run(&args, context),
        Command::Gc(args) => gc::run(&args, context),
        Command::History(args) => tags::history(&args, context),
        Command::Restore(args) => tags::restore(&args, context),
    }
}

/// A time span as it is typed: 90m, 24h, 7d. In seconds.
fn seconds(text: &str) -> Result<u64, String> {
    engine::upkeep::duration(text).map_err(|error| error.to_string())
}
