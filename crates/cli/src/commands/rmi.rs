//! `barque rmi`.

use std::process::ExitCode;

use clap::Args;
use engine::images::{RemoveRequest, Removed};

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;

/// Remove images
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Remove all names of an image, and an image that ended containers were made from
    #[arg(short, long)]
    force: bool,
    /// Names, ids or digests
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(args: Rmi, context: &Context) -> Outcome {
    let engine = context.privileged_engine()?;
    let mut code = ExitCode::SUCCESS;
    for image in args.images {
        match engine.remove_image(&RemoveRequest {
            image,
            force: args.force,
        }) {
            Ok(removed) => {
                for event in removed {
                    render::data(&match event {
                        Removed::Name(name) => format!("Untagged: {name}\n"),
                        Removed::Image(id) => format!("Deleted: {id}\n"),
                    })?;
                }
            }
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}
