//! `barque rm`.

use std::process::ExitCode;

use clap::Args;

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;

/// Remove containers
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Rm, context: &Context) -> Outcome {
    let engine = context.privileged_engine()?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match engine.remove_container(name, args.force) {
            Ok(()) => render::data(&format!("{name}\n"))?,
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}
