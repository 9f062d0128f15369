//! The steps that copy files and make directories.

use std::path::Path;

use layer::Time;
use oci::DiffId;

use crate::context::Context;
use crate::copy::{self, Contents, CopyError, ImageSource, Listed, Source, Unlisted};
use crate::error::StepError;
use crate::ignore::ContextFilter;
use crate::keys::{Key, hex};
use crate::plan::graph::{CopyStep, Origin, Step, Work, WorkdirStep};
use crate::request::{ContextFiles, Text};
use crate::rootfs::Rootfs;
use crate::solve::{Outcome, Solver};
use crate::tell::Telling;

/// Files whose content is not known are hashed before the layer is written if they are this few bytes: reading them twice
/// costs less than writing a layer that turns out to be there.
const HASH_FIRST: u64 = 16 << 20;

/// The ignore file of a context.
const IGNORE: &str = ".dockerignore";

/// The largest ignore file, 16 MiB: the text is held in memory whole.
const MAX_IGNORE: u64 = 16 << 20;

/// A COPY and the root file system that it works on.
#[derive(Clone, Copy)]
struct Copying<'a> {
    step: &'a Step,
    copy: &'a CopyStep,
    root: &'a Rootfs,
    base: &'a [DiffId],
}

impl Solver<'_> {
    pub(crate) fn workdir(
        &mut self,
        step: &Step,
        dir: &WorkdirStep,
        base: &[DiffId],
    ) -> Result<Outcome, StepError> {
        let mut quick = Key::new("workdir");
        quick.define("path", &dir.path);
        quick.define("user", &dir.user);
        quick.part(
            "time",
            self.epoch
                .map_or_else(String::new, |epoch| epoch.to_string()),
        );
        quick.layers("base", base);
        if let Some(found) = self.recall(step, &quick.key())? {
            return Ok(found);
        }
        let root = self.rootfs(base)?;
        let listed = copy::list_workdir(&dir.path, &dir.user, &root, self.time())?;
        let outcome = self.write_new(&listed, &root)?;
        self.remember(quick, outcome.layer, &outcome.created)?;
        Ok(outcome)
    }

    /// Writes a layer of entries that need no source.
    fn write_new(&self, listed: &Listed, root: &Rootfs) -> Result<Outcome, StepError> {
        let contents = Contents {
            source: None,
            inline: &[],
            kept: &listed.kept,
        };
        let mut ingest = self.lease.ingest_layer()?;
        listed.write(ingest.writer(), contents, root, self.lease)?;
        let layer = ingest.publish()?;
        Ok(Outcome {
            layer: *layer.diff_id(),
            created: self.created(),
            cached: false,
        })
    }

    pub(crate) fn copy(
        &mut self,
        step: &Step,
        copy: &CopyStep,
        base: &[DiffId],
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        let mut quick = self.define_copy(copy);
        quick.layers("base", base);
        let is_quick = match &copy.origin {
            Origin::Step(origin) => {
                quick.layers("from", self.layers(*origin));
                true
            }
            Origin::Context | Origin::Directory(_) => copy.sources.is_empty(),
        };
        if is_quick && let Some(found) = self.recall(step, &quick.key())? {
            return Ok(found);
        }
        let root = self.rootfs(base)?;
        let outcome = self.copy_by_content(
            Copying {
                step,
                copy,
                root: &root,
                base,
            },
            telling,
        )?;
        if is_quick {
            self.remember(quick, outcome.layer, &outcome.created)?;
        }
        Ok(outcome)
    }

    /// The parts of a COPY's key that are its definition.
    fn define_copy(&self, copy: &CopyStep) -> Key {
        let mut key = Key::new("copy");
        let origin = match &copy.origin {
            Origin::Context => "context".to_owned(),
            Origin::Directory(path) => format!("directory {}", path.display()),
            Origin::Step(_) => "image".to_owned(),
        };
        key.define("origin", origin);
        for source in &copy.sources {
            key.define("source", source);
        }
        for (name, content) in &copy.inline {
            key.define(
                format!("heredoc {name}"),
                hex(blake3::hash(content).as_bytes()),
            );
        }
        for exclude in &copy.exclude {
            key.define("exclude", exclude);
        }
        key.define("destination", &copy.destination);
        let flags = [
            ("into directory", copy.into_directory),
            ("if exists", copy.optional),
            ("link", copy.link),
            ("parents", copy.parents),
            ("unpack", copy.unpack),
        ];
        for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
            key.define(name, "true");
        }
        key.define("chown", copy.owner.clone().unwrap_or_default());
        key.define("chmod", copy::mode_text(copy.mode.as_ref()));
        if let Some(epoch) = self.epoch {
            key.part("time", epoch.to_string());
        }
        key
    }

    fn copy_by_content(
        &mut self,
        copying: Copying<'_>,
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        let (listed, mut source) = self.list(copying.copy, copying.root)?;
        let result = self.copy_listed(copying, &listed, source.as_mut(), telling);
        // It comes back whatever happened: what was learned of it is kept.
        if let Some(source) = source {
            self.sources.insert(copying.copy.origin.clone(), source);
        }
        result
    }

    /// Lists the entries, walking the whole context if a part of it turned out not to be enough.
    fn list(
        &mut self,
        copy: &CopyStep,
        root: &Rootfs,
    ) -> Result<(Listed, Option<Source>), StepError> {
        let mut source = self.source(copy, false)?;
        let mut listed = copy::list(copy, source.as_ref(), root, self.time());
        if matches!(listed, Err(Unlisted::Unread)) {
            if let Some(Source::Context(mut context)) = source {
                self.save(&mut context);
            }
            source = self.source(copy, true)?;
            listed = copy::list(copy, source.as_ref(), root, self.time());
        }
        match listed {
            Ok(listed) => Ok((listed, source)),
            Err(unlisted) => {
                if let Some(source) = source {
                    self.sources.insert(copy.origin.clone(), source);
                }
                match unlisted {
                    Unlisted::Failed(error) => Err(self.explain(copy, *error).into()),
                    // A whole walk leaves nothing unread.
                    Unlisted::Unread => Err(CopyError::NoContext(copy.sources.join(" ")).into()),
                }
            }
        }
    }

    /// Says of what is not found that it is only ignored, if it is.
    fn explain(&self, copy: &CopyStep, error: CopyError) -> CopyError {
        let ignore = self
            .request
            .ignore
            .as_ref()
            .filter(|_| copy.origin == Origin::Context);
        match (error, ignore) {
            (
                CopyError::NotFound {
                    path,
                    origin,
                    link,
                    nearest,
                    ..
                },
                Some(ignore),
            ) => {
                let filter = ContextFilter::new(Some(ignore), None);
                let ignored = filter.is_ok_and(|filter| filter.ignores(path.trim_matches('/')));
                CopyError::NotFound {
                    path,
                    origin,
                    ignored,
                    link,
                    nearest,
                }
            }
            (error, _) => error,
        }
    }

    /// The tree that a COPY takes from; taken out of the solver, to be put back.
    fn source(&mut self, copy: &CopyStep, whole: bool) -> Result<Option<Source>, StepError> {
        if copy.sources.is_empty() {
            return Ok(None);
        }
        if let Some(source) = self.sources.remove(&copy.origin) {
            return Ok(Some(source));
        }
        let path = match &copy.origin {
            Origin::Step(step) => {
                // The tree of one image at a time is enough memory.
                self.sources
                    .retain(|_, source| matches!(source, Source::Context(_)));
                let view = self.lease.view(self.layers(*step))?;
                let image = ImageSource::read(view).map_err(CopyError::from)?;
                return Ok(Some(Source::Image(Box::new(image))));
            }
            Origin::Directory(path) => path.as_path(),
            Origin::Context => match &self.request.context {
                Some(ContextFiles::Directory(path)) => path.as_path(),
                // Layers are a step of their own, and nothing takes from no context.
                Some(ContextFiles::Layers(_)) | None => return Ok(None),
            },
        };
        let context = self.walk(path, &copy.origin, whole)?;
        Ok(Some(Source::Context(Box::new(context))))
    }

    /// Walks a directory, as far as the build needs it.
    fn walk(&self, path: &Path, origin: &Origin, whole: bool) -> Result<Context, StepError> {
        let name = match origin {
            Origin::Context => "[internal] load build context".to_owned(),
            _ => format!("[internal] load context {}", path.display()),
        };
        let told = self.teller.begin(&name);
        let own = match origin {
            Origin::Context => None,
            Origin::Directory(_) | Origin::Step(_) => read_ignore(path)?,
        };
        let ignore = match origin {
            Origin::Context => self.request.ignore.as_ref(),
            Origin::Directory(_) | Origin::Step(_) => own.as_ref(),
        };
        let wanted = if whole { None } else { self.wanted(origin) };
        let filter = ContextFilter::new(ignore, wanted).map_err(|errors| {
            let name = ignore.map_or_else(String::new, |ignore| ignore.name.clone());
            CopyError::Ignore { name, errors }
        })?;
        let real = sys::fs::canonicalize(path).map_err(CopyError::from)?;
        let id = format!("{}\0{}", real.display(), filter.identity());
        let index = self.store.context_file(&id);
        let context = Context::open(path, (id, &index), &&filter, now).map_err(|error| {
            told.failed(&error);
            CopyError::from(error)
        })?;
        told.done();
        Ok(context)
    }

    /// Keeps what was learned of a context. Without that the next build is slower, nothing else.
    pub(crate) fn save(&self, context: &mut Context) {
        if let Some(index) = context.index() {
            self.lease.put_context(&context.id, &index).ok();
        }
    }

    /// What of a directory the steps name; `None` for all of it.
    fn wanted(&self, origin: &Origin) -> Option<Vec<Vec<copy::Want>>> {
        let mut wanted = Vec::new();
        for step in &self.graph.steps {
            match &step.work {
                Work::Copy(copy) if copy.origin == *origin => {
                    let sources = copy.sources.iter();
                    wanted.extend(sources.map(|source| copy::wanted(source, copy.parents)));
                }
                Work::Run(run) => {
                    let mounts = run
                        .mounts
                        .iter()
                        .filter(|mount| mount.origin.as_ref() == Some(origin));
                    wanted.extend(mounts.map(|mount| copy::wanted(&mount.mount.source, false)));
                }
                Work::Copy(_)
                | Work::Image(_)
                | Work::Workdir(_)
                | Work::Layers(_)
                | Work::Remote(_)
                | Work::Merge(_) => {}
            }
        }
        (!wanted.iter().any(Vec::is_empty)).then_some(wanted)
    }

    fn copy_listed(
        &mut self,
        copying: Copying<'_>,
        listed: &Listed,
        mut source: Option<&mut Source>,
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        let Copying {
            step, copy, root, ..
        } = copying;
        if let Some(source) = source.as_deref_mut()
            && (copy::unknown(listed.nodes(), source) <= HASH_FIRST
                || !listed.archives.nodes.is_empty())
        {
            copy::read_unknown(listed.nodes(), source)
                .map_err(CopyError::from)?
                .teach(source);
        }
        let known = self.content_key(copying, listed, source.as_deref());
        if let Some(key) = &known
            && let Some(found) = self.recall(step, &key.key())?
        {
            return Ok(found);
        }
        telling.told();
        let mut ingest = self.lease.ingest_layer()?;
        let contents = Contents {
            source: source.as_deref(),
            inline: &copy.inline,
            kept: &listed.kept,
        };
        let mut lessons = listed.write(ingest.writer(), contents, root, self.lease)?;
        if let Some(source) = source.as_deref_mut() {
            lessons.teach(source);
        }
        let key = match known {
            Some(key) => key,
            None => {
                // Everything was read by now, so there is a key.
                let Some(key) = self.content_key(copying, listed, source.as_deref()) else {
                    return Err(CopyError::NoContext(copy.sources.join(" ")).into());
                };
                if let Some(found) = self.recall(step, &key.key())? {
                    return Ok(found);
                }
                key
            }
        };
        let layer = *ingest.publish()?.diff_id();
        if let Some(source) = source {
            lessons.teach_places(source, &layer);
        }
        let created = self.created();
        self.remember(key, layer, &created)?;
        Ok(Outcome {
            layer,
            created,
            cached: false,
        })
    }

    /// The key over the content of a copy; `None` if not all of it is known.
    fn content_key(
        &self,
        copying: Copying<'_>,
        listed: &Listed,
        source: Option<&Source>,
    ) -> Option<Key> {
        let copy = copying.copy;
        let contents = Contents {
            source,
            inline: &copy.inline,
            kept: &listed.kept,
        };
        let content = copy::key(&listed.entries, contents)?;
        let mut key = Key::new("files");
        // The layer is the same whatever the instruction was; the definition is only there to find similar records.
        key.define("destination", &copy.destination);
        if let Some(epoch) = self.epoch.filter(|_| listed.made) {
            key.part("time", epoch.to_string());
        }
        for (path, hash) in content.parts {
            key.part(format!("file /{path}"), hex(&hash));
        }
        if let Some(source) = source.filter(|_| !listed.archives.nodes.is_empty()) {
            // Where members go depends on links anywhere below.
            key.layers("base", copying.base);
            key.part("chown", copy.owner.clone().unwrap_or_default());
            for node in &listed.archives.nodes {
                let name = String::from_utf8_lossy(&source.tree().path(*node)).into_owned();
                key.part(format!("archive {name}"), hex(&source.digest(*node)?));
            }
        }
        Some(key)
    }
}

/// The ignore file of a named context. A link in its place is followed inside the context only.
fn read_ignore(context: &Path) -> Result<Option<Text>, CopyError> {
    use std::io::Read as _;
    use sys::fs::Context as _;
    let path = context.join(IGNORE);
    let root = sys::root::Root::open(context)?;
    let Some(file) = sys::fs::optional(root.open_file(Path::new(IGNORE)))? else {
        return Ok(None);
    };
    let mut text = String::new();
    file.take(MAX_IGNORE)
        .read_to_string(&mut text)
        .context("read", &path)?;
    Ok(Some(Text {
        name: path.display().to_string(),
        text,
    }))
}

/// The file systems' clock: not what a request calls now, which tests and people may set.
fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time {
        secs: now.tv_sec,
        nanos: u32::try_from(now.tv_nsec).unwrap_or_default(),
    }
}
