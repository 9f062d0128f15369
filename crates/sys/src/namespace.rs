//! Namespaces: leaving those of the parent, entering those of another process, and the id maps of user namespaces.
//!
//! Calls that move only the calling thread say so; a process that wants to move must do it while it has one thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use crate::fs::{Context, Result};

/// Kinds of namespace.
pub type Kinds = UnshareFlags;

/// Gives the calling thread new namespaces of these kinds.
///
/// # Errors
///
/// The privilege is missing, a limit is reached, or (for a user namespace) the process has several threads.
pub fn unshare(kinds: Kinds) -> io::Result<()> {
    // `FILES` is the one flag that could pull descriptors away from other threads.
    let kinds = kinds - UnshareFlags::FILES;
    // SAFETY: without `FILES` the descriptor table stays shared, so no other thread can lose a descriptor.
    unsafe { rustix::thread::unshare_unsafe(kinds) }.map_err(io::Error::from)
}

/// Gives the calling thread a mount namespace of its own, into which mounts of the host come and from which none go.
///
/// # Errors
///
/// The privilege is missing.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS | UnshareFlags::FS)?;
    let flags = rustix::mount::MountPropagationFlags::DOWNSTREAM
        | rustix::mount::MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// Moves the calling thread into the namespaces of a process, all at once; the pid namespace holds for its next children.
///
/// # Errors
///
/// The process is gone or the privilege is missing.
pub fn enter(process: impl AsFd, kinds: Kinds) -> io::Result<()> {
    let kinds = ThreadNameSpaceType::from_bits_retain(kinds.bits());
    Ok(rustix::thread::move_into_thread_name_spaces(
        process.as_fd(),
        kinds,
    )?)
}

/// The mount namespace of the calling thread, to come back to with [`return_to_mounts`].
///
/// # Errors
///
/// `/proc` is not mounted.
pub fn current_mounts() -> Result<OwnedFd> {
    let path = Path::new("/proc/thread-self/ns/mnt");
    Ok(crate::fs::open(path)?.into())
}

/// Moves the calling thread to a mount namespace, with its root directory as root and working directory.
///
/// # Errors
///
/// The privilege is missing.
pub fn return_to_mounts(namespace: impl AsFd) -> io::Result<()> {
    let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
    Ok(rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        kind,
    )?)
}

/// True if two processes share the namespace called `name` (`mnt`, `net`, `user`, …).
///
/// # Errors
///
/// A process is gone or may not be looked at.
pub fn same(name: &str, one: Pid, other: Pid) -> Result<bool> {
    let read = |pid: Pid| {
        let path = format!("/proc/{}/ns/{name}", pid.as_raw_nonzero());
        crate::fs::read_link(Path::new(&path))
    };
    Ok(read(one)? == read(other)?)
}

/// A run of ids: `count` ids from `inside` on are `outside` and following on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the namespace.
    pub inside: u32,
    /// First id in the parent namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Writes a map of `/proc/PID` directly: one range, onto the caller's own id, is what everybody may do.
///
/// # Errors
///
/// The kernel refuses the map.
pub fn write_map(process: &str, file: &str, ranges: &[IdRange]) -> Result<()> {
    let path = format!("/proc/{process}/{file}");
    crate::fs::write(Path::new(&path), map_text(ranges, "\n").as_bytes())
}

/// Forbids `setgroups` in the user namespace of a process, as the kernel wants it before an unprivileged group map.
///
/// # Errors
///
/// The map is already written, or the process gone.
pub fn deny_setgroups(process: &str) -> Result<()> {
    crate::fs::write(Path::new(&format!("/proc/{process}/setgroups")), b"deny")
}

/// Writes the maps of the user namespace of `pid` with the setuid helpers `newuidmap` and `newgidmap`.
///
/// # Errors
///
/// A helper is missing or refuses; its words are in the error.
pub fn write_maps_with_helpers(pid: Pid, uids: &[IdRange], gids: &[IdRange]) -> Result<()> {
    for (helper, ranges) in [("newuidmap", uids), ("newgidmap", gids)] {
        let output = std::process::Command::new(helper)
            .arg(pid.as_raw_nonzero().to_string())
            .args(map_text(ranges, " ").split_ascii_whitespace())
            .output()
            .context("run", Path::new(helper))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(words)).context("map ids with", Path::new(helper));
        }
    }
    Ok(())
}

fn map_text(ranges: &[IdRange], end: &str) -> String {
    ranges
        .iter()
        .map(|range| format!("{} {} {}{end}", range.inside, range.outside, range.count))
        .collect()
}

/// The ranges that a file like `/etc/subuid` gives to a user, by name or number, in its order.
#[must_use]
pub fn subordinate_ranges(text: &str, name: Option<&str>, id: u32) -> Vec<(u32, u32)> {
    let number = id.to_string();
    let mine = |owner: &str| Some(owner) == name || owner == number;
    let parse = |line: &str| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) = (
            fields.next()?,
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        );
        (mine(owner) && count > 0 && u32::checked_add(first, count).is_some())
            .then_some((first, count))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ranges_by_name_and_number() {
        let text = "ann:100000:65536\nbob:1:1\n1000:300000:10\n# x\nann:bad:1\nann:4294967295:9\nann:1:0\n";
        assert_eq!(
            subordinate_ranges(text, Some("ann"), 1000),
            [(100_000, 65536), (300_000, 10)]
        );
        assert_eq!(subordinate_ranges(text, None, 7), []);
    }

    #[test]
    fn maps_are_written_as_the_kernel_reads_them() {
        let ranges = [
            IdRange {
                inside: 0,
                outside: 1000,
                count: 1,
            },
            IdRange {
                inside: 1,
                outside: 100_000,
                count: 65536,
            },
        ];
        assert_eq!(map_text(&ranges, "\n"), "0 1000 1\n1 100000 65536\n");
    }
}
