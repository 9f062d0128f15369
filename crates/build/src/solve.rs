//! Does the steps of a graph, or finds what earlier builds made of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use layer::Time;
use oci::DiffId;
use serde_json::json;
use store::{Lease, Record, Store};

use crate::context::Context;
use crate::copy::{self, Contents, CopyError, ImageSource, Listed, Source, Unlisted};
use crate::error::{Error, StepError, StepFailure};
use crate::events::Event;
use crate::ignore::ContextFilter;
use crate::keys::{Key, hex};
use crate::plan::graph::{CopyStep, Graph, Origin, Step, StepId, Work, WorkdirStep};
use crate::request::{Events, Request};
use crate::rootfs::Rootfs;
use crate::time::rfc3339;

/// Files whose content is not known are hashed before the layer is written if they are this few bytes: reading them twice
/// costs less than writing a layer that turns out to be there.
const HASH_FIRST: u64 = 16 << 20;

/// What a step made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// All layers up to and with its own, bottom first.
    pub(crate) layers: Vec<DiffId>,
    /// When its own layer was made; `None` for an image that was there.
    pub(crate) created: Option<String>,
}

/// What a step answers: its layer, when it was made, and whether it was found.
pub(crate) struct Outcome {
    pub(crate) layer: DiffId,
    pub(crate) created: String,
    pub(crate) cached: bool,
}

/// Numbers steps and tells about them.
pub(crate) struct Teller<'a> {
    events: Events<'a>,
    next: AtomicUsize,
}

/// A step that is being told about.
pub(crate) struct Told<'a> {
    teller: &'a Teller<'a>,
    pub(crate) number: usize,
    pub(crate) began: Instant,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(events: Events<'a>) -> Self {
        Self {
            events,
            next: AtomicUsize::new(1),
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.events)(event);
    }

    pub(crate) fn begin(&'a self, name: &str) -> Told<'a> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tell(Event::StepStarted {
            step: number,
            name: name.to_owned(),
        });
        Told {
            teller: self,
            number,
            began: Instant::now(),
        }
    }
}

impl Told<'_> {
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn cached(&self) {
        self.teller.tell(Event::StepCached { step: self.number });
    }

    pub(crate) fn done(&self) {
        self.teller.tell(Event::StepDone {
            step: self.number,
            took: self.took(),
        });
    }

    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        self.teller.tell(Event::StepFailed {
            step: self.number,
            took: self.took(),
            error: error.to_string(),
        });
    }

    pub(crate) fn status(&self, text: String) {
        self.teller.tell(Event::StepStatus {
            step: self.number,
            text,
        });
    }

    pub(crate) fn log(&self, stream: crate::events::Stream, bytes: &[u8]) {
        self.teller.tell(Event::StepLog {
            step: self.number,
            stream,
            at: self.took(),
            bytes: bytes.to_vec(),
        });
    }
}

/// Does the steps of one build.
pub(crate) struct Solver<'a> {
    pub(crate) request: &'a Request,
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a Lease,
    pub(crate) graph: &'a Graph,
    pub(crate) teller: &'a Teller<'a>,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    made: Vec<Made>,
    sources: BTreeMap<Origin, Source>,
    /// Records that were used, to be kept longer.
    used: Vec<String>,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        request: &'a Request,
        lease: &'a Lease,
        graph: &'a Graph,
        teller: &'a Teller<'a>,
        epoch: Option<i64>,
    ) -> Self {
        let store = lease.store();
        Self {
            request,
            store,
            lease,
            graph,
            teller,
            epoch,
            made: Vec::new(),
            sources: BTreeMap::new(),
            used: Vec::new(),
        }
    }

    /// Does all steps, in order.
    pub(crate) fn solve(mut self) -> Result<Vec<Made>, Error> {
        let result = self.steps();
        // What was learned about the context is worth keeping also when a later step failed.
        for source in self.sources.values_mut() {
            if let Source::Context(context) = source {
                // Without the index the next build is slower, nothing else.
                context.save().ok();
            }
        }
        self.store.touch_records(&self.used).ok();
        result?;
        Ok(self.made)
    }

    fn steps(&mut self) -> Result<(), Error> {
        for step in &self.graph.steps {
            let made = match &step.work {
                Work::Image(image) => {
                    let told = self.teller.begin(&step.name);
                    self.lease.claim_layers(&image.layers)?;
                    told.cached();
                    Made {
                        layers: image.layers.clone(),
                        created: None,
                    }
                }
                Work::Copy(copy) => self.told(step, |solver, told, base| {
                    solver.copy(step, copy, base, told)
                })?,
                Work::Workdir(dir) => {
                    self.told(step, |solver, _, base| solver.workdir(step, dir, base))?
                }
                Work::Run(run) => {
                    self.told(step, |solver, told, base| solver.run(step, run, base, told))?
                }
            };
            self.made.push(made);
        }
        Ok(())
    }

    pub(crate) fn layers(&self, step: Option<StepId>) -> &[DiffId] {
        step.map_or(&[], |step| &self.made[step].layers)
    }

    /// Does a step that adds a layer, and tells about it.
    fn told(
        &mut self,
        step: &Step,
        work: impl FnOnce(&mut Self, &mut Telling<'_>, &[DiffId]) -> Result<Outcome, StepError>,
    ) -> Result<Made, Error> {
        let base = self.layers(step.base).to_vec();
        let mut telling = Telling {
            teller: self.teller,
            name: &step.name,
            told: None,
            output: Vec::new(),
        };
        match work(self, &mut telling, &base) {
            Ok(outcome) => {
                let told = telling.told();
                if outcome.cached {
                    told.cached()
                } else {
                    told.done()
                }
                let mut layers = base;
                layers.push(outcome.layer);
                Ok(Made {
                    layers,
                    created: Some(outcome.created),
                })
            }
            Err(source) => {
                telling.told().failed(&source);
                let output = std::mem::take(&mut telling.output);
                let failure = StepFailure {
                    name: step.name.clone(),
                    span: step.span,
                    source,
                    output,
                };
                Err(Error::Step(Box::new(failure)))
            }
        }
    }

    fn time(&self) -> Option<Time> {
        self.epoch.map(Time::from_secs)
    }

    /// When a layer that is made now was made, as the image's history shows it.
    pub(crate) fn created(&self) -> String {
        let (secs, nanos) = self.epoch.map_or(self.request.now, |epoch| (epoch, 0));
        rfc3339(secs, nanos)
    }

    /// What an earlier build made under this key.
    pub(crate) fn recall(&mut self, step: &Step, key: &str) -> Result<Option<Outcome>, StepError> {
        if step.no_cache {
            return Ok(None);
        }
        let Some(record) = self.lease.find_record(key)? else {
            return Ok(None);
        };
        let text = |name: &str| record.output.get(name).and_then(serde_json::Value::as_str);
        let layer = text("layer").and_then(|layer| layer.parse::<DiffId>().ok());
        let Some(layer) = layer.filter(|layer| record.layers.contains(layer)) else {
            return Ok(None);
        };
        let created = match self.epoch {
            Some(_) => self.created(),
            None => text("created").map_or_else(|| self.created(), str::to_owned),
        };
        self.used.push(key.to_owned());
        Ok(Some(Outcome {
            layer,
            created,
            cached: true,
        }))
    }

    /// Keeps what a step made.
    pub(crate) fn remember(&self, key: Key, layer: DiffId, created: &str) -> Result<(), StepError> {
        let record = Record {
            key: key.key(),
            definition: key.definition(),
            parts: key.into_parts(),
            output: json!({ "layer": layer, "created": created }),
            layers: vec![layer],
            created: 0,
            last_used: 0,
        };
        Ok(self.lease.put_record(&record)?)
    }

    pub(crate) fn rootfs(&self, layers: &[DiffId]) -> Result<Rootfs, StepError> {
        Ok(Rootfs::new(self.lease.view(layers)?))
    }

    fn workdir(
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
        let outcome = self.write_new(&listed, None, &[])?;
        self.remember(quick, outcome.layer, &outcome.created)?;
        Ok(outcome)
    }

    /// Writes a layer of entries whose content needs no hashing.
    fn write_new(
        &self,
        listed: &Listed,
        source: Option<&Source>,
        inline: &[(String, Vec<u8>)],
    ) -> Result<Outcome, StepError> {
        let contents = Contents {
            source,
            inline,
            kept: &listed.kept,
        };
        let mut ingest = self.lease.ingest_layer()?;
        copy::write(ingest.writer(), &listed.entries, contents, self.lease)
            .map_err(CopyError::from)?;
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
        let outcome = self.copy_by_content(step, copy, &root, telling)?;
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
        step: &Step,
        copy: &CopyStep,
        root: &Rootfs,
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        let (listed, mut source) = self.list(copy, root)?;
        let result = self.copy_listed(step, copy, &listed, source.as_mut(), telling);
        // It comes back whatever happened: what was learned of it is kept.
        if let Some(source) = source {
            self.sources.insert(copy.origin.clone(), source);
        }
        result
    }

    /// Lists the entries, walking the whole context if a part of it turned out not to be enough.
    fn list(
        &mut self,
        copy: &CopyStep,
        root: &Rootfs,
    ) -> Result<(Listed, Option<Source>), StepError> {
        let origin = match &copy.origin {
            Origin::Context => "the build context".to_owned(),
            Origin::Directory(path) => format!("`{}`", path.display()),
            Origin::Step(_) => "the image it is copied from".to_owned(),
        };
        let mut source = self.source(copy, false)?;
        let mut listed = copy::list(copy, source.as_ref(), root, self.time(), &origin);
        if matches!(listed, Err(Unlisted::Unread)) {
            if let Some(Source::Context(mut context)) = source {
                context.save().ok();
            }
            source = self.source(copy, true)?;
            listed = copy::list(copy, source.as_ref(), root, self.time(), &origin);
        }
        match listed {
            Ok(listed) => Ok((listed, source)),
            Err(unlisted) => {
                if let Some(source) = source {
                    self.sources.insert(copy.origin.clone(), source);
                }
                match unlisted {
                    Unlisted::Failed(error) => Err((*error).into()),
                    // A whole walk leaves nothing unread.
                    Unlisted::Unread => Err(CopyError::NoContext(copy.sources.join(" ")).into()),
                }
            }
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
                let view = self.lease.view(self.layers(*step))?;
                let image = ImageSource::read(view).map_err(CopyError::from)?;
                return Ok(Some(Source::Image(Box::new(image))));
            }
            Origin::Directory(path) => path.as_path(),
            Origin::Context => match &self.request.context {
                Some(path) => path.as_path(),
                None => return Ok(None),
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
        let ignore = self
            .request
            .ignore
            .as_ref()
            .filter(|_| *origin == Origin::Context);
        let wanted = if whole { None } else { self.wanted(origin) };
        let filter = ContextFilter::new(ignore, wanted).map_err(|errors| {
            let name = ignore.map_or_else(String::new, |ignore| ignore.name.clone());
            CopyError::Ignore { name, errors }
        })?;
        let real = sys::fs::canonicalize(path).map_err(CopyError::from)?;
        let id = format!("{}\0{}", real.display(), filter.identity());
        let index = self.store.context_file(&id);
        let context = Context::open(path, Some(index), &&filter, now).map_err(|error| {
            told.failed(&error);
            CopyError::from(error)
        })?;
        told.done();
        Ok(context)
    }

    /// What of a directory the steps name; `None` for all of it.
    fn wanted(&self, origin: &Origin) -> Option<Vec<Vec<Vec<u8>>>> {
        let mut wanted = Vec::new();
        for step in &self.graph.steps {
            if let Work::Copy(copy) = &step.work
                && copy.origin == *origin
            {
                wanted.extend(
                    copy.sources
                        .iter()
                        .map(|source| copy::literal_prefix(source)),
                );
            }
        }
        (!wanted.iter().any(Vec::is_empty)).then_some(wanted)
    }

    fn copy_listed(
        &mut self,
        step: &Step,
        copy: &CopyStep,
        listed: &Listed,
        mut source: Option<&mut Source>,
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        if let Some(source) = source.as_deref_mut() {
            let (_, bytes) = copy::unknown(&listed.entries, source);
            if bytes <= HASH_FIRST {
                let mut lessons =
                    copy::read_unknown(&listed.entries, source).map_err(CopyError::from)?;
                lessons.teach(source);
            }
        }
        let known = self.content_key(copy, listed, source.as_deref());
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
        let written = copy::write(ingest.writer(), &listed.entries, contents, self.lease);
        let mut lessons = written.map_err(CopyError::from)?;
        if let Some(source) = source.as_deref_mut() {
            lessons.teach(source);
        }
        let key = match known {
            Some(key) => key,
            None => {
                // Everything was read by now, so there is a key.
                let key = self.content_key(copy, listed, source.as_deref());
                let Some(key) = key else {
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
        copy: &CopyStep,
        listed: &Listed,
        source: Option<&Source>,
    ) -> Option<Key> {
        let contents = Contents {
            source,
            inline: &copy.inline,
            kept: &listed.kept,
        };
        let content = copy::key(&listed.entries, contents)?;
        let mut key = Key::new("files");
        // The layer is the same whatever the instruction was; the definition is only there to find similar records.
        key.define("destination", &copy.destination);
        if listed.made
            && let Some(epoch) = self.epoch
        {
            key.part("time", epoch.to_string());
        }
        for (path, hash) in content.parts {
            key.part(format!("file /{path}"), hex(&hash));
        }
        Some(key)
    }
}

/// A step that is told about once it is known to be more than a look-up, or at its end.
pub(crate) struct Telling<'a> {
    teller: &'a Teller<'a>,
    name: &'a str,
    told: Option<Told<'a>>,
    /// The last that its process wrote.
    pub(crate) output: Vec<u8>,
}

impl<'a> Telling<'a> {
    pub(crate) fn told(&mut self) -> &Told<'a> {
        let (teller, name) = (self.teller, self.name);
        self.told.get_or_insert_with(|| teller.begin(name))
    }
}

/// The file systems' clock: not what a request calls now, which tests and people may set.
fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time {
        secs: now.tv_sec,
        nanos: u32::try_from(now.tv_nsec).unwrap_or_default(),
    }
}
