//! Flags that go with what barque's Dockerfiles have beyond Docker's: see `docs/dockerfile.md`.

use std::path::PathBuf;

use clap::Args;
use engine::building::{Asked, BuildRequest};

use super::super::Context;
use crate::error::Failure;

/// What Docker's `build` does not have.
#[derive(Debug, Args)]
pub(super) struct Language {
    /// Set ARGs from a file: a line NAME=VALUE each, or NAME to take it from here
    ///
    /// Empty lines and lines that begin with `#` mean nothing; quotes are part of the value. `--build-arg` wins.
    #[arg(long = "build-arg-file", value_name = "FILE")]
    build_arg_files: Vec<PathBuf>,
    /// Look for more than Docker's checks do: rules, or `all`
    ///
    /// `docs/checks` lists them. A Dockerfile asks for them with `# barque: check=RULE`.
    #[arg(long, value_name = "RULE")]
    also_check: Vec<String>,
}

impl Language {
    /// Puts what was typed into a request that has the other build arguments.
    pub(super) fn apply(
        self,
        request: &mut BuildRequest,
        context: &Context,
    ) -> Result<(), Failure> {
        let here = |name: &str| std::env::var(name).ok();
        let mut args = Vec::new();
        for file in &self.build_arg_files {
            for entry in engine::containers::env_file(&context.read_text(file)?, &here)? {
                let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                args.push((name.to_owned(), value.to_owned()));
            }
        }
        // Of two with one name the later wins.
        args.append(&mut request.build_args);
        request.build_args = args;
        for rules in &self.also_check {
            let asked = Asked::parse(rules).map_err(|error| {
                let failure = Failure::new(error.message);
                match error.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            })?;
            request.also_check.extend(&asked);
        }
        Ok(())
    }
}
