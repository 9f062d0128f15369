//! A small process 1 (`--init`): passes signals on to the program and takes the ends of orphans.
//!
//! It is our own program's process, after it has given up everything that the container may not have, in the place of the
//! program itself; it starts the program as its child. Its file cannot be written to from inside; see
//! [`sys::process::command_of_self`].

use std::os::fd::AsFd;

use sys::process::Handle;

use crate::message::Exit;

/// Starts `program` as a child and stays as process 1 until it has ended; gives the exit code.
///
/// Of what this process has open only `tell` is left, through which the program's failure to begin is told.
pub(crate) fn stay(terminal: bool, tell: impl AsFd, program: impl FnOnce()) -> std::io::Result<u8> {
    rustix::thread::set_name(c"init").ok();
    // The container's processes could look into this one otherwise: it was never executed anew.
    sys::process::hide()?;
    sys::process::close_all_but(tell)?;
    sys::signal::block_all()?;
    // `/proc` is the container's, which shows this process as number 1; it has one thread.
    let child = sys::process::fork_unchecked(|| {
        // A group of its own, in the foreground, so that keys of the terminal reach it and not us.
        rustix::process::setpgid(None, None).ok();
        if terminal && let Some(group) = rustix::process::getpgid(None).ok() {
            rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group).ok();
        }
        sys::signal::unblock_all().ok();
        program();
        127
    })?;
    // Closes the pipe too: that says that the program has begun.
    sys::process::close_all_but(&child)?;
    loop {
        let number = sys::signal::wait()?;
        if number == rustix::process::Signal::CHILD.as_raw() {
            if let Some(exit) = reap(&child)? {
                return Ok(exit.code());
            }
        } else {
            child.signal(number).ok();
        }
    }
}

/// Takes the ends of all children that have ended; gives that of the program if it is among them.
fn reap(program: &Handle) -> std::io::Result<Option<Exit>> {
    let mut found = None;
    while let Some((pid, ended)) = sys::process::reap_ended()? {
        if pid == program.pid() {
            found = Some(Exit::from(ended));
        }
    }
    Ok(found)
}
