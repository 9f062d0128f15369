//! The log of a container's output: JSON lines as Docker's `json-file` driver writes them, so that tools which read those read these.
//!
//! ```text
//! {"log":"one line\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//! ```
//!
//! A line longer than 16 KiB is cut into entries of which only the last ends with a line feed. Bytes that are no UTF-8 become
//! replacement characters: JSON has no others.

use std::fs::File;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::run::Stream;

/// Longest entry, as in Docker.
const LONGEST: usize = 16 * 1024;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The text, with its line feed.
    pub log: String,
    /// Where it was written to.
    pub stream: Stream,
    /// When, as RFC 3339 in UTC.
    pub time: String,
}

/// Writes entries to a file that is open for appending.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// What has come of a line that is not complete, by stream.
    partial: [Vec<u8>; 2],
}

impl Writer {
    /// Writes to the end of `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            file,
            partial: [Vec::new(), Vec::new()],
        }
    }

    /// Writes the lines that `bytes` complete and keeps the rest for later.
    ///
    /// # Errors
    ///
    /// Writing failed; the log is as it was, and what comes next can be written again.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let time = now();
        let partial = &mut self.partial[usize::from(stream == Stream::Stderr)];
        partial.extend_from_slice(bytes);
        let mut text = Vec::new();
        let mut rest = partial.as_slice();
        loop {
            let line = rest
                .iter()
                .take(LONGEST)
                .position(|byte| *byte == b'\n')
                .map(|end| end + 1);
            let length = match line {
                Some(length) => length,
                None if rest.len() >= LONGEST => whole_characters(&rest[..LONGEST]),
                None => break,
            };
            entry(&mut text, stream, &rest[..length], &time)?;
            rest = &rest[length..];
        }
        *partial = rest.to_vec();
        self.append(&text)
    }

    /// Writes what is left without a line feed.
    ///
    /// # Errors
    ///
    /// Writing failed.
    pub fn finish(mut self) -> io::Result<()> {
        let time = now();
        let mut text = Vec::new();
        for (stream, rest) in [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .zip(&self.partial)
        {
            if !rest.is_empty() {
                entry(&mut text, stream, rest, &time)?;
            }
        }
        self.append(&text)
    }

    /// Adds whole entries in one call, so that a reader sees whole lines; all or, when the disk is full, nothing.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        self.file.write_all(text).inspect_err(|_| {
            self.file.set_len(before).ok();
        })
    }
}

fn entry(into: &mut Vec<u8>, stream: Stream, line: &[u8], time: &str) -> io::Result<()> {
    let log = String::from_utf8_lossy(line).into_owned();
    serde_json::to_writer(
        &mut *into,
        &Entry {
            log,
            stream,
            time: time.to_owned(),
        },
    )?;
    into.push(b'\n');
    Ok(())
}

/// The length without a character that is cut at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let start = bytes
        .iter()
        .rposition(|byte| byte & 0xc0 != 0x80)
        .unwrap_or(0);
    // A character has at most four bytes; anything longer is no text anyway.
    if bytes.len() - start < 4 && start > 0 && std::str::from_utf8(&bytes[start..]).is_err() {
        start
    } else {
        bytes.len()
    }
}

/// The time as RFC 3339 in UTC, to the nanosecond.
#[must_use]
pub fn now() -> String {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    rfc3339(time.tv_sec, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn rfc3339(seconds: i64, nanos: u32) -> String {
    let (days, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Years that begin in March have their odd day at the end; eras have 400 of them.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(parts: &[(Stream, &[u8])]) -> Vec<(String, Stream)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::new(File::create(&path).unwrap());
        for (stream, bytes) in parts {
            writer.write(*stream, bytes).unwrap();
        }
        writer.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Entry>(line).unwrap())
            .map(|entry| (entry.log, entry.stream))
            .collect()
    }

    #[test]
    fn lines_are_put_together_by_stream() {
        let found = entries(&[
            (Stream::Stdout, b"a"),
            (Stream::Stderr, b"error\n"),
            (Stream::Stdout, b"b\nc\nrest"),
        ]);
        let expected = [
            ("error\n", Stream::Stderr),
            ("ab\n", Stream::Stdout),
            ("c\n", Stream::Stdout),
            ("rest", Stream::Stdout),
        ];
        assert_eq!(
            found,
            expected.map(|(text, stream)| (text.to_owned(), stream))
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_odd_bytes_replaced() {
        let mut long = vec![b'x'; LONGEST - 1];
        long.extend("é\n".as_bytes());
        let found = entries(&[(Stream::Stdout, &long), (Stream::Stdout, b"\xff\n")]);
        assert_eq!(
            found.iter().map(|(text, _)| text.len()).collect::<Vec<_>>(),
            [LONGEST - 1, 3, 4]
        );
        assert_eq!(found[1].0, "é\n");
        assert_eq!(found[2].0, "\u{fffd}\n");
    }

    #[test]
    fn times() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 5), "2000-02-28T23:59:59.000000005Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(4_102_444_800, 0), "2100-01-01T00:00:00.000000000Z");
    }
}
