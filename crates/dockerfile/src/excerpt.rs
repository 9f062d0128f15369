//! The lines of a Dockerfile around a fault, in the shape that `docker buildx build` prints.

use std::fmt::Write as _;

use crate::Span;

/// Lines shown around a fault of one line, and of several.
const CONTEXT_OF_ONE: u32 = 4;
const CONTEXT_OF_MANY: u32 = 2;

/// Longest line shown whole; a longer one is cut, so that one wild line cannot flood a terminal.
const LINE_SHOWN: usize = 1000;

/// Most lines shown. A heredoc may be a whole program.
const LINES_SHOWN: usize = 200;

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
    let left_out = take.saturating_sub(LINES_SHOWN);

    let mut out = format!("{file_name}:{}\n{RULE}\n", span.first_line);
    let lines = source.split('\n').skip(skip).take(take - left_out);
    for (number, line) in shown.zip(lines) {
        let mark = if guilty.contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let _ = writeln!(out, " {number:3} | {mark} {}", shortened(line));
    }
    if left_out > 0 {
        let _ = writeln!(out, " ... | ({left_out} more lines)");
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

#[cfg(test)]
mod tests {
    use super::excerpt;
    use crate::Span;

    fn lines(first_line: u32, last_line: u32) -> Span {
        Span {
            first_line,
            last_line,
            ..Span::default()
        }
    }

    #[test]
    fn neighbours_of_one_line_and_of_several() {
        let source = "a\nb\nc\nd\ne\nf";
        let shown = |span| -> String {
            let text = excerpt(source, "D", span);
            text.lines()
                .filter_map(|l| l.split_once("| "))
                .map(|(_, l)| l.replace(' ', "") + ",")
                .collect()
        };
        assert_eq!(shown(lines(3, 3)), "a,b,>>>c,d,e,");
        assert_eq!(shown(lines(3, 4)), "b,>>>c,>>>d,e,");
        assert_eq!(shown(lines(1, 1)), ">>>a,b,c,");
        assert_eq!(shown(lines(6, 9)), "d,e,>>>f,");
        assert_eq!(excerpt(source, "D", lines(7, 7)), "");
        assert_eq!(excerpt(source, "D", Span::default()), "");
    }

    #[test]
    fn long_excerpts_and_lines_are_cut() {
        let source = format!("{}\n{}", "é".repeat(3000), "x\n".repeat(1000));
        let shown = excerpt(&source, "D", lines(1, 900));
        assert!(shown.lines().count() < 210 && shown.contains("more lines"));
        assert!(shown.lines().all(|l| l.len() < 1100));
    }
}
