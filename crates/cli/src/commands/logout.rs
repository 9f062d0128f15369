//! `barque logout`.

use clap::Args;
use engine::exchange::LogoutRequest;

use super::{Context, DONE, Outcome};
use crate::render;

/// Forget the credentials of a registry
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

pub(crate) fn run(args: Logout, context: &Context) -> Outcome {
    let registry = context.engine()?.logout(&LogoutRequest {
        registry: args.registry,
    })?;
    render::data(&format!("Removing login credentials for {registry}\n"))?;
    DONE
}
