//! `barque fsck`.

use std::process::ExitCode;

use clap::Args;

use super::{Context, Outcome};
use crate::args::Format;
use crate::render;

/// Check the whole store: every file against its digest, every record against its files
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Compare names and sizes only, do not read every file
    #[arg(long)]
    quick: bool,
    /// Move damaged things aside, and say what must be pulled or rebuilt
    #[arg(long)]
    repair: bool,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Fsck, context: &Context) -> Outcome {
    let report = context.engine()?.fsck(args.quick, args.repair)?;
    for finding in &report.findings {
        if args.format == Format::Json {
            render::json_line(finding)?;
        } else {
            let repaired = if finding.repaired { " (repaired)" } else { "" };
            render::data(&format!(
                "{}: {}{repaired}\n",
                finding.subject, finding.problem
            ))?;
        }
    }
    for image in &report.lost {
        render::talk(&format!("lost: {image}"));
        render::talk("hint: load, import or build it again");
    }
    match report.findings.len() {
        0 => render::talk("the store is clean"),
        1 => render::talk("1 problem"),
        count => render::talk(&format!("{count} problems")),
    }
    if report.clean {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.repair {
        render::talk(
            "hint: `barque fsck --repair` moves damaged things aside and says what must be made again",
        );
    }
    Ok(ExitCode::FAILURE)
}
