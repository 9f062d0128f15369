//! Containers without privileges: this process becomes root of a user namespace of its own.
//!
//! In it, its own user is root, and the subordinate ids that the host's administrator gave to the user (`/etc/subuid`,
//! `/etc/subgid`) are the other users, mapped by the setuid helpers `newuidmap` and `newgidmap`. Without subordinate ids there is root
//! alone: many images work, those that have other users do not.
//!
//! It is the same process afterwards, with the same number, terminal and parent; it must have one thread.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::Pid;
use sys::namespace::{self, IdRange, Kinds};

use crate::error::{Error, Result};

/// Whether this process entered a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// It is root already, here or in a namespace that somebody made for it.
    NotNeeded,
    /// It is root of a new namespace with the user's subordinate ids.
    Mapped,
    /// It is root of a new namespace that has no other users, since there are no subordinate ids to use: why not.
    Alone(String),
}

/// The maps of a namespace: users, groups.
type Maps = (Vec<IdRange>, Vec<IdRange>);

/// Makes an ordinary user root of a new user and mount namespace; does nothing for root.
///
/// Call it early in `main`: while there is one thread, and after what depends on who the user really is has been decided.
///
/// # Errors
///
/// This system does not allow user namespaces to ordinary users, or the process has several threads.
pub fn enter_if_needed() -> Result<Entered> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        return Ok(Entered::NotNeeded);
    }
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    let maps = subordinate(uid, gid);
    let entered = match maps {
        Ok(maps) => match enter_with_helpers(&maps) {
            Ok(()) => Entered::Mapped,
            // Nothing has happened to this process yet if a helper refused: the namespace has no map.
            Err(Failed::Helper(reason)) => {
                map_alone(uid, gid)?;
                Entered::Alone(reason)
            }
            Err(Failed::Kernel(error)) => return Err(error),
        },
        Err(reason) => {
            unshare()?;
            map_alone(uid, gid)?;
            Entered::Alone(reason)
        }
    };
    let root = || -> io::Result<()> {
        if entered == Entered::Mapped {
            rustix::thread::set_thread_groups(&[])?;
        }
        rustix::thread::set_thread_res_gid(
            rustix::process::Gid::ROOT,
            rustix::process::Gid::ROOT,
            rustix::process::Gid::ROOT,
        )?;
        rustix::thread::set_thread_res_uid(
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
        )?;
        sys::mount::set_propagation(Path::new("/"), sys::mount::Propagation::Slave, true)
            .map_err(io::Error::other)
    };
    root().map_err(Error::start("become root of the user namespace"))?;
    Ok(entered)
}

enum Failed {
    /// A setuid helper is missing or refused.
    Helper(String),
    Kernel(Error),
}

fn unshare() -> Result<()> {
    namespace::unshare(Kinds::NEWUSER | Kinds::NEWNS).map_err(Error::start("make a user namespace"))
}

/// A copy of this process stays outside and calls the helpers, which work from there only.
fn enter_with_helpers(maps: &Maps) -> std::result::Result<(), Failed> {
    let kernel = |error: io::Error| Failed::Kernel(Error::start("make a user namespace")(error));
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| kernel(errno.into()))
    };
    let ((ready, tell_ready), (told, tell)) = (pipe()?, pipe()?);
    let ours = rustix::process::getpid();
    let mut tell_ready = Some(tell_ready);
    let outside = sys::process::fork(|| {
        // With an end of its own it would wait for ever if we are killed.
        tell_ready = None;
        helper(ours, maps, &ready, tell)
    })
    .map_err(kernel)?;
    unshare().map_err(Failed::Kernel)?;
    let answer = || -> io::Result<String> {
        if let Some(tell_ready) = tell_ready {
            rustix::io::write(&tell_ready, b"!")?;
        }
        let mut reason = String::new();
        io::Read::read_to_string(&mut std::fs::File::from(told), &mut reason)?;
        outside.reap(true)?;
        Ok(reason)
    };
    match answer().map_err(kernel)? {
        reason if reason.is_empty() => Ok(()),
        reason => Err(Failed::Helper(reason)),
    }
}

/// What the copy outside does: waits for the namespace, maps its ids, and tells why that failed, if it did.
fn helper(process: Pid, maps: &Maps, ready: &OwnedFd, tell: OwnedFd) -> u8 {
    let mut byte = [0];
    if !matches!(rustix::io::read(ready, &mut byte), Ok(1)) {
        return 1;
    }
    match namespace::write_maps_with_helpers(process, &maps.0, &maps.1) {
        Ok(()) => 0,
        Err(error) => {
            let text = crate::error::chain(&error);
            io::Write::write_all(&mut std::fs::File::from(tell), text.as_bytes()).ok();
            1
        }
    }
}

/// Maps root to the user alone, which everybody may do.
fn map_alone(uid: u32, gid: u32) -> Result<()> {
    namespace::deny_setgroups("self")?;
    namespace::write_map(
        "self",
        "uid_map",
        &[IdRange {
            inside: 0,
            outside: uid,
            count: 1,
        }],
    )?;
    namespace::write_map(
        "self",
        "gid_map",
        &[IdRange {
            inside: 0,
            outside: gid,
            count: 1,
        }],
    )?;
    Ok(())
}

/// The maps that the host's files allow, or why there are none.
fn subordinate(uid: u32, gid: u32) -> std::result::Result<Maps, String> {
    let passwd = sys::fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    let name = name_of(&passwd, uid);
    let read = |path: &str| {
        let text = sys::fs::read_to_string(Path::new(path)).map_err(|error| error.to_string())?;
        let ranges = namespace::subordinate_ranges(&text, name.as_deref(), uid);
        if ranges.is_empty() {
            let who = name.clone().unwrap_or_else(|| uid.to_string());
            return Err(format!("`{path}` gives no ids to `{who}`"));
        }
        Ok(ranges)
    };
    Ok((
        map(uid, &read("/etc/subuid")?),
        map(gid, &read("/etc/subgid")?),
    ))
}

/// Root is the user; ids from 1 on are the subordinate ones, as many as there are.
fn map(own: u32, subordinate: &[(u32, u32)]) -> Vec<IdRange> {
    let mut ranges = vec![IdRange {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut next = 1_u32;
    for (first, count) in subordinate {
        let count = (*count).min(u32::MAX - 1 - next);
        if count > 0 {
            ranges.push(IdRange {
                inside: next,
                outside: *first,
                count,
            });
            next += count;
        }
    }
    ranges
}

fn name_of(passwd: &[u8], uid: u32) -> Option<String> {
    let number = uid.to_string();
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_user_and_the_rest_follows() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        assert_eq!(
            map(1000, &[(100_000, 65536), (300_000, 10)]),
            [
                range(0, 1000, 1),
                range(1, 100_000, 65536),
                range(65537, 300_000, 10)
            ]
        );
        assert_eq!(map(5, &[(6, u32::MAX)])[1].count, u32::MAX - 2);
    }

    #[test]
    fn names_by_number() {
        let passwd = b"root:x:0:0::/:\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 7), None);
    }
}
