//! What a container's folder tells about its run.
//!
//! ```text
//! lock          held (flock) by the process that watches the container, for as long as that lives
//! runtime.json  the Spec it was started with
//! status.json   who watches, which process is the container's first, how it ended
//! log           what it wrote
//! ```
//!
//! The lock decides: while it is held the container runs, whatever happened to process numbers. A free lock without a noted
//! end means that the watcher was killed, and the container with it. `status.json` is only replaced whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sys::lock::{Lock, Mode};
use sys::process::Handle;
use sys::root_plan::Upper;

use crate::error::{Error, Result};
use crate::log::Writer;
use crate::message::Exit;
use crate::run::Running;
use crate::spec::{MountSource, Spec};
use crate::stub::Stubs;

const LOCK: &str = "lock";
const SPEC: &str = "runtime.json";
const STATUS: &str = "status.json";
const LOG: &str = "log";

/// How long a start waits for those who only look whether the lock is held.
const PATIENCE: Duration = Duration::from_secs(30);

/// `status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// The boot of the machine that the processes belong to.
    boot: String,
    watcher: Process,
    pub(crate) program: Process,
    /// When the program began, in seconds since 1970.
    pub(crate) since: i64,
    /// What was made in the place of changes only to mount on; gone when an end is noted.
    stubs: Stubs,
    pub(crate) ended: Option<End>,
}

/// One process for ever: its number, and when it started in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
}

/// An end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    /// In seconds since 1970.
    pub(crate) at: i64,
}

/// A folder as it is.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing was ever started here, or nothing that began.
    Nothing,
    /// The lock is held.
    Running(Box<Noted>),
    /// An end is noted.
    Ended(End),
    /// The lock is free and no end is noted.
    Lost,
}

impl Process {
    fn of(process: &Handle) -> Result<Self> {
        let pid = process.pid();
        let started = sys::process::start_time(pid);
        // If it has ended, its number may have passed on before the question was answered. No process starts at 0.
        let ended = process
            .wait_end(Some(Duration::ZERO))
            .map_err(Error::start("look at the program"))?;
        let started = if ended { 0 } else { started? };
        Ok(Self { pid, started })
    }

    fn ourselves() -> Result<Self> {
        let pid = std::process::id().cast_signed();
        let started = sys::process::start_time(pid)?;
        Ok(Self { pid, started })
    }
}

impl Noted {
    /// A handle on the program, if it is still there and no stranger with its number.
    pub(crate) fn program(&self) -> Result<Option<Handle>> {
        if self.boot != sys::process::boot_id()? {
            return Ok(None);
        }
        let Ok(handle) = Handle::open(self.program.pid) else {
            return Ok(None);
        };
        // Asked after the handle was taken: a number that has passed on tells another start.
        match sys::process::start_time(self.program.pid) {
            Ok(started) if started == self.program.started => Ok(Some(handle)),
            _ => Ok(None),
        }
    }
}

/// The folder of a container that this process watches; the lock goes with it.
#[derive(Debug)]
pub(crate) struct Record {
    dir: PathBuf,
    noted: Option<Noted>,
    /// Released last.
    _lock: Lock,
}

impl Record {
    /// Takes a folder over and forgets how its last run ended.
    ///
    /// # Errors
    ///
    /// A container runs here already, or the folder cannot be written.
    pub(crate) fn begin(dir: &Path, spec: &Spec) -> Result<Self> {
        // Kills what may be left of a container whose watchers were killed.
        found(dir)?;
        let lock = take(dir)?;
        clean_up_after_lost(dir);
        sys::fs::optional(sys::fs::remove_file(&dir.join(STATUS)))?;
        // If the last run was killed with who watched it, nobody has allowed the next one to use its changes.
        uppers(spec).try_for_each(Upper::settle)?;
        let text = serde_json::to_vec(spec).map_err(|error| Error::Setup(error.to_string()))?;
        sys::fs::replace(&dir.join(SPEC), &text)?;
        Ok(Self {
            dir: dir.to_owned(),
            noted: None,
            _lock: lock,
        })
    }

    /// The log, to be added to.
    pub(crate) fn log(&self) -> Result<Writer> {
        Ok(Writer::new(sys::fs::open_to_append(&self.dir.join(LOG))?))
    }

    /// Notes that the program has begun.
    pub(crate) fn started(&mut self, running: &Running) -> Result<()> {
        let noted = self.noted.insert(Noted {
            boot: sys::process::boot_id()?,
            watcher: Process::ourselves()?,
            program: Process::of(running.program())?,
            since: now(),
            stubs: running.stubs().clone(),
            ended: None,
        });
        write(&self.dir, noted)
    }

    /// Notes how it ended, and lets the folder go.
    pub(crate) fn ended(mut self, exit: Exit) -> Result<()> {
        let Some(noted) = &mut self.noted else {
            return Ok(());
        };
        noted.stubs = Stubs::default();
        noted.ended = Some(End { exit, at: now() });
        write(&self.dir, noted)
    }
}

/// The lock, if no container runs in the folder.
fn take(dir: &Path) -> Result<Lock> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(lock) = Lock::try_acquire(&dir.join(LOCK), Mode::Exclusive)? {
            return Ok(lock);
        }
        if matches!(found(dir)?, Found::Running(_)) || Instant::now() > deadline {
            return Err(Error::Invalid(
                "the container is running already".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// If the last container here was killed together with who watched it, takes away what was made only to mount on.
fn clean_up_after_lost(dir: &Path) {
    if let (Ok(Note::Read(noted)), Ok(spec)) = (read(dir), spec(dir))
        && noted.ended.is_none()
    {
        // Something is better than nothing, and no reason not to go on.
        crate::run::clean(&spec.root, &noted.stubs).ok();
    }
}

/// Brings the folder of a lost container into the state that an end that was seen would have left.
///
/// # Errors
///
/// The container runs, or the folder cannot be written.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    if !matches!(found(dir)?, Found::Lost) {
        return Ok(());
    }
    let _lock = take(dir)?;
    if let Note::Read(mut noted) = read(dir)?
        && noted.ended.is_none()
    {
        clean_up_after_lost(dir);
        noted.stubs = Stubs::default();
        write(dir, &noted)?;
    }
    Ok(())
}

/// When the program here began, ended or not.
pub(crate) fn since(dir: &Path) -> Result<Option<i64>> {
    Ok(match read(dir)? {
        Note::Read(noted) => Some(noted.since),
        Note::None | Note::Broken => None,
    })
}

/// Every place of changes that a container mounts.
fn uppers(spec: &Spec) -> impl Iterator<Item = &Upper> {
    let mounted = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Layers { plan, .. } => plan.upper.as_ref(),
        MountSource::Bind { .. }
        | MountSource::Within { .. }
        | MountSource::Tmpfs { .. }
        | MountSource::File { .. } => None,
    });
    spec.root.upper.iter().chain(mounted)
}

/// Seconds since 1970.
fn now() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

fn write(dir: &Path, noted: &Noted) -> Result<()> {
    let text = serde_json::to_vec(noted).map_err(|error| Error::Setup(error.to_string()))?;
    Ok(sys::fs::replace(&dir.join(STATUS), &text)?)
}

/// How a folder is. What a killed watcher left running is killed.
pub(crate) fn found(dir: &Path) -> Result<Found> {
    let first = read(dir)?;
    if let Note::Read(Noted {
        ended: Some(end), ..
    }) = first
    {
        return Ok(Found::Ended(end));
    }
    if matches!(first, Note::None) {
        return Ok(Found::Nothing);
    }
    if held(dir)? {
        return match first {
            Note::Read(noted) => Ok(Found::Running(Box::new(noted))),
            Note::None | Note::Broken => Err(Error::Invalid(format!(
                "`{}` cannot be understood",
                dir.join(STATUS).display()
            ))),
        };
    }
    // The end may have been noted, or all been forgotten, between reading and looking.
    match read(dir)? {
        Note::None => Ok(Found::Nothing),
        Note::Broken => Ok(Found::Lost),
        Note::Read(Noted {
            ended: Some(end), ..
        }) => Ok(Found::Ended(end)),
        Note::Read(noted) => {
            // A program that gave up its rights is no longer tied to its watcher's life.
            if let Some(program) = noted.program()? {
                program.signal(rustix::process::Signal::KILL.as_raw()).ok();
                program.wait_end(Some(PATIENCE)).ok();
            }
            Ok(Found::Lost)
        }
    }
}

/// Waits until nobody watches.
pub(crate) fn wait_for_end(dir: &Path) -> Result<()> {
    if let Some(file) = sys::fs::optional(sys::fs::open(&dir.join(LOCK)))? {
        drop(Lock::acquire_on(file, &dir.join(LOCK), Mode::Shared)?);
    }
    Ok(())
}

fn held(dir: &Path) -> Result<bool> {
    let path = dir.join(LOCK);
    Ok(match sys::fs::optional(sys::fs::open(&path))? {
        Some(file) => Lock::try_on(file, &path, Mode::Shared)?.is_none(),
        None => false,
    })
}

/// The spec that the container in a folder was started with.
pub(crate) fn spec(dir: &Path) -> Result<Spec> {
    let path = dir.join(SPEC);
    let text = sys::fs::read(&path)?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::Invalid(format!(
            "`{}` cannot be understood: {error}",
            path.display()
        ))
    })
}

enum Note {
    None,
    /// A machine that lost its power may leave that.
    Broken,
    Read(Noted),
}

fn read(dir: &Path) -> Result<Note> {
    let text = sys::fs::optional(sys::fs::read(&dir.join(STATUS)))?;
    Ok(match text {
        None => Note::None,
        Some(text) => serde_json::from_slice(&text).map_or(Note::Broken, Note::Read),
    })
}
