//! `barque wait`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::render;

/// Wait for containers to end and print their exit codes
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Wait, context: &Context) -> Outcome {
    let engine = context.engine()?;
    for name in &args.containers {
        render::data(&format!("{}\n", engine.wait(name)?))?;
    }
    DONE
}
