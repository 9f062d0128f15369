//! The last steps before the program: giving up what it may not have, and becoming it.
//!
//! Runs in the container, as the last thing of our own code there, for the first process and for those started later by
//! `exec`. Whatever fails is told through a pipe that closes by itself when the program begins.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::capability::Capability;
use crate::error::Failure;
use crate::seccomp::Filter;
use crate::spec::Spec;

/// Everything that is needed at the very end.
#[derive(Debug, Clone)]
pub(crate) struct Final {
    args: Vec<String>,
    env: Vec<String>,
    capabilities: u64,
    filter: Option<Filter>,
    no_new_privileges: bool,
    /// Where a failure is told; closes when the program begins.
    tell: Arc<OwnedFd>,
}

impl Final {
    pub(crate) fn new(spec: &Spec, tell: OwnedFd) -> Self {
        Self {
            args: spec.args.clone(),
            env: spec.env.clone(),
            capabilities: Capability::mask(&spec.capabilities),
            filter: spec.seccomp.clone(),
            no_new_privileges: spec.no_new_privileges,
            tell: Arc::new(tell),
        }
    }

    /// Becomes the program; returns only when that failed, which has been told.
    pub(crate) fn go(&self) -> Failure {
        let failure = self.restrict().err().unwrap_or_else(|| self.execute());
        if let Ok(text) = serde_json::to_vec(&failure) {
            let mut pipe = io::BufWriter::new(PipeEnd(&self.tell));
            pipe.write_all(&text).and_then(|()| pipe.flush()).ok();
        }
        failure
    }

    fn restrict(&self) -> Result<(), Failure> {
        let failed = |what: &'static str| {
            move |error: io::Error| Failure::Setup(format!("cannot {what}: {error}"))
        };
        sys::process::die_with_parent().map_err(failed("tie the program to its watcher"))?;
        sys::process::close_on_exec_from(3).map_err(failed("close files"))?;
        // What the bounding set has lost already cannot be kept.
        let bounding = sys::capability::bounding().map_err(failed("read capabilities"))?;
        sys::capability::keep_only(self.capabilities & bounding)
            .map_err(failed("give up capabilities"))?;
        Ok(())
    }

    fn execute(&self) -> Failure {
        let Some(program) = self.args.first() else {
            return Failure::Invalid("there is no program to run".to_owned());
        };
        let path = self
            .env
            .iter()
            .find_map(|entry| entry.strip_prefix("PATH="));
        let mut denied = None;
        for candidate in candidates(program, path) {
            let error = sys::process::execute(&candidate, &self.args, &self.env);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                Some(Errno::ACCESS) if !program.contains('/') => denied = Some(error),
                _ => return refused(program, &error),
            }
        }
        match denied {
            Some(error) => refused(program, &error),
            None if program.contains('/') => {
                let hint = if Path::new(program).exists() {
                    ": the interpreter or loader that it names is missing".to_owned()
                } else {
                    String::new()
                };
                Failure::NotFound {
                    program: program.clone(),
                    hint,
                }
            }
            None => {
                let hint = format!(": looked for in `PATH` `{}`", path.unwrap_or(""));
                Failure::NotFound {
                    program: program.clone(),
                    hint,
                }
            }
        }
    }
}

fn refused(program: &str, error: &io::Error) -> Failure {
    let reason = match Errno::from_io_error(error) {
        Some(Errno::NOEXEC) => {
            "it is no program for this machine, and no script that names its interpreter".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::NotExecutable {
        program: program.to_owned(),
        reason,
    }
}

/// Where a program may be, in order.
fn candidates(program: &str, path: Option<&str>) -> Vec<PathBuf> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let directory = |part: &str| {
        if part.is_empty() {
            PathBuf::from(".")
        } else {
            PathBuf::from(part)
        }
    };
    path.unwrap_or("")
        .split(':')
        .map(|part| directory(part).join(program))
        .collect()
}

struct PipeEnd<'a>(&'a OwnedFd);

impl Write for PipeEnd<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_path_order() {
        let found = |program, path| {
            candidates(program, path)
                .into_iter()
                .map(|c| c.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("ls", Some("/a:/b")), ["/a/ls", "/b/ls"]);
        assert_eq!(found("./ls", Some("/a")), ["./ls"]);
        assert_eq!(found("ls", Some("/a:")), ["/a/ls", "./ls"]);
        assert!(found("", Some("/a")).is_empty());
    }
}
