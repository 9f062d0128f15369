//! The last steps before the program: putting on what only the container's own namespaces allow, giving up what it may not
//! have, and becoming it.
//!
//! Runs in the container, as the last of our own code there, for the first process and for those started later by `exec`.
//! Whatever fails is told through a pipe that closes by itself when the program begins.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit as RawLimit};
use sys::mount::{self, Attributes};

use crate::capability::Capability;
use crate::error::Failure;
use crate::seccomp::Filter;
use crate::spec::{Joining, Network, Rlimit, Spec, User};

/// Everything that is needed at the very end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Final(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) capabilities: u64,
    pub(crate) filter: Option<Filter>,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<Rlimit>,
    /// Files through which the process joins its control groups.
    pub(crate) groups: Vec<OwnedFd>,
    /// The terminal that becomes standard input, output and error.
    pub(crate) terminal: Option<OwnedFd>,
    /// Who to become; up to here it is root.
    pub(crate) user: User,
    /// Stay as process 1 and start the program below.
    pub(crate) init: bool,
    /// For the first process only.
    pub(crate) first: Option<First>,
    /// Where a failure is told; closes when the program begins.
    pub(crate) tell: OwnedFd,
}

/// What the first process does for the whole container.
#[derive(Debug)]
pub(crate) struct First {
    /// `/dev`, to be put over the one that `libcontainer` made.
    pub(crate) devices: OwnedFd,
    /// The host's `/sys`, for a container that cannot have a new one.
    pub(crate) host_sys: Option<OwnedFd>,
    /// Show the container its control groups: where the host has version 2 alone.
    pub(crate) show_groups: bool,
    /// It may make groups of its own there.
    pub(crate) writable_groups: bool,
    /// Bring up the loopback device.
    pub(crate) own_network: bool,
}

impl First {
    pub(crate) fn new(
        spec: &Spec,
        devices: OwnedFd,
        host_sys: Option<OwnedFd>,
        show_groups: bool,
    ) -> Self {
        Self {
            devices,
            host_sys,
            show_groups,
            writable_groups: spec.privileged,
            own_network: spec.network == Network::None,
        }
    }
}

impl Parts {
    /// What a spec says of the first process; files and terminal are to be filled in.
    pub(crate) fn of_first(spec: &Spec, first: First, tell: OwnedFd) -> Self {
        Self {
            args: spec.args.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            capabilities: Capability::mask(&spec.capabilities),
            filter: spec.seccomp.clone(),
            no_new_privileges: spec.no_new_privileges,
            rlimits: spec.rlimits.clone(),
            groups: Vec::new(),
            terminal: None,
            user: spec.user.clone(),
            init: spec.init,
            first: Some(first),
            tell,
        }
    }

    /// As [`Parts::of_first`], for a process that joins a running container.
    pub(crate) fn of_joining(spec: &Joining, tell: OwnedFd) -> Self {
        Self {
            args: spec.args.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            capabilities: Capability::mask(&spec.capabilities),
            filter: spec.seccomp.clone(),
            no_new_privileges: spec.no_new_privileges,
            rlimits: spec.rlimits.clone(),
            groups: Vec::new(),
            terminal: None,
            user: spec.user.clone(),
            init: false,
            first: None,
            tell,
        }
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Setup(format!("cannot {what}: {error}"))
}

impl Final {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Becomes the program; returns only when that failed, which has been told.
    pub(crate) fn go(&self) -> Failure {
        let failure = match self.prepare() {
            Ok(()) if self.0.init => self.under_init(),
            Ok(()) => self.execute(),
            Err(failure) => failure,
        };
        self.tell(&failure);
        failure
    }

    /// Starts the program below a process 1 of our own, which this process becomes.
    fn under_init(&self) -> Failure {
        let program = || self.tell(&self.execute());
        match crate::init::stay(self.0.terminal.is_some(), &self.0.tell, program) {
            Ok(code) => sys::process::leave(code),
            Err(error) => failed("start the init process")(error),
        }
    }

    fn tell(&self, failure: &Failure) {
        if let Ok(text) = serde_json::to_vec(failure) {
            PipeEnd(&self.0.tell).write_all(&text).ok();
        }
    }

    fn prepare(&self) -> Result<(), Failure> {
        let parts = &*self.0;
        sys::process::die_with_parent().map_err(failed("tie the program to its watcher"))?;
        crate::cgroup::join(&parts.groups).map_err(failed("join the control groups"))?;
        if let Some(first) = &parts.first {
            // Only now, so that its own groups are the root of what it sees of them.
            sys::namespace::unshare(sys::namespace::Kinds::NEWCGROUP)
                .map_err(failed("make a control group namespace"))?;
            self.furnish(first)?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // Again for the first process: the directory may lie below what has just been covered.
        self.enter_directory()?;
        self.stdio()
            .map_err(failed("set up standard input and output"))?;
        sys::process::close_on_exec_from(3).map_err(failed("close files"))?;
        for limit in &parts.rlimits {
            set_rlimit(limit)?;
        }
        let User { uid, gid, groups } = &parts.user;
        sys::process::become_user(*uid, *gid, groups)
            .map_err(|error| become_failed(&parts.user, &error))?;
        self.give_up()
    }

    /// Puts the real `/dev` in its place, and what belongs to the container's own namespaces.
    fn furnish(&self, first: &First) -> Result<(), Failure> {
        self.furnish_devices(first)
            .map_err(failed("set up `/dev`"))?;
        if let Some(host) = &first.host_sys {
            furnish_sys(host).map_err(failed("set up `/sys`"))?;
        } else if first.show_groups {
            // What it would show is of no use to most programs, so a host that does not allow it is no reason to fail.
            show_groups(first.writable_groups).ok();
        }
        if first.own_network {
            sys::network::loopback_up().map_err(failed("bring up the loopback device"))?;
        }
        Ok(())
    }

    fn enter_directory(&self) -> Result<(), Failure> {
        let Parts { args, cwd, .. } = &*self.0;
        let refused = |why: &str| Failure::NotExecutable {
            program: args.first().cloned().unwrap_or_default(),
            reason: format!("its working directory `{}`: {why}", cwd.display()),
        };
        rustix::process::chdir(cwd)
            .map_err(|errno| refused(&io::Error::from(errno).to_string()))?;
        // A link like `/proc/self/fd/N` could lead out of the container, where directories have no name that begins with `/`.
        match rustix::process::getcwd(Vec::new()) {
            Ok(name) if name.as_bytes().first() == Some(&b'/') => Ok(()),
            _ => Err(refused("it lies outside of the container")),
        }
    }

    fn furnish_devices(&self, first: &First) -> io::Result<()> {
        let dev = Path::new("/dev");
        attach(&first.devices, dev)?;
        let attributes = Attributes {
            nosuid: true,
            nodev: true,
            noexec: true,
            readonly: false,
        };
        let queues =
            mount::file_system("mqueue", "mqueue", &[], attributes).map_err(io::Error::other)?;
        queues.attach(&dev.join("mqueue")).map_err(io::Error::other)
    }

    fn stdio(&self) -> io::Result<()> {
        if let Some(terminal) = &self.0.terminal {
            sys::terminal::take_control(terminal)?;
            rustix::stdio::dup2_stdin(terminal)?;
            rustix::stdio::dup2_stdout(terminal)?;
            rustix::stdio::dup2_stderr(terminal)?;
        }
        // A program that is not root opens `/dev/stdout` anew: what is ours alone to give becomes its own. Files and
        // terminals of the host keep their owner.
        let standard = [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ];
        for fd in standard {
            let stat = rustix::fs::fstat(fd)?;
            let pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
            if (pipe || self.0.terminal.is_some()) && stat.st_uid != self.0.user.uid {
                let owner = rustix::fs::Uid::from_raw(self.0.user.uid);
                match rustix::fs::fchown(fd, Some(owner), None) {
                    Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    fn give_up(&self) -> Result<(), Failure> {
        let parts = &*self.0;
        // A filter needs either a capability, which is about to go, or the promise never to gain any.
        if !parts.no_new_privileges {
            self.filter()?;
        }
        // What the bounding set has lost already cannot be kept.
        let bounding = sys::capability::bounding().map_err(failed("read capabilities"))?;
        let permitted = sys::capability::permitted().map_err(failed("read capabilities"))?;
        sys::capability::keep_only(parts.capabilities & bounding & permitted)
            .map_err(failed("give up capabilities"))?;
        if parts.no_new_privileges {
            sys::seccomp::give_up_gaining_privileges()
                .map_err(failed("give up gaining privileges"))?;
            self.filter()?;
        }
        Ok(())
    }

    fn filter(&self) -> Result<(), Failure> {
        let Some(filter) = &self.0.filter else {
            return Ok(());
        };
        let Some(program) = filter.compile() else {
            let machine = std::env::consts::ARCH;
            return Err(Failure::Setup(format!(
                "there are no system call filters for `{machine}`"
            )));
        };
        sys::seccomp::install(&program).map_err(failed("filter system calls"))
    }

    fn execute(&self) -> Failure {
        let Parts { args, env, .. } = &*self.0;
        let Some(program) = args.first() else {
            return Failure::Invalid("there is no program to run".to_owned());
        };
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH="));
        let mut denied = None;
        for candidate in candidates(program, path) {
            let error = sys::process::execute(&candidate, args, env);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                Some(Errno::NOEXEC) => return no_program(program, &candidate),
                Some(Errno::ACCESS) if !program.contains('/') => denied = Some(error),
                _ => return refused(program, &error),
            }
        }
        if let Some(error) = denied {
            return refused(program, &error);
        }
        let hint = if !program.contains('/') {
            format!(": looked for in `PATH` `{}`", path.unwrap_or(""))
        } else if Path::new(program).exists() {
            ": the interpreter or loader that it names is missing".to_owned()
        } else {
            String::new()
        };
        Failure::NotFound {
            program: program.clone(),
            hint,
        }
    }
}

fn attach(mount: &OwnedFd, on: &Path) -> io::Result<()> {
    mount::Detached::from_fd(mount.try_clone()?, on)
        .attach(on)
        .map_err(io::Error::other)
}

/// The host's `/sys` in place of a new one, with the same masks.
fn furnish_sys(host: &OwnedFd) -> io::Result<()> {
    attach(host, Path::new("/sys"))?;
    for masked in crate::oci::MASKED_SYS {
        let path = Path::new(masked);
        if sys::fs::exists(path) {
            let cover = mount::tmpfs(&[], Attributes::READONLY).map_err(io::Error::other)?;
            cover.attach(path).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// `/sys/fs/cgroup`, with the container's own group as its root; writable for a privileged one alone.
fn show_groups(writable: bool) -> sys::fs::Result<()> {
    let attributes = Attributes {
        readonly: !writable,
        nosuid: true,
        nodev: true,
        noexec: true,
    };
    mount::file_system("cgroup2", "cgroup", &[], attributes)?
        .attach(Path::new(crate::cgroup::PLACE))
}

fn become_failed(user: &User, error: &io::Error) -> Failure {
    let User { uid, gid, .. } = user;
    let reason = match Errno::from_io_error(error) {
        Some(Errno::INVAL) => "this user namespace has no such user or group; subordinate ids for it are in `/etc/subuid` and \
                               `/etc/subgid`"
            .to_owned(),
        _ => error.to_string(),
    };
    Failure::Setup(format!(
        "cannot become user {uid} and group {gid}: {reason}"
    ))
}

fn refused(program: &str, error: &io::Error) -> Failure {
    Failure::NotExecutable {
        program: program.to_owned(),
        reason: error.to_string(),
    }
}

/// What the kernel does not know as a program.
fn no_program(program: &str, path: &Path) -> Failure {
    let program = program.to_owned();
    match crate::foreign::platform_of(path) {
        Some(platform) => Failure::Foreign {
            program,
            platform: platform.to_string(),
        },
        None => Failure::NotExecutable {
            program,
            reason: "it is no program for this machine, and no script that names its interpreter"
                .to_owned(),
        },
    }
}

/// Where a program may be, in order.
fn candidates(program: &str, path: Option<&str>) -> Vec<PathBuf> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let directory = |part: &str| {
        if part.is_empty() {
            PathBuf::from(".")
        } else {
            PathBuf::from(part)
        }
    };
    path.unwrap_or("")
        .split(':')
        .map(|part| directory(part).join(program))
        .collect()
}

/// The names of `--ulimit`.
const RESOURCES: [(&str, Resource); 15] = [
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// True if `--ulimit` knows this name.
pub(crate) fn is_rlimit(name: &str) -> bool {
    RESOURCES.iter().any(|(known, _)| *known == name)
}

fn set_rlimit(limit: &Rlimit) -> Result<(), Failure> {
    let known = RESOURCES.iter().find(|(name, _)| *name == limit.name);
    let Some((_, resource)) = known else {
        return Err(Failure::Invalid(format!(
            "`{}` is no limit of a process",
            limit.name
        )));
    };
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    let raw = RawLimit {
        current: finite(limit.soft),
        maximum: finite(limit.hard),
    };
    rustix::process::setrlimit(*resource, raw).map_err(|errno| Failure::Limit {
        limit: format!("ulimit {}", limit.name),
        reason: match errno {
            Errno::PERM => format!("this host does not allow more than {}", {
                let now = rustix::process::getrlimit(*resource);
                now.maximum
                    .map_or("unlimited".to_owned(), |most| most.to_string())
            }),
            errno => errno.to_string(),
        },
    })
}

struct PipeEnd<'a>(&'a OwnedFd);

impl Write for PipeEnd<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_path_order() {
        let found = |program, path| {
            candidates(program, path)
                .into_iter()
                .map(|one| one.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("ls", Some("/a:/b")), ["/a/ls", "/b/ls"]);
        assert_eq!(found("./ls", Some("/a")), ["./ls"]);
        assert_eq!(found("ls", Some("/a:")), ["/a/ls", "./ls"]);
        assert!(found("", Some("/a")).is_empty());
    }
}
