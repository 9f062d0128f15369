//! `build`: finds the Dockerfile and what surrounds it, and hands it to the builder.

mod call;
mod context;
mod goals;
mod grants;
mod include;
mod named;
mod output;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use build::{Event, Text};
use build::{Limit, Network, Request, Teller};
pub use call::{Answer, Call, Question, call};
pub use context::{ContextSource, Dockerfile};
pub use dockerfile::lint::Asked;
pub use dockerfile::{Diagnostic, InvalidValue, Label, Severity, Span, parse_including};
pub use goals::Goal;
pub use grants::{Agent, AgentSource, Here, Secret};
use oci::{Digest, Platform, Reference};
pub use output::{Annotation, Form, Output, OutputError, Place, Target, annotations, output};
use store::Lease;

use crate::containers::Ulimit;
use crate::remote::{Host, Limits, Outside};
use crate::{Engine, Error};

/// Where systems keep the certificate authorities that they trust, as one file.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The ssh agent that fetching uses: the one that `--ssh` gives if it says nothing else.
const DEFAULT_AGENT: &str = "default";

/// What a build is asked for.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// What COPY takes files from.
    pub context: ContextSource,
    /// Where the Dockerfile is.
    pub dockerfile: Dockerfile,
    /// What names in the Dockerfile mean: `NAME=SOURCE`.
    pub contexts: Vec<String>,
    /// Names for the image.
    pub tags: Vec<String>,
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// What it is to run on, several with commas between them; this machine if not given.
    pub platforms: Vec<String>,
    /// What becomes of it; an image in the store if nothing is said.
    pub outputs: Vec<Output>,
    /// Free data for the documents of the image: `[TYPE:]KEY=VALUE`.
    pub annotations: Vec<String>,
    /// Values for ARG.
    pub build_args: Vec<(String, String)>,
    /// Checks beyond Docker's.
    pub also_check: Asked,
    /// Labels over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Ask registries for base images even if the store has them.
    pub pull: bool,
    /// Use nothing that earlier builds made.
    pub no_cache: bool,
    /// The same for some stages.
    pub no_cache_stages: Vec<String>,
    /// Secrets for RUN.
    pub secrets: Vec<Secret>,
    /// Agents for RUN.
    pub agents: Vec<Agent>,
    /// What RUN may ask for: `network.host`, `security.insecure`.
    pub allow: Vec<String>,
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
    /// What of this machine's surroundings the network needs.
    pub host: Host,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image's id, or the digest of an index of several; nothing if only files were asked for.
    pub id: Option<Digest>,
    /// The manifest or the index.
    pub digest: Option<Digest>,
    /// Its names, as people write them.
    pub names: Vec<String>,
    /// Bytes of its layers, those of all platforms together.
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
        let goal = Goal {
            stage: request.target.clone(),
            tags: request.tags.clone(),
        };
        let mut built = self.build_all(request, &[goal], events)?;
        Ok(built.remove(0))
    }

    /// Builds several stages of one Dockerfile; what they have in common is built once, also without the cache.
    ///
    /// Target and names of the request are not looked at: each goal has its own. The images get their names when all of them
    /// are built. Gives as many results as there are goals.
    ///
    /// # Errors
    ///
    /// As [`Engine::build`].
    pub fn build_all(
        &self,
        request: &BuildRequest,
        goals: &[Goal],
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Vec<Built>, Error> {
        let began = Instant::now();
        let lease = self.store().lease("build")?;
        let teller = Teller::new(events);
        // They listen until the build is done.
        let agents = grants::Agents::open(&request.agents, self.store())?;
        let asked = read_request((request, self.network()), &agents.sockets, &lease, &teller)?;
        let platforms = output::platforms(&request.platforms)?;
        let named = goals::named(goals)?;
        let annotations = output::all_annotations(&request.annotations)?;
        let store_only = [Output::new(Form::Image, Place::Store)];
        let outputs = match &request.outputs[..] {
            [] => &store_only[..],
            outputs => outputs,
        };
        let listed = match platforms.len() > 1 || output::forces_index(&asked.build_args) {
            true if platforms.is_empty() => &[Platform::host()][..],
            true => &platforms[..],
            false => &[],
        };
        output::check(outputs, listed, &annotations)?;
        output::check_pushes(self, outputs, &named)?;
        let bases = crate::exchange::Bases {
            engine: self,
            lease: lease.clone(),
            always: request.pull,
            teller: &teller,
        };
        let secrets = asked.secrets.clone();
        let agent = agents.sockets.get(DEFAULT_AGENT).map(PathBuf::as_path);
        let sources = build::Sources {
            lease: &lease,
            bases: &bases,
            remote: &Outside::new(
                (&request.host, self.network()),
                Limits::default(),
                &secrets,
                agent,
            ),
        };
        let solved = goals::solve(asked, &named, &platforms, &sources, &teller)?;
        let mut built = Vec::with_capacity(goals.len());
        for (tags, solved) in &solved {
            let job = output::Job {
                solved,
                platforms: listed,
                tags,
                annotations: &annotations,
                lease: &lease,
                teller: &teller,
                engine: self,
            };
            let result = job.write(outputs)?;
            let mut size = 0;
            for layer in solved.iter().flat_map(build::Solved::layers) {
                let found = self.store().find_layer(layer)?;
                size += found.map_or(0, |layer| layer.size());
            }
            built.push(Built {
                id: result.id,
                digest: result.digest,
                names: result.names.iter().map(Reference::familiar).collect(),
                size,
                took: began.elapsed(),
                metadata: result.metadata,
            });
        }
        Ok(built)
    }
}

/// Reads what the request names and understands its texts.
fn read_request(
    (request, outside): (&BuildRequest, &crate::exchange::Network),
    sockets: &BTreeMap<String, PathBuf>,
    lease: &Lease,
    teller: &Teller<'_>,
) -> Result<Request, Error> {
    let secrets = request
        .secrets
        .iter()
        .map(|secret| (secret.id.clone(), secret.source.clone()))
        .collect();
    // The person named the context, so it may be fetched with their own keys.
    let own = sockets.get(DEFAULT_AGENT);
    let own = own.or(request.host.ssh_agent.as_ref());
    let outside = Outside::new(
        (&request.host, outside),
        Limits::default(),
        &secrets,
        own.map(PathBuf::as_path),
    );
    let opened = context::open(request, &outside, lease, teller)?;
    let includes = include::read(&opened.dockerfile.text, &opened.near);
    let network = match request.network.as_str() {
        "default" | "host" => Network::Host,
        "none" => Network::None,
        other => return Err(Error::Network(other.to_owned())),
    };
    Ok(Request {
        dockerfile: opened.dockerfile,
        includes,
        also_check: request.also_check.clone(),
        context: opened.files,
        context_time: opened.time,
        ignore: opened.ignore,
        contexts: named::contexts(&request.contexts)?,
        build_args: request
            .build_args
            .iter()
            .cloned()
            .collect::<BTreeMap<_, _>>(),
        labels: request.labels.clone(),
        no_cache: request.no_cache,
        no_cache_stages: request.no_cache_stages.clone(),
        secrets,
        ssh: sockets.clone(),
        grants: grants::allowed(&request.allow, request.network == "host")?,
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

/// The first bundle of certificate authorities that this host has.
fn find_ca_bundle() -> Result<PathBuf, Error> {
    CA_BUNDLES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or(Error::NoCaBundle)
}
