//! `barque stop`.

use std::process::ExitCode;

use clap::Args;

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;

/// Ask containers to end, and kill those that do not
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Seconds to wait before killing
    #[arg(short, long, visible_alias = "timeout", default_value_t = 10)]
    time: u32,
    /// Send this signal instead of the one of the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Stop, context: &Context) -> Outcome {
    let engine = context.engine()?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match engine.stop(name, args.signal.as_deref(), args.time) {
            Ok(()) => render::data(&format!("{name}\n"))?,
            Err(error) => code = Failure::from(error).report(),
        }
    }
    Ok(code)
}
