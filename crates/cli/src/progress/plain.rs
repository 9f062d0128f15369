//! Lines in the format of `docker buildx build --progress plain`: `#5 [build 2/4] RUN make`, `#5 0.213 text`, `#5 CACHED`,
//! `#5 DONE 1.2s`.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Event, Reader};
use crate::render;

/// Longest line of output that is kept waiting for its end, 64 KiB: what has no end of line is printed in pieces.
const MAX_LINE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Plain<W> {
    out: W,
    /// The step of the last line, to set a blank line between two steps.
    last: usize,
    /// Output without an end of line yet, by step.
    partial: BTreeMap<usize, Vec<u8>>,
}

impl<W: Write + Send> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            last: 0,
            partial: BTreeMap::new(),
        }
    }

    fn line(&mut self, step: usize, text: &str) {
        let blank = if self.last != 0 && self.last != step {
            "\n"
        } else {
            ""
        };
        self.last = step;
        // That stderr cannot be written to has no one to be told.
        writeln!(self.out, "{blank}#{step} {text}").ok();
    }

    fn output(&mut self, step: usize, seconds: f64, text: &[u8]) {
        let mut waiting = self.partial.remove(&step).unwrap_or_default();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            waiting.extend_from_slice(piece);
            if piece.ends_with(b"\n") || waiting.len() >= MAX_LINE {
                self.output_line(step, seconds, &waiting);
                waiting.clear();
            }
        }
        if !waiting.is_empty() {
            self.partial.insert(step, waiting);
        }
    }

    fn output_line(&mut self, step: usize, seconds: f64, line: &[u8]) {
        // A carriage return draws over what came before: the last state is what a person would see.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
        let text = render::printable(&String::from_utf8_lossy(shown));
        self.line(step, &format!("{seconds:.3} {text}"));
    }

    fn flush(&mut self, step: usize, seconds: f64) {
        if let Some(rest) = self.partial.remove(&step) {
            self.output_line(step, seconds, &rest);
        }
    }
}

impl<W: Write + Send> Reader for Plain<W> {
    fn read(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, name } => self.line(step, &render::printable(name)),
            Event::Output {
                step,
                seconds,
                text,
            } => self.output(step, seconds, text),
            // A line for each of these would bury the others.
            Event::Moved { .. } => {}
            Event::Cached { step } => self.line(step, "CACHED"),
            Event::Done { step, seconds } => {
                self.flush(step, seconds);
                self.line(step, &format!("DONE {}", render::time::seconds(seconds)));
            }
            Event::Failed { step, message } => {
                self.flush(step, 0.0);
                self.line(step, &format!("ERROR: {}", render::printable(message)));
            }
            Event::Warning { place, check, text } => {
                writeln!(self.out, "{}", super::warning(place, check, text)).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: &[Event<'_>]) -> String {
        let mut plain = Plain::new(Vec::new());
        for event in events {
            plain.read(*event);
        }
        String::from_utf8(plain.out).unwrap()
    }

    #[test]
    fn lines_are_those_of_buildx() {
        let text = lines(&[
            Event::Started {
                step: 1,
                name: "[build 1/2] FROM busybox",
            },
            Event::Cached { step: 1 },
            Event::Started {
                step: 2,
                name: "[build 2/2] RUN make",
            },
            Event::Output {
                step: 2,
                seconds: 0.2134,
                text: b"one\ntw",
            },
            Event::Output {
                step: 2,
                seconds: 0.3,
                text: b"o\n10%\r20%\r\nrest",
            },
            Event::Done {
                step: 2,
                seconds: 1.23,
            },
        ]);
        assert_eq!(
            text,
            "#1 [build 1/2] FROM busybox\n#1 CACHED\n\n#2 [build 2/2] RUN make\n#2 0.213 one\n#2 0.300 two\n#2 0.300 20%\n\
             #2 1.230 rest\n#2 DONE 1.2s\n"
        );
    }

    #[test]
    fn output_cannot_steer_the_terminal() {
        let text = lines(&[Event::Output {
            step: 1,
            seconds: 0.0,
            text: b"\x1b[2Jgone\n",
        }]);
        assert_eq!(text, "#1 0.000 \u{fffd}[2Jgone\n");
    }
}
