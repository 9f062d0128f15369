//! RUN: a process in a sandbox over the layers so far; what is in the overlay's upper directory afterwards is the layer.

mod agent;
mod bind;
mod environment;

use std::io;
use std::path::{Path, PathBuf};

use dockerfile::mount::{MountType, Sharing};
use layer::CaptureOptions;
use oci::DiffId;
use runtime::{Exit, Mount, MountSource, Rlimit, Spec, Upper};

use crate::copy::CopyError;
use crate::error::StepError;
use crate::events::Stream;
use crate::keys::{Key, hex};
use crate::plan::graph::{CopyStep, Origin, RunMount, RunStep, Step};
use crate::request::Network;
use crate::rootfs::Rootfs;
use crate::solve::{Outcome, Solver};
use crate::tell::Telling;
use crate::users;

/// What the sandbox is called, as with BuildKit: programs of a build see it, so it must always be the same.
const HOSTNAME: &str = "buildkitsandbox";

/// Where the host's CA bundle is mounted.
const HOST_CA: &str = "/run/barque/host-ca.crt";

/// How much of the last output an error carries.
const TAIL: usize = 16 << 10;

/// Why a RUN failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The process ended with another code than 0, or was killed.
    #[error("process `{command}` did not complete successfully: {}", ended(*.exit))]
    Exit {
        /// What was run.
        command: String,
        /// How it ended.
        exit: Exit,
    },
    /// It could not be started.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The user is unknown.
    #[error(transparent)]
    User(#[from] crate::users::UserError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// What it changed could not become a layer.
    #[error(transparent)]
    Capture(#[from] layer::CaptureError),
    /// A cache could not be made.
    #[error(transparent)]
    Cache(#[from] crate::caches::CacheError),
    /// A secret that the step cannot do without was not given.
    #[error("the secret `{0}` is required, and none was given")]
    NoSecret(String),
    /// A secret that is too large.
    #[error("the secret `{0}` is larger than 500 KiB")]
    LargeSecret(String),
    /// An agent that the step cannot do without was not given.
    #[error("the ssh agent `{0}` is required, and none was given")]
    NoAgent(String),
    /// An agent that was given cannot be reached.
    #[error("cannot forward the ssh agent `{id}`")]
    Agent {
        /// Which.
        id: String,
        /// Why.
        source: io::Error,
    },
}

fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code: {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
    }
}

impl Solver<'_> {
    /// Runs a RUN, or finds what it made.
    pub(crate) fn run(
        &mut self,
        step: &Step,
        run: &RunStep,
        base: &[DiffId],
        telling: &mut Telling<'_>,
    ) -> Result<Outcome, StepError> {
        let mut key = Key::new("run");
        for word in &run.argv {
            key.define("argument", word);
        }
        if let Some((name, content)) = &run.script {
            key.define(
                format!("script {name}"),
                hex(blake3::hash(content.as_bytes()).as_bytes()),
            );
        }
        key.define("directory", &run.cwd);
        key.define("user", &run.user);
        key.define("network", format!("{:?}", run.network));
        if run.insecure {
            key.define("security", "insecure");
        }
        key.define("hostname", run.hostname.clone().unwrap_or_default());
        for mount in &run.mounts {
            if let Some(text) = mount_text(mount) {
                key.define(format!("mount {}", mount.target), text);
            }
        }
        for (name, value) in &run.env {
            key.part(format!("variable {name}"), value);
        }
        key.layers("base", base);
        let mut bound_layers = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let layers = self.mount_layers(step, mount, telling)?;
            if mount.mount.mount_type == MountType::Bind {
                key.layers(format!("content of {}", mount.target), &layers);
            }
            bound_layers.push(layers);
        }
        if let Some(found) = self.recall(step, &key.key())? {
            return Ok(found);
        }
        telling.told();
        let layer = self.execute((step, run), base, &bound_layers, telling)?;
        let created = self.created();
        self.remember(key, layer, &created)?;
        Ok(Outcome {
            layer,
            created,
            cached: false,
        })
    }

    /// The layers that a mount shows. Files of a context become a layer first: what the ignore file names is not in it, and
    /// nothing that changes in the context meanwhile is seen.
    fn mount_layers(
        &mut self,
        step: &Step,
        mount: &RunMount,
        telling: &mut Telling<'_>,
    ) -> Result<Vec<DiffId>, StepError> {
        let origin = match &mount.origin {
            None => return Ok(Vec::new()),
            Some(Origin::Step(from)) => return Ok(self.layers(*from).to_vec()),
            Some(origin) => origin,
        };
        let copy = CopyStep {
            origin: origin.clone(),
            origin_name: mount.mount.from.clone().map_or_else(
                || "the build context".to_owned(),
                |from| format!("`{from}`"),
            ),
            sources: vec![mount.mount.source.clone()],
            inline: Vec::new(),
            destination: bind::mounted_path(&mount.mount.source),
            into_directory: false,
            owner: None,
            mode: None,
            link: true,
            parents: false,
            optional: false,
            exclude: Vec::new(),
            unpack: false,
        };
        let outcome = self.copy(step, &copy, &[], telling)?;
        Ok(vec![outcome.layer])
    }

    fn execute(
        &mut self,
        (step, run): (&Step, &RunStep),
        base: &[DiffId],
        bound_layers: &[Vec<DiffId>],
        telling: &mut Telling<'_>,
    ) -> Result<DiffId, StepError> {
        let bound = self.bind(run, bound_layers, step.no_cache, telling)?;
        let root = self.rootfs(base)?;
        let account = users::account(&root, &run.user).map_err(ExecError::from)?;
        let (dir, upper) = self.upper(&root)?;
        let plan = self.lease.root_plan(base, Some(upper.clone()))?;
        let id = format!("build-{}-{}", std::process::id(), telling.told().number);
        let mut spec = Spec::new(&id, plan, run.argv.clone());
        spec.hostname = run.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned());
        spec.cwd = PathBuf::from(&run.cwd);
        spec.user = account.user.clone();
        spec.env = environment::of(
            run,
            &bound,
            self.request.host_ca.is_some(),
            &account.home,
            &spec.hostname,
        );
        if run.insecure {
            spec.make_privileged();
        }
        spec.network = match run.network {
            Network::Host => runtime::Network::Host,
            Network::None => runtime::Network::None,
        };
        if let Some(size) = self.request.shm_size.filter(|size| *size > 0) {
            spec.shm_size = size;
        }
        let limits = self.request.limits.iter();
        spec.rlimits = limits
            .map(|limit| Rlimit {
                name: limit.name.clone(),
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect();
        let host_network = run.network == Network::Host;
        spec.mounts = runtime::etc::mounts(&spec.hostname, &self.request.add_hosts, host_network)
            .map_err(ExecError::from)?;
        spec.mounts.extend(bound.mounts.iter().cloned());
        spec.mounts.extend(script_mount(run));
        if let Some(path) = &self.request.host_ca {
            let path = sys::fs::canonicalize(path).map_err(ExecError::from)?;
            let source = MountSource::Bind {
                path,
                recursive: false,
            };
            spec.mounts.push(Mount {
                target: HOST_CA.into(),
                source,
                readonly: true,
            });
        }
        let exit = watch(&spec, telling)?;
        drop(bound);
        if exit != Exit::Code(0) {
            let command = run.argv.join(" ");
            return Err(ExecError::Exit { command, exit }.into());
        }
        let mut ingest = self.lease.ingest_layer()?;
        let options = CaptureOptions {
            below: Some(root.view()),
            ..CaptureOptions::default()
        };
        layer::capture(&upper.dir, ingest.writer(), &options).map_err(ExecError::from)?;
        let layer = *ingest.publish()?.diff_id();
        // What cannot be removed now goes with the lease.
        sys::fs::remove_dir_all(&dir).ok();
        Ok(layer)
    }

    /// An empty upper directory, with the mode of the root that it lies over.
    fn upper(&self, root: &Rootfs) -> Result<(PathBuf, Upper), StepError> {
        let make = || -> Result<_, sys::fs::Error> {
            let dir = self.lease.temporary("run");
            let upper = Upper {
                dir: dir.join("upper"),
                work: dir.join("work"),
                volatile: true,
            };
            sys::fs::create_dir(&dir)?;
            sys::fs::create_dir(&upper.dir)?;
            sys::fs::create_dir(&upper.work)?;
            Ok((dir, upper))
        };
        let (dir, upper) = make().map_err(ExecError::from)?;
        let stat = root
            .view()
            .root()
            .and_then(|top| top.map(|top| root.stat(&top)).transpose());
        let mode = stat
            .map_err(CopyError::from)?
            .map_or(0o755, |stat| stat.mode);
        sys::fs::set_mode(&upper.dir, mode).map_err(ExecError::from)?;
        Ok((dir, upper))
    }
}

/// What of a mount is part of a step's definition: not where a cache is kept or how it is shared, not secrets' values.
fn mount_text(mount: &RunMount) -> Option<String> {
    let mut of = mount.mount.clone();
    match of.mount_type {
        MountType::Cache => {
            of.id = None;
            of.sharing = Sharing::default();
        }
        MountType::Bind | MountType::Tmpfs | MountType::Secret | MountType::Ssh => {}
    }
    Some(format!("{of:?}"))
}

fn script_mount(run: &RunStep) -> Option<Mount> {
    let (name, content) = run.script.as_ref()?;
    Some(Mount {
        target: Path::new("/dev/pipes").join(name),
        source: MountSource::File {
            content: content.clone().into_bytes(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        },
        readonly: true,
    })
}

/// Runs the container to its end, passing on what it writes.
fn watch(spec: &Spec, telling: &mut Telling<'_>) -> Result<Exit, ExecError> {
    let mut tail = Vec::new();
    let told = telling.told();
    let exit = runtime::run(spec, runtime::Stdio::default(), &mut |stream, bytes| {
        let stream = match stream {
            runtime::Stream::Stdout => Stream::Out,
            runtime::Stream::Stderr => Stream::Err,
        };
        told.log(stream, bytes);
        tail.extend_from_slice(bytes);
        if tail.len() > 2 * TAIL {
            tail.drain(..tail.len() - TAIL);
        }
    })?;
    telling.output = tail;
    Ok(exit)
}
