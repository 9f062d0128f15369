//! `barque import`: an image of the tar of a root filesystem.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dockerfile::remote::redacted;
use oci::{Descriptor, HistoryEntry, ImageConfig, ImageId, Platform, media_type};
use store::{Lease, NewImage};
use sys::fs::{self, Context as _};

use super::inflate::Inflate;
use super::load;
use crate::images::new_name;
use crate::remote::{Host, Limits, Outside};
use crate::{Engine, Error, changes};

/// What is to be imported, and as what.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The tar, plain or compressed; `None` for stdin.
    pub file: Option<PathBuf>,
    /// A tar behind this URL instead, and what this machine says about reaching it.
    pub url: Option<(String, Host)>,
    /// The image's name.
    pub name: Option<String>,
    /// Dockerfile instructions for its config.
    pub changes: Vec<String>,
    /// A comment for its history.
    pub message: Option<String>,
    /// What the files are made for; otherwise the host's platform.
    pub platform: Option<String>,
    /// When it was made, in seconds since 1970 (`SOURCE_DATE_EPOCH`); otherwise now.
    pub created: Option<String>,
}

impl Engine {
    /// Makes an image of one layer, which is the tar as it is, decompressed.
    ///
    /// # Errors
    ///
    /// The tar is none or cannot be read, or a part of the request makes no sense; then nothing is in the store.
    pub fn import(&self, request: &ImportRequest) -> Result<ImageId, Error> {
        let name = request.name.as_deref().map(new_name).transpose()?;
        let platform = match &request.platform {
            Some(text) => text.parse()?,
            None => Platform::host(),
        };
        let created = time(request.created.as_deref())?;
        let mut config = ImageConfig {
            created: Some(created.clone()),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            ..ImageConfig::default()
        };
        changes::apply(&mut config.config, &request.changes)?;
        let lease = self.store().lease("import")?;
        let (file, shown) = match &request.url {
            None => (request.file.clone(), request.file.clone()),
            Some((url, host)) => {
                let shown = Some(PathBuf::from(redacted(url)));
                (Some(self.fetched(url, host, &lease)?), shown)
            }
        };
        let mut ingest = lease.ingest_layer()?;
        let mut source = open(file.as_deref())?;
        ingest
            .writer()
            .copy_tar(&mut source)
            .map_err(|error| Error::Import {
                path: shown.clone(),
                why: error.to_string(),
            })?;
        let layer = ingest.publish()?;
        // A tar without files has the blocks that end it: nothing at all is what a failed download leaves, or a program in a pipe.
        if layer.size() == 0 {
            return Err(Error::Import {
                path: shown,
                why: "it is empty".to_owned(),
            });
        }
        let from = shown
            .as_ref()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        config.rootfs.diff_ids.push(*layer.diff_id());
        config.history.push(HistoryEntry {
            created: Some(created),
            comment: Some(
                request
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("imported from {from}")),
            ),
            ..HistoryEntry::default()
        });
        let descriptor = Descriptor::new(
            media_type::OCI_LAYER,
            *layer.diff_id().digest(),
            layer.size(),
        );
        // Text keys and plain values always become JSON.
        let config = serde_json::to_vec(&config).unwrap_or_default();
        let image = lease.put_image(NewImage {
            manifest: &load::manifest(&config, vec![descriptor]),
            media_type: None,
            config: &config,
            also: &[],
            names: name.as_slice(),
            by: "import",
        })?;
        Ok(image.id)
    }

    fn fetched(&self, url: &str, host: &Host, lease: &Lease) -> Result<PathBuf, Error> {
        let secrets = BTreeMap::new();
        let place = (host, self.network());
        Outside::new(place, Limits::default(), &secrets, None)
            .download(url, lease)
            .map_err(|source| Error::RemoteContext {
                url: redacted(url),
                source: Box::new(source),
            })
    }
}

/// `SOURCE_DATE_EPOCH` or now, as a config has it.
pub(crate) fn time(epoch: Option<&str>) -> Result<String, Error> {
    let Some(text) = epoch else {
        return Ok(jiff::Timestamp::now().to_string());
    };
    let wrong = |why: String| Error::Time {
        text: text.to_owned(),
        why,
    };
    let seconds: i64 = text
        .trim()
        .parse()
        .map_err(|_| wrong("it is not a whole number".to_owned()))?;
    let time = jiff::Timestamp::from_second(seconds).map_err(|error| wrong(error.to_string()))?;
    Ok(time.to_string())
}

/// The decompressed bytes of a file or of stdin.
fn open(path: Option<&Path>) -> Result<Inflate<Box<dyn Read>>, Error> {
    let (source, name): (Box<dyn Read>, &Path) = match path {
        Some(path) => (Box::new(fs::open(path)?), path),
        None => (Box::new(io::stdin()), Path::new("stdin")),
    };
    Ok(Inflate::new(source).context("read", name)?)
}
