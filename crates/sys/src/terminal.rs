//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::termios::Winsize;

use crate::fs::{Context, Result};
use crate::root::Root;

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A new terminal: the side that shows it and the side that programs use.
#[derive(Debug)]
pub struct Pair {
    /// What a person sits at.
    pub controller: OwnedFd,
    /// What programs read and write.
    pub user: OwnedFd,
    /// Its name in the `devpts` it came from.
    pub number: u32,
}

/// Makes a terminal in the `devpts` file system whose root `devpts` is; no path of the caller's tree is involved.
///
/// # Errors
///
/// It is no `devpts`, or has no more terminals.
pub fn open_in(devpts: &Root) -> Result<Pair> {
    let path = Path::new("ptmx");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let controller = rustix::fs::openat(devpts, path, flags, Mode::empty())
        .context("open a terminal through", path)?;
    rustix::pty::unlockpt(&controller).context("unlock a terminal of", path)?;
    let user = rustix::pty::ioctl_tiocgptpeer(
        &controller,
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY,
    )
    .context("open the other side of a terminal of", path)?;
    rustix::io::fcntl_setfd(&user, rustix::io::FdFlags::CLOEXEC)
        .context("open the other side of a terminal of", path)?;
    let mut number = 0_u32;
    // SAFETY: the call writes one `unsigned int` to a live one.
    let result = unsafe { libc::ioctl(controller.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("number a terminal of", path);
    }
    Ok(Pair {
        controller,
        user,
        number,
    })
}

/// Sets the size that programs see; they get `SIGWINCH`.
///
/// # Errors
///
/// It is no terminal.
pub fn set_size(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// The size that programs see.
///
/// # Errors
///
/// It is no terminal.
pub fn size(terminal: impl AsFd) -> io::Result<Size> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Reads a line from the terminal of this process without showing it, after writing `question` there.
///
/// # Errors
///
/// There is no terminal, or it ended.
pub fn ask_secretly(question: &str) -> io::Result<String> {
    use std::io::{BufRead as _, Write as _};

    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let mut terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = io::BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Makes a terminal the controlling one of this session, which the process leads and which has none yet.
///
/// # Errors
///
/// The process leads no session, or the terminal is taken.
pub fn take_control(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: the call takes a plain number.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
