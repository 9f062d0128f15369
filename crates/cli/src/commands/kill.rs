//! `barque kill`.

use std::process::ExitCode;

use clap::Args;

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;

/// Send a signal to containers
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Kill, context: &Context) -> Outcome {
    let engine = context.engine()?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match engine.kill(name, &args.signal) {
            Ok(()) => render::data(&format!("{name}\n"))?,
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}
