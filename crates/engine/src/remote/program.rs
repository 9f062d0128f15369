//! The program `git`, started so that it fetches and nothing else.
//!
//! git can be made to run programs in many ways: hooks, filters, credential helpers, `ext::` addresses, ssh commands, pagers. None of
//! them is left: no configuration of this machine or its user is read (`/etc/gitconfig` and `~/.gitconfig` may name all of these),
//! hooks have an empty path, protocols are a short list, and nothing from outside ever stands where an option could. What is
//! set here is handed over in the environment: a process's arguments can be read by everybody.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use build::Bringing;

use super::host::Host;

/// How long git may say nothing. It reports progress all the time, but a server may think for long before it begins.
const SILENCE: Duration = Duration::from_secs(300);

/// Most that is read of what git answers.
const MAX_ANSWER: u64 = 64 << 20;

/// How much of what git said an error shows.
const TAIL: usize = 4 << 10;

/// What is set for every command.
const CONFIG: [(&str, &str); 20] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.protectNTFS", "true"),
    ("core.protectHFS", "true"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("advice.detachedHead", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("init.defaultBranch", "main"),
    // The folder belongs to whoever builds, also where that is root of a user namespace.
    ("safe.directory", "*"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("protocol.version", "2"),
];

/// What may be spoken; also by submodules, which name their servers themselves.
const PROTOCOLS: &str = "http:https:git:ssh";

/// No configuration, no keys but those of the agent, no questions. A server that is met for the first time is believed and
/// remembered; one whose key has changed is not.
const SSH: &str = "ssh -F none -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=accept-new \
    -o ConnectTimeout=60 -o ServerAliveInterval=30 -o PermitLocalCommand=no -o ClearAllForwardings=yes";

/// What git says after each failure of a connection, below the reason.
const ADVICE: [&str; 2] = [
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

/// Why git did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no such program here.
    #[error("cannot start `git`, which fetches repositories: {0}")]
    Start(std::io::Error),
    /// It failed.
    #[error("cannot {what} `{remote}`: {message}")]
    Failed {
        /// What it should have done.
        what: &'static str,
        /// The repository, without a password.
        remote: String,
        /// What it said.
        message: String,
    },
    /// It said nothing for long.
    #[error("cannot {what} `{remote}`: nothing came for {} seconds", SILENCE.as_secs())]
    Silent {
        /// What it should have done.
        what: &'static str,
        /// The repository, without a password.
        remote: String,
    },
    /// There is nothing of this name.
    #[error("`{remote}` has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository, without a password.
        remote: String,
        /// What was asked for.
        reference: String,
    },
    /// It is another commit.
    #[error("`{reference}` of `{remote}` is the commit `{found}`, not `{expected}`")]
    Commit {
        /// The repository, without a password.
        remote: String,
        /// What was asked for.
        reference: String,
        /// What it should be, or begin with.
        expected: String,
        /// What it is.
        found: String,
    },
    /// There is no such directory in it.
    #[error("`{remote}` has no directory `{directory}`")]
    NoDirectory {
        /// The repository, without a password.
        remote: String,
        /// What was asked for.
        directory: String,
    },
    /// Something to fetch over ssh from a server that wants a key, and no keys.
    #[error("cannot fetch `{0}` without an ssh agent: the server wants a key")]
    NoAgent(String),
    /// What git wrote cannot be read.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
}

/// Runs git for one repository.
pub(super) struct Git<'a> {
    /// Where it works: a folder that nothing else uses.
    pub(super) dir: PathBuf,
    /// An empty folder: what programs look for at home is not to be what the repository has there.
    pub(super) home: PathBuf,
    /// The repository as it may be shown.
    pub(super) shown: String,
    /// A header for one prefix of URLs.
    pub(super) header: Option<(String, String)>,
    pub(super) host: &'a Host,
    pub(super) ssh: Option<&'a Path>,
    pub(super) tell: &'a dyn Fn(Bringing<'_>),
}

impl Git<'_> {
    /// Runs a command in the repository and gives what it answers.
    pub(super) fn run<A: AsRef<OsStr>>(
        &self,
        what: &'static str,
        arguments: &[A],
    ) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.environment(&mut command);
        let mut child = command.spawn().map_err(GitError::Start)?;
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take())
        else {
            return Err(GitError::Start(std::io::ErrorKind::BrokenPipe.into()));
        };
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let result = stdout.by_ref().take(MAX_ANSWER).read_to_end(&mut bytes);
            result.map(|_| bytes)
        });
        let mut said = Vec::new();
        let heard = self.listen(&mut stderr, &mut said);
        if !matches!(heard, Ok(true)) {
            child.kill().ok();
            child.wait().ok();
            heard.map_err(GitError::Start)?;
            return Err(GitError::Silent {
                what,
                remote: self.shown.clone(),
            });
        }
        let status = child.wait().map_err(GitError::Start)?;
        // Nobody holds its standard output now; a panic in there would be one of the standard library.
        let answer = reader.join().unwrap_or_else(|_| Ok(Vec::new()));
        let answer = answer.map_err(GitError::Start)?;
        if !status.success() {
            let refused = String::from_utf8_lossy(&said).contains("Permission denied (");
            if refused && self.ssh.is_none() {
                return Err(GitError::NoAgent(self.shown.clone()));
            }
            return Err(GitError::Failed {
                what,
                remote: self.shown.clone(),
                message: self.message(&said, status),
            });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Passes on what git says, until it says no more; false if that takes too long.
    fn listen(
        &self,
        stderr: &mut std::process::ChildStderr,
        said: &mut Vec<u8>,
    ) -> std::io::Result<bool> {
        let mut buffer = [0; 4096];
        let mut line = Vec::new();
        // What comes next stands in the place of the line; but ssh ends its lines with `\r\n`.
        let mut over = false;
        loop {
            if !sys::process::wait_readable(&*stderr, Some(SILENCE))? {
                return Ok(false);
            }
            let count = stderr.read(&mut buffer)?;
            if count == 0 {
                self.tell_line(&line);
                return Ok(true);
            }
            for byte in &buffer[..count] {
                match byte {
                    // Progress is written over and over; the last of each line is enough.
                    b'\r' => over = true,
                    b'\n' => {
                        self.tell_line(&line);
                        said.extend_from_slice(&line);
                        said.push(b'\n');
                        line.clear();
                        over = false;
                    }
                    byte => {
                        if std::mem::take(&mut over) {
                            line.clear();
                        }
                        if line.len() < TAIL {
                            line.push(*byte);
                        }
                    }
                }
            }
            if said.len() > 2 * TAIL {
                said.drain(..said.len() - TAIL);
            }
        }
    }

    fn tell_line(&self, line: &[u8]) {
        if !line.is_empty() {
            let text = format!("{}\n", self.presentable(&String::from_utf8_lossy(line)));
            (self.tell)(Bringing::Log(text.as_bytes()));
        }
    }

    /// What a server and git say, without control characters and credentials.
    fn presentable(&self, text: &str) -> String {
        let mut text = super::printable(text);
        if let Some((_, header)) = &self.header {
            let secret = header.rsplit(' ').next().unwrap_or_default();
            if !secret.is_empty() {
                text = text.replace(secret, "xxxxx");
            }
        }
        text
    }

    fn message(&self, said: &[u8], status: std::process::ExitStatus) -> String {
        let text = String::from_utf8_lossy(said);
        let lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !ADVICE.contains(line))
            .map(|line| self.presentable(line))
            .collect();
        // The reason stands in the last lines.
        let from = lines.len().saturating_sub(3);
        match lines[from..].join("; ") {
            text if text.is_empty() => format!("git ended with {status}"),
            text => text,
        }
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_SSH_VARIANT", "ssh");
        match self.ssh {
            Some(socket) => {
                command
                    .env("SSH_AUTH_SOCK", socket)
                    .env("GIT_SSH_COMMAND", SSH);
            }
            None => {
                command.env("GIT_SSH_COMMAND", format!("{SSH} -o IdentityAgent=none"));
            }
        }
        for (name, value) in self.host.variables() {
            command.env(name, value);
            if name == "SSL_CERT_FILE" {
                command.env("GIT_SSL_CAINFO", value);
            }
        }
        let mut config: Vec<(&str, &str)> = CONFIG.to_vec();
        if let Some((prefix, header)) = &self.header {
            config.push((prefix, header));
            // After a redirect git would send the header to wherever that leads.
            config.push(("http.followRedirects", "false"));
        }
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (number, (key, value)) in config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }
}
