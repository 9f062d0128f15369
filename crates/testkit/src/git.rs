//! Git repositories, and a server for them: git's own.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::web::{WebRequest, WebServer, respond};

/// When commits are made: 2023-11-14.
pub const COMMIT_TIME: i64 = 1_700_000_000;

/// A repository with files beside it.
#[derive(Debug)]
pub struct GitRepository {
    path: PathBuf,
}

/// `git`, without anything of this machine's configuration.
fn git() -> Command {
    let mut command = Command::new("git");
    let time = format!("{COMMIT_TIME} +0000");
    command
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", &time)
        .env("GIT_COMMITTER_DATE", &time)
        .envs(["GIT_AUTHOR", "GIT_COMMITTER"].into_iter().flat_map(|who| {
            [
                (format!("{who}_NAME"), "A U Thor"),
                (format!("{who}_EMAIL"), "author@example.com"),
            ]
        }));
    command
}

impl GitRepository {
    /// Makes a repository in a new folder; `format` is `sha1` or `sha256`.
    ///
    /// # Panics
    ///
    /// git is not there.
    #[must_use]
    pub fn create(path: &Path, format: &str) -> Self {
        std::fs::create_dir_all(path).expect("a folder");
        let repository = Self {
            path: path.to_owned(),
        };
        let format = format!("--object-format={format}");
        repository.git(&["init", "-q", "-b", "main", "--template=", &format]);
        // As the large hosts have it.
        repository.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        repository
    }

    /// Runs a command in it, which must succeed, and gives what it answers.
    ///
    /// # Panics
    ///
    /// It failed.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = git()
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(&self.path)
            .output()
            .expect("git starts");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file, and its directories.
    ///
    /// # Panics
    ///
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &str) -> &Self {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
        self
    }

    /// Commits everything; the commit's id.
    #[track_caller]
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Serves the repositories in a folder as the large hosts do: `URL/NAME.git` is the folder `NAME.git`.
#[must_use]
pub fn git_server(folder: &Path) -> WebServer {
    let folder = folder.to_owned();
    WebServer::start(move |request, out| backend(&folder, request, out))
}

/// Lets `git http-backend` answer a request.
///
/// # Panics
///
/// git is not there.
pub fn backend(folder: &Path, request: &WebRequest, out: &mut TcpStream) {
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let header = |name| request.header(name).unwrap_or_default();
    let mut child = git()
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", request.path())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = request.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("git ends");
    writer.join().ok();
    let end = output
        .stdout
        .windows(4)
        .position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        return respond(out, "500 Internal Server Error", &[], b"");
    };
    let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let mut status = "200 OK";
    let mut headers = Vec::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => status = value,
            name => headers.push((name, value)),
        }
    }
    respond(out, status, &headers, &output.stdout[end + 4..]);
}
