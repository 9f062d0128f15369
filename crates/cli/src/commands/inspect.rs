//! `barque inspect`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;

/// Show everything about images and containers, as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Names, ids or digests
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// What the names mean
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// How it is printed
    #[arg(long, value_enum, default_value = "json")]
    format: JsonOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Images only
    Image,
    /// Containers only
    Container,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum JsonOnly {
    /// An array of objects, as Docker prints it
    Json,
}

pub(crate) fn run(args: &Inspect, context: &Context) -> Outcome {
    let JsonOnly::Json = args.format;
    let engine = context.engine()?;
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        let value = match args.kind {
            Some(Kind::Image) => engine.inspect_image(name),
            Some(Kind::Container) => engine.inspect_container(name),
            None => engine.inspect(name),
        };
        match value {
            Ok(value) => found.push(value),
            Err(error) => code = Failure::from(error).report(),
        }
    }
    render::json_pretty(&found)?;
    Ok(code)
}
