//! The mounts of a RUN: what the Dockerfile asks for, and what the build was given, as the runtime mounts it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use dockerfile::mount::MountType;
use oci::DiffId;
use runtime::{Mount, MountSource, RootPlan, Upper};
use store::Cache;
use sys::fs::Context as _;

use super::ExecError;
use super::agent::Forwarding;
use crate::caches::{self, Wanted};
use crate::error::StepError;
use crate::events::Stream;
use crate::plan::graph::{Origin, RunMount, RunStep};
use crate::request::SecretSource;
use crate::solve::Solver;
use crate::tell::Telling;

/// The build argument that keeps the caches of builds apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The largest secret, as with BuildKit.
const MAX_SECRET: u64 = 500 << 10;

/// Where secrets appear that have no target.
const SECRETS: &str = "/run/secrets";

/// Where agents appear that have no target; a number follows.
const AGENTS: &str = "/run/buildkit/ssh_agent";

/// The mounts of a RUN, and what they need while it runs.
#[derive(Default)]
pub(super) struct Bound {
    /// Parents before what lies below them.
    pub(super) mounts: Vec<Mount>,
    /// Secrets as variables.
    pub(super) secrets: Vec<(String, String)>,
    /// Where the first agent is, for `SSH_AUTH_SOCK`.
    pub(super) agent: Option<String>,
    /// Caches are not to be pruned while they are used.
    _caches: Vec<Cache>,
    _agents: Vec<Forwarding>,
}

impl Solver<'_> {
    /// Makes mounts of what the Dockerfile asks for. What is required and was not given is an error before anything is made.
    pub(super) fn bind(
        &mut self,
        run: &RunStep,
        layers: &[Vec<DiffId>],
        no_cache: bool,
        telling: &mut Telling<'_>,
    ) -> Result<Bound, StepError> {
        self.all_given(run)?;
        let mut bound = Bound::default();
        let mut caches = self.open_caches(run, layers, no_cache, &mut bound, telling)?;
        let mut agents = 0;
        for (mount, layers) in run.mounts.iter().zip(layers) {
            let mut target = PathBuf::from(&mount.target);
            let source = match mount.mount.mount_type {
                MountType::Bind => {
                    let upper = match mount.mount.read_only {
                        true => None,
                        false => Some(self.upper(&self.rootfs(layers)?)?.1),
                    };
                    self.layers_source(mount, layers, upper)?
                }
                MountType::Cache => caches.remove(0),
                MountType::Tmpfs => MountSource::Tmpfs {
                    size: mount.mount.size,
                    mode: 0o1777,
                    exec: true,
                },
                MountType::Secret => {
                    if mount.mount.target.is_empty() {
                        target = Path::new(SECRETS).join(mount.mount.secret_id());
                    }
                    match self.secret(mount, &mut bound.secrets)? {
                        Some(source) => source,
                        None => continue,
                    }
                }
                MountType::Ssh => {
                    if mount.mount.target.is_empty() {
                        target = PathBuf::from(format!("{AGENTS}.{agents}"));
                    }
                    agents += 1;
                    let shown = || target.to_string_lossy().into_owned();
                    bound.agent.get_or_insert_with(shown);
                    match self.agent(mount, &mut bound)? {
                        Some(source) => source,
                        None => continue,
                    }
                }
            };
            bound.mounts.push(Mount {
                target,
                source,
                readonly: mount.mount.read_only,
            });
        }
        // A path sorts before all that is below it; of two in one place the later one is seen.
        bound.mounts.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(bound)
    }

    /// Refuses to begin without what the step cannot do without.
    fn all_given(&self, run: &RunStep) -> Result<(), ExecError> {
        for mount in run.mounts.iter().map(|mount| &mount.mount) {
            let missing = match mount.mount_type {
                _ if !mount.required => continue,
                MountType::Secret if !self.request.secrets.contains_key(mount.secret_id()) => {
                    ExecError::NoSecret(mount.secret_id().to_owned())
                }
                MountType::Ssh if !self.request.ssh.contains_key(mount.ssh_id()) => {
                    ExecError::NoAgent(mount.ssh_id().to_owned())
                }
                _ => continue,
            };
            return Err(missing);
        }
        Ok(())
    }

    fn layers_source(
        &self,
        mount: &RunMount,
        layers: &[DiffId],
        upper: Option<Upper>,
    ) -> Result<MountSource, StepError> {
        let plan: RootPlan = self.lease.root_plan(layers, upper)?;
        let path = match mount.origin {
            Some(Origin::Step(_)) => mount.mount.source.clone(),
            _ => mounted_path(&mount.mount.source),
        };
        Ok(MountSource::Layers {
            plan,
            path: PathBuf::from(dockerfile::path::join("/", &path)),
        })
    }

    /// Opens all caches of a step at once, so that steps which want the same ones never wait for each other in a circle.
    fn open_caches(
        &mut self,
        run: &RunStep,
        layers: &[Vec<DiffId>],
        no_cache: bool,
        bound: &mut Bound,
        telling: &mut Telling<'_>,
    ) -> Result<Vec<MountSource>, StepError> {
        let namespace = self
            .request
            .build_args
            .get(CACHE_NAMESPACE)
            .map_or("", String::as_str);
        let mut wanted = Vec::new();
        for (mount, layers) in run.mounts.iter().zip(layers) {
            if mount.mount.mount_type == MountType::Cache {
                let from = match layers.is_empty() {
                    true => None,
                    false => Some((&layers[..], self.rootfs(layers)?)),
                };
                wanted.push(Wanted::new(namespace, &mount.mount, from));
            }
        }
        let mut waiting = |id: &str| {
            let text = format!("waiting for the cache `{id}`, which another step is using\n");
            telling.told().log(Stream::Err, text.as_bytes());
        };
        let emptied = no_cache.then_some(&mut self.emptied);
        let opened = caches::open(self.store, self.lease, &wanted, emptied, &mut waiting)?;
        bound._caches = opened.caches;
        Ok(opened.sources)
    }

    /// A secret as a file, in the environment, or both; `None` if it is not a file.
    fn secret(
        &self,
        mount: &RunMount,
        env: &mut Vec<(String, String)>,
    ) -> Result<Option<MountSource>, StepError> {
        let id = mount.mount.secret_id();
        let content = match self.request.secrets.get(id) {
            None => return Ok(None),
            Some(SecretSource::Value(value)) if value.len() as u64 > MAX_SECRET => {
                return Err(ExecError::LargeSecret(id.to_owned()).into());
            }
            Some(SecretSource::Value(value)) => value.clone(),
            Some(SecretSource::File(path)) => read_secret(id, path)?,
        };
        if let Some(name) = mount.mount.secret_variable() {
            env.push((
                name.to_owned(),
                String::from_utf8_lossy(&content).into_owned(),
            ));
            if mount.mount.target.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(MountSource::File {
            content,
            mode: mount.mount.mode.unwrap_or(0o400),
            uid: mount.mount.uid.unwrap_or(0),
            gid: mount.mount.gid.unwrap_or(0),
        }))
    }

    /// A socket of this step's own for an agent; `None` if the build was not given it.
    fn agent(&self, mount: &RunMount, bound: &mut Bound) -> Result<Option<MountSource>, StepError> {
        let id = mount.mount.ssh_id();
        let Some(agent) = self.request.ssh.get(id) else {
            return Ok(None);
        };
        let folder = self.lease.temporary("ssh");
        let forwarding =
            Forwarding::start(agent, &folder, &mount.mount).map_err(|source| ExecError::Agent {
                id: id.to_owned(),
                source,
            })?;
        let path = forwarding.socket().to_owned();
        bound._agents.push(forwarding);
        Ok(Some(MountSource::Bind {
            path,
            recursive: false,
        }))
    }
}

fn read_secret(id: &str, path: &Path) -> Result<Vec<u8>, ExecError> {
    let mut content = Vec::new();
    sys::fs::open(path)?
        .take(MAX_SECRET + 1)
        .read_to_end(&mut content)
        .context("read", path)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(ExecError::LargeSecret(id.to_owned()));
    }
    Ok(content)
}

/// Where the files of a context mount are in their layer. A fixed place for the root: it may be a file, too.
pub(super) fn mounted_path(source: &str) -> String {
    match dockerfile::path::join("/", source).as_str() {
        "/" => "/context".to_owned(),
        path => format!("/context{path}"),
    }
}
