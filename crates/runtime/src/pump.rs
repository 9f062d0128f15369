//! What flows between a running program and us: its output, our input, and the report of its end.
//!
//! One loop on one thread. It ends when the program's end has been reported and no output is left to read. Output that a
//! stranger keeps open (a background process of an `exec`) is not waited for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use sys::socket::Connection;

use crate::error::{Error, Result};
use crate::message::{Exit, Report, receive};
use crate::run::Stream;
use crate::stub::Stubs;

/// Largest piece read at once.
const PIECE: usize = 64 << 10;

/// How much of each stream is read after the end of the program, if somebody else goes on writing: as much as the largest pipe
/// that needs no privileges holds, so that all the program wrote is there, however slow we are.
const REST: usize = 1 << 20;

/// Gets output as it comes. After an error its stream is closed: the program then learns that nobody reads.
pub(crate) type Sink<'a> = dyn FnMut(Stream, &[u8]) -> io::Result<()> + 'a;

/// Input on its way to the program.
#[derive(Debug)]
pub(crate) struct Input {
    from: OwnedFd,
    to: File,
    /// `to` is a terminal: when it shows no more, or to nobody, it must go as a whole for the program to notice.
    terminal: bool,
    /// Read and not yet taken by the program.
    pending: Vec<u8>,
}

impl Input {
    /// Passes on what comes from `from`; at its end `to` is closed.
    ///
    /// # Errors
    ///
    /// Never for a pipe or a terminal.
    pub(crate) fn new(from: OwnedFd, to: OwnedFd, terminal: bool) -> Result<Self> {
        // A program that does not read must not keep us from its output.
        rustix::fs::fcntl_setfl(&to, rustix::fs::OFlags::NONBLOCK)
            .map_err(|errno| Error::start("set up the program's input")(errno.into()))?;
        Ok(Self {
            from,
            to: to.into(),
            terminal,
            pending: Vec::new(),
        })
    }

    fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.pending.is_empty() {
            (self.from.as_fd(), PollFlags::IN)
        } else {
            (self.to.as_fd(), PollFlags::OUT)
        }
    }

    /// Moves on what can be moved; false at the end.
    fn step(&mut self, buffer: &mut [u8]) -> bool {
        if self.pending.is_empty() {
            match rustix::io::read(&self.from, &mut *buffer) {
                Ok(0) => return false,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(errno) => return passes(errno),
            }
        }
        match self.to.write(&self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(error) => return passing(&error),
        }
        true
    }
}

/// Carries everything until the program has ended.
///
/// # Errors
///
/// Whoever was to report the end is gone.
pub(crate) fn until_ended(
    reports: &Connection,
    mut outputs: Vec<(Stream, File)>,
    mut input: Option<Input>,
    sink: &mut Sink<'_>,
) -> Result<(Exit, Stubs)> {
    let mut buffer = vec![0; PIECE];
    let ended = loop {
        let ready = poll(Some(reports), &outputs, input.as_ref(), None)?;
        read_outputs(&mut outputs, &ready.outputs, &mut buffer, sink);
        if ready.input && !input.as_mut().is_some_and(|input| input.step(&mut buffer)) {
            input = None;
        }
        if outputs.is_empty() {
            input = input.filter(|input| !input.terminal);
        }
        if ready.report {
            match receive::<Report>(reports)
                .map_err(Error::start("hear from the program's watcher"))?
            {
                Some((Report::Ended { ended, stubs }, _)) => break (ended, stubs),
                Some((Report::Started { .. } | Report::Failed(..), _)) | None => {
                    return Err(Error::Lost);
                }
            }
        }
    };
    read_rest(outputs, &mut buffer, sink)?;
    Ok(ended)
}

/// Reads what is there and waits for no more.
fn read_rest(
    mut outputs: Vec<(Stream, File)>,
    buffer: &mut [u8],
    sink: &mut Sink<'_>,
) -> Result<()> {
    let mut taken = 0;
    let most = REST * outputs.len();
    while !outputs.is_empty() && taken < most {
        let ready = poll(None, &outputs, None, Some(&Timespec::default()))?;
        if !ready.outputs.contains(&true) {
            break;
        }
        read_outputs(
            &mut outputs,
            &ready.outputs,
            buffer,
            &mut |stream, bytes| {
                taken += bytes.len();
                sink(stream, bytes)
            },
        );
    }
    Ok(())
}

/// What can be dealt with.
struct Ready {
    report: bool,
    outputs: Vec<bool>,
    input: bool,
}

fn poll(
    reports: Option<&Connection>,
    outputs: &[(Stream, File)],
    input: Option<&Input>,
    timeout: Option<&Timespec>,
) -> Result<Ready> {
    let mut fds: Vec<_> = outputs
        .iter()
        .map(|(_, file)| PollFd::new(file, PollFlags::IN))
        .collect();
    fds.extend(reports.map(|reports| PollFd::new(reports, PollFlags::IN)));
    fds.extend(
        input
            .map(Input::waits_for)
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)),
    );
    while let Err(errno) = rustix::event::poll(&mut fds, timeout) {
        if errno != rustix::io::Errno::INTR {
            return Err(Error::start("wait for the program")(errno.into()));
        }
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(Ready {
        outputs: ready.by_ref().take(outputs.len()).collect(),
        report: reports.is_some() && ready.next() == Some(true),
        input: input.is_some() && ready.next() == Some(true),
    })
}

/// Passes on what there is; streams that have ended are closed.
fn read_outputs(
    outputs: &mut Vec<(Stream, File)>,
    ready: &[bool],
    buffer: &mut [u8],
    sink: &mut Sink<'_>,
) {
    let mut ready = ready.iter();
    outputs.retain_mut(|(stream, file)| {
        if ready.next() != Some(&true) {
            return true;
        }
        match file.read(buffer) {
            Ok(0) => false,
            Ok(length) => sink(*stream, &buffer[..length]).is_ok(),
            // The end of a terminal is an error.
            Err(error) => passing(&error),
        }
    });
}

/// True for errors that say nothing.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

fn passes(errno: rustix::io::Errno) -> bool {
    passing(&errno.into())
}

/// Writes all, also to a terminal or pipe that somebody has made non-blocking.
pub(crate) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                match rustix::event::poll(&mut fds, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::send;

    fn pipe() -> (File, File) {
        let (read, write) = io::pipe().unwrap();
        (OwnedFd::from(read).into(), OwnedFd::from(write).into())
    }

    #[test]
    fn everything_arrives_and_a_stranger_is_not_waited_for() {
        let (ours, theirs) = Connection::pair().unwrap();
        let (stdout, mut writes_out) = pipe();
        let (stderr, mut writes_err) = pipe();
        let (from, mut typed) = pipe();
        let (mut program_reads, to) = pipe();
        // More than a pipe holds, so that the input has to wait for its reader.
        let text = vec![b'x'; 200_000];
        let program = std::thread::spawn({
            let text = text.clone();
            move || {
                let typist = std::thread::spawn(move || typed.write_all(&text).unwrap());
                let mut got = Vec::new();
                program_reads.read_to_end(&mut got).unwrap();
                typist.join().unwrap();
                writes_out.write_all(&got).unwrap();
                writes_err.write_all(b"done").unwrap();
                let ended = Report::Ended {
                    ended: Exit::Code(4),
                    stubs: Stubs::default(),
                };
                send(&theirs, &ended, &[]).unwrap();
                // Somebody else still has it open.
                (writes_out, theirs)
            }
        });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let input = Input::new(from.into(), to.into(), false).unwrap();
        let outputs = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
        let (exit, _) = until_ended(&ours, outputs, Some(input), &mut |stream, bytes| {
            match stream {
                Stream::Stdout => out.extend_from_slice(bytes),
                Stream::Stderr => err.extend_from_slice(bytes),
            }
            Ok(())
        })
        .unwrap();
        assert_eq!((exit, err), (Exit::Code(4), b"done".to_vec()));
        assert!(out == text);
        drop(program.join().unwrap());
    }

    #[test]
    fn what_a_slow_reader_has_not_read_at_the_end_is_not_lost() {
        let (ours, theirs) = Connection::pair().unwrap();
        let (stdout, mut writes_out) = pipe();
        // An ordinary user whose pipes are many or large already gets no larger one.
        let size = rustix::pipe::fcntl_setpipe_size(&writes_out, REST)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&writes_out));
        let text = vec![b'x'; size.unwrap().min(REST)];
        writes_out.write_all(&text).unwrap();
        let ended = Report::Ended {
            ended: Exit::Code(0),
            stubs: Stubs::default(),
        };
        send(&theirs, &ended, &[]).unwrap();
        let mut out = Vec::new();
        let outputs = vec![(Stream::Stdout, stdout)];
        until_ended(&ours, outputs, None, &mut |_, bytes| {
            // A stranger that goes on writing does not keep us for ever.
            writes_out.write_all(bytes).unwrap();
            out.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert!(out.starts_with(&text) && out.len() <= 2 * REST);
    }

    #[test]
    fn a_stream_that_nobody_takes_is_closed() {
        let (ours, theirs) = Connection::pair().unwrap();
        let (stdout, mut writes_out) = pipe();
        writes_out.write_all(b"x").unwrap();
        let writer = std::thread::spawn(move || {
            let error = loop {
                if let Err(error) = writes_out.write_all(b"more") {
                    break error;
                }
            };
            let ended = Report::Ended {
                ended: Exit::Signal(13),
                stubs: Stubs::default(),
            };
            send(&theirs, &ended, &[]).unwrap();
            error.kind()
        });
        let refuse = &mut |_, _: &[u8]| Err(io::ErrorKind::BrokenPipe.into());
        let (exit, _) = until_ended(&ours, vec![(Stream::Stdout, stdout)], None, refuse).unwrap();
        assert_eq!(exit, Exit::Signal(13));
        assert_eq!(writer.join().unwrap(), io::ErrorKind::BrokenPipe);
    }
}
