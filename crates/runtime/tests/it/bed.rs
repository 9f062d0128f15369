//! A root filesystem to run things in.

use std::path::Path;

use runtime::{Exit, Lower, RootPlan, Spec, Stdio, Stream, Upper};
use tempfile::TempDir;

/// True if the test can go on; says on standard error when it cannot.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// An image of one busybox layer, and a place for changes.
pub(crate) struct Bed {
    pub(crate) dir: TempDir,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        std::fs::create_dir_all(lower.join("bin")).unwrap();
        std::fs::create_dir_all(lower.join("etc")).unwrap();
        std::fs::create_dir_all(lower.join("tmp")).unwrap();
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(lower.join("tmp"), anybody).unwrap();
        std::fs::copy("/bin/busybox", lower.join("bin/busybox"))
            .expect("busybox-static is installed");
        for name in [
            "sh", "true", "false", "echo", "cat", "id", "ls", "env", "sleep", "mkdir", "touch",
            "pwd", "hostname", "mount", "stat", "grep", "test", "kill", "ulimit", "head", "rm",
            "find", "tty", "stty", "nc", "ps", "wc", "su", "yes",
        ] {
            std::os::unix::fs::symlink("busybox", lower.join("bin").join(name)).unwrap();
        }
        for name in ["upper", "work"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn plan(&self) -> RootPlan {
        RootPlan {
            lowers: vec![Lower::Dir(self.path("lower"))],
            upper: Some(Upper {
                dir: self.path("upper"),
                work: self.path("work"),
                volatile: true,
            }),
            userxattr: false,
        }
    }

    pub(crate) fn spec(&self, args: &[&str]) -> Spec {
        Spec::new(
            "test",
            self.plan(),
            args.iter().map(ToString::to_string).collect(),
        )
    }

    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    /// Names in the upper directory, sorted, as `find` gives them.
    pub(crate) fn changes(&self) -> Vec<String> {
        fn walk(dir: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(base).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, base, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("upper"), &self.path("upper"), &mut found);
        found.sort();
        found
    }
}

/// Runs to the end; gives exit, standard output and standard error.
pub(crate) fn run(spec: &Spec) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = runtime::run(spec, Stdio::default(), &mut |stream, bytes| match stream {
        Stream::Stdout => out.extend_from_slice(bytes),
        Stream::Stderr => err.extend_from_slice(bytes),
    });
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit.unwrap(), text(out), text(err))
}

/// As [`run`], for scripts that must succeed; gives standard output.
pub(crate) fn output(spec: &Spec) -> String {
    let (exit, out, err) = run(spec);
    assert_eq!((exit, err.as_str()), (Exit::Code(0), ""), "stdout: {out}");
    out
}
