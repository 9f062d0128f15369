//! The `barque` program: arguments in, engine called, results rendered.
//!
//! [`commands`] has one file a command: what was typed becomes a request, the engine does it, [`render`] shows it.
//! [`settings`] reads the surroundings, [`error`] turns failures into text and exit codes.

#![forbid(unsafe_code)]
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "doc comments of arguments are the help, with the brackets that help has"
)]

mod args;
mod commands;
mod error;
mod progress;
mod render;
mod settings;
mod template;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The same binary is also the child that starts containers and their supervisor; those must be single-threaded
    // and know nothing of a command line.
    if let Some(code) = engine::child_main_if_asked() {
        return ExitCode::from(code);
    }
    engine::spare_memory();
    commands::main()
}
