//! A pair of connected sockets that carry messages and open files between two processes.
//!
//! A message is a length (4 bytes, little-endian) and so many bytes; open files travel with the first byte.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Open files that one message may carry.
pub const MAX_FILES: usize = 8;

/// Largest message, 16 MiB: an environment and argument list at the kernel's limit fit several times.
pub const MAX_MESSAGE: usize = 16 << 20;

/// A socket in a directory that others connect to by name.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Listens under `name` in an open directory, for this user alone; what had the name is replaced.
    ///
    /// The directory is reached through its descriptor, so its path may be of any length.
    ///
    /// # Errors
    ///
    /// The directory cannot be written to.
    pub fn open(directory: impl AsFd, name: &str) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        match rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        rustix::net::bind(&fd, &address(&directory, name)?)?;
        rustix::fs::chmodat(
            &directory,
            name,
            rustix::fs::Mode::from_raw_mode(0o600),
            rustix::fs::AtFlags::empty(),
        )?;
        rustix::net::listen(&fd, 64)?;
        Ok(Self { fd })
    }

    /// Takes the next connection; `None` if nobody is waiting. Strangers (neither root nor our own user) are turned away.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        loop {
            match rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC) {
                Ok(fd) => {
                    let peer = rustix::net::sockopt::socket_peercred(&fd)?;
                    if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
                        return Ok(Some(Connection { fd }));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(directory: &impl AsFd, name: &str) -> io::Result<rustix::net::SocketAddrUnix> {
    Ok(rustix::net::SocketAddrUnix::new(
        crate::root::magic(directory).join(name),
    )?)
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
}

impl Connection {
    /// Two connected ends; neither is inherited by other programs.
    ///
    /// # Errors
    ///
    /// Out of descriptors or memory.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Connects to a [`Listener`] under `name` in an open directory.
    ///
    /// # Errors
    ///
    /// Nobody listens there (`ConnectionRefused`, `NotFound`).
    pub fn to(directory: impl AsFd, name: &str) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&fd, &address(&directory, name)?)?;
        Ok(Self { fd })
    }

    /// Takes an open socket.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second handle on the same end.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }

    /// How long [`Connection::receive`] waits at most; zero is for ever.
    ///
    /// # Errors
    ///
    /// Never on Linux.
    pub fn set_patience(&self, patience: std::time::Duration) -> io::Result<()> {
        let patience = (!patience.is_zero()).then_some(patience);
        Ok(rustix::net::sockopt::set_socket_timeout(
            &self.fd,
            rustix::net::sockopt::Timeout::Recv,
            patience,
        )?)
    }

    /// Sends a message with open files.
    ///
    /// # Errors
    ///
    /// The other end is gone, or the message or the number of files is too large.
    pub fn send(&self, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = u32::try_from(message.len())
            .ok()
            .filter(|_| message.len() <= MAX_MESSAGE);
        let header = length.ok_or(io::ErrorKind::InvalidInput)?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // The header alone carries the files: it is never split.
        loop {
            match rustix::net::sendmsg(
                &self.fd,
                &[IoSlice::new(&header)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            ) {
                Ok(4) => break,
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut rest = message;
        while !rest.is_empty() {
            match rustix::net::send(&self.fd, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Receives a message with its open files; `None` when the other end is gone.
    ///
    /// # Errors
    ///
    /// The other end went in the middle of a message, or says nonsense.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut header = [0; 4];
        let mut files = Vec::new();
        let mut filled = 0;
        while filled < header.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut header[filled..])];
            match rustix::net::recvmsg(
                &self.fd,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(message) if message.bytes == 0 && filled == 0 => return Ok(None),
                Ok(message) if message.bytes == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(message) => filled += message.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    files.extend(received);
                }
            }
        }
        let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match rustix::io::read(&self.fd, &mut message[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Some((message, files)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> Self {
        connection.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn messages_and_files_arrive_whole() {
        let (one, other) = Connection::pair().unwrap();
        let big = vec![7; 3_000_000];
        let sent = big.clone();
        let thread = std::thread::spawn(move || {
            let file = std::fs::File::open("/proc/self/stat").unwrap();
            one.send(b"first", &[file.as_fd()]).unwrap();
            one.send(&sent, &[]).unwrap();
            one.send(b"", &[]).unwrap();
        });
        let (message, mut files) = other.receive().unwrap().unwrap();
        assert_eq!((&message[..], files.len()), (&b"first"[..], 1));
        let mut text = String::new();
        std::fs::File::from(files.remove(0))
            .read_to_string(&mut text)
            .unwrap();
        assert!(!text.is_empty());
        assert_eq!(other.receive().unwrap().unwrap().0, big);
        assert_eq!(other.receive().unwrap().unwrap().0, b"");
        assert!(other.receive().unwrap().is_none());
        thread.join().unwrap();
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused() {
        let (one, other) = Connection::pair().unwrap();
        rustix::io::write(&one.fd, &u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(
            other.receive().unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
