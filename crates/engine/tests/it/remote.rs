//! Builds that take their files from servers: the facts about ADD of URLs and git repositories, and contexts.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use engine::building::{BuildRequest, ContextSource, Dockerfile, Event};
use engine::remote::Host;
use layer::{Follow, View};
use testkit::{COMMIT_TIME, GitRepository, TempStore, WebServer, git_server, respond};

use crate::support::{message, run};

/// A store and a folder to build in.
struct Site {
    store: TempStore,
    folder: tempfile::TempDir,
}

/// What a build gave.
struct Outcome {
    view: View,
    config: oci::ImageConfig,
    /// Names of steps, those that were found with `CACHED ` in front.
    steps: Vec<String>,
    text: String,
}

impl Site {
    fn new() -> Self {
        Self {
            store: testkit::store(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn request(&self, dockerfile: &str) -> BuildRequest {
        std::fs::write(self.folder.path().join("Dockerfile"), dockerfile).unwrap();
        self.request_of(self.folder.path().to_owned().into())
    }

    fn request_of(&self, context: ContextSource) -> BuildRequest {
        BuildRequest {
            context,
            network: "default".to_owned(),
            host: Host::read(|name| (name == "PATH").then(|| std::env::var("PATH").ok())?),
            ..BuildRequest::default()
        }
    }

    fn run(&self, request: &BuildRequest) -> Result<Outcome, String> {
        let events = Mutex::new(Vec::new());
        let engine = crate::support::engine(&self.store);
        let built = engine
            .build(request, &|event| events.lock().unwrap().push(event))
            .map_err(|error| message(&error))?;
        let store = self.store.store();
        let image = store.image(&built.digest.unwrap()).unwrap().unwrap();
        let mut steps: Vec<String> = Vec::new();
        let mut text = String::new();
        for event in events.into_inner().unwrap() {
            match event {
                Event::StepStarted { step, name } => {
                    assert_eq!(step, steps.len() + 1, "steps are numbered one by one");
                    steps.push(name);
                }
                Event::StepCached { step } => steps[step - 1].insert_str(0, "CACHED "),
                Event::StepLog { bytes, .. } => text.push_str(&String::from_utf8_lossy(&bytes)),
                _ => {}
            }
        }
        Ok(Outcome {
            view: store.view(&image.layers).unwrap(),
            config: store.config(&image).unwrap(),
            steps,
            text,
        })
    }

    #[track_caller]
    fn build(&self, dockerfile: &str) -> Outcome {
        self.run(&self.request(dockerfile)).unwrap()
    }

    #[track_caller]
    fn fail(&self, dockerfile: &str) -> String {
        match self.run(&self.request(dockerfile)) {
            Ok(_) => panic!("the build did not fail"),
            Err(error) => error,
        }
    }
}

impl Outcome {
    fn stat(&self, path: &str) -> Option<layer::Stat> {
        let node = self.view.lookup(path.as_bytes(), Follow::No).unwrap()?;
        Some(self.view.stat(&node).unwrap())
    }

    /// Mode, owner and time.
    #[track_caller]
    fn meta(&self, path: &str) -> (u32, u32, u32, i64) {
        let stat = self.stat(path).unwrap_or_else(|| panic!("no {path}"));
        (stat.mode, stat.uid, stat.gid, stat.mtime.secs)
    }

    #[track_caller]
    fn read(&self, path: &str) -> String {
        let node = self.view.lookup(path.as_bytes(), Follow::Yes).unwrap();
        let mut file = self
            .view
            .open(&node.unwrap_or_else(|| panic!("no {path}")))
            .unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        text
    }

    /// All paths, sorted.
    fn paths(&self) -> Vec<String> {
        let Some(root) = self.view.root().unwrap() else {
            return Vec::new();
        };
        let walk = self.view.walk(b"", root).skip(1);
        walk.map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
            .collect()
    }

    /// Whether a step whose name has this text was found.
    #[track_caller]
    fn cached(&self, text: &str) -> bool {
        let step = self.steps.iter().find(|name| name.contains(text));
        let step = step.unwrap_or_else(|| panic!("no step `{text}`: {:?}", self.steps));
        step.starts_with("CACHED ")
    }
}

/// A tar with these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = layer::tar::Writer::new(Vec::new());
    for (path, content) in files {
        let mut meta = layer::Meta::file(content.len() as u64, 0o640);
        meta.uid = 7;
        meta.mtime = layer::Time::from_secs(1_000_000);
        writer
            .append(path.as_bytes(), &meta, &mut content.as_bytes())
            .unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use layer::compression::{Compression, Encoder, Level};
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip, Level::Default).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn f147_archives_behind_urls_are_unpacked_only_on_request() {
    let archive = gzip(&tar(&[("a", "1"), ("d/b", "2")]));
    let server = WebServer::file(&[], &archive);
    let url = server.url("/t.tar.gz");
    let site = Site::new();
    let plain = site.build(&format!("FROM scratch\nADD {url} /\n"));
    assert_eq!(plain.paths(), ["t.tar.gz"]);
    let unpacked = site.build(&format!("FROM scratch\nADD --unpack=true {url} /x/\n"));
    assert_eq!(unpacked.paths(), ["x", "x/a", "x/d", "x/d/b"]);
    assert_eq!(unpacked.meta("x/a"), (0o640, 7, 0, 1_000_000));
    let not = site.build(&format!("FROM scratch\nADD --unpack=false {url} /\n"));
    assert_eq!(not.paths(), ["t.tar.gz"]);
}

#[test]
fn f152_a_url_without_a_name_and_its_time() {
    let time = ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let server = WebServer::file(&[time], b"content");
    let site = Site::new();
    let outcome = site.build(&format!("FROM scratch\nADD {} /dest/\n", server.url("/")));
    assert_eq!(outcome.paths(), ["dest", "dest/__unnamed__"]);
    assert_eq!(outcome.meta("dest/__unnamed__"), (0o600, 0, 0, 784_111_777));
    assert_eq!(outcome.read("dest/__unnamed__"), "content");
    let dockerfile = format!(
        "FROM scratch\nADD --chown=1:2 --chmod=644 {} /x\n",
        server.url("/a%20b*?q#f")
    );
    let outcome = site.build(&dockerfile);
    assert_eq!(outcome.meta("x"), (0o644, 1, 2, 784_111_777));
    let dockerfile = format!("FROM scratch\nADD {} /x/\n", server.url("/a%20b*?q#f"));
    assert_eq!(site.build(&dockerfile).paths(), ["x", "x/a b*"]);
}

#[test]
fn f153_an_unchanged_url_is_asked_for_and_not_fetched() {
    let etag = Mutex::new("\"1\"".to_owned());
    let etag = std::sync::Arc::new(etag);
    let current = std::sync::Arc::clone(&etag);
    let server = WebServer::start(move |request, out| {
        let etag = current.lock().unwrap().clone();
        match request.header("if-none-match") == Some(&etag) {
            true => respond(out, "304 Not Modified", &[], b""),
            false => respond(out, "200 OK", &[("ETag", &etag)], etag.as_bytes()),
        }
    });
    let site = Site::new();
    let dockerfile = format!("FROM scratch\nADD {} /x\n", server.url("/f"));
    let first = site.build(&dockerfile);
    assert_eq!(server.take_lines(), ["GET /f"]);
    assert!(!first.cached("ADD"));
    let second = site.build(&dockerfile);
    assert_eq!(server.take_lines(), ["HEAD /f"]);
    assert!(second.cached("ADD") && second.cached("[internal] load http"));
    *etag.lock().unwrap() = "\"2\"".to_owned();
    let third = site.build(&dockerfile);
    assert_eq!(server.take_lines(), ["HEAD /f", "GET /f"]);
    assert!(!third.cached("ADD"));
    assert_eq!(third.read("x"), "\"2\"");
    // Another URL with the same content makes the same layer.
    let other = site.build(&format!("FROM scratch\nADD {} /x\n", server.url("/g")));
    assert!(other.cached("ADD"));
}

#[test]
fn f154_a_url_is_stored_under_the_new_name() {
    let server = WebServer::file(&[], &gzip(&tar(&[("a", "1")])));
    let url = server.url("/t.tar.gz");
    let outcome = Site::new().build(&format!(
        "FROM scratch\nWORKDIR /w\nADD {url} /newname.tar.gz\nADD {url} {url} .\nADD {url} /w\n"
    ));
    assert_eq!(outcome.paths(), ["newname.tar.gz", "w", "w/t.tar.gz"]);
    assert_eq!(
        server.take_requests().len(),
        1,
        "one source is brought once"
    );
}

#[test]
fn f155_checksums_of_urls() {
    let server = WebServer::file(&[], b"hello");
    let url = server.url("/f");
    let sum = oci::Digest::sha256_of(b"hello").to_string();
    let site = Site::new();
    let good = site.build(&format!(
        "FROM scratch\nARG HEX={}\nADD --checksum=sha256:$HEX {url} /f\n",
        &sum["sha256:".len()..]
    ));
    assert_eq!(good.read("f"), "hello");
    let wrong = site.fail(&format!(
        "FROM scratch\nADD --checksum=sha256:{} {url} /f\n",
        "0".repeat(64)
    ));
    assert!(wrong.contains("has the digest `sha256:2cf24dba"), "{wrong}");
    for bad in ["md5:0123", &sum["sha256:".len()..]] {
        let error = site.fail(&format!(
            "FROM scratch\nARG S={bad}\nADD --checksum=$S {url} /f\n"
        ));
        assert!(error.contains("is not a checksum"), "{error}");
    }
    drop(server);
    let offline = site.build(&format!("FROM scratch\nADD --checksum={sum} {url} /f\n"));
    assert!(offline.cached("ADD"), "who knows the bytes needs no server");
}

#[test]
fn f156_checksums_need_one_source_elsewhere() {
    let site = Site::new();
    let sum = format!("--checksum=sha256:{}", "0".repeat(64));
    std::fs::write(site.folder.path().join("local"), "x").unwrap();
    for bad in [
        format!("ADD {sum} http://127.0.0.1:1/a http://127.0.0.1:1/b /x/"),
        format!("ADD {sum} local /x"),
        format!("COPY {sum} local /x"),
    ] {
        let error = site.fail(&format!("FROM scratch\n{bad}\n"));
        assert!(error.contains("--checksum"), "{error}");
    }
}

/// A repository `repo.git` with a submodule, two tags and a branch, behind a server; the commits of the tags.
struct Repositories {
    _folder: tempfile::TempDir,
    server: WebServer,
    repository: GitRepository,
    first: String,
    second: String,
}

fn repositories(format: &str) -> Repositories {
    let folder = tempfile::tempdir().unwrap();
    let server = git_server(folder.path());
    let module = GitRepository::create(&folder.path().join("module.git"), format);
    module.write("inside", "module").commit("module");
    let repository = GitRepository::create(&folder.path().join("repo.git"), format);
    repository
        .write("a", "1")
        .write("docs/b", "b")
        .write("bin/run", "#!");
    run(Command::new("chmod")
        .arg("755")
        .arg(repository.path().join("bin/run")));
    std::os::unix::fs::symlink("a", repository.path().join("link")).unwrap();
    let first = repository.commit("one");
    repository.git(&["tag", "v1"]);
    repository.git(&["branch", "old"]);
    // Relative to where the repository itself is.
    repository.git(&[
        "submodule",
        "--quiet",
        "add",
        "-q",
        &server.url("/module.git"),
        "sub",
    ]);
    repository.git(&[
        "config",
        "-f",
        ".gitmodules",
        "submodule.sub.url",
        "../module.git",
    ]);
    repository.write("a", "2");
    let second = repository.commit("two");
    repository.git(&["tag", "-a", "-m", "two", "v2"]);
    drop(server.take_requests());
    Repositories {
        _folder: folder,
        server,
        repository,
        first,
        second,
    }
}

impl Repositories {
    fn url(&self) -> String {
        self.server.url("/repo.git")
    }

    /// A Dockerfile that puts a commit into `/x`.
    fn adding(&self, commit: &str) -> String {
        format!("FROM scratch\nADD {}#{commit} /x\n", self.url())
    }
}

#[test]
fn f157_git_sources_have_submodules_and_no_git_folder() {
    let git = repositories("sha1");
    let site = Site::new();
    let outcome = site.build(&git.adding("v2"));
    assert_eq!(
        outcome.paths(),
        [
            "x",
            "x/.gitmodules",
            "x/a",
            "x/bin",
            "x/bin/run",
            "x/docs",
            "x/docs/b",
            "x/link",
            "x/sub",
            "x/sub/inside"
        ]
    );
    assert_eq!(outcome.read("x/a"), "2");
    assert_eq!(outcome.meta("x/a"), (0o644, 0, 0, COMMIT_TIME));
    assert_eq!(outcome.meta("x/bin/run"), (0o755, 0, 0, COMMIT_TIME));
    assert_eq!(outcome.read("x/sub/inside"), "module");
    assert!(!outcome.cached("ADD"));
    let again = site.build(&git.adding("v2"));
    assert!(again.cached("ADD") && again.cached("[internal] load http"));
    let part = site.build(&format!(
        "FROM scratch\nADD --chown=5:6 --exclude=*.x {}#old:docs /x/\n",
        git.url()
    ));
    assert_eq!(part.paths(), ["x", "x/b"]);
    assert_eq!(part.meta("x/b"), (0o644, 5, 6, COMMIT_TIME));
    let bare = site.build(&format!(
        "FROM scratch\nADD {}?branch=main&submodules=false&subdir=sub /x/\n",
        git.url()
    ));
    assert_eq!(bare.paths(), ["x"]);
}

#[test]
fn f157_a_kept_git_folder_is_clean() {
    let git = repositories("sha1");
    let site = Site::new();
    let outcome = site.build(&format!(
        "FROM scratch\nADD --keep-git-dir --chown=1000:1000 {}#v2 /x\n",
        git.url().replace("http://", "http://me:s3cret@")
    ));
    assert!(outcome.read("x/.git/HEAD").starts_with(&git.second));
    assert_eq!(outcome.stat("x/.git").unwrap().uid, 1000);
    let history = outcome.config.history.last().unwrap();
    let text = history.created_by.as_deref().unwrap();
    assert!(
        text.contains("xxxxx:xxxxx@") && !text.contains("s3cret"),
        "{text}"
    );
    let copy = tempfile::tempdir().unwrap();
    write_out(&outcome, "x", copy.path());
    for entry in walk(copy.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
        assert!(!text.contains("s3cret"), "{}", entry.display());
    }
    let status = run(Command::new("git")
        .args(["-c", "safe.directory=*", "status", "--porcelain"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(copy.path()));
    assert_eq!(String::from_utf8_lossy(&status.stdout), "");
    assert!(!outcome.text.contains("s3cret"));
}

/// All regular files below a folder.
fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => todo.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Writes a directory of an image into a folder.
fn write_out(outcome: &Outcome, dir: &str, to: &Path) {
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    for path in outcome.paths() {
        let Some(name) = path.strip_prefix(&format!("{dir}/")) else {
            continue;
        };
        let target = to.join(name);
        let node = outcome
            .view
            .lookup(path.as_bytes(), Follow::No)
            .unwrap()
            .unwrap();
        let stat = outcome.view.stat(&node).unwrap();
        match stat.kind {
            layer::FileType::Dir => std::fs::create_dir(&target).unwrap(),
            layer::FileType::Symlink => {
                let link = outcome.view.read_link(&node).unwrap();
                std::os::unix::fs::symlink(std::ffi::OsString::from_vec(link), target).unwrap();
            }
            _ => {
                let mut file = std::fs::File::create(&target).unwrap();
                std::io::copy(&mut outcome.view.open(&node).unwrap(), &mut file).unwrap();
                let mode = std::fs::Permissions::from_mode(stat.mode);
                std::fs::set_permissions(target, mode).unwrap();
            }
        }
    }
}

#[test]
fn f158_a_commit_must_be_that_of_the_tag() {
    let git = repositories("sha1");
    let site = Site::new();
    let build = |commit: &str| {
        let dockerfile = format!(
            "FROM scratch\nADD {}?tag=v2&commit={commit} /x\n",
            git.url()
        );
        site.run(&site.request(&dockerfile))
    };
    assert_eq!(build(&git.second).unwrap().read("x/a"), "2");
    assert_eq!(build(&git.second[..8]).unwrap().read("x/a"), "2");
    for wrong in [&git.first, &git.first[..8]] {
        let Err(error) = build(wrong) else {
            panic!("{wrong} is not v2")
        };
        assert!(error.contains(&format!("not `{wrong}`")), "{error}");
        assert!(error.contains(&git.second), "{error}");
    }
    // The tag is an object of its own, whose id is as good.
    let tag = git.repository.git(&["rev-parse", "v2"]);
    assert_eq!(build(&tag).unwrap().read("x/a"), "2");
    let direct = site.build(&git.adding(&git.first));
    assert_eq!(direct.read("x/a"), "1");
}

#[test]
fn f159_a_checksum_added_later_is_a_cache_hit() {
    let git = repositories("sha1");
    let site = Site::new();
    site.build(&git.adding("v2"));
    let with = site.build(&format!(
        "FROM scratch\nADD --checksum={} {}#v2 /x\n",
        git.second,
        git.url()
    ));
    assert!(with.cached("ADD"), "{:?}", with.steps);
    let wrong = site.fail(&format!(
        "FROM scratch\nADD --checksum={} {}#v2 /x\n",
        git.first,
        git.url()
    ));
    assert!(wrong.contains("is the commit"), "{wrong}");
}

#[test]
fn f160_repositories_with_sha256_work() {
    let git = repositories("sha256");
    assert_eq!(git.second.len(), 64);
    let site = Site::new();
    let outcome = site.build(&git.adding("v2"));
    assert_eq!(outcome.read("x/a"), "2");
    assert_eq!(outcome.read("x/sub/inside"), "module");
    let direct = site.build(&git.adding(&git.first));
    assert_eq!(direct.read("x/a"), "1");
}

#[test]
fn f161_http_without_the_suffix_is_a_download() {
    let server = WebServer::file(&[], b"<html>");
    let site = Site::new();
    let outcome = site.build(&format!("FROM scratch\nADD {} /x/\n", server.url("/o/r")));
    assert_eq!(outcome.read("x/r"), "<html>");
    assert_eq!(server.take_lines(), ["GET /o/r"]);
}

#[test]
fn sources_of_several_kinds_become_one_layer() {
    let git = repositories("sha1");
    let server = WebServer::file(&[], b"from the server");
    let site = Site::new();
    std::fs::write(site.folder.path().join("local"), "near").unwrap();
    std::fs::write(site.folder.path().join("t.tar"), tar(&[("member", "m")])).unwrap();
    let dockerfile = format!(
        "FROM scratch\nADD --chown=3:4 local t.tar {} {}#v1 <<here /x/\ntext\nhere\n",
        server.url("/file"),
        git.url()
    );
    let outcome = site.build(&dockerfile);
    assert_eq!(outcome.config.rootfs.diff_ids.len(), 1);
    assert_eq!(outcome.config.history.len(), 1);
    for (path, content) in [
        ("x/local", "near"),
        ("x/member", "m"),
        ("x/file", "from the server"),
        ("x/a", "1"),
        ("x/docs/b", "b"),
        ("x/here", "text\n"),
    ] {
        assert_eq!(outcome.read(path), content);
        let stat = outcome.stat(path).unwrap();
        assert_eq!((stat.uid, stat.gid), (3, 4), "{path}");
    }
    let again = site.build(&dockerfile);
    assert_eq!(again.config.rootfs, outcome.config.rootfs);
    assert!(
        again
            .steps
            .iter()
            .filter(|step| step.contains("ADD"))
            .all(|step| step.starts_with("CACHED"))
    );
}

#[test]
fn f220_the_time_of_a_git_context_is_that_of_its_commit() {
    let git = repositories("sha1");
    git.repository.write(
        "Dockerfile",
        "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY a /\n",
    );
    git.repository.commit("three");
    let site = Site::new();
    let context = |context: ContextSource| {
        let mut request = site.request_of(context);
        let epoch = ("SOURCE_DATE_EPOCH".to_owned(), "context".to_owned());
        request.build_args = vec![epoch];
        site.run(&request).unwrap().config
    };
    let config = context(ContextSource::Remote(git.url()));
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    let text = config.history[0].created_by.clone().unwrap();
    assert_eq!(text, format!("ARG SOURCE_DATE_EPOCH={COMMIT_TIME}"));
    let time = ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let files = [("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "a")];
    let server = WebServer::file(&[time], &tar(&files));
    let config = context(ContextSource::Remote(server.url("/c.tar")));
    assert_eq!(config.created.as_deref(), Some("1994-11-06T08:49:37Z"));
    // Without the server's word it is the newest member.
    let server = WebServer::file(&[], &tar(&files));
    let config = context(ContextSource::Remote(server.url("/c.tar")));
    assert_eq!(config.created.as_deref(), Some("1970-01-12T13:46:40Z"));
    // A directory has none.
    std::fs::write(
        site.folder.path().join("Dockerfile"),
        "FROM scratch\nCOPY Dockerfile /\n",
    )
    .unwrap();
    let config = context(site.folder.path().to_owned().into());
    assert!(config.created.as_deref() > Some("2025"));
}

#[test]
fn f220_the_epoch_may_be_that_of_a_stage_or_a_named_context() {
    let git = repositories("sha1");
    let time = ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let server = WebServer::file(&[time], b"a");
    let site = Site::new();
    let last = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV a=b\n";
    let stage = |source: &str| {
        let file = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS Src\nADD ".to_owned();
        site.build(&format!("{file}{source} /\n{last}")).config
    };
    let config = stage(&server.url("/f"));
    assert_eq!(config.created.as_deref(), Some("1994-11-06T08:49:37Z"));
    let text = config.history[0].created_by.clone().unwrap();
    assert_eq!(text, "ARG SOURCE_DATE_EPOCH=784111777");
    let config = stage(&git.url());
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    std::fs::write(site.folder.path().join("Dockerfile"), last).unwrap();
    let mut request = site.request_of(site.folder.path().to_owned().into());
    request.build_args = vec![("SOURCE_DATE_EPOCH".to_owned(), "src".to_owned())];
    request.contexts = vec![format!("src={}", git.url())];
    let config = site.run(&request).unwrap().config;
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
}

#[test]
fn a_git_context_has_its_dockerfile_and_no_ignore_file() {
    let git = repositories("sha1");
    git.repository
        .write("docs/Dockerfile.web", "FROM scratch\nCOPY . /\n")
        .write("docs/.dockerignore", "b\n");
    std::os::unix::fs::symlink(
        "Dockerfile.web",
        git.repository.path().join("docs/Dockerfile"),
    )
    .unwrap();
    std::os::unix::fs::symlink("/etc/hostname", git.repository.path().join("docs/out")).unwrap();
    git.repository.commit("three");
    let site = Site::new();
    let url = format!("{}#main:docs", git.url());
    let outcome = site
        .run(&site.request_of(ContextSource::Remote(url.clone())))
        .unwrap();
    assert_eq!(
        outcome.paths(),
        [".dockerignore", "Dockerfile", "Dockerfile.web", "b", "out"]
    );
    assert!(outcome.steps[0].contains("load remote build context"));
    let mut request = site.request_of(ContextSource::Remote(url));
    request.dockerfile = Dockerfile::File("Dockerfile.web".into());
    assert_eq!(site.run(&request).unwrap().paths().len(), 5);
    // A link that leads out of the context leads nowhere, in whatever it is.
    request.dockerfile = Dockerfile::File("out".into());
    let Err(error) = site.run(&request) else {
        panic!("a file of this machine was read")
    };
    assert!(error.contains("there is no `out`"), "{error}");
    let keep = ("BUILDKIT_CONTEXT_KEEP_GIT_DIR".to_owned(), "1".to_owned());
    let dockerfile = site.folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, "FROM scratch\nCOPY .git/HEAD /\n").unwrap();
    let mut request = site.request_of(ContextSource::Remote(git.url()));
    request.dockerfile = Dockerfile::File(dockerfile);
    assert!(site.run(&request).is_err());
    request.build_args.push(keep);
    assert_eq!(site.run(&request).unwrap().paths(), ["HEAD"]);
}

#[test]
fn contexts_behind_urls_are_archives_or_dockerfiles() {
    let site = Site::new();
    let files = [
        (
            "Dockerfile",
            "FROM scratch\nCOPY --chown=1:1 . /all/\nCOPY d/e /\n",
        ),
        ("d/e", "e"),
        (".dockerignore", "d\n"),
    ];
    for body in [tar(&files), gzip(&tar(&files))] {
        let server = WebServer::file(&[("ETag", "\"1\"")], &body);
        let request = site.request_of(ContextSource::Remote(server.url("/c")));
        let outcome = site.run(&request).unwrap();
        assert_eq!(outcome.read("all/d/e"), "e");
        assert_eq!(
            outcome.meta("e"),
            (0o640, 7, 0, 1_000_000),
            "an archive's owners are kept"
        );
        assert_eq!(server.take_lines(), ["GET /c"]);
        let again = site.run(&request).unwrap();
        assert!(again.cached("load remote build context") && again.cached("COPY d/e"));
        assert_eq!(server.take_lines(), ["HEAD /c"]);
    }
    let server = WebServer::file(&[], b"FROM scratch\nLABEL a=b\n");
    let request = site.request_of(ContextSource::Remote(server.url("/Dockerfile")));
    assert_eq!(site.run(&request).unwrap().config.config.labels["a"], "b");
    let server = WebServer::file(&[], b"FROM scratch\nCOPY a /\n");
    let request = site.request_of(ContextSource::Remote(server.url("/Dockerfile")));
    let error = site.run(&request).err().unwrap();
    assert!(error.contains("no context"), "{error}");
    let server = WebServer::start(|_, out| respond(out, "404 Not Found", &[], b""));
    let request = site.request_of(ContextSource::Remote(server.url("/c")));
    let error = site.run(&request).err().unwrap();
    assert!(error.contains("404"), "{error}");
}

#[test]
fn a_dockerfile_may_be_behind_a_url() {
    let server = WebServer::file(&[], b"FROM scratch\nCOPY a /\n");
    let site = Site::new();
    std::fs::write(site.folder.path().join("a"), "a").unwrap();
    let mut request = site.request_of(site.folder.path().to_owned().into());
    request.dockerfile = Dockerfile::Url(server.url("/x/Dockerfile.web"));
    let outcome = site.run(&request).unwrap();
    assert_eq!(outcome.paths(), ["a"]);
    assert!(
        outcome
            .steps
            .iter()
            .any(|step| step.ends_with("from Dockerfile.web"))
    );
}

#[test]
fn a_root_filesystem_is_imported_from_a_url() {
    let store = testkit::store();
    let engine = engine::Engine::open(store.root()).unwrap();
    let archive = tar(&[("etc/hostname", "boat")]);
    let server = WebServer::file(&[], &gzip(&archive));
    let import = |url: &str| {
        let request = engine::transfer::ImportRequest {
            url: Some((url.to_owned(), engine::remote::Host::default())),
            name: Some("base".to_owned()),
            created: Some("0".to_owned()),
            ..engine::transfer::ImportRequest::default()
        };
        engine.import(&request)
    };
    let id = import(&server.url("/base.tar.gz")).unwrap();
    let image = store.store().resolve("base").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(*image.layers[0].digest(), oci::Digest::sha256_of(&archive));
    let text = WebServer::file(&[], b"<html>");
    let error = import(&text.url("/base.tar")).unwrap_err().to_string();
    assert!(error.contains("base.tar"), "{error}");
    assert!(
        import("http://user:secret@127.0.0.1:1/x").is_err_and(|error| {
            let text = error.to_string();
            text.contains("127.0.0.1") && !text.contains("secret")
        })
    );
    // What was downloaded is not kept.
    store.store().upkeep().unwrap();
    let left = std::fs::read_dir(store.root().join("tmp"))
        .unwrap()
        .flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let locks = ["upkeep.lock", "turns.lock"];
    assert!(
        left.iter()
            .all(|name| locks.iter().any(|lock| name == lock)),
        "{left:?}"
    );
}
