//! What a build tells while it works: plain data, drawn elsewhere.

use std::time::Duration;

use dockerfile::Diagnostic;

/// Which stream of a process a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One thing that happened.
///
/// Steps have numbers from 1 in the order in which they begin, as the `#5` of the plain output. Every
/// [`Event::StepStarted`] is followed by one [`Event::StepCached`], [`Event::StepDone`] or [`Event::StepFailed`] of that number.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A step began.
    StepStarted {
        /// Its number.
        step: usize,
        /// What it does: `[build 2/4] RUN make`.
        name: String,
    },
    /// A step was found in the cache.
    StepCached {
        /// Its number.
        step: usize,
    },
    /// A process of a step wrote something.
    StepLog {
        /// Its number.
        step: usize,
        /// Where to.
        stream: Stream,
        /// How long after the step began.
        at: Duration,
        /// The bytes as they came; they need not be whole lines, nor UTF-8.
        bytes: Vec<u8>,
    },
    /// A step fetches something, and so much of it is here.
    StepProgress {
        /// Its number.
        step: usize,
        /// Bytes so far.
        done: u64,
        /// All there are, if that is known.
        total: Option<u64>,
    },
    /// A step is done.
    StepDone {
        /// Its number.
        step: usize,
        /// How long it took.
        took: Duration,
    },
    /// A step failed; the error that the build returns says why.
    StepFailed {
        /// Its number.
        step: usize,
        /// How long it took.
        took: Duration,
        /// In one line.
        error: String,
    },
    /// Something that a person should know, not about the Dockerfile.
    Remark(String),
    /// Something about the Dockerfile that does not stop the build.
    Warning {
        /// What, and where.
        finding: Diagnostic,
        /// The file that the place is in, as people call it.
        file: String,
        /// Where that was included, as file and line, from the inside out.
        way: Vec<(String, u32)>,
    },
}
