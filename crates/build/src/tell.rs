//! Telling about steps: numbers, beginnings, ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::events::Event;
use crate::request::Events;

/// Numbers the steps of a build and tells about them.
pub struct Teller<'a> {
    events: Events<'a>,
    next: AtomicUsize,
}

/// A step that is being told about.
#[must_use = "it is over when its end is told"]
pub struct Told<'a> {
    teller: &'a Teller<'a>,
    pub(crate) number: usize,
    pub(crate) began: Instant,
}

impl std::fmt::Debug for Teller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

impl<'a> Teller<'a> {
    /// Tells `events`, with steps numbered from 1.
    #[must_use]
    pub fn new(events: Events<'a>) -> Self {
        Self {
            events,
            next: AtomicUsize::new(1),
        }
    }

    /// Tells about a step of this name while `work` is done.
    ///
    /// # Errors
    ///
    /// What `work` answers.
    pub fn during<T, E: std::fmt::Display>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let told = self.begin(name);
        let result = work();
        match &result {
            Ok(_) => told.done(),
            Err(error) => told.failed(error),
        }
        result
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.events)(event);
    }

    /// Warns of something that does not stop the build.
    pub fn remark(&self, text: &str) {
        self.tell(Event::Remark(text.to_owned()));
    }

    /// Tells that a step begins.
    pub fn begin(&'a self, name: &str) -> Told<'a> {
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

    /// It was not needed: its result was there.
    pub fn cached(&self) {
        self.teller.tell(Event::StepCached { step: self.number });
    }

    /// It is done.
    pub fn done(&self) {
        self.teller.tell(Event::StepDone {
            step: self.number,
            took: self.took(),
        });
    }

    /// It failed.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.teller.tell(Event::StepFailed {
            step: self.number,
            took: self.took(),
            error: error.to_string(),
        });
    }

    /// So many bytes of it are here.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        self.teller.tell(Event::StepProgress {
            step: self.number,
            done,
            total,
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

impl std::fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told")
            .field("number", &self.number)
            .finish_non_exhaustive()
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
    pub(crate) fn new(teller: &'a Teller<'a>, name: &'a str) -> Self {
        Self {
            teller,
            name,
            told: None,
            output: Vec::new(),
        }
    }

    pub(crate) fn told(&mut self) -> &Told<'a> {
        let (teller, name) = (self.teller, self.name);
        self.told.get_or_insert_with(|| teller.begin(name))
    }
}
