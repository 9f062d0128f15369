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
    /// Remove the volumes that the image asks for too; done anyway, since they lie in the container's own folder
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Rm, context: &Context) -> Outcome {
    if args.force {
        return by_force(args, context);
    }
    let engine = context.privileged_engine()?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match engine.remove_container(name) {
            Ok(()) => render::data(&format!("{name}\n"))?,
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}

fn by_force(args: &Rm, context: &Context) -> Outcome {
    let mut code = ExitCode::SUCCESS;
    let mut ended = Vec::new();
    {
        let outside = context.outside_engine()?;
        for name in &args.containers {
            match outside.end_by_force(name) {
                Ok(id) => ended.push((name, id)),
                Err(error) => code = Failure::from(error).report(),
            }
        }
    }
    let engine = context.privileged_engine()?;
    for (name, id) in &ended {
        match engine.remove_ended(id) {
            Ok(()) => render::data(&format!("{name}\n"))?,
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}
