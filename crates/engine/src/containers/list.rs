//! `ps`: containers as they are at this moment.

use std::collections::BTreeMap;

use serde::Serialize;
use store::Container;

use super::record::Record;
use super::{ContainerError, State};
use crate::{Engine, Error};

/// What `ps` is asked for.
#[derive(Debug, Clone, Default)]
pub struct PsRequest {
    /// Also those that do not run.
    pub all: bool,
    /// Only so many of the newest, running or not.
    pub last: Option<usize>,
    /// `KEY=VALUE`; values of one key are alternatives, keys add up.
    pub filters: Vec<String>,
}

/// A line of `ps`, with Docker's names for the fields.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerRow {
    /// The id.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the image was called.
    pub image: String,
    /// Program and arguments.
    pub command: String,
    /// When it was made, RFC 3339.
    #[serde(rename = "CreatedAt")]
    pub created: String,
    /// What it does.
    #[serde(flatten)]
    pub state: State,
    /// Its name.
    #[serde(rename = "Names")]
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What was kept of a container when it was made.
pub(crate) fn record_of(container: &Container) -> Result<Record, Error> {
    serde_json::from_value(container.state.clone()).map_err(|error| {
        store::Error::Row(format!("container {}", container.name), error.to_string()).into()
    })
}

/// What a container does: first what the runtime says, then what was noted when it ended.
pub(crate) fn state_of(container: &Container, record: &Record) -> Result<State, ContainerError> {
    if let Some(ended) = &record.ended {
        return Ok(State::Exited {
            code: ended.code,
            at: Some(ended.at.clone()),
        });
    }
    Ok(match runtime::detached::status(container.dir())? {
        None => State::Created,
        Some(runtime::detached::Status::Running { pid, since }) => State::Running {
            pid: pid.unsigned_abs(),
            since: crate::time_text(since),
        },
        Some(runtime::detached::Status::Ended { exit, at }) => State::Exited {
            code: exit.code(),
            at: Some(crate::time_text(at)),
        },
        // The machine or the supervisor died under it; the process went with them.
        Some(runtime::detached::Status::Lost) => State::Exited {
            code: 137,
            at: None,
        },
    })
}

impl Engine {
    /// Containers, the newest first.
    ///
    /// # Errors
    ///
    /// A filter is not known, or the store cannot be read.
    pub fn containers(&self, request: &PsRequest) -> Result<Vec<ContainerRow>, Error> {
        let filters = Filters::parse(&request.filters)?;
        let all = request.all || request.last.is_some() || filters.any_state;
        let mut rows = Vec::new();
        for container in self.store().containers()? {
            if request.last.is_some_and(|last| rows.len() >= last) {
                break;
            }
            let record = record_of(&container)?;
            let state = state_of(&container, &record)?;
            if !all && !matches!(state, State::Running { .. }) {
                continue;
            }
            let row = ContainerRow {
                command: record.command.join(" "),
                created: crate::time_text(container.created),
                state,
                labels: record.labels,
                id: container.id,
                image: container.image_name,
                name: container.name,
            };
            if filters.accept(&row) {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

/// The filters of `ps`.
#[derive(Debug, Default)]
struct Filters {
    by_key: BTreeMap<&'static str, Vec<String>>,
    any_state: bool,
}

impl Filters {
    fn parse(texts: &[String]) -> Result<Self, Error> {
        let mut filters = Self::default();
        for text in texts {
            let wrong = |why: &str| Error::Filter {
                filter: text.clone(),
                why: why.to_owned(),
                known: "name=NAME, id=ID, label=NAME[=VALUE], status=created|running|exited and ancestor=IMAGE",
            };
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| wrong("a filter is NAME=VALUE"))?;
            let key = ["name", "id", "label", "status", "ancestor"]
                .into_iter()
                .find(|known| *known == key)
                .ok_or_else(|| wrong("there is no such name"))?;
            if key == "status" {
                if !["created", "running", "exited"].contains(&value) {
                    return Err(wrong("a container is created, running or exited"));
                }
                filters.any_state = true;
            }
            filters
                .by_key
                .entry(key)
                .or_default()
                .push(value.to_owned());
        }
        Ok(filters)
    }

    fn accept(&self, row: &ContainerRow) -> bool {
        self.by_key.iter().all(|(key, values)| {
            values.iter().any(|value| match *key {
                "name" => row.name.contains(value),
                "id" => row.id.starts_with(value),
                "status" => row.state.word() == value,
                "ancestor" => row.image == *value || row.image.split(':').next() == Some(value),
                _ => match value.split_once('=') {
                    Some((name, wanted)) => {
                        row.labels.get(name).is_some_and(|found| found == wanted)
                    }
                    None => row.labels.contains_key(value),
                },
            })
        })
    }
}
