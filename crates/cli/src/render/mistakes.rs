//! What is wrong with a Dockerfile, with the source marked: one block a mistake, in the form that compilers have.
//!
//! Steps that fail are shown in Docker's form instead (see `engine::Error::excerpt`): tools look for that.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use engine::building::{Diagnostic, Label, Severity, Span, Text};

use super::printable;

/// Most lines of one place that are looked at, 200: a heredoc can be a whole program.
const MAX_LINES: u32 = 200;

/// Longest line that is marked, in bytes; a longer one is cut. Only machines write them.
const MAX_LINE: usize = 4096;

/// Draws all of them; `width` is that of the terminal.
pub(crate) fn mistakes(
    sources: &[Text],
    mistakes: &[Diagnostic],
    colour: bool,
    width: Option<usize>,
) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = match width {
        Some(width) => renderer.term_width(width),
        None => renderer,
    };
    let mut out = String::new();
    for mistake in mistakes {
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(&renderer.render(&[group(sources, mistake)]));
    }
    out
}

fn group<'a>(sources: &'a [Text], mistake: &'a Diagnostic) -> Group<'a> {
    let level = match mistake.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut title = level.primary_title(printable(&mistake.message));
    let page = mistake.page();
    if page.is_some() {
        title = title.id(mistake.code);
    }
    let mut group = Group::with_title(title);
    let together = |label: &&Label| {
        let (a, b) = (label.span, mistake.span);
        a.file == b.file && a.first_line.abs_diff(b.last_line) < MAX_LINES && !b.is_nowhere()
    };
    let (near, far): (Vec<_>, Vec<_>) = mistake.labels.iter().partition(together);
    let mut places = vec![(AnnotationKind::Primary, mistake.span, None)];
    let label = |label: &'a Label| {
        (
            AnnotationKind::Context,
            label.span,
            Some(label.text.as_str()),
        )
    };
    places.extend(near.into_iter().map(label));
    group = group.elements(snippet(sources, &places));
    for other in far {
        group = group.elements(snippet(sources, &[label(other)]));
    }
    for hint in &mistake.hints {
        group = group.element(Level::HELP.with_name("hint").message(printable(hint)));
    }
    if let Some(page) = page {
        group = group.element(Level::NOTE.with_name("see").message(page));
    }
    group
}

type Place<'a> = (AnnotationKind, Span, Option<&'a str>);

/// Places in one source with the lines that they are on; `None` if they are in none.
fn snippet<'a>(sources: &'a [Text], places: &[Place<'a>]) -> Option<Snippet<'a, Annotation<'a>>> {
    let (_, first, _) = places.first()?;
    if first.is_nowhere() {
        return None;
    }
    let source = sources.get(first.file as usize)?;
    let from = places.iter().map(|(_, span, _)| span.first_line).min()?;
    let to = places.iter().map(|(_, span, _)| span.last_line).max()?;
    let window = Window::new(&source.text, from, to.min(from + MAX_LINES));
    let marks = places.iter().map(|(kind, span, label)| {
        let mark = kind.span(window.place(span.start)..window.place(span.end));
        mark.label(label.map(printable))
    });
    let marks: Vec<_> = marks.collect();
    Some(
        Snippet::source(window.text)
            .path(printable(&source.name))
            .line_start(from as usize)
            .annotations(marks),
    )
}

/// A few lines of a source, none of them too long.
struct Window {
    text: String,
    /// Of each line: where it begins in the source, where it begins here, how much of it is here.
    lines: Vec<(usize, usize, usize)>,
}

impl Window {
    fn new(source: &str, from: u32, to: u32) -> Self {
        let mut window = Self {
            text: String::new(),
            lines: Vec::new(),
        };
        let mut start = 0;
        for (number, line) in (1..=to).zip(source.split_inclusive('\n')) {
            if number >= from {
                let text = line.trim_end_matches(['\n', '\r']);
                let text = &text[..text.floor_char_boundary(MAX_LINE)];
                window.lines.push((start, window.text.len(), text.len()));
                window.text.push_str(text);
                window.text.push('\n');
            }
            start += line.len();
        }
        window
    }

    /// Where a place of the source is here, or the nearest place that is.
    fn place(&self, at: usize) -> usize {
        let line = self.lines.iter().rev().find(|(start, ..)| *start <= at);
        let Some((start, here, length)) = line.or(self.lines.first()) else {
            return 0;
        };
        let within = at.saturating_sub(*start).min(*length);
        self.text.floor_char_boundary(here + within)
    }
}

#[cfg(test)]
mod tests {
    use super::mistakes;
    use engine::building::{Diagnostic, Text};

    fn sources(texts: &[&str]) -> Vec<Text> {
        let names = ["Dockerfile", "tools/part"];
        let pairs = names.iter().zip(texts);
        pairs
            .map(|(name, text)| Text {
                name: (*name).to_owned(),
                text: (*text).to_owned(),
            })
            .collect()
    }

    fn shown(texts: &[&str]) -> String {
        let parsed = engine::building::parse_including(texts[0], &mut |_| Ok(texts[1].to_owned()));
        mistakes(
            &sources(texts),
            &parsed.file.err().unwrap_or_default(),
            false,
            Some(100),
        )
    }

    #[test]
    fn several_mistakes_are_shown_with_their_places_and_hints() {
        let text = shown(&["FROM alpine\nCOPPY a b\nRUN --mount=typ=cache,target=/c x\n"]);
        assert_eq!(
            text,
            "\
error: unknown instruction `COPPY`
 --> Dockerfile:2:1
  |
2 | COPPY a b
  | ^^^^^
  |
  = hint: did you mean `COPY`?

error: unknown key `typ` in `typ=cache` of `--mount`
 --> Dockerfile:3:13
  |
3 | RUN --mount=typ=cache,target=/c x
  |             ^^^
  |
  = hint: did you mean `type`?"
        );
    }

    #[test]
    fn a_mistake_in_an_included_file_shows_both_files() {
        let text = shown(&[
            "# barque: extensions=include\nFROM alpine\nINCLUDE tools/part\n",
            "RUN x\nENV A\n",
        ]);
        assert!(text.contains("--> tools/part:2:5"), "{text}");
        assert!(text.contains("::: Dockerfile:3:1"), "{text}");
        assert!(text.contains("included here"), "{text}");
    }

    #[test]
    fn any_place_in_any_text_can_be_shown() {
        let long = format!("FROM a\nRUN {}\nFRM é\t\u{1b}[2J x\n", "é".repeat(40_000));
        let text = shown(&[&long]);
        assert!(
            text.lines().all(|line| line.len() < 5000) && !text.contains('\u{1b}'),
            "{text}"
        );
        for source in [
            "",
            "\n",
            "F",
            "FROM a b c d",
            "FROM \u{301}é\r\nRUN \\",
            "\u{feff}FRM",
            "A <<B\n",
        ] {
            shown(&[source]);
        }
    }

    #[test]
    fn no_mixture_of_fragments_makes_drawing_panic() {
        const FRAGMENTS: [&str; 24] = [
            "FROM a\n",
            "FRM b\n",
            "\n",
            "\r\n",
            "RUN <<E\n",
            "E\n",
            "COPY --frm=x ",
            "é",
            "\u{301}",
            "\t",
            " ",
            "\\\n",
            "\\",
            "# c\n",
            "# barque: extensions=include\n",
            "INCLUDE p\n",
            "ENV A\n",
            "HEALTHCHECK X ",
            "[1]",
            "\u{1b}",
            "\u{200f}",
            "\0",
            "漢",
            "ARG =\n",
        ];
        let mut state = 1_u64;
        let mut text = |length: usize| -> String {
            let fragment = |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                FRAGMENTS[(state >> 33) as usize % FRAGMENTS.len()]
            };
            (0..length).map(fragment).collect()
        };
        for length in 0..600 {
            let (main, part) = (text(length % 12), text(length % 5));
            shown(&[&format!("# barque: extensions=include\n{main}"), &part]);
            shown(&[&main, &part]);
        }
    }

    #[test]
    fn a_finding_of_a_check_names_its_page() {
        let span = engine::building::Span {
            end: 4,
            first_line: 1,
            last_line: 1,
            ..Default::default()
        };
        let finding = Diagnostic::error("StageNameCasing", span, "no");
        let text = mistakes(&sources(&["FROM a"]), &[finding], false, None);
        assert!(text.starts_with("error[StageNameCasing]: no"), "{text}");
        assert!(
            text.ends_with("= see: docs/checks/StageNameCasing.md"),
            "{text}"
        );
    }
}
