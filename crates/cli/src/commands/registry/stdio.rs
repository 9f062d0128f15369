//! `barque registry stdio`.

use clap::Args;

use super::super::{Context, DONE, Outcome};

/// Serve the image store over stdin and stdout; `push ssh://…` and `pull ssh://…` start it on the other host
#[derive(Debug, Args)]
pub(crate) struct Stdio {}

pub(crate) fn run(args: &Stdio, context: &Context) -> Outcome {
    let Stdio {} = args;
    context.engine()?.serve_stdio()?;
    DONE
}
