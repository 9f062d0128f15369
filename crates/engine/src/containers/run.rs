//! `run`: a container from an image, to its end or left to its supervisor.

use std::path::Path;

use layer::View;
use oci::ContainerConfig;
use runtime::detached::Status;
use runtime::{Limits, MountSource, Rlimit, Spec, Upper};
use store::{Container, Image, Lease, NewContainer};

use super::record::{self, Origin, Record};
use super::{ContainerError, Mount, Network, RunRequest, spec};
use crate::{Engine, Error};

/// How `run` ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The container.
    pub id: String,
    /// The exit code of its process; 0 if it was left running.
    pub code: u8,
}

/// What a start needs beside the request.
struct Prepared<'l> {
    lease: &'l Lease,
    image: Image,
    /// The image's, and what was asked for over it.
    config: ContainerConfig,
    view: View,
    record: Record,
}

impl Engine {
    /// Makes a container and starts it; without `detach`, waits for its end.
    ///
    /// Standard input, output and error of the process are ours, or a terminal that is joined to ours. A container that
    /// could not be started is gone again.
    ///
    /// # Errors
    ///
    /// The image is unknown, an option asks for what this host cannot do, or the process cannot be started. Errors of this
    /// call have the exit codes 125 to 127.
    pub fn run(&self, request: &RunRequest) -> Result<Ended, Error> {
        self.run_inside(request).map_err(Error::starting)
    }

    fn run_inside(&self, request: &RunRequest) -> Result<Ended, Error> {
        if request.terminal
            && !request.detach
            && request.interactive
            && !runtime::terminal::is_one(std::io::stdin())
        {
            return Err(ContainerError::NoTerminal.into());
        }
        if let Some(file) = &request.cidfile
            && sys::fs::exists(file)
        {
            return Err(ContainerError::CidFile(file.clone()).into());
        }
        let lease = self.store().lease("run a container")?;
        let prepared = self.prepare(request, &lease)?;
        let container = lease.create_container(&NewContainer {
            name: request.name.as_deref(),
            image: Some(&prepared.image.digest),
            image_name: &request.image,
            layers: &prepared.image.layers,
            spec: b"{}",
            state: serde_json::to_value(&prepared.record).unwrap_or_default(),
        })?;
        let started = self.spec(request, &prepared, &container).and_then(|spec| {
            if let Some(file) = &request.cidfile {
                sys::fs::write(file, container.id.as_bytes())?;
            }
            let json = serde_json::to_vec(&spec).unwrap_or_default();
            sys::fs::replace(&container.spec(), &json)?;
            if request.detach {
                self.start_detached(&container, &spec, request)
            } else {
                self.run_here(&container, &spec, request)
            }
        });
        match started {
            Ok(ended) => Ok(ended),
            Err(error) => {
                // The error that led here is the one to be told.
                if let Ok(Some(Status::Ended { exit, .. })) =
                    runtime::detached::status(container.dir())
                {
                    self.note_end(&container, exit.code(), None).ok();
                    return Err(error);
                }
                // It never ran: nothing of it is worth keeping.
                self.store().remove_container(&container.id).ok();
                request
                    .cidfile
                    .iter()
                    .for_each(|file| drop(sys::fs::remove_file(file)));
                Err(error)
            }
        }
    }

    fn prepare<'l>(&self, request: &RunRequest, lease: &'l Lease) -> Result<Prepared<'l>, Error> {
        let image = self.store().resolve(&request.image)?;
        lease.claim_layers(&image.layers)?;
        let config = self.store().config(&image)?;
        let effective = spec::effective(request, &config.config);
        let stop_signal = effective.stop_signal.clone();
        let record = Record {
            command: spec::arguments(&request.image, &effective)?,
            labels: effective.labels.clone(),
            stop_signal: stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()),
            remove: request.remove,
            lease: Some(lease.id().to_owned()),
            ended: None,
            origin: Some(Origin {
                image: image.id,
                config: effective.clone(),
                interactive: request.interactive,
                cap_add: request.cap_add.clone(),
                cap_drop: request.cap_drop.clone(),
            }),
        };
        super::process::signal(&record.stop_signal)?;
        let view = self.store().view(&image.layers)?;
        Ok(Prepared {
            lease,
            image,
            config: effective,
            view,
            record,
        })
    }

    /// Everything decided: what the runtime is given.
    fn spec(
        &self,
        request: &RunRequest,
        prepared: &Prepared<'_>,
        container: &Container,
    ) -> Result<Spec, Error> {
        let config = &prepared.config;
        let upper = Upper {
            dir: container.upper(),
            work: container.work(),
            volatile: request.remove,
        };
        let root = prepared
            .lease
            .root_plan(&prepared.image.layers, Some(upper))?;
        let mut spec = Spec::new(&container.id, root, prepared.record.command.clone());
        let passwd = spec::accounts(&prepared.view, "/etc/passwd")?;
        let group = spec::accounts(&prepared.view, "/etc/group")?;
        let user = runtime::user::resolve(&config.user, passwd.as_deref(), group.as_deref())
            .map_err(ContainerError::User)?;
        spec.hostname = request
            .hostname
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| match request.network {
                Network::Host => rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
                Network::None => container.id.chars().take(12).collect(),
            });
        spec.env = spec::environment(
            request.terminal,
            config,
            &spec.hostname,
            &user.home.to_string_lossy(),
        );
        spec.cwd = spec::workdir(request.workdir.as_deref(), config)?;
        spec.user = user.user;
        spec.terminal = request.terminal.then_some(runtime::Size {
            rows: 24,
            columns: 80,
        });
        spec.readonly_root = request.read_only;
        spec.init = request.init;
        spec.network = match request.network {
            Network::Host => runtime::Network::Host,
            Network::None => runtime::Network::None,
        };
        spec.shm_size = request
            .shm_size
            .filter(|size| *size > 0)
            .unwrap_or(Spec::SHM_SIZE);
        restrict(&mut spec, request)?;
        spec.rlimits = request.ulimits.iter().map(rlimit).collect();
        spec.limits = Limits {
            memory: request.memory.filter(|bytes| *bytes > 0),
            #[expect(
                clippy::cast_precision_loss,
                reason = "thousandths of at most 100000 CPUs"
            )]
            cpus: request
                .cpus
                .filter(|thousandths| *thousandths > 0)
                .map(|thousandths| thousandths as f64 / 1000.0),
            pids: request
                .pids
                .and_then(|count| u64::try_from(count).ok())
                .filter(|count| *count > 0),
        };
        spec.mounts = self.mounts(request, prepared, container, &spec.hostname)?;
        Ok(spec)
    }

    /// Files that every container gets, volumes of the image, and what was asked for, parents before children.
    fn mounts(
        &self,
        request: &RunRequest,
        prepared: &Prepared<'_>,
        container: &Container,
        hostname: &str,
    ) -> Result<Vec<runtime::Mount>, Error> {
        let mut hosts = Vec::new();
        for line in &request.add_hosts {
            hosts.push(super::host_line(line).map_err(ContainerError::from)?);
        }
        let mut mounts = runtime::etc::mounts(hostname, &hosts, request.network == Network::Host)
            .map_err(ContainerError::from)?;
        for (number, volume) in prepared.config.volumes.keys().enumerate() {
            let target = spec::clean(Path::new(volume));
            if target.parent().is_some()
                && !request.mounts.iter().any(|mount| mount.target() == target)
            {
                mounts.push(self.volume(prepared, container, number, &target)?);
            }
        }
        for mount in &request.mounts {
            let mount = convert(mount)?;
            mounts.retain(|other| other.target != mount.target);
            mounts.push(mount);
        }
        mounts.sort_by_key(|mount| mount.target.components().count());
        Ok(mounts)
    }

    /// A volume of the image is a second overlay over the same layers, bound where the volume is: it begins with the
    /// image's content, nothing is copied, and what is written there goes with the container.
    fn volume(
        &self,
        prepared: &Prepared<'_>,
        container: &Container,
        number: usize,
        target: &Path,
    ) -> Result<runtime::Mount, Error> {
        use std::os::unix::ffi::OsStrExt;
        let folder = container.dir().join(format!("volume{number}"));
        let upper = Upper {
            dir: folder.join("upper"),
            work: folder.join("work"),
            volatile: prepared.record.remove,
        };
        let in_image = prepared
            .view
            .lookup(target.as_os_str().as_bytes(), layer::Follow::Yes)
            .map_err(|source| Error::Read {
                image: prepared.image.id.to_string(),
                source,
            })?;
        let is_folder = in_image.is_some_and(|node| node.kind() == layer::FileType::Dir);
        sys::fs::create_dir_all(&upper.dir)?;
        sys::fs::set_mode(&upper.dir, 0o755)?;
        let source = if is_folder {
            sys::fs::create_dir_all(&upper.work)?;
            let plan = prepared
                .lease
                .root_plan(&prepared.image.layers, Some(upper))?;
            MountSource::Layers {
                plan,
                path: target.to_owned(),
            }
        } else {
            MountSource::Bind {
                path: upper.dir,
                recursive: false,
            }
        };
        Ok(runtime::Mount {
            target: target.to_owned(),
            source,
            readonly: false,
        })
    }

    /// Notes how a container ended, or takes it away if it was to go.
    pub(super) fn note_end(
        &self,
        container: &Container,
        code: u8,
        error: Option<String>,
    ) -> Result<(), Error> {
        let mut record = super::list::record_of(container)?;
        let noted = if record.remove {
            self.store().remove_container(&container.id).map(drop)
        } else {
            record.ended = Some(record::Ended {
                code,
                at: crate::now_text(),
                error,
            });
            let value = serde_json::to_value(&record).unwrap_or_default();
            self.store().set_container_state(&container.id, &value)
        };
        match noted {
            // `rm --force` was faster. How it ended is known all the same.
            Err(store::Error::NoSuchContainer { .. }) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Capabilities, system calls and masks.
fn restrict(spec: &mut Spec, request: &RunRequest) -> Result<(), ContainerError> {
    let security = &request.security;
    if request.privileged {
        if !request.cap_drop.is_empty() || security.profile.is_some() {
            let why = "`--privileged` gives all capabilities and filters nothing: leave `--cap-drop` and `seccomp=FILE` out, or it";
            return Err(ContainerError::Conflict(why));
        }
        spec.make_privileged();
    }
    if !request.privileged {
        spec.capabilities = runtime::capability::adjusted(&request.cap_add, &request.cap_drop)?;
        spec.seccomp = match &security.profile {
            _ if security.unconfined => None,
            Some(profile) => Some(runtime::seccomp::Filter::from_profile(
                profile.as_bytes(),
                &spec.capabilities,
            )?),
            None => Some(runtime::seccomp::Filter::default_for(&spec.capabilities)),
        };
    }
    spec.no_new_privileges = security.no_new_privileges;
    Ok(())
}

fn rlimit(limit: &super::Ulimit) -> Rlimit {
    let name = limit
        .name
        .trim_start_matches("RLIMIT_")
        .to_ascii_lowercase();
    Rlimit {
        name,
        soft: limit.soft,
        hard: limit.hard,
    }
}

/// A mount of the command line as the runtime takes it; `-v` makes a missing folder.
fn convert(mount: &Mount) -> Result<runtime::Mount, Error> {
    Ok(match mount {
        Mount::Bind {
            source,
            target,
            read_only,
            create,
            recursive,
            ..
        } => {
            if !source.exists() {
                if !create {
                    return Err(ContainerError::NoSource(source.clone()).into());
                }
                sys::fs::create_dir_all(source)?;
            }
            runtime::Mount {
                target: spec::clean(target),
                source: MountSource::Bind {
                    path: sys::fs::canonicalize(source)?,
                    recursive: *recursive,
                },
                readonly: *read_only,
            }
        }
        Mount::Tmpfs {
            target,
            size,
            mode,
            read_only,
            exec,
        } => runtime::Mount {
            target: spec::clean(target),
            source: MountSource::Tmpfs {
                size: *size,
                mode: mode.unwrap_or(0o1777),
                exec: *exec,
            },
            readonly: *read_only,
        },
    })
}
