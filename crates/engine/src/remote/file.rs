//! A file behind a URL as a layer with one file in it.
//!
//! Two records lead to it. One is found by the URL and says which ETag the file had: if the server says that it still has that, nothing is
//! fetched. The other is found by checksum and name: whoever names a checksum needs no server at all.

use std::io::Read as _;
use std::path::PathBuf;

use build::{Bringing, HttpSource};
use distribution::client::Secret;
use dockerfile::remote::file_name;
use layer::{Follow, Meta, Time};
use oci::{DiffId, Digest};
use serde_json::json;
use store::{Lease, Record};
use sys::fs::Context as _;

use super::http::{Ask, Fetched, HttpError};
use super::url::Url;
use super::{Outside, RemoteError, basic, key};
use crate::transfer::Inflate;

/// The mode of a file that was downloaded: whoever wants others to read it says so.
const MODE: u32 = 0o600;

/// Bytes read at once.
const BUFFER: usize = 128 << 10;

/// A file in a layer of its own.
#[derive(Debug, Clone)]
pub(crate) struct FileLayer {
    pub(crate) layer: DiffId,
    pub(crate) name: String,
    /// SHA-256 of its bytes.
    pub(crate) digest: Digest,
    /// What the server said about when it was changed last.
    pub(crate) modified: Option<i64>,
    /// It was there already.
    pub(crate) cached: bool,
    etag: Option<String>,
}

impl Outside<'_> {
    /// Brings a file.
    pub(crate) fn file(
        &self,
        source: &HttpSource,
        lease: &Lease,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<FileLayer, RemoteError> {
        let url = Url::parse(&source.url)?;
        let name = file_name(&source.url);
        let by_sum = source
            .checksum
            .as_ref()
            .map(|checksum| key("file", &[checksum, &name]));
        if let Some(by_sum) = &by_sum
            && let Some(known) = recall(lease, by_sum, &name)?
        {
            return Ok(known);
        }
        let authorization = self.authorization(&url)?;
        let by_url = key("url", &[&source.url]);
        let known = recall(lease, &by_url, &name)?;
        let ask = Ask {
            url: &url,
            authorization,
            etag: None,
        };
        if let Some(known) = known
            && let Some(etag) = &known.etag
            && has_checksum(&known, source)
        {
            let ask = Ask {
                etag: Some(etag),
                ..ask.clone()
            };
            if self.client.is_same(&ask)? {
                lease.store().touch_records(&[by_url])?;
                return Ok(known);
            }
        }
        let path = lease.temporary("download");
        let fetched = self.client.fetch(&ask, &path, tell)?;
        // Nobody asked whether it is the same.
        let Some(fetched) = fetched else {
            return Err(HttpError::Unasked {
                url: url.to_string(),
            }
            .into());
        };
        let kept = self.keep(source, &url, &name, &fetched, lease);
        sys::fs::remove_file(&path)?;
        let found = kept?;
        remember(lease, &by_url, &found)?;
        let sum = key("file", &[&found.digest.to_string(), &name]);
        remember(lease, &sum, &found)?;
        if let Some(by_sum) = by_sum.filter(|key| *key != sum) {
            remember(lease, &by_sum, &found)?;
        }
        Ok(found)
    }

    /// Brings a file and keeps nothing of it beyond the lease; gives where it is.
    pub(crate) fn download(&self, url: &str, lease: &Lease) -> Result<PathBuf, RemoteError> {
        let url = Url::parse(url)?;
        let ask = Ask {
            url: &url,
            authorization: self.authorization(&url)?,
            etag: None,
        };
        let path = lease.temporary("download");
        match self.client.fetch(&ask, &path, &|_| ())? {
            Some(fetched) => Ok(fetched.path),
            None => Err(HttpError::Unasked {
                url: url.to_string(),
            }
            .into()),
        }
    }

    /// Checks a downloaded file and makes a layer of it.
    fn keep(
        &self,
        source: &HttpSource,
        url: &Url,
        name: &str,
        fetched: &Fetched,
        lease: &Lease,
    ) -> Result<FileLayer, RemoteError> {
        if let Some(expected) = &source.checksum {
            let found = checksum(expected, fetched)?;
            if found != *expected {
                return Err(RemoteError::Checksum {
                    url: url.to_string(),
                    expected: expected.clone(),
                    found,
                });
            }
        }
        let mut meta = Meta::file(fetched.size, MODE);
        meta.mtime = Time::from_secs(fetched.headers.modified.unwrap_or_default());
        let file = sys::fs::open(&fetched.path)?;
        let mut ingest = lease.ingest_layer()?;
        ingest
            .writer()
            .append_file(name.as_bytes(), &meta, &file, 0)
            .map_err(|source| RemoteError::Layer {
                source_name: url.to_string(),
                source,
            })?;
        Ok(FileLayer {
            layer: *ingest.publish()?.diff_id(),
            name: name.to_owned(),
            digest: fetched.digest,
            modified: fetched.headers.modified,
            cached: false,
            etag: fetched.headers.etag.clone(),
        })
    }

    /// What is sent to the server of `url` to be let in.
    fn authorization(&self, url: &Url) -> Result<Option<Secret>, RemoteError> {
        let value = |name: &str, text: String| {
            let fine = |b: u8| b == b'\t' || (b >= b' ' && b != 0x7f);
            match text.bytes().all(fine) {
                true => Ok(Some(Secret::new(text))),
                false => Err(HttpError::Secret(name.to_owned()).into()),
            }
        };
        for host in [url.authority(), url.host.clone()] {
            let name = format!("HTTP_AUTH_HEADER_{host}");
            if let Some(header) = self.secret(&name)? {
                return value(&name, header);
            }
            let name = format!("HTTP_AUTH_TOKEN_{host}");
            if let Some(token) = self.secret(&name)? {
                return value(&name, format!("Bearer {token}"));
            }
        }
        match &url.user {
            Some((user, password)) => value("user", basic(user, password)),
            None => Ok(None),
        }
    }

    /// The members of an archive as a layer; `None` if the file is no archive.
    pub(crate) fn archive(
        &self,
        file: &FileLayer,
        lease: &Lease,
    ) -> Result<Option<DiffId>, RemoteError> {
        let key = key("archive", &[&file.digest.to_string()]);
        if let Some(record) = lease.find_record(&key)? {
            return Ok(record.layers.first().copied());
        }
        let view = lease.view(&[file.layer])?;
        let Some(node) = view.lookup(file.name.as_bytes(), Follow::No)? else {
            return Ok(None);
        };
        let inflated = || -> Result<_, RemoteError> {
            Ok(Inflate::new(view.open(&node)?).context("read", file.name.as_ref())?)
        };
        if !matches!(layer::tar::Reader::new(inflated()?).next(), Ok(Some(_))) {
            return Ok(None);
        }
        let mut ingest = lease.ingest_layer()?;
        ingest
            .writer()
            .copy_tar(&mut inflated()?)
            .map_err(|source| RemoteError::Layer {
                source_name: file.name.clone(),
                source,
            })?;
        let layer = *ingest.publish()?.diff_id();
        lease.put_record(&Record {
            definition: key.clone(),
            key,
            parts: vec![("archive".to_owned(), file.digest.to_string())],
            output: json!({ "layer": layer }),
            layers: vec![layer],
            created: 0,
            last_used: 0,
        })?;
        Ok(Some(layer))
    }
}

/// Whether a file that is known has the checksum that is asked for, as far as that can be told without reading it.
fn has_checksum(known: &FileLayer, source: &HttpSource) -> bool {
    source
        .checksum
        .as_ref()
        .is_none_or(|checksum| *checksum == known.digest.to_string())
}

/// The checksum of a file, by the algorithm that `expected` names.
fn checksum(expected: &str, fetched: &Fetched) -> Result<String, RemoteError> {
    let algorithm = expected.split(':').next().unwrap_or_default();
    match algorithm {
        "sha384" => hash::<sha2::Sha384>(algorithm, fetched),
        "sha512" => hash::<sha2::Sha512>(algorithm, fetched),
        _ => Ok(fetched.digest.to_string()),
    }
}

fn hash<H: sha2::Digest>(algorithm: &str, fetched: &Fetched) -> Result<String, RemoteError> {
    let mut hasher = H::new();
    let mut file = sys::fs::open(&fetched.path)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).context("read", &fetched.path)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{algorithm}:{hex}"))
}

fn recall(lease: &Lease, key: &str, name: &str) -> Result<Option<FileLayer>, RemoteError> {
    let Some(record) = lease.find_record(key)? else {
        return Ok(None);
    };
    let text = |field: &str| {
        let value = record.output.get(field)?;
        value.as_str().map(str::to_owned)
    };
    let layer = text("layer").and_then(|layer| layer.parse().ok());
    let digest = text("digest").and_then(|digest| digest.parse().ok());
    let (Some(layer), Some(digest)) = (layer, digest) else {
        return Ok(None);
    };
    Ok(record.layers.contains(&layer).then(|| FileLayer {
        layer,
        name: name.to_owned(),
        digest,
        modified: record.output["modified"].as_i64(),
        cached: true,
        etag: text("etag"),
    }))
}

fn remember(lease: &Lease, key: &str, file: &FileLayer) -> Result<(), RemoteError> {
    Ok(lease.put_record(&Record {
        key: key.to_owned(),
        definition: key.to_owned(),
        parts: vec![("content".to_owned(), file.digest.to_string())],
        output: json!({
            "layer": file.layer,
            "digest": file.digest,
            "modified": file.modified,
            "etag": file.etag,
        }),
        layers: vec![file.layer],
        created: 0,
        last_used: 0,
    })?)
}
