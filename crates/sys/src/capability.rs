//! The capabilities of the calling thread, as bit masks by number.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up everything but `keep`: in the bounding set, the effective, permitted and inheritable sets and the ambient set.
///
/// Inheritable and ambient end empty, as every container engine does since CVE-2022-24769: a program gets `keep` through being
/// root or through its file's capabilities, not by inheritance.
///
/// # Errors
///
/// The thread may not change its bounding set, or does not have what it wants to keep.
pub fn keep_only(keep: u64) -> io::Result<()> {
    for number in 0..64 {
        if keep >> number & 1 == 0 {
            // SAFETY: reads or changes an attribute of this thread; no memory is involved.
            let known = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) };
            if known < 0 {
                break;
            }
            // SAFETY: as above.
            if known == 1 && unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    rustix::thread::clear_ambient_capability_set().or_else(|errno| match errno {
        // Kernels without ambient capabilities have none to clear.
        rustix::io::Errno::INVAL => Ok(()),
        errno => Err(errno),
    })?;
    let keep = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// The capabilities in the bounding set of the calling thread: what it can ever have.
///
/// # Errors
///
/// Never on Linux.
pub fn bounding() -> io::Result<u64> {
    let mut found = 0;
    for number in 0..64 {
        // SAFETY: reads an attribute of this thread.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) } {
            1 => found |= 1 << number,
            0 => {}
            _ => break,
        }
    }
    Ok(found)
}

/// The permitted capabilities of the calling thread: what it may use.
///
/// # Errors
///
/// Never on Linux.
pub fn permitted() -> io::Result<u64> {
    Ok(rustix::thread::capabilities(None)?.permitted.bits())
}
