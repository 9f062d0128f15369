//! Work as it goes on: three readers of one stream of events.
//!
//! All of it is talk, so it goes to stderr: a build's id can be taken from stdout whatever is shown.

mod json;
mod plain;
mod tty;

use std::sync::Mutex;

use crate::args::Progress;

/// What the readers are told. Steps are numbered from 1 in the order in which they begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// A step begins.
    Started { step: usize, name: &'a str },
    /// A step prints. `seconds` is the time since it began.
    Output {
        step: usize,
        seconds: f64,
        text: &'a [u8],
    },
    /// A step moved so many bytes so far, of as many as are known to come.
    Moved {
        step: usize,
        done: u64,
        total: Option<u64>,
    },
    /// A step was not needed: its result was there.
    Cached { step: usize },
    /// A step is done.
    Done { step: usize, seconds: f64 },
    /// A step failed.
    Failed { step: usize, message: &'a str },
    /// Something that a person should know, with file and line if it is about one, and the check that found it.
    Warning {
        place: Option<(&'a str, u32)>,
        check: Option<&'a str>,
        text: &'a str,
    },
}

/// A reader of events.
trait Reader: Send {
    fn read(&mut self, event: Event<'_>);
    /// The work ended, well or not.
    fn end(&mut self) {}
}

/// Shows events in the way that was asked for.
pub(crate) struct Display(Mutex<Box<dyn Reader>>);

impl Display {
    /// For `progress`, with or without colours. `what` is the title on a terminal: `Building`.
    pub(crate) fn new(progress: Progress, what: &'static str, colour: bool) -> Self {
        Self(Mutex::new(match progress {
            Progress::Tty => Box::new(tty::Tty::new(what, colour)),
            Progress::Json => Box::new(json::Json::default()),
            Progress::Quiet => Box::new(Quiet),
            Progress::Auto | Progress::Plain => Box::new(plain::Plain::new(std::io::stderr())),
        }))
    }

    /// Shows `event`.
    pub(crate) fn show(&self, event: Event<'_>) {
        // A reader that panicked in another thread has said so already.
        let mut reader = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        reader.read(event);
    }

    /// Says that no more events come; the last lines are drawn.
    pub(crate) fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .end();
    }
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Display")
    }
}

/// Shows warnings only.
struct Quiet;

impl Reader for Quiet {
    fn read(&mut self, event: Event<'_>) {
        if let Event::Warning { place, check, text } = event {
            crate::render::talk(&warning(place, check, text));
        }
    }
}

/// A warning as one line.
fn warning(place: Option<(&str, u32)>, check: Option<&str>, text: &str) -> String {
    let mut line = match check {
        Some(check) => format!("warning: {check}: {text}"),
        None => format!("warning: {text}"),
    };
    let place = place.map(|(file, line)| format!("{file}:{line}"));
    let page = check.map(|check| format!("docs/checks/{check}.md"));
    let behind: Vec<String> = place.into_iter().chain(page).collect();
    if !behind.is_empty() {
        line.push_str(&format!(" ({})", behind.join(", ")));
    }
    crate::render::printable(&line)
}

#[cfg(test)]
mod tests {
    use super::warning;

    #[test]
    fn a_finding_names_its_place_and_the_page_about_it() {
        assert_eq!(
            warning(Some(("Dockerfile", 3)), Some("StageNameCasing"), "no"),
            "warning: StageNameCasing: no (Dockerfile:3, docs/checks/StageNameCasing.md)"
        );
        assert_eq!(warning(None, None, "no"), "warning: no");
    }
}
