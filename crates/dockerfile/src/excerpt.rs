//! The lines of a Dockerfile around a fault, in the shape that `docker buildx build` prints.

use std::fmt::Write as _;

use crate::Span;

/// Lines shown around a fault of one line, and of several.
const CONTEXT_OF_ONE: u32 = 4;
const CONTEXT_OF_MANY: u32 = 2;

/// Longest line shown whole; a longer one is cut, so that one wild line cannot flood a terminal.
const LINE_SHOWN: usize = 1000;

const RULE: &str = "--------------------";

/// Renders the lines of `span` with their neighbours, the guilty ones marked with `>>>`.
///
/// Empty if the span points at no line of the source. Ends with a newline otherwise.
///
/// ```
/// let source = "FROM alpine\nRUN exit 1\n";
/// let file = dockerfile::parse(source).unwrap();
/// let shown = dockerfile::excerpt(source, "Dockerfile", file.stages[0].instructions[0].span);
/// assert_eq!(shown, "\
/// Dockerfile:2
/// --------------------
///    1 |     FROM alpine
///    2 | >>> RUN exit 1
///    3 |     \n\
/// --------------------
/// ");
/// ```
pub fn excerpt(source: &str, file_name: &str, span: Span) -> String {
    let total = source.bytes().filter(|b| *b == b'\n').count() + 1;
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    let guilty = span.first_line..=span.last_line.min(total);
    if span.is_nowhere() || guilty.is_empty() {
        return String::new();
    }
    let shown = shown_lines(*guilty.start(), *guilty.end(), total);
    let skip = *shown.start() as usize - 1;
    let take = (*shown.end() - *shown.start()) as usize + 1;

    let mut out = format!("{file_name}:{}\n{RULE}\n", span.first_line);
    for (number, line) in shown.zip(source.split('\n').skip(skip).take(take)) {
        let mark = if guilty.contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let _ = writeln!(out, " {number:3} | {mark} {}", shortened(line));
    }
    let _ = writeln!(out, "{RULE}");
    out
}

/// Widens a range of lines by a few on both sides, fewer where the file ends.
fn shown_lines(first: u32, last: u32, total: u32) -> std::ops::RangeInclusive<u32> {
    let wanted = if first == last {
        CONTEXT_OF_ONE
    } else {
        CONTEXT_OF_MANY
    };
    let (mut start, mut end, mut spent) = (first, last, 0);
    while spent < wanted {
        if start > 1 {
            start -= 1;
            spent += 1;
        }
        if end < total {
            end += 1;
            spent += 1;
        }
        spent += 1;
    }
    start..=end
}

fn shortened(line: &str) -> &str {
    let line = line.strip_suffix('\r').unwrap_or(line);
    &line[..line.floor_char_boundary(LINE_SHOWN)]
}
