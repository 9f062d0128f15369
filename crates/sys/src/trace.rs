//! Holding processes still without them, or their parents, noticing.
//!
//! A tracer stops threads with `PTRACE_SEIZE` and `PTRACE_INTERRUPT`. Unlike `SIGSTOP` that is reported to nobody else, runs no
//! handler of `SIGCONT`, and leaves alone who was stopped before; unlike a freezer control group it needs no group, no move into
//! it, and nothing to undo: when the tracer ends, however it ends, the kernel lets all threads go on.
//!
//! The calling thread is the tracer: all calls on one [`Held`] must come from the thread that made it, which its type enforces.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// What `waitpid` tells in the third byte of a stop that `PTRACE_INTERRUPT` or a group stop made.
const EVENT_STOP: i32 = 128;

/// What is known of a thread that we trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was asked to stop.
    Asked,
    Stopped,
    Gone,
}

/// Threads that are held; dropping it lets them go on.
#[derive(Debug, Default)]
pub struct Held {
    threads: BTreeMap<i32, State>,
    /// Another thread would not be their tracer.
    here: PhantomData<*const ()>,
}

fn ptrace(request: libc::c_uint, thread: i32, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests made here reads or writes our memory.
    let result = unsafe { libc::ptrace(request as _, thread, 0_usize, data) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

impl Held {
    /// Takes hold of a thread and asks it to stop; false if it is held already, or gone.
    ///
    /// # Errors
    ///
    /// Somebody else traces it, or we may not.
    pub fn seize(&mut self, thread: i32) -> io::Result<bool> {
        if self.threads.contains_key(&thread) {
            return Ok(false);
        }
        match ptrace(libc::PTRACE_SEIZE, thread, 0) {
            Ok(()) => {}
            // A thread that has ended, and that its parent has not taken notice of, gives the same error as one of somebody else.
            Err(_) if matches!(state(thread), None | Some(b'Z' | b'X')) => return Ok(false),
            Err(error) => return Err(error),
        }
        let state = match ptrace(libc::PTRACE_INTERRUPT, thread, 0) {
            Ok(()) => State::Asked,
            Err(_) => State::Gone,
        };
        self.threads.insert(thread, state);
        Ok(true)
    }

    /// The threads that have not stopped yet. Does not wait.
    ///
    /// # Errors
    ///
    /// A thread is not traced by us.
    pub fn moving(&mut self) -> io::Result<Vec<i32>> {
        let mut moving = Vec::new();
        for (thread, known) in &mut self.threads {
            if *known == State::Asked {
                *known = look(*thread)?;
                if *known == State::Asked {
                    moving.push(*thread);
                }
            }
        }
        Ok(moving)
    }
}

/// What has become of a thread that was asked to stop.
fn look(thread: i32) -> io::Result<State> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live integer.
        let found = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL | libc::WNOHANG) };
        if found == 0 {
            return Ok(State::Asked);
        }
        if found == -1 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::ECHILD) => return Ok(State::Gone),
                _ => return Err(error),
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Ok(State::Gone);
        }
        if status >> 16 == EVENT_STOP {
            return Ok(State::Stopped);
        }
        // On its way to a signal that came before: it gets that one, and stops behind it.
        let signal = usize::try_from(libc::WSTOPSIG(status)).unwrap_or(0);
        ptrace(libc::PTRACE_CONT, thread, signal).ok();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only stopped threads can be let go one by one. The others are when they stop, which this waits for a little, or when
        // this process ends.
        for _ in 0..100 {
            let Ok(moving) = self.moving() else { return };
            for (thread, state) in &mut self.threads {
                if *state == State::Stopped {
                    ptrace(libc::PTRACE_DETACH, *thread, 0).ok();
                    *state = State::Gone;
                }
            }
            if moving.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// The letter under which the kernel shows what a thread does; `None` if there is no such thread.
#[must_use]
pub fn state(thread: i32) -> Option<u8> {
    let text = std::fs::read(format!("/proc/{thread}/stat")).ok()?;
    let after_name = text.iter().rposition(|byte| *byte == b')')?;
    text.get(after_name + 2).copied()
}

/// True for a thread that waits for a child it made with `vfork` to become another program. It cannot be stopped before, and does
/// nothing until then.
#[must_use]
pub fn awaits_child(thread: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{thread}/syscall")).unwrap_or_default();
    let number = text.split(' ').next().and_then(|word| word.parse().ok());
    let waits = [
        libc::SYS_clone,
        libc::SYS_clone3,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ];
    state(thread) == Some(b'D') && number.is_some_and(|number| waits.contains(&number))
}

/// What [`members`] gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Their numbers.
    pub found: Vec<i32>,
    /// Some process, a member or a stranger, ended before it could be told which. Its children may be missing.
    pub some_gone: bool,
}

/// The processes of the pid namespace of `first`, and of those below it, as this pid namespace numbers them.
///
/// # Errors
///
/// `first` has ended, or `/proc` cannot be read.
pub fn members(first: i32) -> crate::fs::Result<Members> {
    use std::os::unix::fs::MetadataExt as _;
    let namespace = |pid: i32| PathBuf::from(format!("/proc/{pid}/ns/pid"));
    let number = |path: &Path| crate::fs::metadata(path).map(|meta| meta.ino());
    let wanted = number(&namespace(first))?;
    let ours = number(Path::new("/proc/self/ns/pid"))?;
    let mut members = Members::default();
    for pid in numbers(Path::new("/proc"))? {
        let is_member = match number(&namespace(pid)) {
            Ok(theirs) if theirs == wanted || theirs == ours => Some(theirs == wanted),
            Ok(_) => is_below(&namespace(pid), wanted),
            // What is closed to us is none of ours; while a process goes the kernel may call it closed, too.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let is_there = Path::new("/proc").join(pid.to_string()).try_exists();
                is_there.unwrap_or(true).then_some(false)
            }
            Err(_) => None,
        };
        match is_member {
            Some(true) => members.found.push(pid),
            Some(false) => {}
            None => members.some_gone = true,
        }
    }
    Ok(members)
}

/// The threads of a process; none if it has ended.
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn threads(pid: i32) -> crate::fs::Result<Vec<i32>> {
    let path = PathBuf::from(format!("/proc/{pid}/task"));
    Ok(crate::fs::optional(numbers(&path))?.unwrap_or_default())
}

fn numbers(dir: &Path) -> crate::fs::Result<Vec<i32>> {
    let entries = crate::fs::read_dir(dir)?.flatten();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Whether the namespace with the inode `wanted` is among the ancestors of that of `path`; `None` if there is no such path.
fn is_below(path: &Path, wanted: u64) -> Option<bool> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt as _;
    /// `NS_GET_PARENT`
    const PARENT: u32 = 0xb702;
    let mut namespace = std::fs::File::open(path).ok()?;
    // The kernel nests no deeper.
    for _ in 0..33 {
        // SAFETY: the request takes no argument.
        let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), PARENT as _) };
        if parent < 0 {
            return Some(false);
        }
        // SAFETY: the call gave us a new descriptor.
        namespace = unsafe { OwnedFd::from_raw_fd(parent) }.into();
        if namespace.metadata().is_ok_and(|meta| meta.ino() == wanted) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Asks until it holds, for a minute at most.
    fn eventually(mut condition: impl FnMut() -> bool) -> bool {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !condition() {
            if std::time::Instant::now() > end {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        true
    }

    #[test]
    fn what_is_held_does_nothing_and_goes_on_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        // Small writes without end.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg("i=0; while :; do i=$((i+1)); echo $i > count; done")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let read = || std::fs::read(&count).unwrap_or_default();
        assert!(eventually(|| !read().is_empty()));
        let mut held = Held::default();
        assert!(held.seize(pid).unwrap());
        assert!(!held.seize(pid).unwrap(), "it is held already");
        assert!(eventually(|| held.moving().unwrap().is_empty()));
        assert_eq!(state(pid), Some(b't'));
        let before = std::fs::metadata(&count).unwrap().modified().unwrap();
        let text = read();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(read(), text);
        assert_eq!(
            std::fs::metadata(&count).unwrap().modified().unwrap(),
            before
        );
        drop(held);
        assert!(eventually(|| read() != text && !read().is_empty()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_has_ended_is_nobody_to_hold() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Its end is not taken notice of yet.
        assert!(eventually(|| state(pid) == Some(b'Z')));
        assert!(!Held::default().seize(pid).unwrap());
        // Nor is it one whose children nobody can find.
        assert!(matches!(
            is_below(Path::new(&format!("/proc/{pid}/ns/pid")), 0),
            Some(false)
        ));
        child.wait().unwrap();
        assert!(!Held::default().seize(pid).unwrap());
        assert_eq!(is_below(Path::new(&format!("/proc/{pid}/ns/pid")), 0), None);
    }
}
