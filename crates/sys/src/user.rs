//! Who this process is.

/// True for the superuser, of this user namespace.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
