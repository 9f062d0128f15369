//! A registry in memory: enough of the protocol for a client.

use std::collections::BTreeMap;

use oci::Digest;

use super::http::{Ask, Reply};

/// What a registry has.
#[derive(Debug, Default)]
pub struct Memory {
    /// Blobs by repository and digest.
    pub blobs: BTreeMap<(String, Digest), Vec<u8>>,
    /// Manifests by repository and digest: media type and bytes.
    pub manifests: BTreeMap<(String, Digest), (String, Vec<u8>)>,
    /// Digests by repository and tag.
    pub tags: BTreeMap<(String, String), Digest>,
    /// Uploads by their number: what there is of them.
    pub uploads: BTreeMap<usize, Vec<u8>>,
    next: usize,
}

/// The parts of `/v2/<name>/<kind>/<rest>`.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let path = path.strip_prefix("/v2/")?;
    for kind in ["/blobs/", "/manifests/", "/tags/", "/referrers/"] {
        if let Some(at) = path.rfind(kind) {
            let name = &path[..at];
            return Some((name, kind.trim_matches('/'), &path[at + kind.len()..]));
        }
    }
    None
}

fn query<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn digest_of(text: &str) -> Option<Digest> {
    text.replace("%3A", ":").parse().ok()
}

impl Memory {
    /// Puts a blob; its digest.
    pub fn blob(&mut self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        self.blobs
            .insert((name.to_owned(), digest), bytes.to_owned());
        digest
    }

    /// Puts a manifest with a tag; its digest.
    pub fn manifest(&mut self, name: &str, tag: &str, kind: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        let key = (name.to_owned(), digest);
        self.manifests
            .insert(key, (kind.to_owned(), bytes.to_owned()));
        self.tags.insert((name.to_owned(), tag.to_owned()), digest);
        digest
    }

    /// Keeps what came of an upload that broke.
    pub(super) fn keep_part(&mut self, ask: &Ask, part: &[u8]) {
        let number = ask.path.split('?').next().and_then(upload_number);
        if let Some(upload) = number.and_then(|number| self.uploads.get_mut(&number)) {
            upload.extend_from_slice(part);
        }
    }

    /// The answer to a request.
    pub(super) fn answer(&mut self, ask: &Ask, body: &[u8]) -> Reply {
        let (path, query) = ask.path.split_once('?').unwrap_or((&ask.path, ""));
        if path == "/v2/" {
            return Reply::status(200).body("{}");
        }
        let Some((name, kind, rest)) = parts(path) else {
            return Reply::status(404);
        };
        match (kind, rest.strip_prefix("uploads/")) {
            ("blobs", Some(id)) => self.upload(ask, (name, id, query), body),
            ("blobs", None) => self.get_blob(ask, name, rest),
            ("manifests", _) => self.manifests(ask, name, rest, body),
            ("tags", _) => self.list(name),
            _ => Reply::status(404),
        }
    }

    fn get_blob(&self, ask: &Ask, name: &str, digest: &str) -> Reply {
        let found = digest_of(digest).and_then(|it| self.blobs.get(&(name.to_owned(), it)));
        let Some(blob) = found else {
            return Reply::status(404)
                .body(r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"?"}]}"#);
        };
        let from = ask.header("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        match from {
            Some(from) if from < blob.len() => Reply::status(206)
                .header(
                    "Content-Range",
                    format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()),
                )
                .body(&blob[from..]),
            Some(_) => Reply::status(416),
            None => Reply::status(200)
                .header("Docker-Content-Digest", digest)
                .body(blob.clone()),
        }
    }

    fn upload(&mut self, ask: &Ask, (name, id, query): (&str, &str, &str), body: &[u8]) -> Reply {
        let location = |number: usize| format!("/v2/{name}/blobs/uploads/{number}?state=a%2Fb");
        if ask.method == "POST" {
            let mount = self::query(query, "mount").and_then(digest_of);
            let from = self::query(query, "from").map(|from| from.replace("%2F", "/"));
            if let (Some(digest), Some(from)) = (mount, from)
                && let Some(blob) = self.blobs.get(&(from, digest)).cloned()
            {
                self.blobs.insert((name.to_owned(), digest), blob);
                return Reply::status(201).header("Location", "/");
            }
            self.next += 1;
            self.uploads.insert(self.next, Vec::new());
            return Reply::status(202).header("Location", location(self.next));
        }
        let Some(number) = id.parse().ok() else {
            return Reply::status(404);
        };
        let Some(upload) = self.uploads.get_mut(&number) else {
            return Reply::status(404)
                .body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"?"}]}"#);
        };
        let begins = ask
            .header("content-range")
            .and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        if begins.is_some_and(|begins| begins != upload.len()) {
            return Reply::status(416);
        }
        let range = |upload: &[u8]| format!("0-{}", upload.len().saturating_sub(1));
        match ask.method.as_str() {
            "PATCH" => {
                upload.extend_from_slice(body);
                Reply::status(202)
                    .header("Range", range(upload))
                    .header("Location", location(number))
            }
            "GET" => Reply::status(204)
                .header("Range", range(upload))
                .header("Location", location(number)),
            "PUT" => {
                upload.extend_from_slice(body);
                let said = self::query(query, "digest").and_then(digest_of);
                let found = Digest::sha256_of(upload);
                let whole = self.uploads.remove(&number).unwrap_or_default();
                if said != Some(found) {
                    return Reply::status(400)
                        .body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"?"}]}"#);
                }
                self.blobs.insert((name.to_owned(), found), whole);
                Reply::status(201).header("Location", format!("/v2/{name}/blobs/{found}"))
            }
            "DELETE" => {
                self.uploads.remove(&number);
                Reply::status(204)
            }
            _ => Reply::status(405),
        }
    }

    fn manifests(&mut self, ask: &Ask, name: &str, which: &str, body: &[u8]) -> Reply {
        let tagged = self.tags.get(&(name.to_owned(), which.to_owned()));
        let digest = digest_of(which).or_else(|| tagged.copied());
        let unknown = || {
            Reply::status(404)
                .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
        };
        match ask.method.as_str() {
            "PUT" => {
                let digest = Digest::sha256_of(body);
                let kind = ask.header("content-type").unwrap_or_default().to_owned();
                self.manifests
                    .insert((name.to_owned(), digest), (kind, body.to_owned()));
                if digest_of(which).is_none() {
                    self.tags
                        .insert((name.to_owned(), which.to_owned()), digest);
                }
                Reply::status(201)
                    .header("Location", "/")
                    .header("Docker-Content-Digest", digest)
            }
            "DELETE" => {
                let known = digest.and_then(|it| self.manifests.remove(&(name.to_owned(), it)));
                self.tags.retain(|_, tagged| Some(*tagged) != digest);
                known.map_or_else(unknown, |_| Reply::status(202))
            }
            _ => {
                let found = digest.and_then(|it| {
                    let (kind, bytes) = self.manifests.get(&(name.to_owned(), it))?;
                    Some((it, kind, bytes))
                });
                let Some((digest, kind, bytes)) = found else {
                    return unknown();
                };
                Reply::status(200)
                    .header("Content-Type", kind)
                    .header("Docker-Content-Digest", digest)
                    .body(bytes.clone())
            }
        }
    }

    fn list(&self, name: &str) -> Reply {
        let tags = self.tags.keys().filter(|(found, _)| found == name);
        let tags: Vec<&String> = tags.map(|(_, tag)| tag).collect();
        let body = serde_json::json!({ "name": name, "tags": tags });
        Reply::status(200).body(body.to_string())
    }
}

fn upload_number(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.parse().ok()
}
