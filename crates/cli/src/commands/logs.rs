//! `barque logs`.

use clap::Args;
use engine::containers::{LogsRequest, Stream};

use super::{Context, DONE, Outcome};
use crate::error::Failure;

/// Show what a container printed
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on as it prints more
    #[arg(short, long)]
    follow: bool,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Only the last lines: a number or `all`
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    tail: String,
    /// Only lines from this time on: `2026-01-31T12:00:00Z`, or how long ago: `10m`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The container
    container: String,
}

pub(crate) fn run(args: &Logs, context: &Context) -> Outcome {
    use std::io::Write;
    let tail = match args.tail.as_str() {
        "all" => None,
        number => Some(number.parse().map_err(|_| {
            Failure::new(format!("`--tail {number}` is not a number of lines"))
                .hint("use a number or `all`")
        })?),
    };
    let request = LogsRequest {
        container: args.container.clone(),
        follow: args.follow,
        timestamps: args.timestamps,
        tail,
        since: args.since.clone(),
        until: args.until.clone(),
    };
    context
        .engine()?
        .logs(&request, &mut |stream, bytes| match stream {
            Stream::Stdout => std::io::stdout().lock().write_all(bytes),
            Stream::Stderr => std::io::stderr().lock().write_all(bytes),
        })?;
    std::io::stdout().lock().flush()?;
    DONE
}
