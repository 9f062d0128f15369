//! A context, a store, and what a build in them gave.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use build::{Built, ContextFiles, Error, Event, Local, Offline, Request, Text};
use layer::{Follow, View};
use store::{OpenOptions, Store};

/// A place to build in.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) request: Request,
}

/// What a build gave.
pub(crate) struct Outcome {
    pub(crate) built: Built,
    pub(crate) events: Vec<Event>,
    pub(crate) view: View,
    pub(crate) config: oci::ImageConfig,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store"), &OpenOptions::default()).unwrap();
        let context = dir.path().join("context");
        fs::create_dir(&context).unwrap();
        let request = Request {
            context: Some(ContextFiles::Directory(context)),
            now: (1_700_000_000, 0),
            ..Request::default()
        };
        Self {
            dir,
            store,
            request,
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("context").join(path)
    }

    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file of the context, and its directories.
    pub(crate) fn write(&self, path: &str, content: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(crate) fn try_build(&self, dockerfile: &str) -> Result<Outcome, Error> {
        let dockerfile = Text {
            name: "Dockerfile".to_owned(),
            text: dockerfile.to_owned(),
        };
        let request = Request {
            dockerfile,
            ..self.request.clone()
        };
        let events = Mutex::new(Vec::new());
        let built = build::build(
            &request,
            &self.store,
            &Local(&self.store),
            &Offline,
            &|event| events.lock().unwrap().push(event),
        )?;
        let view = self.store.view(&built.image.layers).unwrap();
        let config = self.store.config(&built.image).unwrap();
        Ok(Outcome {
            built,
            events: events.into_inner().unwrap(),
            view,
            config,
        })
    }

    #[track_caller]
    pub(crate) fn build(&self, dockerfile: &str) -> Outcome {
        match self.try_build(dockerfile) {
            Ok(outcome) => outcome,
            Err(error) => panic!("{}", chain(&error)),
        }
    }

    /// The message of a build that must fail.
    #[track_caller]
    pub(crate) fn fail(&self, dockerfile: &str) -> String {
        match self.try_build(dockerfile) {
            Ok(_) => panic!("the build did not fail"),
            Err(error) => chain(&error),
        }
    }
}

/// The message of `error` and of its causes, each said once, as the program prints them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}

impl Outcome {
    /// One line a file: type, mode, owner, path, and a file's content or a link's target.
    pub(crate) fn tree(&self) -> Vec<String> {
        let Some(root) = self.view.root().unwrap() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for entry in self.view.walk(b"", root).skip(1) {
            let (path, node) = entry.unwrap();
            let stat = self.view.stat(&node).unwrap();
            let (kind, rest) = match stat.kind {
                layer::FileType::File => ("f", format!(" {:?}", self.content(&node))),
                layer::FileType::Dir => ("d", String::new()),
                layer::FileType::Symlink => (
                    "l",
                    format!(
                        " -> {}",
                        String::from_utf8_lossy(&self.view.read_link(&node).unwrap())
                    ),
                ),
                layer::FileType::Fifo => ("p", String::new()),
                layer::FileType::CharDevice => ("c", String::new()),
                layer::FileType::BlockDevice => ("b", String::new()),
                layer::FileType::Whiteout => ("w", String::new()),
            };
            let path = String::from_utf8_lossy(&path).into_owned();
            lines.push(format!(
                "{kind} {:o} {}:{} /{path}{rest}",
                stat.mode, stat.uid, stat.gid
            ));
        }
        lines
    }

    fn content(&self, node: &layer::ViewNode) -> String {
        let mut bytes = Vec::new();
        self.view
            .open(node)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of [`Outcome::tree`] with these paths' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tree()
            .iter()
            .map(|line| line.split(' ').nth(3).unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        let node = self.view.lookup(path.as_bytes(), Follow::Yes).unwrap();
        self.content(&node.unwrap_or_else(|| panic!("no {path} in {:#?}", self.tree())))
    }

    pub(crate) fn stat(&self, path: &str) -> Option<layer::Stat> {
        let node = self.view.lookup(path.as_bytes(), Follow::No).unwrap()?;
        Some(self.view.stat(&node).unwrap())
    }

    /// Mode and owner of a path: `755 0:0`.
    #[track_caller]
    pub(crate) fn owner(&self, path: &str) -> String {
        let stat = self
            .stat(path)
            .unwrap_or_else(|| panic!("no {path} in {:#?}", self.tree()));
        format!("{:o} {}:{}", stat.mode, stat.uid, stat.gid)
    }

    /// The steps that were found in the cache, and those that were not, without `[internal]` ones: `CACHED [1/2] …`.
    pub(crate) fn steps(&self) -> Vec<String> {
        let mut names = std::collections::BTreeMap::new();
        let mut lines = Vec::new();
        for event in &self.events {
            match event {
                Event::StepStarted { step, name } => {
                    names.insert(*step, name.clone());
                }
                Event::StepCached { step } => lines.push(format!("CACHED {}", names[step])),
                Event::StepDone { step, .. } => lines.push(format!("DONE {}", names[step])),
                _ => {}
            }
        }
        lines.retain(|line| !line.contains("[internal]") && !line.contains("exporting"));
        lines
    }

    /// True if each step that makes a layer was found in the cache.
    pub(crate) fn all_cached(&self) -> bool {
        self.steps().iter().all(|line| line.starts_with("CACHED"))
    }

    pub(crate) fn created_by(&self) -> Vec<String> {
        self.config
            .history
            .iter()
            .map(|entry| entry.created_by.clone().unwrap_or_default())
            .collect()
    }
}

/// Sets the times of a file, not following links.
pub(crate) fn set_mtime(path: &Path, secs: i64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs.unsigned_abs());
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}
