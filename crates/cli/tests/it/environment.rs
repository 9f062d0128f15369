//! A store of its own for each test, and a small base image.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A store, a folder to work in, and nothing of the surroundings.
pub(crate) struct Environment {
    folder: tempfile::TempDir,
}

/// What a command answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The stdout of a command that must have gone well.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(
            self.code, 0,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self.stdout.trim_end()
    }

    /// The stderr of a command that must have failed with `code`.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32) -> &str {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        &self.stderr
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Environment {
    /// An empty store.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Waits until the log of a container has `text`: what it does goes on beside the test.
    #[track_caller]
    pub(crate) fn await_log(&self, container: &str, text: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let log = self.barque(&["logs", container]).stdout;
            if log.contains(text) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "`{container}` never wrote `{text}`, but:\n{log}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// A store with the image `busybox`.
    pub(crate) fn with_busybox() -> Self {
        let environment = Self::new();
        environment
            .barque(&[
                "import",
                busybox_tar().to_str().unwrap(),
                "busybox",
                "-c",
                "CMD [\"sh\"]",
            ])
            .ok();
        environment
    }

    /// The store's folder.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The folder to work in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// Writes a file below the folder to work in; its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a program below the folder to work in; its path. Another process does it: one that a test beside this one starts
    /// meanwhile would have the file open for writing, too, until it runs, and nobody can start what is being written.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let (source, path) = (self.write(&format!("{name}.text"), text), self.path(name));
        let mut install = Command::new("install");
        let made = install.args(["-m", "755"]).arg(source).arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    /// A configuration in which no registry of the internet is asked for anything.
    fn registries(&self) -> PathBuf {
        let path = self.folder.path().join("registries.conf");
        if !path.exists() {
            let text = "[[registry]]\nprefix = \"docker.io\"\nblocked = true\n";
            std::fs::write(&path, text).unwrap();
        }
        path
    }

    /// The program with this store, in the folder to work in.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let work = self.folder.path().join("work");
        std::fs::create_dir_all(&work).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("BARQUE_ROOT", self.folder.path().join("store"))
            .env("CONTAINERS_REGISTRIES_CONF", self.registries())
            .current_dir(work)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn barque(&self, arguments: &[&str]) -> Answer {
        self.command(arguments).output().unwrap().into()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // Containers that a failed test left running.
        let left = self.barque(&["ps", "-aq"]).stdout;
        for id in left.lines() {
            self.barque(&["rm", "-f", id]);
        }
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwheel:x:10:root\nuser:x:1000:\nextra:x:1001:user\n";

/// The tar of a root filesystem with busybox and a few users, made once for all test runs.
pub(crate) fn busybox_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        // An ordinary user may run tests that another has built.
        let built_by_us = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = if tempfile::tempfile_in(built_by_us).is_ok() {
            built_by_us.to_owned()
        } else {
            std::env::temp_dir()
        };
        let busybox = std::fs::metadata("/bin/busybox")
            .expect("the tests need Debian's package busybox-static");
        let mut hasher = std::hash::DefaultHasher::new();
        (busybox.len(), busybox.modified().unwrap()).hash(&mut hasher);
        (PASSWD, GROUP).hash(&mut hasher);
        let tar = folder.join(format!("busybox-{:x}.tar", hasher.finish()));
        if !tar.exists() {
            // Others may be making it too; theirs is the same.
            let scratch = tempfile::tempdir_in(folder).unwrap();
            std::fs::rename(make_tar(scratch.path()), &tar).unwrap();
        }
        tar
    })
}

/// Asks until it holds, for at most a minute. True if it did.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn make_tar(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for folder in ["bin", "etc", "tmp", "root", "home/user"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).ok();
    }
    std::fs::write(root.join("etc/passwd"), PASSWD).unwrap();
    std::fs::write(root.join("etc/group"), GROUP).unwrap();
    let tar = folder.join("tar");
    let made = Command::new("tar")
        .args([
            "--owner=0",
            "--group=0",
            "--sort=name",
            "--mtime=@1700000000",
            "-cf",
        ])
        .arg(&tar)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status()
        .unwrap();
    assert!(made.success());
    tar
}

/// True if the test may go on; says that it was skipped otherwise.
pub(crate) fn root_or_skip(test: &str) -> bool {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        testkit::skipped(test, "needs root");
    }
    root
}
