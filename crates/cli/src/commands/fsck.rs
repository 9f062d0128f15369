//! `barque fsck`.

use std::process::ExitCode;

use clap::Args;
use engine::fsck::{Checked, FsckRequest, Problem};

use super::{Context, DONE, Outcome};
use crate::args::Format;
use crate::render;

/// Check the store, and repair it
///
/// Reads every byte and names everything that is damaged or orphaned. The exit code is 1 if something is left that is wrong.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Look at names and sizes only, without reading what is in the files
    #[arg(long)]
    quick: bool,
    /// Move damaged things aside and make anew what can be made anew
    #[arg(long)]
    repair: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Fsck, context: &Context) -> Outcome {
    let request = FsckRequest {
        quick: args.quick,
        repair: args.repair,
    };
    Context::enter_namespace()?;
    let checked = engine::fsck::fsck(&context.settings.root, &request)?;
    if args.format == Format::Json {
        render::json_line(&checked)?;
    } else {
        render::data(&text(&checked))?;
    }
    if checked.left() == 0 {
        return DONE;
    }
    if !args.repair {
        render::talk(
            "hint: `barque fsck --repair` moves damaged things aside and makes anew what can be made anew",
        );
    }
    Ok(ExitCode::FAILURE)
}

fn text(checked: &Checked) -> String {
    let mut text: String = checked.problems.iter().map(problem).collect();
    for image in &checked.lost {
        text.push_str(&format!("lost: image {image}: pull or build it again\n"));
    }
    let (all, left) = (checked.problems.len(), checked.left());
    let outcome = match (all, left) {
        (0, _) => "nothing is wrong".to_owned(),
        (all, 0) => format!(
            "{all} repaired; what was damaged is in {}",
            checked.damaged.display()
        ),
        (all, left) => format!("{left} of {all} left"),
    };
    text.push_str(&format!(
        "{} images, {} layers, {} blobs, {} read: {outcome}\n",
        checked.images,
        checked.layers,
        checked.blobs,
        render::size(checked.bytes),
    ));
    text
}

fn problem(problem: &Problem) -> String {
    let mut text = format!(
        "{}: {}\n",
        problem.what,
        render::printable(&problem.problem)
    );
    if let Some(path) = &problem.path {
        text.push_str(&format!(
            "  path: {}\n",
            render::printable(&path.display().to_string())
        ));
    }
    if !problem.images.is_empty() {
        text.push_str(&format!("  needed by: {}\n", problem.images.join(", ")));
    }
    if problem.repaired {
        text.push_str("  repaired\n");
    }
    text
}
