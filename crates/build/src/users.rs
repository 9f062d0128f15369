//! Names of users and groups, looked up in the image's own `/etc/passwd` and `/etc/group`.

use runtime::user::{Resolved, resolve};

use crate::rootfs::{ReadError, Rootfs};

/// Why a user or group has no number.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The image does not know it, or it is too large.
    #[error(transparent)]
    Unknown(#[from] runtime::user::UserError),
    /// The image could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The owner of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// User and group 0.
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Who `user[:group]` is as a process.
pub(crate) fn account(root: &Rootfs, spec: &str) -> Result<Resolved, UserError> {
    let passwd = root.accounts(b"etc/passwd")?;
    let group = root.accounts(b"etc/group")?;
    // An image without these files still has a root.
    let numbers = match spec {
        "root" if passwd.is_none() => "0",
        "root:root" if passwd.is_none() && group.is_none() => "0:0",
        spec => spec,
    };
    Ok(resolve(numbers, passwd.as_deref(), group.as_deref())?)
}

/// Who `user[:group]` is as an owner of files. Unlike a process, a number without a group is its own group.
pub(crate) fn owner(root: &Rootfs, spec: &str) -> Result<Owner, UserError> {
    let alone = spec.strip_suffix(':').unwrap_or(spec);
    let number = !alone.is_empty() && alone.bytes().all(|byte| byte.is_ascii_digit());
    let found = match number {
        true => account(root, &format!("{alone}:{alone}"))?,
        false => account(root, alone)?,
    };
    Ok(Owner {
        uid: found.user.uid,
        gid: found.user.gid,
    })
}
