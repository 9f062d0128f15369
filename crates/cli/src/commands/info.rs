//! `barque info`.

use clap::Args;

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// Show what barque found on this host
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Info, context: &Context) -> Outcome {
    let info = context.engine()?.info()?;
    if args.format == Format::Json {
        render::json_line(&info)?;
        return DONE;
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
