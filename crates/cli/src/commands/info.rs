//! `barque info`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::error::Failure;
use crate::render::{self, ListFormat};

/// Show what barque found on this host
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// How it is printed: table, json, or a Go template as `{{.Version}}`
    #[arg(short, long, value_name = "FORMAT", default_value = "table", hide_default_value = true, value_parser = ListFormat::parse)]
    format: ListFormat,
}

pub(crate) fn run(args: &Info, context: &Context) -> Outcome {
    let info = context.engine()?.info()?;
    match &args.format {
        ListFormat::Table => {}
        ListFormat::Json => {
            render::json_line(&info)?;
            return DONE;
        }
        ListFormat::Template(template) => {
            let data =
                serde_json::to_value(&info).map_err(|error| Failure::new(error.to_string()))?;
            render::data(&format!("{}\n", template.print(&data.into())?))?;
            return DONE;
        }
        ListFormat::TableOf(_) => {
            return Err(
                Failure::new("there is one thing to show, so it makes no columns")
                    .hint("leave out `table` before the template"),
            );
        }
    }
    let mut text = String::new();
    for (name, value) in [
        ("version", info.version.clone()),
        ("store", info.root.display().to_string()),
        ("root filesystems", info.root_filesystems.clone()),
        ("user", info.user.clone()),
        ("kernel", info.kernel.clone()),
        ("images", info.images.to_string()),
        ("layers", info.layers.to_string()),
        ("containers", info.containers.to_string()),
    ] {
        text.push_str(&format!("{:<18}{value}\n", format!("{name}:")));
    }
    render::data(&text)?;
    DONE
}
