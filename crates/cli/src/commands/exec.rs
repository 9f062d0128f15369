//! `barque exec`.

use std::path::PathBuf;

use clap::Args;
use engine::containers::{self, ExecRequest};

use super::{Context, Outcome};

/// Run one more process in a running container
#[derive(Debug, Args)]
#[command(override_usage = "barque exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct Exec {
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Set an environment variable: NAME=VALUE, or NAME to take it from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Where the process starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Whom it runs as: USER[:GROUP]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// The container
    container: String,
    /// What to run, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: Exec, context: &Context) -> Outcome {
    let here = |name: &str| std::env::var(name).ok();
    let mut env = Vec::new();
    for file in &args.env_file {
        env.extend(containers::env_file(&context.read_text(file)?, &here)?);
    }
    for text in &args.env {
        env.extend(containers::env(text, &here)?);
    }
    let code = context.engine()?.exec(&ExecRequest {
        container: args.container,
        command: args.command,
        env,
        workdir: args.workdir,
        user: args.user,
        interactive: args.interactive,
        terminal: args.tty,
        detach: args.detach,
        privileged: args.privileged,
    })?;
    Ok(code.into())
}
