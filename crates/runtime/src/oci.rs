//! From our [`Spec`] to the OCI runtime specification that `libcontainer` reads. A pure conversion.
//!
//! What is mounted before `libcontainer` starts (layers, binds, memory file systems) is not in it; what needs the container's own
//! namespaces (`/proc`, `/sys`) is. Capabilities, the system call filter, the control groups and the real `/dev` are not in it
//! either: they come last of all, in our own [`crate::restrict`], on the way into the program.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, ProcessBuilder,
    RootBuilder, Spec as Oci, SpecBuilder, UserBuilder,
};

use crate::spec::{Network, Spec};

/// Files that tell or change more of the host than a container should.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];

/// The same in `/sys`.
pub(crate) const MASKED_SYS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];

/// Files that a container may read and not write, not as root either.
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Where things are in the tree that `libcontainer` sees.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The mounted root filesystem.
    pub(crate) rootfs: PathBuf,
    /// A new `/sys` can be mounted. It cannot in a user namespace that shares the host's network.
    pub(crate) new_sys: bool,
}

/// Converts.
///
/// # Errors
///
/// A builder misses a field, which none does.
pub(crate) fn convert(spec: &Spec, places: &Places) -> Result<Oci, OciSpecError> {
    // Root until our own last steps, which need it.
    let user = UserBuilder::default().uid(0_u32).gid(0_u32).build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(spec.args.clone())
        // The real environment is given to the program as it is; here only what `libcontainer` insists on.
        .env(vec!["PATH=/".to_owned(), "HOME=/".to_owned()])
        .cwd(spec.cwd.clone())
        .no_new_privileges(spec.no_new_privileges)
        .build();
    let mut process = process?;
    process.set_capabilities(None);
    process.set_rlimits(None);
    let paths = |list: &[&str]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    let (masked, readonly) = if spec.privileged {
        (Vec::new(), Vec::new())
    } else {
        (
            [paths(&MASKED), paths(&MASKED_SYS)].concat(),
            paths(&READONLY),
        )
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(
            namespaces(spec.network)
                .into_iter()
                .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
                .collect::<Result<Vec<_>, _>>()?,
        )
        .masked_paths(masked)
        .readonly_paths(readonly)
        .rootfs_propagation("private")
        .build()?;
    linux.set_resources(None);
    linux.set_seccomp(None);
    let mut oci = SpecBuilder::default()
        .root(
            RootBuilder::default()
                .path(&places.rootfs)
                .readonly(spec.readonly_root)
                .build()?,
        )
        .hostname(spec.hostname.clone())
        .process(process)
        .mounts(mounts(spec, places)?)
        .linux(linux)
        .build()?;
    oci.set_hooks(None);
    Ok(oci)
}

fn namespaces(network: Network) -> Vec<LinuxNamespaceType> {
    let mut kinds = vec![
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
    ];
    if network == Network::None {
        kinds.push(LinuxNamespaceType::Network);
    }
    kinds
}

fn mounts(spec: &Spec, places: &Places) -> Result<Vec<Mount>, OciSpecError> {
    let mount = |target: &str, kind: &str, source: &Path, options: &[&str]| {
        MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(source)
            .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
            .build()
    };
    let writable = if spec.privileged { "rw" } else { "ro" };
    let sys = mount(
        "/sys",
        "sysfs",
        Path::new("sysfs"),
        &["nosuid", "noexec", "nodev", writable],
    )?;
    let mut all = vec![
        mount(
            "/proc",
            "proc",
            Path::new("proc"),
            &["nosuid", "noexec", "nodev"],
        )?,
        // Only for `libcontainer` to make its nodes in; ours is put over it at the end.
        mount(
            "/dev",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "noexec", "mode=0755", "size=64k"],
        )?,
    ];
    if places.new_sys {
        all.push(sys);
    }
    Ok(all)
}
