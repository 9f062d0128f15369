//! Lists as `--format` asks for them: as columns, as JSON, or through a template.

use serde_json::{Map, Value};

use crate::error::Failure;
use crate::template::{Data, Labels, Template, TemplateError};

/// How a list is printed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum ListFormat {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
    /// The template once for each row.
    Template(Template),
    /// The same in columns, under a header.
    TableOf(Template),
}

impl ListFormat {
    /// Reads the value of `--format`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // A shell does not turn `\t` into a tab, and Docker does not expect it to.
        let unescaped = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => match text.strip_prefix("table") {
                Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => {
                    let columns = unescaped(rest);
                    parse(columns.trim_start_matches([' ', '\t'])).map(Self::TableOf)
                }
                _ => parse(&unescaped(text)).map(Self::Template),
            },
        }
    }
}

/// Reads a template where something else than one is a mistake.
pub(crate) fn parse(text: &str) -> Result<Template, String> {
    if !text.contains("{{") {
        return Err("it is neither table, json nor a template with `{{`".to_owned());
    }
    Template::parse(text).map_err(|error| told(&error))
}

fn told(error: &TemplateError) -> String {
    let hint = error
        .hint
        .as_ref()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("at byte {}: {}{hint}", error.at, error.message)
}

/// A template that fits the value badly.
impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let failure = Self::new(format!(
            "the format cannot be used: at byte {}: {}",
            error.at, error.message
        ));
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A list for templates: names and headers of its fields, and rows with a value for each, as a person should see it.
#[derive(Debug)]
pub(crate) struct Listing<const N: usize> {
    /// Name in a template, and header above the column.
    pub(crate) fields: [(&'static str, &'static str); N],
    pub(crate) rows: Vec<Row<N>>,
}

/// A row, with what `.Label` finds.
#[derive(Debug)]
pub(crate) struct Row<const N: usize> {
    pub(crate) values: [String; N],
    pub(crate) labels: Map<String, Value>,
}

impl<const N: usize> From<[String; N]> for Row<N> {
    fn from(values: [String; N]) -> Self {
        Self {
            values,
            labels: Map::new(),
        }
    }
}

impl<const N: usize> Listing<N> {
    /// A line for each row.
    ///
    /// # Errors
    ///
    /// The template does not fit.
    pub(crate) fn print(&self, template: &Template) -> Result<String, TemplateError> {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&template.print(&self.data(row))?);
            text.push('\n');
        }
        Ok(text)
    }

    /// A line for each row under a header; tabs end columns.
    ///
    /// # Errors
    ///
    /// The template does not fit.
    pub(crate) fn print_table(&self, template: &Template) -> Result<String, TemplateError> {
        let header = Data {
            root: object(self.fields.iter().map(|(name, header)| (*name, *header))),
            labels: Labels::Names,
        };
        let mut lines = vec![template.print(&header)?];
        for row in &self.rows {
            lines.push(template.print(&self.data(row))?);
        }
        Ok(columns(&lines))
    }

    fn data(&self, row: &Row<N>) -> Data {
        let names = self.fields.iter().map(|(name, _)| *name);
        Data {
            root: object(names.zip(row.values.iter().map(String::as_str))),
            labels: Labels::Of(row.labels.clone()),
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    fields
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// Lines whose cells end with tabs, under each other: three blanks between, no column narrower than ten, as Docker has it.
fn columns(lines: &[String]) -> String {
    const NARROWEST: usize = 10;
    const BETWEEN: usize = 3;
    let mut widths: Vec<usize> = Vec::new();
    for line in lines.iter().flat_map(|lines| lines.split('\n')) {
        let cells: Vec<_> = line.split('\t').collect();
        for (number, cell) in cells.iter().take(cells.len() - 1).enumerate() {
            let width = (cell.chars().count() + BETWEEN).max(NARROWEST);
            match widths.get_mut(number) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for line in lines.iter().flat_map(|lines| lines.split('\n')) {
        let mut cells = line.split('\t').zip(widths.iter().chain([&0])).peekable();
        while let Some((cell, width)) = cells.next() {
            text.push_str(cell);
            if cells.peek().is_some() {
                let blanks = width.saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing<2> {
        let row = |id: &str, name: &str| Row {
            values: [id.to_owned(), name.to_owned()],
            labels: Map::from_iter([("a.b".to_owned(), Value::from(id))]),
        };
        Listing {
            fields: [("ID", "CONTAINER ID"), ("Names", "NAMES")],
            rows: vec![row("1", "boat"), row("23", "a-much-longer-name")],
        }
    }

    fn shown(format: &str) -> String {
        match ListFormat::parse(format).unwrap() {
            ListFormat::Template(template) => listing().print(&template).unwrap(),
            ListFormat::TableOf(template) => listing().print_table(&template).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn formats_are_those_of_docker() {
        assert_eq!(shown("table"), "Table");
        assert_eq!(shown("json"), "Json");
        assert_eq!(
            shown("{{.ID}}:{{.Names}}"),
            "1:boat\n23:a-much-longer-name\n"
        );
        assert_eq!(
            shown("{{json .}}"),
            "{\"ID\":\"1\",\"Names\":\"boat\"}\n{\"ID\":\"23\",\"Names\":\"a-much-longer-name\"}\n"
        );
        assert_eq!(
            shown("table {{.ID}}\\t{{.Names}}"),
            "CONTAINER ID   NAMES\n1              boat\n23             a-much-longer-name\n"
        );
        assert_eq!(
            shown("table {{.ID}}\t{{.Label \"a.b\"}}\t{{.ID}}"),
            "CONTAINER ID   a.b       CONTAINER ID\n1              1         1\n23             23        23\n"
        );
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for text in ["jsn", "", "tables", "table", "{{.ID", "{{nope}} {{"] {
            let read = ListFormat::parse(text);
            assert_eq!(read.is_ok(), text == "table", "{text}: {read:?}");
        }
        let error = listing()
            .print(&Template::parse("{{.Id}}").unwrap())
            .unwrap_err();
        assert_eq!(error.hint.unwrap(), "there are ID, Names");
    }
}
