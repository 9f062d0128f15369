//! Reads a directory tree: names and `stat`, in parallel, relative to open directories.
//!
//! No path is resolved from the root again and no symbolic link is followed, so a tree that changes during the walk can
//! give an error or a picture that never was, but nothing outside the root. A directory's handle lives until its last
//! child directory is open; since the newest work is done first, few are open at once.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use sys::fs::Error;

use super::assemble;
use super::tree::{NodeKind, Stat, Text, Time, Tree, Xattrs};
use super::xattr;

/// Deepest tree that is read. A path of 4096 bytes, the longest that the kernel takes, has no more components.
const MAX_DEPTH: u32 = 2048;

/// More threads than this wait for each other at the directories' locks.
const MAX_THREADS: usize = 4;

/// What a walk takes along. Directories have a state that the filter makes on the way down.
pub(crate) trait Filter: Sync {
    /// What is to be known of a directory to judge what is in it.
    type Dir: Send;
    /// The state of the root.
    fn root(&self) -> Self::Dir;
    /// Whether something that is no directory is part of the tree.
    fn file(&self, dir: &Self::Dir, name: &[u8]) -> bool;
    /// What to do with a directory, and its state if it is entered.
    fn dir(&self, dir: &Self::Dir, name: &[u8]) -> (Verdict, Option<Self::Dir>);
}

/// What to do with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is part of the tree.
    Take,
    /// It is part of the tree, but nobody wants to know what is in it.
    Close,
    /// It is not part of the tree, nor is anything in it.
    Skip,
    /// It is not part of the tree, but something in it may be; then it is too.
    Descend,
}

/// Reads the tree below `root`.
pub(crate) fn walk<F: Filter>(
    root: BorrowedFd<'_>,
    shown: &Path,
    filter: &F,
) -> Result<Tree, Error> {
    let queue = Queue {
        state: Mutex::new(State {
            jobs: vec![Job {
                parent: None,
                name: Vec::new(),
                path: Vec::new(),
                state: filter.root(),
                id: 0,
                depth: 0,
            }],
            working: 0,
            next: 1,
            error: None,
        }),
        wake: Condvar::new(),
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS);
    let mut finds = Vec::with_capacity(threads);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| Walker::new(root, shown, filter).run(&queue)))
            .collect();
        finds.push(Walker::new(root, shown, filter).run(&queue));
        for other in others {
            match other.join() {
                Ok(find) => finds.push(find),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let state = queue
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(assemble::assemble(finds, state.next)),
    }
}

/// A directory to read.
struct Job<D> {
    parent: Option<Arc<OwnedFd>>,
    /// Its name in `parent`, with the closing zero.
    name: Vec<u8>,
    /// Its path, for messages.
    path: Vec<u8>,
    state: D,
    id: u32,
    depth: u32,
}

struct State<D> {
    jobs: Vec<Job<D>>,
    working: usize,
    next: u32,
    error: Option<Error>,
}

struct Queue<D> {
    state: Mutex<State<D>>,
    wake: Condvar,
}

impl<D> Queue<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest directory, or `None` when all are read.
    fn next(&self) -> Option<Job<D>> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.working += 1;
                return Some(job);
            }
            if state.working == 0 {
                self.wake.notify_all();
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands in the directories that were found in one; gives them their numbers, counting from the returned one.
    fn finish(&self, found: &mut Vec<Job<D>>) {
        let mut state = self.lock();
        state.working -= 1;
        let wake = !found.is_empty() || state.working == 0;
        state.jobs.append(found);
        drop(state);
        if wake {
            self.wake.notify_all();
        }
    }

    fn number(&self, count: u32) -> u32 {
        let mut state = self.lock();
        let first = state.next;
        state.next += count;
        first
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.working -= 1;
        state.error.get_or_insert(error);
        drop(state);
        self.wake.notify_all();
    }
}

/// What one thread has read.
#[derive(Default)]
pub(super) struct Find {
    pub(super) arena: Vec<u8>,
    pub(super) dirs: Vec<Dir>,
    pub(super) children: Vec<Child>,
}

impl Find {
    pub(super) fn text(&self, text: Text) -> &[u8] {
        &self.arena[text.start as usize..text.start as usize + usize::from(text.len)]
    }
}

/// A directory that was read: itself, and where its children are in [`Find::children`].
pub(super) struct Dir {
    pub(super) id: u32,
    pub(super) stat: Stat,
    pub(super) xattrs: Xattrs,
    pub(super) children: std::ops::Range<u32>,
}

#[derive(Clone, Copy)]
pub(super) struct Child {
    pub(super) name: Text,
    pub(super) target: Text,
    pub(super) verdict: Verdict,
    pub(super) what: What,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    /// Not a directory, or one that is not entered.
    Leaf(Stat),
    /// A directory with a [`Dir`] of its own.
    Dir(u32),
}

/// The directories in a directory; or what failed, with the name of the child that it is about, if any.
type Found<D> = Result<Vec<Job<D>>, (Errno, Vec<u8>)>;

struct Walker<'a, F: Filter> {
    root: BorrowedFd<'a>,
    shown: &'a Path,
    filter: &'a F,
    find: Find,
    buffer: Vec<MaybeUninit<u8>>,
}

impl<'a, F: Filter> Walker<'a, F> {
    fn new(root: BorrowedFd<'a>, shown: &'a Path, filter: &'a F) -> Self {
        Self {
            root,
            shown,
            filter,
            find: Find::default(),
            buffer: vec![MaybeUninit::uninit(); 32 << 10],
        }
    }

    fn run(mut self, queue: &Queue<F::Dir>) -> Find {
        while let Some(job) = queue.next() {
            match self.read(&job, queue) {
                Ok(mut found) => queue.finish(&mut found),
                // A directory that vanished since its parent was listed was not there.
                Err((Errno::NOENT, name)) if name.is_empty() && job.parent.is_some() => {
                    queue.finish(&mut Vec::new());
                }
                Err((errno, name)) => {
                    let mut path = self.shown.to_path_buf();
                    path.extend((!job.path.is_empty()).then(|| os_path(&job.path)));
                    path.extend((!name.is_empty()).then(|| os_path(&name)));
                    queue.fail(Error::new("read", path, errno.into()));
                    break;
                }
            }
        }
        self.find
    }

    /// Reads one directory.
    fn read(&mut self, job: &Job<F::Dir>, queue: &Queue<F::Dir>) -> Found<F::Dir> {
        let here = |errno| (errno, Vec::new());
        if job.depth > MAX_DEPTH {
            return Err(here(Errno::NAMETOOLONG));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match &job.parent {
            None => rustix::fs::openat(self.root, c".", flags, Mode::empty()),
            Some(parent) => {
                let name = CStr::from_bytes_with_nul(&job.name).unwrap_or(c"");
                rustix::fs::openat(parent.as_fd(), name, flags, Mode::empty())
            }
        };
        let fd = Arc::new(fd.map_err(here)?);
        let stat = stat_of(&rustix::fs::fstat(&*fd).map_err(here)?);
        let xattrs = xattr::read(fd.as_fd()).map_err(here)?;
        let start = self.find.children.len();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut entries = RawDir::new(&*fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(here)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.child(fd.as_fd(), &job.state, name, entry.file_type())
                .map_err(|errno| (errno, name.to_bytes().to_vec()))?;
        }
        self.buffer = buffer;
        let Find {
            arena,
            children,
            dirs,
        } = &mut self.find;
        let text =
            |text: Text| &arena[text.start as usize..text.start as usize + usize::from(text.len)];
        children[start..].sort_unstable_by(|a, b| text(a.name).cmp(text(b.name)));
        let count = children[start..]
            .iter()
            .filter(|child| matches!(child.what, What::Dir(_)))
            .count();
        let mut id = queue.number(count as u32);
        let mut found = Vec::with_capacity(count);
        for child in &mut children[start..] {
            let What::Dir(number) = &mut child.what else {
                continue;
            };
            *number = id;
            let name = text(child.name);
            let Some(state) = self.filter.dir(&job.state, name).1 else {
                continue;
            };
            let slash: &[u8] = if job.path.is_empty() { b"" } else { b"/" };
            let path = [&job.path, slash, name].concat();
            let name = [name, &[0]].concat();
            found.push(Job {
                parent: Some(Arc::clone(&fd)),
                name,
                path,
                state,
                id,
                depth: job.depth + 1,
            });
            id += 1;
        }
        // The last pushed is the first done: the threads meet the directories in the order of their names.
        found.reverse();
        dirs.push(Dir {
            id: job.id,
            stat,
            xattrs,
            children: start as u32..children.len() as u32,
        });
        Ok(found)
    }

    fn child(
        &mut self,
        dir: BorrowedFd<'_>,
        state: &F::Dir,
        name: &CStr,
        kind: FileType,
    ) -> Result<(), Errno> {
        let mut seen = None;
        let is_dir = if kind == FileType::Unknown {
            match stat_at(dir, name)? {
                Some(stat) => seen.insert(stat).kind == NodeKind::Dir,
                None => return Ok(()),
            }
        } else {
            kind == FileType::Directory
        };
        let verdict = match is_dir {
            true => self.filter.dir(state, name.to_bytes()).0,
            false if self.filter.file(state, name.to_bytes()) => Verdict::Take,
            false => Verdict::Skip,
        };
        if verdict == Verdict::Skip {
            return Ok(());
        }
        let mut target = Text::default();
        let what = if is_dir && verdict != Verdict::Close {
            What::Dir(0)
        } else {
            let stat = match seen {
                Some(stat) => stat,
                None => match stat_at(dir, name)? {
                    Some(stat) => stat,
                    None => return Ok(()),
                },
            };
            if stat.kind == NodeKind::Symlink {
                let link = rustix::fs::readlinkat(dir, name, Vec::new())?;
                target = intern(&mut self.find.arena, link.to_bytes())?;
            }
            What::Leaf(stat)
        };
        let name = intern(&mut self.find.arena, name.to_bytes())?;
        self.find.children.push(Child {
            name,
            target,
            verdict,
            what,
        });
        Ok(())
    }
}

fn intern(arena: &mut Vec<u8>, bytes: &[u8]) -> Result<Text, Errno> {
    let start = u32::try_from(arena.len()).map_err(|_| Errno::NOMEM)?;
    let len = u16::try_from(bytes.len()).map_err(|_| Errno::NAMETOOLONG)?;
    arena.extend_from_slice(bytes);
    Ok(Text { start, len })
}

/// `stat` of a name in a directory; `None` if it vanished since the directory was listed.
fn stat_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The kernel's `stat` in our words.
#[expect(
    clippy::useless_conversion,
    reason = "the fields' types differ between architectures"
)]
pub(crate) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => NodeKind::Dir,
        FileType::Symlink => NodeKind::Symlink,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::RegularFile | FileType::Unknown => NodeKind::File,
    };
    Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        size: if kind == NodeKind::File {
            stat.st_size as u64
        } else {
            0
        },
        rdev: if matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
            (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            )
        } else {
            (0, 0)
        },
        dev: stat.st_dev.into(),
        ino: stat.st_ino.into(),
        mtime: Time {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        },
        ctime: Time {
            secs: stat.st_ctime,
            nanos: stat.st_ctime_nsec as u32,
        },
    }
}

fn os_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
