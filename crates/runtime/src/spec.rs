//! What a container shall be: plain data, ready to be sent to the process that makes it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sys::root_plan::RootPlan;
use sys::terminal::Size;

use crate::capability::Capability;
use crate::seccomp::Filter;

/// A container: a process, its root filesystem, and what it may do and see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The program and its arguments. A program without `/` is looked for in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`, in order. Entries without `=` are refused: they would name a variable of the host.
    pub env: Vec<String>,
    /// Where the process starts; made (0755, root) inside the root if it is missing.
    pub cwd: PathBuf,
    /// Who it is.
    pub user: User,
    /// Give it a terminal of this size; the caller gets the other side. See [`crate::Running::take_terminal`].
    pub terminal: Option<Size>,
    /// Host name.
    pub hostname: String,
    /// The layers.
    pub root: RootPlan,
    /// Make the whole root read-only; mounts keep their own rule.
    pub readonly_root: bool,
    /// What is mounted, parents before what lies below them.
    pub mounts: Vec<Mount>,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// Which system calls it may make; `None` is all.
    pub seccomp: Option<Filter>,
    /// Programs it starts can never gain privileges.
    pub no_new_privileges: bool,
    /// No masked paths, writable `/sys`, all devices of the host.
    pub privileged: bool,
    /// Devices beside the usual ones.
    pub devices: Vec<Device>,
    /// Limits of the process (`setrlimit`).
    pub rlimits: Vec<Rlimit>,
    /// Limits of the whole container, which the host must be able to enforce.
    pub limits: Limits,
    /// The network that it sees.
    pub network: Network,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Put a small process 1 before the program that passes signals on and reaps orphans.
    pub init: bool,
    /// What the container is called in the names of its control groups; letters, digits, `-`, `_`.
    pub id: String,
}

impl Spec {
    /// Size of `/dev/shm` where nothing else is asked for.
    pub const SHM_SIZE: u64 = 64 << 20;

    /// A container with the defaults of `docker run`: root, 14 capabilities, the default filter, the host's network.
    #[must_use]
    pub fn new(id: &str, root: RootPlan, args: Vec<String>) -> Self {
        Self {
            args,
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ],
            cwd: PathBuf::from("/"),
            user: User::default(),
            terminal: None,
            hostname: id.to_owned(),
            root,
            readonly_root: false,
            mounts: Vec::new(),
            capabilities: Capability::default_set(),
            seccomp: Some(Filter::default_for(&Capability::default_set())),
            no_new_privileges: false,
            privileged: false,
            devices: Vec::new(),
            rlimits: Vec::new(),
            limits: Limits::default(),
            network: Network::Host,
            shm_size: Self::SHM_SIZE,
            init: false,
            id: id.to_owned(),
        }
    }

    /// Makes it privileged: all capabilities, no filter, no masks, the host's devices.
    pub fn make_privileged(&mut self) {
        self.privileged = true;
        self.capabilities = Capability::all();
        self.seccomp = None;
    }
}

/// Another program in a container that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joining {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Where it starts; must exist.
    pub cwd: PathBuf,
    /// Who it is.
    pub user: User,
    /// Give it a terminal of this size.
    pub terminal: Option<Size>,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// Which system calls it may make; `None` is all.
    pub seccomp: Option<Filter>,
    /// Programs it starts can never gain privileges.
    pub no_new_privileges: bool,
    /// Limits of the process.
    pub rlimits: Vec<Rlimit>,
}

impl Joining {
    /// A program with the environment, user and restrictions of the container's first one.
    #[must_use]
    pub fn like(spec: &Spec, args: Vec<String>) -> Self {
        Self {
            args,
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            user: spec.user.clone(),
            terminal: None,
            capabilities: spec.capabilities.clone(),
            seccomp: spec.seccomp.clone(),
            no_new_privileges: spec.no_new_privileges,
            rlimits: spec.rlimits.clone(),
        }
    }

    /// Gives it all capabilities and system calls.
    pub fn make_privileged(&mut self) {
        self.capabilities = Capability::all();
        self.seccomp = None;
        self.no_new_privileges = false;
    }
}

/// Who the process is, in numbers. Names are resolved before; see [`crate::user::resolve`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Something mounted in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where, an absolute path in the container; links are followed inside its root. Missing parts are made, and
    /// removed again afterwards if they are still empty.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// No writes, not in mounts below it either.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A file or directory of the host, with what is mounted below it if `recursive`.
    Bind {
        /// Absolute path on the host, links followed.
        path: PathBuf,
        /// With the mounts below.
        recursive: bool,
    },
    /// A file or directory below a folder of the host, looked for inside it: a link in there leads nowhere else.
    Within {
        /// Absolute path of the folder on the host.
        folder: PathBuf,
        /// What of it.
        path: PathBuf,
    },
    /// A new memory file system.
    Tmpfs {
        /// Size in bytes; `None` leaves it to the kernel (half of the memory).
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
        /// Programs may be run from it.
        exec: bool,
    },
    /// A file with this content that exists nowhere else.
    File {
        /// The bytes.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A root filesystem of layers, or a directory in it: another image or stage.
    Layers {
        /// The layers.
        plan: RootPlan,
        /// What of it, resolved inside it.
        path: PathBuf,
    },
}

/// A device of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
}

/// A limit of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// Its name as `docker run --ulimit` has it: `nofile`, `nproc`, …
    pub name: String,
    /// What the process starts with.
    pub soft: u64,
    /// How far it may raise it.
    pub hard: u64,
}

/// Limits of the whole container. `None` is no limit, and needs nothing from the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processors, as a decimal.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_none() && self.cpus.is_none() && self.pids.is_none()
    }
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The host's own.
    Host,
    /// A network of its own with nothing but a loopback device.
    None,
}
