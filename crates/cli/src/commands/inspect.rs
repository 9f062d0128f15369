//! `barque inspect`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

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

/// How what was looked at is printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum InspectFormat {
    /// The objects as JSON; of the store in an array, as Docker prints them
    Json,
    /// The template once for each
    Template(Template),
}

impl InspectFormat {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            _ => render::listing::parse(text).map(Self::Template),
        }
    }
}

/// Fields that Docker's templates always have: what is not said is empty there, not missing.
const LISTS: [(&str, &[&str]); 2] = [
    ("Config", &["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"]),
    ("HostConfig", &["CapAdd", "CapDrop"]),
];
const MAPS: [(&str, &[&str]); 1] = [("Config", &["Labels", "Volumes", "ExposedPorts"])];
const TEXTS: [(&str, &[&str]); 1] = [("Config", &["User", "WorkingDir", "StopSignal", "Image"])];

/// Adds to what is printed by a template what Docker's have as empty.
pub(crate) fn complete(mut value: Value) -> Value {
    let empty = [
        (&LISTS[..], json!([])),
        (&MAPS[..], json!({})),
        (&TEXTS[..], json!("")),
    ];
    for (parts, nothing) in empty {
        for (part, fields) in parts {
            let Some(part) = value.get_mut(*part) else {
                continue;
            };
            if part.is_null() {
                *part = json!({});
            }
            let Value::Object(part) = part else { continue };
            for field in *fields {
                let found = part.entry(*field).or_insert(Value::Null);
                if found.is_null() {
                    *found = nothing.clone();
                }
            }
        }
    }
    if let Some(Value::Object(config)) = value.get_mut("Config") {
        config.entry("Healthcheck").or_insert(Value::Null);
    }
    if let Value::Object(all) = &mut value
        && all.contains_key("RootFS")
    {
        for field in ["Variant", "OsVersion"] {
            let found = all.entry(field).or_insert(Value::Null);
            if found.is_null() {
                *found = "".into();
            }
        }
    }
    value
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
                    let value = complete(value);
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
