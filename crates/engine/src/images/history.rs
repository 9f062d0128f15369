//! `barque history`: how an image came about.

use oci::{HistoryEntry, ImageId};
use serde::Serialize;

use crate::{Engine, Error};

/// One step of an image's past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryRow {
    /// The image, for its last step; what came before has no id of its own.
    #[serde(rename = "ID")]
    pub id: Option<ImageId>,
    /// When, RFC 3339.
    #[serde(rename = "CreatedAt")]
    pub created: Option<String>,
    /// By which instruction.
    pub created_by: String,
    /// The size of the layer that it made, uncompressed.
    pub size: u64,
    /// Anything.
    pub comment: String,
}

impl Engine {
    /// The steps of an image, the last first, with the size of the layer that each made.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be read.
    pub fn history(&self, image: &str) -> Result<Vec<HistoryRow>, Error> {
        let image = self.store().resolve(image)?;
        let config = self.store().config(&image)?;
        let mut sizes = Vec::new();
        for id in &image.layers {
            sizes.push(self.store().find_layer(id)?.map_or(0, |layer| layer.size()));
        }
        Ok(rows(image.id, &config.history, &sizes))
    }
}

fn rows(id: ImageId, history: &[HistoryEntry], sizes: &[u64]) -> Vec<HistoryRow> {
    let mut sizes = sizes.iter().copied();
    let mut rows: Vec<HistoryRow> = history
        .iter()
        .map(|entry| HistoryRow {
            id: None,
            created: entry.created.clone(),
            created_by: entry.created_by.clone().unwrap_or_default(),
            size: if entry.empty_layer {
                0
            } else {
                sizes.next().unwrap_or(0)
            },
            comment: entry.comment.clone().unwrap_or_default(),
        })
        .collect();
    // Tools that write no history make layers all the same.
    rows.extend(sizes.map(|size| HistoryRow {
        id: None,
        created: None,
        created_by: String::new(),
        size,
        comment: String::new(),
    }));
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        last.id = Some(id);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Digest;

    #[test]
    fn sizes_belong_to_the_steps_that_made_layers() {
        let id = ImageId::from_digest(Digest::sha256_of(b"config"));
        let entry = |by: &str, empty_layer| HistoryEntry {
            created_by: Some(by.to_owned()),
            empty_layer,
            ..HistoryEntry::default()
        };
        let history = [
            entry("COPY", false),
            entry("CMD", true),
            entry("RUN", false),
        ];
        let rows = rows(id, &history, &[10, 20, 30]);
        let got: Vec<_> = rows
            .iter()
            .map(|row| (row.created_by.as_str(), row.size, row.id.is_some()))
            .collect();
        assert_eq!(
            got,
            [
                ("", 30, true),
                ("RUN", 20, false),
                ("CMD", 0, false),
                ("COPY", 10, false)
            ]
        );
    }
}
