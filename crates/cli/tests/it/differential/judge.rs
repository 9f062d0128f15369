//! The two builders, each with a store of its own that holds the same base images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::case::Case;
use super::image;
use crate::environment::{Answer, Environment};

/// The root filesystem of `localhost/base`, made in the folder where this script runs.
const BASE: &str = r#"
umask 022
mkdir -p bin dev etc home/user proc root run srv/owned sys tmp usr/lib var
cp /bin/busybox bin/busybox
for name in awk cat chmod chown cp echo env id ln ls mkdir mkfifo mknod mv printf rm rmdir sed seq sh stat test touch true truncate tr wc; do
    ln -s busybox bin/$name
done
printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:12:daemon:/:/bin/false\nuser:x:1000:1001:user:/home/user:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nwheel:x:10:root\ndaemon:x:12:\nextra:x:55:user\nuser:x:1001:\nnobody:x:65534:\n' > etc/group
: > etc/hosts
: > etc/resolv.conf
: > etc/hostname
echo old > srv/owned/old
echo keep > srv/owned/keep
chown -R 500:600 srv/owned
chmod 750 srv/owned
chown 1000:1001 home/user
ln -s owned srv/link
ln -s /srv/owned srv/absolute
ln -s owned/old srv/to-file
ln -s /run var/run
ln -s nowhere srv/dangling
chmod 1777 tmp
chmod 700 root
"#;

/// An image that hands much on to its children.
const PARENT: &str = r#"
FROM localhost/base
MAINTAINER someone
ENV FROM_PARENT="a b" PATH=/parent/bin:/bin
LABEL parent=yes shared=parent
EXPOSE 80 53/udp
VOLUME /parent-data
USER user
WORKDIR /home/user
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s CMD true
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/echo"]
CMD ["parent"]
"#;

/// An image whose children copy and set something.
const TRIGGERS: &str = r#"
FROM localhost/base
ONBUILD COPY app /app
ONBUILD ENV TRIGGERED=yes
ONBUILD WORKDIR /triggered
ONBUILD RUN echo ran > ran
"#;

/// What a build gave.
#[derive(Debug)]
pub(super) enum Result {
    Built(BTreeSet<String>),
    Failed(String),
}

/// A place to build in with both.
pub(super) struct Bench {
    barque: Environment,
    folder: tempfile::TempDir,
}

/// What buildah says that it is.
pub(super) fn version() -> Option<String> {
    let output = Command::new("buildah").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shell(script: &str, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let output = Command::new("sh")
        .args(["-eu", "-c", &format!("umask 022\n{script}")])
        .current_dir(folder)
        .output()
        .unwrap();
    let answer = Answer::from(output);
    assert_eq!(answer.code, 0, "{script}\n{}", answer.stderr);
}

impl Bench {
    /// Both have the base images that `cases` name. Without overlayfs below the folder for temporary files buildah's reason: its
    /// other storage compares times, waits for the next second at each build, and cannot tell all links apart.
    pub(super) fn new(cases: &[Case]) -> std::result::Result<Self, String> {
        let bench = Self {
            barque: Environment::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(bench.path("tmp")).unwrap();
        let info = Answer::from(bench.program().arg("info").output().unwrap());
        if info.code != 0 {
            return Err(info.stderr);
        }
        let named = |image: &str| {
            let mut texts = cases
                .iter()
                .flat_map(|case| case.dockerfile.iter().chain([&case.context]));
            texts.any(|text| text.contains(&format!("localhost/{image}")))
        };
        std::fs::write(
            bench.path("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        let tar = bench.path("base.tar");
        let pack = "tar --numeric-owner --sort=name --mtime=@1700000000 -cf ../base.tar .";
        shell(&format!("{BASE}\n{pack}"), &bench.path("base"));
        bench
            .barque
            .barque(&[
                "import",
                tar.to_str().unwrap(),
                "localhost/base",
                "-c",
                "ENV PATH=/bin",
                "-c",
                "CMD [\"sh\"]",
            ])
            .ok();
        let children = [("parent", PARENT), ("triggers", TRIGGERS)];
        let children = children.iter().filter(|(name, _)| named(name));
        for (name, dockerfile) in children.clone() {
            let file = bench.path(name);
            std::fs::write(&file, dockerfile).unwrap();
            let (file, name) = (file.to_str().unwrap(), format!("localhost/{name}"));
            let words = ["build", "-q", "-f", file, "-t", &name, "."];
            bench.barque.barque(&words).ok();
        }
        for name in children.map(|(name, _)| *name).chain(["base"]) {
            let file = bench.path(&format!("{name}.saved"));
            let (file, name) = (file.to_str().unwrap(), format!("localhost/{name}"));
            bench.barque.barque(&["save", "-o", file, &name]).ok();
            let mut pull = bench.program();
            pull.args(["pull", "-q", "--signature-policy"])
                .arg(bench.path("policy.json"))
                .arg(format!("docker-archive:{file}"));
            Answer::from(pull.output().unwrap()).ok();
        }
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder with the context of a case.
    pub(super) fn context(&self, case: &Case) -> PathBuf {
        let folder = self.path("context");
        shell(&case.context, &folder);
        if let Some(text) = &case.dockerfile {
            std::fs::write(folder.join("Dockerfile"), text).unwrap();
        }
        folder
    }

    fn program(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .arg("--root")
            .arg(self.path("storage"))
            .arg("--runroot")
            .arg(self.path("run"))
            .args(["--storage-driver", "overlay"])
            .stdin(Stdio::null());
        command
    }

    /// The case built by buildah.
    pub(super) fn buildah(&self, case: &Case, context: &Path) -> Result {
        let out = self.path("out");
        let mut build = self.program();
        build
            .current_dir(context)
            .args(["build", "--isolation", "chroot", "--layers=false"])
            .args(["--format", "docker", "--identity-label=false"])
            .args(["--pull-never", "--force-rm", "--signature-policy"])
            .arg(self.path("policy.json"))
            .args(&case.flags)
            .arg("-t")
            .arg(format!("dir:{}", out.display()))
            .arg(".");
        let answer = Answer::from(build.output().unwrap());
        if answer.code != 0 {
            std::fs::remove_dir_all(out).ok();
            return Result::Failed(answer.stderr);
        }
        let manifest = std::fs::read(out.join("manifest.json")).unwrap();
        let lines = image::lines(&manifest, |digest| {
            std::fs::read(out.join(digest.trim_start_matches("sha256:"))).unwrap()
        });
        std::fs::remove_dir_all(out).unwrap();
        Result::Built(lines)
    }

    /// The case built by barque.
    pub(super) fn barque(&self, case: &Case, context: &Path) -> Result {
        let out = self.path("out");
        let flags: Vec<&str> = case.flags.iter().map(String::as_str).collect();
        let words = [&["build", "-q", "-t", "made"], &flags[..], &["."]].concat();
        let mut build = self.barque.command(&words);
        let answer = Answer::from(build.current_dir(context).output().unwrap());
        if answer.code != 0 {
            return Result::Failed(answer.stderr);
        }
        let target = out.to_str().unwrap();
        let words = ["save", "--format", "oci-dir", "-o", target, "made"];
        self.barque.barque(&words).ok();
        let blob =
            |digest: &str| std::fs::read(out.join("blobs").join(digest.replace(':', "/"))).unwrap();
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("index.json")).unwrap()).unwrap();
        let manifest = blob(index["manifests"][0]["digest"].as_str().unwrap());
        let lines = image::lines(&manifest, blob);
        std::fs::remove_dir_all(out).unwrap();
        Result::Built(lines)
    }
}
