//! `build`: finds the Dockerfile and what surrounds it, and hands it to the builder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use build::Event;
use build::{Limit, Network, Request, Text};
use oci::{Digest, ImageId, Platform, Reference};
use sys::fs::Context as _;
use sys::root::Root;

use crate::containers::Ulimit;
use crate::{Engine, Error};

/// Largest Dockerfile or ignore file, 16 MiB: the text is held in memory whole.
const MAX_TEXT: u64 = 16 << 20;

/// Where systems keep the certificate authorities that they trust, as one file.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile` in the context, or `dockerfile`.
    Default,
    /// This file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// What a build is asked for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The folder that COPY takes files from.
    pub context: PathBuf,
    /// Where the Dockerfile is.
    pub dockerfile: Dockerfile,
    /// Names for the image.
    pub tags: Vec<String>,
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// What it is to run on; this machine if not given.
    pub platform: Option<String>,
    /// Values for ARG.
    pub build_args: Vec<(String, String)>,
    /// Labels over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Use nothing that earlier builds made.
    pub no_cache: bool,
    /// The same for some stages.
    pub no_cache_stages: Vec<String>,
    /// Network of RUN: `default`, `host` or `none`.
    pub network: String,
    /// Lines for `/etc/hosts`: `NAME:ADDRESS`.
    pub add_hosts: Vec<String>,
    /// Limits for RUN.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` for RUN.
    pub shm_size: Option<u64>,
    /// RUN trusts the certificate authorities of this host.
    pub host_ca: bool,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub id: ImageId,
    /// Its manifest.
    pub digest: Digest,
    /// Its names, as people write them.
    pub names: Vec<String>,
    /// Bytes of its layers.
    pub size: u64,
    /// How long it took.
    pub took: Duration,
    /// The content of `--metadata-file`.
    pub metadata: serde_json::Value,
}

impl Engine {
    /// Builds an image; `events` hears of each step as it goes on.
    ///
    /// After `Ok` the image is in the store with its names. After an error the store has the layers of the steps that
    /// were done, so that the next build goes on from there, and nothing of the one that failed.
    ///
    /// # Errors
    ///
    /// The Dockerfile or the context cannot be read, the Dockerfile is wrong, or a step failed.
    pub fn build(
        &self,
        request: &BuildRequest,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Built, Error> {
        let began = Instant::now();
        let asked = read_request(request)?;
        let bases = build::Local(self.store());
        let built =
            build::build(&asked, self.store(), &bases, events).map_err(|source| Error::Build {
                name: asked.dockerfile.name.clone(),
                text: asked.dockerfile.text.clone(),
                source: Box::new(source),
            })?;
        Ok(Built {
            id: built.image.id,
            digest: built.image.digest,
            names: asked.tags.iter().map(Reference::familiar).collect(),
            size: built.image.size,
            took: began.elapsed(),
            metadata: built.metadata(),
        })
    }
}

/// Reads what the request names and understands its texts.
fn read_request(request: &BuildRequest) -> Result<Request, Error> {
    let context = sys::fs::canonicalize(&request.context)?;
    if !sys::fs::metadata(&context)?.is_dir() {
        return Err(Error::ContextNotAFolder(request.context.clone()));
    }
    let root = Root::open(&context)?;
    let (dockerfile, ignore) = read_dockerfile(request, &root, &context)?;
    let mut tags = Vec::new();
    for tag in &request.tags {
        let reference: Reference = tag.parse()?;
        if reference.digest().is_some() {
            return Err(Error::NameWithDigest(tag.clone()));
        }
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    let network = match request.network.as_str() {
        "default" | "host" => Network::Host,
        "none" => Network::None,
        other => return Err(Error::Network(other.to_owned())),
    };
    Ok(Request {
        dockerfile,
        context: Some(context),
        ignore,
        target: request.target.clone(),
        build_args: request
            .build_args
            .iter()
            .cloned()
            .collect::<BTreeMap<_, _>>(),
        labels: request.labels.clone(),
        tags,
        platform: request
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose()?,
        no_cache: request.no_cache,
        no_cache_stages: request.no_cache_stages.clone(),
        network,
        add_hosts: request
            .add_hosts
            .iter()
            .map(|text| crate::containers::host_line(text))
            .collect::<Result<_, _>>()?,
        limits: request.ulimits.iter().map(limit).collect(),
        shm_size: request.shm_size,
        host_ca: if request.host_ca {
            Some(find_ca_bundle()?)
        } else {
            None
        },
        now: now(),
        ..Request::default()
    })
}

/// Seconds since 1970 and nanoseconds.
fn now() -> (i64, u32) {
    let now = jiff::Timestamp::now();
    (now.as_second(), now.subsec_nanosecond().unsigned_abs())
}

fn limit(limit: &Ulimit) -> Limit {
    let name = limit
        .name
        .trim_start_matches("RLIMIT_")
        .to_ascii_lowercase();
    Limit {
        name,
        soft: limit.soft,
        hard: limit.hard,
    }
}

/// The Dockerfile and the ignore file that goes with it: `<Dockerfile>.dockerignore`, else `.dockerignore` in the context.
///
/// Files found in the context are resolved inside it, so that a link there cannot make us read another file of the host
/// (CVE-2026-44517, CVE-2022-4122); a file that the person named is theirs to name.
fn read_dockerfile(
    request: &BuildRequest,
    root: &Root,
    context: &Path,
) -> Result<(Text, Option<Text>), Error> {
    let in_context = |name: &str| -> Result<Option<Text>, Error> {
        match sys::fs::optional(root.open_file(Path::new(name)))? {
            Some(file) => Ok(Some(Text {
                name: name.to_owned(),
                text: read_text(file, &context.join(name))?,
            })),
            None => Ok(None),
        }
    };
    let (dockerfile, own) = match &request.dockerfile {
        Dockerfile::Stdin => {
            let text = read_text(std::io::stdin().lock(), Path::new("-"))?;
            (
                Text {
                    name: "Dockerfile".to_owned(),
                    text,
                },
                None,
            )
        }
        Dockerfile::File(path) => {
            let text = crate::read_text(path)?;
            let mut ignore = path.clone().into_os_string();
            ignore.push(".dockerignore");
            let ignore = PathBuf::from(ignore);
            let own = match sys::fs::exists(&ignore) {
                true => Some(Text {
                    name: display_name(&ignore),
                    text: crate::read_text(&ignore)?,
                }),
                false => None,
            };
            (
                Text {
                    name: display_name(path),
                    text,
                },
                own,
            )
        }
        Dockerfile::Default => match in_context("Dockerfile")? {
            Some(found) => (found, in_context("Dockerfile.dockerignore")?),
            None => match in_context("dockerfile")? {
                Some(found) => (found, in_context("dockerfile.dockerignore")?),
                None => return Err(Error::NoDockerfile(request.context.clone())),
            },
        },
    };
    let ignore = match own {
        Some(own) => Some(own),
        None => in_context(".dockerignore")?,
    };
    Ok((dockerfile, ignore))
}

fn display_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn read_text(reader: impl Read, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    let wrong =
        |why: &str| sys::fs::Error::new("read", path, std::io::Error::other(why.to_owned()));
    if bytes.len() as u64 > MAX_TEXT {
        return Err(wrong("it is larger than 16 MiB").into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text"))?)
}

/// The first bundle of certificate authorities that this host has.
fn find_ca_bundle() -> Result<PathBuf, Error> {
    CA_BUNDLES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or(Error::NoCaBundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(context: &Path, dockerfile: Dockerfile) -> BuildRequest {
        BuildRequest {
            context: context.to_owned(),
            dockerfile,
            tags: vec!["a".to_owned(), "a:latest".to_owned()],
            target: None,
            platform: None,
            build_args: Vec::new(),
            labels: Vec::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            network: "default".to_owned(),
            add_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            host_ca: false,
        }
    }

    #[test]
    fn f038_a_lower_case_dockerfile_is_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dockerfile"), "FROM scratch").unwrap();
        let read = read_request(&request(folder.path(), Dockerfile::Default)).unwrap();
        assert_eq!(read.dockerfile.text, "FROM scratch");
        assert_eq!(read.tags.len(), 1, "one image has a name once");
    }

    #[test]
    fn f212_an_ignore_file_of_the_dockerfile_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Dockerfile2");
        std::fs::write(&file, "FROM scratch").unwrap();
        std::fs::write(folder.path().join(".dockerignore"), "a").unwrap();
        let plain = read_request(&request(folder.path(), Dockerfile::File(file.clone()))).unwrap();
        assert_eq!(plain.ignore.unwrap().text, "a");
        std::fs::write(folder.path().join("Dockerfile2.dockerignore"), "b").unwrap();
        let own = read_request(&request(folder.path(), Dockerfile::File(file))).unwrap();
        assert_eq!(own.ignore.unwrap().text, "b");
    }

    #[test]
    fn a_link_in_the_context_does_not_lead_out_of_it() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "FROM secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("Dockerfile");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        assert!(read_request(&request(folder.path(), Dockerfile::Default)).is_err());
    }

    #[test]
    fn a_fifo_as_dockerfile_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("Dockerfile");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert!(read_request(&request(folder.path(), Dockerfile::Default)).is_err());
    }
}
