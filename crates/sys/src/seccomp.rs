//! Filters for system calls.

use std::io;

/// One instruction of a filter program (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a jump skips if it holds.
    pub jt: u8,
    /// How many if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// Puts the calling thread, and what it starts, under a filter for ever.
///
/// # Errors
///
/// The program is malformed or too long (4096 instructions), or the thread has neither `CAP_SYS_ADMIN` nor given up gaining
/// privileges.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    let filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|one| libc::sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        })
        .collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `length` instructions from a live vector; it does not write to them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives up gaining privileges through setuid programs, for this thread and what it starts, for ever.
///
/// # Errors
///
/// Never on Linux since 3.5.
pub fn give_up_gaining_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
