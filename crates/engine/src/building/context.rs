//! Where a build takes its Dockerfile, its ignore file and its files from.
//!
//! A context that is no folder becomes layers in the store: an archive is kept as the tar it is, a commit of a repository as
//! its files. The ignore file is for folders only: what comes as an archive or by git was chosen by whoever made it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use build::{ContextFiles, HttpSource, RemoteSource, Teller, Text};
use dockerfile::remote::{GitSource, Origin, file_name, redacted};
use layer::compression::Compression;
use layer::{FileType, Follow, View};
use oci::DiffId;
use store::Lease;
use sys::fs::Context as _;
use sys::root::Root;

use super::BuildRequest;
use crate::Error;
use crate::remote::{Outside, newest};
use crate::transfer::Inflate;

/// Largest Dockerfile or ignore file, 16 MiB: the text is held in memory whole.
const MAX_TEXT: u64 = 16 << 20;

/// How much of standard input is looked at to tell an archive from a text: more than a tar's first header.
const PEEKED: u64 = 8 << 10;

/// What the step is called in which a context is brought.
const STEP: &str = "[internal] load remote build context";

/// The build argument that keeps the `.git` of a context.
const KEEP_GIT_ARG: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What is written for GitHub in short.
const GITHUB: &str = "github.com/";

/// Where the files of a build are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// In this folder.
    Folder(PathBuf),
    /// An archive on standard input, or a Dockerfile there and no files.
    Stdin,
    /// Behind this URL: an archive, a Dockerfile, or a git repository.
    Remote(String),
}

impl Default for ContextSource {
    fn default() -> Self {
        Self::Folder(PathBuf::from("."))
    }
}

impl From<PathBuf> for ContextSource {
    fn from(path: PathBuf) -> Self {
        Self::Folder(path)
    }
}

impl ContextSource {
    /// Understands what a person typed: `-`, a folder, a URL. What exists as a folder is one.
    #[must_use]
    pub fn of(typed: &OsStr) -> Self {
        if typed == "-" {
            return Self::Stdin;
        }
        let path = PathBuf::from(typed);
        match typed.to_str() {
            Some(text) if !path.is_dir() && is_remote(text) => Self::Remote(text.to_owned()),
            _ => Self::Folder(path),
        }
    }
}

fn is_remote(text: &str) -> bool {
    text.starts_with(GITHUB) || !matches!(Origin::of(text), Ok(Origin::Context))
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile` in the context, or `dockerfile`.
    #[default]
    Default,
    /// This file; of a context that is no folder, a path in it unless it is absolute.
    File(PathBuf),
    /// Behind this URL.
    Url(String),
    /// Standard input.
    Stdin,
}

impl Dockerfile {
    /// Understands what a person typed: `-`, a path, a URL.
    #[must_use]
    pub fn of(typed: &OsStr) -> Self {
        match typed.to_str() {
            Some("-") => Self::Stdin,
            Some(text) if matches!(Origin::of(text), Ok(Origin::Http)) => {
                Self::Url(text.to_owned())
            }
            _ => Self::File(PathBuf::from(typed)),
        }
    }
}

/// A context that was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) files: Option<ContextFiles>,
    /// What `SOURCE_DATE_EPOCH=context` means.
    pub(super) time: Option<i64>,
    pub(super) dockerfile: Text,
    pub(super) ignore: Option<Text>,
    pub(super) near: Near,
}

/// The files of a context, to read a few of them.
#[derive(Debug)]
pub(super) enum Near {
    /// In a folder.
    Folder(Root),
    /// In layers.
    Layers(View),
    /// There are none.
    Nothing,
}

impl Near {
    /// A text in the context; `None` if there is no such file.
    ///
    /// Links are followed inside the context, so that none there can make us read another file of this machine (CVE-2026-44517,
    /// CVE-2022-4122).
    pub(super) fn text(&self, path: &Path) -> Result<Option<Text>, Error> {
        use std::os::unix::ffi::OsStrExt as _;

        let text = match self {
            Self::Folder(root) => match sys::fs::optional(root.open_file(path))? {
                Some(file) => read_text(file, &root.path().join(path))?,
                None => return Ok(None),
            },
            Self::Layers(view) => {
                let wrong = |source| Error::Read {
                    image: "the build context".to_owned(),
                    source,
                };
                let node = view
                    .lookup(path.as_os_str().as_bytes(), Follow::Yes)
                    .map_err(wrong)?;
                match node.filter(|node| node.kind() == FileType::File) {
                    Some(node) => read_text(view.open(&node).map_err(wrong)?, path)?,
                    None => return Ok(None),
                }
            }
            Self::Nothing => return Ok(None),
        };
        let name = display_name(path);
        Ok(Some(Text { name, text }))
    }

    /// An ignore file in the context. A link that leads nowhere there is an error: without what it should name, files would get
    /// into the image that are to be left out.
    fn ignore(&self, path: &Path) -> Result<Option<Text>, Error> {
        let found = self.text(path)?;
        if let (None, Self::Folder(root)) = (&found, self)
            && sys::fs::optional(root.stat(path))?.is_some()
        {
            let why = std::io::Error::other("it is a link that leads to nothing in the context");
            return Err(sys::fs::Error::new("read", root.path().join(path), why).into());
        }
        Ok(found)
    }
}

/// Finds the context and reads what tells how to build it.
pub(super) fn open(
    request: &BuildRequest,
    outside: &Outside<'_>,
    lease: &Lease,
    teller: &Teller<'_>,
) -> Result<Opened, Error> {
    let search = Search {
        request,
        outside,
        lease,
        teller,
    };
    search.open()
}

/// What standard input or a URL turned out to be.
enum Found {
    Layer(DiffId),
    Dockerfile(String),
}

/// What it takes to find a context.
struct Search<'a> {
    request: &'a BuildRequest,
    outside: &'a Outside<'a>,
    lease: &'a Lease,
    teller: &'a Teller<'a>,
}

impl Search<'_> {
    fn open(&self) -> Result<Opened, Error> {
        match &self.request.context {
            ContextSource::Folder(path) => {
                let folder = sys::fs::optional(sys::fs::canonicalize(path))?
                    .ok_or_else(|| Error::NoContext(path.clone()))?;
                if !sys::fs::metadata(&folder)?.is_dir() {
                    return Err(Error::ContextNotAFolder(path.clone()));
                }
                let near = Near::Folder(Root::open(&folder)?);
                let (dockerfile, own) = self.find_dockerfile(&near)?;
                let ignore = match own {
                    Some(own) => Some(own),
                    None => near.ignore(Path::new(".dockerignore"))?,
                };
                Ok(Opened {
                    files: Some(ContextFiles::Directory(folder)),
                    time: None,
                    dockerfile,
                    ignore,
                    near,
                })
            }
            ContextSource::Stdin => {
                let input = std::io::stdin().lock();
                match self.read_stdin(input)? {
                    Found::Layer(layer) => {
                        let time = newest(self.lease, &layer)?;
                        self.in_layers(vec![layer], time)
                    }
                    Found::Dockerfile(text) => {
                        let name = "Dockerfile".to_owned();
                        self.alone(Text { name, text }, None)
                    }
                }
            }
            ContextSource::Remote(url) => self.remote(url),
        }
    }

    /// Takes what standard input has.
    fn read_stdin(&self, mut input: impl Read) -> Result<Found, Error> {
        let name = Path::new("stdin");
        if self.request.dockerfile == Dockerfile::Stdin {
            return Err(Error::StdinTwice);
        }
        let mut head = Vec::new();
        input
            .by_ref()
            .take(PEEKED)
            .read_to_end(&mut head)
            .context("read", name)?;
        let is_tar = || matches!(layer::tar::Reader::new(&head[..]).next(), Ok(Some(_)));
        // No text begins like a compressed file.
        if Compression::detect(&head) == Compression::None && !is_tar() {
            let text = read_text(head.chain(input), name)?;
            return Ok(Found::Dockerfile(text));
        }
        let layer = self
            .teller
            .during("[internal] load build context from stdin", || {
                let mut source = Inflate::new(head.chain(input)).context("read", name)?;
                let mut ingest = self.lease.ingest_layer()?;
                ingest
                    .writer()
                    .copy_tar(&mut source)
                    .map_err(|source| Error::ContextArchive { source })?;
                Ok::<_, Error>(*ingest.publish()?.diff_id())
            })?;
        Ok(Found::Layer(layer))
    }

    /// A build of layers, with a Dockerfile among their files.
    fn in_layers(&self, layers: Vec<DiffId>, time: Option<i64>) -> Result<Opened, Error> {
        let near = Near::Layers(self.lease.view(&layers)?);
        let (dockerfile, _) = self.find_dockerfile(&near)?;
        Ok(Opened {
            files: Some(ContextFiles::Layers(layers)),
            time,
            dockerfile,
            ignore: None,
            near,
        })
    }

    /// A build of a Dockerfile without any files.
    fn alone(&self, dockerfile: Text, time: Option<i64>) -> Result<Opened, Error> {
        if self.request.dockerfile != Dockerfile::Default {
            return Err(Error::TwoDockerfiles);
        }
        Ok(Opened {
            files: None,
            time,
            dockerfile,
            ignore: None,
            near: Near::Nothing,
        })
    }

    /// A context behind a URL.
    fn remote(&self, url: &str) -> Result<Opened, Error> {
        let failed = |source| Error::RemoteContext {
            url: redacted(url),
            source,
        };
        match Origin::of(&in_full(url)).map_err(|error| failed(error.into()))? {
            Origin::Context => Err(Error::ContextNotAFolder(PathBuf::from(url))),
            Origin::Git(git) => {
                let keep = self
                    .request
                    .build_args
                    .iter()
                    .any(|(name, value)| name == KEEP_GIT_ARG && is_true(value));
                let git = GitSource {
                    keep_git_dir: git.keep_git_dir.or(keep.then_some(true)),
                    ..*git
                };
                let source = RemoteSource::Git(git);
                let brought = self.bring(&source, STEP).map_err(failed)?;
                self.in_layers(brought.layers, brought.time)
            }
            Origin::Http => {
                let source = RemoteSource::Http(HttpSource {
                    url: url.to_owned(),
                    checksum: None,
                    unpack: true,
                });
                let brought = self.bring(&source, STEP).map_err(failed)?;
                let name = file_name(url);
                let near = Near::Layers(self.lease.view(&brought.layers)?);
                match near.text(Path::new(&name)) {
                    // What holds one file of that name and is no archive.
                    Ok(Some(text)) if !brought.unpacked => self.alone(text, brought.time),
                    Err(error) if !brought.unpacked => Err(error),
                    _ => self.in_layers(brought.layers, brought.time),
                }
            }
        }
    }

    /// Brings what is behind a URL into the store.
    fn bring(
        &self,
        source: &RemoteSource,
        step: &str,
    ) -> Result<build::Brought, build::RemoteError> {
        build::bring(self.outside, source, step, self.lease, self.teller)
    }

    /// The Dockerfile, and the ignore file that goes with it: `<Dockerfile>.dockerignore`.
    ///
    /// A file that the person named is theirs to name, wherever it is and through whatever links; but what lies in the context is
    /// from whoever made that, and is looked for inside it, however it was named.
    fn find_dockerfile(&self, near: &Near) -> Result<(Text, Option<Text>), Error> {
        match &self.request.dockerfile {
            Dockerfile::Stdin => {
                let text = read_text(std::io::stdin().lock(), Path::new("-"))?;
                let name = "Dockerfile".to_owned();
                Ok((Text { name, text }, None))
            }
            Dockerfile::Url(url) => {
                let source = RemoteSource::Http(HttpSource {
                    url: url.clone(),
                    checksum: None,
                    unpack: false,
                });
                let step = format!("[internal] load {}", source.shown());
                let failed = |source| Error::RemoteContext {
                    url: redacted(url),
                    source,
                };
                let brought = self.bring(&source, &step).map_err(failed)?;
                let file = Near::Layers(self.lease.view(&brought.layers)?);
                let text = file.text(Path::new(&file_name(url)))?;
                let text = text.ok_or_else(|| failed("there is no such file".into()))?;
                Ok((text, None))
            }
            Dockerfile::File(path) if matches!(near, Near::Folder(_)) || path.is_absolute() => {
                if let Some(path) = inside(path, near)? {
                    let text = self.named(&path, near)?;
                    return Ok((text, near.ignore(&beside(&path))?));
                }
                let text = crate::read_text(path)?;
                let name = display_name(path);
                Ok((Text { name, text }, ignore_outside(&beside(path))?))
            }
            Dockerfile::File(path) => Ok((self.named(path, near)?, None)),
            Dockerfile::Default => {
                for name in ["Dockerfile", "dockerfile"] {
                    if let Some(found) = near.text(Path::new(name))? {
                        return Ok((found, near.ignore(&beside(Path::new(name)))?));
                    }
                }
                Err(Error::NoDockerfile {
                    name: "Dockerfile".to_owned(),
                    context: shown(self.request),
                })
            }
        }
    }

    /// A named file of the context.
    fn named(&self, path: &Path, near: &Near) -> Result<Text, Error> {
        near.text(path)?.ok_or_else(|| Error::NoDockerfile {
            name: path.display().to_string(),
            context: shown(self.request),
        })
    }
}

/// `github.com/owner/name` is short for the repository there.
fn in_full(url: &str) -> String {
    if !url.starts_with(GITHUB) {
        return url.to_owned();
    }
    let end = url.find(['#', '?']).unwrap_or(url.len());
    let (repository, rest) = url.split_at(end);
    let repository = repository.trim_end_matches('/');
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    format!("https://{repository}.git{rest}")
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// The ignore file of a Dockerfile that the person named outside the context: theirs, too, and read as that is.
fn ignore_outside(path: &Path) -> Result<Option<Text>, Error> {
    if sys::fs::optional(sys::fs::symlink_metadata(path))?.is_none() {
        return Ok(None);
    }
    // Nobody asked for it by name, so that nobody is to wait for what a pipe says.
    if !sys::fs::metadata(path)?.is_file() {
        let why = std::io::Error::other("it is no regular file");
        return Err(sys::fs::Error::new("read", path, why).into());
    }
    let text = crate::read_text(path)?;
    let name = display_name(path);
    Ok(Some(Text { name, text }))
}

/// Where in the context a file of this machine lies, if it does: by its name as it stands, or by where its folder is.
fn inside(path: &Path, near: &Near) -> Result<Option<PathBuf>, Error> {
    let Near::Folder(root) = near else {
        return Ok(None);
    };
    let Some(name) = path.file_name() else {
        return Ok(None);
    };
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !climbs {
        let here = sys::fs::canonicalize(Path::new("."))?;
        let named = here.join(path);
        if let Ok(inside) = named.strip_prefix(root.path()) {
            return Ok(Some(inside.to_owned()));
        }
    }
    let Some(folder) = sys::fs::optional(sys::fs::canonicalize(folder))? else {
        return Ok(None);
    };
    let inside = folder.strip_prefix(root.path());
    Ok(inside.ok().map(|folder| folder.join(name)))
}

/// The ignore file that goes with a Dockerfile.
fn beside(dockerfile: &Path) -> PathBuf {
    let mut ignore = dockerfile.to_owned().into_os_string();
    ignore.push(".dockerignore");
    PathBuf::from(ignore)
}

/// The context as people named it.
fn shown(request: &BuildRequest) -> String {
    match &request.context {
        ContextSource::Folder(path) => format!("`{}`", path.display()),
        ContextSource::Stdin => "the archive on stdin".to_owned(),
        ContextSource::Remote(url) => format!("`{}`", redacted(url)),
    }
}

fn display_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

pub(super) fn read_text(reader: impl Read, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    let wrong =
        |why: &str| sys::fs::Error::new("read", path, std::io::Error::other(why.to_owned()));
    if bytes.len() as u64 > MAX_TEXT {
        return Err(wrong("it is larger than 16 MiB").into());
    }
    Ok(dockerfile::decode(bytes).map_err(|why| wrong(&why))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::read_request;
    use super::*;

    fn request(context: &Path, dockerfile: Dockerfile) -> BuildRequest {
        BuildRequest {
            context: context.to_owned().into(),
            dockerfile,
            tags: vec!["a".to_owned(), "a:latest".to_owned()],
            network: "default".to_owned(),
            ..BuildRequest::default()
        }
    }

    fn read(request: &BuildRequest) -> Result<build::Request, Error> {
        let store = testkit::store();
        let lease = store.store().lease("test").unwrap();
        let network = crate::exchange::Network::default();
        read_request(
            (request, &network),
            &BTreeMap::new(),
            &lease,
            &Teller::new(&|_| ()),
        )
    }

    #[test]
    fn f037_a_dockerfile_may_be_a_link_inside_the_context() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile.web"), "FROM scratch").unwrap();
        std::os::unix::fs::symlink("Dockerfile.web", folder.path().join("Dockerfile")).unwrap();
        let found = read(&request(folder.path(), Dockerfile::Default)).unwrap();
        assert_eq!(found.dockerfile.text, "FROM scratch");
    }

    #[test]
    fn a_context_that_is_not_there_is_told_and_what_to_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&request(&folder.path().join("gone"), Dockerfile::Default)).unwrap_err();
        assert!(matches!(error, Error::NoContext(_)), "{error}");
        assert!(error.hints()[0].contains("-f FILE"), "{error}");
    }

    #[test]
    fn what_was_typed_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let of = |text: &str| ContextSource::of(OsStr::new(text));
        assert_eq!(of("-"), ContextSource::Stdin);
        assert_eq!(of(folder), ContextSource::Folder(folder.into()));
        assert_eq!(of("no/such"), ContextSource::Folder("no/such".into()));
        for remote in [
            "https://h/a.tar",
            "https://h/a.git#v1:sub",
            "git@h:a/b.git",
            "ssh://git@h/a",
            "github.com/a/b",
            "https://h/a.git?ref=a&ref=b",
        ] {
            assert_eq!(
                of(remote),
                ContextSource::Remote(remote.to_owned()),
                "{remote}"
            );
        }
        assert_eq!(
            in_full("github.com/a/b#c:d"),
            "https://github.com/a/b.git#c:d"
        );
        assert_eq!(in_full("github.com/a/b.git"), "https://github.com/a/b.git");
        assert_eq!(Dockerfile::of(OsStr::new("-")), Dockerfile::Stdin);
        assert_eq!(
            Dockerfile::of(OsStr::new("https://h/x")),
            Dockerfile::Url("https://h/x".to_owned())
        );
        assert_eq!(
            Dockerfile::of(OsStr::new("a/x")),
            Dockerfile::File("a/x".into())
        );
    }

    #[test]
    fn f038_a_lower_case_dockerfile_is_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dockerfile"), "FROM scratch").unwrap();
        let found = read(&request(folder.path(), Dockerfile::Default)).unwrap();
        assert_eq!(found.dockerfile.text, "FROM scratch");
    }

    #[test]
    fn f212_an_ignore_file_of_the_dockerfile_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Dockerfile2");
        std::fs::write(&file, "FROM scratch").unwrap();
        std::fs::write(folder.path().join(".dockerignore"), "a").unwrap();
        let plain = read(&request(folder.path(), Dockerfile::File(file.clone()))).unwrap();
        assert_eq!(plain.ignore.unwrap().text, "a");
        std::fs::write(folder.path().join("Dockerfile2.dockerignore"), "b").unwrap();
        let own = read(&request(folder.path(), Dockerfile::File(file))).unwrap();
        assert_eq!(own.ignore.unwrap().text, "b");
    }

    #[test]
    fn a_link_in_the_context_does_not_lead_out_of_it() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "FROM secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("Dockerfile");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        assert!(read(&request(folder.path(), Dockerfile::Default)).is_err());
    }

    fn make_fifo(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
    }

    #[test]
    fn a_fifo_as_dockerfile_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("Dockerfile");
        make_fifo(&fifo);
        assert!(read(&request(folder.path(), Dockerfile::Default)).is_err());
        assert!(read(&request(folder.path(), Dockerfile::File(fifo))).is_err());
    }

    /// Who names a file of the context does not vouch for what the context has under that name.
    #[test]
    fn a_named_file_of_the_context_does_not_lead_out_of_it() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "FROM secret").unwrap();
        std::fs::write(outside.path().join("Dockerfile"), "FROM secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let link =
            |target: &Path, name: &str| std::os::unix::fs::symlink(target, at(name)).unwrap();
        link(&outside.path().join("secret"), "web");
        link(outside.path(), "sub");
        std::fs::create_dir(at("real")).unwrap();
        link(&outside.path().join("secret"), "real/web");
        let of = |file: PathBuf| read(&request(folder.path(), Dockerfile::File(file)));
        for file in [
            "web",
            "sub/Dockerfile",
            "real/web",
            "real/../web",
            "real/../real/web",
        ] {
            assert!(of(at(file)).is_err(), "{file}");
        }
        // By another name of the context.
        let names = tempfile::tempdir().unwrap();
        let again = names.path().join("context");
        std::os::unix::fs::symlink(folder.path(), &again).unwrap();
        assert!(of(again.join("web")).is_err());
        // What is outside is the person's to name, and what is inside is found.
        assert_eq!(
            of(outside.path().join("secret")).unwrap().dockerfile.text,
            "FROM secret"
        );
        std::fs::write(at("real/good"), "FROM scratch").unwrap();
        assert_eq!(
            of(again.join("real/good")).unwrap().dockerfile.text,
            "FROM scratch"
        );
    }

    #[test]
    fn an_ignore_file_that_cannot_be_read_is_an_error_and_not_nothing() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let apart = tempfile::tempdir().unwrap();
        for at in [folder.path(), apart.path()] {
            std::fs::write(at.join("Dockerfile"), "FROM scratch").unwrap();
        }
        let of = |file: Dockerfile| read(&request(folder.path(), file));
        let named = |at: &Path| Dockerfile::File(at.join("Dockerfile"));
        for (ignore, dockerfile) in [
            (folder.path().join(".dockerignore"), Dockerfile::Default),
            (
                folder.path().join("Dockerfile.dockerignore"),
                Dockerfile::Default,
            ),
            (
                folder.path().join("Dockerfile.dockerignore"),
                named(folder.path()),
            ),
            (
                apart.path().join("Dockerfile.dockerignore"),
                named(apart.path()),
            ),
        ] {
            make_fifo(&ignore);
            assert!(of(dockerfile.clone()).is_err(), "{dockerfile:?}");
            std::fs::remove_file(&ignore).unwrap();
            std::os::unix::fs::symlink("no-such", &ignore).unwrap();
            assert!(of(dockerfile.clone()).is_err(), "{dockerfile:?}");
            std::fs::remove_file(&ignore).unwrap();
            std::os::unix::fs::symlink(&secret, &ignore).unwrap();
            let found = of(dockerfile.clone());
            if ignore.starts_with(folder.path()) {
                let error = found.unwrap_err().to_string();
                assert!(error.contains("nothing in the context"), "{error}");
            } else {
                // Where the person named the Dockerfile, links are theirs.
                assert_eq!(found.unwrap().ignore.unwrap().text, "secret");
            }
            std::fs::remove_file(&ignore).unwrap();
        }
        // Inside the context a link is as good as a file.
        std::fs::write(folder.path().join("list"), "a").unwrap();
        std::os::unix::fs::symlink("list", folder.path().join(".dockerignore")).unwrap();
        let found = of(Dockerfile::Default).unwrap();
        assert_eq!(found.ignore.unwrap().text, "a");
    }
}
