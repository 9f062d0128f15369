//! `barque inspect`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Context, Outcome};
use crate::error::Failure;
use crate::render;
use crate::template::Template;

/// Show everything about images and containers, as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Names, ids or digests
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// What the names mean
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// How it is printed: json, or a Go template as `{{.State.Running}}`
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true, value_parser = InspectFormat::parse)]
    format: InspectFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Images only
    Image,
    /// Containers only
    Container,
}

#[derive(Debug, Clone, PartialEq)]
enum InspectFormat {
    /// An array of objects, as Docker prints it
    Json,
    /// The template once for each
    Template(Template),
}

impl InspectFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            _ => render::listing::parse(text).map(Self::Template),
        }
    }
}

pub(crate) fn run(args: &Inspect, context: &Context) -> Outcome {
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
            Ok(value) => match &args.format {
                InspectFormat::Json => found.push(value),
                InspectFormat::Template(template) => {
                    render::data(&format!("{}\n", template.print(&value.into())?))?;
                }
            },
            Err(error) => code = Failure::from(error).report(),
        }
    }
    if args.format == InspectFormat::Json {
        render::json_pretty(&found)?;
    }
    Ok(code)
}
