//! Signals as events instead of interruptions.

use std::io;

/// Blocks all signals that can be blocked, for the calling thread and threads and processes that it starts later.
///
/// # Errors
///
/// Never on Linux.
pub fn block_all() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Lets all signals through again; a program that is executed would inherit the block.
///
/// # Errors
///
/// Never on Linux.
pub fn unblock_all() -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK)
}

/// Waits for the next signal, which must be blocked, and takes it.
///
/// # Errors
///
/// Waiting failed.
pub fn wait() -> io::Result<i32> {
    let set = full_set();
    loop {
        // SAFETY: the set is a live value; a null `info` is allowed.
        let number = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if number > 0 {
            return Ok(number);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn change_mask(how: libc::c_int) -> io::Result<()> {
    let set = full_set();
    // SAFETY: the set is a live value; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call fills in the whole set and cannot fail for a valid pointer.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: it was just filled in.
    unsafe { set.assume_init() }
}

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `RTMIN+3`, in any case.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    if let Some(number) = decimal(name) {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => first,
        (_, Some("")) => last,
        (Some(offset), _) => first + decimal(offset.strip_prefix('+')?)?,
        (_, Some(offset)) => last - decimal(offset.strip_prefix('-')?)?,
        (None, None) => {
            return NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, number)| *number);
        }
    };
    (first..=last).contains(&number).then_some(number)
}

/// A short number of digits alone.
fn decimal(text: &str) -> Option<i32> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, expected) in [
            ("9", Some(9)),
            ("sigterm", Some(15)),
            ("QUIT", Some(3)),
            ("RTMIN+3", Some(37)),
            ("RTMAX", Some(64)),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
        for name in [
            "", "0", "65", "-9", "SIG", "NOPE", "RTMIN+99", "RTMAX+1", "RTMIN3", "RTMIN++3", "+9",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn a_blocked_signal_waits_to_be_taken() {
        std::thread::spawn(|| {
            block_all().unwrap();
            // SAFETY: only asks who we are.
            let this = unsafe { libc::pthread_self() };
            // SAFETY: sends a signal to this thread, which has it blocked.
            unsafe { libc::pthread_kill(this, libc::SIGUSR1) };
            assert_eq!(wait().unwrap(), libc::SIGUSR1);
        })
        .join()
        .unwrap();
    }
}
