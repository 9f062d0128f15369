//! Everything that is printed: data on stdout, talk on stderr. Nothing else in the program prints.

pub(crate) mod listing;
mod mistakes;
mod size;
mod table;
pub(crate) mod time;

use std::io::{self, IsTerminal, Write};

pub(crate) use listing::{ListFormat, Listing, Row};
pub(crate) use mistakes::mistakes;
pub(crate) use size::size;
pub(crate) use table::table;

/// Writes `text` to stdout.
///
/// # Errors
///
/// The pipe was closed or the disk is full.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes bytes to stdout as they are.
///
/// # Errors
///
/// The pipe was closed or the disk is full.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Asks a question on stderr; the answer is a line of stdin.
///
/// # Errors
///
/// Stdin cannot be read.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes())?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Writes `value` to stdout as one line of JSON.
///
/// # Errors
///
/// The pipe was closed or the disk is full.
pub(crate) fn json_line(value: &impl serde::Serialize) -> io::Result<()> {
    data(&format!("{}\n", serde_json::to_string(value)?))
}

/// Writes `value` to stdout as indented JSON.
///
/// # Errors
///
/// The pipe was closed or the disk is full.
pub(crate) fn json_pretty(value: &impl serde::Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    bytes.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
}

/// Writes a line to stderr. That stderr cannot be written to has no one to be told.
pub(crate) fn talk(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// True if talk reaches a person's terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// `text` from outside without control characters that could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// As [`printable`], of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    let line = |line: &str| printable(line.strip_suffix('\r').unwrap_or(line));
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

/// What a container does, in Docker's words: `Up 2 minutes`, `Exited (0) 3 hours ago`.
pub(crate) fn status(state: &engine::containers::State, now: jiff::Timestamp) -> String {
    use engine::containers::State;
    match state {
        State::Created => "Created".to_owned(),
        State::Running { since, .. } => match since.parse::<jiff::Timestamp>() {
            Ok(since) => format!("Up {}", time::rough(now.duration_since(since))),
            Err(_) => "Up".to_owned(),
        },
        State::Exited { code, at: Some(at) } => format!("Exited ({code}) {}", time::ago(at, now)),
        State::Exited { code, at: None } => format!("Exited ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::printable_lines;

    #[test]
    fn lines_stay_and_what_steers_a_terminal_goes() {
        assert_eq!(
            printable_lines("a\tb\n\x1b[2Jc\r\n\u{9b}d\n"),
            "a\tb\n\u{fffd}[2Jc\n\u{fffd}d\n"
        );
    }
}
