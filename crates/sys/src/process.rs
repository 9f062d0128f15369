//! Processes: handles that cannot hit a stranger, waiting, signals, and starting ourselves again.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions, WaitOptions};

use crate::fs::{Context, Result};
use crate::mount::{self, Attributes};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// A handle on one process (pidfd): a signal sent through it reaches this process or none.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    pid: Pid,
}

impl Handle {
    /// Takes a handle on a process by number.
    ///
    /// The number may have passed to a stranger meanwhile: unless it is an unreaped child of the caller, compare
    /// [`start_time`] with what was recorded *after* taking the handle.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            fd: rustix::process::pidfd_open(pid, PidfdFlags::empty())?,
            pid,
        })
    }

    /// Takes a received pidfd.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, pid: Pid) -> Self {
        Self { fd, pid }
    }

    /// A second handle on the same process.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            pid: self.pid,
        })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal by number.
    ///
    /// # Errors
    ///
    /// The process is gone (`NotFound`), the number is no signal (`InvalidInput`), or the privilege is missing.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        // SAFETY: a plain system call on a live descriptor; a null `info` and no flags are allowed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                number,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => {
                    Err(io::ErrorKind::NotFound.into())
                }
                error => Err(error),
            },
        }
    }

    /// Waits until the process has ended, at most `timeout`; false if it still runs. Any process, not only a child.
    ///
    /// # Errors
    ///
    /// Polling failed.
    pub fn wait_end(&self, timeout: Option<std::time::Duration>) -> io::Result<bool> {
        wait_readable(&self.fd, timeout)
    }

    /// Waits for a child of ours and takes its end; `None` if it still runs and `block` is false.
    ///
    /// # Errors
    ///
    /// It is no child of ours.
    pub fn reap(&self, block: bool) -> io::Result<Option<Ended>> {
        let mut options = WaitIdOptions::EXITED;
        options.set(WaitIdOptions::NOHANG, !block);
        // Children made with `CLONE_PARENT` by a child may come without a signal at their end; `__WALL` sees them.
        let options = WaitIdOptions::from_bits_retain(options.bits() | WALL);
        loop {
            match rustix::process::waitid(rustix::process::WaitId::PidFd(self.fd.as_fd()), options)
            {
                Ok(None) => return Ok(None),
                Ok(Some(status)) => {
                    return Ok(Some(
                        match (status.exit_status(), status.terminating_signal()) {
                            (Some(code), _) => Ended::Code(code),
                            (None, Some(signal)) => Ended::Signal(signal),
                            (None, None) => Ended::Code(0),
                        },
                    ));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

const WALL: u32 = libc::__WALL as u32;

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until something can be read from a descriptor (or its other end is gone), at most `timeout`; false if not.
///
/// # Errors
///
/// Polling failed.
pub fn wait_readable(fd: impl AsFd, timeout: Option<std::time::Duration>) -> io::Result<bool> {
    let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
    loop {
        let mut fds = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            rustix::event::Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes the end of a child that has ended; `None` if none has (any more).
///
/// # Errors
///
/// Waiting failed.
pub fn reap_ended() -> io::Result<Option<(i32, Ended)>> {
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(WALL);
    loop {
        match rustix::process::wait(options) {
            Ok(Some((pid, status))) => {
                let pid = pid.as_raw_nonzero().get();
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => return Ok(Some((pid, Ended::Code(code)))),
                    (None, Some(signal)) => return Ok(Some((pid, Ended::Signal(signal)))),
                    (None, None) => {}
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// When a process started, in clock ticks since boot: together with the number it names one process for ever.
///
/// # Errors
///
/// There is no such process, or it has ended and only its parent has not noticed yet (`NotFound`).
pub fn start_time(pid: i32) -> Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = crate::fs::read(&path)?;
    // The name in parentheses may hold anything, so the fields are counted from its end: the 20th after it.
    let after_name = text
        .iter()
        .rposition(|byte| *byte == b')')
        .map_or(&[][..], |end| &text[end + 1..]);
    if let Some(b'Z' | b'X') = after_name.iter().find(|byte| **byte != b' ') {
        return Err(io::Error::from(io::ErrorKind::NotFound)).context("find the process", &path);
    }
    let field = after_name
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty())
        .nth(19);
    let number = field
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|field| field.parse().ok());
    number
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        .context("read", &path)
}

/// The name of the running boot of this machine.
///
/// # Errors
///
/// `/proc` is not mounted.
pub fn boot_id() -> Result<String> {
    let text = crate::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(text.trim().to_owned())
}

/// Asks the kernel to send this process a signal when the thread that started it ends.
///
/// # Errors
///
/// Never on Linux.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Takes in orphaned descendants, so that they can be waited for.
///
/// # Errors
///
/// Never on Linux.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Pid::from_raw(1))?)
}

/// A command that starts this very program again, with `name` as its first argument (`argv[0]`).
///
/// The program is run from a read-only view of its file that is attached nowhere. A process in a container that
/// gets hold of it through `/proc/PID/exe` cannot write to the program on the host through that view, not even as root
/// and not after it has ended. Without the privilege to make such a view, the program is run from a sealed copy in memory.
///
/// # Errors
///
/// Neither way works.
pub fn command_of_self(name: &OsStr) -> Result<(Command, OwnedFd)> {
    use std::os::unix::process::CommandExt;
    let exe = Path::new("/proc/self/exe");
    let view = match mount::bind(exe, false)
        .and_then(|view| view.restrict(Attributes::READONLY, false).map(|()| view))
    {
        Ok(view) => OwnedFd::from(view),
        Err(_) => sealed_copy(exe)?,
    };
    let mut command = Command::new(crate::root::magic(&view));
    command.arg0(name);
    Ok((command, view))
}

/// As [`command_of_self`], for a process that was itself started by that command and so runs from what nobody can write.
#[must_use]
pub fn command_of_protected_self(name: &OsStr) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name);
    command
}

fn sealed_copy(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let from = crate::fs::open(path)?;
    let length = from.metadata().context("stat", path)?.len();
    let memory =
        rustix::fs::memfd_create("program", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .context("make a copy in memory of", path)?;
    let mut memory = File::from(memory);
    crate::copy::range(&from, 0, &mut memory, length).context("make a copy in memory of", path)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals).context("seal the copy in memory of", path)?;
    Ok(memory.into())
}

/// Starts a copy of this process that runs `body` and ends with its code.
///
/// Only for a process with one thread, as after [`command_of_self`]: a copy of several would have their locks and not them.
///
/// # Errors
///
/// There are several threads (`Unsupported`), or the system has no room for a process.
pub fn fork(body: impl FnOnce() -> u8) -> io::Result<Handle> {
    let stat = std::fs::read_dir("/proc/self/task")?;
    if stat.count() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    fork_unchecked(body)
}

/// As [`fork`], where `/proc` does not show this process: the caller has made sure before that it has one thread.
///
/// # Errors
///
/// The system has no room for a process.
pub fn fork_unchecked(body: impl FnOnce() -> u8) -> io::Result<Handle> {
    // SAFETY: with one thread nobody else can hold a lock or be in the middle of anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => leave(body()),
        pid => Handle::open(pid),
    }
}

/// Becomes a user: groups, group and user id, in this order, for the calling thread. Capabilities are kept until they are given up
/// with [`crate::capability::keep_only`].
///
/// # Errors
///
/// The privilege is missing, or an id is not mapped in this user namespace.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    if [uid, gid].iter().chain(groups).any(|id| *id == u32::MAX) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let groups: Vec<_> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    match rustix::thread::set_thread_groups(&groups) {
        // In a namespace of a single user nobody may change groups, and there are none but that one.
        Err(rustix::io::Errno::PERM)
            if groups.iter().all(|group| *group == gid) && groups_are_fixed() => {}
        result => result?,
    }
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted;
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn groups_are_fixed() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

/// Forbids other processes to look into this one and its files, until it becomes another program.
///
/// # Errors
///
/// Never on Linux.
pub fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(
        rustix::process::DumpableBehavior::NotDumpable,
    )?)
}

/// Ends this process at once: no destructors, no flushing.
pub fn leave(code: u8) -> ! {
    // SAFETY: nothing runs after it.
    unsafe { libc::_exit(code.into()) }
}

/// Takes ownership of a descriptor that this process was started with; `None` if it is not open.
///
/// # Safety by convention
///
/// Call it once a number, first thing in `main`, before anything else could have opened that number.
#[must_use]
pub fn inherited_fd(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: `F_GETFD` only asks about the number.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the number is open, and by the rule above nobody else in this process owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok();
    Some(fd)
}

/// Closes every descriptor from `first` on.
///
/// # Errors
///
/// The kernel has no `close_range` (before 5.9).
///
/// # Safety by convention
///
/// Call it first thing in `main` of a re-executed process, before anything that is owned could have such a number.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: by the rule above nobody in this process owns one of these descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Marks every descriptor from `first` on to be closed when another program is started.
///
/// # Errors
///
/// The kernel has no `close_range` with that flag (before 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: this sets a flag on descriptors and closes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal but SIGPIPE, which Rust programs ignore, its default action and blocks none.
///
/// Our caller may have chosen to ignore some (`nohup`, a shell's `&`), and that is inherited.
pub fn default_signals() {
    for number in (1..=64).filter(|number| *number != libc::SIGPIPE) {
        // SAFETY: setting the default action installs no handler; numbers that cannot be set are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    crate::signal::unblock_all().ok();
}

/// Becomes another program, with exactly these arguments and this environment, in this order; returns only to say why not.
///
/// `path` is used as it is; nothing is looked for in `PATH`. A zero byte in a string is an error (`InvalidInput`).
#[must_use]
pub fn execute(path: &Path, args: &[String], env: &[String]) -> io::Error {
    let c_strings = |strings: &[String]| -> io::Result<Vec<CString>> {
        strings
            .iter()
            .map(|text| CString::new(text.as_bytes()).map_err(io::Error::from))
            .collect()
    };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let prepared = (|| {
        Ok((
            CString::new(path.as_os_str().as_bytes())?,
            c_strings(args)?,
            c_strings(env)?,
        ))
    })();
    let (path, args, env) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    // Rust ignores SIGPIPE in every program; the next one must not inherit that.
    // SAFETY: setting the default action installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (args, env) = (pointers(&args), pointers(&env));
    // SAFETY: both lists end with a null pointer, and the strings behind the others outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Closes every descriptor above standard error but one, whoever owns it: for a process that will never touch what it
/// owned again.
///
/// # Errors
///
/// The kernel has no `close_range` (before 5.9).
pub fn close_all_but(keep: impl AsFd) -> io::Result<()> {
    let keep = keep.as_fd().as_raw_fd().cast_unsigned();
    for (first, last) in [(3, keep.wrapping_sub(1)), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: the caller's promise; the process only waits from here on.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_waits_signals_and_reaps() {
        #[expect(clippy::zombie_processes, reason = "the handle reaps it")]
        let child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let handle = Handle::open(pid).unwrap();
        assert!(!handle.wait_end(Some(std::time::Duration::ZERO)).unwrap());
        assert_eq!(handle.reap(false).unwrap(), None);
        assert!(start_time(pid).unwrap() >= start_time(std::process::id().cast_signed()).unwrap());
        assert_eq!(
            handle.signal(999).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        handle.signal(libc::SIGTERM).unwrap();
        assert!(handle.wait_end(None).unwrap());
        assert_eq!(
            handle.reap(true).unwrap(),
            Some(Ended::Signal(libc::SIGTERM))
        );
        assert_eq!(
            handle.signal(0).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_sealed_copy_runs_and_cannot_be_written() {
        let copy = sealed_copy(Path::new("/bin/true")).unwrap();
        assert!(
            Command::new(crate::root::magic(&copy))
                .status()
                .unwrap()
                .success()
        );
        rustix::io::write(&copy, b"x").unwrap_err();
    }
}
