//! What a container printed: lines of JSON that its supervisor writes, as Docker's `json-file` driver does.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::ContainerError;
use crate::Error;
use crate::moment::moment;

/// Which output of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What `logs` is asked for.
#[derive(Debug, Clone)]
pub struct LogsRequest {
    /// Name or id.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail: Option<usize>,
    /// Only lines from this time on; how long ago, or when.
    pub since: Option<String>,
    /// Only lines up to this time.
    pub until: Option<String>,
}

/// From when to when lines are shown.
#[derive(Debug, Default)]
pub(super) struct Times {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Times {
    pub(super) fn of(request: &LogsRequest) -> Result<Self, Error> {
        let now = Timestamp::now();
        let read = |text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| moment(text, now)).transpose()
        };
        Ok(Self {
            since: read(&request.since)?,
            until: read(&request.until)?,
        })
    }

    /// Nothing more can come.
    fn are_over(&self) -> bool {
        self.until.is_some_and(|until| Timestamp::now() > until)
    }

    fn have(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        // The watcher writes no other times.
        time.parse().is_ok_and(|time: Timestamp| {
            self.since.is_none_or(|since| time >= since)
                && self.until.is_none_or(|until| time <= until)
        })
    }
}

/// Takes pieces of output.
pub type Sink<'a> = dyn FnMut(Stream, &[u8]) -> io::Result<()> + 'a;

/// Longest line of a log file, 1 MiB: the supervisor cuts the process's lines far below.
const MAX_LINE: usize = 1 << 20;
/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize)]
struct Line {
    log: String,
    stream: Stream,
    time: String,
}

/// Hands the lines of `file` to `sink`; with `follow`, until `ended` says so and the file has no more.
pub(super) fn show(
    file: File,
    request: &LogsRequest,
    times: &Times,
    ended: &dyn Fn() -> Result<bool, ContainerError>,
    sink: &mut Sink<'_>,
) -> Result<(), ContainerError> {
    let mut reader = BufReader::new(file);
    if let Some(lines) = request.tail {
        let start = tail(&mut reader, lines).map_err(ContainerError::Log)?;
        reader
            .seek(SeekFrom::Start(start))
            .map_err(ContainerError::Log)?;
    }
    let mut line = Vec::new();
    loop {
        // Asked before reading: what was written before the end is read after it.
        let over = !request.follow || times.are_over() || ended()?;
        while next_line(&mut reader, &mut line).map_err(ContainerError::Log)? {
            emit(&line, request.timestamps, times, sink)?;
            line.clear();
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Adds to `line` up to an end of line; false if the file ends before.
fn next_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let (length, whole) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        line.extend_from_slice(&buffer[..length]);
        reader.consume(length);
        if whole {
            return Ok(true);
        }
        if line.len() > MAX_LINE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the log has a line of over 1 MiB",
            ));
        }
    }
}

fn emit(
    line: &[u8],
    timestamps: bool,
    times: &Times,
    sink: &mut Sink<'_>,
) -> Result<(), ContainerError> {
    let entry: Line =
        serde_json::from_slice(line).map_err(|error| ContainerError::Log(error.into()))?;
    if !times.have(&entry.time) {
        return Ok(());
    }
    let text = if timestamps {
        format!("{} {}", entry.time, entry.log)
    } else {
        entry.log
    };
    sink(entry.stream, text.as_bytes()).map_err(ContainerError::Output)
}

/// Where the last `lines` lines begin.
fn tail(reader: &mut BufReader<File>, lines: usize) -> io::Result<u64> {
    let mut starts = VecDeque::new();
    let (mut at, mut line) = (0, Vec::new());
    while next_line(reader, &mut line)? {
        starts.push_back(at);
        if starts.len() > lines {
            starts.pop_front();
        }
        at += line.len() as u64;
        line.clear();
    }
    Ok(starts.front().copied().unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn shown(request: &LogsRequest, text: &str) -> Vec<(Stream, String)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut got = Vec::new();
        show(
            file,
            request,
            &Times::of(request).unwrap(),
            &|| Ok(true),
            &mut |stream, bytes| {
                got.push((stream, String::from_utf8(bytes.to_vec()).unwrap()));
                Ok(())
            },
        )
        .unwrap();
        got
    }

    fn request(tail: Option<usize>, timestamps: bool) -> LogsRequest {
        LogsRequest {
            container: String::new(),
            follow: true,
            timestamps,
            tail,
            since: None,
            until: None,
        }
    }

    const LOG: &str = concat!(
        r#"{"log":"one\n","stream":"stdout","time":"T1"}"#,
        "\n",
        r#"{"log":"two\n","stream":"stderr","time":"T2"}"#,
        "\n",
        r#"{"log":"half"#
    );

    #[test]
    fn a_half_written_line_waits() {
        let lines = shown(&request(None, false), LOG);
        assert_eq!(
            lines,
            [
                (Stream::Stdout, "one\n".to_owned()),
                (Stream::Stderr, "two\n".to_owned())
            ]
        );
    }

    #[test]
    fn the_tail_has_the_last_lines_with_their_time() {
        assert_eq!(
            shown(&request(Some(1), true), LOG),
            [(Stream::Stderr, "T2 two\n".to_owned())]
        );
        assert_eq!(shown(&request(Some(0), false), LOG), []);
    }

    #[test]
    fn lines_are_shown_from_when_to_when_it_was_asked() {
        let line = |text: &str, time: &str| {
            let line =
                serde_json::json!({"log": format!("{text}\n"), "stream": "stdout", "time": time});
            format!("{line}\n")
        };
        let log = [
            line("one", "2026-01-02T03:04:05.1Z"),
            line("two", "2026-01-02T03:04:06.000000001Z"),
            line("three", "2026-01-02T03:04:07Z"),
        ]
        .concat();
        let between = |since: Option<&str>, until: Option<&str>| {
            let request = LogsRequest {
                since: since.map(str::to_owned),
                until: until.map(str::to_owned),
                ..request(None, false)
            };
            let lines = shown(&request, &log).into_iter();
            lines.map(|(_, text)| text).collect::<String>()
        };
        assert_eq!(between(Some("2026-01-02T03:04:06Z"), None), "two\nthree\n");
        assert_eq!(between(None, Some("2026-01-02T03:04:06Z")), "one\n");
        assert_eq!(
            between(Some("1767323046"), Some("2026-01-02T03:04:06.5Z")),
            "two\n"
        );
        assert_eq!(between(Some("1h"), None), "");
        assert_eq!(between(None, Some("1h")), "one\ntwo\nthree\n");
    }
}
