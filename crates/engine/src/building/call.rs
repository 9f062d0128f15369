//! What a Dockerfile is asked instead of being built: `--call check`, `outline` and `targets`.
//!
//! The JSON has the fields that `docker buildx build --call …,format=json` prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::{Outline, OutlineUse, Teller};
use dockerfile::lint::Rule;
use serde::Serialize;

use super::{BuildRequest, Diagnostic, Span, read_request};
use crate::{Engine, Error};

/// Where Docker's manual has a page on each of its rules.
const RULE_PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What could be meant otherwise.
    Check,
    /// What the target can be given.
    Outline,
    /// Which stages there are.
    Targets,
}

/// `--call`: what is asked, and how the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub question: Question,
    /// As JSON.
    pub json: bool,
    /// Findings are no failure.
    pub ignore_status: bool,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    /// For stdout.
    pub text: String,
    /// There are findings, or the Dockerfile cannot be built.
    pub failed: bool,
    /// Why it cannot be built.
    pub error: Option<Error>,
}

/// Reads `--call`: `METHOD[,format=json][,ignorestatus=true]`; `None` for a plain build.
///
/// # Errors
///
/// [`Error::Call`] for a method or an option that there is not.
pub fn call(text: &str) -> Result<Option<Call>, Error> {
    let wrong = |what: &str| Error::Call(what.to_owned());
    let mut parts = text.split(',');
    let question = match parts.next().unwrap_or_default() {
        "" | "build" => None,
        "check" | "lint" => Some(Question::Check),
        "outline" => Some(Question::Outline),
        "targets" => Some(Question::Targets),
        other => return Err(wrong(other)),
    };
    let (mut json, mut ignore_status) = (false, false);
    for part in parts {
        match part {
            "format=json" => json = true,
            "format=text" | "format=" => json = false,
            "ignorestatus" | "ignorestatus=true" | "ignorestatus=1" => ignore_status = true,
            "ignorestatus=false" | "ignorestatus=0" => ignore_status = false,
            other => return Err(wrong(other)),
        }
    }
    Ok(question.map(|question| Call {
        question,
        json,
        ignore_status,
    }))
}

impl Engine {
    /// Answers a question about a Dockerfile; nothing is built, and no image is looked at.
    ///
    /// # Errors
    ///
    /// The Dockerfile or the context cannot be read; for other questions than checks also, the Dockerfile is wrong.
    pub fn call(&self, request: &BuildRequest, call: Call) -> Result<Answer, Error> {
        let lease = self.store().lease("build")?;
        let asked = read_request(
            (request, self.network()),
            &BTreeMap::new(),
            &lease,
            &Teller::new(&|_| ()),
        )?;
        let asked = build::Request {
            target: request.target.clone(),
            ..asked
        };
        let texts = asked.sources();
        let failed = |source: build::Error| Error::Build {
            sources: texts.clone(),
            source: Box::new(source),
        };
        match call.question {
            Question::Check => {
                let (found, error) = match build::check(&asked) {
                    Ok(found) => (found, None),
                    Err(error) => (Vec::new(), Some(failed(error))),
                };
                let is_bad = !found.is_empty() || error.is_some();
                let text = match call.json {
                    true => check_json(&found, error.as_ref(), &texts),
                    false if error.is_some() => String::new(),
                    false => check_text(&found, &texts),
                };
                Ok(Answer {
                    text,
                    failed: is_bad && !(call.ignore_status && error.is_none()),
                    error,
                })
            }
            Question::Outline => {
                let outline = build::outline(&asked).map_err(failed)?;
                Ok(answer(match call.json {
                    true => outline_json(&outline, &asked.dockerfile.text),
                    false => outline_text(&outline),
                }))
            }
            Question::Targets => {
                let targets = build::targets(&asked).map_err(failed)?;
                Ok(answer(match call.json {
                    true => targets_json(&targets, &asked.dockerfile.text),
                    false => targets_text(&targets),
                }))
            }
        }
    }
}

const fn answer(text: String) -> Answer {
    Answer {
        text,
        failed: false,
        error: None,
    }
}

#[derive(Serialize)]
struct Position {
    line: u32,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

/// A place, as BuildKit's messages have it: the first source and column 0 are not said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "is_zero")]
    source_index: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<Span> for Location {
    fn from(span: Span) -> Self {
        let range = Range {
            start: Position {
                line: span.first_line,
            },
            end: Position {
                line: span.last_line,
            },
        };
        Self {
            source_index: span.file,
            ranges: match span.first_line {
                0 => Vec::new(),
                _ => vec![range],
            },
        }
    }
}

fn pretty(value: &impl Serialize) -> String {
    // Text keys and plain values always become JSON.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    language: &'static str,
    data: String,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lint<'a> {
    warnings: Vec<Warning<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

/// The summary of a rule, and the page on it if it is one of Docker's.
fn rule(code: &str) -> (&'static str, Option<String>) {
    match Rule::find(code) {
        Some(rule) => (rule.summary, (!rule.ours).then(|| page(code))),
        None => ("", None),
    }
}

/// Docker's rules have pages named after them: `StageNameCasing` is `stage-name-casing`.
fn page(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let mut slug = String::new();
    for (at, letter) in letters.iter().enumerate() {
        // `JSONArgs` is `json-args`: a word begins where lower case follows or went before.
        let after_lower = at > 0 && letters[at - 1].is_lowercase();
        let before_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && at > 0 && (after_lower || before_lower) {
            slug.push('-');
        }
        slug.extend(letter.to_lowercase());
    }
    format!("{RULE_PAGES}{slug}/")
}

fn check_json(found: &[Diagnostic], error: Option<&Error>, texts: &[super::Text]) -> String {
    let warnings = found.iter().map(|finding| {
        let (description, url) = rule(finding.code);
        Warning {
            rule_name: finding.code,
            description,
            url,
            detail: &finding.message,
            location: finding.span.into(),
        }
    });
    let lint = Lint {
        warnings: warnings.collect(),
        sources: texts
            .iter()
            .map(|text| Source {
                filename: &text.name,
                language: "Dockerfile",
                data: base64(text.text.as_bytes()),
            })
            .collect(),
        build_error: error.map(|error| BuildError {
            message: error.to_string(),
            location: match error {
                Error::Build { source, .. } => source.span().unwrap_or_default().into(),
                _ => Span::default().into(),
            },
        }),
    };
    pretty(&lint)
}

fn check_text(found: &[Diagnostic], texts: &[super::Text]) -> String {
    let mut text = match found.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in found {
        let page = rule(finding.code).1;
        let page = page.map_or_else(String::new, |page| format!(" - {page}"));
        let excerpt = texts.get(finding.span.file as usize);
        let excerpt = excerpt.map_or_else(String::new, |source| {
            dockerfile::excerpt(&source.text, &source.name, finding.span)
        });
        // Writing to a `String` cannot fail.
        write!(
            text,
            "\nWARNING: {}{page}\n{}\n{excerpt}",
            finding.code, finding.message
        )
        .ok();
        for label in finding
            .labels
            .iter()
            .filter(|l| l.span.file != finding.span.file)
        {
            let file = texts.get(label.span.file as usize);
            let file = file.map_or("", |text| &text.name);
            writeln!(text, "{}: {file}:{}", label.text, label.span.first_line).ok();
        }
    }
    text
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Asset<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

#[derive(Serialize)]
struct Cache<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct OutlineJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Asset<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Asset<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<Cache<'a>>,
    sources: Vec<String>,
}

fn filled(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn assets(list: &[OutlineUse]) -> Vec<Asset<'_>> {
    list.iter()
        .map(|used| Asset {
            name: &used.name,
            required: used.required,
            location: used.span.into(),
        })
        .collect()
}

fn outline_json(outline: &Outline, source: &str) -> String {
    pretty(&OutlineJson {
        name: filled(outline.name.as_ref()),
        description: filled(outline.description.as_ref()),
        args: outline
            .args
            .iter()
            .map(|arg| Arg {
                name: &arg.name,
                description: filled(arg.description.as_ref()),
                value: filled(arg.value.as_ref()),
                location: arg.span.into(),
            })
            .collect(),
        secrets: assets(&outline.secrets),
        ssh: assets(&outline.ssh),
        cache: outline
            .caches
            .iter()
            .map(|cache| Cache {
                id: &cache.name,
                location: cache.span.into(),
            })
            .collect(),
        sources: vec![base64(source.as_bytes())],
    })
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    let description = filled(outline.description.as_ref());
    if outline.name.is_some() || description.is_some() {
        let name = filled(outline.name.as_ref()).unwrap_or("(default)");
        let mut rows = vec![vec!["TARGET:", name]];
        rows.extend(description.map(|description| vec!["DESCRIPTION:", description]));
        text.push_str(&table(&rows, 1));
        text.push('\n');
    }
    if !outline.args.is_empty() {
        let mut rows = vec![vec!["BUILD ARG", "VALUE", "DESCRIPTION"]];
        rows.extend(outline.args.iter().map(|arg| {
            let value = filled(arg.value.as_ref()).unwrap_or_default();
            let description = filled(arg.description.as_ref()).unwrap_or_default();
            vec![arg.name.as_str(), value, description]
        }));
        text.push_str(&table(&rows, 3));
        text.push('\n');
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            let mut rows = vec![vec![title, "REQUIRED"]];
            let required = |used: &OutlineUse| if used.required { "true" } else { "" };
            rows.extend(
                list.iter()
                    .map(|used| vec![used.name.as_str(), required(used)]),
            );
            text.push_str(&table(&rows, 3));
            text.push('\n');
        }
    }
    text
}

#[derive(Serialize)]
struct TargetJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Targets<'a> {
    targets: Vec<TargetJson<'a>>,
    sources: Vec<String>,
}

fn targets_json(targets: &[build::Target], source: &str) -> String {
    pretty(&Targets {
        targets: targets
            .iter()
            .map(|stage| TargetJson {
                name: filled(stage.name.as_ref()),
                default: stage.default,
                description: filled(stage.description.as_ref()),
                base: Some(stage.base.as_str()).filter(|base| !base.is_empty()),
                platform: filled(stage.platform.as_ref()),
                location: stage.span.into(),
            })
            .collect(),
        sources: vec![base64(source.as_bytes())],
    })
}

fn targets_text(targets: &[build::Target]) -> String {
    let names: Vec<String> = targets
        .iter()
        .map(
            |target| match (filled(target.name.as_ref()), target.default) {
                (None, true) => "(default)".to_owned(),
                (name, true) => format!("{} (default)", name.unwrap_or_default()),
                (name, false) => name.unwrap_or_default().to_owned(),
            },
        )
        .collect();
    let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
    rows.extend(targets.iter().zip(&names).map(|(target, name)| {
        let description = filled(target.description.as_ref());
        vec![name.as_str(), description.unwrap_or_default()]
    }));
    table(&rows, 1)
}

/// Rows whose columns are as wide as the widest cell and `gap` blanks; the last one is not padded.
fn table(rows: &[Vec<&str>], gap: usize) -> String {
    let mut text = String::new();
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + gap
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let width = if last { 0 } else { widths[column] };
            // Writing to a `String` cannot fail.
            write!(text, "{cell:width$}").ok();
        }
        text.push('\n');
    }
    text
}

/// How Go writes bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_after_rules() {
        for (code, slug) in [
            ("StageNameCasing", "stage-name-casing"),
            ("JSONArgsRecommended", "json-args-recommended"),
            ("FromAsCasing", "from-as-casing"),
        ] {
            assert_eq!(page(code), format!("{RULE_PAGES}{slug}/"));
        }
        assert_eq!(rule("AptUpdateAlone").1, None);
    }

    #[test]
    fn calls_are_understood() {
        assert_eq!(call("build").unwrap(), None);
        let check = call("check,format=json").unwrap().unwrap();
        assert_eq!((check.question, check.json), (Question::Check, true));
        assert!(
            call("lint,ignorestatus=true")
                .unwrap()
                .unwrap()
                .ignore_status
        );
        assert!(call("chekc").is_err());
        assert!(call("check,format=xml").is_err());
    }
}
